"""Gradients that rectifiers change on their way back: what the methods share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

from keras import ops

from xai_core import _backend, operations
from xai_core._request import Group, Request
from xai_core.attributions.gradient import AbstractGradient, Within, one_gradient
from xai_core.attributions.running import Maps
from xai_core.operations import Operation
from xai_core.typing import Tensor


@dataclass(frozen=True, eq=False, kw_only=True)
class AbstractRectified(AbstractGradient):
    """The gradient of the score, where rectifiers pass back another gradient than their own.

    Parameters
    ----------
    reducer, layer, call
        As for every gradient method, see `AbstractGradient`; by default the mean of the absolute
        values of the channels.
    """

    reducer: str | Callable[..., Any] | None = "abs_mean"

    zero_without_gradient: ClassVar[bool] = False  # rectifiers may stop all of it
    signed = False

    def _check_own_fields(self) -> None:
        """Check that the model shows its rectifiers; the methods add no field."""
        if not self._model.shows_activations:
            raise ValueError(
                f"`model` must show its rectifiers for {type(self).__name__}. Received: "
                f"{self._model.title}, which does not on this backend. Explain a Keras model, on "
                "the torch backend a module, or a JaxFunction."
            )

    def _check_request(self, request: Request) -> None:
        """Check that the model runs a rectifier."""
        super()._check_request(request)
        seen_by(request)

    def _maps(self, group: Group, reduced: bool) -> Maps:
        """One gradient of the whole group."""
        maps = one_gradient(self, group, reduced, _gradient)
        return maps._replace(doubts=(*maps.doubts, *seen_by(group.request).doubts))


def _gradient(x: Tensor, gradient: Tensor) -> Tensor:
    del x
    return gradient


def changing(passes: Callable[[Operation], Tensor]) -> Within:
    """A function of a model: the block in which each rectifier gives ``passes(operation)``."""

    def handler(operation: Operation) -> Tensor:
        changed = operation.name == operations.RECTIFIER
        return passes(operation) if changed else operation.result

    def within(model: Any) -> AbstractContextManager[Any]:
        return model.operations(handler)

    return within


class Seen(NamedTuple):
    """How many rectifiers a model runs, its other activations, and where some are out of reach."""

    rectifiers: int
    others: tuple[str, ...]
    unseen: tuple[str, ...] = ()

    @property
    def doubts(self) -> Iterator[str]:
        """What to warn of."""
        if self.others:
            yield (
                f"The model has other non-linearities than rectifiers, {', '.join(self.others)}, "
                "through which gradients pass unchanged."
            )
        if self.unseen:
            yield (
                f"Rectifiers of the model may be out of reach, in {', '.join(self.unseen)}, "
                "through which gradients pass unchanged."
            )


def seen_by(request: Request) -> Seen:
    """The rectifiers of a model, from a dry run of one row that is remembered.

    Raises ValueError if there are none.
    """
    shapes = tuple((leaf.shape[1:], leaf.dtype.name) for leaf in request.batch.leaves)
    key = ("rectifiers", request.score.key(), shapes)
    seen = request.engine.remembered(key, lambda: _run_dry(request))
    if not seen.rectifiers:
        other = (*seen.others, *seen.unseen)
        others = f", but {', '.join(other)}" if other else ""
        raise ValueError(
            "`model` must run a rectifier (ReLU, capped or leaky), whose gradient is changed. "
            f"Received: {request.model.described()}, where none was seen{others}. "
            "Saliency and IntegratedGradients need none."
        )
    return seen


def _run_dry(request: Request) -> Seen:
    found: list[tuple[str, Tensor]] = []
    unseen = list(request.model.unseen_parts())

    def handler(operation: Operation) -> Tensor:
        result = operation.result
        if operation.name != operations.RECTIFIER or _backend.records():
            found.append((operation.name, result))
        else:
            unseen.append("functions with a gradient of their own, or none")
        return result

    def run(floats: Any, integers: Any) -> Tensor:
        with _backend.recording(), request.model.operations(handler):
            outputs[:] = [request.score.outputs(request.score.batch.pack(floats, integers))]
        return outputs[0]

    outputs: list[Tensor] = []
    request.engine.dry_run(run, *Group(request, slice(0, 1), 1).inputs())
    names = [name for name, _ in found]
    # What the output is made of by its last operation, such as softmax, is no hidden layer.
    hidden = [name for name, result in found if all(result is not out for out in outputs)]
    watched = (
        operations.ACTIVATIONS
        | operations.PAIRS
        | {"softmax", "recurrent", "glu", "dot_product_attention", "where"}
    )
    others = dict.fromkeys(name for name in hidden if name in watched)
    return Seen(names.count(operations.RECTIFIER), tuple(others), tuple(dict.fromkeys(unseen)))


def positive(upstream: Tensor) -> Tensor:
    """The gradient where it is positive."""
    return ops.relu(upstream)


def gated(operation: Operation) -> Tensor:
    """A rectifier through which only positive gradients pass, and as it passes them itself."""
    return _backend.override_gradient(operation.result, positive)


def inverted(operation: Operation) -> Tensor:
    """A rectifier through which only positive gradients pass, wherever its input is."""
    (x,) = operation.tensors
    steady = ops.stop_gradient(x)
    passed = _backend.override_gradient(x - steady, positive)
    return ops.stop_gradient(operation.call(steady)) + passed
