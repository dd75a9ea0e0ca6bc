"""One table of what users get wrong: each row raises, says what is wrong, and what was given."""

from dataclasses import replace

import keras
import numpy as np
import pytest
from keras import layers, ops

import tiny_models
import xai_core as xai
from bad_rows import Row, check
from tiny_models import BACKEND, KINDS
from xai_core.attributions import GradCAM, IntegratedGradients, RandomMap, Saliency
from xai_core.metrics import Deletion

X = KINDS["table"].inputs(3)
IMAGES = KINDS["image"].inputs(3)
SERIES = KINDS["series"].inputs(3)


def table(**fields):
    return Saliency(tiny_models.model("table"), **fields)


def image(**fields):
    return Saliency(tiny_models.model("image"), **fields)


def path(**fields):
    return IntegratedGradients(tiny_models.model("table"), **fields)


def cam(**fields):
    return GradCAM(tiny_models.model("image"), **fields)


def with_value(value, like=X):
    bad = like.copy()
    bad[1].flat[0] = value
    return bad


# --- at the call --------------------------------------------------------------------------------


def unbuilt():
    return Saliency(keras.Sequential([layers.Dense(2)]))(X)


def two_outputs():
    return GradCAM(tiny_models.residual())(IMAGES, 0)


def select(value):
    return lambda: Saliency(xai.wrap(tiny_models.residual(), select=value))(IMAGES, 0)


