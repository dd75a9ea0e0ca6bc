"""What `plots.series` shows of curves and their contributions."""

import dataclasses
import io

import matplotlib
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from xai_core import plots
from xai_core.explanation import Explanation

RNG = np.random.default_rng(6)
CURVES = RNG.normal([0.0, 100.0], 1.0, (2, 12, 2))
MAPS = RNG.normal(size=(2, 12, 2)).astype("float32")
FOUND = Explanation(
    MAPS,
    "Occlusion",
    inputs=CURVES,
    targets=[0, 1],
    scores=[0.5, 0.6],
    class_names=("rest", "run"),
    feature_names=("pulse", "$p$ {$"),
)


def render(figure):
    figure.savefig(io.BytesIO(), format="png", dpi=40)
    return figure


def panels(figure):
    return [ax for ax in figure.axes if ax.get_label() != "<colorbar>"]


def bars(figure):
    return [ax for ax in figure.axes if ax.get_label() == "<colorbar>"]


def pieces(ax):
    """The contribution of each step, and its part of the curve."""
    (lines,) = ax.collections
    found = {}
    for value, path in zip(np.ma.getdata(lines.get_array()), lines.get_paths(), strict=True):
        found[round(path.vertices[1, 0])] = (float(value), path.vertices)
    return found


def test_each_step_of_each_channel_has_the_colour_of_its_contribution():
    axes = panels(render(plots.series(FOUND)))
    assert len(axes) == 4
    for k, ax in enumerate(axes):
        sample, channel = divmod(k, 2)
        found = pieces(ax)
        assert sorted(found) == list(range(12))
        for step, (value, piece) in found.items():
            assert value == MAPS[sample, step, channel]
            np.testing.assert_allclose(piece[1], [step, CURVES[sample, step, channel]])
        (curve,) = ax.lines
        np.testing.assert_array_equal(curve.get_ydata(), CURVES[sample, :, channel])


def test_parts_meet_half_way():
    found = pieces(panels(plots.series(FOUND))[0])
    curve = CURVES[0, :, 0]
    for step in range(11):
        end, start = found[step][1][-1], found[step + 1][1][0]
        np.testing.assert_allclose(end, start)
        np.testing.assert_allclose(end, [step + 0.5, (curve[step] + curve[step + 1]) / 2])
    np.testing.assert_allclose(found[0][1][0], [0, curve[0]])
    np.testing.assert_allclose(found[11][1][-1], [11, curve[11]])


def test_the_largest_contributions_lie_on_top():
    (lines,) = panels(plots.series(FOUND))[0].collections
    assert (np.diff(np.abs(lines.get_array())) >= 0).all()


def test_one_scale_with_0_in_its_middle():
    figure = plots.series(FOUND, clip=0, scale="shared")
    norms = [ax.collections[0].norm for ax in panels(figure)]
    assert len({(norm.vmin, norm.vmax) for norm in norms}) == 1
    assert norms[0].vmax == -norms[0].vmin == pytest.approx(np.abs(MAPS).max())
    assert len(bars(figure)) == 1
    clipped = panels(plots.series(FOUND, clip=10, scale="shared"))[0].collections[0].norm
    assert clipped.vmax == pytest.approx(np.percentile(np.abs(MAPS), 90))


def test_unsigned_maps_start_at_a_light_colour():
    positive = dataclasses.replace(FOUND, values=np.abs(MAPS))
    lines = panels(plots.series(positive))[0].collections[0]
    assert lines.norm.vmin >= 0
    low, high = lines.cmap(0.0), lines.cmap(1.0)
    assert sum(low[:3]) > sum(high[:3]) + 1
    viridis = panels(plots.series(positive, cmap="viridis"))[0].collections[0].cmap
    assert viridis.name == "viridis"


def test_a_scale_for_each_sample():
    figure = render(plots.series(FOUND))
    assert len(bars(figure)) == 2
    tops = [ax.collections[0].norm.vmax for ax in panels(figure)]
    assert tops[0] == tops[1] != tops[2]


