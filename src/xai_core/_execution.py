"""Compile once per model and step, never stale, never keeping the model alive."""

from __future__ import annotations

import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

import keras

from xai_core import _backend
from xai_core.wrappers import identity
from xai_core.wrappers.base import AbstractModel
from xai_core.wrappers.split import Split

STEPS_PER_MODEL = 32

_TRACES = threading.RLock()
_PARTS = threading.Lock()
_LIVE: ContextVar[tuple[Any, dict[str, Any]]] = ContextVar("live")
_MEMORIES: dict[int, _Memory] = {}


class _Memory:
    """What is remembered of one model, which it does not keep alive; the oldest part goes first."""

    def __init__(self, source: Any) -> None:
        key = id(source)
        self.parts: OrderedDict[Any, Any] = OrderedDict()
        self.fingerprint: identity.Fingerprint | None = None
        self.source = weakref.ref(source, lambda dead: _forget(key, dead))

    def interned(self, fingerprint: identity.Fingerprint) -> identity.Fingerprint:
        """The very object of last time where it is equal, for keys then compare by identity."""
        known = self.fingerprint
        if known is not None and known == fingerprint:
            return known
        self.fingerprint = fingerprint.let_go()
        return fingerprint


def _forget(key: int, dead: Any) -> None:
    memory = _MEMORIES.get(key)
    if memory is not None and memory.source is dead:
        _MEMORIES.pop(key, None)


def _memory(source: Any) -> _Memory:
    memory = _MEMORIES.get(id(source))
    if memory is None or memory.source() is not source:
        memory = _MEMORIES[id(source)] = _Memory(source)
    return memory


def clear_cache() -> None:
    """Forget every compiled step.

    Needed only after a change that no fingerprint sees, such as a new value of an array that a
    layer holds as a plain attribute.

    Examples
    --------
    >>> clear_cache()
    """
    _MEMORIES.clear()


class _Compiled:
    """A compiled step, and the signatures that it was traced for."""

    def __init__(self, function: Callable[..., Any]) -> None:
        def step(state: Any, arguments: Any) -> Any:
            # The live objects equal those of the key, so the trace may use them but not hold them.
            score, static = _LIVE.get()
            with score.model.with_state(state):
                return function(score, *arguments, **static)

        self.run = _backend.jit(step)
        self.traced: set[Any] = set()


class Engine:
    """Runs the steps of one call, whose fingerprint and weights it reads once.

    Parameters
    ----------
    model
        The wrapped model.
    """

    def __init__(self, model: AbstractModel) -> None:
        self.model = model
        self._memory = _memory(model.anchor)
        self._fingerprint = self._memory.interned(model.fingerprint())
        self._state = model.state() if _backend.STATE_AS_ARGUMENT else []

    def remembered(self, key: Any, make: Callable[[], Any]) -> Any:
        """``make()``, once for each structure of the model and key."""
        key = (key, self._fingerprint)
        parts = self._memory.parts
        with _PARTS:
            if key in parts:
                parts.move_to_end(key)
                return parts[key]
        with _TRACES:
            with _PARTS:
                if key in parts:
                    return parts[key]
            made = make()
            with _PARTS:
                parts[key] = made
                while len(parts) > STEPS_PER_MODEL:
                    parts.popitem(last=False)
            return made

    def dry_run(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """``function(*arguments)`` for its shapes and side effects, weights untouched."""
        with _TRACES, self.model.with_state(self._state):
            return _backend.dry_run(function, *arguments)

    def step(self, score: Any, function: Callable[..., Any], *arguments: Any, **static: Any) -> Any:
        """``function(score, *arguments, **static)``, compiled.

        ``function`` is a module-level function and ``score`` has the wrapped model and a hashable
        ``key()``; ``arguments`` are structures of tensors, whose values may change freely;
        ``static`` shapes the trace.
        """
        key = (function, keyed(static), score.key())
        compiled = self.remembered(key, lambda: _Compiled(function))
        signature = _signature(arguments)
        token = _LIVE.set((score, static))
        try:
            if _backend.EAGER or signature in compiled.traced:
                return compiled.run(self._state, arguments)
            with _TRACES:
                result = compiled.run(self._state, arguments)
                compiled.traced.add(signature)
                return result
        finally:
            _LIVE.reset(token)


class HostEngine:
    """Runs the steps of one call of a black box: as they are, on NumPy arrays, never compiled.

    Parameters
    ----------
    model
        The wrapped black box.
    """

    def __init__(self, model: AbstractModel) -> None:
        self.model = model
        self._parts: dict[Any, Any] = {}

    def remembered(self, key: Any, make: Callable[[], Any]) -> Any:
        """``make()``, once for each key within the call."""
        if key not in self._parts:
            self._parts[key] = make()
        return self._parts[key]

    def dry_run(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """``function(*arguments)``."""
        return function(*arguments)

    def step(self, score: Any, function: Callable[..., Any], *arguments: Any, **static: Any) -> Any:
        """``function(score, *arguments, **static)``."""
        return function(score, *arguments, **static)


def engine_of(model: AbstractModel) -> Engine | HostEngine:
    """What runs the steps of one call."""
    return HostEngine(model) if model.on_host else Engine(model)


def _signature(arguments: Any) -> Any:
    leaves = keras.tree.flatten(arguments)
    first = 0 if _backend.FIXED_SHAPES else 1
    return tuple((tuple(leaf.shape[first:]), str(leaf.dtype)) for leaf in leaves)


def keyed(static: dict[str, Any]) -> Any:
    """Static arguments as a hashable key that keeps no object alive."""
    return tuple((name, _weakly(value)) for name, value in static.items())


def _weakly(value: Any) -> Any:
    if isinstance(value, Split):
        return value.same()
    return identity.Same(value) if callable(value) else value
