"""Maps of series: one strip per feature, with its curve drawn on it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from xai_core.plots.color import draw_bars, scales
from xai_core.plots.panel import Panel, Style
from xai_core.typing import Array

_ALPHA = 0.6
_NAMED = 24
_LANE = 0.8


def prepare(values: Array, pictures: Array | None, data_format: str) -> tuple[Array, Array | None]:
    """Return maps (N, T, W) and curves (N, T, W)."""
    if data_format == "channels_first":
        values = values.swapaxes(1, 2)
        pictures = None if pictures is None else pictures.swapaxes(1, 2)
    return values, None if pictures is None else pictures.astype(np.float64)


def size(panel: Panel) -> tuple[float, float]:
    """Width and height of an axes, in inches."""
    return 4.2, 0.7 + 0.4 * min(max(_shape(panel)[1], 2), _NAMED)


def draw(axes: Sequence[Axes], panels: Sequence[Panel], style: Style) -> None:
    """Draw strips, curves and the colour bars."""
    drawn = scales(panels, style)
    for ax, panel, scale in zip(axes, panels, drawn, strict=True):
        alpha = _ALPHA if style.alpha is None and panel.picture is not None else style.alpha
        steps, features = _shape(panel)
        ax.imshow(
            panel.values.T,
            cmap=scale.cmap,
            norm=scale.norm,
            alpha=alpha,
            aspect="auto",
            interpolation="nearest",
            extent=(-0.5, steps - 0.5, features - 0.5, -0.5),
        )
        if panel.picture is not None:
            for lane in range(features):
                curve = lane - _LANE * (_unit(panel.picture[:, lane]) - 0.5)
                ax.plot(np.arange(steps), curve, color="black", linewidth=1.0)
        _label(ax, features, panel.names)
    draw_bars(axes, drawn)


def _shape(panel: Panel) -> tuple[int, int]:
    steps, features = (panel.values if panel.picture is None else panel.picture).shape
    return steps, features


def _unit(curve: Array) -> Array:
    """Return the curve within [0, 1]; constant ones in the middle, gaps (NaN) kept."""
    finite = curve[np.isfinite(curve)]
    if finite.size == 0 or finite.min() == finite.max():
        return np.where(np.isfinite(curve), 0.5, np.nan)
    low, high = finite.min(), finite.max()
    return np.where(np.isfinite(curve), (curve / 2 - low / 2) / (high / 2 - low / 2), np.nan)


def _label(ax: Axes, features: int, names: tuple[str, ...] | None) -> None:
    ax.set_xlabel("time step", fontsize="small")
    ax.tick_params(labelsize="x-small")
    if names is None or len(names) != features or features > _NAMED:
        ax.yaxis.set_major_locator(MaxNLocator(min(features, 8), integer=True))
        ax.set_ylabel("feature", fontsize="small")
    else:
        ax.set_yticks(np.arange(features), names, parse_math=False)
