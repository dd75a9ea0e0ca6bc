"""What `plots.curves` shows of the results of a metric."""

import io

import keras
import matplotlib
import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from xai_core import plots
from xai_core.metrics import MetricResult

RNG = np.random.default_rng(0)


def result(rows=6, steps=4, metric="Deletion", low=0.2):
    shares = np.linspace(0, 1, steps + 1)
    curves = low + 0.5 * RNG.random((rows, steps + 1))
    areas = np.trapezoid(curves, shares, axis=1)
    return MetricResult(metric, areas, metric == "Insertion", curves, shares)


def legend(figure):
    return [text.get_text() for text in figure.axes[0].get_legend().get_texts()]


def render(figure):
    figure.savefig(io.BytesIO(), format="png", dpi=40)
    return figure


# --- what is drawn -------------------------------------------------------------------------------


def test_the_line_is_the_mean_over_the_inputs():
    one = result()
    (line,) = render(plots.curves(one)).axes[0].lines
    np.testing.assert_allclose(line.get_xdata(), one.shares)
    np.testing.assert_allclose(line.get_ydata(), one.curves.mean(axis=0))


def test_the_band_is_one_standard_error():
    one = result()
    (band,) = plots.curves(one).axes[0].collections
    error = one.curves.std(axis=0, ddof=1) / np.sqrt(6)
    heights = band.get_paths()[0].vertices
    mean = one.curves.mean(axis=0)
    for k, share in enumerate(one.shares):
        at = heights[np.isclose(heights[:, 0], share), 1]
        np.testing.assert_allclose([at.min(), at.max()], [mean[k] - error[k], mean[k] + error[k]])


def test_one_input_has_no_band():
    assert not plots.curves(result(rows=1)).axes[0].collections


def test_results_of_other_inputs_and_steps_go_together():
    figure = render(plots.curves([result(rows=2, steps=3), result(rows=5, steps=9)]))
    assert [len(line.get_xdata()) for line in figure.axes[0].lines] == [4, 10]


@pytest.mark.parametrize(
    ("metric", "label", "title"),
    [
        ("Deletion", "share of elements removed", "Deletion (lower is better)"),
        ("Insertion", "share of elements inserted", "Insertion (higher is better)"),
        ("Other", "share of elements changed", "Other (lower is better)"),
    ],
)
def test_axes_say_what_they_show(metric, label, title):
    (ax,) = render(plots.curves(result(metric=metric))).axes
    assert (ax.get_xlabel(), ax.get_ylabel(), ax.get_title()) == (label, "score", title)
    assert ax.get_xlim() == (0, 1)


def test_areas_stand_on_zero_unless_scores_are_negative():
    assert plots.curves(result()).axes[0].get_ylim()[0] == 0
    assert plots.curves(result(low=-2)).axes[0].get_ylim()[0] < -1


def test_colours_differ_also_for_the_colour_blind():
    """Seven colours of different brightness, and then other dashes."""
    lines = plots.curves([result() for _ in range(10)]).axes[0].lines
    colors = [to_rgb(line.get_color()) for line in lines]
    assert len(set(colors)) == 7
    styles = [(color, str(line._dash_pattern)) for color, line in zip(colors, lines, strict=True)]
    assert len(set(styles)) == 10
    # What a dichromat sees of red and green is nearly their weighted sum.
    seen = np.array([[0.6 * r + 0.4 * g, b, 0.3 * r + 0.6 * g + 0.1 * b] for r, g, b in colors[:7]])
    distances = np.abs(seen[:, None] - seen[None]).max(-1)
    assert distances[np.triu_indices(7, 1)].min() > 0.1


# --- titles --------------------------------------------------------------------------------------


def with_area(area):
    return MetricResult("Deletion", np.array([area]), False, np.array([[1.0, 0]]), np.arange(2))


def test_the_legend_tells_title_and_area():
    assert legend(plots.curves(with_area(0.0833))) == ["area 0.083"]
    both = [with_area(0.0833), with_area(-12345.6)]
    assert legend(plots.curves(both)) == ["result 1: 0.083", "result 2: -1.235e+04"]
    assert legend(plots.curves({"GradCAM": both[0], 3: both[0]})) == ["GradCAM 0.083", "3 0.083"]
    assert legend(plots.curves(tuple(both), titles=["a", "$b_$ {$"]))[1] == "$b_$ {$ -1.235e+04"
    assert legend(plots.curves({"x": both[0]}, titles=["y"])) == ["y 0.083"]
    assert legend(plots.curves(both[0], titles=[""])) == ["0.083"]


def test_names_are_no_formulas():
    render(plots.curves({"$a_$ {$": result(), "_b": result()}))


def test_names_that_begin_with_an_underscore_stand_in_the_legend():
    assert legend(plots.curves({"_b": with_area(0.5)})) == ["_b 0.500"]


# --- arguments -----------------------------------------------------------------------------------


class Other:
    """What another metric may return."""

    metric, higher_is_better = "Other", False
    curves, shares = keras.ops.ones((2, 3)), [0, 0.5, 1]

    def __float__(self):
        return 1.0


def test_any_result_with_curves_is_drawn():
    assert legend(render(plots.curves({"own": Other()}))) == ["own 1.000"]


@pytest.mark.parametrize(
    ("results", "error", "message"),
    [
        ([], ValueError, "`results` must hold at least one"),
        ({}, ValueError, "`results` must hold at least one"),
        (np.ones((2, 3)), TypeError, r"`results` must be what a metric returned.* ndarray"),
        ([result(), 0.5], TypeError, r"`results` must be what a metric returned.* float"),
        (
            MetricResult("Sparseness", np.ones(2), higher_is_better=True),
            ValueError,
            "`results` must have curves. Received: Sparseness without",
        ),
        (
            [result(), result(metric="Insertion")],
            ValueError,
            "`results` must be of one metric.* Received: Deletion and Insertion",
        ),
    ],
)
def test_results_that_cannot_be_drawn_are_refused(results, error, message):
    with pytest.raises(error, match=message):
        plots.curves(results)


def test_wrong_titles_are_refused():
    with pytest.raises(ValueError, match=r"one title per result, here 2. Received: 1"):
        plots.curves([result(), result()], titles=["a"])
    with pytest.raises(TypeError, match="`titles` must be a sequence of str"):
        plots.curves([result(), result()], titles="ab")


def test_given_axes_are_used():
    figure = Figure()
    left, right = figure.subplots(1, 2)
    assert plots.curves(result(), ax=left) is figure
    assert plots.curves(result(metric="Insertion"), ax=right) is figure
    assert [len(ax.lines) for ax in (left, right)] == [1, 1]
    with pytest.raises(ValueError, match=r"`ax` must hold one Axes per plot, here 1. Received: 2"):
        plots.curves(result(), ax=[left, right])
    with pytest.raises(TypeError, match="`ax` must be a matplotlib Axes"):
        plots.curves(result(), ax=3)


def test_settings_results_and_pyplot_stay_as_they_are():
    before, one = dict(matplotlib.rcParams), result()
    kept = one.curves.copy()
    assert plots.curves(one)._repr_png_().startswith(b"\x89PNG")
    assert dict(matplotlib.rcParams) == before
    np.testing.assert_array_equal(one.curves, kept)
