"""GuidedGradCAM: the product of guided backpropagation and the resized Grad-CAM."""

import keras
import numpy as np
import pytest
from keras import layers

import oracles
import tiny_models
from cases import TARGETS
from oracles import assert_same
from tiny_models import KINDS
from xai_core.attributions import GradCAM, GuidedBackprop, GuidedGradCAM

X = oracles.inputs("image")


@pytest.fixture(scope="module")
def model():
    return tiny_models.network("image", trunk="relu")


# The twin has a tanh behind its rectifier.
ANY_WARNING = pytest.mark.filterwarnings("ignore::xai_core.ExplanationWarning")


@ANY_WARNING
@pytest.mark.parametrize("layer", [None, "conv1"])
def test_is_the_product_of_both(model, layer):
    cam = GradCAM(model, layer=layer)(X, TARGETS)
    guided = GuidedBackprop(model, reducer=None)(X, TARGETS).values
    explanation = GuidedGradCAM(model, layer=layer, reducer=None)(X, TARGETS)
    assert guided.shape == X.shape
    assert_same(explanation.values, cam.values * guided)
    assert explanation.layer == cam.layer
    reduced = GuidedGradCAM(model, layer=layer)(X, TARGETS).values
    assert_same(reduced, cam.values * np.abs(guided).mean(-1, keepdims=True))


@ANY_WARNING
def test_predicted_class_is_that_of_both_and_batches_do_not_matter(model):
    predicted = GradCAM(model)(X).targets
    whole, parts = GuidedGradCAM(model)(X), GuidedGradCAM(model, batch_size=2)(X)
    assert np.array_equal(whole.targets, predicted)
    assert_same(parts.values, whole.values)
    assert_same(whole.values, GuidedGradCAM(model)(X, predicted).values)
    assert whole.rows.tolist() == [2] * len(X)


@ANY_WARNING
def test_channels_first():
    # Keras adds no bias along the wrong axis where the width is no number of filters.
    first = tiny_models.network("image", channels_first=True, trunk="relu")
    last = tiny_models.network("image", trunk="relu")
    found = GuidedGradCAM(first)(KINDS["channels_first"].inputs(), TARGETS).values
    assert_same(np.moveaxis(found, 1, -1), GuidedGradCAM(last)(X, TARGETS).values)


@ANY_WARNING
def test_call_of_a_shared_layer():
    inside = keras.Input((7, 10, 2))
    shared = layers.Conv2D(2, 3, padding="same", activation="relu", name="shared")
    twice = shared(layers.AveragePooling2D(2)(shared(inside)))
    made = keras.Model(inside, layers.Dense(3)(layers.GlobalAveragePooling2D()(twice)))
    tiny_models.randomize(made)
    for call in (0, 1):
        cam = GradCAM(made, layer="shared", call=call)(X, TARGETS).values
        guided = GuidedBackprop(made, reducer=None)(X, TARGETS).values
        found = GuidedGradCAM(made, layer="shared", call=call, reducer=None)(X, TARGETS)
        assert_same(found.values, cam * guided)
        assert found.layer == ("shared (call 1)" if call else "shared")


def test_needs_maps_and_a_rectifier():
    with pytest.raises(ValueError, match="rectifier"):
        GuidedGradCAM(tiny_models.network("image"))(X, TARGETS)
    table = keras.Sequential([keras.Input((4,)), layers.Dense(3, activation="relu")])
    with pytest.raises(ValueError, match="space or time"):
        GuidedGradCAM(table)(oracles.inputs("table"), 0)
