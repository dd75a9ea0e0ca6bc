"""Differences from baselines, passed back through a model: what DeepLIFT and DeepSHAP share."""

from __future__ import annotations

import abc
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from keras import ops

from xai_core import _arrays, _backend, _checks, _replay, propagation
from xai_core._replay import Seen, Step
from xai_core._request import Group, Request
from xai_core._scoring import score_step
from xai_core.attributions.gradient import AbstractGradient, reduce_targets
from xai_core.attributions.layer_outputs import tapped, with_output
from xai_core.attributions.running import Maps
from xai_core.typing import Tensor

INCOMPLETE = 0.01
"""The gap that is no longer rounding, as a share of the difference of the scores."""
NEGLIGIBLE = 0.01
"""The difference below which this share of the scores stands for it."""
ROUNDED = 16
"""Steps between numbers, of the scores or the sum of absolute attributions, that rounding takes."""


@dataclass(frozen=True, eq=False, kw_only=True)
class AbstractDifferences(AbstractGradient):
    """Multipliers of the differences from one or several references, averaged.

    Parameters
    ----------
    check_completeness : bool
        Raise if the attributions do not sum up to the difference of the scores: if the gap is
        above 1 % of that difference, or of 1 % of the larger score where this is more, and also
        above 16 epsilon of the larger score or of the sum of absolute attributions. Epsilon is that
        of the coarsest float type in which the model computes: 1.2e-7 in float32, 1/128 in
        bfloat16.
    """

    check_completeness: bool = True

    gap_advice: ClassVar[str] = (
        "The model computes by operations that were not seen, or in a float type that rounds as "
        "much; a layer may also have a way around it."
    )

    @abc.abstractmethod
    def _check_reference(self) -> None:
        """Check the field that says what inputs are compared with."""

    @abc.abstractmethod
    def _count(self) -> int:
        """Number of references of each input."""

    @abc.abstractmethod
    def _references(self, group: Group) -> Iterable[Any]:
        """The (floats, integers) of each reference, for the rows of a group."""

    def _check_own_fields(self) -> None:
        """Check the model and the fields."""
        if not self._model.shows_products:
            raise ValueError(
                f"`model` must show its operations for {type(self).__name__}. Received: "
                f"{self._model.title}. Explain a Keras model, or on the torch backend a module; "
                "IntegratedGradients takes any model with gradients."
            )
        _checks.flag("check_completeness", self.check_completeness)
        self._check_reference()

    def _check_request(self, request: Request) -> None:
        """Check that every operation can be seen and has a rule."""
        super()._check_request(request)
        shapes = tuple((leaf.shape[1:], leaf.dtype.name) for leaf in request.batch.leaves)
        key = "operations", request.score.key(), shapes
        every = request.engine.remembered(key, lambda: _run_dry(request))
        for operation in every:
            _replay.check_kept(operation)
        if any(operation.name not in propagation.rules() for operation in every):
            _check_rules(request)
        request.decided["operations"] = every

    def rows(self, *shapes: Sequence[int]) -> int:
        """Model rows of one input: itself and each reference; one more to predict the class."""
        del shapes
        return 2 * self._count()

    def _maps(self, group: Group, reduced: bool) -> Maps:
        """The mean of the attributions over the references."""
        site, targets = self._site(group.request), group.targets()
        inputs, rows = group.inputs(), np.full(len(group), self.rows())
        if not targets:
            _, targets = group.step(score_step, *inputs, targets, rows=len(group))
            rows += 1
        static = {} if site is None else site.static()
        total: Any = None
        for reference in self._references(group):
            arguments = *inputs, targets, reference
            *found, missed = group.step(
                _difference_step,
                *arguments,
                rows=2 * len(group),
                **propagation.registered(),
                **static,
            )
            _replay.check_values(
                group.request.decided["operations"], list(map(_backend.to_host, missed))
            )
            total = found if total is None else _sum(total, found)
        values, scores, base, gap, size = group.step(
            _mean_step, total, rows=0, count=self._count(), **self.reduction(group.request, reduced)
        )
        if self.check_completeness:
            ends = map(group.on_host, (scores, base, gap, size))
            check_complete(group.request.model, *ends, inside=site is not None)
        facts = {"completeness_gap": gap, "base_values": base}
        maps = Maps(values, scores, targets, facts, rows=rows)
        return maps if site is None else site.told(maps)


def _run_dry(request: Request) -> list[Seen]:
    """The operations that the score of one row takes."""
    seen: list[Seen] = []
    group = Group(request, slice(0, 1), 1)

    def run(*inputs: Any) -> Any:
        seen[:], scores = _replay.seen(request.model, lambda: request.score(*inputs)[0])
        return scores

    targets = tuple(leaf[:1] for leaf in request.targets)
    request.engine.dry_run(run, *group.inputs(), tuple(map(group.to_device, targets)))
    return seen


