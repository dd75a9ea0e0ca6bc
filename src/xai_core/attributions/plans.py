"""Masks over the cells of every float input at once, by one design."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from xai_core import perturbation
from xai_core.attributions.cells import Grid, Labelled
from xai_core.attributions.rounds import Found
from xai_core.estimators import Design, Estimate
from xai_core.typing import Array

_WIDTH = 64
"""Codes of inputs with different numbers of cells have a multiple of this many columns."""


class CellPlan:
    """The cells of each float input, kept or masked by the codes of one design for all.

    Parameters
    ----------
    cells
        Those of each float input.
    design
        Makes the design for a number of cells.
    rows
        Number of inputs.
    blend
        How rows are perturbed by masks.
    share
        Number of consecutive masks that share a drawn row of the background, for a number of
        cells.
    """

    def __init__(
        self,
        cells: Sequence[Grid | Labelled],
        design: Callable[[int], Design],
        rows: int,
        blend: Callable[..., Any] = perturbation.replaced,
        share: Callable[[int], int] = lambda count: 1,
    ) -> None:
        self._cells, self.blend, self._share = cells, blend, share
        self.shared = all(not isinstance(one, Labelled) or one.shared for one in cells)
        count = 1 if self.shared else rows
        self._ends = [np.cumsum([one.size(row) for one in cells]) for row in range(count)]
        made = {int(ends[-1]): design(int(ends[-1])) for ends in self._ends}
        self._designs = [made[int(ends[-1])] for ends in self._ends]
        widest = max(made)
        self._width = widest if self.shared else -(-widest // _WIDTH) * _WIDTH
        starts = [0, *self._ends[0][:-1]]
        self.maskings = tuple(
            one.masking(leaf, int(first))
            for leaf, (one, first) in enumerate(zip(cells, starts, strict=True))
        )

    def checks(self, row: int) -> list[int]:
        """Numbers of masks after which an input has an estimate."""
        return self._designs[row % len(self._designs)].checks()

    def codes(self, row: int, start: int, stop: int) -> tuple[Array, ...]:
        """Which cells the masks keep."""
        codes = self._designs[row % len(self._designs)].codes(start, stop)
        return (np.pad(codes, ((0, 0), (0, self._width - codes.shape[1]))),)

    def share(self, row: int) -> int:
        """Number of consecutive masks that share a drawn row of the background."""
        return self._share(int(self._ends[row % len(self._ends)][-1]))

    def found(self, rows: Array, scores: Array, whole: Array) -> list[Found]:
        """What the scores (k, n, M) of some inputs tell of each."""
        return [self._of_input(row, scores[:, k], whole[k]) for k, row in enumerate(rows.tolist())]

    def _of_input(self, row: int, scores: Array, whole: Array) -> Found:
        which = row % len(self._designs)
        estimate = self._designs[which].estimate(scores, whole)
        ends = self._ends[which]

        def split(array: Array) -> list[Array]:
            return np.split(array, ends[:-1], axis=-1)

        def spread(array: Array) -> list[Array]:
            pairs = zip(self._cells, split(array), strict=True)
            return [one.spread(part, row) for one, part in pairs]

        level = 0.0 if estimate.level is None else estimate.level[:, None]
        fields = {"features": split(estimate.values)} | self._further(estimate, split)
        return Found(
            spread(estimate.values),
            None if estimate.error is None else spread(estimate.error),
            fields,
            estimate.base,
            None if estimate.error is None else estimate.error.mean(axis=1),
            np.abs(estimate.values - level).max(axis=1),
        )

    def _further(self, estimate: Estimate, split: Callable[..., Any]) -> dict[str, list[Array]]:
        known = {
            "feature_standard_error": estimate.error,
            "first_order": estimate.first_order,
            "p_values": estimate.p_values,
        }
        fields = {name: split(array) for name, array in known.items() if array is not None}
        if estimate.interactions is not None:
            fields["interactions"] = [estimate.interactions]
        return fields
