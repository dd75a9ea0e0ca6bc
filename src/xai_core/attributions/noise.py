"""What methods share that explain an input many times, with noise."""

from __future__ import annotations

import abc
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, NamedTuple

import numpy as np
from keras import ops

from xai_core import _backend, _checks, estimators, images, sampling
from xai_core._inputs import chunks, host
from xai_core._request import Group, Request
from xai_core._scoring import score_step
from xai_core.attributions.base import AbstractExplainer
from xai_core.attributions.gradient import (
    channel_axes,
    check_reducer,
    check_reduces,
    reduce_targets,
)
from xai_core.attributions.running import Maps
from xai_core.attributions.saliency import Saliency
from xai_core.estimators import Moments
from xai_core.typing import Array, Tensor

_SCALES = ("range", "absolute")


class Statistic(NamedTuple):
    """What is taken over the maps of noisy inputs, as module-level functions.

    ``of_sample`` maps one map before `estimators.Moments` up to ``order`` are taken, of which
    ``estimate`` and ``error`` make the result and its standard error.
    """

    order: int
    of_sample: Callable[[Tensor], Tensor]
    estimate: Callable[[Moments], Tensor]
    error: Callable[[Moments], Tensor]


@dataclass(frozen=True, eq=False, kw_only=True)
class AbstractNoise(AbstractExplainer):
    """A statistic of the maps of an input to which noise is added.

    Parameters
    ----------
    operator, output, batch_size
        Those of the wrapped explainer; where a model is given, the usual ones.
    n_samples : int
        Number of noisy copies of each input, at least 2.
    noise : float or array
        Standard deviation of the normal noise, not negative: a share of the sample's range, or in
        the input's own units, then also an array that broadcasts against a sample.
    noise_scale : {"range", "absolute"}
        ``"range"`` multiplies ``noise`` with each sample's maximum minus minimum, of a series
        feature by feature. Tables need ``"absolute"``.
    reducer : {"max", "mean", "sum", "abs_max", "abs_mean"}, callable or None
        How the channels of images and volumes become one number, after the statistic.
    seed : int
        Key of the noise, from 0 to 2**64 - 1.
    """

    operator: Any = None
    output: str | None = None
    batch_size: int | None = None
    n_samples: int = 50
    noise: Any = 0.15
    noise_scale: str = "range"
    reducer: str | Callable[..., Any] | None = "mean"
    seed: int = 0

    wraps: ClassVar[bool] = True
    signed = False

    @abc.abstractmethod
    def _statistic(self) -> Statistic:
        """What is taken over the noisy maps."""

    @cached_property
    def _inner(self) -> AbstractExplainer:
        """The explainer of each noisy input; of a model, its signed gradient."""
        if self._base is not None:
            return self._base
        settings = {"operator": self.operator, "output": self._output}
        return Saliency(self.model, **settings, batch_size=self._batch_size, absolute=False)

    def _check_fields(self) -> None:
        """Check samples, noise, reducer and seed."""
        _checks.integer("n_samples", self.n_samples, minimum=2)
        _checks.choice("noise_scale", self.noise_scale, _SCALES)
        _checks.seed(self.seed)
        check_reducer(self.reducer)
        if self._model is None:
            raise ValueError(
                f"`model` must be given for {type(self).__name__}. Received: an explainer "
                "without a model."
            )
        noise = host(self.noise, "noise")
        if noise.dtype.kind not in "fiu":
            raise TypeError(f"`noise` must be a number or an array. Received: {self.noise!r}.")
        if noise.ndim and self.noise_scale == "range":
            raise ValueError(
                '`noise` must be one number for `noise_scale="range"`. Received: an array of shape '
                f'{noise.shape}. Use `noise_scale="absolute"`.'
            )
        if not np.isfinite(noise).all() or (noise < 0).any():
            raise ValueError(f"`noise` must be finite and not negative. Received: {self.noise!r}.")

    def _check_request(self, request: Request) -> None:
        """Check that the noise fits the inputs, and what the wrapped explainer checks."""
        self._inner._check_request(request)
        check_reduces(self, request)
        for leaf in request.batch.float_leaves():
            if leaf.dtype == object:
                raise TypeError("`inputs` must be numbers for noise. Received: objects.")
            if self.noise_scale == "range" and leaf.ndim == 2:
                raise ValueError(
                    '`noise_scale="range"` has no meaning for a table, whose columns differ in '
                    f"units. Received: inputs of shape {leaf.shape}. Pass "
                    'noise_scale="absolute" and `noise` as a number or an array of shape '
                    f"({leaf.shape[1]},)."
                )
            self._spread(leaf[:1], request)

    def rows(self, *shapes: Sequence[int]) -> Any:
        """Model rows of one input: its own score, and what the explainer costs per sample."""
        return 1 + self.n_samples * self._inner.rows(*shapes)

    def _spread(self, x: Array, request: Request) -> Array:
        """Standard deviation of the noise of some rows, (n, ...), which broadcasts against them."""
        if self.noise_scale == "range":
            axes = tuple(range(1, x.ndim))
            if x.ndim == 3:
                axes = images.spatial_axes(3, request.layout(3))
            width = x.max(axis=axes, keepdims=True) - x.min(axis=axes, keepdims=True)
            return (self.noise * width).astype("float32")
        noise = host(self.noise).astype("float32")
        try:
            np.broadcast_shapes(noise.shape, x.shape[1:])
        except ValueError:
            fits = False
        else:
            fits = noise.ndim < x.ndim
        if not fits or np.broadcast_shapes(noise.shape, x.shape[1:]) != x.shape[1:]:
            raise ValueError(
                f"`noise` must broadcast against a sample of shape {x.shape[1:]}. "
                f"Received: shape {noise.shape}."
            )
        noise = noise.reshape((1,) * (x.ndim - noise.ndim) + noise.shape)
        return np.repeat(noise, len(x), axis=0)

    def _maps(self, group: Group, reduced: bool) -> Maps:
        """The statistic over the maps of noisy rows, batch by batch."""
        request = group.request
        statistic = self._statistic()
        floats, integers = group.inputs()
        scores, targets = group.step(score_step, floats, integers, group.targets(), rows=len(group))
        leaves = request.batch.float_leaves()
        spreads = tuple(group.to_device(self._spread(x[group.rows], request)) for x in leaves)
        key = group.sent(sampling.seed_words(self.seed))
        channels = tuple(
            images.channel_axis(x.ndim, request.layout(x.ndim)) if x.ndim > 2 else None
            for x in leaves
        )
        moments, found = (), None
        for index, sent in self._batches(group):
            given = group.step(
                _noisy_step,
                (floats, integers, targets),
                spreads,
                key,
                *sent[:3],
                rows=0,
                channels=channels,
            )
            noisy = Group(request, index, self._batch_size, given)
            found = self._inner._maps(noisy, reduced=False)
            moments = moments or _empty(found.values, group.padded_size, statistic.order)
            moments = group.step(
                _moments_step,
                moments,
                found.values,
                *sent[2:],
                rows=0,
                of_sample=statistic.of_sample,
            )
        values, errors = group.step(
            _end_step,
            moments,
            rows=0,
            estimate=statistic.estimate,
            error=statistic.error,
            reducer=self.reducer if reduced else None,
            axes=channel_axes(request),
        )
        layer, notes = (None, ()) if found is None else (found.layer, found.notes)
        return Maps(values, scores, targets, {}, layer, notes, per_leaf={"standard_error": errors})

    def _batches(self, group: Group) -> Iterator[tuple[Array, list[Tensor]]]:
        """Cut the rows (sample, input) of a group into batches.

        Gives the row of the request that each stands for, and where the model computes: the
        numbers of the samples in the batch, and for each row the place of its sample among them,
        its input, and its weight.
        """
        count, size = len(group), self._batch_size
        fixed = _backend.FIXED_SHAPES and not group.request.model.on_host
        own = np.arange(len(group.request.batch))[group.rows]
        for part in chunks(self.n_samples * count, size):
            row = np.arange(part.start, part.stop)
            sample, index = row // count, row % count
            numbers = np.arange(sample[0], sample[-1] + 1)
            place = sample - sample[0]
            weight = np.ones(len(row), "float32")
            if fixed:
                # One shape for all batches: the widest that a batch of this group can need.
                widest = min(self.n_samples, (size - 1) // count + 2)
                numbers = sample[0] + np.arange(widest)
                missing = (0, size - len(row))
                place, index = (np.pad(x, missing, mode="edge") for x in (place, index))
                weight = np.pad(weight, missing)
            arrays = [x.astype("int32") for x in (numbers, place, index)]
            sent = [group.sent(x) for x in (*arrays, weight)]
            yield own[row % count], sent


def _noisy_step(
    score: Any,
    given: Any,
    spreads: tuple[Tensor, ...],
    key: Tensor,
    numbers: Tensor,
    place: Tensor,
    index: Tensor,
    *,
    channels: tuple[int | None, ...],
) -> Any:
    """The rows of a batch with noise, their integers and their targets."""
    arrays: Any = score.model.arrays
    floats, integers, targets = (
        tuple(arrays.take(x, index, axis=0) for x in leaves) for leaves in given
    )
    noisy, first = [], 0
    for x, spread, channel in zip(floats, spreads, channels, strict=True):
        shape = list(x.shape[1:])
        size = int(np.prod(shape))
        # Drawn as channels last, so that both layouts of an image have the same noise.
        if channel is not None:
            shape.append(shape.pop(channel - 1))
        drawn: Any = ops.reshape(sampling.normal(key, numbers, size, first), (-1, *shape))
        if channel is not None:
            drawn = ops.moveaxis(drawn, -1, channel)
        drawn = _backend.to_host(drawn) if score.model.on_host else ops.cast(drawn, x.dtype)
        wide = arrays.take(spread, index, axis=0)
        wide = wide if score.model.on_host else ops.cast(wide, x.dtype)
        noisy.append(x + wide * arrays.take(drawn, place, axis=0))
        first += size + size % 2
    return tuple(noisy), integers, targets


def _empty(values: tuple[Tensor, ...], rows: int, order: int) -> tuple[Moments, ...]:
    found = []
    for x in values:
        dtype = "float64" if "float64" in str(x.dtype) else "float32"
        found.append(estimators.empty(rows, tuple(x.shape[1:]), order, dtype))
    return tuple(found)


def _moments_step(
    score: Any,
    moments: tuple[Moments, ...],
    values: tuple[Tensor, ...],
    index: Tensor,
    weight: Tensor,
    *,
    of_sample: Callable[[Tensor], Tensor],
) -> tuple[Moments, ...]:
    del score
    return tuple(
        estimators.add(m, of_sample(x), index, weight) for m, x in zip(moments, values, strict=True)
    )


def _end_step(
    score: Any,
    moments: tuple[Moments, ...],
    *,
    estimate: Callable[[Moments], Tensor],
    error: Callable[[Moments], Tensor],
    reducer: Any,
    axes: tuple[int | None, ...],
) -> Any:
    del score
    maps = [estimate(m) for m in moments]
    return reduce_targets(maps, reducer, axes), tuple(error(m) for m in moments)
