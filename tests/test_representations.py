"""What a model represents: neurons of inner layers, and the similarity of embeddings."""

import pickle

import keras
import numpy as np
import pytest
from keras import layers, ops

import boxes
import oracles
import tiny_models
import xai_core as xai
from oracles import assert_same
from tiny_models import BACKEND, KINDS
from xai_core import operators
from xai_core.attributions import (
    Conductance,
    DeconvNet,
    DeepLIFT,
    DeepSHAP,
    ExpectedGradients,
    GradCAM,
    GradientInput,
    GuidedBackprop,
    IntegratedGradients,
    Occlusion,
    Saliency,
    SmoothGrad,
)
from xai_core.metrics import Deletion
from xai_core.operators import neuron

X = KINDS["table"].inputs()
IMAGES = KINDS["image"].inputs()


def signed(model, operator, **fields):
    return Saliency(model, operator=operator, absolute=False, **fields)


def hidden(x):
    kernel, bias = oracles.weights("table")["hidden"]
    return np.tanh(x @ kernel + bias)


# --- neurons ------------------------------------------------------------------------------------


def test_unit_of_a_table():
    def scores(x):
        return hidden(x)[:, 3]

    explanation = signed(tiny_models.model("table", "neuron"), neuron("hidden", 3))(X)
    assert_same(explanation.values, oracles.gradient(scores, X))
    assert_same(explanation.scores, scores(X.astype(float)))
    assert explanation.targets is None


PLACES = {
    "channel": (2, lambda maps: maps[..., 2].mean(axis=(1, 2))),
    "unit": ((1, 4, 2), lambda maps: maps[:, 1, 4, 2]),
    "row of a channel": ((1, None, 2), lambda maps: maps[:, 1, :, 2].mean(axis=1)),
    "from the end": ((-1, -1, -1), lambda maps: maps[:, -1, -1, -1]),
}


@pytest.mark.parametrize("name", PLACES)
def test_neuron_of_images(name):
    index, picked = PLACES[name]

    def scores(x):
        return picked(oracles.activations("image", x))

    explainer = signed(tiny_models.model("image", "neuron"), neuron("conv2", index), reducer=None)
    explanation = explainer(IMAGES)
    assert_same(explanation.values, oracles.gradient(scores, IMAGES))
    assert_same(explanation.scores, scores(IMAGES.astype(float)))


def test_channel_of_a_model_that_is_channels_first():
    def scores(x):
        return oracles.activations("image", x)[..., 2].mean(axis=(1, 2))

    expected = oracles.gradient(scores, IMAGES)
    if BACKEND != "tensorflow":  # which convolves channels first on GPUs
        model = tiny_models.model("channels_first", "neuron")
        found = signed(model, neuron("conv2", 2), reducer=None)(KINDS["channels_first"].inputs())
        assert_same(np.moveaxis(found.values, 1, -1), expected)
    if BACKEND == "torch":
        found = signed(tiny_models.model("torch_image"), neuron("act2", 2), reducer=None)(
            KINDS["torch_image"].inputs()
        )
        assert_same(np.moveaxis(found.values, 1, -1), expected)


@pytest.mark.skipif(BACKEND != "torch", reason="torch modules")
def test_neuron_before_an_operation_in_place_is_taken_before_it():
    import torch

    weights = np.array([[1.0, -2.0, 0.5, 1.0], [-1.0, 2.0, -0.5, -1.0]], "float32")
    first = torch.nn.Linear(4, 2, bias=False)
    with torch.no_grad():
        first.weight.copy_(torch.tensor(weights))
    module = torch.nn.Sequential(first, torch.nn.ReLU(inplace=True), torch.nn.Linear(2, 3)).eval()
    for unit in (0, 1):
        explanation = signed(module, neuron("0", unit))(X)
        assert_same(explanation.values, np.broadcast_to(weights[unit], X.shape))
        assert_same(explanation.scores, X @ weights[unit])


def test_neuron_is_explained_as_the_output_of_a_submodel():
    model = tiny_models.model("image", "neuron")
    outputs = keras.ops.mean(model.get_layer("conv2").output, axis=(1, 2))
    submodel = keras.Model(model.inputs[0], outputs)
    for method, fields in ((GradientInput, {}), (Occlusion, {"patch_size": 5})):
        expected = method(submodel, operator="regression", **fields)(IMAGES, 4)
        found = method(model, operator=neuron("conv2", 4), **fields)(IMAGES)
        assert_same(found.values, expected.values)
    found = GradCAM(model, operator=neuron("conv2", 4), layer="conv1")(IMAGES)
    expected = GradCAM(submodel, operator="regression", layer="conv1")(IMAGES, 4)
    assert_same(found.values, expected.values)


