"""A model in two halves, (features, head): a layer where a model has none by name."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any

from xai_core import layers
from xai_core.typing import Tensor
from xai_core.wrappers.identity import Same

PATH = "(features, head)"

_ACTIVE: ContextVar[tuple[Any, Split, Callable[[Tensor], Tensor]] | None]
_ACTIVE = ContextVar("active", default=None)


class Split:
    """Two functions with head(features(x)) = f(x); equal to another of the same two.

    Parameters
    ----------
    features
        Maps inputs to the activations of a layer.
    head
        Maps these to the model's output.
    """

    __slots__ = ("features", "head")

    def __init__(self, features: Any, head: Any) -> None:
        self.features, self.head = features, head

    def __iter__(self) -> Iterator[Any]:
        return iter((self.features, self.head))

    def same(self) -> tuple[Same, Same]:
        """A key that keeps neither half alive."""
        return Same(self.features), Same(self.head)


def checked(layer: Any) -> Split:
    """The pair that ``layer`` is."""
    if len(layer) != 2 or not all(map(callable, layer)):
        raise TypeError(
            f"`layer` must be a layer or a pair (features, head) of functions. Received: {layer!r}."
        )
    return Split(*layer)


@contextlib.contextmanager
def tap(
    source: Any, split: Split, hook: Callable[[Tensor], Tensor], call: int | None
) -> Iterator[None]:
    """Within the block, the model of ``source`` is head(hook(features(x)))."""
    runs: list[None] = []

    def counting(activation: Tensor) -> Tensor:
        runs.append(None)
        return layers.on_first_tensor(activation, hook)

    token = _ACTIVE.set((source, split, counting))
    try:
        yield
    finally:
        _ACTIVE.reset(token)
    layers.check_calls(PATH, len(runs), call)


def active(source: Any) -> tuple[Split, Callable[[Tensor], Tensor]] | None:
    """The halves of this model that stand for it just now, and what is done in between."""
    found = _ACTIVE.get()
    return found[1:] if found is not None and found[0] is source else None
