"""Deletion and Insertion: the score along the removal of the most important elements."""

from __future__ import annotations

import abc
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from xai_core import _baselines, _checks, images, operators, perturbation
from xai_core._progress import progress_bar
from xai_core._request import Group, Request
from xai_core._scoring import score_step
from xai_core.metrics.base import AbstractModelMetric
from xai_core.metrics.result import MetricResult
from xai_core.perturbation import Perturbation
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

    flips: ClassVar[bool]

    @abc.abstractmethod
    def _keep(self) -> Callable[..., Tensor]:
        """Which elements are kept, as `Perturbation` asks for it: code and rank decide."""

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
            The inputs, with the baseline where elements are removed.

        Raises
        ------
        ValueError
            If a share is outside [0, 1], or there are several baselines.
        """
        request = self._request(explanations, inputs, None)
        (x,) = request.batch.float_leaves()
        shares = np.asarray(share, float)
        if not ((shares >= 0) & (shares <= 1)).all() or shares.shape not in ((), (len(x),)):
            raise ValueError(
                f"`share` must be within [0, 1], one number or one per input. Received: {share!r}."
            )
        group = Group(request, slice(0, len(x)), len(x))
        starts = _baselines.samples(self.baseline, x, group.rows, request.layout)
        if len(starts) > 1:
            raise ValueError(
                f"`baseline` must be one for a picture. Received: a list of {len(starts)}."
            )
        ranks, size = _ranks(self._maps(explanations, request), request)
        counts = np.broadcast_to(np.rint(shares * size).astype("int32"), (len(x),))
        mask = self._keep()(np, x, (counts,), (ranks,), ())
        found = np.where(mask, x, starts[0])
        return found if request.batch.frame is None else request.batch.pack((found,), ())

    def _result(self, request: Request, maps: Array) -> MetricResult:
        """Follow the score of each input."""
        ranks, size = _ranks(maps, request)
        steps = size if self.steps is None else min(self.steps, size)
        counts = (np.arange(steps + 1) * size // steps).astype("int32")
        baselines = len(_baselines.as_list(self.baseline))
        classifies = request.score.operator is operators.classification
        flips = self.flips and classifies and baselines == 1
        rows = len(request.batch) * len(counts) * baselines
        with progress_bar(self.progress, rows, type(self).__name__) as advance:
            groups = replace(request, advance=advance).groups(self.batch_size)
            parts = [self._curves(group, ranks, counts, flips) for group in groups]
        shares = counts / size
        curves = np.concatenate([curve for curve, _ in parts])
        _check_curves(request, curves)
        found: dict[str, Any] = {}
        if flips:
            predictions = np.concatenate([classes for _, classes in parts])
            found = {"predictions": predictions, "flip_share": _first_flip(predictions, shares)}
        return MetricResult(
            type(self).__name__,
            _area(curves, shares),
            self.higher_is_better,
            curves,
            shares,
            **found,
        )

    def _curves(
        self, group: Group, ranks: Array, counts: Array, flips: bool
    ) -> tuple[Array, Array | None]:
        """Scores (n, S + 1), and predicted classes if they are wanted, of a group of inputs."""
        rows = len(group)
        with group.request.model.on_device():
            changed = Perturbation(
                rows * len(counts),
                lambda pair: (pair % rows, (counts[pair // rows],)),
                self._keep(),
                own=(group.to_device(ranks[group.rows]),),
            )
            targets = group.targets()
            if not targets:
                _, targets = group.step(score_step, *group.inputs(), targets, rows=0)
            baselines = group.baselines(self.baseline)
            found = perturbation.scored(
                group, changed, targets, baselines, self.batch_size, classes=flips
            )
        curves = found.scores.reshape(len(counts), rows).T
        if found.classes is None:
            return curves, None
        return curves, found.classes.reshape(len(counts), rows).T


@dataclass(frozen=True, eq=False, kw_only=True)
class Deletion(AbstractCurve):
    r"""Area under the score's curve while the most important elements are removed.

    .. math:: \int_0^1 s\bigl(x_{[\text{first } q \text{ of the ranking} = b]}\bigr) \, dq

    A good explanation makes the score fall soon: lower is better. All channels of a position of
    an image go together, and channels of a map are added up for the ranking; equal values keep
    the order of the positions.

    Parameters
    ----------
    model : model, function or estimator
        Any model that predicts.
    operator, output : optional
        By default those of the Explanation.
    batch_size, progress
        As for every explainer.
    steps : int, optional
        Number of steps, at most one per element; None is one per element.
    baseline : number, array, "mean", "blur", callable or list
        What stands where an element is removed: see `IntegratedGradients`. A list means the
        average of the curves.

    Raises
    ------
    TypeError, ValueError
        If a field is wrong, at construction; if maps, inputs and targets do not fit one another,
        at the call.

    Warns
    -----
    ExplanationWarning
        If a score of a class is outside [0, 1], for areas of logits mean little.

    Notes
    -----
    Petsiuk, Das and Saenko, 2018, "RISE: Randomized Input Sampling for Explanation of Black-box
    Models", https://arxiv.org/abs/1806.07421. ``flip_share`` of the result is the smallest share
    whose removal changes the predicted class.

    Examples
    --------
    >>> import numpy as np
    >>> weights = np.array([4.0, 3.0, 2.0, 1.0])
    >>> deletion = Deletion(lambda x: x @ weights, operator="regression", steps=None)
    >>> x = np.ones((1, 4))
    >>> float(deletion(x * weights, x, targets=0))
    3.75
    """

    higher_is_better: ClassVar[bool] = False
    flips: ClassVar[bool] = True
    source: ClassVar[str] = "Petsiuk et al., 2018, RISE, https://arxiv.org/abs/1806.07421"

    def _keep(self) -> Callable[..., Tensor]:
        """All but the first elements of the ranking."""
        return _last


@dataclass(frozen=True, eq=False, kw_only=True)
class Insertion(AbstractCurve):
    r"""Area under the score's curve while the most important elements are inserted.

    .. math:: \int_0^1 s\bigl(b_{[\text{first } q \text{ of the ranking} = x]}\bigr) \, dq

    A good explanation makes the score rise soon: higher is better. Ranking as in `Deletion`.

    Parameters
    ----------
    model : model, function or estimator
        Any model that predicts.
    operator, output : optional
        By default those of the Explanation.
    batch_size, progress
        As for every explainer.
    steps : int, optional
        Number of steps, at most one per element; None is one per element.
    baseline : number, array, "mean", "blur", callable or list
        Where the curve begins: see `IntegratedGradients`. A list means the average of the curves.

    Raises
    ------
    TypeError, ValueError
        If a field is wrong, at construction; if maps, inputs and targets do not fit one another,
        at the call.

    Warns
    -----
    ExplanationWarning
        If a score of a class is outside [0, 1], for areas of logits mean little.

    Notes
    -----
    Petsiuk, Das and Saenko, 2018, "RISE: Randomized Input Sampling for Explanation of Black-box
    Models", https://arxiv.org/abs/1806.07421. The paper begins with a blurred image.

    Examples
    --------
    >>> import numpy as np
    >>> weights = np.array([4.0, 3.0, 2.0, 1.0])
    >>> insertion = Insertion(lambda x: x @ weights, operator="regression", steps=None)
    >>> x = np.ones((1, 4))
    >>> float(insertion(x * weights, x, targets=0))
    6.25
    """

    higher_is_better: ClassVar[bool] = True
    flips: ClassVar[bool] = False
    source: ClassVar[str] = "Petsiuk et al., 2018, RISE, https://arxiv.org/abs/1806.07421"

    def _keep(self) -> Callable[..., Tensor]:
        """The first elements of the ranking."""
        return _first


def _last(arrays: Any, x: Tensor, codes: Any, own: Any, settings: Any) -> Tensor:
    del settings
    return own[0] >= arrays.reshape(codes[0], (-1, *[1] * (len(x.shape) - 1)))


def _first(arrays: Any, x: Tensor, codes: Any, own: Any, settings: Any) -> Tensor:
    return arrays.logical_not(_last(arrays, x, codes, own, settings))


def _ranks(maps: Array, request: Request) -> tuple[Array, int]:
    """The place of each element in the ranking of its map, 0 the most important, and their number.

    Channels of images and volumes are one element, and keep an axis of length 1.
    """
    if maps.ndim > 3:
        channel = images.channel_axis(maps.ndim, request.layout(maps.ndim))
        maps = maps.sum(axis=channel, keepdims=True)
    flat = maps.reshape(len(maps), -1)
    order = np.argsort(-flat.astype("float64"), axis=1, kind="stable")
    ranks = np.empty(flat.shape, "int32")
    np.put_along_axis(ranks, order, np.arange(flat.shape[1], dtype="int32")[None], axis=1)
    return ranks.reshape(maps.shape), flat.shape[1]


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
