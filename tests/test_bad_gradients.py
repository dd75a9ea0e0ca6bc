"""Wrong settings of the gradient methods, of their layers, backgrounds and rules."""

import numpy as np
import pytest
from keras import layers

import tiny_models
from bad_rows import Row, check
from tiny_models import KINDS
from xai_core import propagation
from xai_core.attributions import (
    FEM,
    Conductance,
    DeconvNet,
    DeepLIFT,
    DeepSHAP,
    ExpectedGradients,
    GradientInput,
    GuidedBackprop,
    GuidedGradCAM,
    IntegratedGradients,
    Saliency,
)

X = KINDS["table"].inputs(3)
IMAGES = KINDS["image"].inputs(3)
SERIES = KINDS["series"].inputs(3)
ROWS = KINDS["table"].inputs(2, seed=9)
METHODS = (Saliency, GradientInput, IntegratedGradients, DeepLIFT)
"""Of which each kind of field is tried; DeepSHAP shares that of DeepLIFT."""


def table(method, **fields):
    return method(tiny_models.model("table"), **fields)


def image(method, **fields):
    return method(tiny_models.model("image"), **fields)


def rectified(method, **fields):
    return method(tiny_models.model("image", "GuidedBackprop", True), **fields)


def rectified_series(method, **fields):
    return method(tiny_models.network("series", trunk="relu"), **fields)(SERIES, 0)


def flow(**fields):
    return table(Conductance, **{"layer": "hidden", **fields})


def several(method, background):
    given = tiny_models.several_input_rows()
    return method(tiny_models.several_inputs(), background=background)(given, 0)


def softmax_inside():
    flat = tiny_models.network("table", activation="softmax")
    made = tiny_models.keras.Sequential([*flat.layers, layers.Dense(2)])
    made.build((None, 4))
    return made


