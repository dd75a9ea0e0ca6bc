"""Batches (x, y) of everything that yields them, by the convention of Keras."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import keras

from xai_core._inputs import as_structure


def batches(data: Any) -> Iterator[tuple[Any, Any]]:
    """Each batch x and its labels, which are None where there are none.

    Raises TypeError if ``data`` is no iterable of batches, ValueError if it yields nothing, or a
    batch whose rows have another shape than those of the first.
    """
    first = None
    for batch in _iterated(data):
        x, y = _x_and_y(batch)
        leaves = keras.tree.flatten(as_structure(x, several=False))
        shapes = [leaf.shape[1:] for leaf in leaves]
        if first is not None and shapes != first:
            raise ValueError(
                f"`data` must yield rows of one shape, {_listed(first)} in the first batch. "
                f"Received: {_listed(shapes)}."
            )
        first = shapes
        yield x, y
    if first is None:
        raise ValueError(
            "`data` must yield at least one batch. Received: a "
            f"{type(data).__name__} that yields nothing. A generator can be used only once."
        )


def _iterated(data: Any) -> Iterable[Any]:
    if hasattr(data, "num_batches") and hasattr(data, "__getitem__"):
        if data.num_batches is None:
            raise ValueError(
                "`data` must have a number of batches. Received: a "
                f"{type(data).__name__} whose `num_batches` is None."
            )
        # A PyDataset is no iterator, and does not say by itself where it ends.
        return (data[k] for k in range(data.num_batches))
    if not isinstance(data, Iterable) or isinstance(data, Mapping) or hasattr(data, "shape"):
        shown = type(data).__name__ if hasattr(data, "shape") else repr(data)
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
    return ", ".join(str(tuple(shape)) for shape in shapes)
