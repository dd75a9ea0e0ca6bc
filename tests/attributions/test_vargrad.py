"""VarGrad: the variance of the maps of noisy inputs."""

import numpy as np
import pytest

import tiny_models
from cases import TARGETS
from noisy import IMAGES, NAMES, assert_equals_the_oracle, coverage, experiments, hundred, model
from oracles import assert_same
from tiny_models import FORMS
from xai_core.attributions import VarGrad


@pytest.mark.parametrize("form", FORMS)
def test_linear_model_has_no_variance(form):
    x = np.array([[1.0, 2.0, 4.0], [0.0, 0.0, 0.0]], "float32")
    explanation = VarGrad(tiny_models.linear(form), n_samples=4, noise_scale="absolute")(x)
    np.testing.assert_allclose(explanation.values, [[0, 0, 0]] * 2, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(explanation.standard_error, 0, atol=1e-6)
    np.testing.assert_allclose(explanation.scores, [-1.3, 0.7], rtol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_map_and_standard_error_equal_the_oracle(name):
    assert_equals_the_oracle(name, VarGrad)


def test_expected_value_of_a_quadratic_model():
    # 4 a² σ² at a = 1, σ = .2, whatever x
    values, errors = experiments(VarGrad, 50, 8)
    assert abs(values.mean() - 0.16) < 4 * 0.0323 / np.sqrt(values.size)
    assert abs(values.std() / 0.0323 - 1) < 0.1
    assert abs(errors.mean() / 0.0323 - 1) < 0.1


def test_standard_errors_cover_the_truth():
    # Large variances come with large errors, so that few samples give short intervals.
    assert 0.88 < coverage(VarGrad, 50, truth=0.16) < 0.96
    assert 0.92 < coverage(VarGrad, 800, truth=0.16, seeds=4) < 0.98


def test_more_samples_give_closer_values():
    few, many = (experiments(VarGrad, n, 4)[0] for n in (50, 800))
    assert np.sqrt(((few - 0.16) ** 2).mean() / ((many - 0.16) ** 2).mean()) > 3


def test_a_large_gradient_leaves_the_variance_as_it_is():
    # By E[g²] - E[g]² in float32 nothing of it would be left.
    found = hundred(VarGrad, 800, seed=0, at=2000.0)
    np.testing.assert_allclose(found.values, experiments(VarGrad, 800, 4)[0][:1], rtol=5e-3)


def test_channels_are_reduced_by_the_mean():
    whole = VarGrad(model(), n_samples=4, reducer=None)(IMAGES, TARGETS)
    reduced = VarGrad(model(), n_samples=4)(IMAGES, TARGETS)
    assert_same(reduced.values, whole.values.mean(-1, keepdims=True))
