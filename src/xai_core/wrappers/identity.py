"""What a model is made of, as hashable values: a compiled trace holds for one such fingerprint."""

from __future__ import annotations

import types
import weakref
from collections.abc import Iterable
from typing import Any

_PLAIN = frozenset((bool, int, float, str, type(None)))


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


class Fingerprint:
    """The structure of a model: equal to another only while the objects of both are the same.

    Parameters
    ----------
    objects : iterable
        The model's parts, whose plain attributes count: numbers, strings, booleans, None, tuples
        and callables.
    skip : set of str
        Names of attributes that do not count.
    more : iterable
        Objects that count by identity alone, such as variables.
    """

    __slots__ = ("_alive", "_hash", "_live", "_parts")

    def __init__(self, objects: Iterable[Any], skip: frozenset[str], more: Iterable[Any]) -> None:
        parts: list[Any] = []
        self._live = live = list(more)
        for item in objects:
            live.append(item)
            for name, value in vars(item).items():
                if name in skip:
                    continue
                kind = type(value)
                if kind in _PLAIN:
                    parts += (name, kind, value)
                elif kind is tuple:
                    parts += (name, _plain_tuple(value))
                # A tap of another thread may be in place now; it is no property of the model.
                elif callable(value) and not getattr(value, "is_tap", False):
                    parts.append(name)
                    live.append(value)
            parts.append(None)
        parts.extend(map(id, live))
        self._parts = tuple(parts)
        self._hash = hash(self._parts)
        self._alive: list[Any] = []

    def let_go(self) -> Fingerprint:
        """Keep the objects no longer alive, but notice when one is gone."""
        self._alive = [_weak(one) for one in self._live]
        self._live = []
        return self

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        if not isinstance(other, Fingerprint) or self._parts != other._parts:
            return False
        # An identifier counts only while its object lives: later it may be another's.
        return all(one() is not None for one in (*self._alive, *other._alive))


def _plain_tuple(value: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(
        _plain_tuple(item) if isinstance(item, tuple) else item if type(item) in _PLAIN else None
        for item in value
    )
