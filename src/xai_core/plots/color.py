"""Colour scales of maps: robust limits, centred at 0 where there are negative values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, Normalize
from matplotlib.ticker import MaxNLocator

from xai_core.plots.panel import Panel, Style
from xai_core.typing import Array

_CLIP = 0.5
_SEQUENTIAL, _DIVERGING = "inferno", "RdBu_r"
_POSITIVE, _NEGATIVE = 0.88, 0.12


@dataclass(frozen=True, eq=False)
class Scale:
    """From values to colours."""

    norm: Normalize
    cmap: Colormap
    signed: bool


def color_map(cmap: str | Colormap | None, signed: bool) -> Colormap:
    """Return the colormap asked for, else the default of signed or of unsigned maps."""
    default = _DIVERGING if signed else _SEQUENTIAL
    return matplotlib.colormaps.get_cmap(default if cmap is None else cmap)


def signed_colors(values: Array, cmap: str | Colormap | None) -> list[Any]:
    """Return the colour of each bar: nearly the upper end of the colormap, or the lower one."""
    ends = color_map(cmap, signed=True)
    return [ends(_NEGATIVE if value < 0 else _POSITIVE) for value in values]


def limits(values: Array, clip: float, signed: bool) -> tuple[float, float]:
    """Return the values at the two ends of the scale; always finite, and low < high.

    Percentiles ``clip`` and 100 - ``clip``, or plus and minus the percentile 100 - ``clip`` of the
    magnitudes. Where they coincide (a few pixels of a sparse map) the extremes are taken, and for
    a constant map the scale goes from 0 to its value.
    """
    # float64: the difference of two float32 extremes may overflow.
    finite = values[np.isfinite(values)].astype(np.float64)
    if finite.size == 0:
        return 0.0, 1.0
    if signed:
        magnitude = np.abs(finite)
        top = float(np.percentile(magnitude, 100 - clip)) or float(magnitude.max()) or 1.0
        return -top, top
    low, high = (float(end) for end in np.percentile(finite, [clip, 100 - clip]))
    if low == high:
        low, high = float(finite.min()), float(finite.max())
    if low == high:
        low, high = 0.0, high or 1.0
    return low, high


def scales(panels: Sequence[Panel], style: Style) -> list[Scale]:
    """Return the colour scale of each panel; it is one object where the scale is shared."""
    clip = _CLIP if style.clip is None else style.clip

    def scale(values: Array, signed: bool) -> Scale:
        low, high = limits(values, clip, signed)
        return Scale(Normalize(low, high), color_map(style.cmap, signed), signed)

    if not style.shared:
        return [scale(panel.values, panel.signed) for panel in panels]
    values = np.concatenate([panel.values.ravel() for panel in panels])
    return [scale(values, any(panel.signed for panel in panels))] * len(panels)


def draw_bars(axes: Sequence[Axes], drawn: Sequence[Scale]) -> None:
    """Draw one colour bar beside all axes where their scale is shared, else one beside each."""
    if drawn[0] is drawn[-1]:
        groups = [(list(axes), drawn[0])]
    else:
        groups = [([ax], scale) for ax, scale in zip(axes, drawn, strict=True)]
    for group, scale in groups:
        place: dict[str, Any] = {"fraction": 0.046, "pad": 0.03} if len(group) == 1 else {}
        mappable = ScalarMappable(scale.norm, scale.cmap)
        bar = axes[0].figure.colorbar(mappable, ax=group, aspect=30, **place)
        bar.locator = MaxNLocator(4)
        bar.ax.tick_params(labelsize="x-small")
        bar.outline.set_visible(False)
        bar.update_ticks()
