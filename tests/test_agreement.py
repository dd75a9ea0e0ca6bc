"""Every backend is held to the same stored numbers, which the float64 oracle made."""

import numpy as np
import pytest

import oracles
import tiny_models
from cases import CASES
from oracles import GOLDEN_TARGETS, assert_same
from tiny_models import KINDS
from xai_core import attributions
from xai_core.attributions.sampled import AbstractSampled

KINDS_OF = {
    twin: [kind for kind in KINDS.values() if kind.twin == twin and kind.name != "shared"]
    for twin in oracles.STORED
}


@pytest.fixture(scope="module")
def golden():
    with np.load(oracles.GOLDEN, allow_pickle=False) as stored:
        return dict(stored)


def explainer(model, name):
    method, *setting = name.split("/")
    fields = {}
    if method == "IntegratedGradients":
        fields = {"rule": setting[0], "steps": 12}
    elif method == "SmoothGrad":
        fields = {"noise_scale": setting[0], "noise": 0.1, "n_samples": 5, "seed": 2**40 + 3}
    return getattr(attributions, method)(model, **fields)


NAMES = [
    (twin, name)
    for twin in oracles.STORED
    for name in (
        "Saliency",
        "GradientInput",
        "IntegratedGradients/trapezoid",
        "IntegratedGradients/gauss_legendre",
        *(["SmoothGrad/range", "GradCAM"] if twin != "table" else ["SmoothGrad/absolute"]),
    )
]


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        pytest.param(kind, name, id=f"{kind.name}-{name}")
        for twin, name in NAMES
        for kind in KINDS_OF[twin]
    ],
)
def test_backend_gives_the_stored_map(golden, kind, name):
    explanation = explainer(tiny_models.model(kind.name, name.split("/")[0]), name)(
        kind.inputs(), GOLDEN_TARGETS
    )
    assert_same(explanation.values, kind.layout(golden[f"{kind.twin}/{name}"]))
    assert_same(explanation.scores, golden[f"{kind.twin}/scores"])


SAMPLED = [case for case in CASES if issubclass(case.cls, AbstractSampled)]


@pytest.mark.parametrize(
    ("kind", "case"),
    [
        pytest.param(kind, case, id=f"{kind.name}-{case.name}")
        for case in SAMPLED
        for kind in KINDS.values()
        if kind.name in ("table", "image", "torch_image") and kind.name in case.kinds
    ],
)
def test_backend_gives_the_map_of_the_float64_twin_under_the_same_masks(kind, case):
    """Masks are made by NumPy alone, and stored numbers of `test_designs` hold them bit for bit."""
    found = case.on(kind.name, batch_size=64)(kind.inputs(), GOLDEN_TARGETS)
    twin = case.build(lambda x: oracles.logits(kind.twin, x), batch_size=64)
    expected = twin(oracles.inputs(kind.twin), GOLDEN_TARGETS)
    assert found.rows.tolist() == expected.rows.tolist()
    if expected.features is not None:
        assert_same(found.features, expected.features)
    assert_same(found.values, kind.layout(expected.values))
    if expected.standard_error is not None:
        assert_same(found.standard_error, kind.layout(expected.standard_error))


def test_stored_numbers_are_those_of_the_oracle(golden):
    fresh = oracles.golden()
    assert set(fresh) == set(golden)
    for name, values in golden.items():
        np.testing.assert_allclose(fresh[name], values, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("twin", list(oracles.SHAPES))
def test_complex_step_of_the_oracle_is_the_finite_difference(twin):
    x = oracles.inputs(twin)
    scores = oracles.score(twin, GOLDEN_TARGETS)
    assert_same(oracles.gradient(scores, x), oracles.difference_gradient(scores, x), 1e-7)
