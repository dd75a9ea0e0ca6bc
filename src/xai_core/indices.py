"""Sobol indices from the outputs of a replicated design, and their standard errors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from scipy import special

from xai_core import _checks, designs
from xai_core.typing import Array

__all__ = ["FIRST_ORDER_ESTIMATORS", "TOTAL_ESTIMATORS", "sobol_indices"]

# 95 % of a normal law lies within so many standard errors.
_NORMAL = 1.96
_RESAMPLES = 200
# With fewer rows no error was honest; with more than the second the normal law is good enough.
FEWEST_ROWS, _MANY_ROWS = 16, 512
FEWEST_BLOCKS = 8
# So many numbers of all resamples at once.
_AT_ONCE = 2**20


def sobol_indices(
    first: Array,
    second: Array,
    mixed: Array,
    estimator: str = "jansen",
    first_order_estimator: str = "saltelli",
) -> tuple[Array, Array]:
    r"""Total and first-order Sobol indices from the outputs of a replicated design.

    With :math:`f` less its mean over A and B, V its variance over both (ddof 1), and sums over
    the n rows, the total indices are

    ========  =======================================================================
    jansen    :math:`\sum (f_A - f_{C_i})^2 / 2nV`
    homma     :math:`(V - \sum f_A f_{C_i} / n) / V`
    saltelli  :math:`1 - \sum f_A f_{C_i} / nV`, which is the same
    janon     :math:`1 - \mathrm{cov}(f_A, f_{C_i}) / V_i`, with mean and variance over A and C
    glen      :math:`1 - \mathrm{corr}(f_A, f_{C_i})`
    ========  =======================================================================

    and the first-order indices :math:`\sum f_B (f_{C_i} - f_A) / nV` ("saltelli") and
    :math:`1 - \sum (f_B - f_{C_i})^2 / 2nV` ("jansen"). All are 0 where V is below
    :math:`(10^{-6} \max |f|)^2`.

    Parameters
    ----------
    first, second : array, (n,)
        Outputs of A and of B.
    mixed : array, (n, d)
        Outputs of C, which is A with one column from B.
    estimator : {"jansen", "homma", "janon", "saltelli", "glen"}
        Of the total indices.
    first_order_estimator : {"saltelli", "jansen"}
        Of the first-order indices.

    Returns
    -------
    pair of arrays, (d,)
        Total and first-order indices.

    Notes
    -----
    Saltelli et al., 2010, "Variance Based Sensitivity Analysis of Model Output. Design and
    Estimator for the Total Sensitivity Index", https://doi.org/10.1016/j.cpc.2009.09.018; Janon
    et al., 2014, https://doi.org/10.1051/ps/2013040; Glen and Isaacs, 2012,
    https://doi.org/10.1016/j.envsoft.2012.03.014

    Examples
    --------
    >>> import numpy as np
    >>> a, b = np.array([[0.0, 1.0], [1.0, 0.0]]), np.array([[1.0, 1.0], [0.0, 0.0]])
    >>> mixed = np.stack([b[:, 0], a[:, 0]], axis=1)  # the score is the first column
    >>> total, _ = sobol_indices(a[:, 0], b[:, 0], mixed)
    >>> total
    array([1.5, 0. ])
    """
    _checks.choice("estimator", estimator, TOTAL_ESTIMATORS)
    _checks.choice("first_order_estimator", first_order_estimator, FIRST_ORDER_ESTIMATORS)
    outputs = centred(np.asarray(first), np.asarray(second), np.asarray(mixed))
    return (
        over_rows(TOTAL_ESTIMATORS[estimator], outputs),
        over_rows(FIRST_ORDER_ESTIMATORS[first_order_estimator], outputs),
    )


class Outputs(NamedTuple):
    """Centred outputs of A and B, (n, 1), and of each C, (n, d)."""

    first: Array
    second: Array
    mixed: Array


class Moments(NamedTuple):
    """Means over n rows, all that the estimators need; squares of differences cancel nothing."""

    a: Any
    b: Any
    aa: Any
    bb: Any
    ab: Any
    c: Any
    cc: Any
    a_c: Any
    """Of (f_A - f_C)^2."""
    b_c: Any
    """Of (f_B - f_C)^2."""
    rows: Any

    @property
    def middle(self) -> Any:
        """Mean over A and B."""
        return (self.a + self.b) / 2

    @property
    def variance(self) -> Any:
        """Variance over A and B, ddof 1."""
        return ((self.aa + self.bb) / 2 - self.middle**2) * (self.rows / (self.rows - 0.5))

    @property
    def product(self) -> Any:
        """Mean of f_A f_C."""
        return (self.aa + self.cc - self.a_c) / 2


def _jansen(m: Moments) -> Array:
    return _ratio(m.a_c, 2 * m.variance)


def _homma(m: Moments) -> Array:
    covariance = m.product - m.middle * (m.a + m.c) + m.middle**2
    return _ratio(m.variance - covariance, m.variance)


def _janon(m: Moments) -> Array:
    return _ratio(m.a_c, m.aa + m.cc - (m.a + m.c) ** 2 / 2)


def _glen(m: Moments) -> Array:
    squared = (m.aa - m.a**2) * (m.cc - m.c**2)
    spread = np.sqrt(np.where(np.real(squared) > 0, squared, 0))
    return _ratio(spread - m.product + m.a * m.c, spread)


def _first_saltelli(m: Moments) -> Array:
    product = (m.bb + m.cc - m.b_c) / 2
    return _ratio(product - m.ab - m.middle * (m.c - m.a), m.variance)


def _first_jansen(m: Moments) -> Array:
    return _ratio(2 * m.variance - m.b_c, 2 * m.variance)


Index = Callable[[Moments], Any]
TOTAL_ESTIMATORS: dict[str, Index] = {
    "jansen": _jansen,
    "homma": _homma,
    "janon": _janon,
    "saltelli": _homma,
    "glen": _glen,
}
FIRST_ORDER_ESTIMATORS: dict[str, Index] = {"saltelli": _first_saltelli, "jansen": _first_jansen}


def _ratio(above: Any, below: Any) -> Array:
    """The quotient, 0 where nothing varies."""
    varies = np.real(below) > 0
    return np.where(varies, above, 0) / np.where(varies, below, 1)


def centred(first: Array, second: Array, mixed: Array) -> Outputs:
    """Outputs less their mean; zeros where only rounding differs."""
    both = np.concatenate([first, second]).astype(float)
    middle = both.mean()
    largest = max(np.abs(both).max(), np.abs(mixed).max())
    constant = both.var(ddof=1) <= (1e-6 * largest) ** 2
    factor = 0.0 if constant else 1.0
    return Outputs(
        *(factor * (one - middle) for one in (first[:, None], second[:, None], mixed)),
    )


def _terms(outputs: Outputs) -> Array:
    """What each row adds to the moments, (9, n, d)."""
    a, b, c = outputs
    each = (a, b, a * a, b * b, a * b, c, c * c, (a - c) ** 2, (b - c) ** 2)
    return np.stack([np.broadcast_to(one, c.shape) for one in each])


def over_rows(index: Index, outputs: Outputs) -> Array:
    a, b, c = outputs
    each = (a, b, a * a, b * b, a * b, c, c * c, (a - c) ** 2, (b - c) ** 2)
    return index(Moments._make([*(one.mean(0) for one in each), len(c)]))


def block_error(index: Index, outputs: Outputs, blocks: int) -> Array | None:
    """Half of the t interval over 1.96, from indices without one block each."""
    if blocks < FEWEST_BLOCKS:
        return None
    terms = _terms(outputs)
    each = terms.reshape(len(terms), blocks, -1, terms.shape[2]).mean(2)
    left = (each.sum(1, keepdims=True) - each) / (blocks - 1)
    without = index(Moments._make([*left, len(outputs.first) * (blocks - 1) / blocks]))
    error = np.sqrt((blocks - 1) * without.var(0))
    return error * special.stdtrit(blocks - 1, 0.975) / _NORMAL


def row_error(index: Index, outputs: Outputs, seed: int) -> Array | None:
    """Half of the symmetric bootstrap-t interval over 1.96."""
    rows, cells = outputs.mixed.shape
    if rows < FEWEST_ROWS:
        return None
    # None: so many rows that the normal law is good enough.
    weights = _weights(seed, rows) if rows <= _MANY_ROWS else None
    step = max(1, _AT_ONCE // (_RESAMPLES * rows))
    found = []
    for start in range(0, cells, step):
        terms = _terms(outputs._replace(mixed=outputs.mixed[:, start : start + step]))
        value, error = _delta(index, terms, np.full((1, rows), 1 / rows))
        found.append((error[0], _deviations(index, terms, weights, value)))
    error, quantile = (np.concatenate(one) for one in zip(*found, strict=True))
    # A cell's own tail is seen in few rows, so it is taken no lighter than that of the others.
    varying = error > 1e-9 * error.max()
    typical = quantile[varying].mean() if varying.any() else 0
    return error * np.maximum(quantile, typical) / _NORMAL


def _weights(seed: int, rows: int) -> Array:
    """How often each row is in each resample, over their number."""
    draws = designs.generator(seed, "resamples")
    return draws.multinomial(rows, np.full(rows, 1 / rows), _RESAMPLES) / rows


def _deviations(index: Index, terms: Array, weights: Array | None, value: Array) -> Array:
    """The 95 % quantile of how many of its own errors a resample's index is off, (d,)."""
    if weights is None:
        return np.full(terms.shape[2], _NORMAL)
    again, error = _delta(index, terms, weights)
    return np.quantile(_ratio(np.abs(again - value), error), 0.95, axis=0)


def _delta(index: Index, terms: Array, weights: Array) -> tuple[Array, Array]:
    """Indices of weighted rows, (r, d), and their standard errors to first order."""
    rows = terms.shape[1]
    means = np.einsum("rn,mnd->mrd", weights, terms, optimize=True)
    moments = Moments._make([*means, rows])
    # A derivative by a step into the complex plane is exact.
    slopes = [
        index(moments._replace(**{name: value + 1e-30j})).imag / 1e-30
        for name, value in zip(Moments._fields[:-1], means, strict=True)
    ]
    influence = np.einsum("mrd,mnd->drn", slopes, terms, optimize=True)
    influence -= np.einsum("mrd,mrd->dr", slopes, means)[:, :, None]
    np.square(influence, out=influence)
    squares = np.einsum("rn,drn->rd", weights, influence, optimize=True)
    return index(moments), np.sqrt(squares / (rows - 1))
