"""What `plots.beeswarm` shows of many rows."""

import dataclasses
import io

import matplotlib
import numpy as np
import pytest
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure

from xai_core import ExplanationWarning, plots
from xai_core.explanation import Explanation

RNG = np.random.default_rng(4)
TABLE = RNG.normal(size=(80, 3))
VALUES = TABLE * [1.0, 0.1, -2.0]
FOUND = Explanation(VALUES, "M", inputs=TABLE, feature_names=("a", "b", "c"))


def render(figure):
    figure.savefig(io.BytesIO(), format="png", dpi=40)
    return figure


def panels(figure):
    return [ax for ax in figure.axes if ax.get_label() != "<colorbar>"]


def bars(figure):
    return [ax for ax in figure.axes if ax.get_label() == "<colorbar>"]


def labels(figure):
    return [label.get_text() for label in figure.axes[0].get_yticklabels()]


def colors(dots, count=80):
    found = dots.get_facecolors()
    return np.broadcast_to(found, (count, 4)) if len(found) == 1 else found


def test_one_dot_per_row_and_feature_sorted_by_mean_magnitude():
    figure = render(plots.beeswarm(FOUND))
    assert labels(figure) == ["c", "a", "b"]
    for line, (dots, column) in enumerate(
        zip(panels(figure)[0].collections, (2, 0, 1), strict=True)
    ):
        places = dots.get_offsets()
        np.testing.assert_allclose(places[:, 0], VALUES[:, column], rtol=1e-6)
        assert (np.abs(places[:, 1] - line) <= 0.4).all()


def test_dots_are_coloured_by_the_values_of_their_own_feature():
    figure = plots.beeswarm(FOUND, clip=0, cmap="viridis")
    viridis = matplotlib.colormaps["viridis"]
    for dots, column in zip(panels(figure)[0].collections, (2, 0, 1), strict=True):
        own = TABLE[:, column]
        expected = viridis((own - own.min()) / np.ptp(own))
        np.testing.assert_allclose(colors(dots), expected, atol=0.01)


def test_a_share_of_the_values_has_the_colours_of_the_ends():
    for clip, expected in ((None, 5), (10, 9), (0, 1)):
        dots = panels(plots.beeswarm(FOUND, clip=clip))[0].collections[0]
        lowest = colors(dots)[np.argmin(TABLE[:, 2])]
        assert (colors(dots) == lowest).all(axis=1).sum() == pytest.approx(expected, abs=1)


def test_the_default_colours_are_seen_on_white():
    found = colors(panels(plots.beeswarm(FOUND, clip=0))[0].collections[0])
    brightness = found[:, :3] @ [0.299, 0.587, 0.114]
    assert brightness.max() < 0.8
    order = np.argsort(TABLE[:, 2])
    assert (np.diff(brightness[order]) > -0.02).all()


def test_dots_of_one_place_lie_apart_and_in_the_order_of_the_rows():
    heights = [
        panels(plots.beeswarm(np.ones((count, 1))))[0].collections[0].get_offsets()[:, 1]
        for count in (1, 5, 200)
    ]
    assert heights[0].tolist() == [0]
    np.testing.assert_allclose(heights[1], [0, 0.1, -0.1, 0.2, -0.2])
    assert len(set(heights[2])) == 200
    assert np.abs(heights[2]).max() == pytest.approx(0.4)


def test_the_same_rows_give_the_same_dots():
    first, second = (
        [dots.get_offsets() for dots in panels(plots.beeswarm(FOUND))[0].collections]
        for _ in range(2)
    )
    np.testing.assert_array_equal(first, second)


GREY = to_rgba("0.65")


def test_what_is_missing_or_no_number_is_grey():
    table = TABLE.astype(object)
    table[0, 2], table[1, 2], table[2, 2] = np.nan, None, "red"
    table[:, 0] = "blue"
    table[:, 1] = TABLE[:, 1] > 0
    figure = render(plots.beeswarm(dataclasses.replace(FOUND, inputs=table)))
    mixed, text, flags = (colors(dots) for dots in panels(figure)[0].collections)
    assert (mixed == GREY).all(axis=1).tolist() == [True] * 3 + [False] * 77
    assert (text == GREY).all()
    assert len(np.unique(flags, axis=0)) == 2
    assert bars(figure)[0].get_ylabel().split() == ["value", "(grey:", "none)"]


def test_infinity_is_an_end_and_a_constant_the_middle():
    table = TABLE.copy()
    table[0, 2], table[1, 2] = np.inf, -np.inf
    table[:, 0] = 7
    figure = render(plots.beeswarm(VALUES, table, cmap="viridis"))
    viridis = matplotlib.colormaps["viridis"]
    infinite, constant = (colors(dots) for dots in panels(figure)[0].collections[:2])
    np.testing.assert_allclose(infinite[:2], viridis([1.0, 0.0]))
    np.testing.assert_allclose(constant, np.tile(viridis(0.5), (80, 1)))


