"""Metrics that follow the score while elements change, the most important first."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from xai_core import _baselines, _checks, images, operators, perturbation
from xai_core._inputs import host
from xai_core._progress import progress_bar
from xai_core._request import Group, Request
from xai_core._scoring import score_step
from xai_core.metrics.base import AbstractModelMetric
from xai_core.metrics.result import MetricResult
from xai_core.perturbation import Codes, Masking, Perturbation
from xai_core.typing import Array, Tensor

_TOLERANCE = 1e-5


@dataclass(frozen=True, eq=False, kw_only=True)
class AbstractCurve(AbstractModelMetric):
    """The area under the score's curve while elements change, the most important first.

    Parameters
    ----------
    model
        Any model that predicts.
    steps : int, optional
        Number of steps, at most one per element; None is one per element.
    baseline : number, array, "mean", "blur", callable or list
        What stands where an element is removed.
    """

    steps: int | None = 50
    baseline: Any = 0.0

    inserts: ClassVar[bool]
    """Whether the most important elements come in, instead of going out."""

    def _check_fields(self) -> None:
        """Check steps and baseline."""
        if self.steps is not None:
            _checks.integer("steps", self.steps, minimum=1)
        _baselines.check_field(self.baseline, self._model.on_host)

    def masked(self, explanations: Any, inputs: Any, share: Any) -> Any:
        """The inputs at one point of the curve.

        Parameters
        ----------
        explanations, inputs
            As for a call.
        share : float or array, shape (N,)
            Share of the elements that has changed, from 0 to 1.

        Returns
        -------
        array, shape (N, ...)
            The inputs, with the baseline where elements are removed; in the structure that was
            given, and for a black box in a DataFrame if one was given.

        Raises
        ------
        TypeError, ValueError
            If a share is outside [0, 1], there are several baselines, or maps and inputs do not
            fit one another.
        """
        request = self._request(explanations, inputs, None, scored=False)
        batch = request.batch
        (x,) = batch.float_leaves()
        every, on_host = slice(0, len(x)), self._model.on_host
        starts = _baselines.samples(self.baseline, x, every, request.layout, on_host)
        if len(starts) > 1:
            raise ValueError(
                f"`baseline` must be one for `masked`. Received: a list of {len(starts)}."
            )
        maps = self._maps(explanations, request)
        counts = _shares(share, len(x)) * _elements(maps, request)
        ranks, counts = self._turned(_ranks(maps, request), np.rint(counts).astype("int32"))
        kept = _kept(np, x, (counts,), (ranks,), ())
        others = [leaf for leaf, i in zip(batch.leaves, batch.integers, strict=True) if i]
        return batch.pack((np.where(kept, x, starts[0]),), others)

    def _result(self, request: Request, maps: Array) -> MetricResult:
        """Follow the score of each input."""
        size = _elements(maps, request)
        steps = size if self.steps is None else min(self.steps, size)
        counts = (np.arange(steps + 1) * size // steps).astype("int32")
        baselines = len(_baselines.as_list(self.baseline))
        classes = request.score.operator is operators.classification and baselines == 1
        total = len(request.batch) * len(counts) * baselines
        with progress_bar(self.progress, total, type(self).__name__) as advance:
            groups = replace(request, advance=advance).groups(self.batch_size)
            parts = [self._curves(group, maps, counts, classes) for group in groups]
        curves = np.concatenate([curve for curve, _ in parts])
        _check_curves(request, curves)
        shares = counts / size
        found: dict[str, Any] = {"curves": curves, "shares": shares}
        predicted = [part for _, part in parts if part is not None]
        if predicted and not self.inserts:
            predictions = np.concatenate(predicted).astype("int32")
            found |= {"predictions": predictions, "flip_share": _first_flip(predictions, shares)}
        name = type(self).__name__
        return MetricResult(name, _area(curves, shares), self.higher_is_better, **found)

    def _turned(self, ranks: Array, counts: Array) -> tuple[Array, Array]:
        """Ranks and counts such that elements with a rank of at least the count are kept."""
        # So both metrics share one compiled step.
        return (-1 - ranks, -counts) if self.inserts else (ranks, counts)

    def _curves(
        self, group: Group, maps: Array, counts: Array, classes: bool
    ) -> tuple[Array, Array | None]:
        """Scores (n, S + 1), and predicted classes if they are wanted, of a group of inputs."""
        ranks, codes = self._turned(_ranks(maps[group.rows], group.request), counts)
        rows = len(group)
        with group.request.model.on_device():
            changed = Perturbation(
                rows * len(counts),
                lambda pair: Codes(pair % rows, (codes[pair // rows],)),
                (Masking(_kept, own=(group.to_device(ranks),)),),
            )
            targets = group.targets()
            if not targets:
                _, targets = group.step(score_step, *group.inputs(), targets, rows=0)
            absent = perturbation.baselines(group, group.baselines(self.baseline))
            found = perturbation.scored(group, changed, targets, absent, self.batch_size, classes)
        predicted = found.classes
        return (
            found.scores.reshape(len(counts), rows).T,
            None if predicted is None else predicted.reshape(len(counts), rows).T,
        )


def _kept(arrays: Any, x: Tensor, codes: Any, own: Any, settings: Any) -> Tensor:
    """The elements whose rank is at least the count."""
    del settings
    return own[0] >= arrays.reshape(codes[0], (-1, *[1] * (len(x.shape) - 1)))


def _channel(maps: Array, request: Request) -> int | None:
    """The axis of channels of images and volumes, which are one element."""
    if maps.ndim <= 3:
        return None
    return images.channel_axis(maps.ndim, request.layout(maps.ndim))


def _elements(maps: Array, request: Request) -> int:
    """Number of elements of each map that are ranked."""
    channel = _channel(maps, request)
    return math.prod(side for axis, side in enumerate(maps.shape) if axis not in (0, channel))


def _ranks(maps: Array, request: Request) -> Array:
    """The place of each element in the ranking of its map, 0 the most important.

    The channels of images and volumes keep an axis of length 1.
    """
    channel = _channel(maps, request)
    if channel is not None:
        maps = maps.sum(axis=channel, keepdims=True, dtype="float64")
    flat = maps.reshape(len(maps), -1).astype("float64", copy=False)
    order = np.argsort(-flat, axis=1, kind="stable")
    ranks = np.empty(flat.shape, "int32")
    np.put_along_axis(ranks, order, np.arange(flat.shape[1], dtype="int32")[None], axis=1)
    return ranks.reshape(maps.shape)


def _shares(share: Any, rows: int) -> Array:
    shares = host(share, "share")
    if shares.dtype.kind not in "fiu":
        raise TypeError(f"`share` must be numbers. Received: {share!r}.")
    if shares.shape not in ((), (rows,)) or not ((shares >= 0) & (shares <= 1)).all():
        raise ValueError(
            f"`share` must be within [0, 1], one number or one per input, here {rows}. "
            f"Received: {share!r}."
        )
    return np.broadcast_to(shares.astype("float64"), (rows,))


def _area(curves: Array, shares: Array) -> Array:
    """The trapezoid rule on [0, 1]."""
    heights = (curves[:, 1:] + curves[:, :-1]).astype("float64") / 2
    return (heights * np.diff(shares)).sum(axis=1)


def _first_flip(predictions: Array, shares: Array) -> Array:
    changed = predictions != predictions[:, :1]
    return np.where(changed.any(axis=1), shares[changed.argmax(axis=1)], np.nan)


def _check_curves(request: Request, curves: Array) -> None:
    bad = np.flatnonzero(~np.isfinite(curves).all(axis=1))
    if bad.size:
        raise ValueError(
            "`operator` must give finite scores of the changed inputs. Received: NaN or infinity "
            f"for {bad.size} of {len(curves)} inputs, first for input {bad[0]}."
        )
    indices = not request.targets or request.targets[0].ndim == 2
    outside = (curves < -_TOLERANCE) | (curves > 1 + _TOLERANCE)
    if request.score.operator is operators.classification and indices and outside.any():
        _checks.warn(
            f"The score of a class is outside [0, 1] for {int(outside.any(axis=1).sum())} of "
            f"{len(curves)} inputs, so that areas of different inputs mean different things. "
            'Pass output="softmax" or output="sigmoid".'
        )