def test_channels_first():
    first = Explanation(
        MAPS.swapaxes(1, 2), "M", data_format="channels_first", inputs=CURVES.swapaxes(1, 2)
    )
    for last_ax, first_ax in zip(
        panels(plots.series(FOUND)), panels(plots.series(first)), strict=True
    ):
        assert {k: v[0] for k, v in pieces(last_ax).items()} == {
            k: v[0] for k, v in pieces(first_ax).items()
        }


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_a_map_without_channels_colours_all_of_them(data_format):
    values, curves = MAPS[..., :1], CURVES
    if data_format == "channels_first":
        values, curves = values.swapaxes(1, 2), curves.swapaxes(1, 2)
    found = Explanation(values, "M", inputs=curves, data_format=data_format)
    axes = panels(render(plots.series(found)))
    for k, ax in enumerate(axes):
        assert {t: v[0] for t, v in pieces(ax).items()} == dict(
            enumerate(MAPS[k // 2, :, 0].tolist())
        )


def test_names_and_titles():
    figure = render(plots.series(FOUND))
    axes = panels(figure)
    assert [ax.get_ylabel() for ax in axes] == ["pulse", "$p$ {$"] * 2
    assert [ax.get_title() for ax in axes] == ["rest 0.50", "", "run 0.60", ""]
    assert [ax.get_xlabel() for ax in axes] == ["", "time step"] * 2
    own = panels(plots.series(FOUND[:1], feature_names=["x", "a long name of a channel"]))
    assert [ax.get_ylabel() for ax in own] == ["x", "a long name of\na channel"]
    bare = panels(plots.series(MAPS, CURVES, titles=["a", "b"]))
    assert [ax.get_ylabel() for ax in bare[:2]] == ["channel 0", "channel 1"]
    assert [ax.get_title() for ax in bare[::2]] == ["a", "b"]


def corners(figure):
    """Row and column of each panel."""
    specs = [ax.get_subplotspec() for ax in panels(figure)]
    return [(spec.rowspan.start, spec.colspan.start) for spec in specs]


def test_samples_stand_side_by_side_and_channels_below_each_other():
    three = np.ones((3, 2, 2))
    places = corners(plots.series(three, three))
    assert places == [(0, 0), (1, 0), (0, 1), (1, 1), (2, 0), (3, 0)]
    assert corners(plots.series(FOUND, columns=1)) == [(k, 0) for k in range(4)]


def test_explanations_are_columns():
    figure = plots.series({"A": FOUND, "B": MAPS}, CURVES)
    assert corners(figure)[:4] == [(0, 0), (1, 0), (0, 1), (1, 1)]
    assert [ax.get_title() for ax in panels(figure)[:4:2]] == ["A\nrest 0.50", "B"]
    assert len(bars(figure)) == 4


def test_nothing_overlaps():
    names = ["pulse", "blood pressure of the left arm in millimetres"]
    figure = plots.series(FOUND, feature_names=names)
    renderer = FigureCanvasAgg(figure).get_renderer()
    figure.draw(renderer)
    boxes = [ax.get_tightbbox(renderer) for ax in figure.axes]
    assert all(box.x0 >= -1 and box.x1 <= figure.bbox.x1 + 1 for box in boxes)
    for k, one in enumerate(boxes):
        for other in boxes[k + 1 :]:
            wide = min(one.x1, other.x1) - max(one.x0, other.x0)
            high = min(one.y1, other.y1) - max(one.y0, other.y0)
            assert min(wide, high) <= 1


@pytest.mark.parametrize("value", [0.0, 5.0, np.nan, np.inf])
def test_constant_curves_and_gaps(value):
    curves = np.full((1, 8, 1), value)
    curves[0, 3:5, 0] = 1.0
    curves[0, 6, 0] = np.nan
    maps = np.ones((1, 8, 1))
    maps[0, 0, 0] = np.nan
    figure = render(plots.series(maps, curves))
    ends = np.concatenate([part for _, part in pieces(panels(figure)[0]).values()])
    assert np.isfinite(ends[~np.isnan(ends[:, 1])]).all()


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 300, 1), (1, 5, 4)])
def test_all_lengths_are_drawn(shape):
    render(plots.series(np.ones(shape), np.ones(shape)))


def test_given_axes_and_settings():
    before = dict(matplotlib.rcParams)
    given = Figure()
    axes = given.subplots(2, 1)
    assert plots.series(FOUND[:1], ax=axes) is given
    assert [len(ax.collections) for ax in axes] == [1, 1]
    assert dict(matplotlib.rcParams) == before
