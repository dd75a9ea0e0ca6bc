"""The engine of black-box methods: compact masks in, scores out, in full batches.

A perturbation replaces part of an input. Which part, a *code* says, a few numbers that
`Masking.keep` turns into a mask where the model computes, once for all inputs that share it. Rows
of several inputs fill each batch, and no more than one batch of masks and perturbed inputs exists
at a time.
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


class Codes(NamedTuple):
    """The masks of r rows in short.

    Parameters
    ----------
    source
        The input of each row in its group, integers (r,).
    codes
        Arrays (u, ...).
    place
        Which of the u masks each row has, integers (r,); None where each row has one of its own.
    widest
        The largest u that any batch has, to which masks are filled up where shapes are fixed.
    """

    source: Array
    codes: tuple[Array, ...]
    place: Array | None = None
    widest: int = 0


@dataclass(frozen=True, eq=False)
class Masking:
    """How codes become the mask of one float input.

    Parameters
    ----------
    keep
        A module-level function (arrays, x, codes, own, settings) -> mask (u, ...), which
        broadcasts against the inputs x: booleans, True where an input is kept, or shares from 0
        to 1. ``arrays`` is `keras.ops` or `numpy`. Of x only the shape may be read where rows
        share their masks.
    settings
        What shapes the mask, hashable.
    own
        Tensors (n, ...) with facts of each input of the group, which ``keep`` gets by row, for
        rows with masks of their own.
    shared
        Tensors that ``keep`` gets as they are, after ``own``.
    leaf
        Which float input is masked.
    """

    keep: Callable[..., Tensor]
    settings: tuple[Any, ...] = ()
    own: tuple[Tensor, ...] = ()
    shared: tuple[Tensor, ...] = ()
    leaf: int = 0


def replaced(arrays: Any, x: Tensor, mask: Any, absent: Any) -> Tensor:
    """Rows with ``absent`` where they are not kept, in proportion to the mask."""
    if "bool" in str(mask.dtype):
        return arrays.where(mask, x, absent)
    x, mask, absent = in_one_type(arrays, x, mask, absent)
    return absent + mask * (x - absent)


def in_one_type(arrays: Any, x: Any, mask: Any, absent: Any) -> tuple[Any, Any, Any]:
    """Numbers that can be subtracted: those of the inputs' float type, integers as float64."""
    if arrays is not np:
        return x, arrays.cast(mask, x.dtype), absent
    kind = x.dtype if x.dtype.kind == "f" else np.dtype("float64")
    return x.astype(kind), mask.astype(kind), absent.astype(kind)


class Inside(NamedTuple):
    """A layer whose output is masked in place of the inputs.

    Parameters
    ----------
    path, layer, call
        The layer, or the middle of a pair, as the model finds it, and which of its calls.
    activations
        What it gives for the inputs of the group, (n, ...).
    """

    path: str
    layer: Any
    call: int | None
    activations: Tensor


@dataclass(frozen=True, eq=False)
class Perturbation:
    """What is masked in a group of inputs.

    Parameters
    ----------
    total
        Number of pairs (input, mask).
    codes
        Maps an array of pair numbers below ``total`` to `Codes`, in the order of the pairs.
    masks
        The float inputs that are masked, all by the same codes.
    blend
        A module-level function (arrays, x, mask, absent) -> perturbed rows.
    inside
        The layer that the only one of ``masks`` means, if it means none of the inputs.
    """

    total: int
    codes: Callable[[Array], Codes]
    masks: tuple[Masking, ...]
    blend: Callable[..., Tensor] = replaced
    inside: Inside | None = None


@dataclass(frozen=True, eq=False)
class Absent:
    """What stands where an input is not kept.

    Parameters
    ----------
    leaves
        One tensor (s, ...) per float input.
    start
        Maps (index of the input, pair, turn) of some rows to which of the s each of them takes.
    turns
        Number of rows for each pair, over which the scores are averaged.
    """

    leaves: tuple[Tensor, ...]
    start: Callable[[Array, Array, Array], Array]
    turns: int = 1


def baselines(group: Group, every: list[tuple[Tensor, ...]]) -> Absent:
    """Each of several baselines, with rows for each input of a group."""
    arrays = group.request.model.arrays
    leaves = [x[0] if len(x) == 1 else arrays.concatenate(x) for x in zip(*every, strict=True)]
    size = group.padded_size
    return Absent(tuple(leaves), lambda index, pair, turn: turn * size + index, len(every))


def averaged(leaves: tuple[Tensor, ...]) -> Absent:
    """Each of some rows of data in turn, the same for all inputs."""
    return Absent(leaves, lambda index, pair, turn: turn, int(leaves[0].shape[0]))


class Scored(NamedTuple):
    """Scores (total, M), averaged over the turns, and the predicted classes (total,)."""

    scores: Array
    classes: Array | None


