"""Keras models of every kind: how they are called, checked, and what a dry run sees of them."""

import keras
import numpy as np
import pytest
from keras import layers, ops

import oracles
import tiny_models
from model_state import host, traces_left, weights
from oracles import assert_same
from tiny_models import BACKEND, KINDS
from xai_core import wrap
from xai_core.attributions import GradCAM, GradientInput, RandomMap, Saliency, SmoothGrad

X = KINDS["table"].inputs(3)
IMAGES = KINDS["image"].inputs(2)


def small(*parts, shape=(4,), dtype=None):
    made = keras.Sequential([keras.Input(shape, dtype=dtype), *parts])
    tiny_models.randomize(made)
    return made


# --- calling it ---------------------------------------------------------------------------------


def test_model_is_called_in_inference_mode():
    model = small(layers.BatchNormalization(), layers.Dropout(0.9), layers.Rescaling(2.0))
    model.layers[0].set_weights([np.ones(4), np.zeros(4), np.full(4, 0.5), np.full(4, 4.0)])
    before = weights(model)
    expected = 2 * (X - 0.5) / np.sqrt(4 + 1e-3)
    for _ in range(2):
        assert_same(host(wrap(model)(ops.convert_to_tensor(X))), expected)
    assert_same(RandomMap(model)(X, 1).scores, expected[:, 1])
    assert_same(Saliency(model)(X, 1).scores, expected[:, 1])
    for old, new in zip(before, weights(model), strict=True):
        np.testing.assert_array_equal(old, new)


def test_state_is_what_the_model_computes_with():
    model = small(layers.Dense(3))
    wrapped = wrap(model)
    x = ops.convert_to_tensor(X)
    before = host(wrapped(x))
    state = wrapped.state()
    with wrapped.with_state([2 * value for value in state]):
        assert_same(host(wrapped(x)), 2 * before, 1e-6)
    assert_same(host(wrapped(x)), before, 0)
    with pytest.raises(ValueError, match=r"zip"), wrapped.with_state(state[:1]):
        pass


def test_frozen_and_compiled_model_gives_the_same_map():
    model = tiny_models.fresh("table")
    expected = GradientInput(tiny_models.model("table"))(X, 1).values
    model.trainable = False
    model.compile("sgd", "mse")
    assert_same(GradientInput(model)(X, 1).values, expected, 0)
    assert model.trainable is False
    assert model.compiled


# --- types --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("policy", "tolerance"), [("float16", 0.02), ("mixed_bfloat16", 0.1)])
def test_low_precision_models_give_float32_maps(policy, tolerance):
    made = keras.Sequential(
        [
            keras.Input((4,)),
            layers.Dense(5, activation="tanh", name="hidden", dtype=policy),
            layers.Dense(3, name="logits", dtype=policy),
        ]
    )
    tiny_models.load(made, "table")
    explanation = Saliency(made)(X, [2, 0, 1])
    expected = Saliency(tiny_models.model("table"))(X, [2, 0, 1])
    assert explanation.values.dtype == explanation.scores.dtype == np.float32
    assert_same(explanation.values, expected.values, tolerance)
    assert_same(explanation.scores, expected.scores, tolerance)


def test_type_of_the_inputs():
    assert wrap(tiny_models.model("table")).dtype == "float32"
    half = keras.Sequential([keras.Input((4,)), layers.Dense(2, dtype="float16")])
    assert wrap(half).dtype == "float32"
    # On JAX everything is float32 unless the user asked for doubles.
    explanation = Saliency(tiny_models.model("table"))(X.astype("float64"), 1)
    assert_same(explanation.values, Saliency(tiny_models.model("table"))(X, 1).values, 0)


# --- several inputs -----------------------------------------------------------------------------


def three(structure):
    """Scores 2 a + 3 b + (the embedding of a word), so that every map is known."""
    a, b = keras.Input((4,), name="a"), keras.Input((4,), name="b")
    word = keras.Input((2,), dtype="int32", name="word")
    parts = {"b": b, "a": a, "word": word}
    total = layers.Add()(
        [
            layers.Rescaling(2.0)(a),
            layers.Rescaling(3.0)(b),
            layers.Flatten()(layers.Embedding(6, 2)(word)),
        ]
    )
    return keras.Model(parts if structure is dict else structure(parts.values()), total)


def rows(structure, dtype="int32"):
    parts = {"b": X + 1, "a": X, "word": np.array([[1, 2], [3, 4], [0, 5]], dtype)}
    return parts if structure is dict else structure(parts.values())


