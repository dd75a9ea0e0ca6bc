"""The reference of an input in every form: what each row gets, and what is refused."""

import numpy as np
import pytest
from keras import ops
from scipy import ndimage

from naming import shown
from oracles import assert_same
from tiny_models import KINDS
from xai_core._baselines import as_list, check_field, samples

TABLE = KINDS["table"].inputs(5)
IMAGES = KINDS["image"].inputs(5)
ROWS = slice(2, 4)


def last(rank):
    return "channels_last"


def first(rank):
    return "channels_first"


def one(baseline, leaf, layout=last):
    (array,) = samples(baseline, leaf, ROWS, layout)
    assert array.dtype == leaf.dtype
    assert array.shape == leaf[ROWS].shape
    return array


@pytest.mark.parametrize("leaf", [TABLE, IMAGES], ids=["table", "image"])
@pytest.mark.parametrize("value", [0.0, -1, np.float64(0.5), np.int32(2), np.array(3.0)], ids=shown)
def test_number(leaf, value):
    assert (one(value, leaf) == value).all()


@pytest.mark.parametrize("leaf", [TABLE, IMAGES], ids=["table", "image"])
def test_array_of_one_sample_and_of_all(leaf):
    sample = np.arange(leaf[0].size, dtype="int64").reshape(leaf.shape[1:])
    np.testing.assert_array_equal(one(sample, leaf), [sample, sample])
    every = np.arange(leaf.size, dtype="float64").reshape(leaf.shape)
    np.testing.assert_array_equal(one(every, leaf), every[ROWS])


def test_tensor_of_the_framework():
    np.testing.assert_array_equal(one(ops.convert_to_tensor(TABLE), TABLE), TABLE[ROWS])


def test_callable_gets_a_copy_of_all_rows():
    before = TABLE.copy()

    def halved(x):
        np.testing.assert_array_equal(x, before)
        x /= 2
        return x

    np.testing.assert_array_equal(one(halved, TABLE), before[ROWS] / 2)
    np.testing.assert_array_equal(TABLE, before)
    tensors = one(lambda x: ops.convert_to_tensor(x) * 0, TABLE)
    assert not tensors.any()


@pytest.mark.parametrize("shape", [(5, 9, 3), (5, 7, 10, 2), (5, 3, 4, 5, 2)], ids=shown)
def test_mean_is_per_sample_and_channel(shape):
    leaf = np.random.default_rng(0).normal(size=shape).astype("float32")
    mean = leaf[ROWS].mean(tuple(range(1, len(shape) - 1)), keepdims=True)
    assert_same(one("mean", leaf), np.broadcast_to(mean, leaf[ROWS].shape), 1e-6)
    moved = np.moveaxis(leaf, -1, 1)
    assert_same(one("mean", moved, first), np.moveaxis(one("mean", leaf), -1, 1), 1e-6)


@pytest.mark.parametrize("shape", [(5, 48, 3), (5, 16, 32, 2)], ids=shown)
def test_blur_is_a_gaussian_of_a_sixteenth_of_the_longest_side(shape):
    leaf = np.random.default_rng(0).normal(size=shape).astype("float32")
    sigma = max(shape[1:-1]) / 16
    blurred = one("blur", leaf)
    for row, channel in np.ndindex(2, shape[-1]):
        expected = ndimage.gaussian_filter(leaf[ROWS][row, ..., channel], sigma, mode="nearest")
        assert_same(blurred[row, ..., channel], expected, 1e-5)
    moved = one("blur", np.moveaxis(leaf, -1, 1), first)
    assert_same(moved, np.moveaxis(blurred, -1, 1), 1e-5)


def test_list_is_several():
    given = [0.0, "mean", IMAGES[0], lambda x: x]
    check_field(given)
    found = samples(given, IMAGES, ROWS, last)
    assert len(found) == len(as_list(given)) == 4
    assert len(as_list("mean")) == len(as_list(np.zeros(3))) == 1
    np.testing.assert_array_equal(found[3], IMAGES[ROWS])
    np.testing.assert_array_equal(found[2], IMAGES[[0, 0]])


def test_baseline_has_the_type_of_the_inputs():
    doubles = TABLE.astype("float64")
    assert one(np.float32(0.1), doubles).dtype == "float64"
    assert one("mean", IMAGES.astype("float64")).dtype == "float64"


def test_result_is_no_view_of_the_users_array():
    sample = np.zeros(4, "float32")
    one(sample, TABLE)[:] = 7
    every = TABLE.copy()
    one(every, TABLE)[:] = 7
    assert not sample.any()
    np.testing.assert_array_equal(every, TABLE)


# --- what is refused ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "error", "says"),
    [
        ("median", ValueError, "'mean', 'blur'.*'median'"),
        ([], ValueError, r"at least one.*\[\]"),
        ([0.0, "black"], ValueError, "'black'"),
        (True, TypeError, "numbers.*bool"),
        (None, TypeError, "numbers.*object"),
        (1j, TypeError, "numbers.*complex"),
        ({"x": 1}, TypeError, "an array.*dict"),
        (float("nan"), ValueError, "finite.*nan"),
        (np.array([1.0, np.inf]), ValueError, r"finite.*shape \(2,\)"),
        ([[1.0, 2.0], [1.0, [2.0]]], ValueError, "one shape"),
    ],
    ids=shown,
)
def test_wrong_field(wrong, error, says):
    with pytest.raises(error, match=f"`baseline`.*{says}"):
        check_field(wrong)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (np.zeros(3), r"\(4,\).*\(5, 4\).*\(3,\)"),
        (np.zeros((1, 4)), r"\(1, 4\)"),
        (np.zeros((4, 4)), r"\(4, 4\)"),
        (np.zeros((5, 4, 1)), r"\(5, 4, 1\)"),
        (lambda x: x[:1], r"map inputs of shape \(5, 4\).*\(1, 4\)"),
        (lambda x: x.sum(), r"map inputs of shape \(5, 4\).*\(\)"),
        (lambda x: x / 0, "finite"),
        (1e300, "finite"),
        ("mean", "table.*'mean'"),
        ("blur", "table.*'blur'"),
    ],
    ids=shown,
)
@pytest.mark.filterwarnings("ignore:divide by zero:RuntimeWarning")
def test_wrong_for_these_inputs(wrong, says):
    check_field(wrong)
    with pytest.raises(ValueError, match=f"`baseline`.*{says}"):
        samples(wrong, TABLE, ROWS, last)


@pytest.mark.parametrize("returned", ["words", True, None], ids=shown)
def test_callable_that_returns_no_numbers_is_refused(returned):
    with pytest.raises((TypeError, ValueError), match=r"`baseline`"):
        samples(lambda x: np.full(x.shape, returned), TABLE, ROWS, last)


def test_layout_that_is_not_known_is_asked_for():
    def unknown(rank):
        raise ValueError("`data_format` must be given")

    series = KINDS["series"].inputs(5)
    assert not samples(0.0, series, ROWS, unknown)[0].any()
    with pytest.raises(ValueError, match=r"`data_format`"):
        samples("mean", series, ROWS, unknown)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_tensors(dtype):
    tensor = ops.cast(ops.convert_to_tensor(np.full((4,), 0.5, "float32")), dtype)
    check_field(tensor)
    assert (one(tensor, TABLE) == 0.5).all()
