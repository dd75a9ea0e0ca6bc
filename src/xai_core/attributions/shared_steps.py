"""Compiled steps in which no model takes part: one for all models."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

from xai_core import _backend

_KEPT = 64


def shared_step(function: Callable[..., Any], *arguments: Any, **static: Any) -> Any:
    """``function(*arguments, **static)``, compiled.

    ``function`` is a module-level function, ``arguments`` are structures of tensors, and
    ``static``, which shapes the trace, is hashable and holds nothing of a model.
    """
    return _compiled(function, tuple(static.items()))([], arguments)


@lru_cache(_KEPT)
def _compiled(function: Callable[..., Any], static: tuple[tuple[str, Any], ...]) -> Any:
    return _backend.jit(lambda state, arguments: function(*arguments, **dict(static)))
