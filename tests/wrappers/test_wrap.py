"""`wrap`: what it takes and refuses, and the options that hold for every kind of model."""

from collections import UserDict
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from keras import layers, ops

import tiny_models
import xai_core as xai
from naming import shown
from oracles import assert_same
from tiny_models import BACKEND, KINDS
from xai_core import wrap
from xai_core.wrappers import AbstractModel

X = KINDS["table"].inputs(3)
IMAGES = KINDS["image"].inputs(2)


def saliency(model, x=X, targets=0):
    return xai.attributions.Saliency(model, absolute=False)(x, targets)


def without_weights():
    """A model of no weights at all, as cheap as they come."""
    return keras.Sequential([keras.Input((4,)), layers.Rescaling(2.0)])


# --- a copy with options, or the same -----------------------------------------------------------


def test_wrapping_twice_changes_nothing():
    model = tiny_models.model("table")
    wrapped = wrap(model)
    assert isinstance(wrapped, AbstractModel)
    assert wrapped.source is model
    assert wrap(wrapped) is wrapped


OPTIONS = [
    ("data_format", "channels_first"),
    ("select", 1),
    ("class_names", ("a", "b", "c")),
    ("feature_names", ("p", "q")),
]


@pytest.mark.parametrize(("name", "value"), OPTIONS, ids=[name for name, _ in OPTIONS])
def test_options_of_a_wrapped_model_give_a_copy(name, value):
    first = wrap(tiny_models.model("table"))
    second = wrap(first, **{name: list(value) if isinstance(value, tuple) else value})
    assert second is not first
    assert second.source is first.source
    assert getattr(second, name) == value
    assert getattr(first, name) != value
    for other, _ in OPTIONS:
        if other != name:
            assert getattr(second, other) == getattr(first, other)
    assert getattr(wrap(second), name) == value
    assert getattr(wrap(tiny_models.model("table"), **{name: value}), name) == value


def test_later_options_win():
    wrapped = wrap(tiny_models.model("table"), class_names=["a", "b", "c"])
    assert wrap(wrapped, class_names=["x", "y", "z"]).class_names == ("x", "y", "z")


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"data_format": "NHWC"}, ValueError, "`data_format`.*'channels_last'.*'NHWC'"),
        ({"data_format": 1}, ValueError, "`data_format`.*1"),
        ({"class_names": "cat"}, TypeError, "`class_names` must be a list of strings.*'cat'"),
        ({"class_names": [1, 2]}, TypeError, "`class_names` must be a list of strings"),
        ({"class_names": 3}, TypeError, "`class_names` must be a list of strings.*3"),
        ({"feature_names": ["a", "a"]}, ValueError, "`feature_names` must differ"),
        ({"select": 1.5}, TypeError, "`select`.*1.5"),
        ({"select": [0]}, TypeError, r"`select`.*\[0\]"),
        ({"select": True}, TypeError, "`select`.*True"),
    ],
    ids=shown,
)
@pytest.mark.parametrize("again", [False, True], ids=["model", "wrapped"])
def test_wrong_options_are_refused_at_once(options, error, says, again):
    model = tiny_models.model("table")
    with pytest.raises(error, match=says):
        wrap(wrap(model) if again else model, **options)


def test_names_are_told_and_serve_as_targets():
    model = wrap(
        tiny_models.model("table"), class_names=["a", "b", "c"], feature_names=list("pqrs")
    )
    explanation = saliency(model, X, "c")
    assert explanation.class_names == ("a", "b", "c")
    assert explanation.feature_names == ("p", "q", "r", "s")
    assert_same(explanation.values, saliency(tiny_models.model("table"), X, 2).values, 0)


def test_class_names_come_from_the_config():
    model = without_weights()
    model.config = SimpleNamespace(id2label={2: "c", 0: "a", 10: "z", 1: 5})
    assert wrap(model).class_names == ("a", "5", "c", "z")
    assert wrap(model, class_names=["other"]).class_names == ("other",)
    assert wrap(wrap(model)).class_names == ("a", "5", "c", "z")
    model = without_weights()
    model.config = SimpleNamespace(id2label=None)
    assert wrap(model).class_names is None


