"""Linear resizing, the reduction of channels, the low-pass filter, and segments of images."""

import keras
import numpy as np
import pytest
from keras import ops
from scipy import ndimage

import oracles
from bad_rows import Row, check
from model_state import host
from oracles import assert_same
from xai_core import _backend, images, wrap
from xai_core.attributions import Occlusion

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


# --- low-pass -----------------------------------------------------------------------------------

LAYOUTS = ["channels_last", "channels_first"]
SHAPES = [
    (9, 2),
    (16, 1),
    (7, 12, 2),
    (12, 7, 1),
    (15, 15, 1),
    (1, 6, 2),
    (4, 5, 6, 2),
    (3, 8, 1, 1),
]


def laid_out(maps, data_format):
    return np.ascontiguousarray(np.moveaxis(maps, -1, 1)) if data_format == LAYOUTS[1] else maps


@pytest.mark.parametrize(
    ("shape", "data_format"),
    [*((shape, LAYOUTS[0]) for shape in SHAPES), (SHAPES[0], LAYOUTS[1]), (SHAPES[-1], LAYOUTS[1])],
    ids=str,
)
def test_low_pass_equals_the_oracle(shape, data_format):
    maps = RNG.normal(size=(2, *shape)).astype("float32")
    for sigma in (0.5, 1, 2.5, 3, 100):
        expected = laid_out(oracles.low_pass(maps, sigma), data_format)
        given = laid_out(maps, data_format)
        array = images.low_pass(given, sigma, data_format)
        assert isinstance(array, np.ndarray)
        tensor = images.low_pass(ops.convert_to_tensor(given), sigma, data_format)
        assert ops.is_tensor(tensor)
        for kept in (array, host(tensor)):
            assert kept.dtype == np.float32
            np.testing.assert_allclose(kept, expected, rtol=0, atol=2e-6)


WAVES = np.broadcast_to(1 + np.cos(2 * np.pi * 3 * np.arange(16) / 16), (16, 16))[None, ..., None]


@pytest.mark.parametrize("axis", [1, 2])
def test_low_pass_of_a_wave(axis):
    wave = np.moveaxis(WAVES, 2, axis).astype("float32")
    np.testing.assert_allclose(images.low_pass(wave, 2), np.ones_like(wave), rtol=0, atol=1e-6)
    np.testing.assert_allclose(images.low_pass(wave, 3), wave, rtol=0, atol=1e-6)
    np.testing.assert_allclose(images.low_pass(wave, 16), wave, rtol=0, atol=1e-6)


SQUARE_AND_NOT = [(15, 15), (7, 12), (16, 16), (9,), (3, 4, 5)]


@pytest.mark.parametrize("shape", SQUARE_AND_NOT, ids=str)
@pytest.mark.parametrize("sigma", [0.1, 1, 2, 15, 16])
def test_low_pass_keeps_a_constant(shape, sigma):
    ones = np.ones((1, *shape, 1), "float32")
    np.testing.assert_allclose(images.low_pass(ones, sigma), ones, rtol=0, atol=1e-6)


@pytest.mark.parametrize("shape", SQUARE_AND_NOT, ids=str)
def test_low_pass_at_the_longest_side_changes_nothing(shape):
    maps = RNG.random((1, *shape, 1)).astype("float32")
    assert_same(images.low_pass(maps, max(shape)), maps, 1e-6)


