"""Rows with noise: how much of it, which, and made where the model computes."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from keras import ops

from xai_core import _backend, images, sampling
from xai_core._inputs import chunks, host
from xai_core._request import Group, Request
from xai_core.attributions.shared_steps import shared_step
from xai_core.typing import Array, Tensor


class NoisyGroup(NamedTuple):
    """A batch of noisy rows, and tensors that tell of each of them, padding included.

    ``source`` is the row of the group without noise that it comes from, ``weight`` 0 for padding.
    """

    group: Group
    source: Tensor
    weight: Tensor


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


def noisy_groups(explainer: Any, group: Group, given: Any) -> Iterator[NoisyGroup]:
    """Full batches of noisy rows of a group.

    Parameters
    ----------
    explainer
        Has the fields ``n_samples``, ``noise``, ``noise_scale`` and ``seed``.
    group
        Rows without noise.
    given
        Their (floats, integers, targets).
    """
    request, size = group.request, explainer._batch_size
    leaves = request.batch.float_leaves()
    settings = explainer.noise, explainer.noise_scale
    spreads = tuple(group.to_device(spread(*settings, x[group.rows], request)) for x in leaves)
    device = request.model.device
    key = _backend.to_device(sampling.seed_words(explainer.seed), device)
    layouts = [request.layout(x.ndim, needed=False) for x in leaves]
    channels = tuple(map(images.channel_axis, [x.ndim for x in leaves], layouts))
    static = {"shapes": tuple(x.shape[1:] for x in leaves), "channels": channels}
    own = np.arange(len(request.batch))[group.rows]
    for batch in _batches(group, explainer.n_samples, size):
        numbers, place, source, weight = (_backend.to_device(x, device) for x in batch)
        if request.model.on_host:
            drawn = map(_backend.to_host, shared_step(_drawn, key, numbers, **static))
            noisy = _moved(np, given, spreads, drawn, batch.place, batch.source)
        else:
            arguments = given, spreads, key, numbers, place, source
            noisy = shared_step(_with_noise, *arguments, **static)
        rows = own[batch.source[batch.weight > 0]]
        yield NoisyGroup(Group(request, rows, size, noisy), source, weight)


class _Batch(NamedTuple):
    """The numbers of the samples in a batch, and facts of its rows.

    ``place`` is that of the row's sample among them; the rest is as in `NoisyGroup`.
    """

    numbers: Array
    place: Array
    source: Array
    weight: Array


def _batches(group: Group, n_samples: int, size: int) -> Iterator[_Batch]:
    """Cut the rows (sample, input) of a group into batches."""
    count = len(group)
    for part in chunks(n_samples * count, size):
        row = np.arange(part.start, part.stop)
        sample, source = row // count, row % count
        numbers = np.arange(sample[0], sample[-1] + 1)
        place, weight = sample - sample[0], np.ones(len(row), "float32")
        if _backend.FIXED_SHAPES:
            # One shape for all batches: the most samples that one can hold parts of.
            most = (size - 1 - math.gcd(size, count)) // count + 2
            numbers = sample[0] + np.arange(most)
            missing = (0, 0 if group.request.model.on_host else size - len(row))
            place, source = (np.pad(x, missing, mode="edge") for x in (place, source))
            weight = np.pad(weight, missing)
        numbers, place, source = (x.astype("int32") for x in (numbers, place, source))
        yield _Batch(numbers, place, source, weight)


def _with_noise(
    given: Any,
    spreads: tuple[Tensor, ...],
    key: Tensor,
    numbers: Tensor,
    place: Tensor,
    source: Tensor,
    *,
    shapes: tuple[tuple[int, ...], ...],
    channels: tuple[int, ...],
) -> Any:
    """The rows of a batch with noise, their integers and their targets."""
    drawn = _drawn(key, numbers, shapes=shapes, channels=channels)
    return _moved(ops, given, spreads, drawn, place, source)


def _drawn(
    key: Tensor,
    numbers: Tensor,
    *,
    shapes: tuple[tuple[int, ...], ...],
    channels: tuple[int, ...],
) -> tuple[Tensor, ...]:
    """Standard normal numbers of some samples for inputs of some shapes, (n, ...) each.

    Drawn as channels last, so that both layouts of an image have the same.
    """
    found, first = [], 0
    for shape, channel in zip(shapes, channels, strict=True):
        last = [side for axis, side in enumerate(shape, start=1) if axis != channel]
        last.append(shape[channel - 1])
        size = math.prod(shape)
        drawn = ops.reshape(sampling.normal(key, numbers, size, first), (-1, *last))
        found.append(ops.moveaxis(drawn, -1, channel))
        first += size + size % 2
    return tuple(found)


def _moved(
    arrays: Any, given: Any, spreads: Any, drawn: Any, place: Tensor, source: Tensor
) -> tuple[tuple[Any, ...], ...]:
    floats, integers, targets = (
        tuple(arrays.take(x, source, axis=0) for x in leaves) for leaves in given
    )
    noisy = []
    for x, width, one in zip(floats, spreads, drawn, strict=True):
        noise = arrays.take(width, source, axis=0) * arrays.take(one, place, axis=0)
        noisy.append(x + (noise if arrays is np else ops.cast(noise, x.dtype)))
    return tuple(noisy), integers, targets
