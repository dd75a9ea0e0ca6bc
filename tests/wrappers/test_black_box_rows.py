"""The rows that reach a black box: their number, types and containers."""

import numpy as np
import pytest
from keras import ops
from sklearn import ensemble

from black_boxes import ROWS, VALUE, WEIGHTS, X, column, drops, linear, regression
from naming import shown
from oracles import assert_same
from xai_core import wrap
from xai_core.attributions import Occlusion, RandomMap


@pytest.mark.parametrize("batch_size", [1, 3, 32])
@pytest.mark.parametrize("rows", [1, 5])
def test_never_more_rows_than_batch_size_and_never_a_padded_one(batch_size, rows):
    seen = []

    def counting(x):
        seen.append(x.copy())
        return linear(x)

    explainer = Occlusion(counting, batch_size=batch_size)
    assert_same(explainer(ROWS[:rows], 0).values, drops(linear, ROWS[:rows]))
    assert [len(x) for x in seen[:1]] == [1]
    assert sum(map(len, seen[1:])) == rows * 5
    assert max(map(len, seen)) <= batch_size
    # All that was seen are the inputs, or the inputs with one column gone.
    every = [ROWS[:rows], *(ROWS[:rows] * (np.arange(4) != k) for k in range(4))]
    found = np.unique(np.concatenate(seen[1:]), axis=0)
    np.testing.assert_array_equal(found, np.unique(np.concatenate(every), axis=0))


def test_double_precision_is_kept():
    seen = []

    def counting(x):
        seen.append(x.dtype)
        return column(x)

    x = ROWS / 3
    explanation = regression(counting)(x, 0)
    assert set(seen) == {np.dtype("float64")}
    assert explanation.scores.dtype == np.float64
    np.testing.assert_allclose(explanation.scores, column(x), rtol=1e-12, atol=0)
    assert explanation.values.dtype == np.float32
    # Drops of 1e-9 next to scores of 1 survive, which no float32 score could tell.
    small = regression(lambda rows: 1 + 1e-9 * column(rows))(x, 0)
    assert_same(small.values, 1e-9 * x * WEIGHTS[:, 0], 1e-6)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_floats_keep_their_type(dtype):
    seen = set()

    def typed(x):
        seen.add(x.dtype.name)
        return column(x.astype("float64"))

    regression(typed, baseline=[0.25, np.float64(1) / 3])(ROWS.astype(dtype), 0)
    assert seen == {dtype}


@pytest.mark.parametrize("dtype", ["int8", "int64", "uint8", "bool"])
@pytest.mark.parametrize(
    ("baseline", "promotes"),
    [(0, False), (1.0, False), (0.5, True), (np.array([0, 1, 0.5, 1]), True), (np.nan, True)],
    ids=["int", "whole float", "fraction", "array", "nan"],
)
def test_integers_keep_their_type_unless_the_baseline_is_fractional(dtype, baseline, promotes):
    seen = []

    def typed(x):
        seen.append(x.dtype.name)
        return np.nan_to_num(x.astype("float64"), nan=7.0) @ WEIGHTS[:, 0]

    x = np.arange(12).reshape(3, 4).astype(dtype)
    explanation = regression(typed, baseline=baseline)(x, 0)
    assert seen[:2] == [dtype, dtype]
    assert set(seen[2:]) == {"float64" if promotes else dtype}
    start = np.nan_to_num(np.asarray(baseline, float), nan=7.0)
    assert_same(explanation.values, (x.astype(float) - start) * WEIGHTS[:, 0])


@pytest.mark.parametrize("baseline", ["mean", "blur"])
def test_pixels_are_not_rounded(baseline):
    images = np.random.default_rng(0).integers(0, 255, (2, 6, 5, 3)).astype("uint8")

    def total(x):
        return x.astype("float64").sum(axis=(1, 2, 3))

    found = regression(total, baseline=baseline)(images, 0)
    same = regression(total, baseline=baseline)(images.astype("float64"), 0)
    np.testing.assert_array_equal(found.values, same.values)


def test_missing_and_infinite_numbers_pass():
    x = ROWS.copy()
    x[1, 2], x[3, 0], x[4, 1] = np.nan, np.inf, -np.inf
    forest = ensemble.HistGradientBoostingRegressor(max_iter=5, min_samples_leaf=2).fit(X, VALUE)
    explanation = Occlusion(forest, baseline=np.nan)(x, 0)
    np.testing.assert_array_equal(explanation.scores, forest.predict(x))
    assert explanation.values[1, 2] == 0
    without = x.copy()
    without[:, 1] = np.nan
    assert_same(explanation.values[:, 1], forest.predict(x) - forest.predict(without))


