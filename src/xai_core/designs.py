"""Which points are asked for: seeded samples of the unit cube, and random numbers by sample.

All are drawn on the host with generators that have no global state.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
from scipy.stats import qmc

from xai_core import _checks
from xai_core.typing import Array

__all__ = ["SAMPLERS", "background_rows", "bernoulli", "bits", "generator", "shifts", "uniform"]

SAMPLERS = ("lhs", "sobol", "halton", "random")
"""Latin hypercube, scrambled Sobol' and Halton sequences, independent points."""

# Not typed: since SciPy 1.15 `rng` is another name of `seed`.
_SEQUENCES: dict[str, Any] = {"sobol": qmc.Sobol, "halton": qmc.Halton}
# A scrambled Halton sequence of more columns takes seconds and gigabytes; more columns of Sobol'
# bits need a million rows to differ.
_WIDEST = {"sobol": qmc.Sobol.MAXDIM, "halton": 1024}
_WIDEST_BITS = {"sobol": 2048, "halton": 1024}
_WORDS = 8
"""Words of 32 bits that one step of the generator's counter gives."""


def uniform(sampler: str, n: int, d: int, seed: int, block: int = 0) -> Array:
    """Points of the unit cube.

    Parameters
    ----------
    sampler : {"lhs", "sobol", "halton", "random"}
        How they are spread. Sequences are scrambled: without it columns far from the first agree
        so much that the indices of sensitivity analysis are wrong.
    n : int
        Number of points, a power of two for "sobol".
    d : int
        Number of columns.
    seed : int
        From 0 to 2**64 - 1.
    block : int
        Blocks of one seed are independent.

    Returns
    -------
    array of float64, (n, d)
        Within [0, 1).

    Raises
    ------
    ValueError
        If there is no such design.

    Notes
    -----
    Matoušek, 1998, "On the L2-Discrepancy for Anchored Boxes",
    https://doi.org/10.1006/jcom.1998.0489; Owen, 2017, "A Randomized Halton Algorithm in R",
    https://arxiv.org/abs/1706.02808

    Examples
    --------
    >>> points = uniform("lhs", 4, 2, seed=0)
    >>> sorted((4 * points[:, 0]).astype(int).tolist())
    [0, 1, 2, 3]
    """
    check(sampler, n, d)
    draws = generator(seed, "uniform", block)
    if sampler in _SEQUENCES:
        return _SEQUENCES[sampler](d, scramble=True, seed=draws).random(n)
    places = draws.random((n, d))
    if sampler == "random":
        return places
    # Rounding must not carry a place into the next stratum, nor the last one to 1.
    strata = draws.permuted(np.broadcast_to(np.arange(n)[:, None], (n, d)), axis=0)
    return np.minimum((strata + places) / n, np.nextafter((strata + 1) / n, 0))


