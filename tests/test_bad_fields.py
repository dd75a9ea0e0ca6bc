"""Wrong settings, and how early what is wrong is refused."""

import numpy as np
import pytest

import tiny_models
import xai_core as xai
from bad_rows import Row, check
from naming import shown
from tiny_models import KINDS
from xai_core.attributions import GradCAM, GradientInput, IntegratedGradients, RandomMap, Saliency

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


# --- at construction ----------------------------------------------------------------------------

FIELDS = [
    Row("model is a number", lambda: Saliency(3), TypeError, ("`model`", "int")),
    Row("model is None", lambda: Saliency(None), TypeError, ("`model`", "none")),
    Row(
        "unknown task",
        lambda: table(operator="classificaton"),
        ValueError,
        ("`operator`", "classificaton", "classification", "regression"),
    ),
    Row("operator is a number", lambda: table(operator=3), TypeError, ("`operator`", "3")),
    Row(
        "unknown output",
        lambda: table(output="logit"),
        ValueError,
        ("`output`", "'logit'", "logits"),
    ),
    Row(
        "batch size 0", lambda: table(batch_size=0), ValueError, ("`batch_size`", "at least 1", "0")
    ),
    Row("fractional batch size", lambda: table(batch_size=2.5), TypeError, ("`batch_size`", "2.5")),
    Row("batch size True", lambda: table(batch_size=True), TypeError, ("`batch_size`", "true")),
    Row("progress is a word", lambda: table(progress="yes"), TypeError, ("`progress`", "yes")),
    Row(
        "unknown reducer",
        lambda: image(reducer="median"),
        ValueError,
        ("`reducer`", "median", "abs_max", "mean"),
    ),
    Row(
        "reducer is a number", lambda: image(reducer=2), (TypeError, ValueError), ("`reducer`", "2")
    ),
    Row("absolute is a word", lambda: table(absolute="no"), TypeError, ("`absolute`", "no")),
    Row("one step", lambda: path(steps=1), ValueError, ("`steps`", "at least 2", "1")),
    Row("fractional steps", lambda: path(steps=10.0), TypeError, ("`steps`", "10.0")),
    Row(
        "unknown rule", lambda: path(rule="simpson"), ValueError, ("`rule`", "simpson", "trapezoid")
    ),
    Row(
        "unknown baseline word",
        lambda: path(baseline="black"),
        ValueError,
        ("`baseline`", "black", "mean", "blur"),
    ),
    Row(
        "baseline NaN",
        lambda: path(baseline=float("nan")),
        ValueError,
        ("`baseline`", "finite", "nan"),
    ),
    Row("no baseline in the list", lambda: path(baseline=[]), ValueError, ("`baseline`", "[]")),
    Row("baseline None", lambda: path(baseline=None), TypeError, ("`baseline`", "numbers")),
    Row("signed is a number", lambda: cam(signed=1), TypeError, ("`signed`", "1")),
    Row("negative call", lambda: cam(layer="conv2", call=-1), ValueError, ("`call`", "-1")),
    Row("fractional call", lambda: cam(layer="conv2", call=0.5), TypeError, ("`call`", "0.5")),
    Row(
        "unknown layer",
        lambda: cam(layer="conv_2")(IMAGES),
        ValueError,
        ("`layer`", "'conv_2'", "conv2"),
    ),
    Row(
        "layer index out of range",
        lambda: cam(layer=17)(IMAGES),
        (ValueError, IndexError),
        ("`layer`", "17"),
    ),
    Row(
        "layer of a wrong type",
        lambda: cam(layer=2.5)(IMAGES),
        (TypeError, ValueError),
        ("`layer`", "2.5"),
    ),
    Row("negative seed", lambda: RandomMap(seed=-1), ValueError, ("`seed`", "-1")),
    Row("fractional seed", lambda: RandomMap(seed=0.5), TypeError, ("`seed`", "0.5")),
    Row("no seed", lambda: RandomMap(seed=None), TypeError, ("`seed`", "none")),
    Row("grid of no cells", lambda: RandomMap(grid_size=0), ValueError, ("`grid_size`", "0")),
    Row(
        "unknown data format",
        lambda: xai.wrap(tiny_models.model("image"), data_format="NHWC"),
        ValueError,
        ("`data_format`", "nhwc", "channels_last"),
    ),
    Row(
        "class names are one string",
        lambda: xai.wrap(tiny_models.model("image"), class_names="abc"),
        TypeError,
        ("`class_names`", "abc"),
    ),
]


@pytest.mark.parametrize("row", FIELDS, ids=lambda row: row.name)
def test_wrong_field(row):
    check(row)


# --- how early ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fields",
    [
        {"operator": "clasification"},
        {"output": "logit"},
        {"batch_size": 0},
        {"reducer": "median"},
        {"layer": "conv_2"},
    ],
    ids=shown,
)
def test_wrong_field_is_refused_before_the_model_runs(fields):
    model, seen = tiny_models.batch_sizes(tiny_models.network("image"))
    method = GradCAM if "layer" in fields else GradientInput
    with pytest.raises(ValueError, match="`"):
        method(model, **fields)(IMAGES)
    assert seen == []


BEFORE = {
    "NaN": (lambda x: (np.where(x > 1, np.nan, x), None), {}),
    "rank": (lambda x: (x[0], None), {}),
    "channels": (lambda x: (x[..., :1], None), {}),
    "strings": (lambda x: (x.astype(str), None), {}),
    "class": (lambda x: (x, 3), {}),
    "weights": (lambda x: (x, np.ones((len(x), 2))), {}),
    "operator": (lambda x: (x, 0), {"operator": lambda model, inputs, targets: model(inputs)}),
    "layer": (lambda x: (x, 0), {"layer": "gap"}),
    "regression": (lambda x: (x, None), {"operator": "regression"}),
}


@pytest.mark.parametrize("name", BEFORE)
def test_wrong_call_costs_at_most_one_probe_row(name):
    make, fields = BEFORE[name]
    model, seen = tiny_models.batch_sizes(tiny_models.network("image"))
    method = GradCAM if "layer" in fields else GradientInput
    inputs, targets = make(KINDS["image"].inputs(4))
    with pytest.raises((TypeError, ValueError)):
        method(model, **fields)(inputs, targets)
    assert max(seen, default=0) <= 1
    assert len(seen) <= 2
