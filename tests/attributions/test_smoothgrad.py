"""SmoothGrad: the mean of the maps of noisy inputs."""

import numpy as np
import pytest

import tiny_models
from cases import TARGETS
from noisy import IMAGES, NAMES, assert_equals_the_oracle, coverage, experiments, model
from oracles import assert_same
from tiny_models import FORMS
from xai_core.attributions import Saliency, SmoothGrad


@pytest.mark.parametrize("form", FORMS)
def test_linear_model_gives_its_weights(form):
    x = np.array([[1.0, 2.0, 4.0], [0.0, 0.0, 0.0]], "float32")
    explanation = SmoothGrad(tiny_models.linear(form), n_samples=4, noise_scale="absolute")(x)
    np.testing.assert_allclose(explanation.values, [[2, -3, 0.5]] * 2, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(explanation.standard_error, 0, atol=1e-6)
    np.testing.assert_allclose(explanation.scores, [-1.3, 0.7], rtol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_map_and_standard_error_equal_the_oracle(name):
    assert_equals_the_oracle(name, SmoothGrad)


def test_quadratic_model_gives_its_gradient_at_the_input():
    # The gradient is linear, so the noise only adds an error of 2 σ / √n.
    values, errors = experiments(SmoothGrad, 50, 8)
    assert abs(values.mean() - 2) < 0.01
    assert abs(values.std() / (0.4 / np.sqrt(50)) - 1) < 0.1
    np.testing.assert_allclose(errors, 0.4 / np.sqrt(50), rtol=0.5)


def test_standard_errors_cover_the_truth():
    assert 0.92 < coverage(SmoothGrad, 50, truth=2.0) < 0.97


def test_more_samples_give_closer_values():
    few, many = (experiments(SmoothGrad, n, 4)[0] for n in (50, 800))
    assert np.sqrt(((few - 2) ** 2).mean() / ((many - 2) ** 2).mean()) > 3


def test_a_model_means_its_signed_gradient():
    wrapped = SmoothGrad(Saliency(model(), absolute=False), n_samples=4)
    of_model = SmoothGrad(model(), n_samples=4)
    assert_same(of_model(IMAGES, TARGETS).values, wrapped(IMAGES, TARGETS).values)
    absolute = SmoothGrad(Saliency(model()), n_samples=4, reducer=None)
    assert absolute(IMAGES, TARGETS).values.min() >= 0


def test_channels_are_reduced_by_the_mean_of_absolute_values():
    whole = SmoothGrad(model(), n_samples=4, reducer=None)(IMAGES, TARGETS)
    reduced = SmoothGrad(model(), n_samples=4)(IMAGES, TARGETS)
    assert_same(reduced.values, np.abs(whole.values).mean(-1, keepdims=True))
    assert whole.values.min() < 0
    assert reduced.standard_error is None
    assert_same(reduced.unreduced_standard_error, whole.standard_error)
    assert whole.unreduced_standard_error is None
