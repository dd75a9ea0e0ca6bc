"""Data sets that scikit-learn brings with it."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from xai_core import _checks
from xai_core.typing import Array

_SIDE = 8
_MARGIN = 1
_LARGEST = 16.0
_HELD_OUT = 360


class Split(NamedTuple):
    """Samples to learn from, and held-out ones.

    Parameters
    ----------
    train_inputs, test_inputs : array of float32, shape (N, ...)
        The samples.
    train_labels, test_labels : array of int64, shape (N,)
        Their classes.

    Examples
    --------
    >>> import numpy as np
    >>> split = Split(np.zeros((3, 2)), np.zeros(3), np.zeros((1, 2)), np.zeros(1))
    >>> len(split.train_inputs), len(split.test_inputs)
    (3, 1)
    """

    train_inputs: Array
    train_labels: Array
    test_inputs: Array
    test_labels: Array


def digits(size: int = 24, *, seed: int = 0) -> Split:
    """Handwritten digits: 1,797 grey images of ten classes, 360 of them held out.

    The images are scikit-learn's (8 x 8, 17 grey levels), with a margin of one pixel on each side,
    enlarged bilinearly. The held-out ones are drawn at random with the same share of every class,
    so that a writer's digits are in both parts.

    Parameters
    ----------
    size : int
        Height and width in pixels, at least 10.
    seed : int
        Which images are held out, and the order of all.

    Returns
    -------
    Split
        Images (N, size, size, 1) in [0, 1], 0 is the paper, and labels 0 to 9.

    Raises
    ------
    TypeError, ValueError
        If an argument is no integer or too small.

    Notes
    -----
    Alpaydin and Kaynak, 1998, "Optical Recognition of Handwritten Digits",
    https://doi.org/10.24432/C50P49

    Examples
    --------
    >>> split = digits(size=16)
    >>> split.train_inputs.shape, split.test_inputs.shape
    ((1437, 16, 16, 1), (360, 16, 16, 1))
    """
    _checks.integer("size", size, minimum=_SIDE + 2 * _MARGIN)
    _checks.integer("seed", seed, minimum=0)
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    images, labels = load_digits(return_X_y=True)
    small = images.reshape(-1, _SIDE, _SIDE) / _LARGEST
    framed = np.pad(small, ((0, 0), (_MARGIN, _MARGIN), (_MARGIN, _MARGIN)))
    weights = _bilinear(framed.shape[1], size)
    enlarged = weights @ framed @ weights.T
    parts: list[Any] = train_test_split(
        enlarged[..., None].astype("float32"),
        labels.astype("int64"),
        test_size=_HELD_OUT,
        stratify=labels,
        random_state=seed,
    )
    train_images, test_images, train_labels, test_labels = parts
    return Split(train_images, train_labels, test_images, test_labels)


def _bilinear(old: int, new: int) -> Array:
    """Return the (new, old) matrix of linear interpolation between the centres of pixels."""
    centers = (np.arange(new) + 0.5) * old / new - 0.5
    return np.stack([np.interp(centers, np.arange(old), unit) for unit in np.eye(old)], axis=1)