def test_name_of_two_classes_is_no_target():
    model = without_weights()
    model.config = SimpleNamespace(id2label={0: "crane", 1: "ox", 2: "crane", 3: "cat"})
    assert_same(saliency(model, X, "ox").scores, 2 * X[:, 1])
    with pytest.raises(ValueError, match=r"`targets`.*'crane'"):
        saliency(model, X, "crane")


# --- what is refused ----------------------------------------------------------------------------


def module_class():
    """A class that looks like torch's own, where torch is not there."""
    kind = type("Module", (), {"__module__": "torch.nn.modules.module"})
    return type("Net", (kind,), {"__module__": "mine"})


REFUSED = [
    (lambda: layers.Dense(2), "keras.Model.*Dense.*keras.Sequential"),
    (lambda: object(), "one of: a built keras.Model.*black box.*builtins.object"),
    (lambda: keras.Sequential, "an instance.*the class keras.*Sequential"),
    (lambda: "model.keras", "model, not the path of a file"),
    (lambda: None, "one of: a built keras.Model.*NoneType"),
    (lambda: type("Model", (), {"__module__": "tf_keras.src.models"})(), "Keras 3.*Keras 2"),
]
if BACKEND != "torch":
    REFUSED.append((lambda: module_class()(), "one of: a built keras.Model.*mine.Net"))


@pytest.mark.parametrize(("make", "says"), REFUSED, ids=[says[:24] for _, says in REFUSED])
def test_what_cannot_be_explained_says_what_would_work(make, says):
    with pytest.raises(TypeError, match=f"`model` must be (a )?{says}"):
        wrap(make())


@pytest.mark.parametrize(
    "make",
    [lambda: keras.Sequential([layers.Dense(2)]), lambda: tiny_models.Formula(ops.relu, [])],
    ids=["Sequential", "subclassed"],
)
def test_unbuilt_model_is_refused(make):
    model = make()
    with pytest.raises(ValueError, match=f"`model` must be built.*{type(model).__name__}.*Call it"):
        wrap(model)
    model(X)
    assert wrap(model).source is model


# --- one output of several ----------------------------------------------------------------------


class Several(keras.Model):
    """Returns whatever ``make`` makes of three scalings of its input."""

    def __init__(self, make):
        super().__init__()
        self.make = make

    def call(self, x):
        return self.make(x, 2 * x, 3 * x)


def several(make):
    model = Several(make)
    model(X)
    return model


def as_dict(a, b, c):
    return {"a": a, "b": b, "c": c}


def as_tuple(a, b, c):
    return (a, b, c)


def as_list(a, b, c):
    return [a, b, c]


@pytest.mark.parametrize(
    ("make", "select", "factor"),
    [
        (as_dict, "b", 2),
        (as_dict, lambda output: output["c"] * 2, 6),
        (as_tuple, 0, 1),
        (as_tuple, -1, 3),
        (as_list, 1, 2),
        (as_list, np.int64(2), 3),
        (as_tuple, lambda output: output[0] + output[2], 4),
    ],
    ids=shown,
)
def test_select_picks_one_output(make, select, factor):
    explanation = saliency(wrap(several(make), select=select), X, 1)
    assert_same(explanation.scores, factor * X[:, 1])
    assert_same(explanation.values, factor * np.eye(4)[[1, 1, 1]])


def test_select_of_a_functional_model():
    given = keras.Input((4,))
    doubled = layers.Rescaling(2.0)(given)
    model = keras.Model(given, [doubled, layers.Rescaling(3.0)(doubled)])
    for select, factor in ((0, 2), (1, 6)):
        assert_same(saliency(wrap(model, select=select), X, 1).scores, factor * X[:, 1])
    named = keras.Model(given, {"main": model.outputs[0], "other": model.outputs[1]})
    assert_same(saliency(wrap(named, select="other"), X, 1).scores, 6 * X[:, 1])


