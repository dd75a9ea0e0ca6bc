"""`bar`: how much each feature contributes, over many rows or to one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Colormap
from matplotlib.figure import Figure

from xai_core import _checks
from xai_core.plots.arguments import (
    read_explanations,
    summary_titles,
    warn_of_mixed_classes,
)
from xai_core.plots.axes import label_rows, row_axes, set_titles, share_limits
from xai_core.plots.color import signed_colors
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

_MEAN, _OTHERS = "0.35", "0.72"


def bar(
    explanations: Any,
    *,
    feature_names: Sequence[str] | None = None,
    max_display: int = MAX_DISPLAY,
    titles: Sequence[str] | None = None,
    cmap: str | Colormap | None = None,
    scale: str = "map",
    columns: int | None = None,
    ax: Any = None,
) -> Figure:
    """Draw how much each feature contributes: the mean magnitude over the rows, or one row.

    Of several rows a bar is the mean of the absolute contributions, of a single row the
    contribution itself. The smaller ones are added up, row by row, in the last bar, as if they were
    one feature.

    Warns where the rows explain different classes, as `targets=None` makes them.

    Error bars are one standard error, where it is known. That of a mean is the mean of the rows'
    standard errors, an upper bound: rows that share their masks have errors that go together. The
    bar of the others has none.

    Parameters
    ----------
    explanations : Explanation, array (N, W), list of these, or dict {title: Explanation or array}
        One panel each. Groups (``feature_mask``) have one bar each; so have the parts of series,
        images and volumes, where the method gives one number per part (``features``).
    feature_names : sequence of str, optional
        One per column or per group. By default those of the Explanation, else numbers.
    max_display : int
        Features with a bar of their own.
    titles : sequence of str, optional
        One per panel. By default the key of a dict, the method where the methods differ, and what
        is explained where it is the same in all rows.
    cmap : str or matplotlib.colors.Colormap, optional
        Its two ends colour the contributions of a single row. Means are grey, or have the colour
        of the upper end of a colormap that is given.
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
        If something else than tables or groups is given, groups differ from row to row, or names,
        titles or axes do not fit.

    Examples
    --------
    >>> import numpy as np
    >>> figure = bar(np.array([[1.0, -4.0, 0.5], [-2.0, -2.0, 0.5]]), max_display=1)
    >>> [text.get_text() for text in figure.axes[0].get_yticklabels()]
    ['feature 1', '2 others, summed']
    >>> [float(patch.get_width()) for patch in figure.axes[0].patches]
    [3.0, 1.5]
    """
    count = _checks.integer("max_display", max_display, 1)
    _checks.choice("scale", scale, ("map", "shared"))
    heads, found = read_explanations(explanations, None, RANKS)
    warn_of_mixed_classes(found)
    drawn = [_bars(read_features(one, feature_names), count) for one in found]
    above = summary_titles(titles, heads, found)
    figure, axes = row_axes(above, [one.labels for one in drawn], columns, ax)
    set_titles(axes, above)
    for panel, one in zip(axes, drawn, strict=True):
        _draw_bars(panel, one, len(found[0]), cmap)
    if scale == "shared":
        share_limits(axes)
    return figure


class _Bars(NamedTuple):
    labels: list[str]
    values: Array
    error: Array | None
    folded: bool


def _bars(features: Features, count: int) -> _Bars:
    """Return the bars from the top; the last one is that of the others where they are folded."""
    sizes = _sizes(features.values)
    order = largest_first(sizes)
    shown, rest = order[:count], order[count:]
    labels = [label(features.names[k]) for k in shown]
    error = None if features.error is None else column_mean(features.error)[shown]
    if not rest.size:
        return _Bars(labels, sizes[shown], error, folded=False)
    return _Bars(
        [*labels, others(rest.size)],
        np.append(sizes[shown], _sizes(row_sums(features.values[:, rest]))),
        None if error is None else np.append(error, np.nan),
        folded=True,
    )


def _sizes(values: Array) -> Array:
    """Return the contributions of one row, the mean magnitude of several."""
    sizes = column_mean(np.abs(values) if len(values) > 1 else values)
    return np.where(np.isfinite(sizes), sizes, 0)


def _draw_bars(ax: Axes, bars: _Bars, rows: int, cmap: str | Colormap | None) -> None:
    label_rows(ax, bars.labels)
    plain = rows > 1 and cmap is None
    colors = [_MEAN] * len(bars.values) if plain else signed_colors(bars.values, cmap)
    if bars.folded:
        colors[-1] = _OTHERS
    lines = np.arange(len(bars.values))
    ax.barh(lines, bars.values, color=colors)
    if bars.error is not None:
        known = np.isfinite(bars.error)
        ax.errorbar(
            bars.values[known],
            lines[known],
            xerr=bars.error[known],
            fmt="none",
            ecolor="black",
            elinewidth=1,
        )
    ax.axvline(0, color="black", linewidth=0.8)
    ax.set_xlabel(
        "attribution" if rows == 1 else f"mean |attribution| of {rows} rows", fontsize="small"
    )
