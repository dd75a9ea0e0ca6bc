r"""The Hilbert-Schmidt independence criterion (HSIC) of outputs and the cells of their masks.

.. math:: \mathrm{HSIC}_i = \frac{\mathrm{tr}(K_i H L H)}{(p - 1)^2}, \qquad H = I - 11^T / p

from p rows, with a kernel :math:`K_i` on cell i and a Gaussian kernel L on the outputs. No more
than a few rows of a kernel exist at a time.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from scipy import special

from xai_core import kernels
from xai_core.typing import Array

__all__ = ["Dependence", "binary_hsic", "pair_hsic", "uniform_hsic"]

# So many numbers of a kernel, of all cells' kernels, and of all pairs of bits at once.
_BLOCK, _AT_ONCE, _PAIRS = 2**18, 2**22, 2**22


class Dependence(NamedTuple):
    """How much outputs depend on each of d cells.

    Parameters
    ----------
    values : array, (d,)
        HSIC of each cell.
    error : array, (d,)
        Standard errors, for independent rows. They come from the influence of each row, twice the
        mean over the others of the product of both centred kernels, and know nothing of the null:
        a cell that the outputs do not depend on has a p-value.
    p_values : array, (d,)
        From a gamma law with the mean and the variance that HSIC has over all orders of the
        outputs.

    Examples
    --------
    >>> import numpy as np
    >>> Dependence(np.zeros(2), np.zeros(2), np.ones(2)).p_values
    array([1., 1.])
    """

    values: Array
    error: Array
    p_values: Array


def binary_hsic(kept: Array, outputs: Array, width: float) -> Dependence:
    r"""HSIC with the kernel :math:`\frac12 s s'` on bits, s = 1 where a cell is kept, else -1.

    .. math:: \mathrm{HSIC}_i = \frac{\frac12 s_i^T (H L H) s_i}{(p - 1)^2}

    which takes one product of L and the bits for all cells. On bits any kernel is this one up to
    its scale.

    Parameters
    ----------
    kept : array of bool, (p, d)
        The masks.
    outputs : array, (p,)
        Their outputs.
    width : float
        Standard deviation of the kernel on outputs.

    Returns
    -------
    Dependence
        Of each cell.

    Notes
    -----
    Novello et al., 2022, "Making Sense of Dependence: Efficient Black-box Explanations Using
    Dependence Measure", https://arxiv.org/abs/2206.06219

    Examples
    --------
    >>> import itertools
    >>> import numpy as np
    >>> kept = np.array(list(itertools.product([False, True], repeat=3)))
    >>> np.round(binary_hsic(kept, kept[:, 0], width=1.0).values, 9)
    array([0.12847979, 0.        , 0.        ])
    """
    signs = np.where(kept, 1.0, -1.0)
    signs -= signs.mean(0)
    seen = _seen(outputs, width, signs)
    rows = seen.products
    rows *= signs
    rows /= 2
    np.square(signs, out=signs)
    half = signs.sum(0) / 2
    mine = Trace(half, half**2, np.einsum("pc,pc->c", signs, signs) / 4)
    return _dependence(rows, mine, seen.trace)


def uniform_hsic(masks: Array, outputs: Array, width: float, kernel: str) -> Dependence:
    """HSIC with a kernel on masks that are uniform over [0, 1].

    Parameters
    ----------
    masks : array, (p, d)
        The masks.
    outputs : array, (p,)
        Their outputs.
    width : float
        Standard deviation of the kernel on outputs.
    kernel : {"sobolev", "rbf"}
        See `kernels.KERNELS`.

    Returns
    -------
    Dependence
        Of each cell.

    Examples
    --------
    >>> import numpy as np
    >>> masks = np.random.default_rng(0).random((256, 3))
    >>> found = uniform_hsic(masks, masks[:, 1], 0.3, "sobolev")
    >>> int(found.values.argmax()), bool(found.p_values[1] < 0.01)
    (1, True)
    """
    p, d = masks.shape
    masks = np.asarray(masks, float)
    seen = _seen(outputs, width, np.empty((p, 0)))
    rows, sums = np.empty((p, d)), np.empty((p, d))
    squares, diagonal = np.zeros(d), np.empty((p, d))
    for part, centred in kernels.centred_blocks(outputs, width, seen.sums, max(1, _BLOCK // p)):
        place = np.arange(part.start, part.stop)
        for cell in range(d):
            block = kernels.KERNELS[kernel](masks[part, cell, None], masks[None, :, cell])
            rows[part, cell] = np.einsum("jl,jl->j", block, centred)
            sums[part, cell] = block.sum(1)
            squares[cell] += np.vdot(block, block)
            diagonal[part, cell] = block[place - part.start, place]
    return _dependence(rows, _trace(diagonal, sums, squares), seen.trace)


def pair_hsic(codes: Array, outputs: Array, width: float, kernel: str) -> Array:
    r"""What two cells add together, HSIC with the product of their kernels.

    With kernels of mean zero this is the interaction in the decomposition of the HSIC of
    :math:`(1 + K_i)(1 + K_j)`; on bits it is
    :math:`\frac14 (s_i s_j)^T (H L H) (s_i s_j) / (p - 1)^2`.

    Parameters
    ----------
    codes : array, (p, d)
        Masks, bits or uniform.
    outputs : array, (p,)
        Their outputs.
    width : float
        Standard deviation of the kernel on outputs.
    kernel : {"binary", "sobolev", "rbf"}
        See `kernels.KERNELS`.

    Returns
    -------
    array, (d, d)
        Symmetric, NaN on the diagonal.

    Examples
    --------
    >>> import itertools
    >>> import numpy as np
    >>> kept = np.array(list(itertools.product([False, True], repeat=3)))
    >>> pairs = pair_hsic(kept, kept[:, 0] ^ kept[:, 1], 1.0, "binary")
    >>> round(float(pairs[0, 1]), 9), bool(abs(pairs[0, 2]) < 1e-15)
    (0.064239892, True)
    """
    if kernel == "binary":
        return _pairs_of_bits(codes, outputs, width)
    p, d = codes.shape
    codes = np.asarray(codes, float).T
    sums = _seen(outputs, width, np.empty((p, 0))).sums
    found = np.zeros((d, d))
    for part, centred in kernels.centred_blocks(outputs, width, sums, max(1, _AT_ONCE // (d * p))):
        block = kernels.KERNELS[kernel](codes[:, part, None], codes[:, None, :])
        found += (block * centred).reshape(d, -1) @ block.reshape(d, -1).T
    found = (found + found.T) / (2 * (p - 1) ** 2)
    np.fill_diagonal(found, np.nan)
    return found


def _pairs_of_bits(kept: Array, outputs: Array, width: float) -> Array:
    p, d = kept.shape
    signs = np.where(kept, 1.0, -1.0)
    found = np.full((d, d), np.nan)
    one, other = np.triu_indices(d, 1)
    step = max(1, _PAIRS // p)
    for start in range(0, len(one), step):
        i, j = one[start : start + step], other[start : start + step]
        both = signs[:, i] * signs[:, j]
        products = _seen(outputs, width, both - both.mean(0)).products
        found[i, j] = found[j, i] = np.einsum("pc,pc->c", both, products) / (4 * (p - 1) ** 2)
    return found


class Trace(NamedTuple):
    """Of a centred kernel matrix: its trace, that of its square, and its diagonal's squares."""

    one: Any
    two: Any
    diagonal: Any


