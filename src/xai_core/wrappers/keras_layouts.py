"""On which axis the layers of a Keras model have their channels."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import keras

from xai_core.layers import places

_MOVING = frozenset(("Permute", "Reshape", "Transpose", "Moveaxis", "Swapaxes"))


def data_format(model: keras.Model) -> str:
    """The layout of the model's images: that of its first convolution, pooling or resizing layer.

    Raises ValueError if two such layers differ; falls back to Keras's setting where there is
    none, or where a Permute or Reshape comes first.
    """
    found: list[tuple[str, str]] = []
    for place in places(model):
        if type(place.layer).__name__ in _MOVING:
            break
        own = own_format(place.layer)
        if own is not None:
            found.append((place.path, own))
    for path, own in found:
        if own != found[0][1]:
            raise ValueError(
                f"`data_format` must be given, for the model's layers differ: {found[0][0]!r} has "
                f"{found[0][1]!r} and {path!r} has {own!r}. Received: None. "
                "Pass wrap(model, data_format=...) with the layout of the inputs."
            )
    return found[0][1] if found else keras.config.image_data_format()


def feature_format(model: keras.Model) -> str | None:
    """The layout inside the model: that of its last layer which has one."""
    formats = [own_format(place.layer) for place in places(model)]
    return next((own for own in reversed(formats) if own is not None), None)


def own_format(layer: Any) -> str | None:
    """The layout that a layer has by itself."""
    # Flatten has the setting too, but no layout of its own.
    return None if isinstance(layer, keras.layers.Flatten) else getattr(layer, "data_format", None)


def formats(every: Iterable[Any]) -> list[str]:
    """The different layouts that layers have by themselves."""
    return sorted({own for own in map(own_format, every) if own is not None})


def layouts(called: Sequence[Any], ranks: Sequence[int], first: str) -> list[str]:
    """The layouts of what layers give in call order, where ``first`` is that of the inputs.

    A layer without one has that of the last before it whose output has the same rank; behind moved
    axes that of the next one, for want of which that of all, or "" if these differ.
    """
    agreed = formats(called) or [first]
    last: dict[int, str] = {}
    moved: dict[int, list[int]] = {}
    found: list[str] = []
    for k, (layer, rank) in enumerate(zip(called, ranks, strict=True)):
        own = own_format(layer)
        if own is not None:
            last[rank] = own
            for earlier in moved.pop(rank, ()):
                found[earlier] = own
        elif type(layer).__name__ in _MOVING:
            last[rank] = agreed[0] if len(agreed) == 1 else ""
            moved[rank] = []
        found.append(last.get(rank, first))
        moved.get(rank, []).append(k)
    return found
