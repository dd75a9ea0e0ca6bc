import io

import numpy as np
import pytest

from xai_core import plots
from xai_core.explanation import Explanation


def axes(*args, **options):
    figure = plots.attributions(*args, **options)
    figure.savefig(io.BytesIO(), format="png", dpi=40)
    return figure.axes


def labels(ax):
    return [label.get_text() for label in ax.get_yticklabels()]


def widths(ax):
    return [patch.get_width() for patch in ax.patches]


def test_bars_are_sorted_by_magnitude_and_coloured_by_sign():
    (ax,) = axes(np.array([[1.0, -3.0, 0.0, 2.0]]))
    assert widths(ax) == [-3, 2, 1, 0]
    assert labels(ax) == ["feature 1", "feature 3", "feature 0", "feature 2"]
    assert ax.yaxis_inverted()
    negative, positive = (patch.get_facecolor() for patch in ax.patches[:2])
    assert negative[2] > negative[0]
    assert positive[0] > positive[2]


def test_names_and_values():
    found = Explanation(np.array([[1.0, 2.0]]), "M", feature_names=("age", "height"))
    assert labels(axes(found)[0]) == ["height", "age"]
    assert labels(axes(found, np.array([[31.25, 1.8]]))[0]) == ["height = 1.8", "age = 31.2"]
    mixed = np.array([["red", 7]], dtype=object)
    assert labels(axes(found, mixed)[0]) == ["height = 7", "age = red"]


def test_inputs_of_other_columns_are_not_shown():
    found = Explanation(np.ones((1, 4)), "M", inputs=np.ones((1, 2)), feature_names=("a", "b"))
    assert labels(axes(found)[0]) == [f"feature {column}" for column in range(4)]


def test_the_number_of_bars_is_limited_and_told():
    (ax,) = axes(np.arange(100.0)[None])
    assert widths(ax) == list(range(99, 87, -1))
    assert ax.get_xlabel() == "attribution (88 smaller ones not shown)"


def test_standard_errors_are_drawn():
    found = Explanation(np.array([[1.0, 2.0]]), "M", standard_error=np.array([[0.5, 0.25]]))
    (ax,) = axes(found)
    (segments,) = [lines.get_segments() for lines in ax.collections]
    assert [segment[:, 0].tolist() for segment in segments] == [[1.75, 2.25], [0.5, 1.5]]


def test_scale():
    values = np.array([[1.0, 2.0], [10.0, -20.0]])
    own, shared = axes(values), axes(values, scale="shared")
    assert own[0].get_xlim() != own[1].get_xlim()
    assert shared[0].get_xlim() == shared[1].get_xlim()
    low, high = shared[0].get_xlim()
    assert low <= -20
    assert high >= 10


def test_options():
    (ax,) = axes(np.array([[1.0, -1.0]]), alpha=0.5, cmap="PiYG")
    first, second = (patch.get_facecolor() for patch in ax.patches)
    assert first[3] == second[3] == 0.5
    assert first[1] > first[0]
    assert second[0] > second[1]


@pytest.mark.parametrize("value", [0.0, 2.0, -2.0, np.nan, np.inf])
def test_constant_rows_are_drawn(value):
    axes(np.full((1, 3), value))
    axes(np.full((2, 1), value), scale="shared")
