"""Native torch modules, under the torch backend: taken as they are, where they are."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any

import keras
import torch

from xai_core import _checks, layers
from xai_core.typing import Tensor
from xai_core.wrappers.base import Output
from xai_core.wrappers.torch_wrapper import AbstractTorchWrapper

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


class TorchWrapper(AbstractTorchWrapper):
    """A torch module under the torch backend; layers are named by dotted names.

    Parameters
    ----------
    module, device, data_format, select, class_names, feature_names
        See `AbstractTorchWrapper`.

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
        """All outputs for a batch: `forward(x)`, `forward(*inputs)` or `forward(**inputs)`."""
        return self.part(self.source, inputs, first=True)

    def with_state(self, state: list[Tensor]) -> contextlib.AbstractContextManager[Any]:
        """Nothing to set but the device."""
        del state
        return self.on_device()

    def on_device(self) -> contextlib.AbstractContextManager[Any]:
        """Keras puts new tensors on its default device unless told otherwise."""
        return keras.device(str(self.device))

    def find_layer(self, layer: Any) -> tuple[str, Any]:
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
            return self.find_layer(modules[layer])
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
    def tap_layer(
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

    @property
    def dtype(self) -> str:
        """The float type of the first parameter."""
        return str(self._first_parameter().dtype).removeprefix("torch.")

    @property
    def device(self) -> Any:
        """The device of the first parameter."""
        return self._first_parameter().device
