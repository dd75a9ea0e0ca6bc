"""GradCAM: closed form, oracle, every way to name a layer, the automatic choice."""

import keras
import numpy as np
import pytest
from keras import layers, ops

import oracles
import tiny_models
from cases import TARGETS
from oracles import assert_same
from tiny_models import AT_MAPS, KINDS, PAIR
from xai_core.attributions import GradCAM, Saliency

SPATIAL = [kind for kind in KINDS.values() if kind.rank > 2 and kind.name != "shared"]
MAPS = np.stack([[[1.0, 2], [3, 4]], [[4, 0], [0, 0]]], axis=-1)[None].astype("float32")


def expected(signed=False):
    return oracles.grad_cam_of("image", oracles.inputs("image"), TARGETS, signed)


def at(model, layer, **fields):
    return GradCAM(model, layer=layer, **fields)(KINDS["image"].inputs(), TARGETS)


# --- closed form and oracle ---------------------------------------------------------------------


@pytest.mark.parametrize(("form", "layer"), AT_MAPS)
def test_two_maps_under_a_pooled_linear_head(form, layer):
    x = MAPS.transpose(0, 3, 1, 2) if form == "torch" else MAPS
    layer = tiny_models.maps_layer(form) if layer == "given" else None
    explanation = GradCAM(tiny_models.two_maps(form), layer=layer)(x)
    np.testing.assert_allclose(explanation.scores, [1.5], rtol=1e-6)
    np.testing.assert_allclose(
        explanation.values.reshape(2, 2), [[0, 0.5], [0.75, 1]], rtol=1e-6, atol=1e-6
    )
    assert explanation.layer.split("/")[-1] == (PAIR if isinstance(layer, tuple) else "maps")


@pytest.mark.parametrize(("form", "layer"), AT_MAPS)
def test_signed_map_keeps_what_speaks_against_the_score(form, layer):
    x = MAPS.transpose(0, 3, 1, 2) if form == "torch" else MAPS
    layer = tiny_models.maps_layer(form) if layer == "given" else None
    explanation = GradCAM(tiny_models.two_maps(form), layer=layer, signed=True)(x)
    np.testing.assert_allclose(
        explanation.values.reshape(2, 2), [[-0.75, 0.5], [0.75, 1]], rtol=1e-6, atol=1e-6
    )


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("kind", SPATIAL, ids=lambda kind: kind.name)
def test_equals_the_oracle(kind, signed):
    layer = "act2" if kind.native else "conv2"
    explainer = GradCAM(tiny_models.model(kind.name, "GradCAM"), layer=layer, signed=signed)
    explanation = explainer(kind.inputs(), TARGETS)
    x = oracles.inputs(kind.twin)
    assert_same(explanation.values, kind.layout(oracles.grad_cam_of(kind.twin, x, TARGETS, signed)))
    assert explanation.layer == layer


@pytest.mark.parametrize("kind", SPATIAL, ids=lambda kind: kind.name)
def test_automatic_layer_of_the_small_networks(kind):
    explanation = GradCAM(tiny_models.model(kind.name, "GradCAM"))(kind.inputs(), TARGETS)
    assert explanation.layer == ("act2" if kind.native else "conv2")


# --- the backward pass --------------------------------------------------------------------------


def with_recorded_backward(seen):
    """The image network with layers around ``conv2`` that note their backward pass."""

    class Recorder(layers.Layer):
        def call(self, x):
            @ops.custom_gradient
            def identity(x):
                def grad(*args, upstream=None):
                    seen.append(self.name)
                    return args[0] if upstream is None else upstream

                return x, grad

            return identity(x)

    flat = tiny_models.network("image")
    model = keras.Sequential(
        [
            keras.Input((7, 10, 2)),
            Recorder(name="below"),
            flat.layers[0],
            Recorder(name="between"),
            *flat.layers[1:3],
            Recorder(name="above"),
            *flat.layers[3:],
        ]
    )
    model(np.zeros((1, 7, 10, 2), "float32"))
    seen.clear()
    return model


def test_backward_pass_ends_at_the_layer():
    seen = []
    model = with_recorded_backward(seen)
    x = KINDS["image"].inputs()
    at_conv2 = GradCAM(model, layer="conv2")(x, TARGETS)
    assert set(seen) == {"above"}
    assert_same(at_conv2.values, expected())
    seen.clear()
    GradCAM(model, layer="conv1")(x, TARGETS)
    assert set(seen) == {"above", "between"}
    seen.clear()
    Saliency(model)(x, TARGETS)
    assert set(seen) == {"above", "between", "below"}


# --- what cannot be done ------------------------------------------------------------------------


def test_quantized_layer_cannot_be_tapped():
    model = keras.Sequential(
        [
            keras.Input((7, 10, 2)),
            layers.Conv2D(4, 3, activation="tanh", name="conv"),
            layers.Dense(4, activation="tanh", name="mix"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(3),
        ]
    )
    tiny_models.randomize(model)
    x = KINDS["image"].inputs()
    before = GradCAM(model, layer="mix")(x, TARGETS)
    assert before.values.shape == (5, 7, 10, 1)
    model.get_layer("mix").quantize("int8")
    with pytest.raises(ValueError, match="`layer`") as error:
        GradCAM(model, layer="mix")(x, TARGETS)
    assert "mix" in str(error.value)
    assert "quantized" in str(error.value)
    assert GradCAM(model, layer="conv")(x, TARGETS).values.any()


def test_layer_without_gradient_is_named():
    model = tiny_models.residual()
    from xai_core import wrap

    with pytest.raises(ValueError, match="auxiliary"):
        GradCAM(wrap(model, select=0), layer="auxiliary")(KINDS["image"].inputs(), TARGETS)


@pytest.mark.parametrize("layer", ["gap", "logits"])
def test_layer_without_spatial_map_is_refused(layer):
    with pytest.raises(ValueError, match="`layer`") as error:
        at(tiny_models.model("image", "GradCAM"), layer)
    assert layer in str(error.value)


def test_tables_are_refused():
    with pytest.raises(ValueError, match=r"spatial|table|rank"):
        GradCAM(tiny_models.model("table", "GradCAM"), layer="hidden")(
            KINDS["table"].inputs(), TARGETS
        )


def test_block_that_returns_a_tuple_gives_its_first_tensor():
    class Block(keras.Model):
        def __init__(self):
            super().__init__()
            self.conv = layers.Conv2D(4, 3, padding="same", activation="tanh", name="conv")

        def call(self, x):
            maps = self.conv(x)
            return maps, ops.mean(maps)

    class Outer(keras.Model):
        def __init__(self):
            super().__init__()
            self.block = Block()
            self.dense = layers.Dense(3)

        def call(self, x):
            return self.dense(ops.mean(self.block(x)[0], axis=(1, 2)))

    model = Outer()
    x = KINDS["image"].inputs()
    model(x)
    tiny_models.randomize(model)
    explanation = GradCAM(model, layer=model.block)(x, TARGETS)
    assert_same(explanation.values, GradCAM(model, layer="conv")(x, TARGETS).values)
    assert any("first" in note for note in explanation.notes)
