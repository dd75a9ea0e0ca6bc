"""GradientInput: gradient times input, summed over the channels of an image."""

import numpy as np
import pytest

import oracles
import tiny_models
from cases import TARGETS
from oracles import assert_same
from tiny_models import FORMS, KINDS
from xai_core.attributions import GradientInput

SMOOTH = [kind for kind in KINDS.values() if kind.name != "shared"]


@pytest.mark.parametrize("form", FORMS)
def test_linear_model(form):
    explanation = GradientInput(tiny_models.linear(form))(np.array([[1.0, 2.0, 4.0]], "float32"))
    np.testing.assert_allclose(explanation.values, [[2, -6, 2]], rtol=1e-6)


@pytest.mark.parametrize("form", FORMS)
def test_product_model_counts_the_score_three_times(form):
    explanation = GradientInput(tiny_models.product(form))(np.array([[1.0, 2.0, 3.0]], "float32"))
    np.testing.assert_allclose(explanation.values, [[6, 6, 6]], rtol=1e-6)


@pytest.mark.parametrize("kind", SMOOTH, ids=lambda kind: kind.name)
def test_equals_the_oracle(kind):
    x = oracles.inputs(kind.twin)
    product = oracles.gradient(oracles.score(kind.twin, TARGETS), x) * x
    for reducer in ("sum", "abs_max") if kind.rank > 3 else (None,):
        explainer = GradientInput(
            tiny_models.model(kind.name, "GradientInput"),
            **({"reducer": reducer} if reducer else {}),
        )
        values = explainer(kind.inputs(), TARGETS).values
        assert_same(values, kind.layout(oracles.reduce(product, reducer)))


def test_callable_reducer_gets_the_unreduced_map():
    from keras import ops

    kind, shapes = KINDS["image"], []

    def spread(maps, axis):
        shapes.append(tuple(maps.shape)[-3:])
        return ops.max(maps, axis=axis) - ops.min(maps, axis=axis)

    x = kind.inputs()
    product = oracles.gradient(oracles.score("image", TARGETS), x) * x
    explanation = GradientInput(tiny_models.model("image", "GradientInput"), reducer=spread)(
        x, TARGETS
    )
    assert_same(explanation.values, np.ptp(product, axis=-1, keepdims=True))
    assert set(shapes) == {(7, 10, 2)}
