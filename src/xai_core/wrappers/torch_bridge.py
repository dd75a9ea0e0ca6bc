"""Torch modules beside JAX and TensorFlow: run on the host, with their gradients."""

from __future__ import annotations

import contextlib
import itertools
import threading
import types
from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import keras
import numpy as np
import torch

from xai_core import _backend
from xai_core.typing import Array, Tensor
from xai_core.wrappers import identity
from xai_core.wrappers.outputs import chosen
from xai_core.wrappers.torch_wrapper import AbstractTorchWrapper, called

WAITING = 8
"""Forward passes of one step that are kept at once, such as those of several threads."""


class TorchWrapper(AbstractTorchWrapper):
    """A torch module while Keras runs on JAX or TensorFlow: a bridge with gradients.

    The module computes in torch, where it is and in its own precision; the rest of a step is
    compiled as for every model. Its gradients are those of `torch.autograd`; second derivatives
    do not pass the bridge. Layers inside it are reached through a pair of modules,
    ``layer=(features, head)``.

    Parameters
    ----------
    module, device, data_format, select, class_names, feature_names
        See `AbstractTorchWrapper`. A callable ``select`` gets what the module returns.

    Examples
    --------
    >>> import numpy as np
    >>> import torch
    >>> from xai_core.attributions import Saliency
    >>> model = TorchWrapper(torch.nn.Linear(4, 2).eval())
    >>> Saliency(model)(np.ones((3, 4)), targets=0).values.shape
    (3, 4)
    """

    def call(self, inputs: Any) -> Any:
        """The selected output for a batch."""
        return self._hosted(self.source, inputs, self.data_format, self._pick())

    def part(self, function: Any, inputs: Any, first: bool = False) -> Any:
        """One half of a pair: its activations, or the selected output."""
        pick = _Middle() if first else self._pick()
        return self._hosted(function, inputs, self.data_format if first else None, pick)

    def _pick(self) -> _Pick:
        return _Pick(self.select)

    def selected(self, output: Any) -> Tensor:
        """The output, which was selected in torch."""
        return output.logits if isinstance(output, types.SimpleNamespace) else output

    def _hosted(self, function: Any, inputs: Any, data_format: str | None, pick: _Pick) -> Any:
        leaves = keras.tree.flatten(inputs)
        skeleton = keras.tree.map_structure(lambda _: 0, inputs)
        like = self._first_parameter()
        host = _Host(
            identity.weakly(function), skeleton, data_format, pick, like.device, like.dtype
        )
        # A row of zeros tells the shape of the output, which a compiled step must know.
        one = [
            np.zeros((1, *x.shape[1:]), keras.backend.standardize_dtype(x.dtype)) for x in leaves
        ]
        output = host.output(host.tensors(one))
        row = tuple(_rows_of(pick(output), 1).shape[1:])
        host = replace(host, row=row)
        found = _backend.host_function(host, leaves, (leaves[0].shape[0], *row))
        return types.SimpleNamespace(logits=found) if pick.is_logits(output) else found

    def check_part(self, part: Any) -> None:
        """Raise unless a half is a module in evaluation mode."""
        if not isinstance(part, torch.nn.Module):
            raise TypeError(
                "`layer` given as (features, head) must hold torch modules. "
                f"Received: {type(part).__module__}.{type(part).__name__}."
            )
        super().check_part(part)

    def find_layer(self, layer: Any) -> tuple[str, Any]:
        """Refuse: only torch itself reaches into a module."""
        raise ValueError(
            f"`layer` of a torch module must be a pair of modules (features, head) while Keras "
            f"runs on {_backend.NAME}. Received: {layer!r}. With KERAS_BACKEND=torch its dotted "
            "name does."
        )

    def key(self) -> tuple[Any, ...]:
        """Also the precision and the place of the module, which may change in place."""
        like = self._first_parameter()
        return (*super().key(), str(like.dtype), str(like.device))

    def with_state(self, state: list[Tensor]) -> contextlib.AbstractContextManager[Any]:
        """Nothing to set."""
        del state
        return contextlib.nullcontext()


@dataclass(frozen=True)
class _Pick:
    """Which output of the module crosses the bridge; a callable is not kept alive."""

    select: Any

    def __post_init__(self) -> None:
        if callable(self.select):
            object.__setattr__(self, "select", identity.weakly(self.select))

    def __call__(self, output: Any) -> Any:
        select = self.select
        return chosen(output, select() if callable(select) else select)

    def is_logits(self, output: Any) -> bool:
        """Whether `.logits` was taken because nothing else was asked."""
        return self.select is None and self(output) is getattr(output, "logits", None)


class _Middle(_Pick):
    """The activations between two halves, one tensor: no more crosses the bridge."""

    def __init__(self) -> None:
        super().__init__(None)

    def __call__(self, output: Any) -> Any:
        if not isinstance(output, torch.Tensor):
            raise ValueError(
                "`layer` given as (features, head) must have features that return one tensor, "
                f"while Keras runs on {_backend.NAME}. Received: {type(output).__name__}."
            )
        return output


