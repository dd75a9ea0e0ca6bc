"""`JaxFunction` and `TensorFlowFunction`: what holds for both."""

import dataclasses
import functools
import gc
import threading
import weakref
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from keras import ops

import oracles
import tiny_models
from cases import BY_NAME, TARGETS
from oracles import assert_same
from tiny_models import BACKEND, KINDS, PAIR

if BACKEND == "torch":
    pytest.skip("torch has modules in place of such functions", allow_module_level=True)

import xai_core as xai
from xai_core import wrap, wrappers
from xai_core.attributions import GradCAM, IntegratedGradients, Occlusion, RandomMap, Saliency
from xai_core.metrics import Deletion, Insertion

Function = wrappers.JaxFunction if BACKEND == "jax" else wrappers.TensorFlowFunction
OTHER_FLOATS = ("float64",) if BACKEND == "tensorflow" else ()  # which JAX has none of
X, IMAGES = KINDS["table"].inputs(), KINDS["image"].inputs()


@functools.cache
def twin():
    """The image network as a function of tensors."""
    return tiny_models.as_function(tiny_models.network("image"))


def slopes(model, x=X, targets=1):
    return Saliency(model, absolute=False)(x, targets)


# --- every method -------------------------------------------------------------------------------

METHODS = (
    "Saliency",
    "GradientInput",
    "IntegratedGradients",
    "SmoothGrad",
    "SquareGrad",
    "VarGrad",
)


@pytest.mark.parametrize("name", [*METHODS, "FORGrad", "Occlusion", "RandomMap"])
def test_equals_the_map_of_the_keras_model(name):
    case = BY_NAME[name]
    explanation, expected = case.build(twin())(IMAGES, TARGETS), case.on("image")(IMAGES, TARGETS)
    assert_same(explanation.values, expected.values)
    assert_same(explanation.scores, expected.scores)
    assert explanation.data_format == "channels_last"


@pytest.mark.parametrize("cls", [Deletion, Insertion])
def test_metrics_equal_those_of_the_keras_model(cls):
    maps = RandomMap(twin())(IMAGES, TARGETS)
    expected = cls(tiny_models.model("image", "metrics"), steps=7, output="softmax")
    result = cls(twin(), steps=7, output="softmax")(maps, IMAGES, TARGETS)
    assert_same(result.curves, expected(maps, IMAGES, TARGETS).curves)


def test_each_class_and_probabilities():
    each = Saliency(twin(), absolute=False, reducer=None).explain_each(IMAGES, "all")
    for k, explanation in enumerate(each):
        scores = oracles.score("image", np.full(5, k))
        assert_same(explanation.values, oracles.gradient(scores, IMAGES))
    scores = oracles.score("image", TARGETS, oracles.softmax)
    explanation = Saliency(twin(), output="softmax", absolute=False, reducer=None)(IMAGES, TARGETS)
    assert_same(explanation.values, oracles.gradient(scores, IMAGES))


# --- pairs --------------------------------------------------------------------------------------


def features(x):
    return ops.tanh(x[:, ::2, :, :] * 2.0)


def head(maps):
    return ops.mean(maps, axis=(1, 2)) * 3.0


def whole(x):
    return head(features(x))


def test_a_pair_has_its_closed_form():
    explanation = GradCAM(Function(whole), layer=(features, head), signed=True)(IMAGES, 1)
    maps = np.tanh(2.0 * IMAGES[:, ::2].astype(float))
    grad = np.zeros_like(maps)
    grad[..., 1] = 3 / 40
    assert_same(explanation.values, oracles.grad_cam(maps, grad, (7, 10), signed=True))
    assert explanation.layer == PAIR


def test_a_pair_lies_as_the_inputs_do():
    def first(x):
        return whole(ops.moveaxis(x, 1, -1))

    def trunk(x):
        return ops.moveaxis(features(ops.moveaxis(x, 1, -1)), -1, 1)

    def top(maps):
        return head(ops.moveaxis(maps, 1, -1))

    wrapped = Function(first, data_format="channels_first")
    explanation = GradCAM(wrapped, layer=(trunk, top))(np.moveaxis(IMAGES, -1, 1), 1)
    expected = GradCAM(Function(whole), layer=(features, head))(IMAGES, 1)
    assert_same(explanation.values, np.moveaxis(expected.values, -1, 1))
    assert explanation.data_format == "channels_first"


