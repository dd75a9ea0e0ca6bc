"""Black boxes: what counts as one, who refuses them, and which score is explained."""

import functools
import pickle

import keras
import numpy as np
import pytest
from keras import layers, ops
from sklearn import linear_model

import oracles
import tiny_models
import xai_core as xai
from black_boxes import CLASS, ROWS, VALUE, WEIGHTS, X, column, drops, linear
from oracles import assert_same
from tiny_models import BACKEND
from xai_core import attributions, wrap
from xai_core.attributions import GradCAM, Occlusion, RandomMap, Saliency
from xai_core.wrappers import BlackBox

# --- what is a black box ------------------------------------------------------------------------


class Scorer:
    """An object that is called, and has a method that may be passed as well."""

    def __init__(self, factor=1.0):
        self.factor = factor

    def __call__(self, x):
        return self.factor * linear(x)

    def scored(self, x):
        return self.factor * linear(x)


def scaled(factor, x):
    return factor * linear(x)


FUNCTIONS = {
    "function": linear,
    "lambda": lambda x: x @ WEIGHTS,
    "bound method": Scorer().scored,
    "partial": functools.partial(scaled, 1.0),
    "callable object": Scorer(),
}


@pytest.mark.parametrize("function", FUNCTIONS.values(), ids=FUNCTIONS)
@pytest.mark.parametrize("wrapped", [BlackBox, wrap, lambda f: f], ids=["BlackBox", "wrap", "bare"])
def test_everything_that_is_called(function, wrapped):
    explanation = Occlusion(wrapped(function))(ROWS, 0)
    assert_same(explanation.values, drops(linear))
    assert explanation.data_format == "channels_last"


def test_wrapping_a_black_box_again_changes_nothing_or_adds_names():
    model = BlackBox(linear)
    assert wrap(model) is model
    named = wrap(model, class_names=["a", "b"], feature_names=list("pqrs"))
    assert isinstance(named, BlackBox)
    explanation = Occlusion(named)(ROWS, "b")
    assert explanation.class_names == ("a", "b")
    assert explanation.feature_names == ("p", "q", "r", "s")
    assert_same(explanation.values, drops(linear, target=1))


def test_options_of_a_black_box_are_checked_when_it_is_made():
    assert BlackBox(linear, class_names=["a", "b"]).class_names == ("a", "b")
    assert BlackBox(linear, data_format=None).data_format == "channels_last"
    for options, error in (
        ({"data_format": "NHWC"}, ValueError),
        ({"select": 1.5}, TypeError),
        ({"class_names": "ab"}, TypeError),
        ({"feature_names": ["a", "a"]}, ValueError),
    ):
        with pytest.raises(error, match=f"`{next(iter(options))}`"):
            BlackBox(linear, **options)


@pytest.mark.parametrize(
    ("source", "says"),
    [(3, "int"), (None, "NoneType"), (X, "ndarray"), (Scorer, "the class Scorer")],
    ids=["number", "None", "array", "class"],
)
def test_source_must_be_callable(source, says):
    with pytest.raises(TypeError, match=f"`source` must be a function.*{says}"):
        BlackBox(source)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: layers.Dense(2), "`model` must be a keras.Model.*Dense"),
        (lambda: keras.Sequential, "`model` must be an instance.*Sequential"),
        (lambda: linear_model.LogisticRegression, "must be an instance.*LogisticRegression.*fit"),
        (lambda: Saliency, "must be an instance.*Saliency"),
        (lambda: keras.losses.MeanSquaredError(), "`model` must be one of"),
        (lambda: X, "`model` must be one of.*ndarray"),
    ],
    ids=["layer", "class of models", "class of estimators", "explainer class", "loss", "array"],
)
def test_what_is_no_black_box(make, says):
    with pytest.raises(TypeError, match=says):
        wrap(make())


def test_explainer_is_no_black_box():
    with pytest.raises(TypeError, match=r"`model` must be a model.*RandomMap"):
        Occlusion(RandomMap(linear))


if BACKEND != "torch":

    def test_torch_module_is_no_black_box():
        base = type("Module", (), {"__module__": "torch.nn.modules.module"})
        module = type("Net", (base,), {"__module__": "mine", "__call__": lambda self, x: x})()
        with pytest.raises(TypeError, match="must be one of"):
            Occlusion(module)
        assert_same(Occlusion(lambda x: module(x))(ROWS, 0).scores, ROWS[:, 0])


def test_framework_model_inside_a_function_is_a_black_box():
    model = tiny_models.network("table")
    x = tiny_models.KINDS["table"].inputs()
    bare = Occlusion(model)(x, 1)
    for function in (lambda rows: model(rows), lambda rows: ops.convert_to_numpy(model(rows))):
        explanation = Occlusion(function)(x, 1)
        assert_same(explanation.values, bare.values)
        assert_same(explanation.scores, bare.scores)


# --- gradients are refused ----------------------------------------------------------------------

GRADIENTS = [
    name
    for name in attributions.__all__
    if getattr(attributions, name).requires == "gradients" and name != "FORGrad"
]


@pytest.mark.parametrize("name", GRADIENTS)
def test_gradient_methods_name_those_that_work(name):
    explainer = getattr(attributions, name)
    for model in (linear, linear_model.LinearRegression().fit(X, VALUE), BlackBox(linear)):
        with pytest.raises(TypeError, match=f"`model` must have gradients for {name}.*Occlusion"):
            explainer(model)


