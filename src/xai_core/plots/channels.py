"""`series`: the curve of every channel, coloured by what each time step contributes."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import Colormap
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from xai_core import _checks
from xai_core.plots import time_series
from xai_core.plots.arguments import (
    host_array,
    listed,
    make_panels,
    panel_titles,
    percent,
    read_explanations,
    sample_columns,
)
from xai_core.plots.axes import given_axes, new_stacks, set_titles
from xai_core.plots.color import Scale, color_map, draw_bars, scales
from xai_core.plots.panel import Panel, Style
from xai_core.typing import Array

_SERIES = 3
_UNSIGNED, _BAND = "Reds", 4.0
_SIZE = 4.6, 0.85
_BAR_WIDTH = 0.7
_WRAP = 2
_NAME_WIDTH, _NAME_LINES = 14, 3


def series(
    explanations: Any,
    inputs: Any = None,
    *,
    feature_names: Sequence[str] | None = None,
    titles: Sequence[str] | None = None,
    cmap: str | Colormap | None = None,
    clip: float | None = None,
    scale: str = "map",
    columns: int | None = None,
    ax: Any = None,
) -> Figure:
    """Draw each channel of a series as a curve, coloured by its contributions.

    The channels of a sample stand below each other, in their own units; the samples of a single
    explanation side by side, and several explanations too, one column each. A map without a
    channel axis, (N, T, 1), colours all channels alike. Maps of an explanation that has a negative
    value lie on a diverging colormap, its middle at 0.

    Parameters
    ----------
    explanations : Explanation, array, list of these, or dict {title: Explanation or array}
        Of the same N series, (N, T, W) or (N, T, 1), with channels first (N, W, T) or (N, 1, T).
        An array is taken to be channels last.
    inputs : array, shape (N, T, W) or (N, W, T), optional
        The series. Explanations hold them.
    feature_names : sequence of str, optional
        One per channel. By default those of the Explanation, else numbers.
    titles : sequence of str, optional
        One per sample and explanation, row by row; or one per explanation. By default as in
        `attributions`.
    cmap : str or matplotlib.colors.Colormap, optional
        For signed maps, its middle is at 0.
    clip : float in [0, 50), optional
        Percent of the contributions at each end that may leave the colour scale: 0.5 by default.
    scale : {"map", "shared"}
        One colour scale for each sample and explanation, or one for all. Values of different
        methods have different units, so that "shared" is mostly of use within a method.
    columns : int, optional
        Samples in a row, for a single explanation: at most 2 by default.
    ax : matplotlib Axes or array of Axes, optional
        Where to draw: one for each channel of each sample, sample by sample, in one figure.

    Returns
    -------
    matplotlib.figure.Figure
        Not shown, and unknown to pyplot. That of ``ax`` where given.

    Raises
    ------
    TypeError, ValueError
        If something else than series is given, there are no inputs or they do not fit, or names,
        titles or axes do not fit.

    Examples
    --------
    >>> import numpy as np
    >>> waves = np.sin(np.arange(40)[:, None] / [3, 5])[None]
    >>> figure = series(waves**2, waves, feature_names=["pulse", "pressure"])
    >>> [ax.get_ylabel() for ax in figure.axes[:2]]
    ['pulse', 'pressure']
    """
    clip = None if clip is None else percent(clip)
    shared = _checks.choice("scale", scale, ("map", "shared")) == "shared"
    style = Style(cmap, None, clip, shared)
    curves = None if inputs is None else host_array(inputs)
    heads, found = read_explanations(explanations, curves, (_SERIES,))
    width = sample_columns(columns, found, ax, _WRAP)
    above = panel_titles(titles, heads, found)
    panels = [_checked(panel) for panel in make_panels(found, curves, time_series.prepare, above)]
    names = _names(panels[0], feature_names)
    height = len(names)
    if ax is None:
        bars = 1 if shared else width
        figure, axes = new_stacks(above, width, height, _SIZE, _BAR_WIDTH * bars)
    else:
        figure, axes = given_axes(ax, len(panels) * height, "channel of a sample")
    stacks = [axes[k : k + height] for k in range(0, len(axes), height)]
    set_titles([stack[0] for stack in stacks], above)
    drawn = [
        replace(one, cmap=color_map(_UNSIGNED, signed=False))
        if cmap is None and not one.signed
        else one
        for one in scales(panels, style)
    ]
    for stack, panel, one in zip(stacks, panels, drawn, strict=True):
        _draw(stack, panel, one, names)
    for group, one in [(axes, drawn[0])] if shared else zip(stacks, drawn, strict=True):
        draw_bars(group, [one] * len(group))
    return figure


def _checked(panel: Panel) -> Panel:
    """Return the panel with one curve per channel, and as many steps in its map."""
    if panel.picture is None:
        raise ValueError(
            "`inputs` must be given, the curves that are coloured: the explanations hold none. "
            "Received: None."
        )
    (steps, channels), shape = panel.picture.shape, panel.values.shape
    if shape not in ((steps, channels), (steps, 1)):
        raise ValueError(
            f"`explanations` must have a number for each of {steps} steps of each channel, here "
            f"{channels}, or of all channels together. Received: maps (T, W) of shape {shape}."
        )
    return panel


def _names(panel: Panel, given: Sequence[str] | None) -> list[str]:
    channels = 0 if panel.picture is None else panel.picture.shape[1]
    if given is not None and len(listed(given, "feature_names")) != channels:
        raise ValueError(
            f"`feature_names` must hold one name per channel, here {channels}. "
            f"Received: {len(given)}."
        )
    names = panel.names if given is None else tuple(listed(given))
    if names is None or len(names) != channels:
        names = tuple(f"channel {k}" for k in range(channels))
    return [_wrapped(name) for name in names]


def _wrapped(name: str) -> str:
    lines = textwrap.wrap(name, _NAME_WIDTH, max_lines=_NAME_LINES, placeholder=" ...")
    return "\n".join(lines)


def _draw(axes: Sequence[Axes], panel: Panel, scale: Scale, names: Sequence[str]) -> None:
    values, curves = panel.values, np.asarray(panel.picture)
    for channel, (ax, name) in enumerate(zip(axes, names, strict=True)):
        curve = np.where(np.isfinite(curves[:, channel]), curves[:, channel], np.nan)
        pieces = _pieces(curve)
        colors = values[:, min(channel, values.shape[1] - 1)]
        # What contributes most covers its neighbours.
        order = np.argsort(np.abs(colors), kind="stable")
        # Where nothing is contributed the colour is nearly that of the paper.
        ax.plot(np.arange(len(curve)), curve, color="0.25", linewidth=0.7, zorder=2)
        ax.add_collection(
            LineCollection(
                list(pieces[order]),
                array=colors[order],
                cmap=scale.cmap,
                norm=scale.norm,
                linewidths=_BAND,
                capstyle="round",
                zorder=1,
            )
        )
        ax.set_ylabel(name, rotation=0, ha="right", va="center", fontsize="small", parse_math=False)
        ax.yaxis.set_major_locator(MaxNLocator(3))
        ax.tick_params(labelsize="x-small", labelbottom=ax is axes[-1])
        ax.spines[["top", "right"]].set_visible(False)
    axes[-1].set_xlabel("time step", fontsize="small")


def _pieces(curve: Array) -> Array:
    """Return the part of the curve around each step, from half-way before to half-way behind."""
    steps = np.arange(len(curve), dtype=np.float64)
    own = np.stack([steps, curve], axis=-1)
    middle = own[1:] / 2 + own[:-1] / 2
    ends = np.concatenate([own[:1], middle]), np.concatenate([middle, own[-1:]])
    # Beside a gap the part ends at the step itself, so that a lone one is a dot.
    before, after = (np.where(np.isnan(end[:, 1:]), own, end) for end in ends)
    return np.stack([before, own, after], axis=1)
