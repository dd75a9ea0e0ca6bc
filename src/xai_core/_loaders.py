"""Batches (x, y) of everything that yields them, by the convention of Keras."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from typing import Any


def batches(data: Any) -> Iterator[tuple[Any, Any]]:
    """Each batch x and its labels, which are None where there are none.

    Raises TypeError if ``data`` is no iterable of batches, ValueError if it yields nothing, or a
    batch whose rows have another shape than those of the first.
    """
    first: list[Any] = []
    count = 0
    for count, batch in enumerate(_iterated(data), start=1):
        x, y = _x_and_y(batch)
        shapes = _row_shapes(x)
        first = first or shapes
        if shapes and shapes != first:
            raise ValueError(
                f"`data` must yield rows of one shape, {_listed(first)} in the first batch. "
                f"Received: {_listed(shapes)} in batch {count}."
            )
        yield x, y
    if not count:
        once = " It can be used only once." if isinstance(data, Iterator) else ""
        raise ValueError(
            "`data` must yield at least one batch. Received: a "
            f"{type(data).__name__} that yields nothing.{once}"
        )


def _row_shapes(x: Any) -> list[tuple[int, ...]]:
    """The shape of one row of each array; a list may hold rows or arrays, which the model tells."""
    if isinstance(x, Mapping):
        x = tuple(x[key] for key in sorted(x, key=str))
    if isinstance(x, tuple):
        return [shape for item in x for shape in _row_shapes(item)]
    return [tuple(x.shape[1:])] if hasattr(x, "shape") else []


def _iterated(data: Any) -> Iterable[Any]:
    if hasattr(data, "num_batches") and hasattr(data, "__getitem__"):
        # A PyDataset is no iterator, and does not say by itself where it ends; None is never.
        total = data.num_batches
        return (data[k] for k in (itertools.count() if total is None else range(total)))
    one = isinstance(data, Mapping | str) or hasattr(data, "shape")
    if one or not isinstance(data, Iterable):
        shown = type(data).__name__ if one else repr(data)
        raise TypeError(
            f"`data` must be an iterable of batches. Received: {shown}. "
            "Call the explainer on a single batch."
        )
    # A DataLoader makes lists of what its dataset gives as tuples.
    return map(_as_tuple, data) if hasattr(data, "collate_fn") else data


def _as_tuple(batch: Any) -> Any:
    return tuple(batch) if isinstance(batch, list) else batch


def _x_and_y(batch: Any) -> tuple[Any, Any]:
    if not isinstance(batch, tuple):
        return batch, None
    if not 1 <= len(batch) <= 3:
        raise ValueError(
            "`data` must yield x, (x, y) or (x, y, weights). "
            f"Received: a tuple of {len(batch)} items."
        )
    return batch[0], batch[1] if len(batch) > 1 else None


def _listed(shapes: list[Any]) -> str:
    return ", ".join(map(str, shapes))
