"""Games of d cells with known Shapley values, and slow, obvious ways to compute these."""

import itertools
import math
from typing import NamedTuple

import numpy as np


def subsets(d):
    """All 2**d coalitions (2**d, d), the empty one first and the full one last."""
    found = itertools.product([False, True], repeat=d)
    return np.array(sorted(found, key=lambda row: (sum(row), row)), bool).reshape(2**d, d)


def shapley(game, d):
    """The mean of what a cell adds over all orders, subset by subset."""
    worth = {tuple(row): value for row, value in zip(subsets(d), game(subsets(d)), strict=True)}
    values = np.zeros(d)
    for row, value in worth.items():
        size = sum(row)
        for i in np.flatnonzero(~np.array(row)):
            weight = math.factorial(size) * math.factorial(d - size - 1) / math.factorial(d)
            values[i] += weight * (worth[*row[:i], True, *row[i + 1 :]] - value)
    return values


def kernel_weights(kept):
    """Weights of proper coalitions in KernelSHAP's regression."""
    d, sizes = kept.shape[1], kept.sum(1)
    return np.array([(d - 1) / (math.comb(d, k) * k * (d - k)) for k in sizes.tolist()])


def constrained_fit(kept, scores, weights, base, gain, further=None):
    """Weighted least squares without an intercept, by the equations of its Lagrangian.

    The coefficients of the cells add up to ``gain``; those of ``further`` columns are free.
    """
    d = kept.shape[1]
    columns = kept.astype(float) if further is None else np.column_stack([kept, further])
    bound = np.arange(columns.shape[1]) < d
    matrix = (columns * weights[:, None]).T @ columns
    matrix = np.block([[matrix, bound[:, None]], [bound[None], np.zeros((1, 1))]])
    right = np.append((columns * weights[:, None]).T @ (scores - base), gain)
    return np.linalg.lstsq(matrix, right)[0][:d]


def free_fit(kept, scores):
    """Least squares of proper coalitions with an intercept: not Shapley values."""
    columns = np.column_stack([np.ones(len(kept)), kept])
    return np.linalg.lstsq(columns, scores)[0][1:]


class Polynomial(NamedTuple):
    """A sum of coefficients times products of cells."""

    d: int
    terms: dict

    def __call__(self, kept):
        parts = [c * kept[:, list(cells)].all(1) for cells, c in self.terms.items()]
        return np.sum(parts, axis=0)

    def shapley(self):
        """Each product is shared equally by its cells."""
        values = np.zeros(self.d)
        for cells, c in self.terms.items():
            values[list(cells)] += c / len(cells)
        return values


def mixed(d=16, null=3, seed=0):
    """Main, pair and triple terms of all cells but the last few."""
    draws = np.random.default_rng([77, seed, d])
    active = d - null
    cells = [(i,) for i in range(active)]
    cells += [tuple(draws.choice(active, size, False)) for size in (2, 3) for _ in range(active)]
    return Polynomial(d, dict(zip(cells, draws.normal(size=len(cells)).tolist(), strict=True)))


class Saturating(NamedTuple):
    """1 - exp(-sum of rates of the cells)."""

    rates: np.ndarray

    @property
    def d(self):
        return len(self.rates)

    def __call__(self, kept):
        return 1 - np.exp(-(kept @ self.rates))

    def shapley(self):
        """The integral of its multilinear extension's gradient, a polynomial: Gauss is exact."""
        points, weights = np.polynomial.legendre.leggauss(len(self.rates) // 2 + 1)
        factors = 1 - np.outer((points + 1) / 2, 1 - np.exp(-self.rates))
        slopes = factors.prod(1, keepdims=True) / factors * (1 - np.exp(-self.rates))
        return weights / 2 @ slopes


def estimate(design, game, rows=None):
    """What a design makes of one game, or of several as targets."""
    games = game if isinstance(game, list) else [game]
    rows = design.total if rows is None else rows
    kept, full = design.codes(0, rows), np.ones((1, design.d), bool)
    scores = np.stack([np.asarray(one(kept), float) for one in games], axis=1)
    whole = np.array([float(one(full)[0]) for one in games])
    return design.estimate(scores, whole)


def coverage(make, game, runs):
    """How often 1.96 standard errors reach the truth, for each cell, over designs of many seeds."""
    found = [estimate(make(seed), game) for seed in range(runs)]
    # Where nothing varies an error of 0 meets rounding.
    near = [abs(e.values[0] - game.shapley()) <= 1.96 * e.error[0] + 1e-9 for e in found]
    return np.mean(near, axis=0)
