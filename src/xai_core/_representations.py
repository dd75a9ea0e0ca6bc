"""Operators of what a model represents: a neuron of an inner layer, an embedding."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from keras import ops

from xai_core import _checks
from xai_core._arrays import functions_of, in_type_of
from xai_core.typing import Tensor

Index = int | tuple[int | None, ...]


@dataclass(frozen=True)
class Neuron:
    """The operator that `neuron` makes; two of the same layer, index and call are equal."""

    layer: Any
    index: Index
    call: int | None = None

    def __call__(self, model: Any, inputs: Any, targets: Any) -> Tensor:
        """Activations (N,)."""
        del targets
        found = model.activation(inputs, self.layer, self.call)
        shape = tuple(found.shape[1:])
        place = self._place(model, shape)
        self._check(place, shape)
        picked = found[(slice(None), *(slice(None) if k is None else k for k in place))]
        averaged = tuple(range(1, len(picked.shape)))
        return ops.mean(picked, axis=averaged) if averaged else picked

    def described(self) -> str:
        """How it was made, with layers by their names."""

        def named(layer: Any) -> str:
            if isinstance(layer, str | int):
                return repr(layer)
            if isinstance(layer, tuple):
                return f"({', '.join(map(named, layer))})"
            own = getattr(layer, "name", None) or getattr(layer, "__qualname__", None)
            return str(own or type(layer).__name__)

        call = "" if self.call is None else f", call={self.call}"
        return f"neuron({named(self.layer)}, {self.index}{call})"

    def _place(self, model: Any, shape: tuple[int, ...]) -> tuple[int | None, ...]:
        """The index along each axis but the first, None where activations are averaged."""
        if isinstance(self.index, tuple):
            return self.index
        axis = model.channel_axis(len(shape) + 1, self.layer)
        if axis is None:
            raise ValueError(
                "`index` must be a tuple where the model does not tell which axis of a layer is "
                f"that of channels. Received: {self.index}, and a layer of shape {('N', *shape)}. "
                f"Pass ({self.index}, None) or (None, {self.index}): None averages an axis."
            )
        return tuple(self.index if k == axis else None for k in range(1, len(shape) + 1))

    def _check(self, place: tuple[int | None, ...], shape: tuple[int, ...]) -> None:
        inside = len(place) == len(shape) and all(
            k is None or size is None or -size <= k < size
            for k, size in zip(place, shape, strict=True)
        )
        if not inside or (not shape and self.index not in (0, -1)):
            raise ValueError(
                f"`index` must be one of a layer of shape {('N', *shape)}: a channel, or a tuple "
                f"with one entry for each axis but the first. Received: {self.index}."
            )


def neuron(layer: Any, index: int | tuple[int | None, ...], call: int | None = None) -> Neuron:
    r"""An operator whose score is the activation of a neuron, :math:`s_n = a_i(x_n)`.

    Any method explains it, and it takes no targets. Two that are made of the same layer, index
    and call are equal and share their compiled steps.

    Parameters
    ----------
    layer : str, int, layer or pair
        As for the ``layer`` of `GradCAM`.
    index : int or tuple
        An int is a channel, or a unit of a layer without space; activations are averaged over
        all its positions. A tuple is one unit, an index for each axis of the layer's own output
        but the first; None in it averages over that axis.
    call : int, optional
        Which call of a layer that the model calls several times.

    Returns
    -------
    callable
        ``(model, inputs, targets) -> (N,)``, for an explainer's ``operator``.

    Raises
    ------
    TypeError
        If the index is neither an int nor a tuple of these and None.

    Examples
    --------
    >>> import keras
    >>> import numpy as np
    >>> from xai_core.attributions import Saliency
    >>> model = keras.Sequential(
    ...     [keras.Input((4,)), keras.layers.Dense(3, name="hidden"), keras.layers.Dense(2)]
    ... )
    >>> Saliency(model, operator=neuron("hidden", 1))(np.ones((5, 4))).values.shape
    (5, 4)
    """
    for one in index if isinstance(index, tuple) and index else (index,):
        if one is not None or not isinstance(index, tuple):
            _checks.integer("index", one)
    if call is not None:
        _checks.integer("call", call, minimum=0)
    return Neuron(layer, index, call)


def embedding_similarity(model: Callable[[Any], Tensor], inputs: Any, targets: Tensor) -> Tensor:
    r"""Cosine of the model's output with a reference embedding, :math:`\cos(f(x_n), t_n)`.

    What makes an input similar to another one, whose output is the target. Explain the similarity
    to an embedding of *another* input: that to its own is 1 whatever the model does, the maximum,
    where gradients vanish.

    Parameters
    ----------
    model : callable
        Maps inputs to embeddings (N, D).
    inputs : structure of tensors
        A batch of N rows.
    targets : tensor
        Reference embeddings (N, D); an explainer also takes one for all rows, (D,).

    Returns
    -------
    tensor
        Scores (N,) from -1 to 1; 0 where an embedding is zero.

    Examples
    --------
    >>> import numpy as np
    >>> embedding = np.array([[3.0, 4.0]])
    >>> float(embedding_similarity(lambda x: embedding, None, np.array([[2.0, 0.0]]))[0])
    0.6
    """
    outputs = model(inputs)
    arrays = functions_of(outputs)
    targets = in_type_of(targets, outputs)
    axes = tuple(range(1, len(outputs.shape)))
    squares = arrays.sum(outputs * outputs, axis=axes) * arrays.sum(targets * targets, axis=axes)
    product = arrays.sum(outputs * targets, axis=axes)
    return product / arrays.sqrt(arrays.where(squares > 0, squares, 1.0))
