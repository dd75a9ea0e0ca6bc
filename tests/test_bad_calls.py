"""What users get wrong with black boxes, occlusion, noise, loaders and explainers of explainers."""

import numpy as np
import pytest
from sklearn import cluster, linear_model, svm

import tiny_models
import xai_core as xai
from bad_rows import Row, check
from tiny_models import KINDS
from xai_core.attributions import (
    FORGrad,
    GradCAM,
    IntegratedGradients,
    Occlusion,
    RandomMap,
    Saliency,
    SmoothGrad,
    SquareGrad,
    VarGrad,
)
from xai_core.wrappers import BlackBox

X = KINDS["table"].inputs(3)
IMAGES = KINDS["image"].inputs(3)
SERIES = KINDS["series"].inputs(3)
LABELS = np.array([0, 2, 5])


def predict(x):
    return x[:, :2]


def table(**fields):
    return Occlusion(tiny_models.model("table"), **fields)


def image(**fields):
    return Occlusion(tiny_models.model("image"), **fields)


def returning(value):
    return lambda: Occlusion(lambda x: value)(X, 0)


def labelled():
    return linear_model.LogisticRegression().fit(X, LABELS)


def noisy(**fields):
    return SmoothGrad(tiny_models.model("image"), **fields)


def stream(data, targets=0):
    return lambda: list(Occlusion(predict).stream(data, targets))