def test_one_colour_bar_from_low_to_high():
    figure = render(plots.beeswarm([FOUND, FOUND]))
    (bar,) = bars(figure)
    assert [label.get_text() for label in bar.get_yticklabels()] == ["low", "high"]
    assert bar.get_ylabel() == "value"


@pytest.mark.parametrize("inputs", [None, np.full((80, 3), "text")])
def test_without_values_there_is_one_colour_and_no_bar(inputs):
    figure = render(plots.beeswarm(VALUES, inputs))
    assert not bars(figure)
    assert len({tuple(dots.get_facecolors()[0]) for dots in figure.axes[0].collections}) == 1


def test_the_others_are_added_up_row_by_row():
    figure = render(plots.beeswarm(FOUND, max_display=1))
    assert labels(figure) == ["c", "2 others, summed"]
    rest = panels(figure)[0].collections[1]
    np.testing.assert_allclose(rest.get_offsets()[:, 0], VALUES[:, 0] + VALUES[:, 1], rtol=1e-5)
    assert (colors(rest) == GREY).all()


def test_groups_of_several_columns_are_grey():
    mask = np.array([0, 0, 1])
    cells = np.stack([VALUES[:, :2].sum(axis=1), VALUES[:, 2]], axis=1)
    grouped = dataclasses.replace(FOUND, values=cells[:, mask], features=cells, feature_mask=mask)
    figure = plots.beeswarm(grouped)
    assert labels(figure) == ["c", "a, b"]
    alone, several = (colors(dots) for dots in panels(figure)[0].collections)
    assert not (alone == GREY).all(axis=1).any()
    assert (several == GREY).all()


@pytest.mark.parametrize("value", [0.0, 3.0, np.nan, np.inf])
def test_any_numbers_are_drawn(value):
    values = np.full((3, 2), value)
    render(plots.beeswarm(values, values))
    values[0, 0] = 1.0
    (missing,) = [not np.isfinite(value)]
    dots = panels(plots.beeswarm(values))[0].collections
    assert sum(len(one.get_offsets()) for one in dots) == (1 if missing else 6)


def test_one_row_is_drawn():
    assert len(panels(render(plots.beeswarm(FOUND[3])))[0].collections[0].get_offsets()) == 1


def test_panels_and_axes():
    figure = plots.beeswarm({"x": FOUND, "y": 10 * VALUES}, scale="shared", columns=1)
    first, second = panels(figure)
    assert (first.get_title(), second.get_title()) == ("x", "y")
    assert first.get_xlim() == second.get_xlim()
    assert first.get_subplotspec().get_gridspec().ncols == 1
    given = Figure()
    assert plots.beeswarm(FOUND, ax=given.subplots(), titles=["t"]) is given
    assert given.axes[0].get_title() == "t"


# --- rows of several classes --------------------------------------------------------------------

MIXED = dataclasses.replace(
    FOUND, method="LIME", targets=np.arange(80, dtype="int32") % 2, class_names=("no", "yes", "?")
)


@pytest.mark.parametrize("plot", [plots.beeswarm, plots.bar])
def test_rows_of_several_classes_are_told(plot):
    message = r"The rows of LIME \(no, yes\) explain different classes.*pass `targets=`"
    with pytest.warns(ExplanationWarning, match=message) as found:
        plot({"a": MIXED, "b": MIXED})
    assert len(found) == 1
    assert found[0].filename == __file__
    plot(MIXED[::2])
    plot(MIXED[:1])
    plot(dataclasses.replace(MIXED, targets_used=False))


def test_many_classes_are_counted():
    targets = np.arange(80, dtype="int32") % 12
    with pytest.warns(ExplanationWarning, match=r"\(class 0, .*class 9 and 2 more\)"):
        plots.bar(dataclasses.replace(MIXED, targets=targets, class_names=None))


def test_rows_of_several_weights_are_told():
    weights = np.eye(3, dtype="float32")[np.arange(80) % 3]
    with pytest.warns(ExplanationWarning, match="explain different classes"):
        plots.bar(dataclasses.replace(MIXED, targets=weights))


# --- the colour bar -----------------------------------------------------------------------------


@pytest.mark.parametrize("width", [2, 3, 5, 12])
@pytest.mark.parametrize("missing", [False, True])
def test_the_label_of_the_colour_bar_fits_between_its_ends(width, missing):
    rows = RNG.normal(size=(20, width))
    inputs = rows.astype(object)
    inputs[:, 0] = None if missing else 1.0
    figure = render(plots.beeswarm(rows, inputs))
    (bar,) = bars(figure)
    box = bar.yaxis.label.get_window_extent()
    low, high = (tick.get_window_extent() for tick in bar.get_yticklabels())
    assert low.y1 <= box.y0
    assert box.y1 <= high.y0
    assert ("none" in bar.get_ylabel()) == missing
