"""What a model is made of, as hashable values: a compiled trace holds for one such fingerprint."""

from __future__ import annotations

import types
import weakref
from collections.abc import Iterable
from typing import Any

import numpy as np

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
        self._parts = tuple(map(weakly, parts))
        self._hash = hash(tuple(id(part) for part in parts))

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Same) or len(self._parts) != len(other._parts):
            return False
        pairs = zip(self._parts, other._parts, strict=True)
        return all(mine() is not None and mine() is yours() for mine, yours in pairs)


def weakly(part: Any) -> Any:
    """A function that returns ``part`` while it lives, and does not keep it alive."""
    if isinstance(part, types.MethodType):
        return weakref.WeakMethod(part)
    try:
        return weakref.ref(part)
    except TypeError:  # numbers, strings, tuples, NumPy's functions: nothing that holds a model
        return lambda: part


class Fingerprint:
    """The structure of a model: equal to another only while the objects of both are the same.

    Parameters
    ----------
    objects : iterable
        The model's parts. Of their attributes count numbers, strings, booleans, None, tuples,
        public lists and dicts of these, and, by identity, callables and arrays.
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
            # A copy, for a tap of another thread may add an attribute meanwhile.
            for name, value in vars(item).copy().items():
                if name in skip:
                    continue
                kind = type(value)
                if kind in _PLAIN:
                    parts += (name, kind, value)
                else:
                    parts.append(name)
                    _add(value, parts, live, depth=0 if name.startswith("_") else 2)
            parts.append(None)
        parts.extend(map(id, live))
        self._parts = tuple(parts)
        self._hash = hash(self._parts)
        self._alive: list[Any] = []

    def let_go(self) -> Fingerprint:
        """Keep the objects no longer alive, but notice when one is gone."""
        self._alive = [weakly(one) for one in self._live]
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


def _add(value: Any, parts: list[Any], live: list[Any], depth: int) -> None:
    """Append what counts of an attribute; lists and dicts are entered to a ``depth``."""
    if isinstance(value, (*_PLAIN, np.generic)):
        parts += (type(value), value)
    elif isinstance(value, tuple):
        for item in value:
            _add(item, parts, live, depth)
    elif isinstance(value, dict | list) and depth:
        items = value.items() if isinstance(value, dict) else value
        for item in list(items):
            _add(item, parts, live, depth - 1)
    # A tap of another thread may be in place now; it is no property of the model.
    elif hasattr(value, "shape") or (callable(value) and not getattr(value, "is_tap", False)):
        live.append(value)
