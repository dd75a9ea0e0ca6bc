"""What SmoothGrad, SquareGrad and VarGrad refuse, and what explainers do that wrap nothing."""

import numpy as np
import pytest

import oracles
import tiny_models
from bad_rows import Row, check
from cases import tripled
from noisy import IMAGES, X, explainer, model
from tiny_models import KINDS
from xai_core.attributions import (
    RISE,
    FORGrad,
    GradCAM,
    IntegratedGradients,
    Occlusion,
    RandomMap,
    Saliency,
    SmoothGrad,
    VarGrad,
)


def image(**fields):
    return SmoothGrad(model(), **fields)


def base(**fields):
    return Saliency(model(), **fields)


def black_box(x):
    return x.reshape(len(x), -1)[:, :3]


FIELDS = [
    Row("one sample", lambda: image(n_samples=1), ValueError, ("`n_samples`", "at least 2", "1")),
    Row("half a sample", lambda: image(n_samples=2.5), TypeError, ("`n_samples`", "2.5")),
    Row("negative seed", lambda: image(seed=-1), ValueError, ("`seed`", "at least 0", "-1")),
    Row("large seed", lambda: image(seed=2**64), ValueError, ("`seed`", "2**64")),
    Row("no seed", lambda: image(seed=None), TypeError, ("`seed`", "none")),
    Row("negative noise", lambda: image(noise=-0.1), ValueError, ("`noise`", "negative", "-0.1")),
    Row("noise NaN", lambda: image(noise=float("nan")), ValueError, ("`noise`", "finite", "nan")),
    Row("noise too large", lambda: image(noise=1e39), ValueError, ("`noise`", "finite", "1e+39")),
    Row("noise is a word", lambda: image(noise="some"), TypeError, ("`noise`", "some")),
    Row("noise is None", lambda: image(noise=None), TypeError, ("`noise`", "none")),
    Row("noise is True", lambda: image(noise=True), TypeError, ("`noise`", "true")),
    Row(
        "unknown scale",
        lambda: image(noise_scale="relative"),
        ValueError,
        ("`noise_scale`", "'relative'", "range", "absolute"),
    ),
    Row(
        "an array of shares",
        lambda: image(noise=[0.1, 0.2]),
        ValueError,
        ("`noise`", '"range"', "(2,)", '"absolute"'),
    ),
    Row("unknown reducer", lambda: image(reducer="median"), ValueError, ("`reducer`", "median")),
    Row(
        "tolerance of the wrapped",
        lambda: SmoothGrad(RISE(black_box, tolerance=0.1)),
        ValueError,
        ("`tolerance`", "left out", "0.1 in rise"),
    ),
    Row(
        "reducer where there are no channels",
        lambda: VarGrad(FORGrad(GradCAM(model()), sigma=3), reducer="max"),
        ValueError,
        ("`reducer`", "left out", "FORGrad", "'max'"),
    ),
    Row(
        "reducer of the wrapped explainer",
        lambda: SmoothGrad(base(reducer="mean")),
        ValueError,
        ("`reducer`", "SmoothGrad", "Saliency", "'mean'"),
    ),
    *(
        Row(
            f"another {name}",
            lambda name=name, value=value: SmoothGrad(base(), **{name: value}),
            ValueError,
            (f"`{name}`", "wrapped explainer", str(value)),
        )
        for name, value in (("operator", "regression"), ("output", "logits"), ("batch_size", 8))
    ),
    Row("batch size 0", lambda: image(batch_size=0), ValueError, ("`batch_size`", "at least 1")),
    Row("no model", lambda: SmoothGrad(None), TypeError, ("`model`", "none")),
    Row(
        "an explainer without model",
        lambda: SmoothGrad(RandomMap()),
        ValueError,
        ("`model`", "SmoothGrad", "explainer"),
    ),
    Row(
        "a black box",
        lambda: SmoothGrad(black_box),
        TypeError,
        ("`model`", "gradients", "SmoothGrad", "black_box", "Occlusion"),
    ),
    *(
        Row(
            f"an explainer given to {cls.__name__}",
            lambda cls=cls: cls(base()),
            TypeError,
            ("`model` must be a model", "Saliency", "explainer"),
        )
        for cls in (Saliency, IntegratedGradients, GradCAM, Occlusion, RandomMap)
    ),
]


@pytest.mark.parametrize("row", FIELDS, ids=lambda row: row.name)
def test_wrong_setting(row):
    check(row)


CALLS = [
    Row(
        "share of a table",
        lambda: SmoothGrad(model("table"))(X),
        ValueError,
        ('`noise_scale="range"`', "table", "(5, 4)", '"absolute"', "(4,)"),
    ),
    Row(
        "share of a table among several inputs",
        lambda: SmoothGrad(tiny_models.several_inputs())(tiny_models.several_input_rows()),
        ValueError,
        ('`noise_scale="range"`', "table", '"absolute"'),
    ),
    *(
        Row(
            f"noise of shape {shape} for {name}",
            lambda name=name, shape=shape: explainer(name, noise=np.ones(shape))(
                KINDS[name].inputs()
            ),
            ValueError,
            ("`noise`", "broadcast", str(oracles.SHAPES[name]), str(shape)),
        )
        for name, shape in (
            ("table", (3,)),
            ("table", (5, 4)),
            ("series", (9,)),
            ("series", (3, 9)),
            ("image", (7, 10)),
            ("image", (5, 7, 10, 2)),
            ("image", (1, 7, 10, 2)),
        )
    ),
    Row(
        "reducer of a table",
        lambda: explainer("table", reducer="max")(X),
        ValueError,
        ("`reducer`", "left out", "max"),
    ),
    Row(
        "what the wrapped explainer refuses",
        lambda: explainer("table", base=GradCAM(model("table")))(X),
        ValueError,
        ("`GradCAM`", "table"),
    ),
    Row(
        "objects",
        lambda: explainer("table", base=Occlusion(black_box))(X.astype(object)),
        TypeError,
        ("`inputs`", "numbers", "noise"),
    ),
    Row(
        "the range of NaN",
        lambda: SmoothGrad(Occlusion(black_box))(np.where(IMAGES > 2, np.nan, IMAGES)),
        ValueError,
        ("`inputs`", "finite", '"range"', '"absolute"'),
    ),
]


@pytest.mark.parametrize("row", CALLS, ids=lambda row: row.name)
def test_wrong_input(row):
    check(row)


def test_settings_of_the_wrapped_explainer_may_be_repeated():
    same = {"operator": tripled, "output": "softmax", "batch_size": 8}
    repeated = SmoothGrad(base(**same), **same)
    assert repeated.with_model(model("gray")).model.operator is tripled


def test_reducers_that_change_nothing_may_be_given():
    for usual in (None, "max"):
        assert SmoothGrad(base(reducer=usual)).reducer == "abs_mean"
    assert SmoothGrad(GradCAM(model()), reducer=None).reducer is None
