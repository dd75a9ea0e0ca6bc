"""Attributions of tables: horizontal bars, the largest on top."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from xai_core.plots.axes import label_rows, share_limits
from xai_core.plots.color import signed_colors
from xai_core.plots.feature import MAX_DISPLAY, label, largest_first
from xai_core.plots.panel import Panel, Style
from xai_core.typing import Array


def prepare(values: Array, pictures: Array | None, data_format: str) -> tuple[Array, Array | None]:
    """Return the numbers, and the inputs where they are those of the same columns."""
    fits = pictures is not None and pictures.shape == values.shape
    return values, pictures if fits else None


def size(panel: Panel) -> tuple[float, float]:
    """Width and height of an axes, in inches."""
    return 3.6, 0.8 + 0.22 * min(len(panel.values), MAX_DISPLAY)


def draw(axes: Sequence[Axes], panels: Sequence[Panel], style: Style) -> None:
    """Draw the bars of each sample, with their standard error where it is known."""
    if style.clip is not None:
        raise ValueError(
            f"`clip` is for colour scales, and bars have none. Received: {style.clip}. "
            "Leave it out."
        )
    for ax, panel in zip(axes, panels, strict=True):
        order = largest_first(panel.values)[:MAX_DISPLAY]
        values = np.where(np.isfinite(panel.values[order]), panel.values[order], 0)
        colors = signed_colors(values, style.cmap)
        error = None if panel.error is None else panel.error[order]
        label_rows(ax, [_label(panel, column) for column in order])
        lines = np.arange(len(order))
        ax.barh(lines, values, color=colors, alpha=style.alpha, xerr=error, ecolor="gray")
        ax.axvline(0, color="black", linewidth=0.8)
        left_out = len(panel.values) - len(order)
        more = f" ({left_out} smaller ones not shown)" if left_out else ""
        ax.set_xlabel(f"attribution{more}", fontsize="small")
    if style.shared:
        share_limits(axes)


def _label(panel: Panel, column: int) -> str:
    name = f"feature {column}"
    if panel.names is not None and len(panel.names) == len(panel.values):
        name = panel.names[column]
    return label(name) if panel.picture is None else label(name, panel.picture[column])
