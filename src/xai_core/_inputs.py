"""What the user passes becomes checked host arrays, one batch axis, and is put back at the end."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from xai_core import _frames
from xai_core._frames import is_frame
from xai_core.explanation import row_fingerprints
from xai_core.typing import Array


@dataclass(frozen=True, eq=False)
class Batch:
    """Checked inputs: host arrays by leaf, of one number of rows.

    Parameters
    ----------
    leaves
        One array per input of the model, floats in the model's float type, (N, ...).
    structure
        The nested structure that the leaves come from.
    integers
        Which leaves are passed on as integers, without gradients.
    fingerprints
        CRC-32 of each row of each leaf as it was given, (N,).
    frame
        The DataFrame that the only leaf comes from, for a black box that takes DataFrames.
    columns
        The names of a DataFrame's columns.
    """

    leaves: tuple[Array, ...]
    structure: Any
    integers: tuple[bool, ...]
    fingerprints: tuple[Any, ...]
    frame: Any = None
    columns: tuple[str, ...] | None = None

    def __len__(self) -> int:
        return len(self.leaves[0])

    def float_leaves(self) -> list[Array]:
        """The leaves that are explained."""
        return [x for x, i in zip(self.leaves, self.integers, strict=True) if not i]

    def float_fingerprints(self) -> list[Any]:
        """The fingerprints of the leaves that are explained."""
        return [x for x, i in zip(self.fingerprints, self.integers, strict=True) if not i]

    def pack(self, floats: Any, integers: Any) -> Any:
        """The model's own input structure from float and integer tensors."""
        if self.frame is not None:
            return _frames.like(self.frame, floats[0])
        take_float, take_integer = iter(floats), iter(integers)
        flat = [next(take_integer) if i else next(take_float) for i in self.integers]
        return _packed(self.structure, flat)

    def per_float_leaf(self, values: list[Any]) -> Any:
        """One value per float leaf in the structure of the inputs; a single one stands alone."""
        if len(values) == 1:
            return values[0]
        left = iter(values)
        flat = [None if i else next(left) for i in self.integers]
        return _packed(self.structure, flat)

    def key(self) -> tuple[Any, ...]:
        """What a compiled step depends on besides shapes and dtypes."""
        return (repr(keras.tree.map_structure(lambda _: 0, self.structure)), self.integers)


def _packed(structure: Any, flat: list[Any]) -> Any:
    packed: Any = keras.tree.pack_sequence_as(structure, flat)
    if isinstance(structure, dict):  # whose keys are sorted on torch
        return type(structure)((key, packed[key]) for key in structure)
    return packed


def host(value: Any, name: str = "inputs") -> Array:
    """A NumPy array of an array-like or a tensor of any framework."""
    if hasattr(value, "detach"):
        value = value.detach().cpu()
        if str(value.dtype) == "torch.bfloat16":
            value = value.float()
    try:
        array = np.asarray(None if _is_loader(value) else value)
    except ValueError as error:
        raise ValueError(
            f"`{name}` must be an array with one shape for all rows. Received: {error}."
        ) from error
    if array.dtype == object and array.ndim == 0 and value is not None:
        batches = name == "inputs" and (hasattr(value, "__iter__") or _is_loader(value))
        advice = " Explain batch after batch with `stream`." if batches else ""
        raise TypeError(f"`{name}` must be an array. Received: {type(value).__name__}.{advice}")
    return array


def _is_loader(value: Any) -> bool:
    """Whether this gives batches by their number, which NumPy would take for a list of rows."""
    array = hasattr(value, "shape") or hasattr(value, "__array__")
    return hasattr(value, "__getitem__") and not array and not isinstance(value, Sequence)


def as_structure(inputs: Any, several: bool) -> Any:
    """``inputs`` with host arrays as leaves.

    A tuple or dict is the model's own structure; a list is one only if the model has several
    inputs, else its items are the rows.
    """
    if isinstance(inputs, Mapping):
        return {key: as_structure(value, several=False) for key, value in inputs.items()}
    if isinstance(inputs, tuple):
        return tuple(as_structure(value, several=False) for value in inputs)
    if isinstance(inputs, list) and several:
        return [as_structure(value, several=False) for value in inputs]
    if isinstance(inputs, list):
        return host([host(row) for row in inputs])
    return host(inputs)


