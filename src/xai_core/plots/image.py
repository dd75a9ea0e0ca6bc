"""Maps of images, over the image or alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from xai_core.plots.color import draw_bars, scales
from xai_core.plots.panel import Panel, Style
from xai_core.typing import Array

_ALPHA = {False: 0.5, True: 0.6}
"""Of maps over a picture, unsigned and signed."""
_WIDTH = 2.4
_COLORS = 3
_LUMA = np.array([0.299, 0.587, 0.114])


def heat(values: Array, data_format: str) -> Array:
    """Return maps (N, H, W): the sum over the channels, which keeps completeness."""
    channels = _channels_last(values, data_format).astype(np.float64)
    return np.where(np.isfinite(channels), channels, np.nan).sum(axis=-1)


def displayable(images: Array, data_format: str) -> Array:
    """Return images in [0, 1], of shape (N, H, W, 3), or (N, H, W) where grey.

    uint8 images are divided by 255, images that leave [0, 1] are stretched to it one by one,
    and anything but three channels is shown as their mean.
    """
    images = _channels_last(images, data_format)
    if images.dtype == np.uint8 and images.size and images.max() > 1:
        images = images / 255
    images = images.astype(np.float64)
    images = np.where(np.isfinite(images), images, 0)
    if images.shape[-1] != _COLORS:
        images = images.mean(axis=-1)
    return np.stack([_stretched(image) for image in images])


def prepare(values: Array, pictures: Array | None, data_format: str) -> tuple[Array, Array | None]:
    """Return maps (N, H, W) and what they are drawn over."""
    shown = None if pictures is None else displayable(pictures, data_format)
    return heat(values, data_format), shown


def size(panel: Panel) -> tuple[float, float]:
    """Width and height of an axes, in inches."""
    height, width = (panel.values if panel.picture is None else panel.picture).shape[:2]
    return _WIDTH, _WIDTH * min(max(height / width, 0.25), 4.0)


def draw(axes: Sequence[Axes], panels: Sequence[Panel], style: Style) -> None:
    """Draw each map over its image, and the colour bars."""
    drawn = scales(panels, style)
    for ax, panel, scale in zip(axes, panels, drawn, strict=True):
        over = style.alpha is None and panel.picture is not None
        alpha = _ALPHA[scale.signed] if over else style.alpha
        height, width = (panel.values if panel.picture is None else panel.picture).shape[:2]
        place: dict[str, Any] = {"extent": (-0.5, width - 0.5, height - 0.5, -0.5)}
        if panel.picture is not None:
            # Where the hue tells the sign, the hues of the photo would mislead, and so would its
            # dark parts, under which small values look like large ones.
            shown = (2 + _gray(panel.picture)) / 3 if scale.signed else panel.picture
            ax.imshow(shown, cmap="gray", vmin=0, vmax=1, **place)
        ax.imshow(panel.values, cmap=scale.cmap, norm=scale.norm, alpha=alpha, **place)
        ax.set_axis_off()
    draw_bars(axes, drawn)


def _channels_last(array: Array, data_format: str) -> Array:
    return np.moveaxis(array, 1, -1) if data_format == "channels_first" else array


def _gray(picture: Array) -> Array:
    """Return the brightness of a picture (ITU-R BT.601 weights)."""
    return picture @ _LUMA if picture.ndim == _COLORS else picture


def _stretched(image: Array) -> Array:
    low, high = image.min(), image.max()
    if low >= 0 and high <= 1:
        return image
    if low == high:
        return np.clip(image, 0, 1)
    # Halves first: the range of extreme float64 values would overflow.
    return (image / 2 - low / 2) / (high / 2 - low / 2)
