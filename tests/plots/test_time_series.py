import io

import numpy as np
import pytest

from xai_core import plots
from xai_core.explanation import Explanation

RNG = np.random.default_rng(2)
SERIES = RNG.standard_normal((1, 8, 3))
MAP = RNG.standard_normal((1, 8, 3))
NAMES = ("pulse", "$t$", "oxygen")


def axes(*args, **options):
    figure = plots.attributions(*args, **options)
    figure.savefig(io.BytesIO(), format="png", dpi=40)
    return figure.axes[0]


def test_each_feature_has_a_strip_and_its_curve():
    ax = axes(Explanation(MAP, "M", feature_names=NAMES), SERIES)
    (strips,) = ax.images
    np.testing.assert_allclose(strips.get_array(), MAP[0].T, rtol=1e-6)
    assert strips.norm.vmin == -strips.norm.vmax
    assert [label.get_text() for label in ax.get_yticklabels()] == list(NAMES)
    for lane, line in enumerate(ax.lines):
        heights = line.get_ydata()
        np.testing.assert_array_equal(line.get_xdata(), np.arange(8))
        # Up on the picture is a smaller number: the axis of an image points down.
        assert np.argmin(heights) == np.argmax(SERIES[0, :, lane])
        assert (lane - 0.5 < heights).all()
        assert (heights < lane + 0.5).all()


def test_strips_alone_are_opaque():
    ax = axes(MAP)
    assert not ax.lines
    assert ax.images[0].get_alpha() in (None, 1)


def test_channels_first():
    first = Explanation(MAP.swapaxes(1, 2), "M", data_format="channels_first")
    ax = axes(first, SERIES.swapaxes(1, 2))
    np.testing.assert_allclose(ax.images[0].get_array(), MAP[0].T, rtol=1e-6)
    assert len(ax.lines) == 3


@pytest.mark.parametrize("values", [MAP[..., :1], MAP[:, ::2, :1]])
def test_a_map_without_a_feature_axis_spans_all_curves(values):
    ax = axes(values, SERIES)
    assert ax.images[0].get_extent() == [-0.5, 7.5, 2.5, -0.5]
    assert len(ax.lines) == 3


@pytest.mark.parametrize("value", [0.0, 5.0, np.nan, np.inf])
def test_constant_curves_and_gaps(value):
    series = np.full((1, 8, 2), value)
    series[0, 2, 0] = np.nan
    ax = axes(np.zeros((1, 8, 2)), series)
    heights = ax.lines[0].get_ydata()
    assert np.isnan(heights[2])
    assert np.isfinite(heights[3]) == np.isfinite(value)


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 300, 1), (1, 5, 60), (1, 1, 4)])
def test_all_lengths_are_drawn(shape):
    axes(np.ones(shape), np.ones(shape))
    axes(np.ones(shape))
