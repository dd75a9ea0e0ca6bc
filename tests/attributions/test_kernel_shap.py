"""KernelSHAP: closed forms on every form of model, completeness, backgrounds, links."""

import itertools
import math

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import GradientBoostingClassifier

import tiny_models
import xai_core as xai
from oracles import assert_same
from tiny_models import FORMS, KINDS
from xai_core.attributions import KernelSHAP

TARGETS = np.array([2, 0, 1, 1, 0])
REGRESSION = {"operator": "regression"}


@pytest.mark.parametrize("form", FORMS)
def test_linear_model(form):
    x = np.array([[1.0, 2.0, 4.0]], "float32")
    found = KernelSHAP(tiny_models.linear(form), **REGRESSION)(x, 0)
    np.testing.assert_allclose(found.values, [[2, -6, 2]], rtol=1e-6)
    np.testing.assert_allclose(found.base_values, [0.7], rtol=1e-6)
    np.testing.assert_array_equal(found.standard_error, np.zeros((1, 3)))  # all coalitions
    assert found.rows.tolist() == [8]


@pytest.mark.parametrize("form", FORMS)
def test_product_model(form):
    found = KernelSHAP(tiny_models.product(form), **REGRESSION)(np.array([[1.0, 2.0, 3.0]]), 0)
    np.testing.assert_allclose(found.values, [[2, 2, 2]], rtol=1e-6)


@pytest.mark.parametrize("n_samples", [2048, "exact"])
def test_games_of_bits(n_samples):
    def first(m):
        return 6 * m[:, 0] * m[:, 1] + 5 * m[:, 2]

    def second(m):
        return 8 * m[:, 0] * m[:, 1] * m[:, 2] + m[:, 3]

    for game, expected in ((first, [3, 3, 5]), (second, [8 / 3, 8 / 3, 8 / 3, 1])):
        shap = KernelSHAP(game, n_samples=n_samples, **REGRESSION)
        found = shap(np.ones((1, len(expected))), 0)
        np.testing.assert_allclose(found.values, [expected], rtol=1e-6)


@pytest.mark.parametrize("n_samples", [120, 512, 1000])
def test_contributions_add_up(n_samples):
    x = KINDS["image"].inputs()
    model = tiny_models.model("image", "KernelSHAP")
    found = KernelSHAP(model, n_samples=n_samples, baseline=0.3)(x, TARGETS)
    gap = found.features.astype(float).sum(1) - (found.scores - found.base_values)
    assert np.abs(gap).max() <= 1e-5
    base = KernelSHAP(model, n_samples=120)(np.full_like(x, 0.3), TARGETS).scores
    assert_same(found.base_values, base)
    assert (found.standard_error is None) == (n_samples < 512)


def test_more_rows_come_nearer_to_the_exact_values():
    x = KINDS["image"].inputs()
    model = tiny_models.model("image", "KernelSHAP")
    exact = KernelSHAP(model, n_samples="exact", grid_size=3)(x, TARGETS).features
    errors = []
    for n_samples in (40, 160):
        found = KernelSHAP(model, n_samples=n_samples, grid_size=3)(x, TARGETS).features
        errors.append(np.abs(found - exact).mean())
    assert errors[1] < errors[0]
    assert errors[1] < 0.02 * np.abs(exact).mean()


def test_background_is_the_interventional_mean():
    """For a linear model w (x - mean of the background)."""
    rng = np.random.default_rng(0)
    weights, background = rng.normal(size=8), rng.normal(size=(50, 8))
    x = rng.normal(size=(10, 8))
    found = KernelSHAP(lambda x: x @ weights, background=background, **REGRESSION)(x, 0)
    np.testing.assert_allclose(found.values, weights * (x - background.mean(0)), atol=1e-6)
    np.testing.assert_allclose(found.base_values, (background @ weights).mean(), rtol=1e-6)


def test_breast_cancer_has_the_exact_interventional_values():
    """By the definition over all subsets, which shap's exact explainer gives too."""
    x, y = load_breast_cancer(return_X_y=True)
    x = x[:, :8]
    model = GradientBoostingClassifier(n_estimators=20, random_state=0).fit(x, y)
    background, rows = x[:50], x[100:110]
    subsets = np.array(list(itertools.product([False, True], repeat=8)))
    mixed = np.where(subsets[:, None, None], rows[:, None], background)
    game = model.predict_proba(mixed.reshape(-1, 8))[:, 1].reshape(256, 10, 50).mean(2)
    value = {tuple(subset): scores for subset, scores in zip(subsets, game, strict=True)}
    expected = np.zeros((10, 8))
    for column in range(8):
        for subset in subsets[~subsets[:, column]]:
            size = subset.sum()
            share = math.factorial(size) * math.factorial(7 - size) / math.factorial(8)
            more = subset | (np.arange(8) == column)
            expected[:, column] += share * (value[tuple(more)] - value[tuple(subset)])
    found = KernelSHAP(model, background=background, n_samples="exact", batch_size=4096)(rows, 1)
    np.testing.assert_allclose(found.values, expected, atol=1e-6)
    np.testing.assert_allclose(found.base_values, game[0], atol=1e-6)


def test_logits_add_up_to_the_log_odds():
    rng = np.random.default_rng(0)
    weights, x = rng.normal(size=5), rng.normal(size=(3, 5))

    def probabilities(x):
        p = 1 / (1 + np.exp(-(x @ weights)))
        return np.stack([1 - p, p], axis=1)

    found = KernelSHAP(probabilities, link="logit")(x, 1)
    np.testing.assert_allclose(found.values, weights * x, rtol=1e-5)
    np.testing.assert_allclose(found.scores, x @ weights, rtol=1e-5)
    np.testing.assert_allclose(found.base_values, 0, atol=1e-7)
    assert "log-odds" in found.notes[-1]


def test_interrupted_call_leaves_all_as_it_was():
    calls = []

    def predict(x):
        calls.append(len(x))
        if len(calls) == 4:
            raise KeyboardInterrupt
        return np.asarray(x).sum((1, 2))

    shap, x = KernelSHAP(predict, n_samples=120), np.random.default_rng(0).random((2, 8, 8, 2))
    with pytest.raises(KeyboardInterrupt):
        shap(x, 0)
    assert np.isfinite(shap(x, 0).values).all()
    assert isinstance(shap(x, 0), xai.Explanation)
