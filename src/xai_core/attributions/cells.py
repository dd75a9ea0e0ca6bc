"""The cells of an input that sampled masks keep or leave out: a grid, or groups of elements."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from xai_core.attributions import parts
from xai_core.perturbation import Masking
from xai_core.typing import Array, Tensor


@dataclass(frozen=True)
class Grid:
    """Boxes of nearly equal sides, which all inputs share.

    Parameters
    ----------
    sides
        Those of one sample.
    counts
        Number of cells along each of them.
    channel
        The axis of channels; cells are counted as if it were the last.
    reduced
        Whether channels are masked together.
    smooth
        Whether what is between the centres of two cells belongs to both, in proportion.
    """

    sides: tuple[int, ...]
    counts: tuple[int, ...]
    channel: int | None
    reduced: bool
    smooth: bool

    def size(self, row: int) -> int:
        """Number of cells of an input."""
        del row
        return math.prod(self.counts)

    @property
    def spread_sides(self) -> tuple[int, ...]:
        """Those of the map of one sample."""
        reduced = self.channel if self.reduced else None
        return tuple(1 if k == reduced else side for k, side in enumerate(self.sides))

    def masking(self, leaf: int, first: int) -> Masking:
        """The masks of codes whose columns from ``first`` on are the cells of this grid."""
        settings = self.sides, self.counts, self.channel, self.smooth, first
        return Masking(_grid_mask, settings, leaf=leaf)

    def spread(self, features: Array, row: int) -> Array:
        """The cells' numbers (M, d) on each of their elements, (M, ...)."""
        del row
        found = arranged(np, features, self.counts, self.channel)
        for axis, (side, count) in enumerate(zip(self.spread_sides, self.counts, strict=True)):
            found = stretched(np, found, axis + 1, side, count, self.smooth)
        return found


def arranged(arrays: Any, cells: Any, counts: tuple[int, ...], channel: int | None) -> Any:
    """Cells (n, d), counted with channels last, along the axes of the input."""
    if channel is None or channel == len(counts) - 1:
        return arrays.reshape(cells, (-1, *counts))
    last = *counts[:channel], *counts[channel + 1 :], counts[channel]
    return arrays.moveaxis(arrays.reshape(cells, (-1, *last)), len(counts), channel + 1)


def stretched(arrays: Any, cells: Any, axis: int, side: int, count: int, smooth: bool) -> Any:
    """Cells along an axis with the side of the input."""
    if count == side:
        return cells
    if not smooth or count == 1:
        return arrays.take(cells, arrays.arange(side, dtype="int32") * count // side, axis=axis)
    last = len(cells.shape) - 1
    along = arrays.matmul(arrays.moveaxis(cells, axis, last), _between(arrays, side, count))
    return arrays.moveaxis(along, last, axis)


def _between(arrays: Any, side: int, count: int) -> Any:
    """Weights (count, side) that interpolate between the centres of cells."""
    place = (arrays.arange(side, dtype="float32") + 0.5) * (count / side) - 0.5
    return hats(arrays, arrays.clip(place, 0, count - 1), count)


def hats(arrays: Any, place: Any, count: int) -> Any:
    """Weights (..., count, side) of linear interpolation at places (..., side)."""
    cell = arrays.reshape(arrays.arange(count, dtype="float32"), (count, 1))
    distance = arrays.abs(arrays.expand_dims(place, -2) - cell)
    return arrays.maximum(1 - distance, 0 * distance)


def _grid_mask(arrays: Any, x: Tensor, codes: Any, own: Any, settings: Any) -> Any:
    """The cells that the code keeps."""
    del own, x
    sides, counts, channel, smooth, first = settings
    cells = arranged(arrays, codes[0][:, first : first + math.prod(counts)], counts, channel)
    between = any(count not in (1, side) for side, count in zip(sides, counts, strict=True))
    if smooth and between and "bool" in str(cells.dtype):
        cells = cells.astype("float32") if arrays is np else arrays.cast(cells, "float32")
    for axis, (side, count) in enumerate(zip(sides, counts, strict=True)):
        if count > 1:
            cells = stretched(arrays, cells, axis + 1, side, count, smooth)
    return cells


@dataclass(frozen=True, eq=False)
class Labelled:
    """The groups of a feature mask, one for all inputs or one for each.

    Parameters
    ----------
    places
        Numbers of groups, (1 or n, ...).
    sent
        The same as a tensor.
    """

    places: Array
    sent: Tensor

    @property
    def shared(self) -> bool:
        """Whether all inputs have the same groups."""
        return len(self.places) == 1

    def size(self, row: int) -> int:
        """Number of groups of an input."""
        return int(self._counts[row % len(self.places)])

    @cached_property
    def _counts(self) -> Array:
        return parts.counts(self.places)

    def masking(self, leaf: int, first: int) -> Masking:
        """The masks of codes whose columns from ``first`` on are the groups."""
        if self.shared:
            return Masking(_shared_groups, (first,), shared=(self.sent,), leaf=leaf)
        return Masking(_own_groups, (first,), own=(self.sent,), leaf=leaf)

    def spread(self, features: Array, row: int) -> Array:
        """The groups' numbers (M, d) on each of their elements, (M, ...)."""
        return features[:, self.places[row % len(self.places)]]


def _shared_groups(arrays: Any, x: Tensor, codes: Any, own: Any, settings: Any) -> Any:
    """The groups that the code keeps, of a mask that all inputs share."""
    del x
    (place,), (first,) = own, settings
    return arrays.take(codes[0], place[0] + first, axis=1)


def _own_groups(arrays: Any, x: Tensor, codes: Any, own: Any, settings: Any) -> Any:
    """The groups that the code keeps, of a mask for each row."""
    del x
    (place,), (first,) = own, settings
    shape = tuple(place.shape[1:])
    flat = arrays.reshape(place, (-1, math.prod(shape))) + first
    return arrays.reshape(arrays.take_along_axis(codes[0], flat, axis=1), (-1, *shape))


def grid(
    shape: Sequence[int], channel: int | None, counts: Sequence[int], each: bool, smooth: bool
) -> Grid:
    """The grid of inputs of a shape, batch axis included; ``each`` channel by itself."""
    sides = tuple(shape[1:])
    if channel is None:
        return Grid(sides, tuple(counts), None, False, smooth)
    every = list(counts)
    every.insert(channel - 1, sides[channel - 1] if each else 1)
    return Grid(sides, tuple(every), channel - 1, not each, smooth)