OF_TABLES = {
    GuidedBackprop: {},
    DeconvNet: {},
    IntegratedGradients: {"steps": 5},
    ExpectedGradients: {"background": X[:3], "n_samples": 4},
    DeepLIFT: {},
    DeepSHAP: {"background": X[:3]},
    Conductance: {"layer": "first", "steps": 5},
}


@pytest.mark.filterwarnings("ignore::xai_core.ExplanationWarning")
@pytest.mark.parametrize("method", OF_TABLES, ids=lambda method: method.__name__)
def test_gradient_methods_explain_a_neuron_as_the_output_of_a_submodel(method):
    inside = keras.Input((4,))
    first = keras.layers.Dense(6, activation="relu", name="first")(inside)
    hidden = keras.layers.Dense(5, activation="relu", name="hidden")(first)
    model = keras.Model(inside, keras.layers.Dense(3, activation="tanh")(hidden))
    tiny_models.randomize(model)
    fields = OF_TABLES[method]
    expected = method(keras.Model(inside, hidden), operator="regression", **fields)(X, 2)
    found = method(model, operator=neuron("hidden", 2), **fields)(X)
    assert np.abs(found.values).max() > 0
    assert_same(found.values, expected.values)


def test_equal_neurons_share_their_compiled_steps():
    traces = []

    class Noting(layers.Layer):
        def call(self, x):
            traces.append(1)
            return x

    model = keras.Sequential(
        [keras.Input((4,)), layers.Dense(3, name="units"), Noting(), layers.Dense(2)]
    )
    Saliency(model, operator=neuron("units", 1))(X)
    first = len(traces)
    Saliency(model, operator=neuron("units", 1))(X)
    again = len(traces) - first
    assert neuron("units", 1) == neuron("units", np.int64(1)) != neuron("units", 2)
    assert hash(neuron("units", (0, None))) == hash(neuron("units", (0, None)))
    # Eager steps always run the model; compiled ones are found again.
    assert again == 0 or (BACKEND == "torch" and again < first)


def test_neuron_of_a_layer_object_and_of_one_call_of_several():
    model = tiny_models.model("table", "neuron")
    found = signed(model, neuron(model.get_layer("hidden"), 3))(X)
    assert_same(found.values, signed(model, neuron("hidden", 3))(X).values)
    assert found.config["operator"] == "<neuron(hidden, 3)>"
    shared = tiny_models.model("shared", "neuron")
    maps = [
        signed(shared, neuron("shared", (2, 4, 0), call=call))(IMAGES).values for call in (0, 1)
    ]
    assert oracles.differ(*maps)
    with pytest.raises(ValueError, match="`call` must say which call"):
        signed(shared, neuron("shared", 0))(IMAGES)


def test_neuron_goes_through_wrappers_metrics_and_pickle():
    model, operator = tiny_models.model("image", "neuron"), neuron("conv2", 1)
    smooth = SmoothGrad(Saliency(model, operator=operator), operator=neuron("conv2", 1))
    assert smooth._operator == operator
    assert pickle.loads(pickle.dumps(operator)) == operator
    explanation = Saliency(model, operator=operator)(IMAGES)
    assert explanation.config["operator"] == "<neuron('conv2', 1)>"
    with pytest.raises(ValueError, match="`operator` must be given again"):
        Deletion(model, steps=2)(explanation, IMAGES)
    result = Deletion(model, operator=operator, steps=2)(explanation, IMAGES)
    assert_same(result.curves[:, 0], explanation.scores)


@pytest.mark.skipif(BACKEND != "torch", reason="a torch module")
def test_channel_of_a_series_of_a_torch_module_must_be_told():
    import torch

    module = torch.nn.Sequential(torch.nn.Conv1d(3, 4, 3), torch.nn.Flatten()).eval()
    x = KINDS["series_first"].inputs()
    with pytest.raises(ValueError, match="`index` must be a tuple"):
        Saliency(module, operator=neuron("0", 1))(x)
    told = Saliency(xai.wrap(module, data_format="channels_first"), operator=neuron("0", 1))(x)
    assert_same(told.values, Saliency(module, operator=neuron("0", (1, None)))(x).values)