@pytest.mark.parametrize(
    ("make", "select", "says"),
    [
        (as_dict, "d", "'d'.*'a', 'b', 'c'"),
        (as_dict, 0, "0.*'a', 'b', 'c'"),
        (as_tuple, 3, "3.*3 outputs"),
        (as_tuple, -4, "-4.*3 outputs"),
        (as_tuple, "logits", "'logits'.*3 outputs"),
        (as_tuple, lambda output: output, "function"),
        (lambda a, b, c: a, 1, "1.*one"),
    ],
    ids=shown,
)
def test_select_that_fits_no_output(make, select, says):
    with pytest.raises(ValueError, match=f"`select` must name one output.*{says}"):
        saliency(wrap(several(make), select=select))


@pytest.mark.parametrize(
    ("make", "says"),
    [(as_dict, "3 outputs.*'a', 'b', 'c'"), (as_tuple, "3 outputs.*0, 1, 2")],
    ids=["dict", "tuple"],
)
def test_several_outputs_need_select(make, says):
    with pytest.raises(ValueError, match=f"`select` must say.*{says}"):
        saliency(several(make))


@pytest.mark.parametrize(
    "make",
    [lambda a, b, c: (b,), lambda a, b, c: {"only": b}, lambda a, b, c: [{"only": b}]],
    ids=["tuple", "dict", "nested"],
)
def test_a_single_output_needs_no_select(make):
    assert_same(saliency(several(make), X, 1).scores, 2 * X[:, 1])


def test_two_selections_of_one_model_do_not_share_a_step():
    model = several(as_tuple)
    for select, factor in ((0, 1), (1, 2), (lambda output: output[2], 3), (0, 1)):
        assert_same(saliency(wrap(model, select=select), X, 1).scores, factor * X[:, 1])


def pick(select=None):
    """`selected` of a model, for outputs that only some frameworks return."""
    return wrap(without_weights(), select=select).selected


def test_logits_of_an_output_object_are_picked_and_attributes_by_name():
    output = SimpleNamespace(logits=X, hidden=X + 1)
    assert pick()(output) is X
    assert pick("hidden")(output) is output.hidden
    assert pick(lambda found: found.hidden)(output) is output.hidden
    with pytest.raises(ValueError, match=r"`select`.*'states'"):
        pick("states")(output)
    with pytest.raises(TypeError, match=r"`model` must return a tensor.*SimpleNamespace.*select"):
        pick()(SimpleNamespace(hidden=X))


def test_mapping_that_is_no_dict():
    output = UserDict(a=X, b=X + 1)
    assert pick("b")(output) is output["b"]
    with pytest.raises(ValueError, match=r"'a', 'b'"):
        pick()(output)


# --- the layout of the inputs -------------------------------------------------------------------


def test_layout_is_found_and_can_be_told():
    assert wrap(tiny_models.model("image")).data_format == "channels_last"
    assert wrap(tiny_models.model("channels_first")).data_format == "channels_first"
    model = keras.Sequential([keras.Input((7, 10, 2)), layers.Flatten()])
    explanation = saliency(model, IMAGES)
    assert explanation.data_format == "channels_last"
    assert explanation.values.shape == (2, 7, 10, 1)
    explanation = saliency(wrap(model, data_format="channels_first"), IMAGES)
    assert explanation.data_format == "channels_first"
    assert explanation.values.shape == (2, 1, 10, 2)


def test_mixed_layouts_must_be_told():
    model = keras.Sequential(
        [
            keras.Input((4, 4, 4)),
            layers.AveragePooling2D(2, data_format="channels_last"),
            layers.AveragePooling2D(2, data_format="channels_first"),
            layers.Flatten(),
        ]
    )
    with pytest.raises(ValueError, match=r"`data_format` must be given"):
        wrap(model)
    assert wrap(model, data_format="channels_first").data_format == "channels_first"


@pytest.mark.parametrize("path", ["model.keras", Path("model.keras")], ids=["str", "path"])
def test_a_path_is_no_model(path):
    with pytest.raises(TypeError, match=r"'model\.keras'\. Pass keras\.models\.load_model\(path\)"):
        wrap(path)
