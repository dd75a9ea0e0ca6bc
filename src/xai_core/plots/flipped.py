"""`flip`: images beside what is left of them where the predicted class changes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from xai_core import _checks
from xai_core.plots import image
from xai_core.plots.arguments import guess_format, host_array, listed, wrapped
from xai_core.plots.axes import given_axes, new_axes, set_titles
from xai_core.plots.panel import Panel
from xai_core.typing import Array

_PAIRS = 2


def flip(
    inputs: Any,
    masked: Any,
    old: Any,
    new: Any,
    *,
    shares: Any = None,
    titles: Sequence[str] | None = None,
    columns: int | None = None,
    ax: Any = None,
) -> Figure:
    """Draw each image beside its masked copy, with the class of each.

    Images outside [0, 1] are stretched to it (uint8 ones are divided by 255), both of a pair
    alike. Other than three channels are shown as their mean.

    Parameters
    ----------
    inputs : array, shape (N, H, W, C) or (N, C, H, W)
        Images.
    masked : array of the same shape
        What is left of them: see `Deletion.masked`.
    old, new : str, int, or one per image
        Class of the images and of the masked images, names or indices.
    shares : float or array, shape (N,), optional
        Share of each image that is removed: see ``flip_share`` of a `MetricResult`.
    titles : sequence of str, optional
        One per picture, an image and its masked copy in turn, instead of classes and shares.
    columns : int, optional
        Pairs in a row: at most 2 by default.
    ax : array of matplotlib Axes, optional
        Where to draw: one for each picture, an image and its masked copy in turn, in one figure.

    Returns
    -------
    matplotlib.figure.Figure
        Not shown, and unknown to pyplot. That of ``ax`` where given.

    Raises
    ------
    TypeError, ValueError
        If images, classes, shares, titles or axes do not fit each other.

    Examples
    --------
    >>> import numpy as np
    >>> photos = np.random.default_rng(0).random((1, 8, 8, 3))
    >>> figure = flip(photos, photos * (photos < 0.9), "cat", "dog", shares=0.12)
    >>> [panel.get_title() for panel in figure.axes]
    ['cat', 'dog, 12 % removed']
    """
    pictures = _pictures(host_array(inputs), host_array(masked))
    count = len(pictures) // 2
    if titles is None:
        names = _names("old", old, count), _names("new", new, count), _removed(shares, count)
        titles = [text for o, n, share in zip(*names, strict=True) for text in (o, n + share)]
    above = [wrapped(title) for title in listed(titles)]
    if len(above) != len(pictures):
        raise ValueError(
            f"`titles` must hold one title per picture, here {len(pictures)}. "
            f"Received: {len(above)}."
        )
    if ax is None:
        pairs = _PAIRS if columns is None else _checks.integer("columns", columns, 1)
        size = image.size(Panel(pictures[0], None, signed=False))
        figure, axes = new_axes(above, 2 * min(pairs, count), size)
    elif columns is not None:
        raise ValueError(f"`columns` must be left out with `ax`. Received: {columns}.")
    else:
        figure, axes = given_axes(ax, len(pictures), "picture")
    set_titles(axes, above)
    for one, picture in zip(axes, pictures, strict=True):
        one.imshow(picture, cmap="gray", vmin=0, vmax=1)
        one.set_axis_off()
    return figure


def _pictures(inputs: Array, masked: Array) -> list[Array]:
    """Return each image in [0, 1], followed by its masked copy on the same scale."""
    for name, array in (("inputs", inputs), ("masked", masked)):
        if array.dtype.kind not in "fiub":
            raise TypeError(f"`{name}` must hold numbers. Received: dtype {array.dtype}.")
    if inputs.ndim != 4 or inputs.size == 0:
        raise ValueError(
            "`inputs` must be images (N, H, W, C) or (N, C, H, W), with the batch axis. "
            f"Received: shape {inputs.shape}."
        )
    if masked.shape != inputs.shape:
        raise ValueError(
            f"`masked` must have the shape of `inputs`, {inputs.shape}. "
            f"Received: shape {masked.shape}."
        )
    layout = guess_format(inputs)
    scale = 255 if any(x.dtype == np.uint8 and x.max() > 1 for x in (inputs, masked)) else 1
    # Both in one image, which is stretched as a whole.
    axis = 2 if layout == "channels_first" else 1
    both = np.concatenate([inputs / scale, masked / scale], axis=axis)
    shown = image.displayable(both, layout)
    return [half for one in shown for half in np.split(one, 2)]


def _names(name: str, given: Any, count: int) -> list[str]:
    """Return the name of the class of each image."""
    array = np.asarray(given)
    if array.dtype.kind not in "iuUSO" or array.shape not in ((), (count,)):
        raise ValueError(
            f"`{name}` must be the name or the index of a class, or one per image, here {count}. "
            f"Received: {given!r}."
        )
    every = np.broadcast_to(array, (count,)).tolist()
    return [f"class {one}" if isinstance(one, int) else str(one) for one in every]


def _removed(shares: Any, count: int) -> list[str]:
    if shares is None:
        return [""] * count
    array = host_array(shares)
    numbers = array.dtype.kind in "fiu" and array.shape in ((), (count,))
    if not numbers or not ((array >= 0) & (array <= 1)).all():
        raise ValueError(
            f"`shares` must be within [0, 1], one number or one per image, here {count}. "
            f"Received: {shares!r}. Leave out images whose class never changes."
        )
    every = np.broadcast_to(array, (count,))
    return [f", {100 * share:.3g} % removed" for share in every]
