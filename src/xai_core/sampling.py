"""Numbers that perturb, the same on every backend, for every batch size and device."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from keras import ops

from xai_core import _backend
from xai_core.typing import Array, Tensor

__all__ = ["normal", "seed_words"]

_ROTATIONS = (13, 15, 26, 6, 17, 29, 16, 24)
_PARITY = 0x1BD11BDA
_ROUNDS = 20


def seed_words(seed: int) -> Array:
    """The two words of a key, as `normal` takes them.

    Parameters
    ----------
    seed : int
        From 0 to 2**64 - 1.

    Returns
    -------
    array of int32, (2,)
        The lower and the upper half.

    Examples
    --------
    >>> seed_words(2**32 + 5)
    array([5, 1], dtype=int32)
    """
    return np.array([seed & 0xFFFFFFFF, seed >> 32], "uint32").astype("int32")


def normal(key: Tensor, samples: Tensor, size: int, first: int = 0) -> Tensor:
    r"""Independent standard normal numbers, known by (key, sample, element, size) alone.

    The words of the counter-based generator Threefry-2x32 with 20 rounds become pairs by the
    transform of Box and Muller, :math:`\sqrt{-2 \ln u}\,(\cos 2 \pi v, \sin 2 \pi v)`. The
    cosines stand in the first half of a sample, the sines in the second.

    Parameters
    ----------
    key : tensor of int32, (2,)
        See `seed_words`.
    samples : tensor of int32, (n,)
        Numbers of the samples.
    size : int
        Number of elements of a sample.
    first : int
        Even; the pairs of a sample are counted from ``first`` / 2. Numbers of ``first`` and of
        at least ``first`` + ``size`` are independent.

    Returns
    -------
    tensor of float32, (n, size)
        The numbers; those of one sample do not depend on the others.

    Notes
    -----
    Salmon et al., 2011, "Parallel Random Numbers: As Easy as 1, 2, 3",
    https://doi.org/10.1145/2063384.2063405

    Examples
    --------
    >>> from keras import ops
    >>> key = ops.convert_to_tensor(seed_words(7))
    >>> tuple(normal(key, ops.arange(3, dtype="int32"), 5).shape)
    (3, 5)
    """
    rows: Any = ops.reshape(samples, (-1, 1))
    start, stop = first // 2, first // 2 + (size + 1) // 2
    pairs: Any = ops.reshape(ops.arange(start, stop, dtype="int32"), (1, -1))
    counters = pairs + ops.zeros_like(rows), rows + ops.zeros_like(pairs)
    words = _backend.fused(_threefry, ops.convert_to_tensor(key), *counters)
    # Augmented assignments save torch copies; each changes a tensor of this function's own.
    uniform, angle = (_fraction(word) for word in words)
    uniform += 2.0**-24  # half a step, so that it is never 0
    log: Any = ops.log(uniform)
    log *= -2.0
    radius: Any = ops.sqrt(log)
    angle *= 2 * math.pi
    cosines: Any = ops.cos(angle)
    sines: Any = ops.sin(angle)
    cosines *= radius
    sines *= radius
    both: Any = ops.concatenate([cosines, sines], axis=1)
    return both[:, :size]


def _threefry(key: Any, left: Any, right: Any) -> tuple[Tensor, Tensor]:
    """Two random words for each pair of counters; int32 arithmetic wraps around."""
    keys = [key[0], key[1], ops.bitwise_xor(ops.bitwise_xor(key[0], key[1]), _PARITY)]
    left, right = left + keys[0], right + keys[1]
    for k in range(_ROUNDS):
        left += right
        right = _rotated(right, _ROTATIONS[k % 8])
        right ^= left
        if k % 4 == 3:
            j = k // 4 + 1
            left += keys[j % 3]
            right += keys[(j + 1) % 3] + j
    return left, right


def _fraction(word: Tensor) -> Any:
    """The upper 23 bits as a number in [0, 1), which float32 holds exactly."""
    bits: Any = ops.cast(_shifted(word, 9), "float32")
    bits *= 2.0**-23
    return bits


def _rotated(x: Tensor, bits: int) -> Any:
    found: Any = ops.left_shift(x, bits)
    found |= _shifted(x, 32 - bits)
    return found


def _shifted(x: Tensor, bits: int) -> Any:
    """Shift right; the sign, which an arithmetic shift copies, is masked away."""
    found: Any = ops.right_shift(x, bits)
    found &= (1 << (32 - bits)) - 1
    return found