def test_other_functions_of_a_pair_are_not_stale():
    model = Function(whole)

    def doubled(x):
        return 2.0 * features(x)

    def halved(maps):
        return head(maps) / 2.0

    first = GradCAM(model, layer=(features, head), signed=True)(IMAGES, 1)
    second = GradCAM(model, layer=(doubled, halved), signed=True)(IMAGES, 1)
    assert_same(second.values, first.values)  # Half the gradient of twice the activation.
    with pytest.raises(ValueError, match=r"head\(features\(x\)\) = f\(x\).*differ by"):
        GradCAM(model, layer=(doubled, head))(IMAGES, 1)


# --- inputs and outputs -------------------------------------------------------------------------


def mixed(inputs):
    series, table, word = (
        inputs
        if isinstance(inputs, tuple)
        else (inputs[name] for name in ("series", "table", "word"))
    )
    total = ops.sum(ops.square(series), axis=(1, 2))
    chosen = ops.take_along_axis(table, ops.cast(word, "int32"), axis=1)
    return ops.stack([total, ops.sum(chosen, axis=1), total], axis=1)


@pytest.mark.parametrize("structure", ["dict", "tuple"])
def test_several_inputs_arrive_in_their_structure(structure):
    rows = tiny_models.several_input_rows(5)
    rows["word"] = rows["word"] % 4
    names = ("series", "table", "word")
    given = rows if structure == "dict" else tuple(rows[name] for name in names)
    model = Function(mixed)
    total, places = slopes(model, given, 0), slopes(model, given, 1)
    key = dict(zip(names, names if structure == "dict" else range(3), strict=True))
    assert type(total) is type(given)
    assert total[key["word"]] is None
    assert_same(total[key["series"]].values, 2 * rows["series"])
    assert not total[key["table"]].values.any()
    counted = np.stack([(rows["word"] == k).sum(1) for k in range(4)], axis=1)
    assert_same(places[key["table"]].values, counted)


@dataclass
class Answer:
    """A dataclass of outputs, some of them None."""

    loss: Any = None
    logits: Any = None
    hidden: Any = None


class ModelOutput(OrderedDict):
    """Like the outputs of language models: a dict whose keys are attributes too."""

    def __init__(self, **given):
        super().__init__(given)
        vars(self).update(given)


OUTPUTS = {
    "index": (lambda y: (y, 2 * y), 1),
    "negative index": (lambda y: [y, 2 * y], -1),
    "key": (lambda y: {"a": y, "b": 2 * y}, "b"),
    "attribute": (lambda y: Answer(logits=y, hidden=2 * y), "hidden"),
    "key of a model output": (lambda y: ModelOutput(logits=y, hidden=2 * y), "hidden"),
    "callable": (lambda y: {"deep": [y, 2 * y]}, lambda output: output["deep"][1]),
    "logits of a dataclass": (lambda y: Answer(logits=2 * y, hidden=y), None),
    "logits of a model output": (lambda y: ModelOutput(logits=2 * y, hidden=y), None),
    "single field": (lambda y: Answer(hidden=2 * y), None),
    "single key": (lambda y: {"only": 2 * y}, None),
    "nested single": (lambda y: ({"only": [2 * y]},), None),
}


@pytest.mark.parametrize("name", OUTPUTS)
def test_one_of_several_outputs_is_explained(name):
    packed, select = OUTPUTS[name]
    explanation = slopes(Function(lambda x: packed(x * x), select=select))
    assert_same(explanation.values, 4 * X * np.eye(4)[1])
    assert any(".logits" in note for note in explanation.notes) == name.startswith("logits")


@pytest.mark.parametrize("packed", [ModelOutput, Answer])
def test_what_no_rule_picks_must_be_selected(packed):
    def f(x):
        return packed(loss=x, hidden=x)

    with pytest.raises(ValueError, match=r"`select`.*'loss', 'hidden'"):
        slopes(Function(f))
    with pytest.raises(ValueError, match=r"`select`.*'states'"):
        slopes(Function(f, select="states"))
    assert_same(slopes(wrap(Function(f), select="loss")).values, np.tile(np.eye(4)[1], (5, 1)))


