"""Maps and images as tensors: resize, reduce channels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np
from keras import ops

from xai_core.typing import Array, Tensor

__all__ = ["REDUCERS", "channel_axis", "reduce_channels", "resize", "spatial_axes"]

REDUCERS: dict[str, Callable[..., Tensor]] = {
    "max": ops.max,
    "mean": ops.mean,
    "sum": ops.sum,
    "abs_max": lambda maps, axis: ops.max(ops.abs(maps), axis=axis),
    "abs_mean": lambda maps, axis: ops.mean(ops.abs(maps), axis=axis),
}
"""Ways to reduce channels, by name."""


def channel_axis(rank: int, data_format: str) -> int:
    """The axis of channels in an array of ``rank`` axes, the batch axis included."""
    return 1 if data_format == "channels_first" else rank - 1


def spatial_axes(rank: int, data_format: str) -> tuple[int, ...]:
    """The axes of space and time in an array of ``rank`` axes, the batch axis included."""
    channels = channel_axis(rank, data_format)
    return tuple(axis for axis in range(1, rank) if axis != channels)


def reduce_channels(maps: Tensor, reducer: Any, axis: int) -> Tensor:
    """One number per position, the channel axis kept with length 1.

    Parameters
    ----------
    maps : tensor, (N, ..., C) or (N, C, ...)
        Attributions per channel.
    reducer : str, callable or None
        A name in `REDUCERS`, or a function ``(maps, axis) -> maps`` without that axis, such as
        `keras.ops.min`. None changes nothing.
    axis : int
        The axis of channels.

    Returns
    -------
    tensor
        Of the same rank as ``maps``.

    Raises
    ------
    ValueError
        If a callable does not remove that axis.

    Examples
    --------
    >>> from keras import ops
    >>> tuple(reduce_channels(ops.ones((2, 4, 4, 3)), "sum", axis=3).shape)
    (2, 4, 4, 1)
    """
    if reducer is None:
        return maps
    reduced: Any = (reducer if callable(reducer) else REDUCERS[reducer])(maps, axis=axis)
    wanted = [size for k, size in enumerate(maps.shape) if k != axis]
    if list(reduced.shape)[1:] != wanted[1:]:
        raise ValueError(
            f"`reducer` must remove the channel axis {axis} of maps of shape "
            f"{tuple(maps.shape)}. Received: a function that returns shape {tuple(reduced.shape)}."
        )
    return ops.expand_dims(reduced, axis)


def resize(maps: Tensor, size: Sequence[int], axes: Sequence[int]) -> Tensor:
    """Linear interpolation along each of ``axes``, with half-pixel centres.

    Along one axis, output position i reads the input at (i + 1/2) n/m - 1/2, clamped to the
    edge, where n is the input's length and m the output's. This is bilinear for two axes and
    trilinear for three.

    Parameters
    ----------
    maps : tensor
        Any rank.
    size : sequence of int
        New length of each of ``axes``.
    axes : sequence of int
        Which axes change.

    Returns
    -------
    tensor
        Of the same rank as ``maps``.

    Examples
    --------
    >>> from keras import ops
    >>> tuple(resize(ops.ones((1, 2, 2, 1)), (8, 6), axes=(1, 2)).shape)
    (1, 8, 6, 1)
    """
    for axis, length in zip(axes, size, strict=True):
        if maps.shape[axis] != length:
            weights = ops.convert_to_tensor(_weights(int(maps.shape[axis]), int(length)))
            moved = ops.matmul(ops.moveaxis(maps, axis, -1), ops.cast(weights, maps.dtype))
            maps = ops.moveaxis(moved, -1, axis)
    return maps


@cache
def _weights(length: int, new: int) -> Array:
    position = np.clip((np.arange(new) + 0.5) * length / new - 0.5, 0, length - 1)
    left = np.minimum(position.astype(int), max(length - 2, 0))
    share = position - left
    weights = np.zeros((length, new), "float32")
    weights[left, np.arange(new)] += 1 - share
    weights[np.minimum(left + 1, length - 1), np.arange(new)] += share
    return weights
