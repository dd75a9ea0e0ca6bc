"""Kernels on the outputs of masked inputs and on the masks, a few rows of a matrix at a time."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from scipy import special

from xai_core import designs
from xai_core.typing import Array

__all__ = ["KERNELS", "median_distance"]

_OUTPUTS = 2048
_WIDTH = 0.5


def median_distance(outputs: Array, seed: int = 0) -> float:
    """The median distance of two outputs, of those that differ where most do not.

    Parameters
    ----------
    outputs : array, (p,)
        At least two that differ; of more than 2,048 as many are drawn.
    seed : int
        From 0 to 2**64 - 1.

    Returns
    -------
    float
        The (lower) median.

    Examples
    --------
    >>> round(median_distance([0.0, 1.0, 3.0]), 9)
    2.0
    >>> round(median_distance([0.0, 0.0, 0.0, 0.0, 3.0]), 9)
    3.0
    """
    drawn = np.asarray(outputs, float)
    if len(drawn) > _OUTPUTS:
        drawn = designs.generator(seed, "outputs").choice(drawn, _OUTPUTS, replace=False)
    drawn = np.sort(drawn)
    if drawn[0] == drawn[-1]:
        return float(np.ptp(outputs))
    found = _ranked_distance(drawn, 0)
    # Scores of a detector are often 0 in most rows; the others still have a scale.
    least = 1e-6 * (drawn[-1] - drawn[0])
    return found if found > least else _ranked_distance(drawn, _pairs_within(drawn, least))


def _ranked_distance(ordered: Array, skipped: int) -> float:
    """The lower median of the distances of sorted numbers, without the smallest ones."""
    pairs = len(ordered) * (len(ordered) - 1) // 2
    rank = skipped + (pairs - skipped + 1) // 2
    low, high = 0.0, float(ordered[-1] - ordered[0])
    if _pairs_within(ordered, low) >= rank:
        return low
    while low < (middle := (low + high) / 2) < high:
        if _pairs_within(ordered, middle) >= rank:
            high = middle
        else:
            low = middle
    return high


def _pairs_within(ordered: Array, distance: float) -> int:
    reach = np.searchsorted(ordered, ordered + distance, side="right")
    return int(reach.sum()) - len(ordered) * (len(ordered) + 1) // 2


def _sobolev(x: Array, others: Array) -> Array:
    distance = np.abs(x - others)
    return (x - 0.5) * (others - 0.5) + (distance * (distance - 1) + 1 / 6) / 2


def _rbf(x: Array, others: Array) -> Array:
    return np.exp((x - others) ** 2 / (-2 * _WIDTH**2)) - _mean(x) - _mean(others) + _mean_of_mean()


def _mean(x: Array) -> Array:
    """Mean of the Gaussian kernel over [0, 1]."""
    root = _WIDTH * math.sqrt(2)
    return math.sqrt(math.pi) / 2 * root * (special.erf((1 - x) / root) + special.erf(x / root))


def _mean_of_mean() -> float:
    root = _WIDTH * math.sqrt(2)
    area = math.sqrt(math.pi) * root * math.erf(1 / root)
    return area - root**2 * (1 - math.exp(-1 / root**2))


KERNELS: dict[str, Callable[[Any, Any], Any]] = {"sobolev": _sobolev, "rbf": _rbf}
r"""Kernels on uniform masks, of mean zero.

The Sobolev kernel :math:`B_1(m) B_1(m') + \frac12 B_2(|m - m'|)` of Bernoulli polynomials, and a
Gaussian of width .5, centred, which leaves HSIC as it is but makes interactions one.
"""


def blocks(outputs: Array, width: float, size: int) -> Iterator[tuple[slice, Array]]:
    """Rows of the Gaussian kernel on outputs."""
    scaled = np.asarray(outputs, float) / (math.sqrt(2) * width)
    for start in range(0, len(scaled), size):
        part = slice(start, min(start + size, len(scaled)))
        block = np.subtract.outer(scaled[part], scaled)
        np.square(block, out=block)
        np.negative(block, out=block)
        yield part, np.exp(block, out=block)


def centred_blocks(
    outputs: Array, width: float, sums: Array, size: int
) -> Iterator[tuple[slice, Array]]:
    """Rows of HLH."""
    means = sums / len(sums)
    for part, block in blocks(outputs, width, size):
        block -= means[part, None] - means.mean()
        block -= means
        yield part, block
