"""Maps and images: resize, reduce channels, take high frequencies out, divide into segments."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import keras
import numpy as np
from keras import ops

from xai_core import _backend, _checks
from xai_core._arrays import full_type
from xai_core._segments import superpixels
from xai_core.typing import Array, Tensor

__all__ = [
    "channel_axis",
    "low_pass",
    "reduce_channels",
    "resize",
    "spatial_axes",
    "superpixels",
]

LAYOUTS = ("channels_last", "channels_first")

REDUCERS: dict[str, Callable[..., Tensor]] = {
    "max": ops.max,
    "mean": ops.mean,
    "sum": ops.sum,
    "abs_max": lambda maps, axis: ops.max(ops.abs(maps), axis=axis),
    "abs_mean": lambda maps, axis: ops.mean(ops.abs(maps), axis=axis),
}
"""Ways to reduce channels, by name."""


def channel_axis(rank: int, data_format: str) -> int:
    """The axis of channels in an array of ``rank`` axes, the batch axis included.

    Parameters
    ----------
    rank : int
        Number of axes.
    data_format : {"channels_last", "channels_first"}
        Where channels stand.

    Returns
    -------
    int
        From 1 to ``rank`` - 1.

    Examples
    --------
    >>> channel_axis(4, "channels_last")
    3
    """
    return 1 if data_format == "channels_first" else rank - 1


def spatial_axes(rank: int, data_format: str) -> tuple[int, ...]:
    """The axes of space and time in an array of ``rank`` axes, the batch axis included.

    Parameters
    ----------
    rank : int
        Number of axes.
    data_format : {"channels_last", "channels_first"}
        Where channels stand.

    Returns
    -------
    tuple of int
        In rising order; none for a table.

    Examples
    --------
    >>> spatial_axes(4, "channels_first")
    (2, 3)
    """
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


def low_pass(maps: Any, sigma: float, data_format: str = "channels_last") -> Any:
    r"""Keep the frequencies of maps up to a radius, each channel by itself.

    .. math:: \phi_\sigma = F^{-1}(F(\phi) \odot w_\sigma), \qquad
        w_\sigma(k) = \Bigl[\,L \sqrt{\textstyle\sum_a (k_a / n_a)^2} \le \sigma\Bigr]

    where F is the discrete Fourier transform over the axes of space and time, k_a the number of
    cycles along axis a of length n_a, and L the longest of these lengths. For square maps this is
    a disk of frequencies. The mean of a map always stays.

    Parameters
    ----------
    maps : array or tensor, (N, T, C), (N, H, W, C), (N, D, H, W, C), or with channels first
        Series, images or volumes. Tensors of the framework are filtered on their device, also
        within a compiled function.
    sigma : float
        The radius, in cycles per longest side. From L on nothing is taken out.
    data_format : {"channels_last", "channels_first"}
        Where channels stand.

    Returns
    -------
    array or tensor
        As ``maps``, of its shape and float type (float32 for integers), computed at least in
        float32, and in float64 where ``maps`` has it and the framework too.

    Raises
    ------
    TypeError, ValueError
        If ``maps`` has no axis of space, or ``sigma`` is no positive finite number.

    Notes
    -----
    Muzellec et al., 2023, "Gradient strikes back: How filtering out high frequencies improves
    explanations", https://arxiv.org/abs/2307.09591

    Examples
    --------
    >>> import numpy as np
    >>> waves = 1 + np.cos(2 * np.pi * 3 * np.arange(16) / 16).reshape(1, 16, 1)
    >>> float(abs(low_pass(waves, sigma=2) - 1).max().round(6))
    0.0
    """
    check_sigma(sigma)
    _checks.choice("data_format", data_format, LAYOUTS)
    array = maps if ops.is_tensor(maps) else np.asarray(maps)
    rank = len(array.shape)
    if not 3 <= rank <= 5:
        raise ValueError(
            "`maps` must have axes of space or time: (N, T, C), (N, H, W, C) or (N, D, H, W, C). "
            f"Received: shape {tuple(array.shape)}."
        )
    axes = spatial_axes(rank, data_format)
    mask = frequency_mask([int(array.shape[axis]) for axis in axes], sigma)
    kept = filtered(ops.convert_to_tensor(array), ops.convert_to_tensor(mask), axes)
    if ops.is_tensor(maps):
        return kept
    dtype = array.dtype if array.dtype.kind == "f" else "float32"
    return _backend.to_host(kept).astype(dtype)


def check_sigma(sigma: Any) -> None:
    """Raise unless ``sigma`` is a positive finite number."""
    if _checks.number("sigma", sigma) <= 0:
        raise ValueError(f"`sigma` must be positive. Received: {sigma}.")


def frequency_mask(lengths: Sequence[int], sigma: float) -> Array:
    """Which frequencies `filtered` keeps of maps with these lengths, 1 or 0.

    The last axis holds the frequencies from 0 to half its length only, since maps are real; the
    first axis is there to be repeated over the maps.
    """
    squares = [(np.fft.fftfreq(length) * max(lengths)) ** 2 for length in lengths]
    squares[-1] = squares[-1][: lengths[-1] // 2 + 1]
    radius = np.sqrt(sum(np.ix_(*squares), start=np.zeros(())))
    # Rounding in float64 must not put a radius out that equals sigma.
    return (radius <= sigma * (1 + 1e-12)).astype("float32")[None]


def filtered(maps: Tensor, mask: Tensor, axes: Sequence[int]) -> Tensor:
    """The part of ``maps`` at the frequencies that ``mask`` keeps along ``axes``."""
    n, axes, ends = len(axes), tuple(axes), tuple(range(-len(axes), 0))
    dtype = full_type(maps.dtype)
    spectrum: Any = ops.rfft(ops.moveaxis(ops.cast(maps, dtype), axes, ends))
    # Keras transforms the last axis, so the others take turns there.
    for _ in range(n - 1):
        spectrum = ops.fft(_turned(spectrum, -1, -n))
        mask = ops.moveaxis(mask, -1, -n)
    real, imaginary = spectrum
    mask = ops.cast(mask, dtype)
    # The conjugate of the inverse is the transform of the conjugate, but for the number of terms.
    spectrum = (real * mask, -imaginary * mask)
    for _ in range(n - 1):
        spectrum = _turned(ops.fft(spectrum), -n, -1)
    real, imaginary = spectrum
    lengths = [int(maps.shape[axis]) for axis in axes]
    kept: Any = ops.irfft((real, -imaginary), fft_length=lengths[-1])
    result = ops.moveaxis(kept / math.prod(lengths[:-1]), ends, axes)
    return ops.cast(result, maps.dtype) if _is_float(maps) else result


def _turned(spectrum: Any, source: int, destination: int) -> Any:
    return tuple(ops.moveaxis(part, source, destination) for part in spectrum)


def _is_float(maps: Tensor) -> bool:
    return keras.backend.is_float_dtype(keras.backend.standardize_dtype(maps.dtype))
