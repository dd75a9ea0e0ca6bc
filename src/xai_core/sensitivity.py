"""Which share of a score's variance the cells of an input explain: Sobol indices of masks."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from xai_core import _checks, designs, indices
from xai_core.estimators import Estimate
from xai_core.typing import Array

__all__ = ["SobolDesign"]


@dataclass(frozen=True)
class SobolDesign:
    r"""Masks in [0, 1] whose scores give the Sobol indices of d cells.

    Each of the n rows of a block has d + 2 masks: :math:`A`, :math:`B`, and for each cell i
    :math:`C^{(i)}`, which is A with cell i from B. The total index of a cell is the share of the
    score's variance that is lost when every other cell is fixed, the first-order index the share
    that is left when every other cell varies,

    .. math:: S_{T_i} = \frac{E[V(f \mid m_{\sim i})]}{V(f)}, \qquad
        S_i = \frac{V(E[f \mid m_i])}{V(f)}

    Parameters
    ----------
    d : int
        Number of cells.
    n_design : int
        Number n of rows of a block; a power of two for sampler "sobol". With fewer than 32 the
        order of the cells is uncertain.
    n_blocks : int
        Number of independent blocks.
    sampler : {"lhs", "sobol", "halton", "random"}
        How A and B are spread, see `designs.uniform`.
    estimator : {"jansen", "homma", "janon", "saltelli", "glen"}
        Of the total indices, see `indices.sobol_indices`.
    first_order_estimator : {"saltelli", "jansen"}
        Of the first-order indices.
    seed : int
        From 0 to 2**64 - 1.

    Raises
    ------
    TypeError, ValueError
        If there is no such design.

    Notes
    -----
    Fel et al., 2021, "Look at the Variance! Efficient Black-box Explanations with Sobol-based
    Sensitivity Analysis", https://arxiv.org/abs/2111.04138

    Within 1.96 standard errors lies the limit of the estimate, in 92 to 98 % of the runs. Rows of
    a sequence are not independent, but its blocks are: from 8 blocks on the errors of "lhs",
    "sobol" and "halton" are those of the t interval over blocks, and the sequences have none
    before. Other errors come from resampled rows, 16 at least. Squares of differences have heavy
    tails, so these are the errors of the symmetric bootstrap-t interval (Hall, 1988, "On Symmetric
    Bootstrap Confidence Intervals", Journal of the Royal Statistical Society B 50, 35-45); above
    512 rows those of the normal law.

    Examples
    --------
    >>> import numpy as np
    >>> design = SobolDesign(2, n_design=1024)
    >>> masks = design.codes(0, design.total)
    >>> found = design.estimate(masks @ [[1.0], [2.0]], np.array([3.0]))
    >>> np.round(found.values, 1)
    array([[0.2, 0.8]])
    """

    d: int
    n_design: int = 32
    n_blocks: int = 1
    sampler: str = "lhs"
    estimator: str = "jansen"
    first_order_estimator: str = "saltelli"
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the settings."""
        _checks.integer("d", self.d, minimum=1)
        _checks.integer("n_design", self.n_design, minimum=2)
        _checks.integer("n_blocks", self.n_blocks, minimum=1)
        designs.check(self.sampler, self.n_design, 2 * self.d, "n_design")
        _checks.choice("estimator", self.estimator, indices.TOTAL_ESTIMATORS)
        first = indices.FIRST_ORDER_ESTIMATORS
        _checks.choice("first_order_estimator", self.first_order_estimator, first)
        _checks.seed(self.seed)

    @property
    def total(self) -> int:
        """Number of rows of all blocks."""
        return self.n_blocks * self._block

    @property
    def without_error(self) -> str | None:
        """Resampled rows and blocks of a sequence must be several."""
        if self._by_rows(self.n_blocks):
            few = self.n_design * self.n_blocks < indices.FEWEST_ROWS
            return f"for fewer than {indices.FEWEST_ROWS} rows of the design" if few else None
        few = self.n_blocks < indices.FEWEST_BLOCKS
        return f"for fewer than {indices.FEWEST_BLOCKS} blocks of a sequence" if few else None

    def _by_rows(self, blocks: int) -> bool:
        """Whether errors come from resampled rows, not from blocks."""
        many = blocks >= indices.FEWEST_BLOCKS
        return self.sampler == "random" or (self.sampler == "lhs" and not many)

    @property
    def _block(self) -> int:
        return self.n_design * (self.d + 2)

    def codes(self, start: int, stop: int) -> Array:
        """Masks (stop - start, d) of float32, row by row of the design: A, B, then each C."""
        parts = [np.empty((0, self.d), "float32")]
        for block in range(start // self._block, -(-stop // self._block)):
            first = block * self._block
            rows = np.arange(max(start, first), min(stop, first + self._block)) - first
            points = _points(self.sampler, self.n_design, self.d, self.seed, block)
            parts.append(_masks(points, *np.divmod(rows, self.d + 2)))
        return np.concatenate(parts)

    def checks(self) -> list[int]:
        """After each block."""
        return [self._block * (block + 1) for block in range(self.n_blocks)]

    def estimate(self, scores: Array, whole: Array) -> Estimate:
        """Total indices, their errors, and first-order indices from the scores (k, M)."""
        del whole
        blocks = len(scores) // self._block
        each = scores.reshape(blocks * self.n_design, self.d + 2, -1)
        found = [self._indices(target, blocks) for target in np.moveaxis(each, 2, 0)]
        total, first, error = zip(*found, strict=True)
        honest = all(one is not None for one in error)
        return Estimate(
            np.stack(total), np.stack(error) if honest else None, first_order=np.stack(first)
        )

    def _indices(self, scores: Array, blocks: int) -> tuple[Array, Array, Array | None]:
        """Total and first-order indices of one target, and the errors of the former."""
        outputs = indices.centred(scores[:, 0], scores[:, 1], scores[:, 2:])
        index = indices.TOTAL_ESTIMATORS[self.estimator]
        total = indices.over_rows(index, outputs)
        first = indices.FIRST_ORDER_ESTIMATORS[self.first_order_estimator]
        if self._by_rows(blocks):
            error = indices.row_error(index, outputs, self.seed)
        else:
            error = indices.block_error(index, outputs, blocks)
        return total, indices.over_rows(first, outputs), error


@lru_cache(maxsize=4)
def _points(sampler: str, n: int, d: int, seed: int, block: int) -> Array:
    """A and B of a block, (2, n, d)."""
    found = designs.uniform(sampler, n, 2 * d, seed, block).astype("float32")
    return np.ascontiguousarray(found.reshape(n, 2, d).swapaxes(0, 1))


def _masks(points: Array, rows: Array, which: Array) -> Array:
    """Masks of a block: A, B, or A with one cell from B."""
    masks = points[(which == 1).astype(int), rows]
    mixed = np.flatnonzero(which > 1)
    cells = which[mixed] - 2
    masks[mixed, cells] = points[1, rows[mixed], cells]
    return masks