def missing(x):
    filled = x.copy()
    filled[:, 1] = np.nan
    return filled


def test_baseline_function_of_a_black_box_may_return_nan():
    forest = ensemble.HistGradientBoostingRegressor(max_iter=5, min_samples_leaf=2).fit(X, VALUE)
    explanation = Occlusion(forest, baseline=missing, batch_size=4)(ROWS, 0)
    assert_same(explanation.values[:, 1], forest.predict(ROWS) - forest.predict(missing(ROWS)))
    assert not explanation.values[:, [0, 2, 3]].any()


WORDS = np.array([["red", 1.5, "abc"], ["blue", 2.0, "a"], ["green", 0.25, "ab"]], dtype=object)


def lengths(x):
    assert x.dtype == object
    assert all(isinstance(word, str) for word in x[:, 0])
    return np.array([len(a) + b + 10 * len(c) for a, b, c in x])


def test_objects_reach_the_function_as_they_are():
    baseline = np.array(["no", 0.5, ""], dtype=object)
    explanation = regression(lengths, baseline=baseline)(WORDS, 0)
    expected = [[1, 1, 30], [2, 1.5, 10], [3, -0.25, 20]]
    np.testing.assert_array_equal(explanation.values, expected)
    assert explanation.fingerprints is None
    np.testing.assert_array_equal(explanation.inputs, WORDS)
    swapped = regression(lengths, baseline=lambda x: x[::-1])(WORDS, 0)
    np.testing.assert_array_equal(swapped.values[0], [3 - 5, 1.5 - 0.25, 30 - 20])


def test_strings_may_be_longer_in_the_baseline():
    x = np.array([["a", "bb"], ["ccc", "d"]])

    def total(rows):
        return np.array([sum(map(len, row)) for row in rows], float)

    explanation = regression(total, baseline=np.array(["longer", ""], object))(x, 0)
    np.testing.assert_array_equal(explanation.values, [[-5, 2], [-3, 1]])


def test_function_that_writes_into_its_rows_changes_nothing_else():
    x = ROWS.copy()

    def careless(rows):
        rows *= 2
        return column(rows)

    explanation = regression(careless)(x, 0)
    np.testing.assert_array_equal(x, ROWS)
    assert_same(explanation.values, 2 * ROWS * WEIGHTS[:, 0])
    again = RandomMap(careless, operator="regression")(x, 0)
    np.testing.assert_array_equal(x, ROWS)
    assert_same(again.scores, 2 * column(ROWS))


@pytest.mark.parametrize("as_given", [list, ops.convert_to_tensor, lambda x: x.tolist()], ids=shown)
def test_lists_and_tensors_reach_the_function_as_arrays(as_given):
    x = ROWS.astype("float32")

    def checked(rows):
        assert type(rows) is np.ndarray
        return column(rows)

    assert_same(regression(checked)(as_given(x), 0).values, drops(column, x))


def test_dict_and_tuple_inputs_come_as_they_were():
    given = {"b": ROWS, "a": np.arange(12).reshape(6, 2)}

    def of_dict(x):
        assert list(x) == ["b", "a"]
        assert x["a"].dtype.kind == "i"
        return column(x["b"]) + x["a"] @ [10.0, 100.0]

    found = regression(of_dict)(given, 0)
    assert_same(found["b"].values, drops(column))
    assert_same(found["a"].values, given["a"] * [10.0, 100.0])
    pair = regression(lambda x: of_dict({"b": x[0], "a": x[1]}))((ROWS, given["a"]), 0)
    assert type(pair) is tuple
    assert_same(pair[1].values, found["a"].values)


@pytest.mark.parametrize("layout", ["channels_last", "channels_first"])
def test_layout_of_images_can_be_told(layout):
    x = np.random.default_rng(0).normal(size=(2, 6, 5, 4))
    model = wrap(lambda rows: rows.sum(axis=(1, 2, 3)), data_format=layout)
    explanation = regression(model, patch_size=2)(x, 0)
    assert explanation.data_format == layout
    first = layout == "channels_first"
    assert explanation.values.shape == ((2, 1, 5, 4) if first else (2, 6, 5, 1))
