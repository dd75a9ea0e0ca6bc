"""Functions of the backend's own tensors, which have gradients but no layers by name."""

from __future__ import annotations

import abc
import types
from dataclasses import dataclass
from typing import Any, ClassVar

from xai_core import _backend
from xai_core.wrappers.base import AbstractModel, checked_options


@dataclass(frozen=True, eq=False)
class AbstractFunction(AbstractModel):
    """A function of tensors in inference mode."""

    shape_errors: ClassVar[tuple[type[Exception], ...]] = (
        *(TypeError, ValueError, KeyError, IndexError, AttributeError),
    )

    framework: ClassVar[str]

    def _set_options(self) -> None:
        """Check the backend and the options; channels are last by default."""
        _backend.require(self.framework, type(self).__name__)
        options = checked_options(
            self.data_format, self.select, self.class_names, self.feature_names
        )
        options["data_format"] = options["data_format"] or "channels_last"
        for name, value in options.items():
            object.__setattr__(self, name, value)

    @classmethod
    def adapt(cls, model: Any, **options: Any) -> AbstractFunction:
        """The function with these options."""
        return cls(model, **options)

    @abc.abstractmethod
    def part(self, function: Any, inputs: Any, first: bool = False) -> Any:
        """The function or one half of it."""

    def call(self, inputs: Any) -> Any:
        """All outputs for a batch."""
        return self.part(self.source, inputs, first=True)

    def check(self, inputs: Any) -> None:
        """Nothing: the function itself tells at the first row."""

    @property
    def anchor(self) -> Any:
        """The object of a bound method, which Python makes anew each time."""
        if isinstance(self.source, types.MethodType):
            return self.source.__self__
        return self.source

    @property
    def feature_format(self) -> str:
        """The layout of feature maps is that of the inputs."""
        return self.data_format or "channels_last"