def quantized():
    model = keras.Sequential(
        [
            keras.Input((7, 10, 2)),
            layers.Dense(4, name="mix"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(3),
        ]
    )
    model.get_layer("mix").quantize("int8")
    return GradCAM(model, layer="mix")(IMAGES, 0)


def ambiguous():
    inner = [tiny_models.nested_image(name).layers[0] for name in ("one", "two")]
    inside = keras.Input((7, 10, 2))
    both = layers.Add()([inner[0](inside), inner[1](inside)])
    model = keras.Model(inside, layers.Dense(3)(layers.GlobalAveragePooling2D()(both)))
    return GradCAM(model, layer="conv2")(IMAGES, 0)


def spatial_output():
    model = keras.Sequential([keras.Input((7, 10, 2)), layers.Conv2D(3, 3)])
    return Saliency(model)(IMAGES, 0)


def probabilities():
    inside = keras.Input((4,))
    positive = layers.Dense(3, activation="softplus")(inside)
    model = keras.Model(inside, positive / ops.sum(positive, axis=-1, keepdims=True))
    return Saliency(model, output="logits")(X)


def formats():
    first = layers.Conv2D(2, 3, data_format="channels_last", padding="same")
    second = layers.Conv2D(2, 3, data_format="channels_first", padding="same")
    inside = keras.Input((6, 6, 6))
    model = keras.Model(inside, layers.Dense(3)(layers.Flatten()(second(first(inside)))))
    return Saliency(model)(np.zeros((2, 6, 6, 6), "float32"), 0)


def returning(value):
    return lambda: table(operator=lambda model, inputs, targets: value(model(inputs)))(X)


def several(**changes):
    given = tiny_models.several_input_rows(3)
    for name, value in changes.items():
        given[name] = value
        if value is None:
            del given[name]
    return lambda: Saliency(tiny_models.several_inputs())(given, 0)


CALLS = [
    Row(
        "rank of an image for a table",
        lambda: table()(IMAGES),
        ValueError,
        ("`inputs`", "(3, 7, 10, 2)"),
    ),
    Row("no batch axis", lambda: image()(IMAGES[0]), ValueError, ("`inputs`", "(7, 10, 2)")),
    Row("one vector", lambda: table()(X[0]), ValueError, ("`inputs`", "(4,)")),
    Row("one number", lambda: table()(2.0), ValueError, ("`inputs`", "()")),
    Row("features missing", lambda: table()(X[:, :3]), ValueError, ("`inputs`", "(3, 3)", "4")),
    Row(
        "other channels",
        lambda: image()(IMAGES[..., :1]),
        ValueError,
        ("`inputs`", "(3, 7, 10, 1)", "2"),
    ),
    Row(
        "channels first for channels last",
        lambda: image()(np.moveaxis(IMAGES, -1, 1)),
        ValueError,
        ("`inputs`", "(3, 2, 7, 10)"),
    ),
    Row("empty batch", lambda: table()(X[:0]), ValueError, ("`inputs`", "at least one", "(0, 4)")),
    Row(
        "NaN",
        lambda: table()(with_value(np.nan)),
        ValueError,
        ("`inputs`", "finite", "nan", "row 1"),
    ),
    Row(
        "infinity",
        lambda: image()(with_value(np.inf, IMAGES)),
        ValueError,
        ("`inputs`", "finite", "inf", "row 1"),
    ),
    Row(
        "too large for float32",
        lambda: table()(with_value(1e300, X.astype("float64"))),
        ValueError,
        ("`inputs`", "finite"),
    ),
    Row("strings", lambda: table()(X.astype(str)), TypeError, ("`inputs`", "numbers", "<u")),
    Row("objects", lambda: table()(X.astype(object)), TypeError, ("`inputs`", "numbers", "object")),
    Row("complex numbers", lambda: table()(X.astype(complex)), TypeError, ("`inputs`", "complex")),
    Row("None", lambda: table()(None), (TypeError, ValueError), ("`inputs`",)),
    Row(
        "ragged list",
        lambda: table()([[1.0, 2.0, 3.0, 4.0], [1.0]]),
        ValueError,
        ("`inputs`", "shape"),
    ),
    Row("class out of range", lambda: table()(X, 3), ValueError, ("`targets`", "0 to 2", "3")),
    Row(
        "negative class", lambda: table()(X, [0, -1, 2]), ValueError, ("`targets`", "0 to 2", "-1")
    ),
    Row(
        "one target too few", lambda: table()(X, [0, 1]), ValueError, ("`targets`", "(3,)", "(2,)")
    ),
    Row(
        "floats as classes",
        lambda: table()(X, [0.0, 1.0, 2.0]),
        ValueError,
        ("`targets`", "integers", "(3,)"),
    ),
    Row(
        "weights of two columns",
        lambda: table()(X, np.ones((3, 2))),
        ValueError,
        ("`targets`", "(3, 3)", "(3, 2)"),
    ),
    Row(
        "weights for two rows",
        lambda: table()(X, np.ones((2, 3))),
        ValueError,
        ("`targets`", "(3, 3)", "(2, 3)"),
    ),
    Row(
        "weights of rank 3",
        lambda: table()(X, np.ones((3, 3, 1))),
        ValueError,
        ("`targets`", "(3, 3, 1)"),
    ),
    Row(
        "NaN weights",
        lambda: table()(X, np.full((3, 3), np.nan)),
        ValueError,
        ("`targets`", "finite", "nan"),
    ),
    Row(
        "boolean targets", lambda: table()(X, [True, False, True]), TypeError, ("`targets`", "true")
    ),
    Row(
        "class name without names",
        lambda: table()(X, "cat"),
        ValueError,
        ("`targets`", "cat", "class_names"),
    ),
    Row(
        "unknown class name",
        lambda: Saliency(xai.wrap(tiny_models.model("table"), class_names=("cat", "dog", "bird")))(
            X, "cta"
        ),
        ValueError,
        ("`targets`", "'cta'", "'cat'"),
    ),
    Row(
        "third class of one column",
        lambda: Saliency(tiny_models.one_column())(X, 2),
        ValueError,
        ("`targets`", "0 to 1", "2"),
    ),
    Row(
        "regression of several columns without targets",
        lambda: table(operator="regression")(X),
        ValueError,
        ("`targets`", "3"),
    ),
    Row("output above rank 2", spatial_output, ValueError, ("`operator`",)),
    Row(
        "reducer for a table",
        lambda: table(reducer="mean")(X),
        ValueError,
        ("`reducer`", "mean", "table"),
    ),
    Row(
        "reducer for a series",
        lambda: Saliency(tiny_models.model("series"), reducer="mean")(SERIES),
        ValueError,
        ("`reducer`", "mean"),
    ),
    Row(
        "blurred table",
        lambda: path(baseline="blur")(X),
        ValueError,
        ("`baseline`", "blur", "table"),
    ),
    Row(
        "mean of a table",
        lambda: path(baseline="mean")(X),
        ValueError,
        ("`baseline`", "mean", "table"),
    ),
    Row(
        "baseline of three features",
        lambda: path(baseline=np.zeros(3))(X),
        ValueError,
        ("`baseline`", "(4,)", "(3,)"),
    ),
    Row(
        "baseline for two rows",
        lambda: path(baseline=np.zeros((2, 4)))(X),
        ValueError,
        ("`baseline`", "(3, 4)", "(2, 4)"),
    ),
    Row(
        "callable baseline of another shape",
        lambda: path(baseline=lambda x: x[:, :2])(X),
        ValueError,
        ("`baseline`", "(3, 2)"),
    ),
    Row(
        "callable baseline of NaN",
        lambda: path(baseline=lambda x: x * np.nan)(X),
        ValueError,
        ("`baseline`", "finite"),
    ),
    Row("ambiguous layer", ambiguous, ValueError, ("`layer`", "conv2", "one/conv2", "two/conv2")),
    Row(
        "layer called twice",
        lambda: GradCAM(tiny_models.model("shared"), layer="shared")(IMAGES, 0),
        ValueError,
        ("`call`", "shared", "2"),
    ),
    Row(
        "layer without a spatial map",
        lambda: cam(layer="gap")(IMAGES),
        ValueError,
        ("`layer`", "gap", "("),
    ),
    Row("int8 layer tapped", quantized, ValueError, ("`layer`", "mix", "quantized")),
    Row(
        "CAM of a table",
        lambda: GradCAM(tiny_models.model("table"))(X),
        ValueError,
        ("gradcam", "(3, 4)"),
    ),
    Row("unbuilt model", unbuilt, ValueError, ("built",)),
    Row("several outputs", two_outputs, ValueError, ("`select`", "2")),
    Row("select out of range", select(5), (ValueError, IndexError), ("`select`", "5")),
    Row(
        "select of an unknown key",
        select("head"),
        (ValueError, KeyError, TypeError),
        ("`select`", "head"),
    ),
    Row("logits of bare probabilities", probabilities, ValueError, ("`output", "logits")),
    Row(
        "two data formats",
        formats,
        ValueError,
        ("`data_format`", "channels_first", "channels_last"),
    ),
    Row(
        "operator of a wrong shape",
        returning(lambda out: out),
        ValueError,
        ("`operator`", "(", "3)"),
    ),
    Row(
        "operator of a scalar",
        returning(lambda out: ops.sum(out)),
        ValueError,
        ("`operator`", "()"),
    ),
    Row(
        "operator of integers",
        returning(lambda out: ops.argmax(out, axis=-1)),
        (TypeError, ValueError),
        ("`operator`", "int"),
    ),
    Row(
        "operator of NaN",
        returning(lambda out: ops.log(-1.0 - ops.square(out[:, 0]))),
        ValueError,
        ("`operator`", "finite"),
    ),
    Row("input missing from the dict", several(series=None), ValueError, ("`inputs`", "series")),
    Row("other rows in one input", several(table=X[:2]), ValueError, ("`inputs`", "(2, 4)")),
    Row("rank mismatch in one input", several(series=X), ValueError, ("`inputs`", "(3, 4)")),
    Row(
        "batch of a stream",
        lambda: list(table().stream([X, with_value(np.nan)])),
        ValueError,
        ("`inputs`", "finite"),
    ),
    Row("stream of a number", lambda: list(table().stream(3)), TypeError, ("`data`", "3")),
    Row("no list of targets", lambda: table().explain_each(X, []), TypeError, ("`targets`", "[]")),
]

if BACKEND == "torch":
    CALLS += [
        Row(
            "module in training mode",
            lambda: Saliency(tiny_models.fresh("torch_table").train())(X),
            ValueError,
            ("module.eval()",),
        ),
        Row(
            "dropout in training mode",
            lambda: Saliency(one_part_training())(X),
            ValueError,
            ("module.eval()",),
        ),
        Row(
            "unknown torch layer",
            lambda: GradCAM(tiny_models.model("torch_image"), layer="conv_2")(
                KINDS["torch_image"].inputs(3)
            ),
            ValueError,
            ("`layer`", "'conv_2'", "conv2"),
        ),
        Row(
            "torch features missing",
            lambda: Saliency(tiny_models.model("torch_table"))(X[:, :3]),
            Exception,
            ("`inputs`", "(3, 3)"),
        ),
    ]


def one_part_training():
    made = tiny_models.fresh("torch_table")
    made.act.train()
    return made


# --- metrics ------------------------------------------------------------------------------------


def metric(model="table", **fields):
    return Deletion(tiny_models.model(model), **fields)


def explained(**config):
    """A random map of the table, with this configuration."""
    found = RandomMap()(X)
    return replace(found, config={**found.config, "model": "Sequential", **config})


def masked_with(share, **fields):
    return lambda: metric(**fields).masked(X, X, share)


CALLS += [
    Row(
        "fewer maps than inputs",
        lambda: metric()(X[:2], X),
        ValueError,
        ("`explanations`", "one map per input", "(3, 4)", "(2, 4)"),
    ),
    Row(
        "fewer inputs than explained",
        lambda: metric()(explained(), X[:2]),
        ValueError,
        ("`inputs`", "one row per explained input", "3", "(2, 4)"),
    ),
    Row(
        "map of another size",
        lambda: metric("image")(IMAGES[:, :6, :, :1], IMAGES),
        ValueError,
        ("`explanations`", "(3, 7, 10, 2)", "(3, 6, 10, 1)"),
    ),
    Row(
        "map without an axis of channels",
        lambda: metric("image")(IMAGES[..., 0], IMAGES),
        ValueError,
        ("`explanations`", "(3, 7, 10, 2)", "(3, 7, 10)"),
    ),
    Row(
        "NaN map",
        lambda: metric()(with_value(np.nan), X),
        ValueError,
        ("`explanations`", "finite", "1 of 3 maps", "map 1"),
    ),
    Row(
        "map of words",
        lambda: metric()(X.astype(str), X),
        TypeError,
        ("`explanations`", "numbers", "<u"),
    ),
    Row(
        "list of Explanations",
        lambda: metric()([explained()], X),
        TypeError,
        ("`explanations`", "list"),
    ),
    Row(
        "shuffled rows",
        lambda: metric()(explained(), X[::-1]),
        ValueError,
        ("`inputs`", "another order", "shuffled"),
    ),
    Row(
        "inputs in another type",
        lambda: metric()(explained(), X.astype("float64")),
        ValueError,
        ("`inputs`", "another dtype", "float64"),
    ),
    Row(
        "metric of several inputs",
        lambda: Deletion(tiny_models.several_inputs())(X, tiny_models.several_input_rows(3)),
        ValueError,
        ("`inputs`", "one array", "deletion", "2"),
    ),
    Row(
        "metric of batches",
        lambda: metric()(X, (batch for batch in [X])),
        TypeError,
        ("`inputs`", "array", "generator"),
    ),
    Row("metric of an explainer", lambda: Deletion(table()), TypeError, ("`model`", "saliency")),
    Row("metric of no step", lambda: metric(steps=0), ValueError, ("`steps`", "at least 1", "0")),
    Row("half a step", lambda: metric(steps=2.5), TypeError, ("`steps`", "integer", "2.5")),
    Row(
        "metric of an unknown output",
        lambda: metric(output="probability"),
        ValueError,
        ("`output`", "'probability'", "softmax"),
    ),
    Row(
        "metric of an unknown task",
        lambda: metric(operator="clasification"),
        ValueError,
        ("`operator`", "'clasification'", "classification"),
    ),
    Row(
        "own operator of the explanation not given",
        lambda: metric()(explained(operator="<margin>"), X),
        ValueError,
        ("`operator`", "given again", "<margin>"),
    ),
    Row(
        "metric of a regression of several columns without targets",
        lambda: metric(operator="regression")(X, X),
        ValueError,
        ("`targets`", "3"),
    ),
    Row(
        "metric with a baseline of three features",
        lambda: metric(baseline=np.zeros(3))(X, X),
        ValueError,
        ("`baseline`", "(4,)", "(3,)"),
    ),
    Row(
        "metric with an unknown baseline",
        lambda: metric(baseline="black"),
        ValueError,
        ("`baseline`", "'black'"),
    ),
    Row("negative share", masked_with(-0.1), ValueError, ("`share`", "[0, 1]", "-0.1")),
    Row("share above 1", masked_with([0, 0.5, 1.2]), ValueError, ("`share`", "[0, 1]", "1.2")),
    Row("share of NaN", masked_with(np.nan), ValueError, ("`share`", "[0, 1]", "nan")),
    Row("two shares of three", masked_with([0.1, 0.2]), ValueError, ("`share`", "3", "[0.1, 0.2]")),
    Row("share of words", masked_with("half"), TypeError, ("`share`", "numbers", "half")),
    Row(
        "picture of two baselines",
        masked_with(0.5, baseline=[0.0, 1.0]),
        ValueError,
        ("`baseline`", "2"),
    ),
]


@pytest.mark.parametrize("row", CALLS, ids=lambda row: row.name)
def test_wrong_call(row):
    check(row)


def test_good_call_after_a_bad_one():
    explainer = table()
    expected = explainer(X).values
    for row in (CALLS[0], CALLS[8], CALLS[16]):
        check(row)
    assert np.array_equal(explainer(X).values, expected)


def test_table_is_long_enough():
    assert len(CALLS) >= 45
