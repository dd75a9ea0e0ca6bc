"""Reach inside a Keras model: find a layer, tap its output, read the layout, see the last call."""

import threading
from collections import namedtuple

import keras
import numpy as np
import pytest
from keras import layers, ops
from keras.src import backend

import tiny_models
from model_state import host, outputs, traces_left
from naming import shown
from oracles import assert_same
from tiny_models import KINDS
from xai_core import layers as inside
from xai_core.layers import Place, final_calls, find, places, tap
from xai_core.wrappers.keras_layouts import data_format

X = KINDS["image"].inputs(2)


def run(model, x=X):
    return host(model(x, training=False))


def paths(model):
    return [place.path for place in places(model)]


class Listed(keras.Model):
    """A subclassed model that keeps its layers in a list, one of them a functional model."""

    def __init__(self):
        super().__init__()
        inner = keras.Input((7, 10, 2))
        conv = layers.Dense(3, name="conv")
        self.blocks = [
            keras.Model(inner, conv(inner), name="trunk"),
            layers.GlobalAveragePooling2D(name="gap"),
            layers.Dense(3, name="out"),
        ]

    def call(self, x):
        for block in self.blocks:
            x = block(x)
        return x


def listed():
    model = Listed()
    model(X)
    return model


def twins():
    """Two nested models, ``one`` and ``two``, each with a layer ``conv``."""
    made = []
    for name in ("one", "two"):
        inner = keras.Input((7, 10, 2))
        conv = layers.Dense(2, name="conv")
        made.append(keras.Model(inner, conv(inner), name=name))
    return keras.Sequential([keras.Input((7, 10, 2)), *made, layers.GlobalAveragePooling2D()])


# --- finding a layer ----------------------------------------------------------------------------


def test_places_are_paths_from_the_users_model_each_layer_once():
    flat = paths(tiny_models.model("image"))
    assert flat[-5:] == ["conv1", "pool", "conv2", "gap", "logits"]
    nested = paths(tiny_models.nested_image("trunk"))
    assert nested.index("trunk") < nested.index("trunk/conv1") < nested.index("gap")
    assert paths(tiny_models.model("shared")).count("shared") == 1
    assert {"trunk", "trunk/conv", "gap", "out"} <= set(paths(listed()))


def test_operations_of_a_functional_model_are_places():
    given = keras.Input((4,))
    model = keras.Model(given, layers.Dense(2)(ops.tanh(given)))
    assert "Tanh" in [type(place.layer).__name__ for place in places(model)]
    tanh = next(place for place in places(model) if type(place.layer).__name__ == "Tanh")
    assert find(model, tanh.path) == tanh


@pytest.mark.parametrize("name", ["conv", "trunk/conv", "object"], ids=["name", "path", "object"])
@pytest.mark.parametrize("make", [listed, lambda: keras.Sequential(listed().blocks)])
def test_layer_of_a_nested_model_is_found(make, name):
    model = make()
    conv = model.layers[0].get_layer("conv")
    place = find(model, conv if name == "object" else name)
    assert place == Place("trunk/conv", conv)


def test_index_counts_the_layers_of_the_top_model():
    model = tiny_models.model("image")
    for index in (0, 2, -1):
        assert find(model, index).layer is model.layers[index]
    for index in (5, -6):
        with pytest.raises(ValueError, match=f"`layer`.*5 layers. Received: {index}"):
            find(model, index)


def test_ambiguous_name_lists_the_paths():
    with pytest.raises(ValueError, match=r"ambiguous.*'one/conv', 'two/conv'"):
        find(twins(), "conv")
    assert find(twins(), "two/conv").path == "two/conv"


def test_exact_path_wins_over_names_inside():
    model = twins()
    outer = layers.Dense(2, name="conv")
    model.add(layers.Reshape((1, 1, 2)))
    model.add(outer)
    assert find(model, "conv").layer is outer


def test_layer_in_two_nested_models_is_found_by_both_paths():
    shared = layers.Dense(3, name="shared")
    blocks = []
    for name in ("one", "two"):
        inner = keras.Input((3,))
        blocks.append(keras.Model(inner, shared(inner), name=name))
    model = keras.Sequential([keras.Input((3,)), *blocks])
    assert find(model, "shared").layer is shared
    for path in ("one/shared", "two/shared"):
        assert find(model, path).layer is shared


@pytest.mark.parametrize(
    ("wrong", "near"),
    [("Conv2", "conv2"), ("trunk/conv3", "trunk/conv2"), ("convolution", "logits")],
)
def test_unknown_name_offers_near_names_or_the_last_layers(wrong, near):
    with pytest.raises(ValueError, match=r"`layer`") as error:
        find(tiny_models.nested_image("trunk"), wrong)
    assert repr(wrong) in str(error.value)
    assert repr(near) in str(error.value)


