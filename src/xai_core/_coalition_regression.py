"""The regression of scores on coalitions and their complements, whose solution is Shapley's."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from scipy import special

from xai_core.typing import Array

# Drawn pairs for each term of the regression, and for each cell.
_FOR_ERROR, _FOR_SLOPES = 3, 8
_NUMBERS = 2**19
"""How many numbers a block of pairs may take."""


class Strata(NamedTuple):
    """Classes of pairs: weight in the kernel, number of pairs that there are, and of those here."""

    masses: Array
    sizes: Array
    counts: Array


class Block(NamedTuple):
    """Some pairs: shares of cells kept (b, 1), terms (b, p), weights (b, 1), strata (b,)."""

    pairs: slice
    share: Array
    terms: Array
    weights: Array
    stratum: Array


class CoalitionRegression:
    r"""Weighted least squares of half the differences between coalitions and their complements.

    .. math:: \tfrac{1}{2} \bigl(v(S) - v(\bar S)\bigr) \approx
        \sum_{i \in S} \phi_i - \tfrac{1}{2} \sum_i \phi_i

    Parameters
    ----------
    d
        Number of cells.
    count
        Number of pairs, of which those of a single cell come first.
    firsts
        (start, stop) -> the first coalitions of these pairs.
    by_size
        Whether the pairs of each size are a sample without replacement. Otherwise those of two or
        more cells are independent draws.
    """

    def __init__(
        self, d: int, count: int, firsts: Callable[[int, int], Array], by_size: bool
    ) -> None:
        self._d, self._count, self._firsts, self._by_size = d, count, firsts, by_size
        self._drawn = max(count - d, 0)
        self._strata = self._counted(_by_size(d) if by_size else _by_draw(d))
        # What fits into one block is kept for the next scores.
        self._kept = list(self._made()) if count * (2 * d + 2) <= _NUMBERS else None
        matrix = np.zeros((1, 1))
        for block in self._blocks():
            matrix = matrix + (block.weights * block.terms).T @ block.terms
        # The terms of the cells add up to 0 in every row, so that its rank is not full.
        self._inverse = np.linalg.pinv(matrix, rcond=1e-10, hermitian=True)

    @property
    def complete(self) -> bool:
        """Whether there are all pairs."""
        return bool((self._strata.counts == self._strata.sizes).all())

    @property
    def freedom(self) -> int:
        """Pairs of two and more cells beyond the terms of the regression."""
        return self._drawn - len(self._inverse)

    def solve(self, halves: Array, gain: Array) -> tuple[Array, Array | None]:
        """The values (d, M) that add up to ``gain`` (M,), and their standard errors.

        ``halves`` (pairs, M) are half the differences. Errors are None where pairs are few.
        """
        # The equal split meets the constraint; what is left are vectors that add up to 0.
        left, right = np.empty_like(halves), np.zeros((len(self._inverse), len(gain)))
        for block in self._blocks():
            left[block.pairs] = halves[block.pairs] - (block.share - 0.5) * gain
            right += (block.weights * block.terms).T @ left[block.pairs]
        solution = self._inverse @ right
        values = solution[: self._d]
        values = values - values.mean(0) + gain / self._d
        if self.complete:
            return values, np.zeros_like(values)
        few = too_few(self._drawn, self._d)
        return values, None if few else np.sqrt(self._variance(left, solution))

    def _variance(self, left: Array, solution: Array) -> Array:
        """A sandwich over the pairs of each stratum, without replacement where it is finite.

        Residuals are divided by the root of one minus their leverage.
        """
        counts, shape = self._strata.counts, (self._d, left.shape[1])
        total, squares = np.zeros((2, len(counts), *shape))
        for block in self._blocks():
            solved = block.weights * (block.terms @ self._inverse)
            leverage = (solved * block.terms).sum(1, keepdims=True)
            residuals = left[block.pairs] - block.terms @ solution
            residuals /= np.sqrt(np.maximum(1 - leverage, 1e-6))
            for k in np.flatnonzero(counts < self._strata.sizes):
                moved, own = solved[block.stratum == k, : self._d].T, residuals[block.stratum == k]
                total[k] += moved @ own
                squares[k] += moved**2 @ own**2
        counts = counts[:, None, None]
        missing = 1 - counts / self._strata.sizes[:, None, None]
        spread = np.maximum(squares - total**2 / np.maximum(counts, 1), 0)
        return (missing * spread * counts / np.maximum(counts - 1, 1)).sum(0)

    def _blocks(self) -> Iterator[Block]:
        return iter(self._kept) if self._kept is not None else self._made()

    def _made(self) -> Iterator[Block]:
        masses, _, counts = self._strata
        # Strata that have no pairs yet leave their weight to the others.
        each = masses / np.maximum(counts, 1) * masses.sum() / masses[counts > 0].sum()
        for pairs, kept in self._coalitions():
            share = kept.mean(1, keepdims=True)
            stratum = self._stratum(pairs, kept)
            yield Block(pairs, share, self._terms(kept, share), each[stratum][:, None], stratum)

    def _counted(self, strata: Strata) -> Strata:
        counts = np.zeros(len(strata.masses), int)
        for pairs, kept in self._coalitions():
            counts += np.bincount(self._stratum(pairs, kept), minlength=len(counts))
        return strata._replace(counts=counts)

    def _coalitions(self) -> Iterator[tuple[slice, Array]]:
        step = max(1, _NUMBERS // (2 * self._d + 2))
        for start in range(0, self._count, step):
            stop = min(start + step, self._count)
            yield slice(start, stop), self._firsts(start, stop)

    def _stratum(self, pairs: slice, kept: Array) -> Array:
        if not self._by_size:
            return (np.arange(pairs.start, pairs.stop) >= self._d).astype(int)
        size = kept.sum(1)
        return np.minimum(size, self._d - size) - 1

    def _terms(self, kept: Array, share: Array) -> Array:
        """The terms of some coalitions.

        Those beyond the cells' own take noise away: odd polynomials of the size, which a score
        that saturates follows, and slopes that change with the size. Over all coalitions they are
        uncorrelated with the cells, so that the limit stays as it is.
        """
        lean = 2 * share - 1
        bump = lean * (1 - lean**2)
        columns = [kept - share, bump, bump * lean**2]
        if _with_slopes(self._drawn, self._d):
            # The mean over the sizes.
            middle = np.mean((2 * np.arange(1, self._d) / self._d - 1) ** 2)
            columns.append((kept - share) * (lean**2 / middle - 1))
        return np.concatenate(columns, axis=1)


def too_few(drawn: int, d: int) -> bool:
    """Whether so many drawn pairs of d cells give no standard errors."""
    terms = d + 2 + (d if _with_slopes(drawn, d) else 0)
    return drawn < _FOR_ERROR * terms


def _with_slopes(drawn: int, d: int) -> bool:
    return drawn >= _FOR_SLOPES * d


def _by_size(d: int) -> Strata:
    """Pairs of k and d - k cells, for each k up to d / 2."""
    size = np.arange(1, d // 2 + 1)
    halves = np.where(2 * size == d, 2, 1)  # a pair of halves counts twice among the coalitions
    masses = 2 / (size * (d - size)) / halves
    return Strata(masses, special.binom(d, size).round() / halves, np.zeros(len(size)))


def _by_draw(d: int) -> Strata:
    """Pairs of a single cell, and draws from all others."""
    size = np.arange(1, d)
    masses = 1 / (size * (d - size))
    return Strata(np.array([2 * masses[0], masses[1:-1].sum()]), np.array([d, np.inf]), np.zeros(2))