def test_refusal_tells_what_was_given():
    with pytest.raises(TypeError, match=r"Received: LogisticRegression, a black box"):
        Saliency(linear_model.LogisticRegression().fit(X, CLASS))
    with pytest.raises(TypeError, match=r"Received: linear, a black box"):
        GradCAM(linear)


# --- the score ----------------------------------------------------------------------------------


def softmax(x):
    return oracles.softmax(linear(x))


def sigmoid(x):
    return 1 / (1 + np.exp(-column(x)))


@pytest.mark.parametrize(
    ("output", "model", "expected"),
    [
        ("raw", linear, linear),
        ("logits", linear, linear),
        ("softmax", linear, softmax),
        ("softmax", softmax, softmax),
        ("sigmoid", column, sigmoid),
    ],
    ids=["raw", "logits", "softmax", "softmax of one", "sigmoid"],
)
def test_output_is_what_the_function_returns_or_what_is_added(output, model, expected):
    target = 1 if expected is sigmoid else 0
    explanation = Occlusion(model, output=output)(ROWS, target)
    scores = expected(ROWS)
    assert_same(explanation.scores, scores if scores.ndim == 1 else scores[:, 0], 1e-6)
    assert_same(explanation.values, drops(expected))


@pytest.mark.parametrize(
    ("output", "model", "says"),
    [
        ("logits", softmax, "logits.*probabilities"),
        ("sigmoid", softmax, "sigmoid.*ends in softmax"),
        ("softmax", column, "softmax.*two output columns"),
    ],
)
def test_output_that_the_function_cannot_give(output, model, says):
    with pytest.raises(ValueError, match=f"(?i)`output=.*{says}"):
        Occlusion(model, output=output)(ROWS, 0)


def test_custom_operator_receives_numpy_arrays():
    seen = []

    def margin(model, inputs, targets):
        outputs = model(inputs)
        seen.extend(type(one) for one in (inputs, outputs, targets["weight"]))
        return (outputs[:, 0] - outputs[:, 1]) * targets["weight"]

    weight = np.arange(1.0, 7.0)
    explanation = Occlusion(linear, operator=margin)(ROWS, {"weight": weight})
    assert set(seen) == {np.ndarray}
    expected = ROWS * (WEIGHTS[:, 0] - WEIGHTS[:, 1]) * weight[:, None]
    assert_same(explanation.values, expected)
    plain = Occlusion(linear, operator=lambda model, inputs, targets: model(inputs)[:, 1])(ROWS)
    assert plain.targets is None
    assert_same(plain.values, drops(linear, target=1))


@pytest.mark.parametrize(
    ("returned", "says"),
    [
        (lambda out: out, r"one score per row.*\(1, 2\)"),
        (lambda out: out[:, 0].tolist(), "one score per row.*list"),
        (lambda out: out.argmax(axis=1), "floats.*int64"),
        (lambda out: out.sum(), r"one score per row.*\(\)"),
    ],
    ids=["columns", "list", "integers", "number"],
)
def test_custom_operator_that_gives_no_scores(returned, says):
    explainer = Occlusion(linear, operator=lambda model, x, targets: returned(model(x)))
    with pytest.raises(ValueError, match=f"`operator` must return {says}"):
        explainer(ROWS)


def test_several_targets_share_the_rows():
    seen = []

    def counting(x):
        seen.append(len(x))
        return linear(x)

    first, second = Occlusion(counting).explain_each(ROWS, [0, 1])
    assert sum(seen) == 1 + 6 * 5
    assert_same(first.values, drops(linear))
    assert_same(second.values, drops(linear, target=1))


# --- explainers ---------------------------------------------------------------------------------


def test_random_map_of_a_black_box_has_its_scores():
    explanation = RandomMap(linear, batch_size=4)(ROWS, 1)
    np.testing.assert_array_equal(explanation.values, RandomMap()(ROWS).values)
    np.testing.assert_allclose(explanation.scores, linear(ROWS)[:, 1], rtol=1e-12)
    with pytest.raises(TypeError, match=r"`inputs` must be numbers.*objects"):
        RandomMap(linear)(ROWS.astype(object), 0)


def test_attribute_gives_tensors_of_the_backend():
    tensor = Occlusion(linear).attribute(ROWS, 0)
    assert ops.is_tensor(tensor)
    assert_same(ops.convert_to_numpy(tensor), drops(linear))


def test_explainer_of_an_estimator_survives_pickling():
    explainer = Occlusion(linear_model.LogisticRegression().fit(X, CLASS), batch_size=7)
    loaded = pickle.loads(pickle.dumps(explainer))
    np.testing.assert_array_equal(loaded(ROWS).values, explainer(ROWS).values)
    assert loaded.batch_size == 7


def test_refitted_estimator_is_explained_as_it_is_now():
    estimator = linear_model.LinearRegression().fit(X, VALUE)
    explainer = Occlusion(estimator)
    before = explainer(ROWS).values
    estimator.fit(X, -VALUE)
    assert_same(explainer(ROWS).values, -before, 1e-6)


def test_with_model_goes_from_one_kind_of_model_to_another():
    x = tiny_models.KINDS["table"].inputs()
    explainer = Occlusion(linear, batch_size=5)
    moved = explainer.with_model(tiny_models.model("table"))
    assert moved.batch_size == 5
    assert_same(moved(x, 0).values, Occlusion(tiny_models.model("table"))(x, 0).values)
    assert_same(moved.with_model(linear)(ROWS, 0).values, drops(linear))


def test_package_names_the_wrappers():
    assert xai.wrappers.BlackBox is BlackBox
    assert xai.wrappers.wrap is xai.wrap
    assert "BlackBox" in xai.wrap.__doc__
