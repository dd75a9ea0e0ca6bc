"""Both ends of paths from baselines to inputs."""

from __future__ import annotations

from typing import Any

from keras import ops

from xai_core._request import Group
from xai_core._scoring import score_step
from xai_core.operations import RECTIFIER, Operation
from xai_core.typing import Tensor


def end_scores(
    group: Group, starts: list[Any], batch_size: int
) -> tuple[Tensor, tuple[Tensor, ...], Tensor]:
    """Scores of the inputs, the targets, and the mean score of the baselines, NaN where it is."""
    own, targets, count = group.inputs(), group.targets(), 1 + len(starts)
    # A baseline of tokens may be all padding, of which some models have no mean.
    step = score_step if group.request.batch.float_leaves() else _strict_step
    if targets and count * group.padded_size <= batch_size:
        floats, integers = (joined(list(part)) for part in zip(own, *starts, strict=True))
        every, _ = group.step(
            step, floats, integers, joined([targets] * count), rows=count * len(group)
        )
        found: Any = ops.split(every, count)
    else:
        first, targets = group.step(step, *own, targets, rows=len(group))
        steps = (group.step(step, *start, targets, rows=len(group)) for start in starts)
        found = [first, *(scores for scores, _ in steps)]
    return found[0], targets, sum(found[2:], found[1]) / len(starts)


def _strict_step(score: Any, floats: Any, integers: Any, targets: Any) -> Any:
    """Scores (N, M) and their targets, with rectifiers that let NaN pass.

    TensorFlow's kernels of a layer and its rectifier in one make 0 of NaN.
    """

    def handler(operation: Operation) -> Tensor:
        result = operation.result
        if operation.name != RECTIFIER:
            return result
        (x,) = operation.tensors
        return ops.where(ops.isnan(x), x, result)

    with score.model.operations(handler):
        return score(floats, integers, targets)


def joined(parts: list[tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
    """The rows of several structures of leaves behind one another."""
    if len(parts) == 1:
        return parts[0]
    return tuple(ops.concatenate(leaf) for leaf in zip(*parts, strict=True))
