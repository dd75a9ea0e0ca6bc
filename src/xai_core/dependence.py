"""How much a score depends on the cells of an input: HSIC of masks."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from xai_core import _checks, criterion, designs, kernels
from xai_core.criterion import Dependence
from xai_core.estimators import Estimate
from xai_core.typing import Array

__all__ = ["HsicDesign"]

MASKS = ("binary", "uniform")
_INDEPENDENT = ("lhs", "random")
# With fewer rows no error was honest.
_FEWEST_ROWS = 128
_FIRST_CHECK = 256
_COLUMNS = 256


@dataclass(frozen=True)
class HsicDesign:
    """Random masks whose scores tell by HSIC on which of d cells they depend.

    A cell that matters only together with others may have an HSIC of 0 (the exclusive or of two
    cells); ``interactions`` finds pairs of these.

    Parameters
    ----------
    d : int
        Number of cells.
    n_samples : int
        Number of masks; for sampler "sobol" a power of two, and large enough for d columns of
        bits.
    sampler : {"lhs", "sobol", "halton", "random"}
        How masks are spread, see `designs.bits` and `designs.uniform`.
    masks : {"binary", "uniform"}
        Whether a cell is kept or not, each with probability one half, or in part.
    kernel : {"sobolev", "rbf"}, optional
        Of uniform masks, see `kernels.KERNELS`; None is "sobolev". On binary masks all kernels
        give the same up to their scale, so none is taken.
    interactions : bool
        Whether pairs of cells are measured too, for "lhs" and "random": the first bits of a
        Sobol' sequence cannot tell most pairs from others.
    p_value_permutations : int
        Number of columns, drawn like a cell's but without a part in the scores, that p-values
        are counted from; 0 takes them from a gamma law.
    seed : int
        From 0 to 2**64 - 1.

    Raises
    ------
    TypeError, ValueError
        If there is no such design.

    Notes
    -----
    Novello et al., 2022, "Making Sense of Dependence: Efficient Black-box Explanations Using
    Dependence Measure", https://arxiv.org/abs/2206.06219

    The kernel on scores is a Gaussian whose width is their median distance; where that is 0, the
    median of those that are not. HSIC does not depend on an offset or the unit of the scores,
    unless they vary by less than a millionth of their size, which counts as rounding.
    Within 1.96 standard errors lies the limit, in 92 to 98 % of the runs, for cells with a limit
    of at least 5 / n_samples. "sobol" and "halton" give neither errors nor p-values, which need
    rows drawn independently: some columns of Sobol' bits are products of three others, and have
    an HSIC though the scores do not depend on them. Fewer than 128 rows give no errors.

    Examples
    --------
    >>> import numpy as np
    >>> design = HsicDesign(3, n_samples=256)
    >>> scores = design.codes(0, 256) @ [[4.0], [2.0], [0.0]]
    >>> found = design.estimate(scores, np.array([6.0]))
    >>> np.argsort(-found.values[0]), found.p_values[0] < 0.001
    (array([0, 1, 2]), array([ True,  True, False]))
    """

    d: int
    n_samples: int = 1024
    sampler: str = "lhs"
    masks: str = "binary"
    kernel: str | None = None
    interactions: bool = False
    p_value_permutations: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the settings."""
        _checks.integer("d", self.d, minimum=1)
        _checks.integer("n_samples", self.n_samples, minimum=4)
        _checks.choice("masks", self.masks, MASKS)
        binary = self.masks == "binary"
        check = designs.check_bits if binary else designs.check
        check(self.sampler, self.n_samples, self.d, "n_samples")
        if self.kernel is not None:
            _checks.choice("kernel", self.kernel, kernels.KERNELS)
            if binary:
                raise ValueError(
                    "`kernel` must be None for binary masks, on which all kernels are one. "
                    f"Received: {self.kernel!r}. Use masks='uniform'."
                )
        _checks.flag("interactions", self.interactions)
        _checks.integer("p_value_permutations", self.p_value_permutations, minimum=0)
        for name in ("interactions", "p_value_permutations"):
            if getattr(self, name) and self.sampler not in _INDEPENDENT:
                raise ValueError(
                    f"`{name}` needs sampler 'lhs' or 'random'. Received: {self.sampler!r}."
                )
        _checks.seed(self.seed)

    @property
    def total(self) -> int:
        """Number of masks."""
        return self.n_samples

    @property
    def without_error(self) -> str | None:
        """Rows of a sequence are not independent."""
        if self.sampler not in _INDEPENDENT:
            return "for a sequence"
        few = self.n_samples < _FEWEST_ROWS
        return f"for fewer than {_FEWEST_ROWS} masks" if few else None

    @cached_property
    def _rows(self) -> Array:
        return self._drawn(self.d, 0)

    def _drawn(self, columns: int, block: int) -> Array:
        settings = self.sampler, self.n_samples, columns, self.seed, block
        if self.masks == "binary":
            return designs.bits(*settings)
        return designs.uniform(*settings).astype("float32")

    def codes(self, start: int, stop: int) -> Array:
        """Masks (stop - start, d), bits or float32."""
        return self._rows[start:stop].copy()

    def checks(self) -> list[int]:
        """After 256 rows, 512, 1,024, and so on, and after all."""
        first = _FIRST_CHECK
        if self.sampler == "sobol" and self.masks == "binary":
            first = max(first, designs.smallest_bits(self.d))
        doubled = [first << k for k in range(64) if first << k < self.n_samples]
        return [*doubled, self.n_samples]

    def estimate(self, scores: Array, whole: Array) -> Estimate:
        """HSIC of each cell, with errors and p-values, from the scores (k, M)."""
        del whole
        found, pairs = zip(*map(self._target, np.transpose(scores)), strict=True)
        values, error, p_values = (np.stack(one) for one in zip(*found, strict=True))
        independent = self.sampler in _INDEPENDENT
        return Estimate(
            values,
            error if independent and len(scores) >= _FEWEST_ROWS else None,
            interactions=np.stack(pairs) if self.interactions else None,
            p_values=p_values if independent else None,
        )

    def _target(self, scores: Array) -> tuple[Dependence, Array | None]:
        """What one target's scores (k,) tell of cells and, if asked for, of pairs."""
        scores = np.asarray(scores, float)
        if np.std(scores) <= 1e-6 * np.abs(scores).max():
            pairs = np.zeros((self.d, self.d))
            np.fill_diagonal(pairs, np.nan)
            return Dependence(np.zeros(self.d), np.zeros(self.d), np.ones(self.d)), pairs
        codes = self._rows[: len(scores)]
        width = kernels.median_distance(scores, self.seed)
        found = self._hsic(codes, scores, width)
        if self.p_value_permutations:
            found = found._replace(p_values=self._counted(found.values, scores, width))
        if not self.interactions:
            return found, None
        kernel = "binary" if self.masks == "binary" else self._kernel
        return found, criterion.pair_hsic(codes, scores, width, kernel)

    @property
    def _kernel(self) -> str:
        return self.kernel or "sobolev"

    def _hsic(self, codes: Array, scores: Array, width: float) -> Dependence:
        if self.masks == "binary":
            return criterion.binary_hsic(codes, scores, width)
        return criterion.uniform_hsic(codes, scores, width, self._kernel)

    def _counted(self, values: Array, scores: Array, width: float) -> Array:
        """Share of columns without a part in the scores that reach each value."""
        null = self._drawn(self.p_value_permutations, 1)[: len(scores)]
        parts = range(0, null.shape[1], _COLUMNS)
        found = [self._hsic(null[:, k : k + _COLUMNS], scores, width).values for k in parts]
        reached = (np.concatenate(found)[:, None] >= values).sum(0)
        return (1 + reached) / (1 + self.p_value_permutations)
