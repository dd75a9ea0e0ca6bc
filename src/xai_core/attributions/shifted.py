"""Masks of coarse bits, stretched over the input and shifted, each by an amount of its own."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from keras import ops

from xai_core import _backend, designs, perturbation
from xai_core._inputs import chunks
from xai_core.attributions.cells import Grid, arranged, hats
from xai_core.attributions.rounds import Found
from xai_core.attributions.shared_steps import shared_step
from xai_core.perturbation import Masking
from xai_core.typing import Array, Tensor

_MASKS_AT_ONCE = 64
_SCORES_AT_ONCE = 32


class ShiftedPlan:
    """The shifted masks of each float input, by the bits of one design for all.

    Parameters
    ----------
    grids
        Those of each float input.
    design
        Gives the bits; it has the fields ``seed`` and ``expected``.
    """

    shared = True
    blend = staticmethod(perturbation.replaced)

    def __init__(self, grids: Sequence[Grid], design: Any) -> None:
        self._grids, self._design = grids, design
        self._cells = [_cell_sides(one) for one in grids]
        ends = np.cumsum([one.size(0) for one in grids])
        axes = np.cumsum([_stretched_axes(cell) for cell in self._cells])
        self.maskings = tuple(
            Masking(
                _shifted_mask,
                (
                    *(one.sides, one.counts, one.channel, tuple(cell)),
                    *(int(end) - one.size(0), int(axis) - _stretched_axes(cell)),
                ),
                leaf=leaf,
            )
            for leaf, (one, cell, end, axis) in enumerate(
                zip(grids, self._cells, ends, axes, strict=True)
            )
        )

    def checks(self, row: int) -> list[int]:
        """Numbers of masks after which an input has an estimate."""
        del row
        return self._design.checks()

    def codes(self, row: int, start: int, stop: int) -> tuple[Array, ...]:
        """Bits and shifts of some masks."""
        del row
        highs = tuple(side for cell in self._cells for side in cell if side > 1)
        return self._design.codes(start, stop), designs.shifts(
            self._design.seed, start, stop, highs
        )

    def share(self, row: int) -> int:
        """Each mask has a row of the background of its own."""
        del row
        return 1

    def found(self, rows: Array, scores: Array, whole: Array) -> list[Found]:
        """The mean scores where elements are kept, with their errors, of some inputs."""
        del rows, whole
        count, inputs, _ = scores.shape
        flat = scores.reshape(count, -1)
        middle = flat.mean(axis=0)
        parts = []
        for cut in chunks(flat.shape[1], _SCORES_AT_ONCE):
            sums = self._sums(flat[:, cut] - middle[cut])
            parts.append([coverage(count, own, middle[cut], self._design.expected) for own in sums])
        values, errors = (
            [
                _spread(one, np.concatenate([part[leaf][k] for part in parts]), inputs)
                for leaf, one in enumerate(self._grids)
            ]
            for k in (0, 1)
        )
        levels = middle.reshape(inputs, -1, 1)
        each = zip(zip(*values, strict=True), zip(*errors, strict=True), levels, strict=True)
        return [self._of_input(list(own), list(wrong), level) for own, wrong, level in each]

    def _of_input(self, values: list[Array], errors: list[Array], level: Array) -> Found:
        targets = len(values[0])
        every, wrong = (
            np.concatenate([x.reshape(targets, -1) for x in leaves], axis=1)
            for leaves in (values, errors)
        )
        farthest = np.abs(every - level).max(axis=1)
        return Found(values, errors, {}, None, wrong.mean(axis=1), farthest)

    def _sums(self, moved: Array) -> list[list[Array]]:
        """For each float input the sums of m, m², u m, u m² and u² m² over the masks."""
        count, width = moved.shape
        # Few shapes, for each is compiled.
        columns = 1 << (width - 1).bit_length()
        settings = tuple((one.keep, one.settings) for one in self.maskings)
        total: Any = None
        for cut in chunks(count, _MASKS_AT_ONCE):
            missing = _MASKS_AT_ONCE - (cut.stop - cut.start)
            fill = [(0, missing), (0, 0)]
            codes = [np.pad(x, fill) for x in self.codes(0, cut.start, cut.stop)]
            weights = np.pad(moved[cut], [(0, missing), (0, columns - width)])
            valid = np.pad(np.ones(cut.stop - cut.start, "float32"), (0, missing))
            sent = (ops.convert_to_tensor(x) for x in (weights.astype("float32"), valid))
            masks = tuple(ops.convert_to_tensor(x) for x in codes)
            found = shared_step(_summed, *sent, masks, settings=settings)
            total = (
                found
                if total is None
                else [
                    tuple(a + b for a, b in zip(old, new, strict=True))
                    for old, new in zip(total, found, strict=True)
                ]
            )
        return [[x if x.ndim == 1 else x[:width] for x in map(_on_host, own)] for own in total]


def _on_host(tensor: Tensor) -> Array:
    return _backend.to_host(tensor).astype("float64")


def _cell_sides(grid: Grid) -> list[int]:
    """The side of a cell along each axis; 1 where nothing is stretched, as along channels."""
    pairs = zip(grid.sides, grid.counts, strict=True)
    return [-(-side // count) if count > 1 else 1 for side, count in pairs]


def _stretched_axes(cell: list[int]) -> int:
    return sum(side > 1 for side in cell)


def _spread(grid: Grid, values: Array, inputs: int) -> Array:
    """Numbers (inputs x M, P) of a mask's elements on the map of each input, (inputs, M, ...)."""
    pairs = zip(grid.sides, grid.counts, strict=True)
    sides = [1 if count == 1 else side for side, count in pairs]
    targets = len(values) // inputs
    found = values.reshape(inputs, targets, *sides)
    return np.broadcast_to(found, (inputs, targets, *grid.spread_sides))


