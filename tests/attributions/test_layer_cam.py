"""LayerCAM: closed form, oracle, and gradients of both signs."""

import numpy as np
import pytest

import cam_oracles
import cams
from cams import SPATIAL
from oracles import assert_same, differ
from tiny_models import AT_MAPS
from xai_core.attributions import HiResCAM, LayerCAM


@pytest.mark.parametrize(("form", "layer"), AT_MAPS)
def test_two_maps_under_a_pooled_linear_head(form, layer):
    cams.check_two_maps("LayerCAM", form, layer, [[0.25, 0.5], [0.75, 1]])
    cams.check_two_maps("LayerCAM", form, layer, [[0.25, 0.5], [0.75, 1]], signed=True)


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("kind", SPATIAL, ids=lambda kind: kind.name)
def test_equals_the_oracle(kind, signed):
    expected = cam_oracles.of_gradients(cam_oracles.layer_cam, signed)
    cams.check_oracle("LayerCAM", kind, expected, signed=signed)


@pytest.mark.parametrize("shape", [(9, 3), (5, 4, 3), (3, 4, 2, 3)], ids=len)
def test_random_activations_and_gradients(shape):
    x, weights = cams.random_case(3, shape)
    explanation = LayerCAM(cams.weighted(weights), layer="maps", signed=True)(x)
    grad = np.broadcast_to(weights, x.shape).astype(float)
    expected = cam_oracles.layer_cam(x.astype(float), grad)
    assert_same(explanation.values, cam_oracles.laid_over(expected, shape[:-1], signed=True))


def test_negative_gradients_count_for_nothing():
    x, weights = cams.random_case(4)
    explanation = LayerCAM(cams.weighted(-abs(weights)), layer="maps", signed=True)(x)
    assert not explanation.values.any()


def test_is_not_hires_cam():
    x, weights = cams.random_case(4)
    maps = [cls(cams.weighted(weights), layer="maps")(x).values for cls in (LayerCAM, HiResCAM)]
    assert differ(*maps)
