"""Deletion and Insertion: closed forms, the oracle on every kind of input, class changes."""

import functools
import itertools

import keras
import numpy as np
import pandas
import pytest
from keras import layers

import oracles
import tiny_models
import xai_core as xai
from oracles import assert_same, step_counts
from tiny_models import BACKEND, FORMS, KINDS
from xai_core.metrics import Deletion, Insertion

BOTH = pytest.mark.parametrize("cls", [Deletion, Insertion])
WEIGHTS = np.array([2.0, 4.0, 1.0, 3.0])
TARGETS = np.array([2, 0, 1, 1, 0])
SMOOTH = [name for name in KINDS if name not in ("shared", "series_first", "gray")]


@tiny_models.in_forms
def additive(form):
    """f = 2 x_1 + 4 x_2 + x_3 + 3 x_4, with a bias of .5 where it is a black box."""
    if form == "torch":
        from torch import nn

        part = tiny_models.torch_part(nn.Linear(4, 1, bias=False), WEIGHTS)
        return tiny_models.torch_closed_form(lambda m, x: m.out(x), out=part)
    if form == "black box":
        return lambda x: x @ WEIGHTS
    dense = layers.Dense(1, use_bias=False, name="out")
    made = tiny_models.closed_form(form, (4,), dense, [dense])
    dense.set_weights([WEIGHTS[:, None]])
    return made


@functools.cache
def one_column(activation=None):
    return tiny_models.one_column(activation)


def model(name):
    """The shared model of a kind, of which only the tests of metrics compile steps."""
    return tiny_models.model(name, "metrics")


@functools.cache
def maps(twin, rows=5, channels=False):
    """Random maps, reduced as those of methods are: one channel for images."""
    shape = oracles.SHAPES[twin]
    shape = shape if channels or len(shape) < 3 else (*shape[:-1], 1)
    return np.random.default_rng(8).normal(size=(rows, *shape)).astype("float32")


def expected(cls, twin, counts, values=None, baseline=0.0):
    """Curves and classes by the oracle, of the twin's probabilities for `TARGETS`."""
    values = maps(twin) if values is None else values
    x = oracles.inputs(twin, len(values))
    rows = oracles.changed_rows(x, values, baseline, counts, insert=cls is Insertion)
    logits = oracles.logits(twin, rows.reshape(-1, *x.shape[1:]))
    logits = logits.reshape(len(x), len(counts), -1)
    curves = oracles.softmax(logits)[np.arange(len(x)), :, TARGETS[: len(x)]]
    return curves, logits.argmax(-1)


# --- closed forms -------------------------------------------------------------------------------