@pytest.mark.parametrize("structure", [dict, tuple, list])
def test_structures_of_a_functional_model(structure):
    wrapped = wrap(three(structure))
    assert wrapped.several_inputs
    explanations = GradientInput(wrapped)(rows(structure), 1)
    assert type(explanations) is structure
    names = ("b", "a", "word") if structure is dict else (0, 1, 2)
    b, a, word = (explanations[name] for name in names)
    one = np.eye(4)[1]
    assert word is None
    assert_same(a.values, 2 * X * one)
    assert_same(b.values, 3 * (X + 1) * one)
    assert_same(a.scores, b.scores, 0)
    assert a.fingerprints.tolist() != b.fingerprints.tolist()


@pytest.mark.parametrize("dtype", ["int64", "uint8", "float32"])
def test_declared_integers_stay_integers(dtype):
    wrapped = wrap(three(dict))
    expected = GradientInput(wrapped)(rows(dict), 1)
    found = GradientInput(wrapped)(rows(dict, dtype), 1)
    assert found["word"] is None
    assert_same(found["a"].scores, expected["a"].scores, 0)


def test_lists_and_tuples_stand_for_one_another():
    for declared, given in ((list, tuple), (tuple, list)):
        first, second = (GradientInput(three(declared))(rows(kind), 1) for kind in (given, given))
        assert_same(first[0].values, second[0].values, 0)
        assert type(first) is given


def test_subclassed_models_take_dicts_and_tuples():
    class Sum(keras.Model):
        def call(self, given):
            first, second = (given["a"], given["b"]) if isinstance(given, dict) else given
            return 2 * first + 3 * second

    model = Sum()
    for given in ({"a": X, "b": X + 1}, (X, X + 1)):
        model(given)
        found = Saliency(model, absolute=False)(given, 0)
        a, b = (found["a"], found["b"]) if isinstance(found, dict) else found
        assert_same(a.values, 2 * np.tile(np.eye(4)[0], (3, 1)))
        assert_same(b.values, 3 * np.tile(np.eye(4)[0], (3, 1)))


def test_integers_that_no_model_declared_are_indices_among_several_inputs():
    class Words(keras.Model):
        def __init__(self):
            super().__init__()
            self.embedding = layers.Embedding(6, 4)

        def call(self, given):
            return given["x"] + ops.mean(self.embedding(given["word"]), axis=1)

    model = Words()
    given = {"x": X, "word": np.array([[1, 2], [3, 4], [0, 5]])}
    model(given)
    # The only input with a gradient stands alone.
    assert_same(Saliency(model)(given, 2).values, np.tile(np.eye(4)[2], (3, 1)))


@pytest.mark.parametrize(
    ("make", "given", "says"),
    [
        (lambda: three(dict), lambda: rows(tuple), "dict of 'a', 'b', 'word'.*tuple of 3"),
        (lambda: three(dict), lambda: {"a": X, "b": X}, "dict of 'a', 'b', 'word'.*'a', 'b'"),
        (lambda: three(tuple), lambda: rows(dict), "tuple of 3 arrays.*dict of"),
        (lambda: three(tuple), lambda: rows(tuple)[:2], "tuple of 3 arrays.*tuple of 2"),
        (lambda: three(tuple), lambda: X, "tuple of 3 arrays.*one array"),
        (lambda: tiny_models.model("table"), lambda: (X, X), "one array.*tuple of 2"),
        (lambda: tiny_models.model("table"), lambda: {"x": X}, "one array.*dict of 'x'"),
    ],
    ids=["tuple for dict", "key", "dict for tuple", "count", "array", "pair", "dict for array"],
)
def test_other_structure_is_refused(make, given, says):
    with pytest.raises(ValueError, match=f"`inputs` must have the structure.*{says}"):
        Saliency(make())(given(), 0)


@pytest.mark.parametrize(
    ("model", "given", "says"),
    [
        ("table", X[0], r"\(batch, 4\).*\(4,\). Add the batch axis"),
        ("table", X[:, :3], r"\(batch, 4\).*\(3, 3\)\."),
        ("image", IMAGES[0], r"\(batch, 7, 10, 2\).*\(7, 10, 2\). Add the batch axis"),
        ("image", X, r"\(batch, 7, 10, 2\).*\(3, 4\)\."),
        ("image", IMAGES[0].swapaxes(0, 1), r"\(batch, 7, 10, 2\).*\(10, 7, 2\)\.$"),
        ("channels_first", IMAGES, r"\(batch, 2, 7, 10\).*\(2, 7, 10, 2\)\."),
    ],
    ids=["no batch", "width", "one image", "rank", "turned image", "layout"],
)
def test_other_shape_is_refused(model, given, says):
    with pytest.raises(ValueError, match=f"`inputs` must have the shape {says}"):
        Saliency(tiny_models.model(model))(given, 0)


