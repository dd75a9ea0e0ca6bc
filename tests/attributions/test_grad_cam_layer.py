"""Which layer GradCAM explains: every way to name one, and the automatic choice."""

import keras
import numpy as np
import pytest
from keras import layers, ops

import oracles
import tiny_models
from cases import TARGETS
from oracles import assert_same, differ
from tiny_models import KINDS
from xai_core import wrap
from xai_core.attributions import GradCAM


def expected(signed=False):
    return oracles.grad_cam_of("image", oracles.inputs("image"), TARGETS, signed)


def at(model, layer, **fields):
    return GradCAM(model, layer=layer, **fields)(KINDS["image"].inputs(), TARGETS)


# --- naming a layer -----------------------------------------------------------------------------


def test_layer_by_name_index_and_object():
    model = tiny_models.model("image", "GradCAM")
    for layer in ("conv2", 2, -3, model.get_layer("conv2")):
        assert_same(at(model, layer).values, expected())


def test_layer_in_a_nested_model_by_name_path_and_object():
    model = tiny_models.nested_image("trunk")
    inner = model.get_layer("trunk")
    for layer in ("conv2", "trunk/conv2", inner.get_layer("conv2"), "trunk", 0):
        assert_same(at(model, layer).values, expected())


def test_automatic_layer_in_a_nested_model():
    explanation = at(tiny_models.nested_image("trunk"), None)
    assert explanation.layer.split("/")[-1] in ("conv2", "trunk")
    assert_same(explanation.values, expected())


def test_path_tells_layers_of_one_name_apart():
    inside = keras.Input((7, 10, 2))
    blocks = []
    for name in ("one", "two"):
        block_in = keras.Input((7, 10, 2))
        conv = layers.Conv2D(2, 3, padding="same", activation="tanh", name="conv")
        blocks.append(keras.Model(block_in, conv(block_in), name=name))
    maps = blocks[1](blocks[0](inside))
    model = keras.Model(inside, layers.Dense(3)(layers.GlobalAveragePooling2D()(maps)))
    tiny_models.randomize(model)
    with pytest.raises(ValueError, match="`layer`") as error:
        at(model, "conv")
    assert "one/conv" in str(error.value)
    assert "two/conv" in str(error.value)
    assert differ(at(model, "one/conv").values, at(model, "two/conv").values)
    assert_same(at(model, "two/conv").values, at(model, "two").values)


def test_unknown_layer_names_the_near_ones():
    for wrong in ("conv3", "Conv2", "cnv2"):
        with pytest.raises(ValueError, match="`layer`") as error:
            at(tiny_models.model("image", "GradCAM"), wrong)
        assert repr(wrong) in str(error.value)
        assert "conv2" in str(error.value)


def test_layer_object_of_a_subclassed_model():
    x = np.random.default_rng(4).normal(size=(3, 2, 2, 2)).astype("float32")
    model = tiny_models.two_maps("subclassed")
    by_object = GradCAM(model, layer=model.parts[0], signed=True)(x)
    by_name = GradCAM(tiny_models.two_maps("flat"), layer="maps", signed=True)(x)
    assert_same(by_object.values, by_name.values)


def test_layer_of_another_model_is_refused():
    other = tiny_models.network("image").get_layer("conv2")
    with pytest.raises(ValueError, match="`layer`"):
        at(tiny_models.model("image", "GradCAM"), other)


# --- a layer that is called twice ---------------------------------------------------------------


def test_layer_called_twice_needs_call():
    with pytest.raises(ValueError, match="`call`") as error:
        at(tiny_models.model("shared", "GradCAM"), "shared")
    assert "2" in str(error.value)


