"""What `plots.waterfall` shows of one row."""

import dataclasses
import io
import itertools

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from xai_core import plots
from xai_core.explanation import Explanation

ROW = Explanation(
    [[1.0, -4.0, 0.5, 0.25]],
    "KernelSHAP",
    targets=[1],
    scores=[-0.25],
    base_values=[2.0],
    inputs=[[31.25, 1.8, 70.0, np.nan]],
    feature_names=("age", "height", "weight", "pulse"),
    class_names=("benign", "malignant"),
)


def render(figure):
    figure.savefig(io.BytesIO(), format="png", dpi=40)
    return figure


def labels(figure):
    return [label.get_text() for label in figure.axes[0].get_yticklabels()]


def bars(figure):
    """Line from the top, start and end of each bar, from the top."""
    found = []
    for patch in figure.axes[0].patches:
        line = round(patch.get_y() + patch.get_height() / 2)
        start = patch.get_x()
        found.append((line, start, start + patch.get_width()))
    return sorted(found)


def texts(figure):
    return [text.get_text() for text in figure.axes[0].texts]


def test_bars_lead_from_the_base_value_to_the_score():
    figure = render(plots.waterfall(ROW))
    assert bars(figure) == [
        (1, 3.75, -0.25),
        (2, 2.75, 3.75),
        (3, 2.25, 2.75),
        (4, 2.0, 2.25),
    ]
    assert labels(figure) == [
        "f(x)",
        "height = 1.8",
        "age = 31.2",
        "weight = 70",
        "pulse = nan",
        "base value",
    ]
    assert texts(figure) == ["-0.250", "-4.00", "+1.00", "+0.500", "+0.250", "2.00"]
    assert figure.axes[0].get_title() == "malignant -0.25"


def test_bars_are_coloured_by_their_sign():
    ends = {}
    for cmap in (None, "PiYG"):
        patches = plots.waterfall(ROW, cmap=cmap).axes[0].patches
        for patch in patches:
            ends[cmap, patch.get_width() > 0] = patch.get_facecolor()
    assert ends[None, False][2] > ends[None, False][0]
    assert ends[None, True][0] > ends[None, True][2]
    assert ends["PiYG", True][1] > ends["PiYG", True][0]


def test_the_others_are_one_bar_next_to_the_base_value():
    figure = render(plots.waterfall(ROW, max_display=1))
    assert labels(figure) == ["f(x)", "height = 1.8", "3 others, summed", "base value"]
    assert bars(figure) == [(1, 3.75, -0.25), (2, 2.0, 3.75)]


def test_what_is_not_explained_is_a_bar_of_its_own():
    lime = dataclasses.replace(ROW, method="LIME", scores=[0.75])
    figure = render(plots.waterfall(lime))
    assert labels(figure)[:2] == ["f(x)", "not explained"]
    assert bars(figure)[0] == (1, -0.25, 0.75)
    assert texts(figure)[:2] == ["0.750", "+1.00"]
    hatched = [bool(patch.get_hatch()) for patch in figure.axes[0].patches]
    assert sum(hatched) == 1


@pytest.mark.parametrize("offset", [0.0, 1e4])
@pytest.mark.parametrize(("gap", "told"), [(0.003, False), (0.005, True), (-0.005, True)])
def test_a_gap_is_told_above_a_thousandth_of_the_largest(offset, gap, told):
    moved = dataclasses.replace(ROW, scores=[-0.25 + gap + offset], base_values=[2.0 + offset])
    assert ("not explained" in labels(plots.waterfall(moved))) == (told and not offset)


def test_groups_and_values_of_single_columns():
    cells = np.array([[1.5, -4.0, 0.25]])
    mask = np.array([0, 1, 0, 2])
    grouped = dataclasses.replace(
        ROW,
        values=cells[:, mask],
        features=cells,
        feature_mask=mask,
        feature_standard_error=0 * cells,
    )
    assert labels(plots.waterfall(grouped))[1:-1] == ["height = 1.8", "age, weight", "pulse = nan"]
    own = plots.waterfall(grouped, feature_names=["x", "y", "z"])
    assert labels(own)[1:-1] == ["y = 1.8", "x", "z = nan"]


def test_parts_of_images_have_no_values():
    images = Explanation(
        np.ones((1, 4, 4, 1)), "M", features=[[1.0, 2.0]], scores=[3.0], base_values=[0.0]
    )
    assert labels(render(plots.waterfall(images))) == ["f(x)", "part 1", "part 0", "base value"]


def test_objects_are_shown_as_they_are():
    mixed = np.array([["red", 7, None, "x" * 60]], dtype=object)
    shown = labels(plots.waterfall(dataclasses.replace(ROW, inputs=mixed)))
    assert shown[1:4] == ["height = 7", "age = red", "weight = None"]
    assert shown[4].endswith("...")


def test_standard_errors_are_drawn_at_the_ends():
    errors = np.array([[0.1, 0.2, 0.3, 0.4]])
    figure = render(plots.waterfall(dataclasses.replace(ROW, standard_error=errors)))
    segments = [lines.get_segments()[0][:, 0] for lines in figure.axes[0].collections]
    found = sorted(segment.tolist() for segment in segments)
    np.testing.assert_allclose(found, [[-0.45, -0.05], [1.85, 2.65], [2.45, 3.05], [3.65, 3.85]])


def test_everything_lies_within_the_axes():
    errors = np.array([[0.1, 3.0, 5.0, 0.4]])
    figure = plots.waterfall(dataclasses.replace(ROW, standard_error=errors, scores=[9.0]))
    renderer = FigureCanvasAgg(figure).get_renderer()
    figure.draw(renderer)
    ax = figure.axes[0]
    inside = ax.get_window_extent(renderer)
    boxes = [text.get_window_extent(renderer) for text in ax.texts]
    assert all(inside.x0 <= box.x0 and box.x1 <= figure.bbox.x1 for box in boxes)
    low, high = ax.get_xlim()
    assert low < -3.25
    assert high > 9
    # Numbers of neighbouring lines do not overlap.
    heights = sorted((box.y0, box.y1) for box in boxes)
    assert all(below[1] <= above[0] for below, above in itertools.pairwise(heights))


@pytest.mark.parametrize("value", [0.0, np.nan, np.inf, 1e-30, 1e30])
def test_any_numbers_are_drawn(value):
    row = Explanation([[value, 0.0]], "M", scores=[1.0], base_values=[1.0])
    render(plots.waterfall(row))


def test_classes_stand_side_by_side():
    other = dataclasses.replace(ROW, targets=[0], scores=[9.0])
    figure = render(plots.waterfall([other, ROW], scale="shared"))
    assert [ax.get_title() for ax in figure.axes] == ["benign 9.00", "malignant -0.25"]
    assert figure.axes[0].get_xlim() == figure.axes[1].get_xlim()
    assert [ax.get_title() for ax in plots.waterfall({"a": ROW}, titles=["b"]).axes] == ["b"]


def test_given_axes_are_used():
    figure = Figure()
    ax = figure.subplots()
    assert plots.waterfall(ROW, ax=ax) is figure
    assert len(ax.patches) == 4
