"""HiResCAM: closed form, oracle, and the sum over places."""

import numpy as np
import pytest

import cam_oracles
import cams
from cams import SPATIAL
from oracles import assert_same, differ
from tiny_models import AT_MAPS
from xai_core.attributions import GradCAM, HiResCAM


@pytest.mark.parametrize(("form", "layer"), AT_MAPS)
def test_two_maps_under_a_pooled_linear_head(form, layer):
    cams.check_two_maps("HiResCAM", form, layer, [[0, 0.5], [0.75, 1]])
    cams.check_two_maps("HiResCAM", form, layer, [[-0.75, 0.5], [0.75, 1]], signed=True)


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("kind", SPATIAL, ids=lambda kind: kind.name)
def test_equals_the_oracle(kind, signed):
    expected = cam_oracles.of_gradients(cam_oracles.hires_cam, signed)
    cams.check_oracle("HiResCAM", kind, expected, signed=signed)


@pytest.mark.parametrize("shape", [(9, 3), (5, 4, 3), (3, 4, 2, 3)], ids=len)
def test_random_activations_and_gradients(shape):
    x, weights = cams.random_case(3, shape)
    explanation = HiResCAM(cams.weighted(weights), layer="maps", signed=True)(x)
    grad = np.broadcast_to(weights, x.shape).astype(float)
    expected = cam_oracles.hires_cam(x.astype(float), grad)
    assert_same(explanation.values, cam_oracles.laid_over(expected, shape[:-1], signed=True))


def test_signed_sum_is_the_score_of_a_linear_head():
    x, weights = cams.random_case(4)
    explanation = HiResCAM(cams.weighted(weights), layer="maps", signed=True)(x)
    np.testing.assert_allclose(explanation.values.sum((1, 2, 3)), explanation.scores, rtol=1e-5)


def test_is_grad_cam_under_a_pooled_head_and_not_elsewhere():
    image = cams.explained("image", HiResCAM, GradCAM)
    assert_same(*image)
    x, weights = cams.random_case(4)
    maps = [cls(cams.weighted(weights), layer="maps")(x).values for cls in (HiResCAM, GradCAM)]
    assert differ(*maps)
