"""SquareGrad: the mean of squared maps of noisy inputs."""

import numpy as np
import pytest

import tiny_models
from cases import TARGETS
from noisy import IMAGES, NAMES, assert_equals_the_oracle, coverage, experiments, model
from oracles import assert_same
from tiny_models import FORMS
from xai_core.attributions import SquareGrad


@pytest.mark.parametrize("form", FORMS)
def test_linear_model_gives_the_squares_of_its_weights(form):
    x = np.array([[1.0, 2.0, 4.0], [0.0, 0.0, 0.0]], "float32")
    explanation = SquareGrad(tiny_models.linear(form), n_samples=4, noise_scale="absolute")(x)
    np.testing.assert_allclose(explanation.values, [[4, 9, 0.25]] * 2, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(explanation.standard_error, 0, atol=1e-6)
    np.testing.assert_allclose(explanation.scores, [-1.3, 0.7], rtol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_map_and_standard_error_equal_the_oracle(name):
    assert_equals_the_oracle(name, SquareGrad)


def test_expected_value_of_a_quadratic_model():
    # 4 a² (x² + σ²) at a = 1, x = 1, σ = .2
    values, errors = experiments(SquareGrad, 50, 8)
    assert abs(values.mean() - 4.16) < 4 * 0.23 / np.sqrt(values.size)
    assert abs(values.std() / 0.2285 - 1) < 0.1
    assert abs(errors.mean() / 0.2285 - 1) < 0.1


def test_standard_errors_cover_the_truth():
    assert 0.91 < coverage(SquareGrad, 50, truth=4.16) < 0.97


def test_more_samples_give_closer_values():
    few, many = (experiments(SquareGrad, n, 4)[0] for n in (50, 800))
    assert np.sqrt(((few - 4.16) ** 2).mean() / ((many - 4.16) ** 2).mean()) > 3


def test_channels_are_reduced_by_the_mean():
    whole = SquareGrad(model(), n_samples=4, reducer=None)(IMAGES, TARGETS)
    reduced = SquareGrad(model(), n_samples=4)(IMAGES, TARGETS)
    assert_same(reduced.values, whole.values.mean(-1, keepdims=True))
