"""Layers that no map can be made at: samples folded into the batch, unknown layouts, no tensor."""

import functools

import keras
import numpy as np
import pytest
from keras import layers, ops

import tiny_models
from cams import METHODS, SMALLER
from oracles import assert_same
from tiny_models import BACKEND
from xai_core import attributions, operators, wrap, wrappers
from xai_core.attributions import EigenCAM, FullGrad, GradCAM, IntegratedGradients, Saliency

X = np.random.default_rng(0).normal(size=(3, 8, 8, 2)).astype("float32")


# --- samples folded into the batch --------------------------------------------------------------


@functools.cache
def patches():
    """A block whose convolution sees the four quarters of an image as rows of their own."""

    class Patches(layers.Layer):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.conv = layers.Conv2D(3, 3, padding="same", activation="relu", name="inside")

        def call(self, x):
            x = ops.transpose(ops.reshape(x, (-1, 2, 4, 2, 4, 2)), (0, 1, 3, 2, 4, 5))
            x = self.conv(ops.reshape(x, (-1, 4, 4, 2)))
            x = ops.transpose(ops.reshape(x, (-1, 2, 2, 4, 4, 3)), (0, 1, 3, 2, 4, 5))
            return ops.reshape(x, (-1, 8, 8, 3))

    inside = keras.Input((8, 8, 2))
    maps = Patches(name="block")(inside)
    model = keras.Model(inside, layers.Dense(3)(layers.GlobalAveragePooling2D()(maps)))
    tiny_models.randomize(model)
    return model


AT_LAYERS = {
    **{name: SMALLER.get(name, {}) for name in METHODS},
    "Saliency": {},
    "GradientInput": {},
    "GuidedBackprop": {},
    "IntegratedGradients": {"steps": 4},
    "Conductance": {"steps": 4},
    "ExpectedGradients": {"background": X, "n_samples": 4},
    "DeepLIFT": {},
}


@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize("name", AT_LAYERS)
def test_folded_rows_are_refused_by_name(name, rows):
    explainer = getattr(attributions, name)(patches(), layer="block/inside", **AT_LAYERS[name])
    with pytest.raises(ValueError, match="`layer` must give one row per sample") as error:
        explainer(X[:rows], 0)
    assert "'block/inside', which gives 4 rows for one" in str(error.value)


def test_folded_rows_are_never_chosen():
    for cls in (GradCAM, EigenCAM):
        assert cls(patches())(X, 0).layer == "block"


def test_full_grad_refuses_folded_rows():
    for rows in (1, 3):
        with pytest.raises(ValueError, match="`model`") as error:
            FullGrad(patches())(X[:rows], 0)
        assert "'block/inside', which gives 4 rows for one" in str(error.value)


def test_pair_with_a_folded_middle_is_refused():
    if BACKEND == "torch":
        from torch import nn

        model = nn.Sequential(nn.Conv2d(2, 3, 1), nn.Flatten(0, 1), nn.Unflatten(0, (-1, 3)))
        model = nn.Sequential(*model, nn.Flatten(), nn.Linear(192, 2)).eval()
        halves = model[:2], model[2:]
        wrapped, x = model, X.transpose(0, 3, 1, 2)
    else:

        def features(x):
            return ops.reshape(x, (-1, 2))

        def head(h):
            return ops.sum(ops.reshape(h, (-1, 64, 2)), axis=1)

        name = {"jax": "JaxFunction", "tensorflow": "TensorFlowFunction"}[BACKEND]
        wrapped = getattr(wrappers, name)(lambda x: head(features(x)))
        halves, x = (features, head), X
    with pytest.raises(ValueError, match="`layer` must give one row per sample"):
        Saliency(wrapped, layer=halves)(x, 0)


def test_embedding_of_folded_tokens_is_refused():
    inside = keras.Input((2, 4), dtype="int32")
    tokens = layers.Lambda(lambda x: ops.reshape(x, (-1, 4)), output_shape=(4,))(inside)
    vectors = layers.Embedding(10, 3, name="vectors")(tokens)
    unfolded = layers.Lambda(lambda x: ops.reshape(x, (-1, 24)), output_shape=(24,))(vectors)
    model = keras.Model(inside, layers.Dense(2)(unfolded))
    with pytest.raises(ValueError, match="`layer` must give one row per sample") as error:
        Saliency(model)(np.ones((3, 2, 4), "int32"), 0)
    assert "'vectors', which gives 2 rows for one" in str(error.value)


# --- layouts ------------------------------------------------------------------------------------

MIXED = pytest.mark.skipif(BACKEND == "tensorflow", reason="the CPU has no channels-first kernels")