@pytest.mark.parametrize("wrong", [True, 1.0, None, keras.layers.Dense(2)], ids=shown)
def test_what_is_no_layer_of_the_model_is_refused(wrong):
    with pytest.raises(ValueError, match=r"`layer` must be a name, a path, an index or a layer"):
        find(tiny_models.model("image"), wrong)


# --- tapping its output -------------------------------------------------------------------------


@pytest.mark.parametrize("make", [tiny_models.nested_image, lambda: tiny_models.network("image")])
def test_tap_records_and_replaces(make):
    model = make()
    before = outputs(model, X)
    seen = []

    def record(output):
        seen.append(host(output))
        return output

    with tap(find(model, "conv2"), record):
        assert_same(run(model), before, 0)
    (maps,) = seen
    assert maps.shape == (2, 3, 5, 6)
    replaced = np.random.default_rng(0).normal(size=maps.shape).astype("float32")
    with tap(find(model, "conv2"), lambda output: ops.convert_to_tensor(replaced)):
        changed = run(model)
    kernel, bias = (host(w.value) for w in model.layers[-1].weights)
    assert_same(changed, replaced.astype(float).mean((1, 2)) @ kernel + bias)
    assert_same(run(model), before, 0)


def test_tap_of_an_operation_of_the_graph():
    given = keras.Input((4,))
    model = keras.Model(given, 2 * ops.tanh(given))
    tanh = next(place for place in places(model) if type(place.layer).__name__ == "Tanh")
    x = KINDS["table"].inputs(2)
    with tap(tanh, lambda output: output + 1):
        assert_same(run(model, x), 2 * (np.tanh(x.astype(float)) + 1))
    assert_same(run(model, x), 2 * np.tanh(x.astype(float)))


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_model_is_as_it_was_after_an_exception(error):
    model = tiny_models.fresh("image")
    before, left, attributes = outputs(model, X), traces_left(model), set(vars(model.layers[0]))

    def failing(output):
        raise error

    with pytest.raises(error), tap(find(model, "conv1"), failing):
        run(model)
    assert traces_left(model) == left
    assert set(vars(model.layers[0])) == attributes
    assert_same(run(model), before, 0)


def test_exception_in_the_block_is_not_hidden_by_the_count_of_calls():
    with (
        pytest.raises(RuntimeError, match=r"mine"),
        tap(find(tiny_models.model("image"), "conv1"), lambda output: output),
    ):
        raise RuntimeError("mine")


def test_taps_nest_and_end_in_order():
    model = tiny_models.fresh("image")
    place = find(model, "logits")
    before = run(model)
    with tap(place, lambda output: output + 1):
        with tap(place, lambda output: output * 2):
            assert_same(run(model), (before + 1) * 2, 1e-6)
        assert "call" in vars(place.layer)
    assert "call" not in vars(place.layer)


def test_own_call_of_an_instance_comes_back():
    model = tiny_models.fresh("image")
    layer = model.get_layer("logits")
    usual = layer.call
    layer.__dict__["call"] = own = lambda *args, **kwargs: 3 * usual(*args, **kwargs)
    expected = run(model)
    with tap(find(model, "logits"), lambda output: output + 1):
        assert_same(run(model), expected + 1, 1e-6)
    assert vars(layer)["call"] is own


def test_other_threads_pass_through():
    model = tiny_models.fresh("image")
    before = run(model)
    found = []
    with tap(find(model, "logits"), lambda output: output + 1):
        thread = threading.Thread(target=lambda: found.append(run(model)))
        thread.start()
        thread.join()
        assert_same(run(model), before + 1, 1e-6)
    assert_same(found[0], before, 0)


def test_call_says_which_of_several_calls():
    model = tiny_models.model("shared")
    place = find(model, "shared")
    shapes = []

    def record(output):
        shapes.append(tuple(output.shape[1:]))
        return output

    for call, shape in ((0, (7, 10, 2)), (1, (3, 5, 2))):
        with tap(place, record, call):
            run(model)
        assert shapes.pop() == shape
        assert not shapes
    with (
        pytest.raises(ValueError, match=r"`call` must say which call of 'shared'.*from 0 to 1"),
        tap(place, record),
    ):
        run(model)
    with (
        pytest.raises(ValueError, match=r"`call` must be less than 2.*Received: 2"),
        tap(place, record, 2),
    ):
        run(model)


