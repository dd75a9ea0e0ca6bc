"""The parts of an input that are masked one by one: patches, or groups of elements."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from operator import contains
from typing import Any, NamedTuple

import numpy as np

from xai_core._inputs import host
from xai_core._request import Group
from xai_core.perturbation import Codes, Masking, Perturbation
from xai_core.typing import Array, Tensor


class Cells(NamedTuple):
    """Boxes: along which axes, of which size, and where they start on each."""

    axes: tuple[int, ...]
    sizes: tuple[int, ...]
    starts: list[list[int]]

    @property
    def total(self) -> int:
        """Number of boxes."""
        return math.prod(len(one) for one in self.starts)


class Patches:
    """The patches of a group of inputs."""

    def __init__(self, cells: Cells, rows: int, shape: Sequence[int], leaf: int) -> None:
        self._cells, self._shape = cells, shape
        self._corners = first = np.array(list(itertools.product(*cells.starts)), "int32")
        behind = first + np.array(cells.sizes, "int32")
        self.perturbation = Perturbation(
            cells.total * rows,
            lambda pair: Codes(pair % rows, (first[pair // rows], behind[pair // rows])),
            (Masking(_outside_boxes, (cells.axes,), leaf=leaf),),
        )

    def arranged(self, scores: Array, whole: Array) -> Array:
        """The drops (n, M, d) from scores of pairs."""
        each = scores.reshape(self._cells.total, *whole.shape)
        return np.moveaxis(whole - each, 0, -1)

    def spread(self, drops: Array) -> Array:
        """The mean drop of the patches over each element, (n, M, ...)."""
        axes, sizes, _ = self._cells
        shape = [side if k in axes else 1 for k, side in enumerate(self._shape)][1:]
        total = np.zeros((*drops.shape[:2], *shape), drops.dtype)
        times = np.zeros(shape, drops.dtype)
        for k, corner in enumerate(self._corners):
            box = [slice(None)] * len(shape)
            for axis, start, size in zip(axes, corner, sizes, strict=True):
                box[axis - 1] = slice(start, start + size)
            total[(..., *box)] += drops[:, :, k].reshape(*drops.shape[:2], *[1] * len(shape))
            times[tuple(box)] += 1
        return total / times


def _outside_boxes(
    arrays: Any, x: Tensor, codes: Any, own: Any, settings: tuple[Any, ...]
) -> Tensor:
    """Everything but the box from the first corner of the code to before the second."""
    del own
    (first, behind), (axes,) = codes, settings
    rank = len(x.shape)
    inside: Any = None
    for k, axis in enumerate(axes):
        line = [1] * rank
        line[axis] = x.shape[axis]
        position = arrays.reshape(arrays.arange(x.shape[axis], dtype="int32"), line)
        low, high = (
            arrays.reshape(corner[:, k], (-1, *[1] * (rank - 1))) for corner in (first, behind)
        )
        along = arrays.logical_and(position >= low, position < high)
        inside = along if inside is None else arrays.logical_and(inside, along)
    return arrays.logical_not(inside)


class Groups:
    """The groups of elements of a feature mask, which each input may have of its own."""

    def __init__(self, every: Array, group: Group) -> None:
        """``every`` holds the `places` of one mask for all inputs, or of one for each."""
        own = every[group.rows] if len(every) > 1 else every
        lengths = np.broadcast_to(counts(own), (len(group),))
        self._row = row = np.repeat(np.arange(len(group)), lengths)
        self._place = place = np.concatenate([np.arange(length) for length in lengths])
        self._own, self._widest = own, every.max() + 1
        each = np.broadcast_to(own, (len(group), *own.shape[1:]))
        self.perturbation = Perturbation(
            len(row),
            lambda pair: Codes(row[pair], (place[pair].astype("int32"),)),
            (Masking(_outside_group, own=(group.to_device(np.ascontiguousarray(each)),)),),
        )

    def arranged(self, scores: Array, whole: Array) -> Array:
        """The drops (n, M, d) from scores of pairs; NaN where an input has fewer groups."""
        drops = np.full((*whole.shape, self._widest), np.nan, whole.dtype)
        drops[self._row, :, self._place] = whole[self._row] - scores
        return drops

    def spread(self, drops: Array) -> Array:
        """The drop of the group of each element, (n, M, ...)."""
        own = self._own
        return np.stack([one[:, own[k % len(own)]] for k, one in enumerate(drops)])


def _outside_group(
    arrays: Any, x: Tensor, codes: Any, own: Any, settings: tuple[Any, ...]
) -> Tensor:
    """Everything but the elements of the group that the code names."""
    del settings
    return own[0] != arrays.reshape(codes[0], (-1, *[1] * (len(x.shape) - 1)))


def counts(places: Array) -> Array:
    """Number of groups of each mask."""
    return places.reshape(len(places), -1).max(axis=1) + 1


def places(mask: Any, shape: Sequence[int], channel: int | None, rows: int | None = None) -> Array:
    """The groups of a feature mask by consecutive numbers from 0.

    ``shape`` is that of one sample, and ``channel`` its axis of channels, the batch axis counted.
    The result has the batch axis, of length 1 or ``rows``, and the channel axis, of 1 or C. Where
    the number of rows is not known, a mask may have any.
    """
    given = host(mask, "feature_mask")
    count = len(given) if rows is None and given.ndim else rows
    sides = [
        (count, 1),
        *((side, 1) if k == channel else (side,) for k, side in enumerate(shape, 1)),
    ]
    for labels in _readings(given, len(sides), channel):
        if labels.ndim == len(sides) and all(map(contains, sides, labels.shape)):
            each = [np.unique(one, return_inverse=True)[1].reshape(one.shape) for one in labels]
            return np.stack(each).astype("int32")
    raise ValueError(
        f"`feature_mask` must have the shape of one sample, {tuple(shape)}, or of the inputs, "
        f"{('N' if rows is None else rows, *shape)}, with or without channels. "
        f"Received: {given.shape}."
    )


def _readings(given: Array, rank: int, channel: int | None) -> Iterator[Array]:
    """A mask as it is, as that of one sample, and both with an axis of channels."""
    for labels in (given[None], given) if given.ndim < rank else (given,):
        yield labels
        if channel is not None and labels.ndim == rank - 1:
            yield np.expand_dims(labels, channel)


def check_mask(mask: Any, explainer: Any, others: Sequence[str]) -> None:
    """Raise unless a mask holds integers, and fields that shape other cells are left out."""
    if mask is None:
        return
    array = host(mask, "feature_mask")
    if array.dtype.kind not in "iu":
        raise TypeError(f"`feature_mask` must hold integers. Received: {array.dtype}.")
    for name in others:
        if getattr(explainer, name) is not None:
            raise ValueError(
                f"`{name}` must be left out beside `feature_mask`. "
                f"Received: {getattr(explainer, name)!r}."
            )


def per_axis(name: str, value: Any, usual: Sequence[int]) -> list[int]:
    """One number for each axis of space or time."""
    if value is None:
        return list(usual)
    sizes = list(value) if isinstance(value, tuple) else [value] * len(usual)
    if len(sizes) != len(usual):
        raise ValueError(
            f"`{name}` must be one number, or one for each of {len(usual)} axes. "
            f"Received: {value!r}."
        )
    return sizes
