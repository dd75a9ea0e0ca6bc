"""Maps as tensors: linear resizing with half-pixel centres, and the reduction of channels."""

import keras
import numpy as np
import pytest
from keras import ops
from scipy import ndimage

from model_state import host
from oracles import assert_same
from xai_core import images

RNG = np.random.default_rng(5)


def by_coordinates(maps, size, axes):
    """The same by SciPy's interpolation at the coordinates that the definition gives."""
    places = [np.arange(n, dtype=float) for n in maps.shape]
    for axis, new in zip(axes, size, strict=True):
        old = maps.shape[axis]
        places[axis] = np.clip((np.arange(new) + 0.5) * old / new - 0.5, 0, old - 1)
    grid = np.meshgrid(*places, indexing="ij")
    return ndimage.map_coordinates(maps.astype(float), grid, order=1, mode="nearest")


RESIZES = [
    ((2, 5), (12,), (1,)),
    ((2, 4, 3), (9,), (1,)),
    ((2, 3, 5, 2), (8, 11), (1, 2)),
    ((2, 2, 7, 9), (3, 4), (2, 3)),
    ((2, 4, 6, 1), (9, 2), (1, 2)),
    ((1, 1, 1, 2), (3, 4), (1, 2)),
    ((1, 2, 3, 4, 2), (5, 3, 7), (1, 2, 3)),
    ((2, 3, 2, 3, 5, 1), (4, 6), (3, 4)),
]


@pytest.mark.parametrize(("shape", "size", "axes"), RESIZES, ids=str)
def test_resize_is_linear_interpolation(shape, size, axes):
    maps = RNG.normal(size=shape).astype("float32")
    resized = host(images.resize(ops.convert_to_tensor(maps), size, axes))
    assert_same(resized, by_coordinates(maps, size, axes), 1e-6)


def test_resize_by_hand():
    resized = images.resize(ops.convert_to_tensor([[0.0, 4.0]]), (4,), (1,))
    assert host(resized).tolist() == [[0, 1, 3, 4]]


def test_resize_to_the_same_size_is_the_same_tensor():
    maps = ops.ones((2, 3, 4, 1))
    assert images.resize(maps, (3, 4), (1, 2)) is maps


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_resize_keeps_the_type_and_a_constant(dtype):
    resized = images.resize(ops.full((1, 3, 2), 0.5, dtype=dtype), (7,), (1,))
    assert keras.backend.standardize_dtype(resized.dtype) == dtype
    assert host(resized).min() == host(resized).max() == 0.5


def test_resize_needs_one_size_per_axis():
    with pytest.raises(ValueError, match=r"zip"):
        images.resize(ops.ones((1, 3, 2)), (7, 3), (1,))


REDUCED = {
    "max": lambda maps, axis: maps.max(axis),
    "mean": lambda maps, axis: maps.mean(axis),
    "sum": lambda maps, axis: maps.sum(axis),
    "abs_max": lambda maps, axis: np.abs(maps).max(axis),
    "abs_mean": lambda maps, axis: np.abs(maps).mean(axis),
}


def test_every_reducer_is_tested():
    assert set(REDUCED) == set(images.REDUCERS)


@pytest.mark.parametrize("axis", [1, 3, 4])
@pytest.mark.parametrize("name", REDUCED)
def test_reducers_keep_the_axis_with_length_one(name, axis):
    maps = RNG.normal(size=(2, 3, 4, 5, 2)).astype("float32")
    reduced = host(images.reduce_channels(ops.convert_to_tensor(maps), name, axis))
    assert_same(reduced, np.expand_dims(REDUCED[name](maps.astype(float), axis), axis), 1e-6)


def test_reducer_none_and_a_callable():
    maps = RNG.normal(size=(2, 3, 4, 2)).astype("float32")
    tensor = ops.convert_to_tensor(maps)
    assert images.reduce_channels(tensor, None, 3) is tensor
    assert_same(host(images.reduce_channels(tensor, ops.min, 3)), maps.min(3, keepdims=True), 0)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda maps, axis: maps,
        lambda maps, axis: ops.max(maps, axis=axis, keepdims=True),
        lambda maps, axis: ops.max(maps, axis=1),
        lambda maps, axis: ops.max(maps),
    ],
    ids=["nothing", "axis kept", "another axis", "everything"],
)
def test_reducer_that_does_not_remove_the_axis_is_refused(wrong):
    with pytest.raises(ValueError, match=r"`reducer` must remove the channel axis 3") as error:
        images.reduce_channels(ops.ones((2, 3, 4, 5)), wrong, 3)
    assert "(2, 3, 4, 5)" in str(error.value)


@pytest.mark.parametrize(
    ("rank", "layout", "channels", "space"),
    [
        (2, "channels_last", 1, ()),
        (3, "channels_last", 2, (1,)),
        (3, "channels_first", 1, (2,)),
        (4, "channels_last", 3, (1, 2)),
        (4, "channels_first", 1, (2, 3)),
        (5, "channels_last", 4, (1, 2, 3)),
        (5, "channels_first", 1, (2, 3, 4)),
    ],
)
def test_axes(rank, layout, channels, space):
    assert images.channel_axis(rank, layout) == channels
    assert images.spatial_axes(rank, layout) == space