def scored(
    group: Group,
    perturbation: Perturbation,
    targets: tuple[Tensor, ...],
    absent: Absent,
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
    absent
        What stands where an input is not kept.
    batch_size
        Number of rows that the model sees at once.
    classes
        Also return the predicted classes, where there is one turn.
    """
    masks = perturbation.masks
    inside = perturbation.inside
    given = *group.inputs(), targets, () if inside is None else (inside.activations,)
    path, layer, call = (None, None, None) if inside is None else inside[:3]
    facts = tuple((absent.leaves[one.leaf], one.own, one.shared) for one in masks)
    static = tuple((one.leaf, one.keep, one.settings) for one in masks)
    found = []
    for rows, index, start, place, codes in _batches(group, perturbation, absent, batch_size):
        result = group.step(
            _masked_step,
            *(given, facts, group.sent(index), group.sent(start)),
            () if place is None else (group.sent(place),),
            tuple(map(group.sent, codes)),
            rows=rows,
            masks=static,
            blend=perturbation.blend,
            classes=classes,
            path=path,
            layer=layer,
            call=call,
        )
        found.append([part if len(part) == rows else part[:rows] for part in result])
    scores, *others = (
        np.concatenate([_backend.to_host(part) for part in parts])
        for parts in zip(*found, strict=True)
    )
    scores = scores.reshape(perturbation.total, absent.turns, -1).mean(axis=1)
    return Scored(scores, others[0] if others else None)


def check_finite(scores: Array) -> None:
    """Raise if the model gave no finite score for masked inputs."""
    bad = np.flatnonzero(~np.isfinite(scores).all(axis=1))
    if bad.size:
        raise ValueError(
            "`operator` must give finite scores of masked inputs. Received: NaN or infinity for "
            f"{bad.size} of {len(scores)}. Check what the model makes of `baseline`."
        )


def _batches(
    group: Group, perturbation: Perturbation, absent: Absent, size: int
) -> Iterator[tuple[int, Array, Array, Array | None, tuple[Array, ...]]]:
    """The number of rows of each batch, and of its rows input, stand-in, mask and codes."""
    fixed = _backend.FIXED_SHAPES and not group.request.model.on_host
    for part in chunks(perturbation.total * absent.turns, size):
        row = np.arange(part.start, part.stop)
        pair, turn = row // absent.turns, row % absent.turns
        found = Codes(*perturbation.codes(pair))
        start = absent.start(found.source, pair, turn)
        missing = size - len(row) if fixed else 0
        index, start = (_filled(x.astype("int32"), missing) for x in (found.source, start))
        place, codes = found.place, found.codes
        if place is None:
            codes = tuple(_filled(array, missing) for array in codes)
        else:
            place = _filled(place.astype("int32"), missing)
            more = found.widest - len(codes[0]) if fixed else 0
            codes = tuple(_filled(array, more) for array in codes)
        yield len(row), index, start, place, codes


def _filled(array: Array, missing: int) -> Array:
    """An array with its last row repeated."""
    return np.pad(array, [(0, missing), *[(0, 0)] * (array.ndim - 1)], mode="edge")


def _masked_step(
    score: Any,
    given: Any,
    facts: Any,
    index: Tensor,
    start: Tensor,
    place: tuple[Tensor, ...],
    codes: tuple[Tensor, ...],
    *,
    masks: tuple[tuple[int, Callable[..., Tensor], tuple[Any, ...]], ...],
    blend: Callable[..., Tensor],
    classes: bool,
    path: str | None,
    layer: Any,
    call: int | None,
) -> tuple[Tensor, ...]:
    """Mask the rows of one batch, or what a layer gives for them, and score them."""
    arrays: Any = score.model.arrays
    floats, integers, targets, inside = given
    leaves = inside or floats

    def rows(leaves: Any) -> list[Tensor]:
        return [arrays.take(x, index, axis=0) for x in leaves]

    masked = {}
    for (leaf, keep, settings), own in zip(masks, facts, strict=True):
        mask = partial(_masked, arrays, blend, keep, settings)
        chosen: Any = leaves[leaf], *own, index, start, place, codes
        masked[leaf] = mask(*chosen) if arrays is np else _backend.fused(mask, *chosen)
    taken = [
        masked[k] if k in masked else arrays.take(x, index, axis=0) for k, x in enumerate(leaves)
    ]

    def run(x: Any) -> tuple[Tensor, ...]:
        arguments = tuple(x), tuple(rows(integers)), tuple(rows(targets))
        return score.with_classes(*arguments) if classes else score(*arguments)[:1]

    if not inside:
        return run(taken)
    # All that the model computes below the layer is then unused, and compilers leave it out.
    with score.model.tap((path, layer), lambda x: arrays.cast(taken[0], x.dtype), call):
        return run(rows(floats))


def _masked(
    arrays: Any,
    blend: Callable[..., Tensor],
    keep: Callable[..., Tensor],
    settings: tuple[Any, ...],
    x: Tensor,
    absent: Tensor,
    own: tuple[Tensor, ...],
    shared: tuple[Tensor, ...],
    index: Tensor,
    start: Tensor,
    place: tuple[Tensor, ...],
    codes: tuple[Tensor, ...],
) -> Tensor:
    """Rows of one input, with what is absent where they are not kept."""
    own_rows = [arrays.take(leaf, index, axis=0) for leaf in own]
    x, absent = _taken(arrays, x, index), _taken(arrays, absent, start)
    mask = keep(arrays, x, codes, (*own_rows, *shared), settings)
    if place:
        mask = arrays.take(mask, place[0], axis=0)
    return blend(arrays, x, mask, absent)


def _taken(arrays: Any, leaf: Tensor, rows: Tensor) -> Tensor:
    """Rows of an input; a single one is left as it is, for masks spread it over theirs."""
    return leaf if leaf.shape[0] == 1 else arrays.take(leaf, rows, axis=0)
