"""What methods share that explain an input many times, with noise."""

from __future__ import annotations

import abc
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, NamedTuple

import numpy as np
from keras import ops

from xai_core import _checks, estimators
from xai_core._arrays import full_type
from xai_core._inputs import host
from xai_core._request import Group, Request
from xai_core._scoring import score_step
from xai_core.attributions.base import AbstractExplainer
from xai_core.attributions.gradient import (
    AbstractGradient,
    channel_axes,
    check_reducer,
    check_reduces,
    reduce_targets,
)
from xai_core.attributions.noisy_rows import noisy_groups, spread
from xai_core.attributions.running import Maps
from xai_core.attributions.saliency import Saliency
from xai_core.attributions.shared_steps import shared_step
from xai_core.estimators import Moments
from xai_core.typing import Tensor

_SCALES = ("range", "absolute")


def _same(samples: Tensor) -> Tensor:
    return samples


def _mean(moments: Moments) -> Tensor:
    return moments.mean


class Statistic(NamedTuple):
    """What is taken over the maps of noisy inputs, as module-level functions; the mean by default.

    ``of_sample`` maps one map before `estimators.Moments` up to ``order`` are taken, of which
    ``estimate`` and ``error`` make the result and its standard error.
    """

    order: int = 2
    of_sample: Callable[[Tensor], Tensor] = _same
    estimate: Callable[[Moments], Tensor] = _mean
    error: Callable[[Moments], Tensor] = estimators.mean_error


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
        How the channels of images and volumes become one number, after the statistic. Maps
        without channels, such as those of Grad-CAM, stay as they are.
    seed : int
        Key of the noise, from 0 to 2**64 - 1.
    """

    operator: Any = None
    output: Any = None
    batch_size: Any = None
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
        """Check samples, noise, reducers and seed."""
        _checks.integer("n_samples", self.n_samples, minimum=2)
        _checks.choice("noise_scale", self.noise_scale, _SCALES)
        _checks.seed(self.seed)
        if self._model is None:
            raise ValueError(
                f"`model` must be given for {type(self).__name__}. Received: an explainer "
                "without a model."
            )
        self._check_reducers()
        if (tolerance := getattr(self._base, "tolerance", None)) is not None:
            raise ValueError(
                f"`tolerance` must be left out of the explainer that {type(self).__name__} asks "
                f"for each noisy input. Received: {tolerance} in {type(self._base).__name__}."
            )
        noise = host(self.noise, "noise")
        if noise.dtype.kind not in "fiu":
            raise TypeError(f"`noise` must be a number or an array. Received: {self.noise!r}.")
        if noise.ndim and self.noise_scale == "range":
            raise ValueError(
                '`noise` must be one number for `noise_scale="range"`. Received: an array of shape '
                f'{noise.shape}. Use `noise_scale="absolute"`.'
            )
        # NaN is not at least 0.
        if not (noise >= 0).all() or (noise > np.finfo("float32").max).any():
            raise ValueError(f"`noise` must be finite and not negative. Received: {self.noise!r}.")

    def _check_reducers(self) -> None:
        """Check the reducer, and that the wrapped explainer's is not meant to do anything."""
        check_reducer(self.reducer)
        name = type(self._base).__name__
        if not _has_channels(self) and self.reducer not in (None, type(self).reducer):
            raise ValueError(
                f"`reducer` must be left out for {name}, whose maps have no channels to reduce. "
                f"Received: {self.reducer!r}."
            )
        theirs = getattr(self._base, "reducer", None)
        if theirs is not None and theirs != type(self._base).reducer:
            raise ValueError(
                f"`reducer` must be given to {type(self).__name__}, which takes the maps of {name} "
                f"before channels are reduced. Received: {theirs!r} in the wrapped explainer."
            )

    def _check_request(self, request: Request) -> None:
        """Check that the noise fits the inputs, and what the wrapped explainer checks."""
        self._inner._check_request(request)
        check_reduces(self, request, self._site(request))
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
            # Of all inputs only those of a black box may be infinite.
            rows = leaf if request.model.on_host else leaf[:1]
            if not np.isfinite(spread(self.noise, self.noise_scale, rows, request)).all():
                raise ValueError(
                    '`inputs` must be finite for `noise_scale="range"`. Received: NaN or '
                    'infinity. Use `noise_scale="absolute"`.'
                )

    def rows(self, *shapes: Sequence[int]) -> Any:
        """Model rows of one input: its own score, and what the explainer costs per sample."""
        return 1 + self.n_samples * self._inner.rows(*shapes)

    def _rows_of(self, request: Request) -> Any:
        return 1 + self.n_samples * self._inner._rows_of(request)

    def _maps(self, group: Group, reduced: bool) -> Maps:
        """The statistic over the maps of noisy rows, batch by batch."""
        statistic = self._statistic()
        floats, integers = group.inputs()
        scores, targets = group.step(score_step, floats, integers, group.targets(), rows=len(group))
        moments: tuple[Moments, ...] = ()
        found: Any = None
        slope: Any = None
        for noisy, source, weight in noisy_groups(self, group, (floats, integers, targets)):
            found = self._inner._maps(noisy, reduced=False)
            values = tuple(map(ops.convert_to_tensor, found.values))  # arrays of a black box
            if found.slope is not None:
                part = ops.segment_max(found.slope, source, num_segments=group.padded_size)
                slope = part if slope is None else ops.maximum(slope, part)
            moments = moments or _empty(values, group.padded_size, statistic.order)
            arguments = moments, values, source, weight
            moments = shared_step(_added, *arguments, of_sample=statistic.of_sample)
        ends = {"estimate": statistic.estimate, "error": statistic.error}
        values, errors = shared_step(_ended, moments, **ends)
        if reduced and _has_channels(self):
            axes, drops = channel_axes(group.request, found.site)
            values = reduce_targets(values, self.reducer, axes, drops)
        further = {"standard_error": errors}
        told = (found.layer, found.notes, slope)
        return Maps(values, scores, targets, {}, *told, per_leaf=further, site=found.site)

    def _site(self, request: Request) -> Any:
        """The layer that the wrapped explainer explains instead of the inputs."""
        inner = self._inner
        return inner._site(request) if isinstance(inner, AbstractGradient) else None


def _has_channels(explainer: AbstractExplainer) -> bool:
    """Whether maps have the channels of their inputs until a reducer takes them."""
    base = explainer._base
    return hasattr(explainer, "reducer") if base is None else _has_channels(base)


def _empty(values: tuple[Any, ...], rows: int, order: int) -> tuple[Moments, ...]:
    found = []
    for x in values:
        dtype = full_type(x.dtype)
        found.append(estimators.empty(rows, tuple(x.shape[1:]), order, dtype))
    return tuple(found)


def _added(
    moments: tuple[Moments, ...],
    values: tuple[Tensor, ...],
    source: Tensor,
    weight: Tensor,
    *,
    of_sample: Callable[[Tensor], Tensor],
) -> tuple[Moments, ...]:
    """The moments with those of a batch."""
    pairs = zip(moments, values, strict=True)
    # Half precision has no room for squares.
    return tuple(
        estimators.add(m, of_sample(ops.cast(x, m.mean.dtype)), source, weight) for m, x in pairs
    )


def _ended(
    moments: tuple[Moments, ...],
    *,
    estimate: Callable[[Moments], Tensor],
    error: Callable[[Moments], Tensor],
) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    return tuple(map(estimate, moments)), tuple(map(error, moments))
