"""GradCAMPlusPlus: closed form, oracle, and gradients that a power of them would break."""

import keras
import numpy as np
import pytest
from keras import layers

import oracles
import tiny_models
from cases import TARGETS
from oracles import assert_same
from tiny_models import AT_MAPS, KINDS, PAIR
from xai_core.attributions import GradCAM, GradCAMPlusPlus

RNG = np.random.default_rng(8)
SPATIAL = [kind for kind in KINDS.values() if kind.rank > 2 and kind.name != "shared"]
MAPS = np.stack([[[1.0, 2], [3, 4]], [[4, 0], [0, 0]]], axis=-1)[None].astype("float32")
CONVOLUTIONS = {3: layers.Conv1D, 4: layers.Conv2D, 5: layers.Conv3D}
SHAPES = [(9, 3), (5, 4, 3), (3, 4, 2, 3)]


# --- closed form and oracle ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("form", "layer", "signed"),
    [*((*place, False) for place in AT_MAPS), *((*place, True) for place in AT_MAPS[:2])],
)
def test_two_maps_under_a_pooled_linear_head(form, layer, signed):
    x = MAPS.transpose(0, 3, 1, 2) if form == "torch" else MAPS
    layer = tiny_models.maps_layer(form) if layer == "given" else None
    explanation = GradCAMPlusPlus(tiny_models.two_maps(form), layer=layer, signed=signed)(x)
    np.testing.assert_allclose(explanation.scores, [1.5], rtol=1e-6)
    # Of each of the four gradients .25 of the first map: .25 / (2 + 10 * .25) = 1/18.
    np.testing.assert_allclose(
        explanation.values.reshape(2, 2), np.array([[1, 2], [3, 4]]) * 2 / 9, rtol=1e-6
    )
    assert explanation.layer.split("/")[-1] == (PAIR if isinstance(layer, tuple) else "maps")


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("kind", SPATIAL, ids=lambda kind: kind.name)
def test_equals_the_oracle(kind, signed):
    layer = "act2" if kind.native else "conv2"
    model = tiny_models.model(kind.name, "GradCAMPlusPlus")
    explanation = GradCAMPlusPlus(model, layer=layer, signed=signed)(kind.inputs(), TARGETS)
    x = oracles.inputs(kind.twin)
    expected = oracles.cam_of(kind.twin, x, TARGETS, oracles.grad_cam_plus_plus, signed)
    assert_same(explanation.values, kind.layout(expected))
    assert explanation.layer == layer


def weighted(weights):
    """A network whose layer ``maps`` returns its input x; f = sum of ``weights`` times x."""
    rank = weights.ndim + 1
    maps = CONVOLUTIONS[rank](weights.shape[-1], 1, use_bias=False, name="maps")
    dense = layers.Dense(1, use_bias=False, name="out")
    model = keras.Sequential([keras.Input(weights.shape), maps, layers.Flatten(), dense])
    eye = np.eye(weights.shape[-1])
    maps.set_weights([eye.reshape([1] * (rank - 2) + [*eye.shape])])
    dense.set_weights([weights.reshape(-1, 1)])
    return model


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("shape", SHAPES, ids=["series", "image", "volume"])
def test_random_activations_and_gradients(shape, signed):
    x = RNG.normal(0.3, 1.0, (4, *shape)).astype("float32")
    weights = RNG.normal(size=shape).astype("float32")
    weights[RNG.random(shape) < 0.3] = 0  # positions, and one channel, without a gradient
    weights[..., 1] = 0
    explanation = GradCAMPlusPlus(weighted(weights), layer="maps", signed=signed)(x)
    grad = np.broadcast_to(weights, x.shape).astype(float)
    expected = oracles.grad_cam_plus_plus(x.astype(float), grad, shape[:-1], signed)
    assert_same(explanation.values, expected)


def test_is_not_grad_cam():
    x = KINDS["image"].inputs()
    model = tiny_models.model("image", "GradCAMPlusPlus")
    maps = [cls(model, layer="conv2")(x, TARGETS).values for cls in (GradCAM, GradCAMPlusPlus)]
    assert oracles.differ(*maps)


# --- gradients of every size --------------------------------------------------------------------


@pytest.mark.parametrize("size", [1e-30, 1e-15, 1e15, 1e30])
def test_no_power_of_a_gradient_overflows_or_vanishes(size):
    x = RNG.uniform(0.1, 1.0, (2, 5, 4, 3)).astype("float32")
    weights = RNG.normal(size=(5, 4, 3)).astype("float32") * np.float32(size)
    explanation = GradCAMPlusPlus(weighted(weights), layer="maps")(x)
    grad = np.broadcast_to(weights, x.shape).astype(float)
    assert_same(explanation.values, oracles.grad_cam_plus_plus(x.astype(float), grad, (5, 4)))
    assert explanation.values.any()


def test_denominator_of_zero_counts_for_nothing():
    # The channel sums up to -4: with the gradient .5 the denominator is .5 - .5 = 0.
    x = np.array([[-1.0, -1.0, -2.0, 0.0]], "float32")[..., None]
    weights = np.array([0.5, 0.25, 0.0, -0.5], "float32")[:, None]
    explanation = GradCAMPlusPlus(weighted(weights), layer="maps", signed=True)(x)
    share = 0.25 / (2 - 4 * 0.25)
    np.testing.assert_allclose(explanation.values, share * x, rtol=1e-6)


def test_negative_denominator_follows_the_formula():
    # The channel sums up to -4: with the gradient 1 it is 2 - 4, and the weight -1/2.
    x = np.array([[-1.0, -3.0]], "float32")[..., None]
    weights = np.array([1.0, -1.0], "float32")[:, None]
    explanation = GradCAMPlusPlus(weighted(weights), layer="maps")(x)
    np.testing.assert_allclose(explanation.values[0, :, 0], [0.5, 1.5], rtol=1e-6)


def test_channels_without_positive_gradient_give_zeros():
    x = RNG.normal(size=(2, 5, 4, 3)).astype("float32")
    weights = -np.abs(RNG.normal(size=(5, 4, 3))).astype("float32")
    explanation = GradCAMPlusPlus(weighted(weights), layer="maps", signed=True)(x)
    assert not explanation.values.any()


# --- what cannot be done ------------------------------------------------------------------------


def test_tables_are_refused():
    model = tiny_models.model("table", "GradCAMPlusPlus")
    with pytest.raises(ValueError, match=r"`GradCAMPlusPlus` needs one input with space"):
        GradCAMPlusPlus(model)(KINDS["table"].inputs(), TARGETS)
