"""DataFrames for black boxes: their cells as an array, and rows of cells as a DataFrame again."""

from __future__ import annotations

from typing import Any

import numpy as np

from xai_core.typing import Array


def is_frame(value: Any) -> bool:
    """Whether this is a DataFrame, as pandas and libraries with its interface make them."""
    return hasattr(value, "iloc") and hasattr(value, "columns") and hasattr(value, "dtypes")


def check_columns(name: str, value: Any, columns: tuple[str, ...] | None) -> None:
    """Raise if a DataFrame, or a Series that is a row of one, has other columns than the inputs.

    Where the inputs have no names (None), or ``value`` has none, positions count.
    """
    found = getattr(value, "columns" if is_frame(value) else "index", None)
    if columns is None or found is None or not hasattr(value, "iloc"):
        return
    own = tuple(map(str, found))
    if own != columns:
        same = sorted(own) == sorted(columns)
        advice = f" Order it as the inputs: {name}[list(inputs.columns)]." if same else ""
        raise ValueError(
            f"`{name}` must have the columns of the inputs, {columns}. Received: {own}.{advice}"
        )


def like(frame: Any, array: Array) -> Any:
    """A DataFrame of the rows of ``array`` with the columns and types of ``frame``."""
    made = type(frame)(array.copy(), dtype=array.dtype)  # pandas guesses the type of objects
    if any(own != array.dtype for own in frame.dtypes):
        columns = {}
        for k, own in enumerate(frame.dtypes):
            numbers = _as_numbers(array[:, k], own)
            columns[k] = _restored(made[k], own) if numbers is None else numbers
        made = type(frame)(columns)
    made.columns = frame.columns
    return made


def _as_numbers(values: Array, dtype: Any) -> Array | None:
    """``values`` as numbers of a NumPy type, None if that is another type or changes any."""
    if not isinstance(dtype, np.dtype) or dtype.kind not in "fiub":
        return None
    try:
        with np.errstate(invalid="ignore"):  # NaN has no integer
            own = values.astype(dtype)
    except (TypeError, ValueError):
        return None
    same = np.equal(own, values) | (np.not_equal(own, own) & np.not_equal(values, values))
    return own if bool(same.all()) else None


def _restored(column: Any, dtype: Any) -> Any:
    """A column in its own type, unless that would change it: 0.5 among integers stays 0.5."""
    if column.dtype == dtype:
        return column
    held = column[~column.isna()]
    categories = getattr(dtype, "categories", None)
    if categories is not None and not held.isin(categories).all():
        return column.infer_objects()
    try:
        own = column.astype(dtype)
    except (TypeError, ValueError):  # NaN among integers, a word among dates
        return column.infer_objects()
    same = own.isna().equals(column.isna()) and (own[held.index] == held).all()
    return own if same else column.infer_objects()


def cells(frame: Any, array: Array) -> Array:
    """The cells of a DataFrame: numbers of one type where that changes none, else objects."""
    if all(isinstance(dtype, np.dtype) and dtype.kind in "fiub" for dtype in frame.dtypes):
        numbers = array.astype("float64") if array.dtype == object else array
        if frame.reset_index(drop=True).equals(like(frame, numbers)):
            return numbers
    return np.asarray(frame, object)
