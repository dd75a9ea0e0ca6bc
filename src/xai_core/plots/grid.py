"""`attributions`: any number of explanations of any kind of input, in one figure."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from types import ModuleType
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Colormap
from matplotlib.figure import Figure

from xai_core import _checks
from xai_core.explanation import Explanation
from xai_core.plots import image, table, time_series
from xai_core.plots.arguments import host_array, make_panels, panel_titles, read_explanations
from xai_core.plots.panel import Panel, Style

_KINDS: dict[int, ModuleType] = {2: table, 3: time_series, 4: image}
_WRAP = 4
_TITLE_LINE = 0.18
_BAR_WIDTH = 0.7


def attributions(
    explanations: Any,
    inputs: Any = None,
    *,
    titles: Sequence[str] | None = None,
    cmap: str | Colormap | None = None,
    alpha: float | None = None,
    clip: float | None = None,
    scale: str = "map",
    columns: int | None = None,
    ax: Any = None,
) -> Figure:
    """Draw attributions: samples in rows, explanations in columns.

    Images: the map over the image, or alone where no inputs are given. A map with several channels
    is shown as their sum. Maps of an explanation that has a negative value lie on a diverging
    colormap centred at 0, over the image in grey; the others on a sequential one, over the image in
    its colours. Images outside [0, 1] are stretched to it one by one (uint8 ones are divided by
    255); other than three channels are shown as their mean.

    Series: one strip per feature, with its curve (each stretched to its strip). Tables: the 12
    largest bars, with the standard error where it is known. Series and tables take the inputs that
    an Explanation holds, where none are given.

    Parameters
    ----------
    explanations : Explanation, array, list of these, or dict {title: Explanation or array}
        Of the same N inputs, (N, W), (N, T, W), (N, H, W, C) or (N, C, H, W). A single one of
        several samples makes a grid that is wrapped at ``columns``. An array is taken to be
        channels last, unless only its axis 1 can be the channels; an array (N, H, W) with images
        is a map of them.
    inputs : array, optional
        What was explained, with the batch axis, in the layout that the explainer was given.
    titles : sequence of str, optional
        One per panel, row by row; or one per explanation, for the head of each column. By default
        a panel's title is the explained class and its score, and the head of a column is the key of
        a dict, or the method where the methods differ.
    cmap : str or matplotlib.colors.Colormap, optional
        For signed maps, its middle is at 0. Bars take their two colours from its ends.
    alpha : float in [0, 1], optional
        Opacity of maps and bars: 0.5 over an image, 0.6 under curves, else 1.
    clip : float in [0, 50), optional
        Percent of a map's values at each end that may leave the colour scale: 0.5 by default, so
        that a few extreme pixels do not hide the others. 0 shows the whole range. Refused for
        tables.
    scale : {"map", "shared"}
        One colour scale (for bars: one axis) for each map, or one for all. Values of different
        methods have different units, so that "shared" is mostly of use within a method.
    columns : int, optional
        Panels in a row, for a single explanation: at most 4 by default.
    ax : matplotlib Axes or array of Axes, optional
        Where to draw: one for each panel, row by row, in one figure.

    Returns
    -------
    matplotlib.figure.Figure
        Not shown, and unknown to pyplot: ``figure.savefig(path)`` writes it. That of ``ax`` where
        given.

    Raises
    ------
    ValueError
        If the explanations do not fit each other, ``inputs`` are not the rows that were explained
        (see `xai_core.explanation.check_rows`), or there are more or fewer axes or titles than
        panels.

    Examples
    --------
    >>> import numpy as np
    >>> photos = np.random.default_rng(0).random((2, 8, 8, 3))
    >>> figure = attributions({"mean": photos.mean(-1), "red": photos[..., 0]}, photos)
    >>> len([panel for panel in figure.axes if panel.images])
    4
    """
    style = Style(
        cmap,
        None if alpha is None else _checks.number("alpha", alpha, 0, 1),
        None if clip is None else _percent(clip),
        _checks.choice("scale", scale, ("map", "shared")) == "shared",
    )
    pictures = None if inputs is None else host_array(inputs)
    heads, found = read_explanations(explanations, pictures)
    kind = _KINDS[found[0].values.ndim]
    width = _columns(columns, found, ax)
    panels = make_panels(found, pictures, kind.prepare, panel_titles(titles, heads, found))
    if ax is None:
        figure, axes = _new_axes(panels, width, kind, style)
    else:
        figure, axes = _given_axes(ax, len(panels))
    for one, panel in zip(axes, panels, strict=True):
        one.set_title(panel.title, fontsize="small", parse_math=False)
    kind.draw(axes, panels, style)
    return figure


class _Figure(Figure):
    """Shows itself at the end of a notebook cell, also where pyplot was never imported."""

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        self.savefig(buffer, format="png")
        return buffer.getvalue()


def _new_axes(
    panels: Sequence[Panel], columns: int, kind: ModuleType, style: Style
) -> tuple[Figure, list[Axes]]:
    rows = math.ceil(len(panels) / columns)
    width, height = np.max([kind.size(panel) for panel in panels], axis=0)
    height += _TITLE_LINE * max(panel.title.count("\n") + 1 for panel in panels)
    bar = _BAR_WIDTH if style.shared else _BAR_WIDTH * columns
    figure = _Figure(figsize=(width * columns + bar, height * rows), layout="constrained")
    return figure, [figure.add_subplot(rows, columns, k + 1) for k in range(len(panels))]


def _given_axes(ax: Any, count: int) -> tuple[Figure, list[Axes]]:
    axes = [ax] if isinstance(ax, Axes) else list(np.asarray(ax, dtype=object).ravel())
    if not all(isinstance(one, Axes) for one in axes):
        raise TypeError(f"`ax` must be a matplotlib Axes or an array of them. Received: {ax!r}.")
    if len(axes) != count:
        raise ValueError(f"`ax` must hold one Axes per map, here {count}. Received: {len(axes)}.")
    # The figure of a subfigure is the whole one.
    figures = [None if one.figure is None else one.figure.figure for one in axes]
    figure = figures[0]
    if figure is None or any(other is not figure for other in figures):
        raise ValueError("`ax` must hold Axes of one figure. Received: Axes of several or none.")
    return figure, axes


def _columns(columns: int | None, found: Sequence[Explanation], ax: Any) -> int:
    if columns is not None and (len(found) > 1 or ax is not None):
        raise ValueError(
            "`columns` must be left out with several explanations, where each has its own column, "
            f"and with `ax`. Received: {columns}."
        )
    if len(found) > 1:
        return len(found)
    chosen = _WRAP if columns is None else _checks.integer("columns", columns, 1)
    return min(chosen, len(found[0]))


def _percent(clip: Any) -> float:
    percent = _checks.number("clip", clip)
    if not 0 <= percent < 50:
        raise ValueError(f"`clip` must be at least 0 and below 50. Received: {clip}.")
    return percent