def test_tap_that_never_fires_raises():
    model = tiny_models.network("table")
    x = KINDS["table"].inputs(2)
    model.get_layer("hidden").quantize("int8")
    with (
        pytest.raises(ValueError, match=r"`layer` must be called by the model. Received: 'hidden'"),
        tap(find(model, "hidden"), lambda output: output),
    ):
        run(model, x)
    assert "call" not in vars(model.get_layer("hidden"))


Pair = namedtuple("Pair", "first second")


@pytest.mark.parametrize(
    "make", [lambda a, b: (a, b), lambda a, b: [a, b], Pair], ids=["tuple", "list", "named tuple"]
)
def test_hook_gets_the_first_tensor_of_several(make):
    output = inside.on_first_tensor(make(np.ones(2), np.zeros(3)), lambda first: first + 1)
    assert type(output) is type(make(0, 0))
    assert output[0].tolist() == [2, 2]
    assert output[1].tolist() == [0, 0, 0]


# --- the layout of images -----------------------------------------------------------------------


def stack(*parts, shape=(8, 8, 8)):
    return keras.Sequential([keras.Input(shape), *parts])


FIRST, LAST = "channels_first", "channels_last"


@pytest.mark.parametrize("layout", [FIRST, LAST])
@pytest.mark.parametrize(
    "layer",
    [
        lambda layout: layers.Conv2D(2, 3, padding="same", data_format=layout),
        lambda layout: layers.AveragePooling2D(2, data_format=layout),
        lambda layout: layers.UpSampling2D(2, data_format=layout),
        lambda layout: layers.ZeroPadding2D(1, data_format=layout),
        lambda layout: layers.Resizing(4, 4, data_format=layout),
    ],
    ids=["conv", "pooling", "upsampling", "padding", "resizing"],
)
def test_layout_is_that_of_the_first_layer_that_has_one(layer, layout):
    model = stack(layers.Rescaling(2.0), layer(layout), layers.Flatten(), layers.Dense(2))
    assert data_format(model) == layout
    assert data_format(stack(model)) == layout


def test_layout_without_such_a_layer_is_the_setting_of_keras():
    model = stack(layers.Flatten(), layers.Dense(2))
    assert data_format(model) == LAST
    try:
        keras.config.set_image_data_format(FIRST)
        assert data_format(model) == FIRST
    finally:
        keras.config.set_image_data_format(LAST)


def transposed():
    given = keras.Input((8, 8, 8))
    moved = ops.transpose(given, (0, 3, 1, 2))
    return keras.Model(given, layers.Conv2D(2, 3, data_format=FIRST)(moved))


@pytest.mark.parametrize(
    "make",
    [
        lambda: stack(layers.Permute((3, 1, 2)), layers.Conv2D(2, 3, data_format=FIRST)),
        lambda: stack(layers.Reshape((8, 8, 8)), layers.Conv2D(2, 3, data_format=FIRST)),
        transposed,
    ],
    ids=["Permute", "Reshape", "operation"],
)
def test_layout_behind_a_permutation_is_not_that_of_the_inputs(make):
    assert data_format(make()) == LAST


def test_two_layouts_raise_and_name_the_layers():
    parts = [
        layers.AveragePooling2D(2, data_format=LAST, name="a"),
        layers.AveragePooling2D(2, data_format=FIRST, name="b"),
    ]
    with pytest.raises(ValueError, match=r"`data_format` must be given.*'a'.*'b'"):
        data_format(stack(*parts))


# --- the last softmax or sigmoid ----------------------------------------------------------------


def originals():
    return backend.nn.softmax, backend.nn.sigmoid


def test_final_calls_are_listed_in_order():
    before = originals()
    x = ops.convert_to_tensor([[1.0, 2.0]])
    with final_calls() as calls:
        first = keras.activations.softmax(x)
        second = ops.sigmoid(x)
    assert [call.kind for call in calls] == ["softmax", "sigmoid"]
    assert calls[0].before is x
    assert calls[0].after is first
    assert calls[1].after is second
    assert originals() == before


def test_bypassed_call_returns_what_went_in():
    x = ops.convert_to_tensor([[1.0, 2.0]])
    with final_calls(bypass=1):
        assert ops.softmax(x) is not x
        assert ops.softmax(x) is x
        assert ops.softmax(x) is not x


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_functions_come_back_after_an_exception(error):
    before = originals()
    with pytest.raises(error), final_calls(bypass=0):
        raise error
    assert originals() == before


def test_calls_of_other_threads_are_not_listed():
    x = ops.convert_to_tensor([[1.0, 2.0]])
    found = []
    with final_calls() as calls:
        thread = threading.Thread(target=lambda: found.append(host(ops.softmax(x))))
        thread.start()
        thread.join()
        assert calls == []
    assert_same(found[0].sum(-1), np.ones(1))
