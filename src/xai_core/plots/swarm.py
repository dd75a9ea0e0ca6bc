"""`beeswarm`: the contributions of every row, by the feature's value."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from numbers import Real
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, LinearSegmentedColormap, Normalize, to_rgba
from matplotlib.figure import Figure

from xai_core import _checks
from xai_core.plots.arguments import (
    host_array,
    percent,
    read_explanations,
    summary_titles,
    warn_of_mixed_classes,
)
from xai_core.plots.axes import label_rows, row_axes, set_titles, share_limits
from xai_core.plots.color import color_map, limits
from xai_core.plots.feature import (
    MAX_DISPLAY,
    RANKS,
    Features,
    column_mean,
    label,
    largest_first,
    others,
    read_features,
    row_sums,
)
from xai_core.typing import Array

_CLIP = 5.0
_BINS = 100
_HALF, _STEP, _DOT = 0.4, 0.1, 9.0
_DARK_ENOUGH = 0.85
_HEIGHT = 0.3
_LETTER, _ENDS, _LABEL_SHARE, _FEW_LETTERS = 0.075, 0.35, 0.8, 12
_NO_VALUE, _ALL = "0.65", "#0072B2"


def beeswarm(
    explanations: Any,
    inputs: Any = None,
    *,
    feature_names: Sequence[str] | None = None,
    max_display: int = MAX_DISPLAY,
    titles: Sequence[str] | None = None,
    cmap: str | Colormap | None = None,
    clip: float | None = None,
    scale: str = "map",
    columns: int | None = None,
    ax: Any = None,
) -> Figure:
    """Draw one dot per row and feature, at its contribution, coloured by the feature's value.

    Features stand by their mean absolute contribution, the largest on top; the smaller ones are
    added up, row by row, in the last line. Dots that would fall on each other are moved up and
    down, in the order of the rows. Warns where the rows explain different classes, as
    `targets=None` makes them.

    Parameters
    ----------
    explanations : Explanation, array (N, W), list of these, or dict {title: Explanation or array}
        One panel each. Groups (``feature_mask``) have one line each.
    inputs : array, shape (N, W), optional
        The values of the features. Explanations of tables hold them.
    feature_names : sequence of str, optional
        One per column or per group. By default those of the Explanation, else numbers.
    max_display : int
        Features with a line of their own.
    titles : sequence of str, optional
        One per panel. By default the key of a dict, the method where the methods differ, and what
        is explained where it is the same in all rows.
    cmap : str or matplotlib.colors.Colormap, optional
        From low to high values, of each feature by itself. What is missing or no number is grey,
        and so are groups of several columns.
    clip : float in [0, 50), optional
        Percent of a feature's values at each end that share the end colours: 5 by default.
    scale : {"map", "shared"}
        One axis for each panel, or the same for all.
    columns : int, optional
        Panels in a row: at most 3 by default.
    ax : matplotlib Axes or array of Axes, optional
        Where to draw: one for each panel, in one figure.

    Returns
    -------
    matplotlib.figure.Figure
        Not shown, and unknown to pyplot. That of ``ax`` where given.

    Raises
    ------
    TypeError, ValueError
        If something else than tables or groups is given, ``inputs`` are not the rows that were
        explained, groups differ from row to row, or names, titles or axes do not fit.

    Examples
    --------
    >>> import numpy as np
    >>> rows = np.random.default_rng(0).normal(size=(50, 3))
    >>> figure = beeswarm(rows * [1, 0.1, -2], rows)
    >>> [text.get_text() for text in figure.axes[0].get_yticklabels()]
    ['feature 2', 'feature 0', 'feature 1']
    """
    count = _checks.integer("max_display", max_display, 1)
    _checks.choice("scale", scale, ("map", "shared"))
    colors = _value_colors(cmap)
    share = _CLIP if clip is None else percent(clip)
    table = None if inputs is None else host_array(inputs)
    heads, found = read_explanations(explanations, table, RANKS)
    if table is not None and found[0].values.ndim != 2:
        raise ValueError(
            "`inputs` must be left out where the features are no columns of a table. "
            f"Received: shape {table.shape}."
        )
    warn_of_mixed_classes(found)
    drawn = []
    for one in found:
        features = read_features(one, feature_names)
        drawn.append(_lines(features, one.inputs if table is None else table, count, share))
    above = summary_titles(titles, heads, found)
    labels = [[line.label for line in lines] for lines in drawn]
    figure, axes = row_axes(above, labels, columns, ax, _HEIGHT)
    set_titles(axes, above)
    shades = np.concatenate([line.shades for lines in drawn for line in lines])
    valued = bool(np.isfinite(shades).any())
    for panel, lines in zip(axes, drawn, strict=True):
        _draw(panel, lines, colors if valued else None)
    if scale == "shared":
        share_limits(axes)
    if valued:
        _draw_bar(axes, colors, missing=bool(np.isnan(shades).any()))
    return figure


class _Line(NamedTuple):
    """The dots of one feature; ``shades`` are its values in [0, 1], NaN where there are none."""

    label: str
    values: Array
    shades: Array


def _lines(features: Features, table: Array | None, count: int, clip: float) -> list[_Line]:
    """Return the lines from the top; the last one is that of the others where they are folded."""
    order = largest_first(column_mean(np.abs(features.values)))
    unknown = np.full(len(features.values), np.nan)
    width = 0 if table is None or table.ndim != 2 else table.shape[1]
    lines = []
    for k in order[:count]:
        column = features.columns[k]
        shades = _shades(np.asarray(table)[:, column], clip) if 0 <= column < width else unknown
        lines.append(_Line(label(features.names[k]), features.values[:, k], shades))
    rest = order[count:]
    if rest.size:
        total = row_sums(features.values[:, rest])[:, 0]
        lines.append(_Line(others(rest.size), total, unknown))
    return lines


def _shades(column: Array, clip: float) -> Array:
    """Return numbers in [0, 1] with their order; 1/2 for a constant, NaN for what is no number."""
    found = np.array([_float(value) for value in column.tolist()])
    finite = found[np.isfinite(found)]
    if finite.size == 0 or finite.min() == finite.max():
        return np.where(np.isnan(found), np.nan, 0.5)
    low, high = limits(finite, clip, signed=False)
    # Halves first: the range of extreme float64 values would overflow.
    return np.clip((found / 2 - low / 2) / (high / 2 - low / 2), 0, 1)


def _float(value: Any) -> float:
    return float(value) if isinstance(value, Real) else math.nan


def _value_colors(cmap: str | Colormap | None) -> Colormap:
    """Return the colormap asked for, else one without colours that vanish on white."""
    if cmap is not None:
        return color_map(cmap, signed=False)
    colors = color_map("plasma", signed=False)(np.linspace(0, _DARK_ENOUGH, 256))
    return LinearSegmentedColormap.from_list("values", colors)


def _draw(ax: Axes, lines: Sequence[_Line], colors: Colormap | None) -> None:
    label_rows(ax, [line.label for line in lines])
    ax.axvline(0, color="black", linewidth=0.8, zorder=1)
    every = np.concatenate([line.values for line in lines])
    every = every[np.isfinite(every)]
    low, high = (every.min(), every.max()) if every.size else (0.0, 0.0)
    for k, line in enumerate(lines):
        ax.axhline(k, color="0.9", linewidth=0.6, zorder=0)
        known = np.isfinite(line.values)
        x, y = line.values[known], k + _heights(line.values[known], low, high)
        look: dict[str, Any] = {"color": _ALL}
        if colors is not None:
            shades = line.shades[known]
            look = {"c": colors(np.nan_to_num(shades))}
            look["c"][np.isnan(shades)] = to_rgba(_NO_VALUE)
        ax.scatter(x, y, s=_DOT, linewidths=0, zorder=2, **look)
    ax.set_xlabel("attribution", fontsize="small")


def _heights(values: Array, low: float, high: float) -> Array:
    """Return how far each dot is moved from its line, so that those of one bin lie apart."""
    if values.size == 0:
        return values
    place = np.floor((values / 2 - low / 2) / ((high / 2 - low / 2) or 1.0) * _BINS)
    order = np.argsort(place, kind="stable")
    ordered = place[order]
    rank = np.arange(len(values)) - np.searchsorted(ordered, ordered)
    # 0, 1, -1, 2, -2, ...
    steps = np.empty(len(values))
    steps[order] = np.where(rank % 2, 1, -1) * ((rank + 1) // 2)
    return steps * min(_STEP, _HALF / max(1.0, np.abs(steps).max()))


def _draw_bar(axes: Sequence[Axes], colors: Colormap, missing: bool) -> None:
    """Draw one colour bar, from low to high values."""
    place: dict[str, Any] = {"fraction": 0.046, "pad": 0.03} if len(axes) == 1 else {}
    mappable = ScalarMappable(Normalize(0, 1), colors)
    bar = axes[0].figure.colorbar(mappable, ax=list(axes), aspect=30, **place)
    bar.set_ticks([0, 1], labels=["low", "high"])
    bar.ax.tick_params(labelsize="x-small", length=0)
    bar.outline.set_visible(False)
    bar.set_label(_bar_label(axes, missing), fontsize="small", labelpad=-12)


def _bar_label(axes: Sequence[Axes], missing: bool) -> str:
    """Return what the colours mean, in lines that fit between "low" and "high"."""
    boxes = [ax.get_window_extent() for ax in axes]
    pixels = max(box.y1 for box in boxes) - min(box.y0 for box in boxes)
    letters = int((_LABEL_SHARE * pixels / axes[0].figure.dpi - _ENDS) / _LETTER)
    whole = letters >= _FEW_LETTERS
    text = "value of the feature" if whole else "value"
    if missing:
        text += " (grey:\N{NO-BREAK SPACE}none)" if whole else " (grey: none)"
    return "\n".join(textwrap.wrap(text, max(letters, _FEW_LETTERS // 2)))