def _check_rules(request: Request) -> None:
    """Raise if an operation without a rule depends on the inputs, before the first batch."""
    group = Group(request, slice(0, 1), 1)

    def run(floats: Any, integers: Any, targets: Any) -> Any:
        others = tuple(x + ops.zeros_like(x) for x in floats)
        given = [lambda x=x: request.score(x, integers, targets)[0] for x in (floats, others)]
        _replay.check_rules(request.model, *given)
        return given[0]()

    targets = tuple(leaf[:1] for leaf in request.targets)
    request.engine.dry_run(run, *group.inputs(), tuple(map(group.to_device, targets)))


def _difference_step(
    score: Any,
    floats: Any,
    integers: Any,
    targets: Any,
    reference: Any,
    **static: Any,
) -> Any:
    """The attributions for one reference, the scores of both, and what users' rules change."""
    site = {name: static[name] for name in ("path", "layer", "call") if name in static}
    steps: list[Step] = []
    with _replay.recorded(score.model, steps):
        if site:
            (base, _), *starts = with_output(score.model, site, score, *reference, targets)
        else:
            (base, _), starts = score(*reference, targets), reference[0]

    def function(x: Any) -> Any:
        missed: list[Tensor] = []
        with _replay.ruled(score.model, steps, missed):
            scores = score(x, integers, targets)[0]
        return scores, tuple(missed)

    if site:
        (scores, missed), ends, gradients = _backend.activation_and_grad(
            function, lambda hook: tapped(score.model, site, hook), floats
        )
        ends, gradients = (ends,), (gradients,)
    else:
        (scores, missed), gradients = _backend.value_and_grad(function, floats, has_aux=True)
        ends = floats
    dtype = _arrays.full_type(scores.dtype)

    def product(gradient: Any, x: Any, x0: Any) -> Tensor:
        gradient, x, x0 = (ops.cast(one, dtype) for one in (gradient, x, x0))
        return gradient * ops.expand_dims(x - x0, 1)

    maps = tuple(map(product, gradients, ends, starts))
    return maps, ops.cast(scores, dtype), ops.cast(base, dtype), missed


def _sum(one: Any, other: Any) -> Any:
    return (
        tuple(a + b for a, b in zip(one[0], other[0], strict=True)),
        *(a + b for a, b in zip(one[1:], other[1:], strict=True)),
    )


def _mean_step(score: Any, total: Any, *, count: int, reducer: Any, axes: Any, drops: bool) -> Any:
    """Means over the references, what the attributions miss, and the sum of their absolutes."""
    del score
    maps, scores, base = total
    maps, scores, base = tuple(x / count for x in maps), scores / count, base / count
    gap: Any = base - scores
    size: Any = 0.0
    for one in maps:
        inside = tuple(range(2, len(one.shape)))
        gap = gap + ops.sum(one, axis=inside)
        size = size + ops.sum(ops.abs(one), axis=inside)
    return reduce_targets(maps, reducer, axes, drops), scores, base, gap, size


def check_complete(
    model: Any, scores: Any, base: Any, gap: Any, size: Any, inside: bool = False
) -> None:
    """Raise if attributions miss the difference of the scores by more than rounding.

    ``size`` is the sum of the absolute attributions; ``inside`` tells of those at a layer.
    """
    difference, largest = np.abs(scores - base), np.maximum(np.abs(scores), np.abs(base))
    epsilon = _arrays.epsilon(model.precision)
    limit = INCOMPLETE * np.maximum(difference, NEGLIGIBLE * largest)
    complete = np.abs(gap) <= np.maximum(limit, ROUNDED * epsilon * np.maximum(largest, size))
    # What is no number is no rounding; scores that are none are told elsewhere.
    wide = ~complete & np.isfinite(scores) & np.isfinite(base)
    if wide.any():
        row, target = np.argwhere(wide)[0]
        around = "name a `layer` that nothing goes around, " if inside else ""
        raise ValueError(
            "`model` must run only operations that are seen"
            f"{', all behind the layer' if inside else ''}, for attributions to be complete. "
            f"Received: a gap of {gap[row, target]:.2g} at f(x) - f(baseline) = "
            f"{(scores - base)[row, target]:.2g}, and others in {int(wide.any(axis=1).sum())} of "
            f"{len(gap)} samples. Look for {model.unseen}, {around}or pass "
            "check_completeness=False to look at the maps all the same."
        )