@pytest.mark.parametrize("form", [*FORMS, "black box"])
@pytest.mark.parametrize("steps", [None, 50])
def test_area_of_an_additive_model(form, steps):
    x, fields = np.ones((1, 4), "float32"), {"operator": "regression", "steps": steps}
    deletion = Deletion(additive(form), **fields)(x * WEIGHTS, x)
    insertion = Insertion(additive(form), **fields)(x * WEIGHTS, x)
    np.testing.assert_allclose(deletion.scores, [3.75], rtol=1e-6)
    np.testing.assert_allclose(insertion.scores, [6.25], rtol=1e-6)
    np.testing.assert_allclose(deletion.curves, [[10, 6, 3, 1, 0]], rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(insertion.curves, [[0, 4, 7, 9, 10]], rtol=1e-6, atol=1e-6)
    assert deletion.shares.tolist() == [0, 0.25, 0.5, 0.75, 1]


def test_general_formula_of_additive_models():
    """Del = f(x) - 1/d sum_i c_(i) (d - i + 1/2), and Del + Ins = f(x) + f(x0)."""
    rng = np.random.default_rng(0)
    size = 9
    w, x, start, values = rng.normal(size=(4, 6, size))
    scores = {"operator": "regression", "steps": None}
    of_row = [
        {
            cls: float(cls(lambda x, k=k: x @ w[k] + 0.7, baseline=start[k], **scores)(v, row))
            for cls in (Deletion, Insertion)
        }
        for k, (row, v) in enumerate(zip(x[:, None], values[:, None], strict=True))
    ]
    order = np.argsort(-values, axis=1)
    c = np.take_along_axis(w * (x - start), order, axis=1)
    full, empty = (w * x).sum(1) + 0.7, (w * start).sum(1) + 0.7
    areas = full - (c * (size - np.arange(size) - 0.5)).sum(1) / size
    np.testing.assert_allclose([one[Deletion] for one in of_row], areas, rtol=1e-12)
    np.testing.assert_allclose([one[Insertion] for one in of_row], full + empty - areas, rtol=1e-12)


@BOTH
def test_random_order_gives_the_mean_of_both_ends(cls):
    orders = np.array(list(itertools.permutations(range(4))), float)
    metric = cls(additive("black box"), operator="regression", steps=None)
    assert float(metric(orders, np.ones((24, 4)))) == pytest.approx(5.0, rel=1e-12)


# --- the oracle ---------------------------------------------------------------------------------


@pytest.mark.parametrize("steps", [None, 1, 2, 50, 1000])
@pytest.mark.parametrize("name", SMOOTH)
@BOTH
def test_equals_the_oracle(cls, name, steps):
    kind = KINDS[name]
    size = int(np.prod(maps(kind.twin).shape[1:]))
    counts = step_counts(size, steps)
    curves, classes = expected(cls, kind.twin, counts)
    metric = cls(model(name), steps=steps, output="softmax")
    result = metric(kind.layout(maps(kind.twin)), kind.inputs(), TARGETS)
    assert_same(result.curves, curves)
    assert_same(result.scores, oracles.area(curves, counts))
    assert_same(result.shares, np.array(counts) / size)
    assert (result.metric, result.higher_is_better) == (cls.__name__, cls is Insertion)
    if cls is Deletion:
        assert result.predictions.tolist() == classes.tolist()
        np.testing.assert_array_equal(result.flip_share, oracles.flip_share(classes, counts))


@pytest.mark.parametrize("steps", [7, 50])
@BOTH
def test_maps_without_a_feature_axis_take_whole_time_steps(cls, steps):
    values = maps("series")[..., :1]
    counts = step_counts(9, steps)
    curves, _ = expected(cls, "series", counts, values)
    result = cls(model("series"), steps=steps, output="softmax")(
        values, KINDS["series"].inputs(), TARGETS
    )
    assert_same(result.curves, curves)


def test_volumes():
    rng = np.random.default_rng(1)
    x, values = rng.normal(size=(2, 3, 4, 2, 2)), rng.normal(size=(2, 3, 4, 2, 1))

    def scores(x):
        return np.tanh(x[..., 0] - x[..., 1] ** 2).sum(axis=(1, 2, 3))

    counts = step_counts(24, 5)
    rows = oracles.changed_rows(x, values, 0.3, counts)
    curves = np.stack([scores(row) for row in rows])
    metric = Deletion(scores, operator="regression", steps=5, baseline=0.3)
    assert_same(metric(values, x).curves, curves)
    first = xai.wrap(lambda x: scores(np.moveaxis(x, 1, -1)), data_format="channels_first")
    of_first = metric.with_model(first)(np.moveaxis(values, -1, 1), np.moveaxis(x, -1, 1))
    assert_same(of_first.curves, curves)


def test_equal_values_keep_their_order():
    x = np.ones((3, 4))
    metric = Deletion(additive("black box"), operator="regression", steps=None)
    values = np.array([[0, 0, 0, 0], [1, 2, 1, 2], [0.0, -0.0, 5, 0]])
    expected_curves = [[10, 8, 4, 3, 0], [10, 6, 3, 1, 0], [10, 9, 7, 3, 0]]
    np.testing.assert_allclose(metric(values, x).curves, expected_curves, rtol=1e-12)


def test_equal_values_of_a_large_map_keep_their_order():
    values = np.tile([1.0, 0.0, 2.0], (1, 100))
    metric = Deletion(lambda x: x @ np.arange(300.0), operator="regression", steps=None)
    order = np.concatenate([np.arange(start, 300, 3) for start in (2, 0, 1)])
    lost = np.concatenate([[0], np.cumsum(order)])
    assert (metric(values, np.ones((1, 300))).curves == np.arange(300).sum() - lost).all()


@pytest.mark.parametrize("name", ["image", "channels_first"])
def test_channels_of_a_map_are_added_up(name):
    kind, whole = KINDS[name], maps("image", channels=True)
    metric = Deletion(model(name), output="softmax")
    result = metric(kind.layout(whole), kind.inputs(), TARGETS)
    summed = metric(kind.layout(whole.sum(-1, keepdims=True)), kind.inputs(), TARGETS)
    assert np.array_equal(result.curves, summed.curves)
    assert_same(result.curves, expected(Deletion, "image", step_counts(70, 50), whole)[0])


# --- baselines ----------------------------------------------------------------------------------


def blurred(x):
    from scipy import ndimage

    return ndimage.gaussian_filter(x, (0, 10 / 16, 10 / 16, 0), mode="nearest")


SAMPLE = np.random.default_rng(2).normal(size=(7, 10, 2))
EACH_ROW = np.random.default_rng(3).normal(size=(5, 7, 10, 2))
BASELINES = {
    "number": (-0.4, -0.4),
    "one sample": (SAMPLE, SAMPLE),
    "one for each input": (EACH_ROW, EACH_ROW),
    "mean": ("mean", lambda x: x.mean((1, 2), keepdims=True)),
    "blur": ("blur", blurred),
    "function": (lambda x: x[:, ::-1], lambda x: x[:, ::-1]),
}


@pytest.mark.parametrize("form", BASELINES)
@BOTH
def test_every_form_of_baseline(cls, form):
    given, meant = BASELINES[form]
    meant = meant(oracles.inputs("image").astype(float)) if callable(meant) else meant
    counts = step_counts(70, 6)
    curves, classes = expected(cls, "image", counts, baseline=meant)
    metric = cls(model("image"), steps=6, baseline=given, output="softmax")
    result = metric(maps("image"), KINDS["image"].inputs(), TARGETS)
    assert_same(result.curves, curves)
    if cls is Deletion:
        assert result.predictions.tolist() == classes.tolist()


@BOTH
def test_curves_of_several_baselines_are_averaged(cls):
    x = KINDS["image"].inputs()
    forms = ["blur", 0.3, SAMPLE]
    metric = cls(model("image"), steps=6, output="softmax", baseline=forms)
    result = metric(maps("image"), x, TARGETS)
    each = [
        cls(model("image"), steps=6, output="softmax", baseline=one)(maps("image"), x, TARGETS)
        for one in forms
    ]
    assert_same(result.curves, np.mean([one.curves for one in each], axis=0))
    assert_same(result.scores, np.mean([one.scores for one in each], axis=0))
    assert result.predictions is None
    assert result.flip_share is None


# --- where the predicted class changes ----------------------------------------------------------


def test_flip_share_is_nan_where_the_class_never_changes():
    x = KINDS["table"].inputs()
    result = Deletion(model("table"), baseline=lambda x: x, output="softmax")(maps("table"), x)
    assert np.isnan(result.flip_share).all()
    assert (result.predictions == result.predictions[:, :1]).all()


@pytest.mark.parametrize("activation", [None, "sigmoid"])
def test_classes_of_a_model_with_one_column(activation):
    made = one_column(activation)
    x = KINDS["table"].inputs()
    metric = Deletion(made, steps=None, baseline=-1.5, output="sigmoid")
    one = metric(maps("table"), x)
    other = metric(maps("table"), x, 0)
    assert_same(other.curves, 1 - one.curves)
    assert one.predictions.tolist() == (one.curves > 0.5).astype(int).tolist()
    assert other.predictions.tolist() == one.predictions.tolist()
    assert one.predictions.dtype == np.int32
    counts = step_counts(4, None)
    np.testing.assert_array_equal(one.flip_share, oracles.flip_share(one.predictions, counts))
    assert np.isfinite(one.flip_share).any()


@pytest.mark.filterwarnings("ignore:The score of a class is outside")
def test_classes_of_a_model_with_one_logit():
    x = KINDS["table"].inputs()
    made = one_column()
    result = Deletion(made, steps=None, baseline=-1.5)(maps("table"), x)
    assert result.predictions.tolist() == (result.curves > 0).astype(int).tolist()
    assert_same(Deletion(made, baseline=-1.5)(maps("table"), x, 0).curves, -result.curves)


@pytest.mark.parametrize(
    ("cls", "fields"),
    [
        (Insertion, {}),
        (Deletion, {"operator": "regression"}),
        (Deletion, {"baseline": [0.0, 1.0]}),
        (Insertion, {"baseline": [0.0, 1.0]}),
    ],
)
def test_no_flip_share_but_of_a_deletion_of_classes_with_one_baseline(cls, fields):
    metric = cls(model("table"), output="softmax", **fields)
    result = metric(maps("table"), KINDS["table"].inputs(), 1)
    assert result.flip_share is None
    assert result.predictions is None


def test_a_baseline_in_a_list_of_one_has_a_flip_share():
    x = KINDS["table"].inputs()
    listed = Deletion(model("table"), output="softmax", baseline=[0.0])(maps("table"), x)
    alone = Deletion(model("table"), output="softmax")(maps("table"), x)
    np.testing.assert_array_equal(listed.flip_share, alone.flip_share)


# --- scores that are no probabilities -----------------------------------------------------------


@BOTH
def test_score_of_a_class_outside_0_and_1_warns_once(cls):
    x = KINDS["table"].inputs()
    with pytest.warns(xai.ExplanationWarning, match=r"outside \[0, 1\] for \d of 5") as caught:
        cls(model("table"))(maps("table"), x)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    assert 'output="softmax"' in str(caught[0].message)


@BOTH
def test_contrasts_regressions_and_own_scores_do_not_warn(cls):
    x, values = KINDS["table"].inputs(), maps("table")
    contrast = np.tile([[3.0, -3.0, 0.0]], (5, 1)).astype("float32")
    weighted = cls(model("table"))(values, x, contrast).curves
    assert weighted.max() > 1 or weighted.min() < 0
    cls(model("table"), operator="regression")(values, x, 1)
    cls(model("table"), operator=doubled)(values, x, TARGETS)


def doubled(model, inputs, targets):
    return 2 * xai.operators.classification(model, inputs, targets)


@BOTH
def test_weights_add_up_the_curves_of_the_columns(cls):
    x, values = KINDS["table"].inputs(), maps("table")
    metric = cls(model("table"), operator="regression", steps=None)
    weights = np.random.default_rng(4).normal(size=(5, 3)).astype("float32")
    columns = [metric(values, x, k).curves for k in range(3)]
    total = sum(weights[:, k : k + 1] * columns[k] for k in range(3))
    assert_same(metric(values, x, weights).curves, total)


# --- the inputs at one point of the curve -------------------------------------------------------


@pytest.mark.parametrize("name", ["table", "series", "image", "channels_first"])
@BOTH
def test_masked_inputs_are_those_of_the_curve(cls, name):
    kind = KINDS[name]
    x, values = kind.inputs(), kind.layout(maps(kind.twin))
    metric = cls(model(name), steps=6, output="softmax", baseline=0.2)
    result = metric(values, x, TARGETS)
    ends = metric.masked(values, x, 0), metric.masked(values, x, 1)
    removed, kept = ends if cls is Insertion else ends[::-1]
    assert np.array_equal(kept, x)
    assert np.array_equal(removed, np.full_like(x, 0.2))
    for k, share in enumerate(result.shares):
        masked = metric.masked(values, x, share)
        rows = oracles.changed_rows(
            oracles.inputs(kind.twin),
            maps(kind.twin),
            np.float32(0.2),
            [round(share * maps(kind.twin)[0].size)],
            insert=cls is Insertion,
        )
        assert np.array_equal(masked, kind.layout(rows[:, 0]).astype("float32"))
        outputs = oracles.softmax(oracles.logits(kind.twin, rows[:, 0]))
        assert_same(result.curves[:, k], outputs[np.arange(5), TARGETS])


def test_masked_at_the_flip_share_has_another_class():
    kind = KINDS["image"]
    x, metric = kind.inputs(), Deletion(model("image"), output="softmax", baseline="blur")
    result = metric(maps("image"), x)
    flips = np.isfinite(result.flip_share)
    assert flips.any()
    masked = metric.masked(maps("image")[flips], x[flips], result.flip_share[flips])
    whole = metric.masked(maps("image"), x, np.nan_to_num(result.flip_share))
    assert np.array_equal(masked, whole[flips])
    before, after = (oracles.logits("image", one).argmax(-1) for one in (x[flips], masked))
    assert (before != after).all()
    steps = (result.shares[None] == result.flip_share[flips][:, None]).argmax(1)
    assert result.predictions[flips][np.arange(len(after)), steps].tolist() == after.tolist()


def test_one_share_for_each_input():
    x = np.arange(1.0, 9.0).reshape(2, 4)
    metric = Deletion(additive("black box"), operator="regression", baseline=-1.0)
    values = np.array([[1.0, 2, 3, 4], [4, 3, 2, 1]])
    masked = metric.masked(values, x, [0.25, 0.75])
    assert masked.tolist() == [[1, 2, 3, -1], [-1, -1, -1, 8]]
    assert metric.masked(values[:1], x[:1], 0.5).tolist() == [[1, 2, -1, -1]]


def test_masked_needs_no_targets():
    x = KINDS["table"].inputs()
    metric = Deletion(model("table"), operator="regression")
    assert np.array_equal(metric.masked(maps("table"), x, 1.0), np.zeros_like(x))


def test_masked_data_frames_are_data_frames():
    frame = pandas.DataFrame({"a": [1, 2], "b": [0.5, 0.25], "c": [True, False]})

    def scores(frame):
        assert list(frame.columns) == ["a", "b", "c"]
        return frame["a"] + frame["b"] * 2 + frame["c"] * 3.0

    metric = Deletion(scores, operator="regression", steps=None)
    values = np.array([[3.0, 2, 1], [1, 2, 3]])
    np.testing.assert_allclose(metric(values, frame).curves, [[5, 4, 3, 0], [2.5, 2.5, 2, 0]])
    masked = metric.masked(values, frame, 1 / 3)
    assert list(masked.columns) == ["a", "b", "c"]
    assert masked["a"].tolist() == [0, 2]
    assert masked["b"].tolist() == [0.5, 0.25]


def test_masked_keeps_integers_beside_the_explained_input():
    made, x = one_float_one_integer(), {"word": np.array([[1], [2]]), "x": np.ones((2, 4))}
    values = np.array([[1.0, 2, 3, 4], [4, 3, 2, 1]])
    metric = Deletion(made, steps=None, output="softmax")
    masked = metric.masked(values, x, 0.5)
    assert masked["word"].tolist() == [[1], [2]]
    assert masked["x"].tolist() == [[1, 1, 0, 0], [0, 0, 1, 1]]
    result = metric(values, x)
    outputs = keras.ops.convert_to_numpy(keras.ops.softmax(made(masked, training=False)))
    assert_same(result.curves[:, 2], outputs[np.arange(2), result.predictions[:, 0]])


def one_float_one_integer():
    given = {
        "x": keras.Input((4,), name="x"),
        "word": keras.Input((1,), dtype="int32", name="word"),
    }
    word = layers.Flatten()(layers.Embedding(3, 2)(given["word"]))
    made = keras.Model(given, layers.Dense(3)(layers.Concatenate()([given["x"], word])))
    tiny_models.randomize(made)
    return made


# --- compiled once ------------------------------------------------------------------------------


@pytest.mark.skipif(BACKEND == "torch", reason="nothing is compiled on this backend")
def test_another_metric_steps_baseline_targets_and_maps_compile_nothing():
    traces = []

    class Counted(layers.Layer):
        def call(self, x):
            traces.append(tuple(x.shape))
            return x * 1.0

    made = keras.Sequential([keras.Input((6,)), Counted(), layers.Dense(3, activation="softmax")])
    x, values = np.random.default_rng(0).normal(size=(2, 9, 6)).astype("float32")
    Deletion(made, batch_size=4)(values, x, 1)
    before = len(traces)
    Deletion(made, batch_size=4, steps=3)(values, x, 1)
    Insertion(made, batch_size=4)(values, x, 0)
    Insertion(made, batch_size=4, steps=None, baseline=2.0)(-values, x, [0, 1, 2] * 3)
    Deletion(made, batch_size=4, baseline=lambda x: x / 2)(values[:7], x[:7], 2)
    assert len(traces) == before