WRONG = {
    "unknown layer": (("hiden", 0), ValueError, ("`layer`", "hiden", "hidden")),
    "unit too many": (("hidden", 5), ValueError, ("`index`", "('N', 5)", "Received: 5")),
    "index of two axes": (("hidden", (0, 1)), ValueError, ("`index`", "(0, 1)")),
    "fraction": (("hidden", 0.5), TypeError, ("`index`", "0.5")),
    "no index": (("hidden", ()), TypeError, ("`index`", "()")),
    "None": (("hidden", None), TypeError, ("`index`", "None")),
}


@pytest.mark.parametrize("name", WRONG)
def test_neuron_that_does_not_exist(name):
    given, error, says = WRONG[name]
    with pytest.raises(error) as caught:
        Saliency(tiny_models.model("table", "neuron"), operator=neuron(*given))(X)
    assert all(part in str(caught.value) for part in says), caught.value


def test_neuron_takes_no_targets_and_no_other_output():
    explainer = Saliency(tiny_models.model("table", "neuron"), operator=neuron("hidden", 0))
    with pytest.raises(ValueError, match="`targets` must be left out for a neuron"):
        explainer(X, 1)
    with pytest.raises(ValueError, match="`output` must be"):
        Saliency(explainer.model, operator=neuron("hidden", 0), output="softmax")(X)
    with pytest.raises(ValueError, match='"all"'):
        explainer.explain_each(X, "all")
    with pytest.raises(ValueError, match="`layer` must be"):
        Occlusion(boxes.segment, operator=neuron("hidden", 0))(IMAGES)


# --- embeddings ---------------------------------------------------------------------------------

OTHERS = np.random.default_rng(8).normal(size=(5, 3)).astype("float32")


def cosines(x):
    """Of the logits with those of `OTHERS`, also of repeated and complex rows."""
    found = oracles.logits("table", x)
    others = np.repeat(OTHERS.astype(float), len(found) // 5, axis=0)
    lengths = np.sqrt((found**2).sum(1)) * np.sqrt((others**2).sum(1))
    return (found * others).sum(1) / lengths


def test_similarity_to_other_embeddings():
    model = tiny_models.model("table", "neuron")
    explanation = signed(model, operators.embedding_similarity)(X, OTHERS)
    assert_same(explanation.scores, cosines(X))
    assert_same(explanation.values, oracles.gradient(cosines, X))
    assert explanation.label(0).startswith("similarity ")
    one = signed(model, "embedding_similarity")(X, OTHERS[0])
    same = signed(model, "embedding similarity")(X, np.tile(OTHERS[0], (5, 1)))
    assert_same(one.values, same.values)
    metric = Deletion(model, steps=2)(explanation, X)
    assert_same(metric.curves[:, 0], explanation.scores)


def test_similarity_of_a_black_box():
    def predict(x):
        return oracles.logits("table", x)

    found = Occlusion(predict, operator="embedding_similarity")(X, OTHERS)
    assert_same(found.values, oracles.occlusion(cosines, X, (1,), (1,))[0])


def test_similarity_to_the_own_embedding_is_the_highest_and_says_so():
    model = tiny_models.model("table", "neuron")
    own = oracles.logits("table", X)
    with pytest.warns(xai.ExplanationWarning, match="5 of 5 samples is 1"):
        Saliency(model, operator="embedding_similarity")(X, own)
    assert Occlusion(model, operator="embedding_similarity")(X, own).values.any()


def test_embedding_of_zero_has_no_similarity_and_no_gradient():
    model = keras.Sequential([keras.Input((4,)), layers.Dense(3, activation="relu")])
    model.set_weights([np.zeros((4, 3)), -np.ones(3)])
    with pytest.warns(xai.ExplanationWarning, match="zero everywhere"):
        explanation = Saliency(model, operator="embedding_similarity")(X, OTHERS)
    assert explanation.scores.tolist() == [0] * 5
    assert np.isfinite(explanation.values).all()


def test_operator_on_arrays_of_the_framework():
    found = operators.embedding_similarity(
        lambda x: x, ops.convert_to_tensor(OTHERS), ops.convert_to_tensor(OTHERS[::-1].copy())
    )
    expected = [boxes.cosine(a, b) for a, b in zip(OTHERS, OTHERS[::-1], strict=True)]
    assert_same(ops.convert_to_numpy(found), expected)
