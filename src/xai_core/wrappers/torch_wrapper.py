"""What torch modules share, wherever their gradients go."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import keras
import torch

from xai_core.typing import Tensor
from xai_core.wrappers import identity
from xai_core.wrappers.base import AbstractModel, checked_options, own_class_names

_BOOKKEEPING = frozenset(["_parameters", "_buffers", "_modules"])


@dataclass(frozen=True, eq=False, init=False)
class AbstractTorchWrapper(AbstractModel):
    """A `torch.nn.Module` in evaluation mode, which is never changed and never moved.

    Parameters
    ----------
    module : torch.nn.Module
        Called as `forward(x)`, `forward(*inputs)` or `forward(**inputs)`.
    device : torch.device or str, optional
        Where the module is: only checked. By default wherever its first parameter is.
    data_format : {"channels_first", "channels_last"}, optional
        Layout of the inputs. The module itself takes channels first: inputs given as channels
        last are transposed on the way.
    select : int, str or callable, optional
        Which of several outputs is explained.
    class_names, feature_names : tuple of str, optional
        Names of the output's columns and of the inputs' features; the columns' are also found in
        the module's ``config.id2label``.

    Raises
    ------
    TypeError
        If it is no torch module, or a layer of Keras.
    ValueError
        If a submodule is in training mode, or the module is on another device.
    """

    wanted: Any = None

    # Torch modules declare no input shapes: their own errors tell at the first row.
    shape_errors: ClassVar[tuple[type[Exception], ...]] = (RuntimeError,)
    title: ClassVar[str] = "a torch.nn.Module in evaluation mode"

    def __init__(
        self,
        module: Any,
        device: Any = None,
        data_format: str | None = None,
        *,
        select: Any = None,
        class_names: Any = None,
        feature_names: Any = None,
    ) -> None:
        if not self.accepts(module):
            raise TypeError(
                "`module` must be a torch.nn.Module, and no layer of Keras. "
                f"Received: {type(module).__module__}.{type(module).__name__}."
            )
        class_names = own_class_names(module) if class_names is None else class_names
        options = checked_options(data_format, select, class_names, feature_names)
        for name, value in {"source": module, "wanted": _checked(device), **options}.items():
            object.__setattr__(self, name, value)
        self.check(None)

    @classmethod
    def accepts(cls, model: Any) -> bool:
        """Whether this is a torch module, and no layer of Keras."""
        # On torch, Keras's layers are torch modules too.
        return isinstance(model, torch.nn.Module) and not isinstance(model, keras.Layer)

    @classmethod
    def adapt(cls, model: torch.nn.Module, data_format: str | None, **names: Any) -> Self:
        """Check that the module is in evaluation mode."""
        return cls(model, None, data_format, **names)

    def part(self, function: Any, inputs: Any, first: bool = False) -> Any:
        """The module or one half of it, the ``first`` on the model's inputs."""
        if first:
            return called(function, inputs, self.data_format)
        return function(prepared(inputs))

    def check_part(self, part: Any) -> None:
        """Raise if a half is in training mode."""
        if isinstance(part, torch.nn.Module):
            # A slice of a Sequential is a new one in training mode, which changes nothing.
            _check_mode(part, "layer", (torch.nn.Sequential,))

    def fingerprint(self) -> identity.Fingerprint:
        """Every plain attribute, parameter and buffer of every submodule."""
        tensors = [*self.source.parameters(), *self.source.buffers()]
        return identity.Fingerprint(self.source.modules(), _BOOKKEEPING, tensors)

    def state(self) -> list[Tensor]:
        """Nothing: the module itself is read when it runs."""
        return []

    def check(self, inputs: Any) -> None:
        """Raise unless the module is in evaluation mode, and where it should be."""
        del inputs
        _check_mode(self.source)
        found = self._first_parameter().device
        if self.wanted not in (None, found):
            raise ValueError(
                f"`device` must be where the module is, {found}. Received: {self.wanted}. The "
                "module is never moved: call module.to(device) first."
            )

    def _first_parameter(self) -> Any:
        tensors = itertools.chain(self.source.parameters(), self.source.buffers())
        floats = (tensor for tensor in tensors if tensor.is_floating_point())
        return next(floats, torch.empty(0, device=self.wanted))

    @property
    def feature_format(self) -> str:
        """Feature maps inside a module are channels first, whatever the inputs' layout."""
        return "channels_first"


def called(function: Any, inputs: Any, data_format: str | None) -> Any:
    """``function(x)``, ``function(*inputs)`` or ``function(**inputs)`` on inputs of its own."""
    inputs = prepared(inputs, data_format)
    if isinstance(inputs, Mapping):
        return function(**inputs)
    if isinstance(inputs, list | tuple):
        return function(*inputs)
    return function(inputs)


def prepared(inputs: Any, data_format: str | None = None) -> Any:
    """Tensors with channels first that a module may change."""

    def one(x: Any) -> Any:
        if not isinstance(x, torch.Tensor):
            return x
        if data_format == "channels_last" and x.ndim > 2:
            x = x.movedim(-1, 1)
        # A copy, for modules may work in place; channels_last memory makes convolutions faster.
        layout = torch.channels_last if x.ndim == 4 else torch.contiguous_format
        return x.clone(memory_format=layout)

    return keras.tree.map_structure(one, inputs)


def _checked(device: Any) -> Any:
    """A device on which tensors can be made here, or None."""
    if device is None:
        return None
    try:
        return torch.empty(0, device=device).device
    # A build without CUDA asserts that it has none.
    except (RuntimeError, TypeError, AssertionError) as error:
        raise ValueError(
            f"`device` must be a device that torch can use here. Received: {device!r}."
        ) from error


def _check_mode(
    module: torch.nn.Module, name: str = "model", apart: tuple[type[Any], ...] = ()
) -> None:
    training = [
        path or "the module"
        for path, part in module.named_modules()
        if part.training and type(part) not in apart
    ]
    if training:
        raise ValueError(
            f"`{name}` must be in evaluation mode. Received: "
            f"{len(training)} submodules in training mode, among them {training[0]!r}. "
            "Call `module.eval()` first."
        )
