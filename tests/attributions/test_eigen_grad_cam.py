"""EigenGradCAM: closed form and oracle; it is one of the target."""

import numpy as np
import pytest

import cam_oracles
import cams
from cams import SPATIAL
from oracles import assert_same, differ
from tiny_models import AT_MAPS
from xai_core.attributions import EigenCAM, EigenGradCAM


@pytest.mark.parametrize(("form", "layer"), AT_MAPS)
def test_two_maps_under_a_pooled_linear_head(form, layer):
    cams.check_two_maps("EigenGradCAM", form, layer, cams.COMPONENT / 4)
    cams.check_two_maps("EigenGradCAM", form, layer, cams.COMPONENT / 4, signed=True)


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("kind", SPATIAL, ids=lambda kind: kind.name)
def test_equals_the_oracle(kind, signed):
    expected = cam_oracles.of_gradients(cam_oracles.eigen_grad_cam, signed)
    cams.check_oracle("EigenGradCAM", kind, expected, signed=signed)


@pytest.mark.parametrize("shape", [(9, 3), (5, 4, 3), (3, 4, 2, 3)], ids=len)
def test_random_activations_and_gradients(shape):
    x, weights = cams.random_case(3, shape)
    explanation = EigenGradCAM(cams.weighted(weights), layer="maps", signed=True)(x)
    grad = np.broadcast_to(weights, x.shape).astype(float)
    expected = cam_oracles.eigen_grad_cam(x.astype(float), grad)
    assert_same(explanation.values, cam_oracles.laid_over(expected, shape[:-1], signed=True))


def test_depends_on_the_target():
    x, weights = cams.random_case(5, classes=2)
    explainer = EigenGradCAM(cams.weighted(weights), layer="maps")
    assert differ(explainer(x, 0).values, explainer(x, 1).values)


def test_equal_gradients_give_the_component_of_the_activations():
    x, _ = cams.random_case(5)
    model = cams.weighted(np.ones((1, *x.shape[1:])))
    maps = [cls(model, layer="maps", signed=True)(x).values for cls in (EigenGradCAM, EigenCAM)]
    assert_same(*maps)
