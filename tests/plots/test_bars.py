"""What `plots.bar` shows, and how features and groups are called in every plot of them."""

import dataclasses
import io

import matplotlib
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from xai_core import ExplanationWarning, plots
from xai_core.explanation import Explanation

ROWS = np.array([[1.0, -4.0, 0.5, 0.0], [-3.0, 2.0, 0.5, 0.0]])
NAMES = ("age", "height", "weight", "pulse")
MASK = np.array([7, 3, 7, 5])
CELLS = np.array([[-4.0, 0.0, 1.5], [2.0, 0.0, -2.5]])
GROUPED = Explanation(
    CELLS[:, [2, 0, 2, 1]], "Occlusion", features=CELLS, feature_mask=MASK, feature_names=NAMES
)


def render(figure):
    figure.savefig(io.BytesIO(), format="png", dpi=40)
    return figure


def labels(figure):
    return [label.get_text() for label in figure.axes[0].get_yticklabels()]


def widths(figure):
    return [float(patch.get_width()) for patch in figure.axes[0].patches]


def spans(figure):
    """From where to where each error bar reaches."""
    (lines,) = figure.axes[0].collections
    return [segment[:, 0].tolist() for segment in lines.get_segments()]


# --- bars ----------------------------------------------------------------------------------------


def test_a_bar_is_the_mean_magnitude_over_the_rows():
    figure = render(plots.bar(ROWS))
    assert widths(figure) == [3, 2, 0.5, 0]
    assert labels(figure) == ["feature 1", "feature 0", "feature 2", "feature 3"]
    assert figure.axes[0].yaxis_inverted()
    assert figure.axes[0].get_xlabel() == "mean |attribution| of 2 rows"


def test_bars_of_one_row_are_signed_and_coloured_by_their_sign():
    figure = render(plots.bar(ROWS[:1]))
    assert widths(figure) == [-4, 1, 0.5, 0]
    negative, positive = (patch.get_facecolor() for patch in figure.axes[0].patches[:2])
    assert negative[2] > negative[0]
    assert positive[0] > positive[2]
    assert figure.axes[0].get_xlabel() == "attribution"
    green = plots.bar(ROWS[:1], cmap="PiYG").axes[0].patches[1].get_facecolor()
    assert green[1] > green[0]


def test_means_are_grey_or_of_one_end_of_a_colormap():
    for cmap, spread in ((None, 0), ("RdBu_r", 0.3)):
        colors = [patch.get_facecolor() for patch in plots.bar(ROWS, cmap=cmap).axes[0].patches]
        assert len(set(colors)) == 1
        assert np.ptp(to_rgb(colors[0])) >= spread
        assert (np.ptp(to_rgb(colors[0])) == 0) == (cmap is None)


def test_the_others_are_added_up_row_by_row_in_one_bar():
    mean, one = plots.bar(ROWS, max_display=1), plots.bar(ROWS[:1], max_display=1)
    # The rows of the others sum to 1.5 and -2.5.
    assert widths(render(mean)) == [3, 2]
    assert widths(one) == [-4, 1.5]
    for figure, kept in ((mean, "feature 1"), (one, "feature 1")):
        assert labels(figure) == [kept, "3 others, summed"]
        kept, folded = (to_rgb(patch.get_facecolor()) for patch in figure.axes[0].patches)
        assert kept != folded
    assert labels(plots.bar(ROWS, max_display=3))[-1] == "1 other"


def test_twelve_features_have_a_bar_of_their_own():
    assert labels(plots.bar(np.arange(50.0)[None]))[-2:] == ["feature 38", "38 others, summed"]


def test_error_bars_are_the_standard_error_or_its_mean():
    errors = np.array([[0.1, 0.2, 0.3, 0.0], [0.3, 0.2, 0.1, 0.0]])
    found = Explanation(ROWS, "M", standard_error=errors)
    np.testing.assert_allclose(
        spans(render(plots.bar(found, max_display=2))), [[2.8, 3.2], [1.8, 2.2]]
    )
    np.testing.assert_allclose(spans(plots.bar(found[0], max_display=1)), [[-4.2, -3.8]])
    cells = dataclasses.replace(GROUPED, feature_standard_error=np.full((2, 3), 0.5))
    np.testing.assert_allclose(spans(plots.bar(cells))[0], [2.5, 3.5])