OF_LAYERS = [
    row
    for method in METHODS
    for row in (
        Row(
            f"{method.__name__}: unknown layer",
            lambda m=method: image(m, layer="conv_2"),
            ValueError,
            ("`layer`", "'conv_2'", "conv2"),
        ),
        Row(
            f"{method.__name__}: layer out of range",
            lambda m=method: image(m, layer=17),
            ValueError,
            ("`layer`", "17"),
        ),
        Row(
            f"{method.__name__}: call without layer",
            lambda m=method: image(m, call=0),
            ValueError,
            ("`call`", "`layer`", "0"),
        ),
        Row(
            f"{method.__name__}: fractional call",
            lambda m=method: image(m, layer="conv2", call=0.5),
            TypeError,
            ("`call`", "0.5"),
        ),
        Row(
            f"{method.__name__}: call out of range",
            lambda m=method: image(m, layer="conv2", call=2)(IMAGES),
            ValueError,
            ("`call`", "conv2", "2"),
        ),
        Row(
            f"{method.__name__}: reducer of a layer without channels",
            lambda m=method: image(m, layer="logits", reducer="mean")(IMAGES),
            ValueError,
            ("`reducer`", "'logits'", "mean"),
        ),
    )
]
OF_RECTIFIED = [
    row
    for method in (GuidedBackprop, DeconvNet, GuidedGradCAM)
    for row in (
        Row(
            f"{method.__name__}: unknown reducer",
            lambda m=method: rectified(m, reducer="median"),
            ValueError,
            ("`reducer`", "median", "abs_max"),
        ),
        Row(
            f"{method.__name__}: reducer of a series",
            lambda m=method: rectified_series(m, reducer="max"),
            ValueError,
            ("`reducer`", "series", "max"),
        ),
        Row(
            f"{method.__name__}: unknown layer",
            lambda m=method: rectified(m, layer="conv_2"),
            ValueError,
            ("`layer`", "'conv_2'", "conv2"),
        ),
        Row(
            f"{method.__name__}: fractional call",
            lambda m=method: rectified(m, layer="conv2", call=0.5),
            TypeError,
            ("`call`", "0.5"),
        ),
        Row(
            f"{method.__name__}: call out of range",
            lambda m=method: rectified(m, layer="conv2", call=2)(IMAGES, 0),
            ValueError,
            ("`call`", "conv2", "2"),
        ),
        Row(
            f"{method.__name__}: no rectifier",
            lambda m=method: image(m)(IMAGES, 0),
            ValueError,
            ("`model`", "rectifier", "tanh"),
        ),
    )
]
OF_BACKGROUNDS = [
    row
    for method in (DeepSHAP, ExpectedGradients)
    for row in (
        Row(
            f"{method.__name__}: no background",
            lambda m=method: table(m),
            ValueError,
            ("`background`", "none"),
        ),
        Row(
            f"{method.__name__}: rows of another width",
            lambda m=method: table(m, background=ROWS[:, :3])(X),
            ValueError,
            ("`background`", "3"),
        ),
        Row(
            f"{method.__name__}: no rows",
            lambda m=method: table(m, background=ROWS[:0])(X),
            ValueError,
            ("`background`",),
        ),
        Row(
            f"{method.__name__}: one row without its axis",
            lambda m=method: table(m, background=ROWS[0])(X),
            ValueError,
            ("`background`",),
        ),
        Row(
            f"{method.__name__}: not finite",
            lambda m=method: table(m, background=ROWS * np.nan)(X),
            ValueError,
            ("`background`", "finite"),
        ),
        Row(
            f"{method.__name__}: words",
            lambda m=method: table(m, background=ROWS.astype(str))(X),
            TypeError,
            ("`background`",),
        ),
        Row(
            f"{method.__name__}: one array for several inputs",
            lambda m=method: several(m, ROWS),
            (TypeError, ValueError),
            ("`background`",),
        ),
    )
]
OTHERS = [
    Row("no layer", lambda: table(Conductance), ValueError, ("`layer`", "IntegratedGradients")),
    Row("one step", lambda: flow(steps=1), ValueError, ("`steps`", "at least 2", "1")),
    Row("fractional steps", lambda: flow(steps=2.5), TypeError, ("`steps`", "2.5")),
    Row("unknown baseline", lambda: flow(baseline="black"), ValueError, ("`baseline`", "black")),
    Row("no baseline", lambda: table(DeepLIFT, baseline=[]), ValueError, ("`baseline`", "[]")),
    Row(
        "baseline of another shape",
        lambda: table(DeepLIFT, baseline=np.zeros(3))(X),
        ValueError,
        ("`baseline`", "(3,)"),
    ),
    Row(
        "check is a word",
        lambda: table(DeepLIFT, check_completeness="yes"),
        TypeError,
        ("`check_completeness`", "yes"),
    ),
    Row(
        "check is a number",
        lambda: table(DeepSHAP, background=ROWS, check_completeness=1),
        TypeError,
        ("`check_completeness`", "1"),
    ),
    Row(
        "one draw",
        lambda: table(ExpectedGradients, background=ROWS, n_samples=1),
        ValueError,
        ("`n_samples`", "at least 2", "1"),
    ),
    Row(
        "fractional draws",
        lambda: table(ExpectedGradients, background=ROWS, n_samples=9.0),
        TypeError,
        ("`n_samples`", "9.0"),
    ),
    Row(
        "negative seed",
        lambda: table(ExpectedGradients, background=ROWS, seed=-1),
        ValueError,
        ("`seed`", "-1"),
    ),
    Row(
        "no seed",
        lambda: table(ExpectedGradients, background=ROWS, seed=None),
        TypeError,
        ("`seed`", "none"),
    ),
    *OF_RECTIFIED,
    *(
        Row(
            f"{method.__name__}: unknown reducer",
            lambda m=method, f=fields: image(m, reducer="median", **f),
            ValueError,
            ("`reducer`", "median", "abs_max"),
        )
        for method, fields in ((DeepLIFT, {}), (DeepSHAP, {"background": IMAGES}))
    ),
    *(
        Row(f"FEM: kappa {value!r}", lambda v=value: image(FEM, kappa=v), error, ("`kappa`", told))
        for value, error, told in (
            ("a", TypeError, "'a'"),
            (float("nan"), ValueError, "nan"),
            (-1.0, ValueError, "-1"),
        )
    ),
    Row(
        "no such layer of Grad-CAM",
        lambda: rectified(GuidedGradCAM, layer="conv_2"),
        ValueError,
        ("`layer`", "conv_2", "conv2"),
    ),
    Row(
        "softmax inside the model",
        lambda: DeepLIFT(softmax_inside())(X, 0),
        ValueError,
        ("`model`", "softmax", "register_rule"),
    ),
    Row(
        "rule of no operation",
        lambda: propagation.register_rule("dense", propagation.rescale),
        ValueError,
        ("`operation`", "dense"),
    ),
    Row(
        "rule is a word",
        lambda: propagation.register_rule("tanh", "rescale"),
        TypeError,
        ("`rule`", "rescale"),
    ),
    Row(
        "no rule to take back",
        lambda: propagation.unregister_rule("tanh"),
        ValueError,
        ("`operation`", "tanh"),
    ),
]


@pytest.mark.parametrize("row", [*OF_LAYERS, *OF_BACKGROUNDS, *OTHERS], ids=lambda row: row.name)
def test_wrong_call(row):
    check(row)


def test_good_calls_beside_the_bad_ones():
    assert flow()(X, 0).values.shape == (3, 5)
    assert table(DeepSHAP, background=ROWS)(X, 0).values.shape == (3, 4)
    assert table(ExpectedGradients, background=ROWS)(X, 0).values.shape == (3, 4)
    assert rectified(GuidedGradCAM)(IMAGES, 0).values.shape == (3, 7, 10, 1)
