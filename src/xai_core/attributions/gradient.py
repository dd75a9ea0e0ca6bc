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
        known = self.reducer is None or callable(self.reducer)
        if not known and self.reducer not in images.REDUCERS:
            raise ValueError(
                f"`reducer` must be one of {', '.join(map(repr, images.REDUCERS))}, a callable "
                f"or None. Received: {self.reducer!r}."
            )
        self._check_own_fields()

    @abc.abstractmethod
    def _check_own_fields(self) -> None:
        """Check the fields that the method adds."""

    def _check_request(self, request: Request) -> None:
        """Refuse a reducer where there are no channels to reduce."""
        default = type(self).reducer
        ranks = [leaf.ndim for leaf in request.batch.float_leaves()]
        if max(ranks) < 4 and self.reducer != default:
            raise ValueError(
                "`reducer` must be left out for tables and series, whose maps keep every "
                f"feature. Received: {self.reducer!r} and inputs of rank {max(ranks)}."
            )

    def reduction(self, request: Request, reduced: bool) -> dict[str, Any]:
        """The static arguments `reduce_all` takes: the reducer, and the channel axis per leaf."""
        leaves = request.batch.float_leaves()
        axes = [
            images.channel_axis(x.ndim, request.layout(x.ndim)) if x.ndim >= 4 else None
            for x in leaves
        ]
        return {"reducer": self.reducer if reduced else None, "axes": tuple(axes)}


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
