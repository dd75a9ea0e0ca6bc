"""Saliency: |gradient|, the largest over the channels of an image."""

import keras
import numpy as np
import pytest

import oracles
import tiny_models
from cases import TARGETS
from oracles import assert_same
from tiny_models import FORMS, KINDS
from xai_core.attributions import Saliency

SMOOTH = [kind for kind in KINDS.values() if kind.name != "shared"]


def expected(kind):
    return oracles.gradient(oracles.score(kind.twin, TARGETS), oracles.inputs(kind.twin))


@pytest.mark.parametrize("form", FORMS)
def test_linear_model_gives_its_weights(form):
    x = np.array([[1.0, 2.0, 4.0], [0.0, 0.0, 0.0]], "float32")
    explanation = Saliency(tiny_models.linear(form))(x)
    np.testing.assert_allclose(explanation.values, [[2, 3, 0.5]] * 2, rtol=1e-6)
    np.testing.assert_allclose(explanation.scores, [-1.3, 0.7], rtol=1e-6)
    signed = Saliency(tiny_models.linear(form), absolute=False)(x)
    np.testing.assert_allclose(signed.values, [[2, -3, 0.5]] * 2, rtol=1e-6)


@pytest.mark.parametrize("form", FORMS)
def test_product_model(form):
    x = np.array([[1.0, 2.0, 3.0]], "float32")
    explanation = Saliency(tiny_models.product(form))(x)
    np.testing.assert_allclose(explanation.values, [[6, 3, 2]], rtol=1e-6)


@pytest.mark.parametrize("kind", SMOOTH, ids=lambda kind: kind.name)
def test_equals_the_oracle(kind):
    explanation = Saliency(tiny_models.model(kind.name, "Saliency"))(kind.inputs(), TARGETS)
    assert_same(explanation.values, kind.layout(oracles.reduce(np.abs(expected(kind)), "max")))
    assert_same(
        explanation.scores,
        oracles.logits(kind.twin, oracles.inputs(kind.twin))[range(5), TARGETS],
    )


REDUCED = [
    *(("image", reducer, False) for reducer in oracles.REDUCERS),
    ("image", "mean", True),
    ("channels_first", "max", True),
    ("channels_first", "sum", False),
    ("channels_first", None, False),
]


@pytest.mark.parametrize(("name", "reducer", "absolute"), REDUCED)
def test_every_reducer(name, reducer, absolute):
    kind = KINDS[name]
    explainer = Saliency(tiny_models.model(name, "Saliency"), reducer=reducer, absolute=absolute)
    gradient = expected(kind)
    gradient = np.abs(gradient) if absolute else gradient
    assert_same(
        explainer(kind.inputs(), TARGETS).values, kind.layout(oracles.reduce(gradient, reducer))
    )


@pytest.mark.parametrize("name", ["table", "series"])
def test_tables_and_series_keep_their_features(name):
    kind = KINDS[name]
    explanation = Saliency(tiny_models.model(name, "Saliency"), absolute=False)(
        kind.inputs(), TARGETS
    )
    assert_same(explanation.values, expected(kind))


def test_one_channel_is_reduced_to_itself():
    kind = KINDS["gray"]
    model, x = tiny_models.model("gray", "Saliency"), kind.inputs()
    for reducer in ("max", "mean", "sum", None):
        explanation = Saliency(model, absolute=False, reducer=reducer)(x, TARGETS)
        assert_same(explanation.values, expected(kind))


def test_volumes_are_reduced_over_their_channels():
    model = keras.Sequential(
        [keras.Input((3, 4, 5, 2)), keras.layers.Flatten(), keras.layers.Dense(3, use_bias=False)]
    )
    tiny_models.randomize(model)
    weight = model.get_weights()[0].reshape(3, 4, 5, 2, 3)
    x = np.random.default_rng(0).normal(size=(2, 3, 4, 5, 2))
    explanation = Saliency(model)(x, [0, 2])
    picked = np.abs(weight[..., [0, 2]]).max(3, keepdims=True)
    assert_same(explanation.values, np.moveaxis(picked, -1, 0))


def test_nested_images():
    kind = KINDS["image"]
    explanation = Saliency(tiny_models.nested_image())(kind.inputs(), TARGETS)
    assert_same(explanation.values, oracles.reduce(np.abs(expected(kind)), "max"))


@pytest.mark.parametrize("structure", ["dict", "tuple"])
def test_several_inputs_give_one_explanation_per_float_input(structure):
    model = tiny_models.several_inputs(structure)
    given = tiny_models.several_input_rows(5, structure)
    explanations = Saliency(model, absolute=False)(given, TARGETS)
    keys = ("table", "series", "word") if structure == "dict" else (0, 1, 2)
    assert type(explanations) is type(given)
    assert len(explanations) == 3
    assert explanations[keys[2]] is None
    for key, shape in zip(keys, [(5, 4), (5, 5, 2)], strict=False):
        assert explanations[key].values.shape == shape
    # Central differences of the float32 model itself: only the order of magnitude of 1e-3 is sure.
    for key in keys[:2]:
        step = np.zeros_like(given[key])
        step[(slice(None), *([1] * (step.ndim - 1)))] = 0.05
        high, low = (scores_at(model, given, key, sign * step) for sign in (1, -1))
        numeric = (high - low) / 0.1
        exact = explanations[key].values[(slice(None), *([1] * (step.ndim - 1)))]
        np.testing.assert_allclose(exact, numeric, rtol=0.02, atol=2e-3)


def scores_at(model, given, key, step):
    from keras import ops

    moved = dict(given) if isinstance(given, dict) else list(given)
    moved[key] = moved[key] + step
    out = model(moved if isinstance(given, dict) else tuple(moved), training=False)
    return ops.convert_to_numpy(ops.stop_gradient(out))[range(5), TARGETS]
