"""What `output=` means: the same scores for every way to write the end of a model."""

import keras
import numpy as np
import pytest
from keras import layers, ops
from keras.src import backend

import oracles
import tiny_models
from oracles import assert_same
from tiny_models import BACKEND, KINDS
from xai_core import wrap
from xai_core.attributions import RandomMap, Saliency

X = KINDS["table"].inputs(3)
LOGITS = oracles.logits("table", X)


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


FUNCTIONS = {"softmax": oracles.softmax, "sigmoid": sigmoid}


def scores(model, output, x=X):
    """The score of every column, from a method that costs one forward pass."""
    each = RandomMap(model, output=output).explain_each(x, "all")
    return np.stack([explanation.scores for explanation in each], axis=1)


def refused(model, output, says, x=X):
    with pytest.raises(ValueError, match=f'`output="{output}"`.*{says}'):
        RandomMap(model, output=output)(x, 0)


# --- models that end in softmax or sigmoid ------------------------------------------------------


def sequential(*parts):
    return keras.Sequential([keras.Input((4,)), *parts])


def flat():
    return tiny_models.network("table")


def functional(function):
    given = keras.Input((4,))
    return keras.Model(given, function(given))


def subclassed(function, *parts):
    model = tiny_models.Formula(function, parts)
    model(X)
    return model


def last_layer(kind):
    return tiny_models.network("table", activation=kind)


def by_subclass(kind):
    inner = flat()
    return subclassed(lambda x: getattr(ops, kind)(inner(x)), inner)


def by_operation(kind):
    inner = flat()
    return functional(lambda x: getattr(ops, kind)(inner(x)))


ENDS = {
    "activation": last_layer,
    "function": lambda kind: last_layer(getattr(keras.activations, kind)),
    "activation layer": lambda kind: sequential(*flat().layers, layers.Activation(kind)),
    "operation": by_operation,
    "nested": lambda kind: sequential(last_layer(kind)),
    "nested twice": lambda kind: functional(sequential(last_layer(kind))),
    "subclassed": by_subclass,
    "nested subclass": lambda kind: sequential(by_subclass(kind)),
    "dropout": lambda kind: sequential(*last_layer(kind).layers, layers.Dropout(0.5)),
    "identity": lambda kind: sequential(*last_layer(kind).layers, layers.Identity()),
    "both": lambda kind: sequential(last_layer(kind), layers.Dropout(0.5), layers.Identity()),
}


SIGMOIDS = ("activation", "operation", "nested", "subclassed", "both")


@pytest.mark.parametrize(
    ("end", "kind"), [*((e, "softmax") for e in ENDS), *((e, "sigmoid") for e in SIGMOIDS)]
)
def test_every_way_to_end(end, kind):
    before = backend.nn.softmax, backend.nn.sigmoid
    model = ENDS[end](kind)
    probabilities = FUNCTIONS[kind](LOGITS)
    assert_same(scores(model, "logits"), LOGITS)
    assert_same(scores(model, "raw"), probabilities)
    assert_same(scores(model, kind), probabilities)
    other = "sigmoid" if kind == "softmax" else "softmax"
    refused(model, other, f"ends in {kind}.*{kind}")
    assert (backend.nn.softmax, backend.nn.sigmoid) == before


def test_softmax_layer():
    model = sequential(*flat().layers, layers.Softmax())
    assert_same(scores(model, "logits"), LOGITS)
    assert_same(scores(model, "softmax"), oracles.softmax(LOGITS))


def test_only_the_last_softmax_is_left_out():
    inner = layers.Dense(4, activation="softmax")
    model = sequential(inner, layers.Dense(4, activation="sigmoid"), last_layer("softmax"))
    tiny_models.randomize(model)
    twin = sequential(inner, model.layers[1], flat())
    for name in ("hidden", "logits"):
        weights = model.layers[-1].get_layer(name).get_weights()
        twin.layers[-1].get_layer(name).set_weights(weights)
    expected = scores(twin, "raw")
    assert_same(scores(model, "logits"), expected)
    assert_same(scores(model, "raw"), oracles.softmax(expected.astype(float)))
    assert_same(scores(model, "raw"), scores(twin, "softmax"))


