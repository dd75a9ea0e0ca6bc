"""The reference that an input is compared with, in every form that users give it."""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from xai_core import _frames, images
from xai_core._inputs import Batch, host
from xai_core.typing import Array

_NAMED = ("mean", "blur")
_BLUR = 1 / 16  # standard deviation of the Gaussian, as a share of the longest side


def check_field(baseline: Any, black_box: bool = False) -> None:
    """Raise unless ``baseline`` is of a form that `samples` knows.

    A black box may take what is no finite number: NaN for a missing value, or an object.
    """
    if isinstance(baseline, list) and len(baseline) == 0:
        raise ValueError("`baseline` given as a list must hold at least one. Received: [].")
    for one in as_list(baseline):
        if isinstance(one, str):
            if one not in _NAMED:
                raise ValueError(
                    f"`baseline` must be a number, an array, 'mean', 'blur', a callable, or a "
                    f"list of these. Received: {one!r}."
                )
        elif not callable(one) and not black_box:
            array = _numbers(one)
            if not np.isfinite(array).all():
                raise ValueError(f"`baseline` must be finite. Received: {_shown(one, array)}.")


def check_batch(baseline: Any, batch: Batch, names: Sequence[str] | None, background: bool) -> None:
    """Raise if ``baseline`` has other columns than the inputs, or is a number beside words.

    ``names`` are those of the columns; ``background`` says whether rows may be given instead.
    """
    for one in as_list(baseline):
        _frames.check_columns("baseline", one, batch.columns)
        number = isinstance(one, numbers.Real) and math.isfinite(one)
        words = _column_of_words(batch) if number else None
        if words is not None:
            column = words if names is None or len(names) <= words else repr(names[words])
            rows = "rows as `background=`, or " if background else ""
            raise ValueError(
                "`baseline` must be a word where inputs are words, which a number is not. "
                f"Received: {one!r}, while column {column} holds words. Pass {rows}one value per "
                "column as `baseline=`, an array of objects."
            )


def _column_of_words(batch: Batch) -> int | None:
    """The first column of a table that holds words."""
    tables = (leaf for leaf in batch.leaves if leaf.dtype == object and leaf.ndim == 2)
    columns = (k for leaf in tables for k, column in enumerate(leaf.T) if _has_words(column))
    return next(columns, None)


def _has_words(column: Array) -> bool:
    return any(isinstance(value, str) for value in column)


def as_list(baseline: Any) -> list[Any]:
    """Several baselines as a list, one as a list of one."""
    return baseline if isinstance(baseline, list) else [baseline]


def evaluated(baseline: Any, leaf: Array, black_box: bool = False) -> list[Any]:
    """The baselines, functions replaced by what they return for the whole input, (N, ...)."""
    return [_called(one, leaf, black_box) if callable(one) else one for one in as_list(baseline)]


def samples(
    baseline: Any,
    leaf: Array,
    rows: slice,
    layout: Callable[[int], str],
    black_box: bool = False,
) -> list[Array]:
    """The baselines of some rows of an input, each of the shape of those rows.

    Parameters
    ----------
    baseline
        A number, an array of one sample's shape or with the inputs' batch axis, "mean" (of the
        sample, per channel over its positions), "blur", a function of inputs, or a list of these.
    leaf
        The whole input, (N, ...).
    rows
        Which rows are wanted.
    layout
        Gives the data format of a rank, or raises.
    black_box
        Whether a function may return what is not finite.
    """
    items = evaluated(baseline, leaf, black_box)
    return [_one(item, leaf, rows, layout) for item in items]


def _one(baseline: Any, leaf: Array, rows: slice, layout: Callable[[int], str]) -> Array:
    x = leaf[rows]
    if isinstance(baseline, str):
        return _named(baseline, x, layout)
    array = _array(baseline, leaf)
    if array.ndim and array.shape not in (leaf.shape, leaf.shape[1:]):
        raise ValueError(
            f"`baseline` must be a number, or have the shape of one sample "
            f"{leaf.shape[1:]} or of the inputs {leaf.shape}. Received: shape {array.shape}."
        )
    # The type is that of all rows, for a black box may tell one type from another.
    array = as_type(array, leaf)
    return np.broadcast_to(array[rows] if array.ndim == leaf.ndim else array, x.shape).copy()


def as_type(array: Array, x: Array) -> Array:
    """``array`` in the type of the inputs; of integers and objects where nothing is lost."""
    if x.dtype.kind == "f":
        with np.errstate(over="ignore"):  # what is too large becomes infinite
            cast = array.astype(x.dtype)
        if np.isfinite(array).all() and not np.isfinite(cast).all():
            raise ValueError(
                f"`baseline` must be finite in {x.dtype}. Received: too large a number."
            )
        return cast
    if x.dtype.kind in "iub" and array.dtype.kind in "fiub":
        with np.errstate(invalid="ignore"):  # NaN has no integer
            cast = array.astype(x.dtype)
        return cast if np.array_equal(cast, array) else array
    return array.astype(object)


def _called(baseline: Callable[[Array], Any], leaf: Array, black_box: bool) -> Array:
    array = _array(baseline(leaf.copy()), leaf)
    if array.shape != leaf.shape:
        raise ValueError(
            f"`baseline` must map inputs of shape {leaf.shape} to that shape. "
            f"Received: shape {array.shape}."
        )
    if not black_box and not np.isfinite(array).all():
        raise ValueError(
            "`baseline` must be finite. Received: a function that returns NaN or infinity."
        )
    return array


def _array(baseline: Any, leaf: Array) -> Array:
    return np.asarray(baseline, object) if leaf.dtype == object else _numbers(baseline)


def _numbers(baseline: Any) -> Array:
    array = host(baseline, "baseline")
    if array.dtype == object and all(isinstance(one, numbers.Real) for one in array.flat):
        array = array.astype("float64")
    if array.dtype.kind not in "fiu" and array.dtype.name != "bfloat16":
        raise TypeError(f"`baseline` must hold numbers. Received: an array of {array.dtype}.")
    return array


def _named(name: str, x: Array, layout: Callable[[int], str]) -> Array:
    if x.ndim < 3:
        raise ValueError(
            f"`baseline` must be a number, an array or a callable for a table. Received: {name!r}, "
            "which needs positions to take the mean over or to blur."
        )
    axes = images.spatial_axes(x.ndim, layout(x.ndim))
    if x.dtype.kind != "f":
        x = x.astype("float64")
    if name == "mean":
        return np.broadcast_to(x.mean(axis=axes, keepdims=True), x.shape).astype(x.dtype)
    from scipy import ndimage

    sigma = _BLUR * max(x.shape[axis] for axis in axes)
    widths = [sigma if axis in axes else 0.0 for axis in range(x.ndim)]
    return ndimage.gaussian_filter(x, widths, mode="nearest")


def _shown(value: Any, array: Array) -> str:
    return repr(value) if array.ndim == 0 else f"an array of shape {array.shape}"
