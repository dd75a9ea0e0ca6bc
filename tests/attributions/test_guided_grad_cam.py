"""GuidedGradCAM: the product of guided backpropagation and the resized Grad-CAM."""

import keras
import numpy as np
import pytest
from keras import layers

import oracles
import tiny_models
from cases import TARGETS
from oracles import assert_same
from tiny_models import BACKEND, KINDS
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


def by_hand(x, kernels, targets):
    """Channels last: a convolution of size 1, ReLU, the mean of all places and a linear head."""
    into, head = (one.astype(float) for one in kernels)
    space = tuple(range(1, x.ndim - 1))
    places = np.prod(x.shape[1:-1])
    before = x.astype(float) @ into
    maps = np.maximum(before, 0)
    slope = head.T[targets].reshape(len(x), *[1] * len(space), -1) / places
    cam = np.maximum((slope * maps).sum(-1, keepdims=True), 0)
    passed = np.where((before > 0) & (slope > 0), slope, 0) @ into.T
    return cam * passed


def small_net(shape, kernels):
    inside = keras.Input(shape)
    rank = len(shape) - 1
    conv = (layers.Conv1D, layers.Conv2D, layers.Conv3D)[rank - 1](4, 1, use_bias=False)
    pool = (
        layers.GlobalAveragePooling1D,
        layers.GlobalAveragePooling2D,
        layers.GlobalAveragePooling3D,
    )[rank - 1]
    maps = layers.ReLU(name="maps")(conv(inside))
    dense = layers.Dense(3, use_bias=False)
    made = keras.Model(inside, dense(pool()(maps)))
    conv.set_weights([kernels[0].reshape([1] * rank + [*kernels[0].shape])])
    dense.set_weights([kernels[1]])
    return made


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("shape", [(9, 2), (5, 6, 2), (3, 4, 2, 2)])
def test_equals_the_oracle(shape, nested):
    generator = np.random.default_rng(4)
    x = generator.normal(size=(5, *shape)).astype("float32")
    kernels = [generator.normal(size=size).astype("float32") for size in ((2, 4), (4, 3))]
    model = small_net(shape, kernels)
    if nested:
        inside = keras.Input(shape)
        model = keras.Model(inside, model(inside))
    reducer = {} if len(shape) == 2 else {"reducer": None}
    found = GuidedGradCAM(model, layer="maps", **reducer)(x, TARGETS)
    assert_same(found.values, by_hand(x, kernels, TARGETS))
    assert found.rows.tolist() == [2] * 5


@pytest.mark.skipif(BACKEND != "torch", reason="torch modules")
def test_module_equals_the_oracle():
    from torch import nn

    generator = np.random.default_rng(4)
    x = generator.normal(size=(5, 5, 6, 2)).astype("float32")
    kernels = [generator.normal(size=size).astype("float32") for size in ((2, 4), (4, 3))]
    made = tiny_models.torch_closed_form(
        lambda m, x: m.head(m.act(m.conv(x)).mean((2, 3))),
        conv=tiny_models.torch_part(nn.Conv2d(2, 4, 1, bias=False), kernels[0].T),
        act=nn.ReLU(),
        head=tiny_models.torch_part(nn.Linear(4, 3, bias=False), kernels[1].T),
    )
    found = GuidedGradCAM(made, layer="act", reducer=None)(np.moveaxis(x, -1, 1), TARGETS)
    assert_same(np.moveaxis(found.values, 1, -1), by_hand(x, kernels, TARGETS))


@ANY_WARNING
def test_several_layers_cost_a_row_each(model):
    found = GuidedGradCAM(model, layer=["conv1", "conv2"])(X, TARGETS)
    assert found.rows.tolist() == [3] * len(X)


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
