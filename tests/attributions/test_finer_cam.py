"""FinerCAM: oracle, which classes are compared, and what is refused."""

import numpy as np
import pytest

import cam_oracles
import cams
import tiny_models
from bad_rows import Row, check
from cams import SPATIAL
from oracles import assert_same, differ
from tiny_models import KINDS
from xai_core import wrap
from xai_core.attributions import FinerCAM, GradCAM

IMAGES = KINDS["image"].inputs(3)


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("kind", SPATIAL, ids=lambda kind: kind.name)
def test_equals_the_oracle(kind, signed):
    expected = cam_oracles.finer_cam(0.6, 1, signed)
    cams.check_oracle("FinerCAM", kind, expected, signed=signed, n_similar=1)


@pytest.mark.parametrize(("gamma", "count"), [(0.6, 2), (1.0, 1), (1.7, 2)])
def test_strength_and_number_of_classes(gamma, count):
    expected = cam_oracles.finer_cam(gamma, count)
    cams.check_oracle("FinerCAM", KINDS["image"], expected, gamma=gamma, n_similar=count)


def by_hand(x, weights, target, gamma, count):
    outputs = (x[:, None] * weights).sum((2, 3, 4))
    found = []
    for row, maps in zip(outputs, x, strict=True):
        near = sorted(set(range(len(row))) - {target}, key=lambda k: abs(row[k] - row[target]))
        slope = weights[target] - gamma * weights[near[:count]].mean(0)
        found.append((slope.mean((0, 1)) * maps).sum(-1))
    return np.stack(found)[..., None]


@pytest.mark.parametrize("target", [0, 3])
def test_classes_with_the_closest_outputs_are_compared(target):
    x, weights = cams.random_case(11, classes=7, rows=5)
    explanation = FinerCAM(cams.weighted(weights), layer="maps", signed=True)(x, target)
    assert_same(explanation.values, by_hand(*map(np.float64, (x, weights)), target, 0.6, 3))
    outputs = (x[:, None] * weights).sum((2, 3, 4))
    np.testing.assert_allclose(explanation.scores, outputs[:, target], rtol=1e-4)


def test_strength_of_zero_is_grad_cam():
    model = tiny_models.model("image", "FinerCAM")
    x = KINDS["image"].inputs()
    finer = FinerCAM(model, layer="conv2", gamma=0, n_similar=2)(x)
    whole = GradCAM(model, layer="conv2")(x)
    assert_same(finer.values, whole.values)
    assert np.array_equal(finer.targets, whole.targets)


def test_classes_have_names():
    model = wrap(tiny_models.model("image", "FinerCAM"), class_names=("a", "b", "c"))
    explainer = FinerCAM(model, layer="conv2", n_similar=1)
    assert_same(explainer(IMAGES, "b").values, explainer(IMAGES, 1).values)
    assert differ(explainer(IMAGES, "b").values, explainer(IMAGES, "c").values)


def finer(target=None, model=None, **fields):
    model = tiny_models.model("image", "FinerCAM") if model is None else model
    return lambda: FinerCAM(model, **fields)(IMAGES, target)


REFUSED = [
    Row(
        "no class left",
        finer(),
        ValueError,
        ("`n_similar`", "less than", "3", "Pass n_similar=2 or fewer"),
    ),
    Row("no other class", finer(n_similar=0), ValueError, ("`n_similar`", "at least 1", "0")),
    Row("half a class", finer(n_similar=1.5), TypeError, ("`n_similar`", "1.5")),
    Row("negative gamma", finer(gamma=-0.1), ValueError, ("`gamma`", "at least 0", "-0.1")),
    Row("gamma is a word", finer(gamma="a"), TypeError, ("`gamma`", "'a'")),
    Row("gamma NaN", finer(gamma=float("nan")), ValueError, ("`gamma`", "finite", "nan")),
    Row(
        "weights for a class",
        finer(np.ones((3, 3)), n_similar=1),
        ValueError,
        ("`targets`", "weights", "('n', 3)", "gradcam"),
    ),
    Row(
        "regression",
        finer(0, operator="regression"),
        ValueError,
        ("`operator`", "classification", "regression"),
    ),
]


@pytest.mark.parametrize("row", REFUSED, ids=lambda row: row.name)
def test_what_is_refused(row):
    check(row)