def as_given(structure: Any, inputs: Any) -> Batch:
    """A batch of rows for a black box: any types, NaN and infinity pass.

    ``structure`` holds the host arrays of ``inputs``, which may be a DataFrame.
    """
    frame = inputs if is_frame(inputs) else None
    leaves = [
        leaf.astype(object) if leaf.dtype.kind in "US" else leaf
        for leaf in keras.tree.flatten(structure)
    ]
    if frame is not None:
        leaves = [_frames.cells(frame, leaves[0])]
    for leaf in leaves:
        _check_rank(leaf)
    _check_rows(leaves)
    skeleton = _packed(structure, [0] * len(leaves))
    prints = tuple(row_fingerprints(leaf) for leaf in leaves)
    return Batch(tuple(leaves), skeleton, (False,) * len(leaves), prints, frame)


def are_tokens(leaf: Array) -> bool:
    """Whether an array may hold tokens: integers, but no pixels."""
    return leaf.dtype.kind in "iu" and leaf.dtype.name != "uint8" and leaf.ndim < 4


def checked(structure: Any, integers: list[bool], dtype: str) -> Batch:
    """A batch of rows: numbers only, finite, not empty, the same number of rows in each leaf."""
    leaves = keras.tree.flatten(structure)
    for leaf, integer in zip(leaves, integers, strict=True):
        if leaf.dtype.kind not in "fiub" and leaf.dtype.name != "bfloat16":
            raise TypeError(f"`inputs` must be numbers. Received: an array of {leaf.dtype}.")
        _check_rank(leaf, any_rank=integer)
    _check_rows(leaves)
    host_dtype = "float64" if dtype == "float64" else "float32"
    with np.errstate(over="ignore"):  # an overflow is infinite, which is refused below
        ready = [
            np.ascontiguousarray(leaf if integer else leaf.astype(host_dtype, copy=False))
            for leaf, integer in zip(leaves, integers, strict=True)
        ]
    for leaf in ready:
        _check_finite(leaf)
    skeleton = _packed(structure, [0] * len(leaves))
    prints = tuple(row_fingerprints(leaf) for leaf in leaves)
    return Batch(tuple(ready), skeleton, tuple(integers), prints)


def _check_rank(leaf: Array, any_rank: bool = False) -> None:
    if leaf.ndim == 0 or leaf.shape[0] == 0 or leaf.size == 0:
        raise ValueError(
            "`inputs` must hold at least one row, with a batch axis first. "
            f"Received: shape {leaf.shape}."
        )
    if not any_rank and not 2 <= leaf.ndim <= 5:
        raise ValueError(
            "`inputs` must have from 2 to 5 axes, the batch axis included. "
            f"Received: shape {leaf.shape}."
        )


def _check_rows(leaves: list[Array]) -> None:
    if len({len(leaf) for leaf in leaves}) > 1:
        raise ValueError(
            "`inputs` must have one number of rows. Received: "
            f"{', '.join(str(leaf.shape) for leaf in leaves)}."
        )


def _check_finite(leaf: Array) -> None:
    # A finite sum proves finite numbers at the cost of one pass; an overflowing one needs a look.
    with np.errstate(over="ignore", invalid="ignore"):
        if leaf.dtype.kind != "f" or np.isfinite(np.sum(leaf)):
            return
    bad = np.flatnonzero(~np.isfinite(leaf.reshape(len(leaf), -1)).all(axis=1))
    if bad.size:
        raise ValueError(
            "`inputs` must be finite. Received: NaN or infinity in "
            f"{bad.size} of {len(leaf)} rows, first in row {bad[0]}."
        )


def chunks(rows: int, size: int) -> Iterator[slice]:
    """Consecutive slices of at most ``size`` rows."""
    for start in range(0, rows, size):
        yield slice(start, min(start + size, rows))


def padded(array: Array, size: int) -> Array:
    """``array`` with its first row repeated up to ``size`` rows."""
    missing = size - len(array)
    return array if missing <= 0 else np.concatenate([array, np.repeat(array[:1], missing, 0)])