def test_one_softmax_of_two_outputs():
    given = keras.Input((4,))
    first, second = layers.Dense(3, name="first"), layers.Dense(2, name="second")
    heads = [layers.Softmax()(first(given)), layers.Softmax()(second(given))]
    model = keras.Model(given, [*heads, first(given)])
    tiny_models.randomize(model)
    for select, layer in ((0, first), (1, second), (2, first)):
        kernel, bias = (np.asarray(w, float) for w in layer.get_weights())
        assert_same(scores(wrap(model, select=select), "logits"), X @ kernel + bias)


def test_one_column():
    model = tiny_models.one_column("sigmoid")
    raw = RandomMap(model)(X, 1).scores.astype(float)
    found = RandomMap(model, output="logits")(X, 1).scores
    assert_same(found, np.log(raw / (1 - raw)), 1e-4)
    assert_same(RandomMap(model, output="sigmoid")(X, 1).scores, raw)
    refused(tiny_models.one_column(), "softmax", "at least two output columns.*sigmoid")


def test_predicted_class_is_that_of_the_logits():
    model = last_layer("softmax")
    found = [RandomMap(model, output=o)(X).targets.tolist() for o in ("raw", "logits", "softmax")]
    assert found == [LOGITS.argmax(-1).tolist()] * 3


# --- models that end in logits ------------------------------------------------------------------


@pytest.mark.parametrize(
    "make",
    [flat, lambda: subclassed(flat()), lambda: sequential(flat(), layers.Dropout(0.5))],
    ids=["flat", "subclassed", "dropout"],
)
def test_logits_are_what_they_are(make):
    model = make()
    assert_same(scores(model, "raw"), LOGITS)
    assert_same(scores(model, "logits"), LOGITS)
    for kind, function in FUNCTIONS.items():
        assert_same(scores(model, kind), function(LOGITS))


def test_unknown_output_is_refused_at_construction():
    with pytest.raises(ValueError, match=r"`output` must be one of 'raw', 'logits'.*'logit'"):
        Saliency(tiny_models.model("table"), output="logit")


# --- logits that cannot be had ------------------------------------------------------------------


def by_hand(x):
    e = ops.exp(x - ops.max(x, axis=-1, keepdims=True))
    return e / ops.sum(e, axis=-1, keepdims=True)


def by_hand_model():
    inner = flat()
    return functional(lambda x: by_hand(inner(x)))


def by_hand_subclass():
    inner = flat()
    return subclassed(lambda x: by_hand(inner(x)), inner)


REFUSED = {
    "transposed twice": lambda: functional(
        lambda x: ops.transpose(ops.transpose(last_layer("softmax")(x)))
    ),
    "scaling": lambda: sequential(last_layer("softmax"), layers.Rescaling(1.0)),
    "permuted": lambda: functional(lambda x: ops.flip(last_layer("softmax")(x), axis=-1)),
    "by hand": by_hand_model,
    "by hand, subclassed": by_hand_subclass,
}


@pytest.mark.parametrize("name", REFUSED)
def test_probabilities_without_a_last_softmax_call(name):
    model = REFUSED[name]()
    refused(model, "logits", "no softmax call ends it")
    refused(model, "sigmoid", "ends in softmax")
    assert_same(scores(model, "softmax").sum(-1), np.ones(3))


def test_reshaped_probabilities():
    refused(sequential(last_layer("softmax"), layers.Reshape((1, 3))), "logits", "no softmax call")


def test_scaled_probabilities_do_not_count_as_such():
    model = sequential(last_layer("softmax"), layers.Rescaling(2.0))
    expected = 2 * oracles.softmax(LOGITS)
    assert_same(scores(model, "raw"), expected)
    assert_same(scores(model, "softmax"), oracles.softmax(expected))


CHANGED = {
    "scaled softmax": lambda: sequential(last_layer("softmax"), layers.Rescaling(2.0)),
    "scaled sigmoid": lambda: sequential(last_layer("sigmoid"), layers.Rescaling(2.0, -1.0)),
    "log of a softmax": lambda: functional(lambda x: ops.log(last_layer("softmax")(x))),
    "sigmoid of a softmax's input": lambda: functional(
        lambda x: ops.sigmoid(flat()(x)) * ops.softmax(flat()(x))
    ),
    "one of two outputs": lambda: wrap(
        functional(lambda x: (flat()(x), 2 * last_layer("softmax")(x))), select=1
    ),
}


@pytest.mark.parametrize("name", CHANGED)
def test_an_output_made_from_a_softmax_or_sigmoid_has_no_logits(name):
    model = CHANGED[name]()
    for _ in range(2):
        refused(model, "logits", "goes on computing with the result of a softmax or sigmoid")
    assert np.isfinite(scores(model, "raw")).all()


