"""`attributions`: any number of explanations of any kind of input, in one figure."""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import Any

import numpy as np
from matplotlib.colors import Colormap
from matplotlib.figure import Figure

from xai_core import _checks
from xai_core.explanation import Explanation
from xai_core.plots import image, table, time_series
from xai_core.plots.arguments import (
    host_array,
    make_panels,
    panel_titles,
    percent,
    read_explanations,
    sample_columns,
)
from xai_core.plots.axes import given_axes, new_axes, set_titles
from xai_core.plots.panel import Style

_KINDS: dict[int, ModuleType] = {2: table, 3: time_series, 4: image}
_WRAP = 4
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
        None if clip is None else percent(clip),
        _checks.choice("scale", scale, ("map", "shared")) == "shared",
    )
    pictures = None if inputs is None else host_array(inputs)
    heads, found = read_explanations(explanations, pictures)
    kind = _KINDS[found[0].values.ndim]
    width = sample_columns(columns, found, ax, _WRAP)
    panels = make_panels(found, pictures, kind.prepare, panel_titles(titles, heads, found))
    above = [panel.title for panel in panels]
    if ax is None:
        size = np.max([kind.size(panel) for panel in panels], axis=0)
        bars = 1 if style.shared else width
        figure, axes = new_axes(above, width, size, _BAR_WIDTH * bars)
    else:
        figure, axes = given_axes(ax, len(panels), "map")
    set_titles(axes, above)
    kind.draw(axes, panels, style)
    return figure


def separate_panels(explanation: Explanation, inputs: Any = None) -> list[Figure]:
    """Return one Figure per input, without a title: what `attributions` draws side by side."""
    pictures = None if inputs is None else host_array(inputs)
    _, found = read_explanations(explanation, pictures)
    kind, style = _KINDS[explanation.values.ndim], Style(None, None, None, shared=False)
    figures = []
    for panel in make_panels(found, pictures, kind.prepare, [""] * len(explanation)):
        figure, axes = new_axes([""], 1, kind.size(panel), _BAR_WIDTH)
        kind.draw(axes, [panel], style)
        figures.append(figure)
    return figures