@pytest.mark.parametrize("length", [7, 12, 48, 49, 100, 224, 331])
def test_low_pass_includes_a_radius_that_is_a_whole_number(length):
    """The rounding of k / n * L does not decide."""
    for lengths in ([length], [length, length], [length, 2 * length]):
        longest = max(lengths)
        for radius in range(1, longest // 2):
            (mask,) = images.frequency_mask(lengths, radius)
            assert mask[..., radius].reshape(-1)[0] == 1
            assert mask[..., radius + 1 :].max(initial=0) == 0


@pytest.mark.parametrize("dtype", ["float16", "float64", "int32", "uint8"])
def test_low_pass_keeps_float_types(dtype):
    maps = np.round(50 * RNG.random((2, 7, 12, 1))).astype(dtype)
    kept = images.low_pass(maps, 3)
    assert kept.dtype == (dtype if dtype.startswith("float") else "float32")
    exact = "float64" in str(ops.convert_to_tensor(maps).dtype)
    tolerance = 1e-14 if exact else {"float16": 1e-3}.get(dtype, 1e-6)
    assert_same(kept, oracles.low_pass(maps, 3), tolerance)


def test_low_pass_leaves_its_argument_alone():
    maps = RNG.normal(size=(2, 7, 12, 1)).astype("float32")
    before = maps.copy()
    images.low_pass(maps, 2)
    assert maps.tobytes() == before.tobytes()


def test_low_pass_within_a_compiled_step():
    maps = RNG.normal(size=(2, 7, 12, 2)).astype("float32")
    compiled = _backend.jit(lambda x: images.low_pass(x, 2.5))
    for rows in (2, 1):
        kept = compiled(ops.convert_to_tensor(maps[:rows]))
        assert_same(host(kept), oracles.low_pass(maps[:rows], 2.5))


def test_low_pass_maps_and_channels_do_not_meet():
    maps = RNG.normal(size=(2, 7, 12, 2)).astype("float32")
    other = maps.copy()
    other[0], other[1, ..., 0] = 1e6, -1e6
    kept = [images.low_pass(one, 2.5)[1, ..., 1] for one in (maps, other)]
    assert_same(*kept, 1e-6)


@pytest.mark.parametrize("sigma", [0, -1.0, np.inf, np.nan])
def test_low_pass_needs_a_positive_radius(sigma):
    with pytest.raises(ValueError, match=r"`sigma` must be (positive|finite)"):
        images.low_pass(WAVES, sigma)


@pytest.mark.parametrize("sigma", ["2", None, True, [2.0]])
def test_low_pass_needs_a_number(sigma):
    with pytest.raises(TypeError, match=r"`sigma` must be a number"):
        images.low_pass(WAVES, sigma)


@pytest.mark.parametrize("shape", [(), (4,), (2, 4), (1, 2, 3, 4, 5, 6)], ids=str)
def test_low_pass_needs_axes_of_space(shape):
    for maps in (np.ones(shape), ops.ones(shape)):
        with pytest.raises(ValueError, match=r"`maps` must have axes of space") as error:
            images.low_pass(maps, 2)
        assert str(shape) in str(error.value)


def test_low_pass_needs_a_known_layout():
    with pytest.raises(ValueError, match=r"`data_format` must be one of .*channels_first"):
        images.low_pass(WAVES, 2, "channel_first")


# --- superpixels --------------------------------------------------------------------------------


def quadrants(channels, height=8, width=12):
    """Four even areas, each of another colour."""
    colors = np.random.default_rng(7).normal(size=(4, channels))
    rows, columns = np.arange(height) >= height // 2, np.arange(width) >= width // 2
    return colors[2 * rows[:, None] + columns][None]


PHOTOS = RNG.normal(size=(2, 9, 11, 3))


@pytest.mark.parametrize("data_format", LAYOUTS)
@pytest.mark.parametrize("channels", [1, 2, 3, 5])
def test_superpixels_follow_the_colours(channels, data_format):
    given = laid_out(quadrants(channels), data_format)
    labels = images.superpixels(given, 4, data_format=data_format)
    assert labels.dtype == np.int32
    expected = np.kron([[0, 1], [2, 3]], np.ones((4, 6), int))
    np.testing.assert_array_equal(labels, expected[None])


def ward(image, count):
    """The same by merging, as long as there are too many, the two cheapest neighbours of all."""
    height, width, channels = image.shape
    colors = image.reshape(-1, channels) / np.abs(image).max()
    places = np.array([[i, j] for i in range(height) for j in range(width)], float)
    places *= 0.75 * np.sqrt(colors.var(0).sum() / places.var(0).sum())
    points = np.concatenate([colors, places], axis=1)
    labels = np.arange(height * width).reshape(height, width)

    def cost(a, b):
        first, second = (points[labels.ravel() == k] for k in (a, b))
        weight = len(first) * len(second) / (len(first) + len(second))
        return weight * ((first.mean(0) - second.mean(0)) ** 2).sum()

    while len(np.unique(labels)) > count:
        beside = [*zip(labels[1:].ravel(), labels[:-1].ravel(), strict=True)]
        beside += zip(labels[:, 1:].ravel(), labels[:, :-1].ravel(), strict=True)
        keep, gone = min({(a, b) for a, b in beside if a != b}, key=lambda pair: cost(*pair))
        labels[labels == gone] = keep
    return labels


def same_segments(first, second):
    pairs = {*zip(first.ravel().tolist(), second.ravel().tolist(), strict=True)}
    return len(pairs) == len(np.unique(first)) == len(np.unique(second))


@pytest.mark.parametrize("count", [2, 5, 12])
def test_superpixels_are_those_of_ward(count):
    image = np.random.default_rng(count).normal(size=(5, 6, 3))
    (found,) = images.superpixels(image[None], count)
    assert same_segments(found, ward(image, count))


@pytest.mark.parametrize("count", [1, 2, 7, 49, 99])
def test_superpixels_are_connected_and_numbered_by_their_first_pixels(count):
    for labels in images.superpixels(PHOTOS, count):
        values, first = np.unique(labels, return_index=True)
        assert values.tolist() == list(range(count))
        assert (np.diff(first) > 0).all()
        assert all(ndimage.label(labels == k)[1] == 1 for k in values)


def test_superpixels_of_several_sizes_are_of_one_tree():
    sizes = [3, 20, 8]
    several = images.superpixels(PHOTOS, sizes)
    assert isinstance(several, list)
    for size, labels in zip(sizes, several, strict=True):
        np.testing.assert_array_equal(labels, images.superpixels(PHOTOS, size))
    coarse, fine, middle = several
    for smaller, larger in ((fine, middle), (middle, coarse), (fine, coarse)):
        for k in range(2):
            pairs = {*zip(smaller[k].ravel(), larger[k].ravel(), strict=True)}
            assert len(pairs) == smaller[k].max() + 1
    (one,) = images.superpixels(PHOTOS, np.array([8]))
    np.testing.assert_array_equal(one, middle)


def test_superpixels_do_not_depend_on_neighbours_types_and_units():
    photos = RNG.integers(0, 256, (3, 9, 11, 3)).astype("uint8")
    kept = photos.copy()
    labels = images.superpixels(photos, 10)
    for k in range(3):
        np.testing.assert_array_equal(images.superpixels(photos[k : k + 1], 10)[0], labels[k])
    np.testing.assert_array_equal(photos, kept)
    tensor = ops.convert_to_tensor(photos.astype("float32"))
    for other in (photos.astype("float64"), tensor, photos / 256, photos.astype("int64") * 10**9):
        np.testing.assert_array_equal(images.superpixels(other, 10), labels)


@pytest.mark.parametrize("shape", [(336, 6), (6, 336)])
def test_superpixels_of_large_images_are_enlarged(shape):
    """Pixels of 3 x 3 blocks, which become one each at 112 per side."""
    small = RNG.normal(size=(1, shape[0] // 3, shape[1] // 3, 2))
    large = small.repeat(3, axis=1).repeat(3, axis=2)
    expected = images.superpixels(small, 9).repeat(3, axis=1).repeat(3, axis=2)
    np.testing.assert_array_equal(images.superpixels(large, 9), expected)


def test_superpixels_of_sides_that_112_does_not_divide():
    (labels,) = images.superpixels(RNG.normal(size=(1, 150, 4, 1)), 30)
    assert labels.shape == (150, 4)
    assert np.unique(labels).tolist() == list(range(30))


@pytest.mark.parametrize("value", [0.0, 255.0, 1e300])
def test_superpixels_of_an_even_image_are_compact(value):
    labels = images.superpixels(np.full((1, 24, 24, 3), value), 9)
    sizes = np.bincount(labels.ravel())
    assert sizes.min() >= 576 / 9 / 3
    assert sizes.max() <= 576 / 9 * 3


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (7, 1)])
def test_superpixels_of_the_smallest_images(shape):
    photos = RNG.normal(size=(2, *shape, 3))
    total = shape[0] * shape[1]
    labels = images.superpixels(photos, total)
    np.testing.assert_array_equal(labels[0], np.arange(total).reshape(shape))
    assert images.superpixels(photos, 1).max() == 0


@pytest.mark.parametrize("data_format", LAYOUTS)
def test_superpixels_are_feature_masks(data_format):
    given = laid_out(PHOTOS, data_format)
    labels = images.superpixels(given, 6, data_format=data_format)
    model = wrap(lambda x: x.sum(axis=(1, 2, 3))[:, None], data_format=data_format)
    found = Occlusion(model, operator="regression", feature_mask=labels)(given, 0)
    assert found.features.shape == (2, 6)
    for k in range(2):
        sums = np.bincount(labels[k].ravel(), PHOTOS[k].sum(-1).ravel())
        np.testing.assert_allclose(found.features[k], sums, rtol=1e-4, atol=1e-4)


SEGMENTS_REFUSED = [
    Row("no batch axis", lambda: images.superpixels(PHOTOS[0]), ValueError, ("`images`", "(9, 11")),
    Row("no rows", lambda: images.superpixels(PHOTOS[:0]), ValueError, ("`images`", "(0, 9")),
    Row("text", lambda: images.superpixels(PHOTOS.astype(str)), TypeError, ("`images`", "numbers")),
    Row(
        "NaN",
        lambda: images.superpixels(PHOTOS * np.nan),
        ValueError,
        ("`images`", "finite", "nan"),
    ),
    Row(
        "unknown layout",
        lambda: images.superpixels(PHOTOS, data_format="last"),
        ValueError,
        ("`data_format`", "channels_last", "'last'"),
    ),
    Row(
        "no segments",
        lambda: images.superpixels(PHOTOS, 0),
        ValueError,
        ("`n_segments`", "at least 1", "0"),
    ),
    Row(
        "half a segment",
        lambda: images.superpixels(PHOTOS, [4, 2.5]),
        TypeError,
        ("`n_segments`", "integer"),
    ),
    Row("a flag", lambda: images.superpixels(PHOTOS, True), TypeError, ("`n_segments`", "true")),
    Row("a name", lambda: images.superpixels(PHOTOS, "49"), TypeError, ("`n_segments`", "'49'")),
    Row("no sizes", lambda: images.superpixels(PHOTOS, []), ValueError, ("`n_segments`", "one")),
    Row(
        "more segments than pixels",
        lambda: images.superpixels(PHOTOS, [5, 100]),
        ValueError,
        ("`n_segments`", "99", "100"),
    ),
    Row(
        "more segments than pixels once averaged",
        lambda: images.superpixels(np.ones((1, 1, 500, 1)), 113),
        ValueError,
        ("`n_segments`", "112", "113"),
    ),
]


@pytest.mark.parametrize("row", SEGMENTS_REFUSED, ids=lambda row: row.name)
def test_superpixels_refuse(row):
    check(row)
