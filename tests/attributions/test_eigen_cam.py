"""EigenCAM: closed form, oracle, the sign, and what it does not depend on."""

import numpy as np
import pytest

import cam_oracles
import cams
from cams import SPATIAL
from oracles import assert_same
from tiny_models import AT_MAPS
from xai_core.attributions import EigenCAM


@pytest.mark.parametrize(("form", "layer"), AT_MAPS)
def test_two_maps_under_a_pooled_linear_head(form, layer):
    cams.check_two_maps("EigenCAM", form, layer, cams.COMPONENT)
    cams.check_two_maps("EigenCAM", form, layer, cams.COMPONENT, signed=True)


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("kind", SPATIAL, ids=lambda kind: kind.name)
def test_equals_the_oracle(kind, signed):
    expected = cam_oracles.of_gradients(cam_oracles.eigen_cam, signed)
    cams.check_oracle("EigenCAM", kind, expected, signed=signed)


@pytest.mark.parametrize("shape", [(9, 3), (5, 4, 3), (3, 4, 2, 3)], ids=len)
def test_random_activations_and_gradients(shape):
    x, weights = cams.random_case(3, shape)
    explanation = EigenCAM(cams.weighted(weights), layer="maps", signed=True)(x)
    grad = np.broadcast_to(weights, x.shape).astype(float)
    expected = cam_oracles.eigen_cam(x.astype(float), grad)
    assert_same(explanation.values, cam_oracles.laid_over(expected, shape[:-1], signed=True))


@pytest.mark.parametrize("shape", [(40, 3), (2, 3, 40)], ids=["places", "channels"])
def test_more_places_or_more_channels(shape):
    x, weights = cams.random_case(5, shape)
    explanation = EigenCAM(cams.weighted(weights), layer="maps", signed=True)(x)
    assert_same(explanation.values, cam_oracles.eigen_cam(x.astype(float))[..., None])


@pytest.mark.parametrize("factor", [-1.0, 1e-25, 1e25])
def test_sign_and_size_of_the_activations(factor):
    x, weights = cams.random_case(6, rows=2)
    explainer = EigenCAM(cams.weighted(weights), layer="maps", signed=True)
    scaled = explainer((x * np.float32(factor))[:, :, :, :])
    assert_same(scaled.values / abs(np.float32(factor)), explainer(x).values)
    assert (abs(scaled.values.min((1, 2))) <= scaled.values.max((1, 2))).all()


def test_activations_of_zero_give_zero():
    x, weights = cams.random_case(6)
    assert not EigenCAM(cams.weighted(weights), layer="maps", signed=True)(0 * x).values.any()


def test_named_layer_ignores_targets_and_gradients():
    cams.check_class_agnostic(EigenCAM)
