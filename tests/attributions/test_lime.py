"""LIME: closed forms on every form of model, the regression by hand, regressors of one's own."""

import numpy as np
import pytest
from sklearn.linear_model import Lasso, LinearRegression, Ridge

import tiny_models
from oracles import assert_same
from tiny_models import FORMS, KINDS
from xai_core import designs, images
from xai_core.attributions import LIME

TARGETS = np.array([2, 0, 1, 1, 0])


@pytest.mark.parametrize("form", FORMS)
def test_linear_model_without_a_penalty(form):
    lime = LIME(
        tiny_models.linear(form), operator="regression", regressor=LinearRegression(), n_samples=50
    )
    found = lime(np.array([[1.0, 2.0, 4.0]], "float32"), 0)
    np.testing.assert_allclose(found.values, [[2, -6, 2]], rtol=1e-5)
    np.testing.assert_allclose(found.base_values, [0.7], rtol=1e-4)
    assert found.standard_error is None


@pytest.mark.parametrize("width", [0.25, 0.7])
@pytest.mark.parametrize("alpha", [1.0, 5.0])
def test_ridge_by_hand(width, alpha):
    rng = np.random.default_rng(0)
    x, weights = rng.normal(size=(2, 6)), rng.normal(size=6)

    def predict(x):
        return np.tanh(x @ weights)

    fields = {"n_samples": 200, "kernel_width": width, "seed": 3, "operator": "regression"}
    regressor = None if alpha == 1 else Ridge(alpha=alpha)
    found = LIME(predict, regressor=regressor, **fields)(x, 0)
    kept = np.concatenate([np.ones((1, 6)), designs.bernoulli(3, 0, 199, (6,), 0.5)])
    distance = 1 - np.sqrt(kept.mean(1))
    weight = np.sqrt(np.exp(-(distance**2) / width**2))
    centre = weight @ kept / weight.sum()
    for row in range(2):
        y = predict(kept * x[row])
        moved = (kept - centre) * weight[:, None]
        gram = moved.T @ (kept - centre) + alpha * np.eye(6)
        slope = np.linalg.solve(gram, moved.T @ (y - weight @ y / weight.sum()))
        assert_same(found.values[row], slope)
        assert_same(found.base_values[row], weight @ y / weight.sum() - centre @ slope)


def test_segments_of_the_image_itself():
    x = np.random.default_rng(0).random((2, 24, 30, 3)).astype("float32")
    segments = images.superpixels(x, 6)
    lime = LIME(lambda x: np.asarray(x).mean((1, 2)), feature_mask=segments, n_samples=80)
    found = lime(x, 0)
    assert found.values.shape == (2, 24, 30, 1)
    for row in range(2):
        assert_same(found.values[row, ..., 0], found.features[row][segments[row]])


def test_a_given_regressor_is_not_fitted_itself():
    lasso = Lasso(alpha=1e-4)
    x = KINDS["table"].inputs()
    LIME(tiny_models.model("table", "KernelSHAP"), regressor=lasso, n_samples=60)(x, TARGETS)
    assert not hasattr(lasso, "coef_")