def gated():
    dense, gate = layers.Dense(4), layers.Dense(4, activation="sigmoid")
    hidden, inner = layers.Dense(4, activation="softmax"), flat()
    return functional(lambda x: inner(dense(x) * gate(x) + hidden(x)))


def beside_its_own_softmax():
    inner = flat()
    return wrap(functional(lambda x: {"a": inner(x), "p": 2 * ops.softmax(inner(x))}), select="a")


def attention():
    inner = layers.MultiHeadAttention(2, 4)
    pooled = layers.GlobalAveragePooling1D()
    return functional(lambda x: pooled(inner(x[:, :, None], x[:, :, None])))


def recurrent():
    lstm, inner = layers.LSTM(4), flat()
    return functional(lambda x: inner(lstm(x[:, :, None])))


@pytest.mark.parametrize("make", [gated, beside_its_own_softmax, attention, recurrent])
def test_other_softmaxes_and_gates_are_no_obstacle(make):
    model = make()
    assert_same(scores(model, "logits"), scores(model, "raw"), 0)


@pytest.mark.parametrize("separate", [False, True], ids=["activation", "layer"])
def test_quantized_last_layer(separate):
    model = sequential(*flat().layers, layers.Softmax()) if separate else last_layer("softmax")
    model.get_layer("logits").quantize("int8")
    refused(model, "logits", "its last layer is quantized")
    assert_same(scores(model, "raw").sum(-1), np.ones(3))
    assert_same(scores(model, "softmax"), scores(model, "raw"), 0)


def test_quantized_last_layer_of_a_model_of_logits_is_left_as_it_is():
    model = flat()
    model.get_layer("logits").quantize("int8")
    assert_same(scores(model, "logits"), scores(model, "raw"), 0)


def test_quantized_hidden_layer_is_no_obstacle():
    model = last_layer("softmax")
    model.get_layer("hidden").quantize("int8")
    found = oracles.softmax(scores(model, "logits").astype(float))
    assert_same(scores(model, "raw"), found)


def test_refusal_leaves_model_and_functions_as_they_were():
    before = backend.nn.softmax, backend.nn.sigmoid
    model = REFUSED["scaling"]()
    refused(model, "logits", "no softmax call")
    assert (backend.nn.softmax, backend.nn.sigmoid) == before
    assert_same(scores(model, "raw"), oracles.softmax(LOGITS))


def test_exception_in_the_model_leaves_the_functions_as_they_were():
    before = backend.nn.softmax, backend.nn.sigmoid
    inner, broken = flat(), []

    def function(x):
        if broken:
            raise RuntimeError("broken")
        return ops.softmax(inner(x))

    model = subclassed(function, inner)
    broken.append(True)
    with pytest.raises(RuntimeError, match=r"broken"):
        RandomMap(model, output="logits")(X, 0)
    assert (backend.nn.softmax, backend.nn.sigmoid) == before
    broken.clear()
    assert_same(scores(model, "logits"), LOGITS)


# --- torch modules, of which one row tells ------------------------------------------------------


@pytest.mark.skipif(BACKEND != "torch", reason="torch modules need the torch backend")
def test_torch_modules():
    from torch import nn

    logits = tiny_models.model("torch_table")
    soft = nn.Sequential(*tiny_models.fresh("torch_table"), nn.Softmax(-1)).eval()
    for kind, function in FUNCTIONS.items():
        assert_same(scores(logits, kind), function(LOGITS))
    assert_same(scores(logits, "logits"), LOGITS)
    for output in ("raw", "softmax"):
        assert_same(scores(soft, output), oracles.softmax(LOGITS))
    refused(soft, "logits", "no softmax call ends it")
    refused(soft, "sigmoid", "ends in softmax")


@pytest.mark.skipif(BACKEND != "torch", reason="torch modules need the torch backend")
def test_saturated_torch_module_is_known_to_return_probabilities():
    from torch import nn

    from xai_core import ExplanationWarning

    module = nn.Sequential(nn.Linear(4, 2), nn.Softmax(-1)).eval()
    module[0].weight.data[:] = 40 * (1 - 2 * (module[0].weight.new_tensor([[0.0], [1.0]])))
    with pytest.warns(ExplanationWarning, match=r"above 0.999.*output=\"logits\""):
        Saliency(module)(np.ones((1, 4), "float32"), 0)
