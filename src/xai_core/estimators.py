"""Numbers that reduce: what designs make of scores, and moments of samples in batches."""

from __future__ import annotations

from itertools import count, takewhile
from typing import Any, NamedTuple, Protocol

from keras import ops

from xai_core import _backend
from xai_core.typing import Array, Tensor

__all__ = [
    "Design",
    "Estimate",
    "Moments",
    "add",
    "doubling",
    "empty",
    "mean_error",
    "variance",
    "variance_error",
]

_FIRST = 256


class Estimate(NamedTuple):
    """What a design makes of the scores of masked inputs, for M targets and d cells.

    Parameters
    ----------
    values : array, (M, d)
        One number per cell.
    error : array, (M, d), or None
        Their standard errors, None where the design gives no honest one.
    base : array, (M,), or None
        The score of what stands for an absent cell, of methods that start from it.
    first_order : array, (M, d), or None
        First-order indices.
    interactions : array, (M, d, d), or None
        Of pairs of cells: symmetric, NaN on the diagonal.
    p_values : array, (M, d), or None
        Of the hypothesis that the score does not depend on a cell.
    level : array, (M,), or None
        What a cell has that the score does not depend on; None is 0.

    Examples
    --------
    >>> import numpy as np
    >>> Estimate(np.zeros((1, 4)), None).base is None
    True
    """

    values: Array
    error: Array | None
    base: Array | None = None
    first_order: Array | None = None
    interactions: Array | None = None
    p_values: Array | None = None
    level: Array | None = None


class Design(Protocol):
    """Which cells of an input are masked, row by row, and what the scores of these rows tell."""

    @property
    def total(self) -> int:
        """Number of rows, that of the input itself not among them."""
        ...

    @property
    def without_error(self) -> str | None:
        """Why even all rows give no standard errors, such as "of a sequence"; None if they do."""
        ...

    def codes(self, start: int, stop: int) -> Array:
        """How much of each cell is kept in some rows, (stop - start, d), however they are cut.

        Booleans, or float32 from 0 to 1.
        """
        ...

    def checks(self) -> list[int]:
        """Numbers of rows after which there is an estimate, ascending; the last is ``total``."""
        ...

    def estimate(self, scores: Array, whole: Array) -> Estimate:
        """What the scores (k, M) of the first k rows tell, and those of the input itself (M,)."""
        ...


def doubling(total: int) -> list[int]:
    """Numbers of rows after which it is worth to look at an estimate: 256, 512, 1,024, ...

    Parameters
    ----------
    total : int
        Number of all rows, which comes last.

    Returns
    -------
    list of int
        Ascending.

    Examples
    --------
    >>> doubling(1000)
    [256, 512, 1000]
    """
    return [*takewhile(lambda rows: rows < total, (_FIRST << k for k in count())), total]


class Moments(NamedTuple):
    """Number of samples, mean, and sums of powers of the deviations from it, for n groups.

    Parameters
    ----------
    count : tensor, (n,)
        Number of samples of each group.
    mean : tensor, (n, ...)
        Their mean.
    powers : tuple of tensors, (n, ...)
        Sums over the samples of (x - mean) to the power 2, or to the powers 2, 3 and 4.

    Examples
    --------
    >>> empty(2, (3,)).mean.shape == (2, 3)
    True
    """

    count: Tensor
    mean: Tensor
    powers: tuple[Tensor, ...]


def empty(groups: int, shape: tuple[int, ...], order: int = 2, dtype: str = "float32") -> Moments:
    """The moments of no samples.

    Parameters
    ----------
    groups : int
        Number n of groups.
    shape : tuple of int
        Shape of one sample.
    order : {2, 4}
        The highest power.
    dtype : str
        Float type of the sums.

    Returns
    -------
    Moments
        All zero.

    Examples
    --------
    >>> len(empty(1, (2,), order=4).powers)
    3
    """
    zeros = ops.zeros((groups, *shape), dtype)
    return Moments(ops.zeros((groups,), dtype), zeros, (zeros,) * (order - 1))