class _Graphs:
    """Forward passes that wait for their gradients, by number; the oldest goes first."""

    def __init__(self) -> None:
        self._waiting: OrderedDict[int, tuple[list[Any], Any]] = OrderedDict()
        self._pulled: Counter[int] = Counter()
        self._numbers = itertools.count()
        self._lock = threading.Lock()

    def keep(self, floats: list[Any], output: Any) -> int:
        """The number by which a forward pass is found again."""
        with self._lock:
            number = next(self._numbers) % 2**31
            self._waiting[number] = floats, output
            if len(self._waiting) > WAITING:
                self._pulled.pop(self._waiting.popitem(last=False)[0], None)
            return number

    def pulled(self, number: int, pulls: int) -> tuple[list[Any], Any] | None:
        """A forward pass, which is let go after this number of pulls; None if it is no more."""
        with self._lock:
            found = self._waiting.get(number)
            self._pulled[number] += 1
            if found is None or self._pulled[number] >= pulls:
                self._waiting.pop(number, None)
                del self._pulled[number]
            return found


@dataclass(frozen=True)
class _Host:
    """A torch function on host arrays, which does not keep it alive."""

    function: Callable[[], Any]
    skeleton: Any
    data_format: str | None
    pick: _Pick
    device: Any
    dtype: Any
    row: tuple[int, ...] | None = None
    graphs: _Graphs = field(default_factory=_Graphs)

    def tensors(self, arrays: Any) -> list[Any]:
        """Torch tensors of host arrays, floats in the precision of the module."""
        with torch.inference_mode(False):
            return [self._tensor(np.asarray(array)) for array in arrays]

    def _tensor(self, array: Array) -> Any:
        tensor = torch.tensor(array, device=self.device)
        if tensor.is_floating_point():
            return tensor.to(self.dtype)
        # JAX halves the width of indices, which some of torch's functions refuse.
        return tensor.long() if tensor.dtype == torch.int32 else tensor

    def output(self, tensors: list[Any], graph: bool = False) -> Any:
        """All that the function returns."""
        inputs = keras.tree.pack_sequence_as(self.skeleton, tensors)
        with torch.inference_mode(False), torch.set_grad_enabled(graph):
            return called(self.function(), inputs, self.data_format)

    def _picked(self, tensors: list[Any], graph: bool = False) -> Any:
        """The selected output, of the shape that the compiled step was told."""
        found = _rows_of(self.pick(self.output(tensors, graph)), len(tensors[0]))
        if tuple(found.shape[1:]) != self.row:
            raise ValueError(
                f"`model` must always return rows of one shape, {self.row}. "
                f"Received: {tuple(found.shape[1:])}."
            )
        return found

    def call(self, *arrays: Any) -> Array:
        """The selected output."""
        return _array(self._picked(self.tensors(arrays)))

    def _recorded(self, arrays: Any) -> tuple[list[Any], Any]:
        """The float inputs, and the selected output with the graph behind it."""
        tensors = self.tensors(arrays)
        floats = [x.requires_grad_(True) for x in tensors if x.is_floating_point()]
        return floats, self._picked(tensors, graph=True)

    def start(self, *arrays: Any) -> tuple[Array, Any]:
        """The selected output, and the number of the forward pass, which is kept for `pull`."""
        floats, output = self._recorded(arrays)
        return _array(output), np.array(self.graphs.keep(floats, output), "int32")

    def pull(self, pulls: int, number: Any, cotangent: Any, *arrays: Any) -> list[Array]:
        """The gradient for each float input, of a forward pass that is pulled ``pulls`` times."""
        floats, output = self.graphs.pulled(int(number), pulls) or self._recorded(arrays)
        gradients: Any = [None] * len(floats)
        if output.requires_grad:
            (weights,) = self.tensors([cotangent])
            # Several pulls of one pass may run at the same time; with the pass goes the graph.
            gradients = torch.autograd.grad(
                output, floats, weights.to(output.dtype), retain_graph=pulls > 1, allow_unused=True
            )
        pairs = zip(gradients, floats, strict=True)
        return [_array(torch.zeros_like(x) if g is None else g) for g, x in pairs]


def _rows_of(output: Any, rows: int) -> Any:
    if not isinstance(output, torch.Tensor):
        raise TypeError(
            f"`model` must return a tensor of torch. Received: {type(output).__name__}."
        )
    if tuple(output.shape[:1]) != (rows,):
        raise ValueError(
            f"`model` must return one row for each row of its inputs, {rows}. "
            f"Received: shape {tuple(output.shape)}."
        )
    return output


def _array(tensor: Any) -> Array:
    """A copy, for the framework may write into what it gets."""
    return torch.empty(tensor.shape, dtype=torch.float32).copy_(tensor.detach()).numpy()