def bits(sampler: str, n: int, d: int, seed: int, block: int = 0) -> Array:
    """Rows of bits, each 1 half of the time.

    Columns of "lhs" are balanced and in an order of their own, like those of a Latin hypercube
    cut at one half. The first bits of a Sobol' sequence are Walsh functions, orthogonal but few.

    Parameters
    ----------
    sampler : {"lhs", "sobol", "halton", "random"}
        How rows are spread.
    n : int
        Number of rows; for "sobol" a power of two, large enough for d columns.
    d : int
        Number of columns.
    seed : int
        From 0 to 2**64 - 1.
    block : int
        Blocks of one seed are independent.

    Returns
    -------
    array of bool, (n, d)
        The bits.

    Raises
    ------
    ValueError
        If there is no such design, or two columns of it would be equal or complementary.

    Examples
    --------
    >>> bits("lhs", 10, 3, seed=0).sum(0)
    array([5, 5, 5])
    """
    check_bits(sampler, n, d)
    draws = generator(seed, "bits", block)
    if sampler == "random":
        return draws.random((n, d)) < 0.5
    if sampler == "lhs":
        half = np.broadcast_to(np.arange(n)[:, None] < n // 2, (n, d)).copy()
        # The middle stratum of an odd number of rows may fall on either side.
        half[n // 2] = (n % 2 == 1) & (draws.random(d) < 0.5)
        return draws.permuted(half, axis=0)
    return _SEQUENCES[sampler](d, scramble=True, seed=draws).random(n) >= 0.5


def bernoulli(
    seed: int, start: int, stop: int, shape: tuple[int, ...], probability: float
) -> Array:
    """Independent bits of samples ``start`` to ``stop``, known by seed, sample and shape alone.

    Parameters
    ----------
    seed : int
        From 0 to 2**64 - 1.
    start, stop : int
        Numbers of samples.
    shape : tuple of int
        That of one sample.
    probability : float
        Of a 1, in steps of 2**-32.

    Returns
    -------
    array of bool, (stop - start, *shape)
        The bits.

    Examples
    --------
    >>> whole = bernoulli(7, 0, 100, (3, 3), 0.5)
    >>> bool((bernoulli(7, 40, 60, (3, 3), 0.5) == whole[40:60]).all())
    True
    """
    words = _words("bernoulli", seed, start, stop, math.prod(shape))
    return (words < round(probability * 2**32)).reshape(stop - start, *shape)


def shifts(seed: int, start: int, stop: int, highs: Sequence[int]) -> Array:
    """Independent integers of samples ``start`` to ``stop``, on numbers of their own.

    Parameters
    ----------
    seed : int
        From 0 to 2**64 - 1.
    start, stop : int
        Numbers of samples.
    highs : sequence of int
        Column j is uniform over 0 to ``highs[j] - 1``.

    Returns
    -------
    array of int32, (stop - start, len(highs))
        The integers.

    Examples
    --------
    >>> shifts(7, 0, 1000, (32, 4)).max(0)
    array([31,  3], dtype=int32)
    """
    return _integers("shifts", seed, start, stop, highs)


def background_rows(seed: int, start: int, stop: int, count: int) -> Array:
    """One of ``count`` rows for each of the samples ``start`` to ``stop``.

    Parameters
    ----------
    seed : int
        From 0 to 2**64 - 1.
    start, stop : int
        Numbers of samples.
    count : int
        Number of rows.

    Returns
    -------
    array of int32, (stop - start,)
        Numbers of rows, independent of `bernoulli` and `shifts`.

    Examples
    --------
    >>> background_rows(0, 5, 8, 1)
    array([0, 0, 0], dtype=int32)
    """
    return _integers("rows", seed, start, stop, (count,))[:, 0]


def check(sampler: str, n: int, d: int, rows: str = "n") -> None:
    """Raise if a sampler cannot draw n points of d columns; ``rows`` names n in the message."""
    _check(sampler, n, d, rows, _WIDEST)


def check_bits(sampler: str, n: int, d: int, rows: str = "n") -> None:
    """Raise if a sampler cannot draw n rows of d bits; ``rows`` names n in the message."""
    _check(sampler, n, d, rows, _WIDEST_BITS)
    if sampler == "sobol" and n < smallest_bits(d):
        raise ValueError(
            f"`{rows}` must be at least {smallest_bits(d)} for {d} columns of Sobol' bits, or two "
            f"of them are equal or complementary. Received: {n}."
        )


def _check(sampler: str, n: int, d: int, rows: str, widest: dict[str, int]) -> None:
    _checks.choice("sampler", sampler, SAMPLERS)
    if sampler == "sobol" and n & (n - 1):
        raise ValueError(
            f"`{rows}` must be a power of two for sampler 'sobol'. Received: {n}. "
            f"Use {2 ** (n.bit_length() - 1)} or {2 ** n.bit_length()}, or sampler 'lhs'."
        )
    if d > widest.get(sampler, d):
        raise ValueError(
            f"Sampler '{sampler}' has at most {widest[sampler]} columns. Received: {d}. "
            "Use sampler 'lhs', or fewer cells."
        )


@cache
def smallest_bits(d: int) -> int:
    """The smallest power of two of rows in which no two of d columns of Sobol' bits agree.

    A column of first bits is a Walsh function, which the rows 1, 2, 4, ... determine; two agree in
    2**m rows where they do in m of these, and scrambling only complements columns.
    """
    sequence, found, seen = qmc.Sobol(d, scramble=False), [], 0
    while len({column.tobytes() for column in np.array(found, bool).T}) < d or not found:
        position = 2 ** len(found)
        sequence.fast_forward(position - seen)
        found.append(sequence.random(1)[0] >= 0.5)
        seen = position + 1
    return 2 ** len(found)


def generator(seed: int, stream: str, block: int = 0) -> np.random.Generator:
    """A generator of NumPy, independent of those of other seeds, streams and blocks."""
    return np.random.Generator(np.random.Philox(_sequence(seed, stream, block)))


def _sequence(seed: int, stream: str, block: int = 0) -> np.random.SeedSequence:
    return np.random.SeedSequence(seed, spawn_key=(zlib.crc32(stream.encode()), block))


def _integers(stream: str, seed: int, start: int, stop: int, highs: Sequence[int]) -> Any:
    words = _words(stream, seed, start, stop, len(highs)).astype(np.uint64)
    return (words * np.array(highs, np.uint64) >> np.uint64(32)).astype(np.int32)


def _words(stream: str, seed: int, start: int, stop: int, size: int) -> Array:
    """Random words of 32 bits, (stop - start, size); each sample has its own counters."""
    steps = -(-size // _WORDS)
    key = _sequence(seed, stream).generate_state(2, np.uint64)
    philox = np.random.Philox(key=key, counter=start * steps)
    words = philox.random_raw((stop - start) * steps * _WORDS // 2).astype("<u8").view("<u4")
    return words.reshape(stop - start, steps * _WORDS)[:, :size]
