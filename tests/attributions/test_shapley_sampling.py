"""ShapleySampling: closed forms on every form of model, completeness for every number of orders."""

import numpy as np
import pytest

import tiny_models
from tiny_models import FORMS, KINDS
from xai_core.attributions import KernelSHAP, ShapleySampling

TARGETS = np.array([2, 0, 1, 1, 0])


@pytest.mark.parametrize("form", FORMS)
def test_linear_model(form):
    shapley = ShapleySampling(tiny_models.linear(form), operator="regression", n_permutations=2)
    found = shapley(np.array([[1.0, 2.0, 4.0]], "float32"), 0)
    np.testing.assert_allclose(found.values, [[2, -6, 2]], rtol=1e-5)
    assert found.rows.tolist() == [6]


@pytest.mark.parametrize("form", FORMS)
def test_product_model(form):
    shapley = ShapleySampling(tiny_models.product(form), operator="regression", n_permutations=400)
    found = shapley(np.array([[1.0, 2.0, 3.0]]), 0)
    np.testing.assert_allclose(found.values, [[2, 2, 2]], atol=0.35)
    assert (np.abs(found.values - 2) <= 3 * found.standard_error + 1e-6).all()


@pytest.mark.parametrize(
    ("n_permutations", "antithetic"), [(2, True), (8, True), (1, False), (7, False)]
)
def test_contributions_add_up(n_permutations, antithetic):
    model = tiny_models.model("table", "KernelSHAP")
    fields = {"n_permutations": n_permutations, "antithetic": antithetic, "baseline": 0.3}
    found = ShapleySampling(model, **fields)(KINDS["table"].inputs(), TARGETS)
    gap = found.features.astype(float).sum(1) - (found.scores - found.base_values)
    assert np.abs(gap).max() <= 1e-6


def test_approaches_the_exact_values():
    x, model = KINDS["image"].inputs(), tiny_models.model("image", "KernelSHAP")
    exact = KernelSHAP(model, n_samples="exact", grid_size=3)(x, TARGETS)
    found = ShapleySampling(model, grid_size=3, n_permutations=128)(x, TARGETS)
    error = np.abs(found.features - exact.features)
    assert (error <= 4.5 * found.feature_standard_error + 1e-5).all()
    assert error.mean() < 0.05 * np.abs(exact.features).mean()