def _shifted_mask(arrays: Any, x: Tensor, codes: Any, own: Any, settings: Any) -> Any:
    """The bits, stretched over one cell more than the input has, and cut where the shift says."""
    del x, own
    bits, shifts = codes
    sides, counts, channel, cells, first, column = settings
    mask = arranged(arrays, bits[:, first : first + math.prod(counts)], counts, channel)
    mask = mask.astype("float32") if arrays is np else arrays.cast(mask, "float32")
    for axis, (side, count, cell) in enumerate(zip(sides, counts, cells, strict=True)):
        if cell > 1:
            mask = _stretched(arrays, mask, axis + 1, (side, count, cell), shifts[:, column])
            column += 1
    return mask


def _stretched(arrays: Any, mask: Any, axis: int, sizes: tuple[int, int, int], shift: Any) -> Any:
    side, count, cell = sizes
    shift = shift.astype("float32") if arrays is np else arrays.cast(shift, "float32")
    place = arrays.arange(side, dtype="float32") + arrays.reshape(shift, (-1, 1)) + 0.5
    place = arrays.clip(place * (count / ((count + 1) * cell)) - 0.5, 0, count - 1)
    last = len(mask.shape) - 1
    mask = arrays.moveaxis(mask, axis, last)
    shape = tuple(mask.shape[1:-1])
    rows = arrays.reshape(mask, (-1, math.prod(shape), count))
    along = arrays.reshape(arrays.matmul(rows, hats(arrays, place, count)), (-1, *shape, side))
    return arrays.moveaxis(along, last, axis)


def _summed(
    weights: Tensor, valid: Tensor, codes: tuple[Tensor, ...], *, settings: tuple[Any, ...]
) -> list[tuple[Tensor, ...]]:
    """Sums over some masks for each float input; ``weights`` (k, w) are centred scores."""
    found = []
    columns: Any = ops.transpose(weights)
    for keep, own in settings:
        flat: Any = ops.reshape(keep(ops, None, codes, (), own), (_MASKS_AT_ONCE, -1))
        mask = flat * ops.expand_dims(valid, 1)
        squared: Any = mask * mask
        found.append(
            (
                *(ops.sum(mask, axis=0), ops.sum(squared, axis=0)),
                *(ops.matmul(columns, mask), ops.matmul(columns, squared)),
                ops.matmul(columns * columns, squared),
            )
        )
    return found


def coverage(
    count: int, sums: Sequence[Array], middle: Array, expected: float | None
) -> tuple[Array, Array]:
    r"""The mean score where an element is kept, and its standard error by the delta method.

    Parameters
    ----------
    count
        Number of masks.
    sums
        Over the masks: of m, of m², and of u m, u m² and u² m², where m (P,) is how much a mask
        keeps of an element and u (M,) the centred score.
    middle
        What the scores were centred by, (M,).
    expected
        The share that masks are taken to keep of an element; None is what they kept.

    Returns
    -------
    tuple of arrays, (M, P)
        Means and errors.
    """
    kept, kept2, first, first2, second2 = sums
    middle = middle[:, None]
    if expected is not None:
        total = count * expected
        values = (first + middle * kept) / total
        squares = second2 + 2 * middle * first2 + middle**2 * kept2
        spread = squares - (values * expected) ** 2 * count
        return values, np.sqrt(np.maximum(spread, 0) * count / (count - 1)) / total
    if not kept.all():
        raise ValueError(
            "`n_samples` must be so many that each element is kept by a mask. Received: "
            f"{count}, which leave out {int((kept == 0).sum())} elements always."
        )
    shift = first / kept
    squares = second2 - 2 * shift * first2 + shift**2 * kept2
    return middle + shift, np.sqrt(np.maximum(squares, 0) * count / (count - 1)) / kept
