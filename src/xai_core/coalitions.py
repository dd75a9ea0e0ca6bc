"""Which coalitions of cells are scored for Shapley values, and the values that the scores tell."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from scipy import special

from xai_core import _checks
from xai_core._coalition_regression import CoalitionRegression, too_few
from xai_core.estimators import Estimate, doubling
from xai_core.typing import Array

__all__ = ["LINKS", "KernelDesign", "PermutationDesign"]

LINKS = ("identity", "logit")
"""What is explained: the score, or its log-odds."""

_MOST_EXACT = 16
_LISTED, _LISTED_PER_SAMPLE = 2**20, 128
"""A list of all coalitions is made where it is no longer than this, and at most so many times as
long as the sample."""
# What a standard error takes: rows of the model, and independent draws.
_ROWS_WITH_ERROR, _DRAWS_WITH_ERROR = 512, 8
# Beside the streams of `designs`.
_COALITIONS, _LIST, _ORDERS = 16, 17, 18
_WORDS = 4
"""Words of 64 bits that one step of the generator's counter gives."""
_NUMBERS = 2**18
"""How many numbers a block of rows may take."""


@dataclass(frozen=True)
class KernelDesign:
    r"""KernelSHAP: Shapley values as the solution of a weighted regression over coalitions.

    .. math:: \min_\phi \sum_S \frac{d - 1}{\binom{d}{|S|} |S| (d - |S|)}
        \Bigl(v(S) - v(\emptyset) - \sum_{i \in S} \phi_i\Bigr)^2
        \quad \text{where} \quad \sum_i \phi_i = v(x) - v(\emptyset)

    The first row is the empty coalition. Every other one is followed by its complement, so that
    the regression is one of half their differences, in which all that is even cancels. Single
    cells and their complements come first, then coalitions drawn with sizes k in proportion to
    :math:`1 / (k (d - k))`; where 2**d is at most 128 ``n_samples`` none twice, so that sizes with
    few coalitions are soon complete. If all are no more than ``n_samples``, values are exact.

    Parameters
    ----------
    d : int
        Number of cells.
    n_samples : int or "exact"
        Number of coalitions, the empty and the full one among them: at least 2 ``d`` + 2 or all
        2**d. An odd number wastes a row. "exact" means all, of 16 cells at most.
    link : {"identity", "logit"}
        What the values add up to: the score, or the log-odds of a score within (0, 1).
    seed : int
        Of the draws, from 0 to 2**64 - 1.

    Raises
    ------
    TypeError, ValueError
        If a setting is wrong.

    Notes
    -----
    Lundberg and Lee, 2017, "A Unified Approach to Interpreting Model Predictions",
    https://arxiv.org/abs/1705.07874. Complementary pairs and the size law are those of Covert and
    Lee, 2021, "Improving KernelSHAP", https://arxiv.org/abs/2012.01536.

    The regression of drawn coalitions has further terms, which over all coalitions are
    uncorrelated with the cells: they take noise away and leave the limit as it is. These are two
    odd polynomials of the size, which a score that saturates follows; and from 8 drawn pairs per
    cell on, a change with the size of each cell's slope.

    Standard errors are a sandwich over the drawn pairs, with residuals over the root of one minus
    their leverage. There are none below 512 rows or three drawn pairs for each term.

    Examples
    --------
    >>> import numpy as np
    >>> design = KernelDesign(3)
    >>> kept = design.codes(0, design.total)
    >>> scores = 6.0 * (kept[:, 0] & kept[:, 1]) + 5.0 * kept[:, 2]
    >>> design.estimate(scores[:, None], np.array([11.0])).values.round(9)
    array([[3., 3., 5.]])
    """

    d: int
    n_samples: int | Literal["exact"] = 2048
    link: str = "identity"
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the settings."""
        _checks.integer("d", self.d, minimum=1)
        _checks.choice("link", self.link, LINKS)
        _checks.seed(self.seed)
        if self.n_samples == "exact":
            if self.d > _MOST_EXACT:
                raise ValueError(
                    f"`n_samples` must be a number for more than {_MOST_EXACT} cells, because "
                    "each cell doubles the number of coalitions. Received: 'exact' for "
                    f"{self.d} cells. Use a number, or fewer and larger cells."
                )
            return
        if isinstance(self.n_samples, str):
            raise TypeError(
                f"`n_samples` must be an integer or 'exact'. Received: {self.n_samples!r}."
            )
        least = min(2 * self.d + 2, 2**self.d)
        if _checks.integer("n_samples", self.n_samples, minimum=2) < least:
            raise ValueError(
                f"`n_samples` must be at least {least} for {self.d} cells, each of which is kept "
                f"alone and left out alone. Received: {self.n_samples}. Use more samples, or "
                "fewer and larger cells."
            )

    @property
    def _exact(self) -> bool:
        """Whether all coalitions are scored."""
        return self.n_samples == "exact" or self.d < int(self.n_samples).bit_length()

    @property
    def _listed(self) -> bool:
        """Whether coalitions come from a list of all, so that none comes twice."""
        if self._exact:
            return True
        return 2**self.d <= min(_LISTED, _LISTED_PER_SAMPLE * int(self.n_samples))

    @property
    def total(self) -> int:
        """Number of rows, that of the input itself not among them."""
        return (2**self.d if self._exact else int(self.n_samples)) - 1

    @property
    def without_error(self) -> str | None:
        """Only many rows give any, unless they are all."""
        drawn = (self.total - 1) // 2 - self.d
        if self._exact:
            return None
        if self.total + 1 < _ROWS_WITH_ERROR:
            return f"for fewer than {_ROWS_WITH_ERROR} rows"
        return "for so few rows of so many cells" if too_few(drawn, self.d) else None

    def checks(self) -> list[int]:
        """Numbers of rows after which there is an estimate: two for each single cell, and more."""
        return [k for k in doubling(self.total) if k > 4 * self.d or k == self.total]

    def codes(self, start: int, stop: int) -> Array:
        """Which cells are kept in the rows from ``start`` to ``stop``."""
        found = np.zeros((stop - start, self.d), bool)
        rows = np.arange(max(start, 1), stop)
        if rows.size:
            pairs = (rows - 1) // 2
            firsts = self._firsts(pairs[0], pairs[-1] + 1)[pairs - pairs[0]]
            found[rows - start] = firsts ^ (rows % 2 == 0)[:, None]
        return found

    def _firsts(self, start: int, stop: int) -> Array:
        """The coalitions that their complements follow, of the pairs from ``start`` to ``stop``."""
        if self._listed:
            numbers = _smaller_ones(self.d, self.seed, (self.total - 1) // 2 + 1)[start:stop, None]
            return (numbers >> np.arange(self.d) & 1).astype(bool)
        found = np.arange(start, stop)[:, None] == np.arange(self.d)
        drawn = max(start, self.d)
        if drawn < stop:
            words = _words(self.seed, _COALITIONS, drawn - self.d, stop - self.d, self.d + 1)
            inner = np.arange(2, self.d - 1)
            law = np.cumsum(1 / (inner * (self.d - inner)))
            chance = (words[:, :1] >> np.uint64(11)) * 2.0**-53
            sizes = 2 + np.searchsorted(law / law[-1], chance, side="right")
            found[drawn - start :] = _places(words[:, 1:]) < sizes
        return found

    def estimate(self, scores: Array, whole: Array) -> Estimate:
        """What the scores (k, M) of the first k rows tell, and those of the input itself (M,)."""
        values, full = _linked(scores, self.link), _linked(whole, self.link)
        pairs = (len(values) - 1) // 2
        halves = (values[1 : 2 * pairs : 2] - values[2 : 2 * pairs + 1 : 2]) / 2
        regression = _regression(self, pairs)
        found, error = regression.solve(halves, full - values[0])
        if error is not None and not regression.complete:
            few = len(values) + 1 < _ROWS_WITH_ERROR
            error = None if few else error * _widening(regression.freedom)
        return Estimate(found.T, None if error is None else error.T, values[0])


@dataclass(frozen=True)
class PermutationDesign:
    r"""Shapley values as the mean gain of each cell over random orders in which cells come back.

    .. math:: \phi_i = \frac{1}{P} \sum_p \bigl(v(\text{cells up to } i \text{ in order } p)
        - v(\text{cells before } i)\bigr)

    The first row is the empty coalition; then come the coalitions of 1 to d - 1 cells of each
    order. The values add up to v(x) - v(empty) for any number of orders.

    Parameters
    ----------
    d : int
        Number of cells.
    n_permutations : int
        Number of orders; even where they are ``antithetic``.
    antithetic : bool
        Whether every second order is the reverse of the one before, which makes gains in which no
        more than pairs of cells interact exact.
    link : {"identity", "logit"}
        What the values add up to: the score, or the log-odds of a score within (0, 1).
    seed : int
        Of the draws, from 0 to 2**64 - 1.

    Raises
    ------
    TypeError, ValueError
        If a setting is wrong.

    Notes
    -----
    Castro, Gómez and Tejada, 2009, "Polynomial Calculation of the Shapley Value Based on
    Sampling", https://doi.org/10.1016/j.cor.2008.04.004; reversed orders as in Mitchell et al.,
    2022, "Sampling Permutations for Shapley Value Estimation", https://arxiv.org/abs/2104.12199.

    Standard errors are those of the mean over independent draws (orders, or pairs of them), times
    the ratio of Student's quantile to the normal one at 97.5 %, so that 1.96 of them are a 95 %
    interval also for few draws. There are none below 512 rows or 8 draws.

    Examples
    --------
    >>> import numpy as np
    >>> design = PermutationDesign(3)
    >>> kept = design.codes(0, design.total)
    >>> scores = 6.0 * (kept[:, 0] & kept[:, 1]) + 5.0 * kept[:, 2]
    >>> design.estimate(scores[:, None], np.array([11.0])).values.round(9)
    array([[3., 3., 5.]])
    """

    d: int
    n_permutations: int = 32
    antithetic: bool = True
    link: str = "identity"
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the settings."""
        _checks.integer("d", self.d, minimum=1)
        _checks.integer("n_permutations", self.n_permutations, minimum=1)
        _checks.flag("antithetic", self.antithetic)
        _checks.choice("link", self.link, LINKS)
        _checks.seed(self.seed)
        if self.n_permutations % self._orders:
            raise ValueError(
                "`n_permutations` must be even where `antithetic` is True. "
                f"Received: {self.n_permutations}."
            )

    @property
    def _orders(self) -> int:
        """Number of orders that one draw gives."""
        return 2 if self.antithetic else 1

    @property
    def total(self) -> int:
        """Number of rows, that of the input itself not among them."""
        return 1 + self.n_permutations * (self.d - 1)

    @property
    def without_error(self) -> str | None:
        """Only many rows and draws give any, unless the values are exact."""
        if self.d <= self._orders:
            return None
        if self.total + 1 < _ROWS_WITH_ERROR:
            return f"for fewer than {_ROWS_WITH_ERROR} rows"
        few = self.n_permutations // self._orders < _DRAWS_WITH_ERROR
        return f"for fewer than {_DRAWS_WITH_ERROR} independent draws of orders" if few else None

    def checks(self) -> list[int]:
        """Numbers of rows after which there is an estimate, with whole draws."""
        each = max(1, self._orders * (self.d - 1))
        ends = {1 + -(-(rows - 1) // each) * each for rows in doubling(self.total)}
        return sorted(ends)

    def codes(self, start: int, stop: int) -> Array:
        """Which cells are kept in the rows from ``start`` to ``stop``."""
        found = np.zeros((stop - start, self.d), bool)
        rows = np.arange(max(start, 1), stop)
        if rows.size:
            order, before = np.divmod(rows - 1, self.d - 1)
            draw = order // self._orders
            places = self._drawn(draw[0], draw[-1] + 1)[draw - draw[0], order % self._orders]
            found[rows - start] = places <= before[:, None]
        return found

    def _drawn(self, start: int, stop: int) -> Array:
        """The place of each cell in the orders of some draws, (stop - start, orders, d)."""
        places = _places(_words(self.seed, _ORDERS, start, stop, self.d))
        return np.stack([places, self.d - 1 - places][: self._orders], axis=1)

    def estimate(self, scores: Array, whole: Array) -> Estimate:
        """What the scores (k, M) of the first k rows tell, and those of the input itself (M,)."""
        values, full = _linked(scores, self.link), _linked(whole, self.link)
        draws = (len(values) - 1) // max(1, self._orders * (self.d - 1))
        if self.d == 1:
            gain = (full - values[0])[:, None]
            return Estimate(gain, np.zeros_like(gain), values[0])
        mean = np.zeros((self.d, len(full)))
        for gains in self._gains(values, full, draws):
            mean += gains.sum(0) / draws
        return Estimate(mean.T, self._error(values, full, draws, mean), values[0])

    def _error(self, values: Array, full: Array, draws: int, mean: Array) -> Array | None:
        if self.antithetic and self.d == 2:
            return np.zeros_like(mean.T)
        if len(values) + 1 < _ROWS_WITH_ERROR or draws < _DRAWS_WITH_ERROR:
            return None
        squares = np.zeros_like(mean)
        for gains in self._gains(values, full, draws):
            squares += ((gains - mean) ** 2).sum(0)
        return np.sqrt(squares / (draws - 1) / draws).T * _widening(draws - 1)

    def _gains(self, values: Array, full: Array, draws: int) -> Iterator[Array]:
        """What each cell adds, averaged over the orders of a draw: blocks (b, d, M) of draws."""
        size = self._orders * (self.d - 1)
        step = max(1, _NUMBERS // (2 * self.d * len(full)))
        for start in range(0, draws, step):
            stop = min(start + step, draws)
            inner = values[1 + start * size : 1 + stop * size]
            inner = inner.reshape(stop - start, self._orders, self.d - 1, -1)
            ends = [np.broadcast_to(end, inner[:, :, :1].shape) for end in (values[0], full)]
            steps = np.diff(np.concatenate([ends[0], inner, ends[1]], axis=2), axis=2)
            places = self._drawn(start, stop)[..., None]
            yield np.take_along_axis(steps, places, axis=2).mean(1)


@lru_cache(maxsize=4)
def _regression(design: KernelDesign, pairs: int) -> CoalitionRegression:
    return CoalitionRegression(design.d, pairs, design._firsts, design._listed)


@lru_cache(maxsize=4)
def _smaller_ones(d: int, seed: int, count: int) -> Array:
    """The smaller coalitions of the first ``count`` pairs, as numbers whose bits are cells.

    Pairs of each size come in a random order and as often as their weight in the kernel says,
    until there are no more; those of single cells before all others.
    """
    number = np.arange(1, 2 ** (d - 1))
    size = np.bitwise_count(number).astype(int)
    smaller = np.minimum(size, d - size)
    words = _words(seed, _LIST, 0, 1, len(number))[0]
    order = np.argsort(
        smaller.astype(np.uint64) << np.uint64(58) | words >> np.uint64(6), kind="stable"
    )
    smaller = smaller[order]
    place = np.arange(len(number)) - np.searchsorted(smaller, smaller)
    law = np.where(2 * smaller == d, 1, 2) / (smaller * (d - smaller))
    time = np.where(smaller == 1, 0, (place + 0.5) / law)
    chosen = order[np.argsort(time, kind="stable")[:count]]
    return np.where(2 * size > d, 2**d - 1 - number, number)[chosen]


def _widening(freedom: int) -> float:
    """Student's quantile over the normal one, at 97.5 %."""
    return float(special.stdtrit(freedom, 0.975) / special.ndtri(0.975))


def _linked(scores: Array, link: str) -> Array:
    scores = np.asarray(scores, "float64")
    if link == "identity":
        return scores
    outside = ~((scores > 0) & (scores < 1))
    if outside.any():
        raise ValueError(
            "`link` 'logit' needs scores between 0 and 1, both excluded. "
            f"Received: {scores[outside][0]}. Explain the model's logits instead, by the link "
            "'identity'."
        )
    return special.logit(scores)


def _words(seed: int, stream: int, start: int, stop: int, size: int) -> Array:
    """Random words of 64 bits, (stop - start, size); each draw has its own counters."""
    steps = -(-size // _WORDS)
    philox = np.random.Philox(np.random.SeedSequence(seed, spawn_key=(stream,)))
    words = philox.advance(int(start) * steps).random_raw(int(stop - start) * steps * _WORDS)
    return words.reshape(stop - start, -1)[:, :size]


def _places(words: Array) -> Array:
    """The place of each word in the order of its row, which is a random permutation."""
    order = np.argsort(words, axis=1, kind="stable")
    places = np.empty_like(order)
    np.put_along_axis(places, order, np.arange(order.shape[1])[None], axis=1)
    return places