@functools.cache
def twins():
    """One network with channels last, and with a last convolution that is channels first."""
    inside = keras.Input((6, 4, 2))
    early = layers.Conv2D(3, 3, padding="same", activation="relu", name="early")
    dense = layers.Dense(3)
    made = []
    for layout in ("channels_last", "channels_first"):
        fields = {"padding": "same", "data_format": layout}
        late = layers.Conv2D(5, 3, name="late", activation="tanh", **fields)
        behind = layers.Activation("tanh", name="behind")(early(inside))
        before = layers.Permute((3, 1, 2))(behind) if layout == "channels_first" else behind
        maps = late(layers.Activation("tanh", name="before")(before))
        pooled = layers.GlobalAveragePooling2D(data_format=layout)(maps)
        made.append(keras.Model(inside, dense(pooled)))
    tiny_models.randomize(made[0])
    made[1].get_layer("late").set_weights(made[0].get_layer("late").get_weights())
    return made


SMALL = np.random.default_rng(1).normal(size=(2, 6, 4, 2)).astype("float32")


@MIXED
@pytest.mark.parametrize("layer", ["early", "behind", "before", "late", None])
@pytest.mark.parametrize("name", METHODS)
def test_maps_at_layers_of_both_layouts(name, layer):
    fields = {"layer": layer, "signed": True, **SMALLER.get(name, {})}
    one, other = (getattr(attributions, name)(model, **fields)(SMALL, 1) for model in twins())
    assert_same(other.values, one.values)


@MIXED
@pytest.mark.parametrize("layer", ["early", "behind", "before", "late"])
def test_channels_of_both_layouts_are_reduced(layer):
    one, other = (Saliency(model, layer=layer)(SMALL, 1) for model in twins())
    moved = layer in ("before", "late")
    assert other.data_format == ("channels_first" if moved else "channels_last")
    assert_same(np.moveaxis(other.values, 1, -1) if moved else other.values, one.values)


@MIXED
def test_terms_of_both_layouts_are_added():
    one, other = (FullGrad(model)(SMALL, 1) for model in twins())
    assert_same(other.values, one.values)


@MIXED
def test_neuron_is_a_channel_of_the_layers_own_layout():
    for layer in ("early", "late"):
        one, other = (
            Saliency(model, operator=operators.neuron(layer, 1))(SMALL).values for model in twins()
        )
        assert_same(other, one)
    with pytest.raises(ValueError, match="`index` must be a tuple"):
        Saliency(twins()[1], operator=operators.neuron("before", 1))(SMALL)


@MIXED
def test_layout_that_nothing_tells_is_refused_and_not_chosen():
    inside = keras.Input((6, 4, 2))
    first = layers.Conv2D(3, 3, padding="same", data_format="channels_first", name="first")
    maps = layers.Conv2D(3, 3, padding="same", name="last")(inside)
    maps = layers.Permute((2, 3, 1))(first(layers.Permute((3, 1, 2))(maps)))
    maps = layers.Activation("tanh", name="unknown")(maps)
    model = keras.Model(inside, layers.Dense(3)(layers.Flatten()(maps)))
    with pytest.raises(ValueError, match="`layer` must tell which axis") as error:
        GradCAM(model, layer="unknown")(SMALL, 1)
    assert "'unknown', behind moved axes" in str(error.value)
    assert GradCAM(model, signed=True)(SMALL, 1).layer == "first"


# --- what is no tensor --------------------------------------------------------------------------


def returns_a_dict():
    class Block(layers.Layer):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.conv = layers.Conv2D(3, 3, name="inside")

        def call(self, x):
            return {"maps": self.conv(x), "mean": ops.mean(x)}

    class Model(keras.Model):
        def __init__(self):
            super().__init__()
            self.block, self.dense = Block(name="block"), layers.Dense(2)

        def call(self, x):
            return self.dense(ops.mean(self.block(x)["maps"], axis=(1, 2)))

    model = Model()
    model(X)
    return model


def module_that_returns_a_dict():
    from torch import nn

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.inside = nn.Conv2d(8, 3, 3, padding=1)

        def forward(self, x):
            return {"maps": self.inside(x), "mean": x.mean()}

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.block, self.dense = Block(), nn.Linear(3, 2)

        def forward(self, x):
            return self.dense(self.block(x)["maps"].mean((2, 3)))

    return Model().eval()


MAKERS = [returns_a_dict, *([module_that_returns_a_dict] if BACKEND == "torch" else [])]


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("cls", [GradCAM, EigenCAM, Saliency, IntegratedGradients])
def test_layer_that_returns_a_dict_is_said_to(make, cls):
    with pytest.raises(ValueError, match="`layer` must return a tensor") as error:
        cls(wrap(make()), layer="block")(X, 0)
    assert "'block', which returns dict" in str(error.value)


@pytest.mark.parametrize("make", MAKERS)
def test_layer_inside_one_that_returns_a_dict_is_found(make):
    assert GradCAM(make(), signed=True)(X, 0).layer[-6:] == "inside"