def test_names_of_classes_and_one_column():
    model = Function(lambda x: x * x, class_names=["a", "b", "c", "d"])
    assert_same(slopes(model, X, "c").values, 2 * X * np.eye(4)[2])
    one = slopes(Function(lambda x: ops.sum(x * x, axis=1, keepdims=True)), X, None)
    assert_same(one.values, 2 * X)
    flat = Saliency(Function(lambda x: ops.sum(x * x, axis=1)), operator="regression")
    assert_same(flat(X, 0).values, np.abs(2 * X))


@pytest.mark.parametrize("dtype", ["float64", "float16", "uint8", "int64"])
def test_inputs_of_other_types_arrive_as_floats(dtype):
    x = np.round(9 * np.abs(X)).astype(dtype)
    explanation = slopes(Function(lambda x: x * x), x)
    assert_same(explanation.values, 2 * x.astype("float64") * np.eye(4)[1])


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", *OTHER_FLOATS])
def test_functions_of_another_precision(dtype):
    model = Function(lambda x: ops.square(ops.cast(x, dtype)))
    explanation = slopes(model)
    assert explanation.values.dtype == np.float32
    assert_same(explanation.values, 2 * X * np.eye(4)[1], 0.01)


# --- compiled once, from any thread, nothing kept -----------------------------------------------


def counted(function):
    """The function, and the list of the shapes that Python saw: one for each trace."""
    seen = []

    def call(x):
        seen.append(tuple(x.shape))
        return function(x)

    return call, seen


def test_a_second_explainer_compiles_nothing():
    f, seen = counted(lambda x: x * x)
    slopes(Function(f))
    before = len(seen)
    assert before
    slopes(Function(f), 3 * X)
    slopes(Function(f), X, 2)
    assert len(seen) == before
    xai.clear_cache()
    slopes(Function(f))
    assert len(seen) > before


class Squared:
    """An object with methods, which Python binds anew each time."""

    def __init__(self, power=2):
        self.power, self.seen = power, []

    def predict(self, x):
        self.seen.append(1)
        return x**self.power

    def shifted(self, x):
        return (x + 1) ** self.power


def test_a_bound_method_is_compiled_once():
    squared = Squared()
    slopes(Function(squared.predict))
    before = len(squared.seen)
    assert_same(slopes(Function(squared.predict)).values, 2 * X * np.eye(4)[1])
    assert len(squared.seen) == before
    assert_same(slopes(Function(squared.shifted)).values, 2 * (X + 1) * np.eye(4)[1])
    assert_same(slopes(Function(squared.predict)).values, 2 * X * np.eye(4)[1])
    assert_same(slopes(Function(Squared(3).predict)).values, 3 * X**2 * np.eye(4)[1])


def test_objects_that_are_called():
    class Called:
        def __call__(self, x):
            return x * x

    for f in (Called(), functools.partial(lambda k, x: x**k, 2)):
        assert_same(slopes(Function(f)).values, 2 * X * np.eye(4)[1])


def test_what_a_function_closes_over_is_constant_until_the_cache_is_cleared():
    box = [2.0]
    model = Function(lambda x: box[0] * x)
    assert slopes(model).values[0, 1] == 2
    box[0] = 3.0
    xai.clear_cache()
    assert slopes(model).values[0, 1] == 3


def test_eight_threads_give_the_numbers_of_one():
    model, start = twin(), threading.Barrier(8)
    pair = Function(whole)

    def work(k):
        start.wait()
        cam = GradCAM(pair, layer=(features, head), batch_size=3)(IMAGES, k % 2).values
        return Saliency(model, batch_size=3)(IMAGES, k % 3).values, cam

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(work, range(8)))
    for k, (values, cam) in enumerate(found):
        expected = oracles.gradient(oracles.score("image", np.full(5, k % 3)), IMAGES)
        assert_same(values, np.abs(expected).max(-1, keepdims=True))
        assert_same(cam, found[k % 2][1])