def test_no_error_bars_where_the_error_is_unknown():
    assert not plots.bar(ROWS).axes[0].collections


@pytest.mark.parametrize("value", [0.0, 2.0, -2.0, np.nan, np.inf])
def test_constant_rows_are_drawn(value):
    render(plots.bar(np.full((1, 3), value), max_display=2))
    render(plots.bar(np.full((2, 1), value)))


def test_missing_numbers_are_left_out():
    values = np.array([[np.nan, 1.0, np.nan], [2.0, -3.0, np.nan]])
    assert widths(plots.bar(values)) == [2, 2]
    assert labels(plots.bar(values)) == ["feature 0", "feature 1"]


# --- names and groups ----------------------------------------------------------------------------


def test_names_are_those_of_the_explanation_or_of_the_caller():
    found = Explanation(ROWS, "M", feature_names=NAMES)
    assert labels(plots.bar(found)) == ["height", "age", "weight", "pulse"]
    assert labels(plots.bar(found, feature_names=list("abcd"))) == ["b", "a", "c", "d"]


def test_names_of_ones_own_are_no_formulas():
    figure = render(plots.bar(ROWS, feature_names=["$a_$ {$", "_b", "", "long " * 30]))
    assert labels(figure)[:3] == ["_b", "$a_$ {$", ""]
    assert labels(figure)[3].startswith("long long")
    assert len(labels(figure)[3]) <= 34
    assert "..." in labels(figure)[3]


def test_names_that_do_not_fit_the_columns_are_not_used():
    assert labels(plots.bar(Explanation(ROWS, "M", feature_names=("a", "b"))))[0] == "feature 1"


def test_groups_have_one_bar_each_under_the_names_of_their_columns():
    figure = render(plots.bar(GROUPED))
    assert widths(figure) == [3, 2, 0]
    assert labels(figure) == ["height", "age, weight", "pulse"]


def test_groups_without_names_are_called_by_their_labels():
    bare = dataclasses.replace(GROUPED, feature_names=None)
    assert labels(plots.bar(bare)) == ["group 3", "group 7", "group 5"]
    assert labels(plots.bar(bare, feature_names=["a", "b", "c"])) == ["a", "c", "b"]
    assert labels(plots.bar(bare, feature_names=["w", "x", "y", "z"])) == ["x", "w, y", "z"]


def test_a_group_of_many_columns_tells_how_many():
    cells = np.array([[1.0, 2.0]])
    mask = np.array([0] * 9 + [1])
    names = [f"measurement {k}" for k in range(10)]
    found = Explanation(
        cells[:, mask], "M", features=cells, feature_mask=mask[None], feature_names=names
    )
    assert labels(plots.bar(found)) == ["measurement 9", "measurement 0 and 8 more"]


@pytest.mark.parametrize("mask", ["sample", "batch", "rows"])
def test_groups_of_images_are_called_by_their_labels(mask):
    labelled = np.array([[2, 2, 4], [4, 4, 9]])
    shape = {"sample": (2, 3), "batch": (1, 2, 3, 1), "rows": (5, 2, 3)}[mask]
    given = np.broadcast_to(labelled.reshape(labelled.shape + (1,) * (mask == "batch")), shape)
    found = Explanation(
        np.ones((5, 2, 3, 1)),
        "LIME",
        features=np.tile([1.0, 3.0, 2.0], (5, 1)),
        feature_mask=given,
        feature_names=("red", "green", "blue", "alpha"),
    )
    assert labels(plots.bar(found)) == ["group 4", "group 9", "group 2"]


