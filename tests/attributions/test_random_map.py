"""RandomMap: uniform numbers that only the seed and the row's own bytes decide."""

import zlib

import numpy as np
import pytest

import tiny_models
import xai_core as xai
from tiny_models import KINDS
from xai_core.attributions import RandomMap

STORED = [0.148007512, 0.00183451176, 0.426359475, 0.396133959, 0.869745731, 0.897489846]
"""Of the row 0, 1, ..., 5 with seed 7, drawn with NumPy alone."""


def drawn(row, seed, shape):
    """The first numbers of NumPy's Philox with the key (seed, CRC-32 of the row's bytes)."""
    key = np.array([seed, zlib.crc32(row.tobytes())], "uint64")
    return np.random.Generator(np.random.Philox(key=key)).random(shape, "float32")


@pytest.mark.parametrize("name", ["table", "series", "image", "channels_first"])
@pytest.mark.parametrize("seed", [0, 12345])
def test_numbers_are_those_of_the_documented_generator(name, seed):
    kind = KINDS[name]
    x = kind.inputs(3)
    values = RandomMap(tiny_models.model(name, "RandomMap"), seed=seed)(x, 0).values
    shape = {"table": (4,), "series": (9, 3)}.get(name, (7, 10, 1))
    expected = np.stack([drawn(row, seed, shape) for row in x])
    assert np.array_equal(values, kind.layout(expected))


def test_numbers_of_one_row_are_stored():
    values = RandomMap(seed=7)(np.arange(6, dtype="float32").reshape(1, 6)).values
    np.testing.assert_array_equal(values, np.array([STORED], "float32"))


def test_values_are_uniform_below_one():
    values = RandomMap()(np.random.default_rng(0).normal(size=(50, 1000))).values
    assert values.min() >= 0
    assert values.max() < 1
    counts = np.histogram(values, bins=10, range=(0, 1))[0] / values.size
    # 50,000 numbers: the share of a tenth has a standard deviation of .0013.
    np.testing.assert_allclose(counts, 0.1, atol=0.007)
    assert abs(np.corrcoef(values[0], values[1])[0, 1]) < 0.15


def test_equal_rows_get_equal_maps_and_others_do_not():
    x = KINDS["image"].inputs(2)
    values = RandomMap()(x[[0, 1, 0]]).values
    assert np.array_equal(values[0], values[2])
    assert not np.array_equal(values[0], values[1])
    assert not np.array_equal(values[0], RandomMap(seed=1)(x).values[0])


@pytest.mark.parametrize("grid", [2, (2, 3), 1, (7, 10)])
@pytest.mark.parametrize("name", ["image", "channels_first"])
def test_grid_makes_constant_blocks(name, grid):
    kind = KINDS[name]
    explanation = RandomMap(tiny_models.model(name, "RandomMap"), grid_size=grid)(kind.inputs(3), 0)
    maps = explanation.values.reshape(3, 7, 10)
    high, wide = (grid, grid) if isinstance(grid, int) else grid
    for one in maps:
        # Neighbours differ only where a block ends: high - 1 and wide - 1 times.
        assert (np.diff(one, axis=0) != 0).any(axis=1).sum() == high - 1
        assert (np.diff(one, axis=1) != 0).any(axis=0).sum() == wide - 1
        assert len(np.unique(one)) == high * wide


def test_grid_of_a_series_is_along_time():
    values = RandomMap(tiny_models.model("series", "RandomMap"), grid_size=3)(
        KINDS["series"].inputs(2), 0
    ).values
    assert values.shape == (2, 9, 3)
    assert (np.diff(values[0], axis=0) != 0).any(axis=1).tolist() == [i % 3 == 2 for i in range(8)]
    assert len(np.unique(values[0])) == 9


def test_needs_no_model():
    x = KINDS["image"].inputs(3)
    explanation = RandomMap()(x)
    assert np.array_equal(
        explanation.values, RandomMap(tiny_models.model("image", "RandomMap"))(x).values
    )
    assert explanation.scores is None
    assert explanation.targets is None
    assert explanation.seed == 0


def test_scores_of_the_model_are_told():
    x = KINDS["image"].inputs(3)
    explanation = RandomMap(tiny_models.model("image", "RandomMap"))(x, 1)
    expected = xai.attributions.Saliency(tiny_models.model("image", "RandomMap"))(x, 1)
    np.testing.assert_allclose(explanation.scores, expected.scores, rtol=1e-6)
    assert np.array_equal(explanation.fingerprints, expected.fingerprints)


@pytest.mark.parametrize("grid", [8, (7, 11), (2, 2, 2)])
def test_grid_that_does_not_fit_is_refused(grid):
    with pytest.raises(ValueError, match="`grid_size`"):
        RandomMap(tiny_models.model("image", "RandomMap"), grid_size=grid)(KINDS["image"].inputs(1))
