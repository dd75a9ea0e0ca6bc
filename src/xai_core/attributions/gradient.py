"""What gradient methods share: channels are reduced inside the compiled step."""

from __future__ import annotations

import abc
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from xai_core import _backend, images
from xai_core._request import Group, Request
from xai_core.attributions.base import AbstractExplainer
from xai_core.attributions.running import Maps
from xai_core.typing import Tensor


@dataclass(frozen=True, eq=False, kw_only=True)
class AbstractGradient(AbstractExplainer):
    """A method whose maps have the inputs' shape until channels are reduced.

    Parameters
    ----------
    reducer : {"max", "mean", "sum", "abs_max", "abs_mean"}, callable or None
        How the channels of images and volumes become one number; a callable takes
        ``(maps, axis)``. None keeps them. Tables and series are never reduced.
    """

    reducer: str | Callable[..., Any] | None = "sum"

    def _check_fields(self) -> None:
        """Check the reducer and the method's own fields."""
        check_reducer(self.reducer)
        self._check_own_fields()

    @abc.abstractmethod
    def _check_own_fields(self) -> None:
        """Check the fields that the method adds."""

    def _check_request(self, request: Request) -> None:
        """Refuse a reducer where there are no channels to reduce."""
        check_reduces(self, request)

    def reduction(self, request: Request, reduced: bool) -> dict[str, Any]:
        """The static arguments `reduce_all` takes: the reducer, and the channel axis per leaf."""
        return {"reducer": self.reducer if reduced else None, "axes": channel_axes(request)}


def check_reducer(reducer: Any) -> None:
    """Raise unless a reducer is known, callable or None."""
    known = reducer is None or callable(reducer)
    if not known and reducer not in images.REDUCERS:
        raise ValueError(
            f"`reducer` must be one of {', '.join(map(repr, images.REDUCERS))}, a callable "
            f"or None. Received: {reducer!r}."
        )


def check_reduces(explainer: Any, request: Request) -> None:
    """Refuse a reducer where there are no channels to reduce."""
    rank = max(leaf.ndim for leaf in request.batch.float_leaves())
    if rank < 4 and explainer.reducer != type(explainer).reducer:
        raise ValueError(
            "`reducer` must be left out for tables and series, whose maps keep every "
            f"feature. Received: {explainer.reducer!r} and inputs of rank {rank}."
        )


def channel_axes(request: Request) -> tuple[int | None, ...]:
    """The axis of channels of each float input that is an image or a volume."""
    return tuple(
        images.channel_axis(x.ndim, request.layout(x.ndim)) if x.ndim >= 4 else None
        for x in request.batch.float_leaves()
    )


def one_gradient(
    explainer: AbstractGradient, group: Group, reduced: bool, rule: Callable[..., Tensor]
) -> Maps:
    """The maps that ``rule``, a module-level function (input, gradient) -> map, makes."""
    values, scores, targets = group.step(
        _gradient_step,
        *group.inputs(),
        group.targets(),
        rows=len(group),
        rule=rule,
        **explainer.reduction(group.request, reduced),
    )
    return Maps(values, scores, targets, {})


def _gradient_step(
    score: Any, floats: Any, integers: Any, targets: Any, *, rule: Any, reducer: Any, axes: Any
) -> Any:
    def finish(gradients: Any) -> Any:
        maps = [rule(x, g) for x, g in zip(floats, gradients, strict=True)]
        return reduce_all(maps, reducer, axes)

    (scores, used), values = _backend.value_and_grad(
        lambda x: score(x, integers, targets), floats, finish=finish, has_aux=True
    )
    return values, scores, used


def reduce_all(maps: Any, reducer: Any, axes: tuple[int | None, ...]) -> tuple[Tensor, ...]:
    """The maps of each float leaf with its channels reduced."""
    pairs = zip(maps, axes, strict=True)
    return tuple(
        x if axis is None else images.reduce_channels(x, reducer, axis) for x, axis in pairs
    )


def reduce_targets(maps: Any, reducer: Any, axes: tuple[int | None, ...]) -> tuple[Tensor, ...]:
    """The same for maps (n, M, ...), whose axis of targets stands in front of the channels."""
    return reduce_all(maps, reducer, tuple(None if axis is None else axis + 1 for axis in axes))