@pytest.mark.parametrize("shape", [(2, 6, 4), (2, 6, 6, 1), (2, 1, 6, 6), (2, 4, 4, 4, 1)])
def test_parts_without_a_mask_have_numbers(shape):
    found = Explanation(np.ones(shape), "Occlusion", features=[[1.0, 2.0], [1.0, 2.0]])
    assert labels(plots.bar(found)) == ["part 1", "part 0"]


def test_a_row_with_a_mask_of_its_own_is_drawn_alone():
    masks = np.array([[0, 0, 1], [0, 1, 2]])
    cells = np.array([[1.0, 2.0, np.nan], [1.0, 2.0, 3.0]])
    found = Explanation(np.ones((2, 3)), "Occlusion", features=cells, feature_mask=masks)
    assert labels(plots.bar(found[0])) == ["group 1", "group 0"]
    assert labels(plots.bar(found[1])) == ["group 2", "group 1", "group 0"]
    with pytest.raises(ValueError, match=r"share one `feature_mask`.* explanation\[0\]"):
        plots.bar(found)


# --- panels --------------------------------------------------------------------------------------


def titles(figure):
    return [ax.get_title() for ax in figure.axes]


def test_the_title_is_what_all_rows_have_in_common():
    found = Explanation(
        ROWS, "M", targets=[1, 1], scores=[0.9, 0.8], class_names=("benign", "malignant")
    )
    assert titles(plots.bar(found)) == ["malignant"]
    assert titles(plots.bar(found[0])) == ["malignant 0.90"]
    with pytest.warns(ExplanationWarning, match="benign, malignant"):
        assert titles(plots.bar(dataclasses.replace(found, targets=[0, 1]))) == [""]
    assert titles(plots.bar({"a": found, "b": ROWS})) == ["a\nmalignant", "b"]
    both = [found, dataclasses.replace(found, method="N")]
    assert titles(plots.bar(both)) == ["M\nmalignant", "N\nmalignant"]
    assert titles(plots.bar(both, titles=["$", "t"])) == ["$", "t"]


def test_panels_are_wrapped():
    grid = plots.bar([ROWS] * 5).axes[0].get_subplotspec().get_gridspec()
    assert (grid.nrows, grid.ncols) == (2, 3)
    grid = plots.bar([ROWS] * 4, columns=2).axes[0].get_subplotspec().get_gridspec()
    assert (grid.nrows, grid.ncols) == (2, 2)


def test_one_scale_for_all():
    panels = [ROWS, 10 * ROWS]
    own, shared = plots.bar(panels).axes, plots.bar(panels, scale="shared").axes
    assert own[0].get_xlim() != own[1].get_xlim()
    assert shared[0].get_xlim() == shared[1].get_xlim() == own[1].get_xlim()


def test_labels_and_titles_lie_within_the_figure():
    figure = plots.bar(
        ROWS,
        feature_names=["MEAN_CORPUSCULAR_HEMOGLOBIN_LEVELS", "a", "b", "c"],
        titles=["A title"],
    )
    renderer = FigureCanvasAgg(figure).get_renderer()
    figure.draw(renderer)
    ax = figure.axes[0]
    for text in (*ax.get_yticklabels(), ax.title, ax.xaxis.label):
        box = text.get_window_extent(renderer)
        assert min(box.x0, box.y0) >= 0
        assert box.x1 <= figure.bbox.x1
        assert box.y1 <= figure.bbox.y1
    assert ax.get_window_extent(renderer).width > 0.3 * figure.bbox.width


def test_given_axes_are_used():
    figure = Figure()
    left, right = figure.subplots(1, 2)
    assert plots.bar([ROWS, ROWS], ax=[left, right]) is figure
    assert [len(ax.patches) for ax in (left, right)] == [4, 4]


def test_nothing_else_changes():
    before, values = dict(matplotlib.rcParams), ROWS.copy()
    for draw in (plots.bar, plots.beeswarm):
        assert draw(values)._repr_png_().startswith(b"\x89PNG")
    assert dict(matplotlib.rcParams) == before
    np.testing.assert_array_equal(values, ROWS)
