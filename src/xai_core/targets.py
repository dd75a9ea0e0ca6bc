"""Which output is explained: class indices and weights over the output's columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from xai_core import _checks
from xai_core._inputs import host
from xai_core.typing import Array

__all__ = ["encode"]


def encode(
    targets: Any, rows: int, columns: int, names: Sequence[str] | None, classes: int | None = None
) -> Array:
    """Check targets and give each row its own.

    The score of a row is then the sum over columns of output times weight; an index is the
    weight 1 on that column.

    Parameters
    ----------
    targets : int, str, (N,) integers or strings, or (N, K) weights
        A scalar holds for all rows; integers of shape (N, 1) are indices. Weights are any finite
        numbers; negative ones give contrasts.
    rows : int
        Number of rows N.
    columns : int
        Number of columns K of the model's output.
    names : sequence of str or None
        Names of the classes, for targets that are names.
    classes : int, optional
        Number of classes that an index may choose from, if other than ``columns``.

    Returns
    -------
    array
        (N,) int32 indices or (N, K) float32 weights.

    Raises
    ------
    TypeError
        If targets are neither integers, names nor weights.
    ValueError
        If a shape, an index or a name does not fit.

    Examples
    --------
    >>> encode(2, rows=3, columns=4, names=None)
    array([2, 2, 2], dtype=int32)
    >>> encode([[1.0, -1.0]], rows=1, columns=2, names=None)
    array([[ 1., -1.]], dtype=float32)
    """
    array = host(targets, "targets")
    if array.dtype.kind in "iu" and array.shape == (rows, 1):
        array = array[:, 0]  # labels as Keras takes them
    if array.dtype.kind in "US":
        array = _indices_of_names(array, names)
    if array.dtype.kind not in "iuf":
        raise TypeError(
            f"`targets` must be class indices, class names or weights. Received: {_shown(targets)}."
        )
    if array.ndim == 2:
        return _weights(array, rows, columns)
    if array.dtype.kind == "f":
        raise ValueError(
            "`targets` must be integers of shape (N,) or weights of shape (N, K). Received: "
            f"floats of shape {array.shape}. Cast them to int if they are class indices."
        )
    return _indices(array, rows, columns if classes is None else classes)


def _indices(array: Array, rows: int, classes: int) -> Array:
    if array.ndim > 1 or (array.ndim == 1 and len(array) != rows):
        raise ValueError(
            f"`targets` must have the shape ({rows},), one index per row, or be one index. "
            f"Received: shape {array.shape}."
        )
    outside = array[(array < 0) | (array >= classes)] if array.ndim else array.reshape(1)
    if array.ndim == 0 and 0 <= int(array) < classes:
        outside = outside[:0]
    if outside.size:
        raise ValueError(
            f"`targets` must be class indices from 0 to {classes - 1}. Received: {int(outside[0])}."
        )
    return np.broadcast_to(array, (rows,)).astype("int32")


def _weights(array: Array, rows: int, columns: int) -> Array:
    if array.shape != (rows, columns):
        raise ValueError(
            f"`targets` given as weights must have the shape ({rows}, {columns}), rows by columns "
            f"of the output. Received: shape {array.shape}."
        )
    if not np.isfinite(array).all():
        raise ValueError("`targets` must be finite. Received: NaN or infinity among the weights.")
    return array.astype("float32")


def _indices_of_names(array: Array, names: Sequence[str] | None) -> Array:
    if names is None:
        raise ValueError(
            f"`targets` can be names only if the classes have names. Received: {_shown(array)}. "
            "Pass wrap(model, class_names=[...]) or use indices."
        )
    known = {name: k for k, name in enumerate(names)}
    for name in map(str, array.ravel()):
        if name not in known:
            raise ValueError(
                f"`targets` must be names of classes. Received: {name!r}."
                f"{_checks.near(name, known)}"
            )
        if names.count(name) > 1:
            bearers = [k for k, other in enumerate(names) if other == name]
            raise ValueError(
                f"`targets` must name one class. Received: {name!r}, the name of the classes "
                f"{bearers}. Use an index."
            )
    return np.array([known[str(name)] for name in array.ravel()]).reshape(array.shape)


def _shown(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= 80 else f"{shown[:77]}..."
