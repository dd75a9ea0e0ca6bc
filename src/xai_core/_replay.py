"""The operations of a model as they ran on a baseline, and again on the input with their rules."""

from __future__ import annotations

import operator
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

import keras
from keras import ops

from xai_core import _arrays, _backend, operations, propagation
from xai_core.operations import Operation
from xai_core.typing import Array, Tensor

_BILINEAR = operations.PRODUCTS - {"divide"}
_CONSTRUCTS = {
    **{name: f"ops.{name}" for name in ("cond", "switch", "map", "scan", "associative_scan")},
    **{name: f"ops.{name}" for name in ("while_loop", "fori_loop", "vectorized_map")},
    "fun_remat": "keras.remat",
}
"""Functions that trace what they run by themselves, by the names of theirs on the stack."""


class Step(NamedTuple):
    """An operation as it ran on the baseline: its operands, what they held, and what it gave."""

    name: str
    tensors: tuple[Tensor, ...]
    baselines: tuple[Tensor, ...]
    result: Tensor


class Seen(NamedTuple):
    """An operation as a dry run saw it: where, and what keeps its tensors to itself if it does."""

    name: str
    path: str
    construct: str | None

    def told(self) -> str:
        """Name and place, for messages."""
        return self.name + (f" in {self.path!r}" if self.path else "")


def seen(model: Any, run: Callable[[], Any]) -> tuple[list[Seen], Any]:
    """The operations that a model runs, in their order, and the result of ``run``."""
    found: list[Seen] = []
    here = _backend.trace()

    def handler(operation: Operation) -> Tensor:
        construct = None if _backend.trace() == here else _construct()
        found.append(Seen(operation.name, operation.path, construct))
        return operation.result

    with model.operations(handler):
        return found, run()


def _construct() -> str:
    """The outermost function between the model and its operation that runs others in a trace."""
    frame, name = sys._getframe(), "a function that is compiled by itself"
    while frame is not None:
        module = frame.f_globals.get("__name__", "")
        if module.startswith("xai_core.wrappers"):
            break
        name = _CONSTRUCTS.get(frame.f_code.co_name, name)
        frame = frame.f_back
    return name


def check_kept(one: Seen) -> None:
    """Raise if there is no way to the tensors of an operation."""
    if one.construct is not None:
        raise ValueError(
            "`model` must run its operations where their values can be kept. Received: "
            f"{one.told()}, inside of {one.construct}, which keeps them to itself. Compute all "
            "branches and choose with keras.ops.where, write loops in Python, and take remat and "
            "compiled functions away; or take IntegratedGradients."
        )


def _check_rule(one: Seen) -> None:
    """Raise if there is no rule for an operation."""
    if one.name in propagation.rules():
        return
    ends = "softmax" in one.name
    first = 'Pass output="logits" if it ends the model, or register' if ends else "Register"
    advice = f"{first} a rule: xai_core.propagation.register_rule({one.name!r}, rule)"
    if one.name in operations.UNRULED:
        advice = "No rule can be registered for it; take IntegratedGradients, which needs none"
    raise ValueError(
        f"`model` must run operations with a rule of DeepLIFT. Received: {one.told()}. {advice}."
    )


def check_rules(model: Any, run: Callable[[], Any], again: Callable[[], Any]) -> None:
    """Raise if an operation without a rule depends on the inputs; the others are constants.

    ``again`` runs the model like ``run``, on other tensors.
    """
    steps: list[Step] = []
    with recorded(model, steps):
        run()
    with ruled(model, steps, []):
        again()


def recorded(model: Any, steps: list[Step]) -> AbstractContextManager[Any]:
    """Within the block, list the operations that a model runs."""

    def handler(operation: Operation) -> Tensor:
        # Before it runs, for it may write into its operands.
        baselines = tuple(map(_kept, operation.tensors))
        result = operation.result
        steps.append(Step(operation.name, operation.tensors, baselines, _kept(result)))
        return result

    return model.operations(handler)


def _kept(tensors: Any) -> Any:
    """Tensors as they are now: what runs later may write into them, but not into weights."""

    def kept(tensor: Any) -> Any:
        written = _backend.EAGER and ops.is_tensor(tensor) and not tensor.requires_grad
        return ops.copy(tensor) if written else tensor

    return keras.tree.map_structure(kept, tensors)


def ruled(model: Any, steps: list[Step], missed: list[Tensor]) -> AbstractContextManager[Any]:
    """Within the block, operations have the multipliers from these steps as gradients.

    ``missed`` gets a number for each operation with a rule that a user registered: by how much
    the rule changes what the model computes.
    """
    left, known = iter(steps), propagation.rules()

    def handler(operation: Operation) -> Tensor:
        step = next(left, None)
        if step is None or step.name != operation.name:
            raise ValueError(
                "`model` must run the same operations for input and baseline. Received: "
                f"{Seen(operation.name, operation.path, None).told()} for the one and "
                f"{'nothing' if step is None else step.name} for the other."
            )
        result = None
        same = list(map(operator.is_, operation.tensors, step.tensors))
        if all(same) or (operation.name in _BILINEAR and any(same)):
            result = operation.result  # a constant, or linear in what is none
        else:
            _check_rule(Seen(operation.name, operation.path, None))
            rule = known[operation.name]
            result = rule(operation.call, operation.tensors, step.baselines, step.result)
        if propagation.is_registered(operation.name):
            missed.append(_missed(result, operation.result))
        return result

    return model.operations(handler)


def _missed(result: Tensor, expected: Tensor) -> Tensor:
    """The largest difference as a share of the largest number, 0 where it may be rounding."""
    limit = _arrays.epsilon(keras.backend.standardize_dtype(expected.dtype)) ** 0.5
    expected, result = (ops.stop_gradient(x) for x in (expected, result))
    finite = ops.isfinite(expected)
    size: Any = ops.max(ops.where(finite, ops.abs(expected), 0))
    gap: Any = ops.max(ops.where(finite, ops.abs(ops.subtract(result, expected)), 0))
    share: Any = gap / ops.where(size == 0, 1, size)
    return ops.where(share <= limit, 0, share)  # NaN is no rounding


def check_values(every: Sequence[Seen], missed: Sequence[Array]) -> None:
    """Raise if a rule that a user registered changes what the model computes."""
    own = [one for one in every if propagation.is_registered(one.name)]
    for one, share in zip(own, missed, strict=False):
        if share != 0:
            raise ValueError(
                "`rule` must return what equals function(*inputs). Received: the rule registered "
                f"for {one.told()}, whose result differs by {float(share):.0%} of the largest "
                "number. Return keras.ops.stop_gradient(function(*inputs) - own) + own, where "
                "`own` has the multipliers as its gradients."
            )