def test_open_axes_take_any_length():
    model = small(layers.GlobalAveragePooling2D(), layers.Dense(2), shape=(None, None, 2))
    assert Saliency(model)(IMAGES, 0).values.shape == (2, 7, 10, 1)
    assert Saliency(model)(IMAGES[:, :5], 0).values.shape == (2, 5, 10, 1)
    with pytest.raises(ValueError, match=r"\(batch, None, None, 2\)"):
        Saliency(model)(IMAGES[..., :1], 0)


def test_model_of_tokens_alone_is_refused_by_methods_without_a_layer():
    model = small(layers.Embedding(5, 2), layers.Flatten(), shape=(3,), dtype="int32")
    with pytest.raises(ValueError, match=r"`inputs` must hold an array of floats.*integers only"):
        SmoothGrad(Saliency(model))(np.ones((2, 3), "int32"), 0)


# --- what a dry run sees ------------------------------------------------------------------------


def outputs_of(model, x):
    wrapped = wrap(model)
    tensor = ops.convert_to_tensor(x)
    left = traces_left(model)
    found = wrapped.layer_outputs(lambda: wrapped(tensor))
    assert traces_left(model) == left
    return found


def test_layer_outputs_in_call_order_with_shapes():
    found = outputs_of(tiny_models.model("image"), IMAGES)
    seen = [(one.path, one.call, one.shape) for one in found if one.path in "conv1 pool conv2 gap"]
    assert seen == [
        ("conv1", 0, (2, 7, 10, 4)),
        ("pool", 0, (2, 3, 5, 4)),
        ("conv2", 0, (2, 3, 5, 6)),
        ("gap", 0, (2, 6)),
    ]
    skipped = {one.path for one in found if one.skipped}
    assert {"pool", "gap"} <= skipped
    assert not {"conv1", "conv2", "logits"} & skipped


def test_containers_and_layers_that_pass_through_are_skipped():
    found = {one.path: one for one in outputs_of(tiny_models.nested_image("trunk"), IMAGES)}
    assert found["trunk"].skipped
    assert not found["trunk/conv2"].skipped
    through = small(layers.Dropout(0.5), layers.Identity(), layers.ActivityRegularization())
    assert all(one.skipped for one in outputs_of(through, X)[1:])


def test_shared_layer_is_seen_at_each_call():
    found = outputs_of(tiny_models.model("shared"), IMAGES)
    calls = [(one.call, one.shape) for one in found if one.path == "shared"]
    assert calls == [(0, (2, 7, 10, 2)), (1, (2, 3, 5, 2))]


def test_exception_leaves_no_shadow():
    model = tiny_models.model("image")
    left = traces_left(model)

    def failing():
        raise RuntimeError

    with pytest.raises(RuntimeError):
        wrap(model).layer_outputs(failing)
    assert traces_left(model) == left


def test_layer_in_a_subclassed_model_with_a_list():
    class Listed(keras.Model):
        def __init__(self):
            super().__init__()
            conv = layers.Conv2D(3, 3, activation="tanh", name="conv")
            self.blocks = [layers.Rescaling(1.0, name="scale"), conv]
            self.out = layers.Dense(3)

        def call(self, x):
            for block in self.blocks:
                x = block(x)
            return self.out(ops.mean(x, axis=(1, 2)))

    model = Listed()
    model(IMAGES)
    wanted = model.blocks[1]
    for layer in ("conv", 1, wanted):
        assert wrap(model).find(layer) == ("conv", wanted)
    explanation = GradCAM(model, layer=wanted, signed=True)(IMAGES, 1)
    weight = host(model.out.kernel.value)[:, 1].astype(float) / (5 * 8)
    maps = host(wanted(IMAGES)).astype(float) @ weight
    assert_same(explanation.values[..., 0], oracles.resize(maps, (7, 10)))


def test_quantized_end_is_seen():
    model = tiny_models.network("table")
    assert not wrap(model).ends_quantized()
    model.get_layer("hidden").quantize("int8")
    assert not wrap(model).ends_quantized()
    model.get_layer("logits").quantize("int8")
    assert wrap(model).ends_quantized()
    assert not wrap(keras.Sequential([keras.Input((4,)), layers.Softmax()])).ends_quantized()


@pytest.mark.parametrize("name", ["model"] if BACKEND == "torch" else [])
def test_keras_model_with_a_torch_module_inside(name):
    import torch

    module = torch.nn.Linear(4, 3).eval()
    model = keras.Sequential([keras.Input((4,)), layers.TorchModuleWrapper(module)])
    explanation = Saliency(model, absolute=False)(X, [2, 0, 1])
    assert_same(explanation.values, module.weight.detach().numpy()[[2, 0, 1]])
