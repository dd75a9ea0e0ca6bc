"""XGradCAM: closed form, oracle, and channels without a sum."""

import keras
import numpy as np
import pytest
from keras import layers

import cam_oracles
import cams
import tiny_models
from cams import SPATIAL
from oracles import assert_same
from tiny_models import AT_MAPS
from xai_core.attributions import XGradCAM


@pytest.mark.parametrize(("form", "layer"), AT_MAPS)
def test_two_maps_under_a_pooled_linear_head(form, layer):
    cams.check_two_maps("XGradCAM", form, layer, [[0, 0.5], [0.75, 1]])
    cams.check_two_maps("XGradCAM", form, layer, [[-0.75, 0.5], [0.75, 1]], signed=True)


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("kind", SPATIAL, ids=lambda kind: kind.name)
def test_equals_the_oracle(kind, signed):
    expected = cam_oracles.of_gradients(cam_oracles.xgrad_cam, signed)
    cams.check_oracle("XGradCAM", kind, expected, signed=signed)


@pytest.mark.parametrize("shape", [(9, 3), (5, 4, 3), (3, 4, 2, 3)], ids=len)
def test_random_activations_and_gradients(shape):
    x, weights = cams.random_case(3, shape)
    explanation = XGradCAM(cams.weighted(weights), layer="maps", signed=True)(x)
    grad = np.broadcast_to(weights, x.shape).astype(float)
    expected = cam_oracles.xgrad_cam(x.astype(float), grad)
    assert_same(explanation.values, cam_oracles.laid_over(expected, shape[:-1], signed=True))


def test_channel_that_sums_up_to_zero_counts_for_nothing():
    x, weights = cams.random_case(5)
    x[..., 1] = np.resize([1.0, -1.0], x.shape[:-1])
    expected = x * np.array([1, 0, 1])
    model = cams.weighted(weights)
    explanations = [XGradCAM(model, layer="maps", signed=True)(one) for one in (x, expected)]
    assert_same(explanations[0].values, explanations[1].values)


def test_sum_of_zero_but_for_rounding_counts_for_nothing():
    x, weights = cams.random_case(6, (4, 4, 2), rows=1)
    x[..., 1] = np.resize([0.1, 0.2, -0.3, 0.0], (4, 4))
    assert abs(x[..., 1].sum()) < 1e-6
    values = XGradCAM(cams.weighted(weights), layer="maps", signed=True)(x).values
    x[..., 1] = 0
    assert_same(values, XGradCAM(cams.weighted(weights), layer="maps", signed=True)(x).values)


def test_normalised_channels_count_for_nothing():
    inside = keras.Input((32, 32, 2))
    norm = layers.GroupNormalization(-1, center=False, scale=False, name="norm")
    maps = layers.Conv2D(3, 3, name="after")(norm(layers.Conv2D(4, 3)(inside)))
    model = keras.Model(inside, layers.Dense(2)(layers.GlobalMaxPooling2D()(maps)))
    tiny_models.randomize(model)
    x = np.random.default_rng(3).normal(size=(3, 32, 32, 2)).astype("float32")
    values = XGradCAM(model, layer="norm", signed=True)(x, 0).values
    assert not values.any()


def test_small_sums_are_divided_by_as_they_are():
    x, weights = cams.random_case(7, rows=2)
    tiny = (abs(x) * 1e-12).astype("float32")
    explanation = XGradCAM(cams.weighted(weights), layer="maps", signed=True)(tiny)
    grad = np.broadcast_to(weights, x.shape).astype(float)
    expected = cam_oracles.xgrad_cam(tiny.astype(float), grad)
    assert_same(explanation.values, expected[..., None])
