"""Targets over the columns of an output (N, K): class indices, names and weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from xai_core import _checks
from xai_core._inputs import host
from xai_core.typing import Array

_NAMED = 10


def encode(
    targets: Any, rows: int, columns: int, names: Sequence[str] | None, classes: int | None = None
) -> Array:
    """Check targets and give each row its own.

    The score of a row is then the sum over columns of output times weight; an index is the
    weight 1 on that column.

    Parameters
    ----------
    targets : int, str, (N,) integers or strings, or (N, K) weights
        A scalar holds for all rows, and so do weights of shape (1, K); integers of shape (N, 1)
        are indices. Weights are any finite numbers; negative ones give contrasts.
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


def contrast(
    first: Any, second: Any, columns: int | None = None, class_names: Sequence[str] | None = None
) -> Array:
    """Weights of a contrast: what speaks for one class rather than for another.

    Parameters
    ----------
    first, second : int, str, (N,) integers or strings
        The classes with weight 1 and with weight -1.
    columns : int, optional
        Number of columns K of the model's output; that of the names where they are given.
    class_names : sequence of str, optional
        Names of the columns, for classes that are names.

    Returns
    -------
    array of float32, shape (N, K)
        (1, K) for two scalars, which explainers take for all rows.

    Raises
    ------
    TypeError, ValueError
        If a class does not exist, if both are the same, or if the columns are not known.

    Examples
    --------
    >>> contrast(0, 2, columns=3)
    array([[ 1.,  0., -1.]], dtype=float32)
    """
    if columns is None and class_names is None:
        raise ValueError(
            "`columns` must be given where there are no class names. Received: None. "
            "Pass the number of columns of the model's output."
        )
    names = None if class_names is None else tuple(class_names)
    width = _checks.integer("columns", columns or len(names or ()), minimum=2)
    chosen = {"first": host(first, "first"), "second": host(second, "second")}
    rows = max([len(one) for one in chosen.values() if one.ndim], default=1)
    plus, minus = (_classes(name, one, rows, width, names) for name, one in chosen.items())
    same = np.flatnonzero(plus == minus)
    if same.size:
        raise ValueError(
            f"`second` must be another class than `first`. Received: {int(minus[same[0]])} twice, "
            f"in row {same[0]}."
        )
    columns_of = np.eye(width, dtype="float32")
    return columns_of[plus] - columns_of[minus]


def _classes(
    name: str, array: Array, rows: int, columns: int, names: Sequence[str] | None
) -> Array:
    if array.dtype.kind in "US":
        array = _indices_of_names(array, names, name)
    if array.dtype.kind not in "iu":
        raise TypeError(f"`{name}` must be class indices or names. Received: {_shown(array)}.")
    return _indices(array, rows, columns, name)


def runner_up(outputs: Any) -> Array:
    """Weights of a contrast of the predicted class with the second one, of each row.

    Parameters
    ----------
    outputs : array or tensor, shape (N, K)
        What the model returns for the inputs, logits or probabilities.

    Returns
    -------
    array of float32, shape (N, K)
        1 at the largest output, -1 at the second largest, 0 elsewhere.

    Raises
    ------
    TypeError, ValueError
        If outputs are not finite numbers of two classes or more.

    Examples
    --------
    >>> runner_up([[0.1, 0.6, 0.3]])
    array([[ 0.,  1., -1.]], dtype=float32)
    """
    array = numbers("outputs", outputs)
    if array.ndim != 2 or array.shape[1] < 2:
        raise ValueError(
            "`outputs` must have the shape (N, K), with two classes or more. "
            f"Received: shape {array.shape}."
        )
    # A stable order, so that the first of equal ones is the predicted class everywhere.
    order = np.argsort(-array, axis=1, kind="stable")
    return contrast(order[:, 0], order[:, 1], array.shape[1])


def numbers(name: str, value: Any) -> Array:
    """Finite numbers as a host array of floats."""
    array = host(value, name)
    if array.dtype.kind not in "fiub" and array.dtype.name != "bfloat16":
        raise TypeError(f"`{name}` must be numbers. Received: an array of {array.dtype}.")
    array = array if array.dtype.name == "float64" else array.astype("float32")
    if not np.isfinite(array).all():
        raise ValueError(f"`{name}` must be finite. Received: NaN or infinity.")
    return array


def _indices(array: Array, rows: int, classes: int, name: str = "targets") -> Array:
    if array.ndim > 1 or (array.ndim == 1 and len(array) != rows):
        raise ValueError(
            f"`{name}` must have the shape ({rows},), one index per row, or be one index. "
            f"Received: shape {array.shape}."
        )
    outside = array[(array < 0) | (array >= classes)] if array.ndim else array.reshape(1)
    if array.ndim == 0 and 0 <= int(array) < classes:
        outside = outside[:0]
    if outside.size and classes == 1:
        raise ValueError(
            f"`{name}` must be 0 or left out for a model with one output. "
            f"Received: {int(outside[0])}."
        )
    if outside.size:
        raise ValueError(
            f"`{name}` must be class indices from 0 to {classes - 1}. Received: {int(outside[0])}."
        )
    return np.broadcast_to(array, (rows,)).astype("int32")


def _weights(array: Array, rows: int, columns: int) -> Array:
    if array.shape not in ((rows, columns), (1, columns)):
        raise ValueError(
            f"`targets` given as weights must have the shape ({rows}, {columns}), rows by columns "
            f"of the output, or (1, {columns}) for all rows. Received: shape {array.shape}."
        )
    if not np.isfinite(array).all():
        raise ValueError("`targets` must be finite. Received: NaN or infinity among the weights.")
    return np.broadcast_to(array, (rows, columns)).astype("float32")


def _indices_of_names(array: Array, names: Sequence[str] | None, name: str = "targets") -> Array:
    if names is None:
        raise ValueError(
            f"`{name}` can be names only if the classes have names. Received: {_shown(array)}. "
            "Pass class_names=[...], to `xai_core.wrap` for a model, or use indices."
        )
    known = {one: k for k, one in enumerate(names)}
    for given in map(str, array.ravel()):
        if given not in known:
            raise ValueError(
                f"`{name}` must be names of classes, {_listed(names)}. Received: {given!r}."
                f"{_checks.near(given, known)}"
            )
        if names.count(given) > 1:
            bearers = [k for k, other in enumerate(names) if other == given]
            raise ValueError(
                f"`{name}` must name one class. Received: {given!r}, the name of the classes "
                f"{bearers}. Use an index."
            )
    return np.array([known[str(given)] for given in array.ravel()]).reshape(array.shape)


def _listed(names: Sequence[str]) -> str:
    """The first names, and how many more there are."""
    shown = ", ".join(map(repr, names[:_NAMED]))
    return shown if len(names) <= _NAMED else f"{shown} and {len(names) - _NAMED} more"


def _shown(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= 80 else f"{shown[:77]}..."