ROWS = [
    # Black boxes
    Row(
        "gradients of a function",
        lambda: Saliency(predict),
        TypeError,
        ("`model`", "gradients", "predict", "black box", "Occlusion"),
    ),
    Row(
        "path of an estimator",
        lambda: IntegratedGradients(labelled()),
        TypeError,
        ("`model`", "gradients for IntegratedGradients", "LogisticRegression", "Occlusion"),
    ),
    Row(
        "CAM of a black box", lambda: GradCAM(BlackBox(predict)), TypeError, ("`model`", "GradCAM")
    ),
    Row("noise on a black box", lambda: VarGrad(predict), TypeError, ("`model`", "gradients")),
    Row(
        "filter of a black box", lambda: FORGrad(Saliency(predict)), TypeError, ("`model`", "black")
    ),
    Row(
        "estimator that is not fitted",
        lambda: Occlusion(linear_model.LogisticRegression()),
        ValueError,
        ("`model`", "fitted", "LogisticRegression", "`fit`"),
    ),
    Row(
        "class of an estimator",
        lambda: Occlusion(linear_model.LogisticRegression),
        TypeError,
        ("`model`", "instance", "LogisticRegression"),
    ),
    Row(
        "classifier without probabilities",
        lambda: Occlusion(svm.LinearSVC().fit(X, LABELS)),
        ValueError,
        ("`model`", "predict_proba", "LinearSVC", "decision_function"),
    ),
    Row(
        "clusters",
        lambda: Occlusion(cluster.KMeans(2, n_init=1).fit(X)),
        ValueError,
        ("`model`", "classifier or a regressor", "KMeans"),
    ),
    Row("no function", lambda: BlackBox(3), TypeError, ("`source`", "function", "int")),
    Row(
        "integer for a label",
        lambda: Occlusion(labelled())(X, 2),
        ValueError,
        ("`targets`", "names", "[0, 2, 5]", "'0'"),
    ),
    Row(
        "unknown label",
        lambda: Occlusion(labelled())(X, "1"),
        ValueError,
        ("`targets`", "names of classes", "'1'"),
    ),
    Row("function of None", returning(None), TypeError, ("`model`", "return", "NoneType")),
    Row(
        "function of words",
        returning(np.array(["cat"])),
        TypeError,
        ("`model`", "return numbers", "<U3"),
    ),
    Row(
        "function of one number", returning(0.5), ValueError, ("`model`", "row for each row", "()")
    ),
    Row(
        "function of too many rows",
        returning(np.ones((2, 3))),
        ValueError,
        ("`model`", "row for each row", "(2, 3)"),
    ),
    Row(
        "function of two outputs",
        lambda: Occlusion(lambda x: (x, x))(X, 0),
        ValueError,
        ("`select`", "2", "0, 1"),
    ),
    Row(
        "function of NaN",
        lambda: Occlusion(lambda x: x * np.nan)(X, 0),
        ValueError,
        ("`operator`", "finite", "3 of 3"),
    ),
    Row(
        "logits of a black box with probabilities",
        lambda: Occlusion(labelled(), output="logits")(X),
        ValueError,
        ("`output", "logits", "probabilities"),
    ),
    Row(
        "softmax of one column",
        lambda: Occlusion(lambda x: x[:, 0], output="softmax")(X, 1),
        ValueError,
        ("`output", "softmax", "(1,)"),
    ),
    Row(
        "one vector for a black box",
        lambda: Occlusion(predict)(X[0], 0),
        ValueError,
        ("`inputs`", "2 to 5 axes", "(4,)"),
    ),
    Row(
        "ragged rows for a black box",
        lambda: Occlusion(predict)([[1.0, 2.0], [3.0]], 0),
        ValueError,
        ("`inputs`", "one shape"),
    ),
    Row(
        "empty batch for a black box",
        lambda: Occlusion(predict)(X[:0], 0),
        ValueError,
        ("`inputs`", "at least one row", "(0, 4)"),
    ),
    Row(
        "random map of objects",
        lambda: RandomMap(predict)(X.astype(object), 0),
        TypeError,
        ("`inputs`", "numbers", "objects"),
    ),
    Row(
        "operator of columns for a black box",
        lambda: Occlusion(predict, operator=lambda model, x, targets: model(x))(X),
        ValueError,
        ("`operator`", "one score per row", "(1, 2)"),
    ),
    # Occlusion
    Row(
        "patch larger than the image",
        lambda: image(patch_size=8)(IMAGES),
        ValueError,
        ("`patch_size`", "at most", "7", "8"),
    ),
    Row(
        "patch of more columns than the table",
        lambda: table(patch_size=5)(X),
        ValueError,
        ("`patch_size`", "at most", "4", "5"),
    ),
    Row(
        "patch of three sides for an image",
        lambda: image(patch_size=(2, 2, 2))(IMAGES),
        ValueError,
        ("`patch_size`", "2 axes", "(2, 2, 2)"),
    ),
    Row(
        "empty patch", lambda: image(patch_size=0), ValueError, ("`patch_size`", "at least 1", "0")
    ),
    Row("half a patch", lambda: image(patch_size=2.5), TypeError, ("`patch_size`", "2.5")),
    Row(
        "stride larger than the patch",
        lambda: image(patch_size=2, patch_stride=3)(IMAGES),
        ValueError,
        ("`patch_stride`", "at most `patch_size`", "2", "3"),
    ),
    Row(
        "channels of a table",
        lambda: table(per_channel=True)(X),
        ValueError,
        ("`per_channel`", "table", "true"),
    ),
    Row(
        "mask of another size",
        lambda: image(feature_mask=np.zeros((7, 7), int))(IMAGES),
        ValueError,
        ("`feature_mask`", "(7, 10, 2)", "(7, 7)"),
    ),
    Row(
        "masks for two of three images",
        lambda: image(feature_mask=np.zeros((2, 7, 10, 1), int))(IMAGES),
        ValueError,
        ("`feature_mask`", "(3, 7, 10, 2)", "(2, 7, 10, 1)"),
    ),
    Row(
        "mask of floats",
        lambda: image(feature_mask=np.zeros((7, 10))),
        TypeError,
        ("`feature_mask`", "integers", "float64"),
    ),
    Row(
        "mask and patch",
        lambda: image(feature_mask=np.zeros((7, 10), int), patch_size=2),
        ValueError,
        ("`patch_size`", "`feature_mask`", "2"),
    ),
    Row(
        "NaN baseline", lambda: image(baseline=np.nan), ValueError, ("`baseline`", "finite", "nan")
    ),
    Row(
        "function of NaN as baseline",
        lambda: image(baseline=lambda x: x * np.nan)(IMAGES),
        ValueError,
        ("`baseline`", "finite", "function"),
    ),
    Row(
        "mean of a table as baseline",
        lambda: Occlusion(predict, baseline="mean")(X, 0),
        ValueError,
        ("`baseline`", "table", "mean"),
    ),
    Row(
        "word as baseline of a black box",
        lambda: Occlusion(predict, baseline="unknown"),
        ValueError,
        ("`baseline`", "'mean'", "'unknown'"),
    ),
    # Noise
    Row("negative noise", lambda: noisy(noise=-0.1), ValueError, ("`noise`", "negative", "-0.1")),
    Row("infinite noise", lambda: noisy(noise=np.inf), ValueError, ("`noise`", "finite", "inf")),
    Row(
        "negative noise among others",
        lambda: noisy(noise=np.array([0.1, -0.1]), noise_scale="absolute"),
        ValueError,
        ("`noise`", "negative", "-0.1"),
    ),
    Row("noise in words", lambda: noisy(noise="much"), TypeError, ("`noise`", "number", "much")),
    Row(
        "range of a table",
        lambda: SmoothGrad(tiny_models.model("table"))(X),
        ValueError,
        ("`noise_scale", "table", "absolute", "(4,)"),
    ),
    Row(
        "noise for each channel as a share of the range",
        lambda: noisy(noise=np.array([0.1, 0.2])),
        ValueError,
        ("`noise`", "one number", "(2,)", "absolute"),
    ),
    Row(
        "noise of another width",
        lambda: noisy(noise=np.array([0.1, 0.2, 0.3]), noise_scale="absolute")(IMAGES),
        ValueError,
        ("`noise`", "(7, 10, 2)", "(3,)"),
    ),
    Row("one sample", lambda: noisy(n_samples=1), ValueError, ("`n_samples`", "at least 2", "1")),
    Row(
        "unknown scale", lambda: noisy(noise_scale="std"), ValueError, ("`noise_scale`", "'range'")
    ),
    Row(
        "noise around a map without a model",
        lambda: SquareGrad(RandomMap()),
        ValueError,
        ("`model`", "SquareGrad", "without a model"),
    ),
    Row(
        "noise on objects",
        lambda: SmoothGrad(Occlusion(predict), noise_scale="absolute")(X.astype(object), 0),
        TypeError,
        ("`inputs`", "numbers", "objects"),
    ),
    # Loaders
    Row(
        "loader of nothing", stream(iter([])), ValueError, ("`data`", "at least one batch", "once")
    ),
    Row(
        "loader of other shapes",
        stream([X, X[:, :3]]),
        ValueError,
        ("`data`", "one shape", "(4,)", "(3,)", "batch 2"),
    ),
    Row("loader of four", stream([(X, X, X, X)]), ValueError, ("`data`", "(x, y, weights)", "4")),
    Row("array as a loader", stream(X), TypeError, ("`data`", "ndarray", "single batch")),
    Row("dict as a loader", stream({"x": X}), TypeError, ("`data`", "dict", "single batch")),
    Row(
        "labels of a loader without",
        stream([X], "labels"),
        ValueError,
        ('`targets="labels"`', "(x, y)"),
    ),
    Row(
        "loader in a call",
        lambda: Occlusion(predict)((x for x in [X]), 0),
        TypeError,
        ("`inputs`", "generator", "`stream`"),
    ),
    # Explainers of explainers
    Row(
        "another operator than the base's",
        lambda: SmoothGrad(Saliency(tiny_models.model("image")), operator="regression"),
        ValueError,
        ("`operator`", "wrapped explainer", "regression"),
    ),
    Row(
        "another output than the base's",
        lambda: FORGrad(Saliency(tiny_models.model("image")), output="softmax"),
        ValueError,
        ("`output`", "wrapped explainer", "softmax"),
    ),
    Row(
        "another batch size than the base's",
        lambda: VarGrad(Saliency(tiny_models.model("image"), batch_size=8), batch_size=16),
        ValueError,
        ("`batch_size`", "wrapped explainer", "16"),
    ),
    Row(
        "explainer in place of a model",
        lambda: Occlusion(Saliency(tiny_models.model("image"))),
        TypeError,
        ("`model`", "Saliency", "an explainer"),
    ),
    Row(
        "filtered table",
        lambda: FORGrad(Saliency(tiny_models.model("table")))(X),
        ValueError,
        ("(3, 4)",),
    ),
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_wrong_call(row):
    check(row)


def test_good_calls_beside_the_bad_ones():
    assert Occlusion(predict)(X, 0).values.shape == X.shape
    assert Occlusion(labelled())(X, "5").targets.tolist() == [2, 2, 2]
    assert image(patch_size=7)(IMAGES).values.shape == (3, 7, 10, 1)
    assert len(list(Occlusion(predict).stream([X, X[:1]], 0))) == 2
    assert xai.attributions.RandomMap(predict)(SERIES[:, :, 0], 0).scores.shape == (3,)
