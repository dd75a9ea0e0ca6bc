"""Native torch modules, under the torch backend: taken as they are, where they are."""

from __future__ import annotations

import contextlib
import itertools
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import keras
import torch

from xai_core import _checks, layers
from xai_core.typing import Tensor
from xai_core.wrappers import identity
from xai_core.wrappers.base import AbstractModel, Output

_BOOKKEEPING = frozenset(["_parameters", "_buffers", "_modules"])
_SKIPPED = (
    torch.nn.Identity,
    torch.nn.Flatten,
    torch.nn.Unflatten,
    torch.nn.modules.dropout._DropoutNd,
    torch.nn.modules.pooling._MaxPoolNd,
    torch.nn.modules.pooling._AvgPoolNd,
    torch.nn.modules.pooling._AdaptiveAvgPoolNd,
    torch.nn.modules.pooling._AdaptiveMaxPoolNd,
    torch.nn.modules.pooling._LPPoolNd,
    torch.nn.modules.padding._ConstantPadNd,
    torch.nn.modules.padding._ReflectionPadNd,
    torch.nn.modules.padding._ReplicationPadNd,
)


@dataclass(frozen=True, eq=False)
class TorchModule(AbstractModel):
    """A `torch.nn.Module` in evaluation mode; layers are named by dotted names."""

    # Torch modules declare no input shapes: their own errors tell at the first row.
    shape_errors: ClassVar[tuple[type[Exception], ...]] = (RuntimeError,)
    title: ClassVar[str] = "a torch.nn.Module in evaluation mode"

    @classmethod
    def accepts(cls, model: Any) -> bool:
        """Whether this is a torch module, and no layer of Keras."""
        # On torch, Keras's layers are torch modules too.
        return isinstance(model, torch.nn.Module) and not isinstance(model, keras.Layer)

    @classmethod
    def adapt(cls, model: torch.nn.Module, data_format: str | None, **names: Any) -> TorchModule:
        """Check that the module is in evaluation mode."""
        adapted = cls(model, data_format, **names)
        adapted.check(None)
        return adapted

    def call(self, inputs: Any) -> Any:
        """All outputs for a batch: `forward(x)`, `forward(*inputs)` or `forward(**inputs)`."""
        inputs = keras.tree.map_structure(self._prepared, inputs)
        if isinstance(inputs, Mapping):
            return self.source(**inputs)
        if isinstance(inputs, list | tuple):
            return self.source(*inputs)
        return self.source(inputs)

    def _prepared(self, x: Any) -> Any:
        if self.data_format == "channels_last" and x.ndim > 2:
            x = x.movedim(-1, 1)
        # A copy, for modules may work in place; channels_last memory makes convolutions faster.
        layout = torch.channels_last if x.ndim == 4 else torch.contiguous_format
        return x.clone(memory_format=layout)

    def state(self) -> list[Tensor]:
        """Nothing: torch steps read the module itself."""
        return []

    def with_state(self, state: list[Tensor]) -> contextlib.AbstractContextManager[Any]:
        """Nothing to set but the device."""
        del state
        return self.on_device()

    def on_device(self) -> contextlib.AbstractContextManager[Any]:
        """Keras puts new tensors on its default device unless told otherwise."""
        return keras.device(str(self.device))

    def fingerprint(self) -> identity.Fingerprint:
        """Every plain attribute, parameter and buffer of every submodule."""
        tensors = [*self.source.parameters(), *self.source.buffers()]
        return identity.Fingerprint(self.source.modules(), _BOOKKEEPING, tensors)

    def find(self, layer: Any) -> tuple[str, Any]:
        """The dotted name and the submodule that ``layer`` means."""
        # A module under several names goes by the first of them.
        named = self.source.named_modules(remove_duplicate=False)
        modules = {name: module for name, module in named if name}
        if isinstance(layer, torch.nn.Module):
            for name, module in modules.items():
                if module is layer:
                    return name, module
            raise ValueError(
                f"`layer` must be a submodule of this very model. Received: {layer!r}."
            )
        if isinstance(layer, str) and layer in modules:
            return self.find(modules[layer])
        if not isinstance(layer, str):
            raise TypeError(
                f"`layer` must be a dotted name or a submodule of the model. Received: {layer!r}."
            )
        known = ", ".join(map(repr, list(modules)[-8:]))
        raise ValueError(
            f"`layer` must be a layer of the model. Received: {layer!r}."
            f"{_checks.near(layer, modules) or f' The model has {known}.'}"
        )

    @contextlib.contextmanager
    def tap(
        self, found: tuple[str, Any], hook: Callable[[Tensor], Tensor], call: int | None
    ) -> Iterator[None]:
        """Within the block, a submodule's output is ``hook(output)``, in this thread only."""
        owner = threading.get_ident()
        count = 0

        def on_output(_module: Any, _inputs: Any, output: Any) -> Any:
            nonlocal count
            if threading.get_ident() != owner:
                return output
            count += 1
            if count - 1 != (call or 0):
                return output
            return layers.on_first_tensor(output, hook)

        handle = found[1].register_forward_hook(on_output)
        try:
            yield
        finally:
            handle.remove()
        layers.check_calls(found[0], count, call)

    def layer_outputs(self, run: Callable[[], Any]) -> list[Output]:
        """The outputs of all submodules in call order."""
        seen: list[Output] = []
        tensors: list[Any] = []
        calls: dict[str, int] = {}
        owner = threading.get_ident()

        def listing(name: str) -> Callable[..., None]:
            def on_output(module: Any, _inputs: Any, output: Any) -> None:
                first = output[0] if isinstance(output, list | tuple) and output else output
                if threading.get_ident() != owner or not isinstance(first, torch.Tensor):
                    return
                calls[name] = calls.get(name, -1) + 1
                # A container returns the very tensor of its last layer; a rectifier that works
                # in place returns its input, but is a layer of its own.
                again = any(first is t for t in tensors) and next(module.children(), None)
                tensors.append(first)
                skipped = bool(again) or isinstance(module, _SKIPPED)
                seen.append(
                    Output(name, calls[name], tuple(first.shape), skipped, first is not output)
                )

            return on_output

        with contextlib.ExitStack() as hooks:
            for name, module in self.source.named_modules():
                # Scripted modules take no hooks; their outputs are no candidates.
                if name and not isinstance(module, torch.jit.ScriptModule):
                    handle = module.register_forward_hook(listing(name))
                    hooks.callback(handle.remove)
            run()
        return seen

    def check(self, inputs: Any) -> None:
        """Raise unless the module is in evaluation mode; torch modules declare no shapes."""
        del inputs
        named = self.source.named_modules()
        training = [name or "the module" for name, module in named if module.training]
        if training:
            raise ValueError(
                "`model` must be in evaluation mode. Received: "
                f"{len(training)} submodules in training mode, among them {training[0]!r}. "
                "Call `module.eval()` first."
            )

    def _first_parameter(self) -> Any:
        tensors = itertools.chain(self.source.parameters(), self.source.buffers())
        floats = (tensor for tensor in tensors if tensor.is_floating_point())
        return next(floats, torch.empty(0))

    @property
    def dtype(self) -> str:
        """The float type of the first parameter."""
        return str(self._first_parameter().dtype).removeprefix("torch.")

    @property
    def device(self) -> Any:
        """The device of the first parameter."""
        return self._first_parameter().device

    @property
    def feature_format(self) -> str:
        """Feature maps inside a module are channels first, whatever the inputs' layout."""
        return "channels_first"