class Seen(NamedTuple):
    """What one pass over the kernel L on outputs finds: HL @ columns, row sums, traces of HLH."""

    products: Array
    sums: Array
    trace: Trace


def _seen(outputs: Array, width: float, columns: Array) -> Seen:
    products, sums = np.empty_like(columns), np.empty(len(outputs))
    squares = 0.0
    for part, block in kernels.blocks(outputs, width, max(1, _BLOCK // len(outputs))):
        products[part] = block @ columns
        sums[part] = block.sum(1)
        squares += np.vdot(block, block)
    products -= products.mean(0)
    return Seen(products, sums, _trace(np.ones(len(outputs)), sums, squares))


def _trace(diagonal: Array, sums: Array, squares: Any) -> Trace:
    """Of the centred matrix, from a symmetric one's diagonal, row sums and sum of squares."""
    p, total = len(sums), sums.sum(0)
    own = diagonal - 2 * sums / p + total / p**2
    two = squares - 2 / p * (sums**2).sum(0) + (total / p) ** 2
    return Trace(own.sum(0), two, (own**2).sum(0))


def _dependence(rows: Array, mine: Trace, theirs: Trace) -> Dependence:
    """From the row sums (p, d) of the products of both centred kernels, which are overwritten."""
    p = len(rows)
    traces = rows.sum(0)
    rows -= traces / p
    deviation = np.sqrt(np.einsum("pc,pc->c", rows, rows) / (p - 1))
    error = 2 * deviation / math.sqrt(p) / (p - 1)
    return Dependence(traces / (p - 1) ** 2, error, _gamma_tail(traces, p, mine, theirs))


def _gamma_tail(traces: Array, p: int, mine: Trace, theirs: Trace) -> Array:
    """How likely a larger tr(KHLH) is, by a gamma law."""
    mean, variance = moments_over_orders(p, mine, theirs)
    known = (mean > 0) & (variance > 0)
    mean, variance = np.where(known, mean, 1.0), np.where(known, variance, 1.0)
    tail = special.gammaincc(mean**2 / variance, np.maximum(traces, 0) * mean / variance)
    return np.where(known, tail, 1.0)


def moments_over_orders(p: int, mine: Trace, theirs: Trace) -> tuple[Array, Array]:
    """Mean and variance of tr(KHLH) over all orders of the outputs, exactly.

    Kazi-Aoual et al., 1995, "Refined Approximations to Permutation Tests for Multivariate
    Inference", https://doi.org/10.1016/0167-9473(94)00064-2
    """
    mean = mine.one * theirs.one / (p - 1)
    variance = 2 * _apart(p, mine) * _apart(p, theirs) / ((p - 1) ** 2 * (p + 1) * (p - 2))
    tails = _unequal(p, mine) * _unequal(p, theirs)
    return mean, variance + tails / ((p + 1) * p * (p - 1) * (p - 2) * (p - 3))


def _apart(p: int, trace: Trace) -> Any:
    return (p - 1) * trace.two - trace.one**2


def _unequal(p: int, trace: Trace) -> Any:
    return p * (p + 1) * trace.diagonal - (p - 1) * (trace.one**2 + 2 * trace.two)
