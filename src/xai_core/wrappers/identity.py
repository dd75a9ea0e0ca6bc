"""What a model is made of, as hashable values: a compiled trace holds for one such fingerprint."""

from __future__ import annotations

import types
import weakref
from collections.abc import Iterable
from typing import Any

_PLAIN = (bool, int, float, str, type(None))


class Same:
    """Equal only to itself while its object lives, which it does not keep alive.

    A bound method stands for its object and its function, for Python makes a new one each time.
    """

    __slots__ = ("_hash", "_parts")

    def __init__(self, value: Any) -> None:
        parts = (value,)
        if isinstance(value, types.MethodType):
            parts = (value.__self__, value.__func__)
        self._parts = tuple(_weak(part) for part in parts)
        self._hash = hash(tuple(id(part) for part in parts))

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Same) or len(self._parts) != len(other._parts):
            return False
        pairs = zip(self._parts, other._parts, strict=True)
        return all(mine() is not None and mine() is yours() for mine, yours in pairs)


def _weak(part: Any) -> Any:
    try:
        return weakref.ref(part)
    except TypeError:  # numbers, strings, tuples, NumPy's functions: nothing that holds a model
        return lambda: part


def plain(value: Any) -> Any:
    """A hashable stand-in for a plain attribute; None for what a fingerprint leaves out."""
    if isinstance(value, _PLAIN):
        return (type(value).__name__, value)
    if isinstance(value, tuple):
        return tuple(plain(item) for item in value)
    # A tap of another thread may be in place just now; it is no property of the model.
    if callable(value) and not getattr(value, "is_tap", False):
        return Same(value)
    return None


def attributes(objects: Iterable[Any], skip: frozenset[str]) -> tuple[Any, ...]:
    """The plain attributes of each object, by name, without those in ``skip``."""
    return tuple(
        (
            Same(item),
            tuple((name, plain(value)) for name, value in vars(item).items() if name not in skip),
        )
        for item in objects
    )