def test_call_picks_one_of_the_calls():
    model = tiny_models.model("shared", "GradCAM")
    shared, dense = model.get_layer("shared"), model.layers[-1]
    kernel, bias = (ops.convert_to_numpy(w.value).astype(float) for w in shared.weights)
    x = oracles.inputs("image").astype(float)
    first = np.tanh(oracles.convolve(x, kernel, bias))
    weight = ops.convert_to_numpy(dense.kernel.value).astype(float)

    def rest(maps):
        return np.tanh(oracles.convolve(oracles.halve(maps), kernel, bias))

    def scores(maps):
        return (maps.mean((1, 2)) @ weight)[
            np.arange(len(maps)), np.repeat(TARGETS, len(maps) // 5)
        ]

    late = oracles.grad_cam(rest(first), oracles.gradient(scores, rest(first)), (7, 10))
    early = oracles.grad_cam(first, oracles.gradient(lambda a: scores(rest(a)), first), (7, 10))
    assert_same(at(model, "shared", call=1).values, late)
    assert_same(at(model, "shared", call=0).values, early)
    with pytest.raises(ValueError, match="`call`"):
        at(model, "shared", call=2)


def test_call_zero_is_the_call_of_a_layer_called_once():
    assert_same(at(tiny_models.model("image", "GradCAM"), "conv2", call=0).values, expected())


# --- the automatic choice -----------------------------------------------------------------------

APPLICATIONS = [
    ("VGG16", 32, "block5_conv3"),
    ("ResNet50", 64, "conv5_block3_out"),
    ("MobileNetV2", 64, "out_relu"),
]


@pytest.mark.parametrize(("name", "size", "layer"), APPLICATIONS, ids=lambda value: str(value))
def test_automatic_layer_of_known_architectures(name, size, layer):
    keras.utils.set_random_seed(0)
    model = getattr(keras.applications, name)(
        weights=None, classes=4, input_shape=(size, size, 3), classifier_activation=None
    )
    x = np.random.default_rng(0).normal(size=(1, size, size, 3)).astype("float32")
    explanation = GradCAM(model, signed=True)(x, 1)
    assert explanation.layer == layer
    assert explanation.values.shape == (1, size, size, 1)
    if name == "VGG16":
        nested = keras.Sequential([keras.Input((size, size, 3)), model])
        inside = GradCAM(nested, signed=True)(x, 1)
        assert inside.layer.split("/")[-1] == layer
        assert_same(inside.values, explanation.values)


def test_automatic_layer_of_the_benchmark_network_is_after_its_activation():
    keras.utils.set_random_seed(0)
    model = tiny_models.benchmark_network()
    x = np.random.default_rng(0).normal(size=(2, 32, 32, 3)).astype("float32")
    explanation = GradCAM(model)(x, 1)
    assert explanation.layer == "last"
    kernel = ops.convert_to_numpy(model.layers[-1].kernel.value)
    # The gradient of the score at the layer is spread by the pooling, so compare through Keras.
    features = keras.Model(model.inputs[0], model.get_layer("last").output)(x, training=False)
    maps = ops.convert_to_numpy(ops.stop_gradient(features))
    assert maps.min() == 0
    weight = kernel[:, 1] / (16 * 16)
    coarse = np.maximum(maps.astype(float) @ weight, 0)
    assert_same(explanation.values, oracles.resize(coarse, (32, 32))[..., None])


def test_merge_of_a_residual_block_is_chosen_and_not_an_auxiliary_branch():

    model = tiny_models.residual()
    x = KINDS["image"].inputs()
    explanation = GradCAM(wrap(model, select=0))(x, TARGETS)
    assert explanation.layer == "sum"
    assert GradCAM(wrap(model, select=1))(x, 1).layer == "auxiliary"


def two_branches():
    """The first class looks at the layer ``a`` only, the second at ``b`` only."""
    inside = keras.Input((7, 10, 2))
    columns = []
    for name in ("a", "b"):
        maps = layers.Conv2D(2, 3, activation="tanh", name=name)(inside)
        columns.append(layers.Dense(1)(layers.GlobalAveragePooling2D()(maps)))
    model = keras.Model(inside, layers.Concatenate()(columns))
    tiny_models.randomize(model)
    return model


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_automatic_layer_depends_on_the_score_and_not_on_earlier_calls(order):
    model, x = two_branches(), KINDS["image"].inputs()
    for target in order:
        explanation = GradCAM(model, signed=True)(x, target)
        assert explanation.layer == ("a", "b")[target]
        assert explanation.values.any()


@pytest.mark.filterwarnings("ignore::xai_core.ExplanationWarning")
def test_automatic_layer_does_not_depend_on_the_batch_size():
    x, targets = KINDS["image"].inputs(), np.array([0, 1, 0, 1, 1])
    whole = GradCAM(two_branches(), signed=True)(x, targets)
    parts = GradCAM(two_branches(), signed=True, batch_size=1)(x, targets)
    assert parts.layer == whole.layer
    assert_same(parts.values, whole.values)


def test_raw_operation_of_the_graph_is_a_candidate():
    inside = keras.Input((7, 10, 2))
    maps = ops.tanh(layers.Conv2D(3, 3, use_bias=False, name="conv")(inside))
    model = keras.Model(inside, layers.Dense(3)(layers.GlobalAveragePooling2D()(maps)))
    tiny_models.randomize(model)
    x = KINDS["image"].inputs()
    explanation = GradCAM(model)(x, TARGETS)
    assert explanation.layer != "conv"
    assert differ(explanation.values, GradCAM(model, layer="conv")(x, TARGETS).values)


def test_pooling_dropout_reshape_and_padding_are_no_candidates():
    model = keras.Sequential(
        [
            keras.Input((7, 10, 2)),
            layers.Conv2D(3, 3, activation="tanh", name="conv"),
            layers.Dropout(0.5),
            layers.ZeroPadding2D(1),
            layers.Identity(),
            layers.MaxPooling2D(2),
            layers.Reshape((5, 3, 3)),
            layers.Flatten(),
            layers.Dense(3),
        ]
    )
    tiny_models.randomize(model)
    x = KINDS["image"].inputs()
    assert GradCAM(model)(x, TARGETS).layer == "conv"


def test_model_without_spatial_layer_says_what_was_seen():
    model = keras.Sequential(
        [keras.Input((7, 10, 2)), layers.Flatten(name="flat"), layers.Dense(3)]
    )
    with pytest.raises(ValueError, match="`layer`"):
        GradCAM(model)(KINDS["image"].inputs(), TARGETS)