class Held:
    """A model whose methods are called."""

    def predict(self, x):
        return ops.mean(x, axis=(1, 2))

    def trunk(self, x):
        return x * 2.0

    def top(self, maps):
        return ops.mean(maps, axis=(1, 2)) / 2.0


def explained_and_dropped():
    held = Held()

    def closing(x):
        return held.predict(x)

    for model in (Function(held.predict), Function(closing)):
        for explainer in (Saliency(model), IntegratedGradients(model), Occlusion(model)):
            explainer(IMAGES, 0)
        GradCAM(model, layer=(held.trunk, held.top))(IMAGES, 0)
    return weakref.ref(held), weakref.ref(closing)


def test_the_cache_keeps_nothing_alive():
    references = explained_and_dropped()
    gc.collect()
    assert [reference() for reference in references] == [None, None]


# --- what is refused ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("layer", "error", "says"),
    [
        ("conv", ValueError, r"`layer` must be a pair \(features, head\).*no names.*'conv'"),
        (0, ValueError, r"`layer` must be a pair \(features, head\).*0"),
        (None, ValueError, r"`layer` must be a pair \(features, head\).*None"),
        ((features,), TypeError, r"`layer` must be a layer or a pair \(features, head\)"),
        ((features, head, head), TypeError, "`layer` must be a layer or a pair"),
        ((features, 3), TypeError, "`layer` must be a layer or a pair"),
        ((whole, lambda y: y), ValueError, r"spatial map of 4 axes in the middle.*\('N', 2\)"),
        ((features, lambda a: a), ValueError, r"head\(features\(x\)\) = f\(x\).*shape"),
        ((features, lambda a: head(a) + 1), ValueError, r"head\(features\(x\)\).*differ by"),
        ((features, lambda a: ops.matmul(a, ops.ones((9, 9)))), ValueError, "head.*Error"),
    ],
    ids=["name", "index", "none", "one", "three", "number", "flat", "shape", "values", "error"],
)
def test_wrong_layers_are_refused(layer, error, says):
    with pytest.raises(error, match=says):
        GradCAM(Function(whole), layer=layer)(IMAGES, 1)


@pytest.mark.parametrize("source", [3, None, Squared, "f"], ids=["3", "None", "class", "word"])
def test_what_is_no_function_is_refused(source):
    with pytest.raises(TypeError, match=r"`source` must be a function"):
        Function(source)


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"data_format": "NCHW"}, ValueError, "`data_format`.*'NCHW'"),
        ({"select": 1.5}, TypeError, "`select`.*1.5"),
        ({"class_names": "ab"}, TypeError, "`class_names`.*'ab'"),
        ({"feature_names": ["a", "a"]}, ValueError, "`feature_names` must differ"),
    ],
    ids=["data_format", "select", "class_names", "feature_names"],
)
def test_wrong_options_are_refused(options, error, says):
    with pytest.raises(error, match=says):
        Function(whole, **options)


def test_inputs_that_the_function_does_not_take_are_refused():
    with pytest.raises(ValueError, match=r"`inputs` must be what the model takes.*\(5, 4\)"):
        slopes(Function(lambda x: ops.matmul(x, ops.ones((3, 2)))))
    with pytest.raises(ValueError, match=r"`inputs` must be what the model takes.*KeyError"):
        slopes(Function(lambda x: x["table"]), {"series": X, "other": X})


def test_a_function_without_gradients_gives_zeros_and_says_so():
    with pytest.warns(xai.ExplanationWarning, match="zero everywhere.*no gradient"):
        explanation = slopes(Function(lambda x: ops.sign(x) + ops.stop_gradient(x)))
    assert not explanation.values.any()


def test_a_bare_function_is_a_black_box():
    assert isinstance(wrap(whole), wrappers.BlackBox)
    with pytest.raises(TypeError, match=rf"`model`.*gradients.*{Function.__name__}"):
        Saliency(whole)


def test_fields_of_a_function():
    model = Function(whole, class_names=["a", "b"])
    assert dataclasses.replace(model, select=0).source is whole
    assert (model.data_format, model.feature_format) == ("channels_last", "channels_last")
    assert wrap(model) is model
    assert wrap(model, data_format="channels_first").data_format == "channels_first"
