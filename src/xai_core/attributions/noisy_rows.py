"""Rows with noise: how much of it, which, and made where the model computes."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from keras import ops

from xai_core import _backend, images, sampling
from xai_core._inputs import chunks, host
from xai_core._request import Group, Request
from xai_core.attributions.shared_steps import shared_step
from xai_core.typing import Array, Tensor


def spread(noise: Any, scale: str, x: Array, request: Request) -> Array:
    """Standard deviation of the noise of some rows, (n, ...), which broadcasts against them.

    ``scale`` "range" means shares of each sample's range, of a series feature by feature;
    "absolute" the inputs' own units.
    """
    noise = host(noise).astype("float32")
    if scale == "range":
        axes = tuple(range(1, x.ndim))
        if x.ndim == 3:
            axes = images.spatial_axes(3, request.layout(3))
        # Small integers would overflow, and booleans have no difference.
        high, low = (f(axis=axes, keepdims=True).astype("float64") for f in (x.max, x.min))
        return (noise * (high - low)).astype("float32")
    shape = x.shape[1:]
    sides = zip(noise.shape[::-1], shape[::-1], strict=False)
    if noise.ndim > len(shape) or any(size not in (1, side) for size, side in sides):
        raise ValueError(
            f"`noise` must broadcast against a sample of shape {shape}. "
            f"Received: shape {noise.shape}."
        )
    return np.repeat(noise.reshape(1, *[1] * (len(shape) - noise.ndim), *noise.shape), len(x), 0)


def noisy_groups(
    explainer: Any, group: Group, given: Any
) -> Iterator[tuple[Group, Tensor, Tensor]]:
    """Full batches of noisy rows of a group.

    Parameters
    ----------
    explainer
        Has the fields ``n_samples``, ``noise``, ``noise_scale`` and ``seed``.
    group
        Rows without noise.
    given
        Their (floats, integers, targets) as tensors.

    Yields
    ------
    Group
        The noisy rows.
    tensor of int32, tensor
        For each row of the batch, padding included, the row of ``group`` that it comes from, and
        its weight: 0 for padding.
    """
    request, size = group.request, explainer._batch_size
    leaves = request.batch.float_leaves()
    settings = explainer.noise, explainer.noise_scale
    spreads = tuple(group.to_device(spread(*settings, x[group.rows], request)) for x in leaves)
    key = group.sent(sampling.seed_words(explainer.seed))
    layouts = [request.layout(x.ndim, needed=False) for x in leaves]
    channels = tuple(map(images.channel_axis, [x.ndim for x in leaves], layouts))
    own = np.arange(len(request.batch))[group.rows]
    for rows, (numbers, place, index, weight) in _batches(group, explainer.n_samples, size):
        arguments = given, spreads, key, numbers, place, index
        arrays = request.model.arrays
        noisy = shared_step(group, _with_noise, *arguments, arrays=arrays, channels=channels)
        yield Group(request, own[rows], size, noisy), index, weight


def _batches(group: Group, n_samples: int, size: int) -> Iterator[tuple[Array, list[Tensor]]]:
    """Cut the rows (sample, input) of a group into batches.

    Gives the input of each row, and where the model computes: the numbers of the samples in the
    batch, and for each row the place of its sample among them, its input, and its weight.
    """
    count = len(group)
    fixed = _backend.FIXED_SHAPES and not group.request.model.on_host
    for part in chunks(n_samples * count, size):
        row = np.arange(part.start, part.stop)
        sample, rows = row // count, row % count
        numbers = np.arange(sample[0], sample[-1] + 1)
        place, index, weight = sample - sample[0], rows, np.ones(len(row), "float32")
        if fixed:
            # One shape for all batches: the most samples that one can hold parts of.
            numbers = sample[0] + np.arange((size - 2) // count + 2)
            missing = (0, size - len(row))
            place, index = (np.pad(x, missing, mode="edge") for x in (place, index))
            weight = np.pad(weight, missing)
        arrays = [x.astype("int32") for x in (numbers, place, index)]
        yield rows, [group.sent(x) for x in (*arrays, weight)]


def _with_noise(
    given: Any,
    spreads: tuple[Tensor, ...],
    key: Tensor,
    numbers: Tensor,
    place: Tensor,
    index: Tensor,
    *,
    arrays: Any,
    channels: tuple[int, ...],
) -> Any:
    """The rows of a batch with noise, their integers and their targets."""
    floats, integers, targets = (
        tuple(arrays.take(x, index, axis=0) for x in leaves) for leaves in given
    )
    noisy, first = [], 0
    for x, spread, channel in zip(floats, spreads, channels, strict=True):
        # Drawn as channels last, so that both layouts of an image have the same noise.
        shape = [side for axis, side in enumerate(x.shape) if axis not in (0, channel)]
        shape.append(x.shape[channel])
        size = math.prod(shape)
        drawn: Any = ops.reshape(sampling.normal(key, numbers, size, first), (-1, *shape))
        drawn = ops.moveaxis(drawn, -1, channel)
        if arrays is np:
            drawn = _backend.to_host(drawn)
        noise = arrays.take(spread, index, axis=0) * arrays.take(drawn, place, axis=0)
        noisy.append(x + (noise if arrays is np else ops.cast(noise, x.dtype)))
        first += size + size % 2
    return tuple(noisy), integers, targets
