"""Sobol: closed forms on every form of model, perturbations by hand, errors, refusals."""

import numpy as np
import pytest
from scipy import ndimage

import tiny_models
from oracles import assert_same
from tiny_models import FORMS, KINDS
from xai_core.attributions import Sobol

TARGETS = np.array([2, 0, 1, 1, 0])
REGRESSION = {"operator": "regression"}


@pytest.mark.parametrize("form", [*FORMS, "black box"])
@pytest.mark.parametrize("sampler", ["lhs", "sobol", "halton", "random"])
def test_additive_model(form, sampler):
    x = np.array([[1.0, 2.0, 4.0]], "float32")
    if form == "black box":
        model = lambda x: x @ np.array([2.0, -3.0, 0.5])  # noqa: E731
    else:
        model = tiny_models.linear(form)
    found = Sobol(model, sampler=sampler, n_design=1024, batch_size=512, **REGRESSION)(x, 0)
    parts = np.array([2.0, -6, 2]) ** 2
    np.testing.assert_allclose(found.values[0], parts / parts.sum(), atol=0.1)
    np.testing.assert_allclose(found.first_order[0], parts / parts.sum(), atol=0.1)
    assert found.rows.tolist() == [1024 * 5 + 1]


def test_product_of_two_columns():
    """m1 m2: alone each is responsible for 3/7, together with the other for 4/7."""
    sobol = Sobol(lambda x: x[:, 0] * x[:, 1], n_design=4096, sampler="sobol", **REGRESSION)
    found = sobol(np.ones((1, 3)), 0)
    np.testing.assert_allclose(found.values[0], [4 / 7, 4 / 7, 0], atol=0.01)
    np.testing.assert_allclose(found.first_order[0], [3 / 7, 3 / 7, 0], atol=0.02)


@pytest.mark.parametrize("perturbation", ["inpainting", "blurring", "amplitude"])
def test_what_a_mask_does_to_an_image(perturbation):
    seen = []

    def predict(x):
        seen.append(np.asarray(x, float))
        return np.asarray(x).mean((1, 2))

    x = np.random.default_rng(0).random((1, 6, 9, 2))
    sigma = {"inpainting": None, "blurring": 3, "amplitude": 0.4}[perturbation]
    fields = {"n_design": 4, "grid_size": (6, 9), "seed": 5}  # masks without interpolation
    Sobol(predict, perturbation=perturbation, sigma=sigma, **fields)(x, 0)
    rows = np.concatenate(seen)[2:]
    masks = Sobol(predict, **fields)._design(54).codes(0, len(rows)).reshape(-1, 6, 9, 1)
    expected = {
        "inpainting": masks * x,
        "blurring": masks * x
        + (1 - masks) * ndimage.uniform_filter(x, (1, 3, 3, 1), mode="nearest"),
        "amplitude": x + (masks - 0.5) * 0.4,
    }[perturbation]
    assert_same(rows, expected)


def test_usual_strength_of_blur_and_amplitude():
    x = KINDS["image"].inputs()
    model = tiny_models.model("image", "Sobol")
    for perturbation, usual in (("blurring", 10), ("amplitude", 1.0)):
        fields = {"perturbation": perturbation, "n_design": 4}
        given = Sobol(model, sigma=usual, **fields)(x, TARGETS)
        assert_same(Sobol(model, **fields)(x, TARGETS).values, given.values)


def test_errors_come_from_rows_or_from_blocks():
    x = KINDS["table"].inputs()
    model = tiny_models.model("table", "Sobol")

    def errors(**fields):
        return Sobol(model, **fields)(x, TARGETS).standard_error

    assert errors(n_design=32) is not None
    assert errors(n_design=32, sampler="random") is not None
    assert errors(n_design=32, sampler="sobol") is None
    assert errors(n_design=8, n_blocks=8, sampler="halton") is not None
    wide, narrow = errors(n_design=32), errors(n_design=512)
    assert narrow.mean() < 0.5 * wide.mean()


@pytest.mark.parametrize("masks", [None, np.array([[0, 1, 2, 3], [0, 0, 1, 2]])])
def test_rows_of_a_design_share_a_row_of_the_background(masks):
    """Else a column that plays no part would have the variance of the background."""
    rng = np.random.default_rng(0)
    background, x = rng.normal(size=(100, 4)), rng.normal(size=(2, 4))
    fields = {"n_design": 64, "n_blocks": 2, "feature_mask": masks, **REGRESSION}
    sobol = Sobol(lambda x: x @ np.array([2.0, 1.0, 1.0, 0.0]), background=background, **fields)
    found = sobol(x, 0)
    np.testing.assert_allclose(found.values[:, 3], 0, atol=1e-9)
    assert (found.values[:, :3] > 0.01).all()
