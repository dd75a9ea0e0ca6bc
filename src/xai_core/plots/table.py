"""Attributions of tables: horizontal bars, the largest on top."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from xai_core.plots.color import color_map
from xai_core.plots.panel import Panel, Style
from xai_core.typing import Array

_BARS = 12
_POSITIVE, _NEGATIVE = 0.88, 0.12


def prepare(values: Array, pictures: Array | None, data_format: str) -> tuple[Array, Array | None]:
    """Return the numbers, and the inputs where they are those of the same columns."""
    fits = pictures is not None and pictures.shape == values.shape
    return values, pictures if fits else None


def size(panel: Panel) -> tuple[float, float]:
    """Width and height of an axes, in inches."""
    return 3.6, 0.8 + 0.22 * min(len(panel.values), _BARS)


def draw(axes: Sequence[Axes], panels: Sequence[Panel], style: Style) -> None:
    """Draw the bars of each sample, with their standard error where it is known."""
    if style.clip is not None:
        raise ValueError(
            f"`clip` is for colour scales, and bars have none. Received: {style.clip}. "
            "Leave it out."
        )
    ends = color_map(style.cmap, signed=True)
    for ax, panel in zip(axes, panels, strict=True):
        # A stable sort on -|value| keeps equal ones in the order of the columns, NaN last.
        order = np.argsort(-np.abs(panel.values), kind="stable")[:_BARS]
        values = np.where(np.isfinite(panel.values[order]), panel.values[order], 0)
        colors = [ends(_NEGATIVE if value < 0 else _POSITIVE) for value in values]
        error = None if panel.error is None else panel.error[order]
        lines = np.arange(len(order))
        ax.barh(lines, values, color=colors, alpha=style.alpha, xerr=error, ecolor="gray")
        ax.set_yticks(lines, [_name(panel, column) for column in order], parse_math=False)
        ax.invert_yaxis()
        ax.axvline(0, color="black", linewidth=0.8)
        ax.xaxis.set_major_locator(MaxNLocator(5))
        ax.tick_params(labelsize="x-small")
        ax.spines[["top", "right", "left"]].set_visible(False)
        left_out = len(panel.values) - len(order)
        more = f" ({left_out} smaller ones not shown)" if left_out else ""
        ax.set_xlabel(f"attribution{more}", fontsize="small")
    if style.shared:
        low, high = zip(*(ax.get_xlim() for ax in axes), strict=True)
        for ax in axes:
            ax.set_xlim(min(low), max(high))


def _name(panel: Panel, column: int) -> str:
    name = f"feature {column}"
    if panel.names is not None and len(panel.names) == len(panel.values):
        name = panel.names[column]
    if panel.picture is None:
        return name
    return f"{name} = {_text(panel.picture[column])}"


def _text(value: object) -> str:
    return format(value, ".3g") if isinstance(value, float | np.floating) else str(value)
