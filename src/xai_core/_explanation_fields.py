"""The checks behind the fields of an Explanation: shapes, read-only arrays, JSON values."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from xai_core.typing import Array

# Field name: its rank, or None where the rank follows the data.
PER_SAMPLE: dict[str, int | None] = {
    "targets": None,
    "scores": 1,
    "base_values": 1,
    "standard_error": None,
    "unreduced_standard_error": None,
    "completeness_gap": 1,
    "inputs": None,
    "fingerprints": 1,
    "features": 2,
    "feature_standard_error": 2,
    "first_order": 2,
    "interactions": 3,
    "p_values": 2,
    "rows": 1,
    "converged": 1,
}
TUPLES = ("class_names", "feature_names", "notes")


def frozen(value: Any) -> Array:
    """Return a read-only array that nobody outside can write."""
    array = np.asarray(value)
    # Dtypes that NumPy does not know (bfloat16, float8) come back from a file as raw bytes.
    if array.dtype.kind == "V" and array.dtype.names is None:
        array = array.astype(np.float32)
    owner: Any = array
    while isinstance(owner, np.ndarray):
        if owner.flags.writeable:
            array = np.array(array)
            array.flags.writeable = False
            break
        owner = owner.base
    return array


def map_array(value: Any) -> Array:
    """Return ``values``: numbers with a batch axis, as float32."""
    array = np.asarray(value)
    if array.dtype.kind not in "fiubV":
        raise TypeError(f"`values` must hold numbers. Received: dtype {array.dtype}.")
    if array.ndim == 0:
        raise ValueError("`values` must have a batch axis. Received: shape ().")
    return frozen(array.astype(np.float32, copy=False))


def per_sample(name: str, value: Any, rank: int | None, rows: int) -> Array | None:
    """Return an array that must have one row per explained input."""
    if value is None:
        return None
    array = frozen(value)
    if array.ndim == 0 or len(array) != rows:
        raise ValueError(
            f"`{name}` must have one row per row of `values`, here {rows}. "
            f"Received: shape {array.shape}."
        )
    if rank is not None and array.ndim != rank:
        raise ValueError(f"`{name}` must have rank {rank}. Received: shape {array.shape}.")
    return array


def strings(name: str, value: Any) -> tuple[str, ...] | None:
    """Return names as a tuple of str."""
    if isinstance(value, str):
        raise TypeError(f"`{name}` must be a sequence of names. Received: {value!r}.")
    return None if value is None else tuple(str(item) for item in value)


def json_text(name: str, value: Any) -> str:
    """Return the JSON text of a value; NumPy scalars count as numbers."""

    def plain(item: Any) -> Any:
        if isinstance(item, np.generic):
            return item.item()
        raise TypeError(
            f"`{name}` must hold only numbers, strings, None, lists and dicts. "
            f"Received: {type(item).__name__}."
        )

    return json.dumps(value, default=plain)


def json_values(name: str, value: Any) -> Any:
    """Return what the JSON text of a dict gives back: nothing is shared with the caller."""
    return json.loads(json_text(name, dict(value)))
