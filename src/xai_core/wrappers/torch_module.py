"""Native torch modules, under the torch backend: taken as they are, where they are."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import keras
import torch

from xai_core import _arrays, _checks, layers
from xai_core._inputs import are_tokens
from xai_core.operations import Operation
from xai_core.typing import Tensor
from xai_core.wrappers import torch_operations
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

    shows_activations: ClassVar[bool] = True
    shows_products: ClassVar[bool] = True
    unseen: ClassVar[str] = (
        "scripted or compiled submodules, functions with a gradient of their own, functions for "
        "which there is no rule, such as torch.where, or operations that are no functions of torch"
    )

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

    def embeds(self, layer: Any) -> bool:
        """Whether a submodule is an embedding."""
        return isinstance(layer, torch.nn.Embedding)

    def takes_integers(self, leaves: list[Any]) -> list[bool]:
        """Which inputs hold integers; a single one only where an embedding may look them up."""
        found = super().takes_integers(leaves)
        embeds = any(map(self.embeds, self.source.modules()))
        return [are_tokens(leaves[0])] if len(leaves) == 1 and embeds else found

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
                if threading.get_ident() != owner:
                    return
                first = output[0] if isinstance(output, list | tuple) and output else output
                shape = tuple(getattr(first, "shape", ()))
                other = "" if isinstance(first, torch.Tensor) else type(first).__name__
                calls[name] = calls.get(name, -1) + 1
                # A container returns the very tensor of its last layer; a rectifier that works
                # in place returns its input, but is a layer of its own.
                again = any(first is t for t in tensors) and next(module.children(), None)
                tensors.append(first)
                skipped = bool(again) or isinstance(module, _SKIPPED)
                several, layout = first is not output, self.feature_format
                seen.append(Output(name, calls[name], shape, skipped, several, layout, other))

            return on_output

        with contextlib.ExitStack() as hooks:
            for name, module in self.source.named_modules():
                # Scripted modules take no hooks; their outputs are no candidates.
                if name and not isinstance(module, torch.jit.ScriptModule):
                    handle = module.register_forward_hook(listing(name))
                    hooks.callback(handle.remove)
            run()
        return seen

    @contextlib.contextmanager
    def leaf_calls(self, visit: Callable[..., Tensor]) -> Iterator[None]:
        """Change what submodules without submodules of their own give."""
        owner = threading.get_ident()
        last: list[Any] = [None]
        paths = {module: name for name, module in self.source.named_modules()}

        def entered(_module: Any, args: Any, kwargs: Any) -> None:
            # Copies, for the module may work in place.
            copied = keras.tree.map_structure(_copied, (args, kwargs))
            last[0] = copied if threading.get_ident() == owner else last[0]

        def left(module: Any, _inputs: Any, output: Any) -> Any:
            if threading.get_ident() != owner:
                return output
            floats, rebuilt = layers.floats_of(last[0])

            def function(*changed: Tensor) -> Any:
                args, kwargs = rebuilt(changed)
                return layers.first_tensor(module.forward(*args, **kwargs))

            path = paths[module]
            return layers.on_first_tensor(
                output, lambda first: visit(path, function, floats, first)
            )

        with contextlib.ExitStack() as hooks:
            for name, module in self.source.named_modules():
                scripted = isinstance(module, torch.jit.ScriptModule)
                if name and not scripted and next(module.children(), None) is None:
                    handle = module.register_forward_pre_hook(entered, with_kwargs=True)
                    hooks.callback(handle.remove)
                    hooks.callback(module.register_forward_hook(left).remove)
            yield

    @contextlib.contextmanager
    def operations(self, handler: Callable[[Operation], Tensor]) -> Iterator[None]:
        """Change what non-linear operations give, with the name of the module that runs them."""
        owner = threading.get_ident()
        inside: list[str] = []

        def entering(name: str) -> Callable[..., None]:
            def enter(*_: Any) -> None:
                if threading.get_ident() == owner:
                    inside.append(name)

            return enter

        def leave(*_: Any) -> None:
            if threading.get_ident() == owner:
                inside.pop()

        with contextlib.ExitStack() as hooks:
            for name, module in self.source.named_modules():
                if name and not isinstance(module, torch.jit.ScriptModule):
                    hooks.callback(module.register_forward_pre_hook(entering(name)).remove)
                    hooks.callback(module.register_forward_hook(leave, always_call=True).remove)
            with torch_operations.handled(handler, lambda: inside[-1] if inside else ""):
                yield

    def unseen_parts(self) -> list[str]:
        """Modules of torch.jit, which run outside of Python."""
        named = self.source.named_modules()
        return [
            f"{name or 'the model'} (torch.jit)"
            for name, module in named
            if isinstance(module, torch.jit.ScriptModule) and next(module.children(), None) is None
        ]

    @property
    def dtype(self) -> str:
        """The float type of the first parameter."""
        return str(self._first_parameter().dtype).removeprefix("torch.")

    @property
    def precision(self) -> str:
        """The float type that rounds most of those of all parameters."""
        every = (str(one.dtype).removeprefix("torch.") for one in self.source.parameters())
        return _arrays.coarsest(every)

    @property
    def device(self) -> Any:
        """The device of the first parameter."""
        return self._first_parameter().device


def _copied(x: Any) -> Any:
    return x.detach().clone() if isinstance(x, torch.Tensor) else x
