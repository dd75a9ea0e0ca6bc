"""The engine of black-box methods: compact masks in, scores out, in full batches.

A perturbation replaces part of an input by a baseline. Which part, a row's *code* says, a few
numbers that `Perturbation.keep` turns into a mask where the model computes. Rows of several inputs
fill each batch, and no more than one batch of masks and perturbed inputs exists at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from xai_core import _backend
from xai_core._inputs import chunks
from xai_core._request import Group
from xai_core.typing import Array, Tensor


@dataclass(frozen=True, eq=False)
class Perturbation:
    """What is masked in one float input of a group of rows.

    Parameters
    ----------
    total
        Number of pairs (input, mask).
    codes
        Maps an array of pair numbers below ``total`` to (index of the input in the group, codes):
        integers (r,), and a tuple of arrays (r, ...) with the masks in short.
    keep
        A module-level function (arrays, x, codes, own, settings) -> boolean mask (r, ...), True
        where an input is kept. It broadcasts against the inputs x (r, ...). ``arrays`` is
        `keras.ops` or `numpy`.
    settings
        What shapes the mask, hashable.
    own
        Tensors (n, ...) with facts of each input of the group, which ``keep`` gets by row.
    leaf
        Which float input is perturbed.
    """

    total: int
    codes: Callable[[Array], tuple[Array, tuple[Array, ...]]]
    keep: Callable[..., Tensor]
    settings: tuple[Any, ...] = ()
    own: tuple[Tensor, ...] = ()
    leaf: int = 0


class Scored(NamedTuple):
    """Scores (total, M), averaged over the baselines, and the predicted classes (total,)."""

    scores: Array
    classes: Array | None


def scored(
    group: Group,
    perturbation: Perturbation,
    targets: tuple[Tensor, ...],
    baselines: list[tuple[Tensor, ...]],
    batch_size: int,
    classes: bool = False,
) -> Scored:
    """Score every masked input for every target.

    Parameters
    ----------
    group
        The inputs.
    perturbation
        The masks.
    targets
        Leaves (n, M, ...).
    baselines
        The float leaves of each baseline: what stands where an input is not kept.
    batch_size
        Number of rows that the model sees at once.
    classes
        Also return the predicted classes, of the only baseline.
    """
    floats, integers = group.inputs()
    starts = [baseline[perturbation.leaf] for baseline in baselines]
    arrays = group.request.model.arrays
    start = starts[0] if len(starts) == 1 else arrays.concatenate(starts)
    found = []
    for rows, sent in _batches(group, perturbation, len(baselines), batch_size):
        result = group.step(
            _masked_step,
            (floats, integers, targets),
            start,
            perturbation.own,
            *(group.sent(array) for array in sent),
            rows=rows,
            keep=perturbation.keep,
            settings=perturbation.settings,
            leaf=perturbation.leaf,
            classes=classes,
        )
        found.append([part if len(part) == rows else part[:rows] for part in result])
    scores, *others = (
        np.concatenate([_backend.to_host(part) for part in parts])
        for parts in zip(*found, strict=True)
    )
    scores = scores.reshape(perturbation.total, len(baselines), -1).mean(axis=1)
    return Scored(scores, others[0] if others else None)


def _batches(
    group: Group, perturbation: Perturbation, baselines: int, size: int
) -> Iterator[tuple[int, list[Array]]]:
    """Index of the input, index of its baseline, and codes, for the rows of each batch."""
    fixed = _backend.FIXED_SHAPES and not group.request.model.on_host
    for part in chunks(perturbation.total * baselines, size):
        row = np.arange(part.start, part.stop)
        index, codes = perturbation.codes(row // baselines)
        start = row % baselines * group.padded_size + index
        missing = size - len(row) if fixed else 0
        yield (
            len(row),
            [
                np.pad(array, [(0, missing), *[(0, 0)] * (array.ndim - 1)], mode="edge")
                for array in (index.astype("int32"), start.astype("int32"), *codes)
            ],
        )


def _masked_step(
    score: Any,
    given: Any,
    baseline: Tensor,
    own: tuple[Tensor, ...],
    index: Tensor,
    start: Tensor,
    *codes: Tensor,
    keep: Callable[..., Tensor],
    settings: tuple[Any, ...],
    leaf: int,
    classes: bool,
) -> tuple[Tensor, ...]:
    """Mask the rows of one batch, and score them."""
    arrays: Any = score.model.arrays

    floats, integers, targets = given
    mask = partial(_masked, arrays, keep, settings)
    chosen = floats[leaf], baseline, own, index, start, codes
    masked = mask(*chosen) if arrays is np else _backend.fused(mask, *chosen)

    def rows(leaves: Any) -> tuple[Tensor, ...]:
        return tuple(arrays.take(x, index, axis=0) for x in leaves)

    before, after = rows(floats[:leaf]), rows(floats[leaf + 1 :])
    arguments = (*before, masked, *after), rows(integers), rows(targets)
    return score.with_classes(*arguments) if classes else score(*arguments)[:1]


def _masked(
    arrays: Any,
    keep: Callable[..., Tensor],
    settings: tuple[Any, ...],
    x: Tensor,
    baseline: Tensor,
    own: tuple[Tensor, ...],
    index: Tensor,
    start: Tensor,
    codes: tuple[Tensor, ...],
) -> Tensor:
    """Rows of ``x``, with the baseline where they are not kept."""
    x, *own_rows = (arrays.take(leaf, index, axis=0) for leaf in (x, *own))
    mask = keep(arrays, x, codes, own_rows, settings)
    return arrays.where(mask, x, arrays.take(baseline, start, axis=0))
