"""What each layer of a Keras model computes by itself, activations apart."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import keras

from xai_core import layers
from xai_core.typing import Tensor

Visit = Callable[[str, Callable[..., Any], list[Tensor], Tensor], Tensor]

_ACTIVATED = (
    keras.layers.Dense,
    keras.layers.EinsumDense,
    keras.layers.Conv1D,
    keras.layers.Conv2D,
    keras.layers.Conv3D,
    keras.layers.Conv1DTranspose,
    keras.layers.Conv2DTranspose,
    keras.layers.Conv3DTranspose,
    keras.layers.DepthwiseConv1D,
    keras.layers.DepthwiseConv2D,
    keras.layers.SeparableConv1D,
    keras.layers.SeparableConv2D,
)
"""Layers that may hold an activation, which counts as a layer of its own."""

_linear = keras.activations.linear


@contextlib.contextmanager
def visited(leaves: list[layers.Place], visit: Visit) -> Iterator[None]:
    """Within the block, each layer gives ``visit(path, function, float inputs, output)``."""
    calls = _Calls(leaves, visit)
    own = contextlib.ExitStack()
    shadowed = {id(place.layer): place.layer for place in leaves}
    with own, layers.shadow(shadowed, calls.left, calls.given):
        for layer in calls.active.values():
            changed = calls.activated(layer, layer.activation)
            own.enter_context(layers.with_activation(layer, changed))
        yield


class _Calls:
    """The call that runs now: its layer's arguments, and how many final calls came before it."""

    def __init__(self, leaves: list[layers.Place], visit: Visit) -> None:
        every = [place.layer for place in leaves]
        self.active = {id(layer): layer for layer in every if _has_activation(layer)}
        self._paths = {id(place.layer): place.path for place in leaves}
        self._visit = visit
        self._arguments: Any = None
        self._counts: list[int] = []

    def given(self, arguments: Any) -> Any:
        """Remember what a layer gets."""
        self._arguments, self._counts = arguments, layers.listed()
        return arguments

    def left(self, layer: Any, output: Any, _call: int) -> Any:
        """What a layer gives, which has been visited where it has an activation."""
        return output if id(layer) in self.active else self._visited(layer, output)

    def _visited(self, layer: Any, output: Any) -> Any:
        (floats, rebuilt), counts = layers.floats_of(self._arguments), self._counts
        active = self.active.get(id(layer))

        def function(*changed: Tensor) -> Any:
            args, kwargs = rebuilt(changed)
            with layers.again(counts), layers.with_activation(active, _linear):
                # That of the class, for that of the instance leads here.
                return layers.first_tensor(type(layer).call(layer, *args, **kwargs))

        path = self._paths[id(layer)]
        return layers.on_first_tensor(
            output, lambda first: self._visit(path, function, floats, first)
        )

    def activated(self, layer: Any, activation: Callable[..., Any]) -> Callable[..., Any]:
        """An activation that visits what is before and behind it."""

        def call(x: Any) -> Any:
            x = self._visited(layer, x)
            counts = layers.listed()

            def function(changed: Tensor) -> Any:
                with layers.again(counts):
                    return activation(changed)

            return self._visit(self._paths[id(layer)], function, [x], activation(x))

        vars(call)["is_tap"] = True  # as in `layers.shadow`
        return call


def _has_activation(layer: Any) -> bool:
    """Whether a layer ends in a function that it holds as ``activation``."""
    own = getattr(layer, "activation", None)
    return isinstance(layer, _ACTIVATED) and own not in (None, _linear)