def add(moments: Moments, samples: Tensor, group: Tensor, weight: Tensor) -> Moments:
    """The moments after a batch of samples.

    Deviations are taken from the batch's own means and merged pairwise (Pébay, 2008, "Formulas
    for Robust, One-Pass Parallel Computation of Covariances and Arbitrary-Order Statistical
    Moments", https://doi.org/10.2172/1028931), so that nothing cancels.

    Parameters
    ----------
    moments : Moments
        So far.
    samples : tensor, (r, ...)
        The batch.
    group : tensor of int32, (r,)
        The group of each sample.
    weight : tensor, (r,)
        1, or 0 for a sample that does not count.

    Returns
    -------
    Moments
        With the batch.

    Examples
    --------
    >>> from keras import ops
    >>> one = ops.ones((2,))
    >>> found = add(empty(1, (1,)), ops.array([[1.0], [3.0]]), ops.array([0, 0], "int32"), one)
    >>> float(found.mean[0, 0]), float(found.powers[0][0, 0])
    (2.0, 2.0)
    """
    groups: Any = moments.mean.shape[0]
    if groups is None:
        shape: Any = ops.shape(moments.mean)
        groups = shape[0]
    samples = ops.cast(samples, moments.mean.dtype)
    rank = len(samples.shape)
    weight = ops.cast(weight, samples.dtype)

    def summed(values: Tensor) -> Tensor:
        return _backend.segment_sum(values, group, groups)

    def wide(values: Tensor) -> Tensor:
        return ops.reshape(values, (-1, *[1] * (rank - 1)))

    new = summed(weight)
    total = moments.count + new
    mean = summed(wide(weight) * samples) / wide(ops.maximum(new, 1))
    deviation = samples - ops.take(mean, group, axis=0)
    added, power = [], wide(weight) * deviation
    for _ in moments.powers:
        power = power * deviation
        added.append(summed(power))
    delta = mean - moments.mean
    moved = moments.mean + delta * wide(new / ops.maximum(total, 1))
    # Where a side has no samples the distance means nothing, and its powers could overflow.
    both = ops.cast(ops.greater(ops.minimum(moments.count, new), 0), samples.dtype)
    counts = wide(moments.count), wide(new), wide(ops.maximum(total, 1))
    powers = _merged(counts, delta * wide(both), moments.powers, tuple(added))
    return Moments(total, moved, powers)


def _merged(
    counts: tuple[Any, Any, Any],
    delta: Any,
    old: tuple[Any, ...],
    new: tuple[Any, ...],
) -> tuple[Tensor, ...]:
    """Sums of powers of the deviations from the common mean."""
    a, b, n = counts
    second = old[0] + new[0] + delta**2 * a * b / n
    if len(old) == 1:
        return (second,)
    step = delta / n
    third = old[1] + new[1] + delta * step**2 * a * b * (a - b)
    third = third + 3 * step * (a * new[0] - b * old[0])
    fourth = old[2] + new[2] + delta * step**3 * a * b * (a * a - a * b + b * b)
    fourth = fourth + 6 * step**2 * (a * a * new[0] + b * b * old[0])
    fourth = fourth + 4 * step * (a * new[1] - b * old[1])
    return second, third, fourth


def variance(moments: Moments) -> Tensor:
    r"""The unbiased variance, :math:`s^2 = \sum (x - \bar x)^2 / (n - 1)`.

    Parameters
    ----------
    moments : Moments
        Of at least two samples in each group.

    Returns
    -------
    tensor, (n, ...)
        The variance within each group.

    Examples
    --------
    >>> from keras import ops
    >>> float(variance(Moments(ops.array([3.0]), ops.zeros((1, 1)), (ops.array([[4.0]]),)))[0, 0])
    2.0
    """
    return moments.powers[0] / (_counts(moments) - 1)


def mean_error(moments: Moments) -> Tensor:
    r"""The standard error of the mean, :math:`s / \sqrt n`.

    Parameters
    ----------
    moments : Moments
        Of at least two samples in each group.

    Returns
    -------
    tensor, (n, ...)
        The standard error within each group.

    Examples
    --------
    >>> from keras import ops
    >>> moments = Moments(ops.array([4.0]), ops.zeros((1, 1)), (ops.array([[12.0]]),))
    >>> float(mean_error(moments)[0, 0])
    1.0
    """
    return ops.sqrt(variance(moments) / _counts(moments))


def variance_error(moments: Moments) -> Tensor:
    r"""The standard error of the variance.

    .. math:: \sqrt{\frac{1}{n} \Bigl(m_4 - \frac{n - 3}{n - 1} s^4\Bigr)}, \qquad
        m_4 = \frac{1}{n} \sum (x - \bar x)^4

    Parameters
    ----------
    moments : Moments
        Up to the fourth power, of at least two samples in each group.

    Returns
    -------
    tensor, (n, ...)
        The standard error within each group.

    Examples
    --------
    >>> from keras import ops
    >>> powers = tuple(ops.array([[value]]) for value in (4.0, 0.0, 4.0))
    >>> moments = Moments(ops.array([4.0]), ops.zeros((1, 1)), powers)
    >>> round(float(variance_error(moments)[0, 0]), 4)
    0.3191
    """
    count = _counts(moments)
    squared: Any = variance(moments) ** 2
    fourth = moments.powers[2] / count
    return ops.sqrt(ops.maximum(fourth - (count - 3) / (count - 1) * squared, 0) / count)


def _counts(moments: Moments) -> Any:
    shape = (-1, *[1] * (len(moments.mean.shape) - 1))
    return ops.reshape(moments.count, shape)
