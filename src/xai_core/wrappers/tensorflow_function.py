"""Functions of TensorFlow: `tf.function`, `tf.Module`, saved models and their signatures."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import tensorflow as tf

from xai_core.typing import Tensor
from xai_core.wrappers.function import AbstractFunction
from xai_core.wrappers.identity import Fingerprint

_SIGNATURE = "serving_default"
_BOOKKEEPING = frozenset(["_name", "_scope_name", "_name_scope"])


@dataclass(frozen=True, eq=False)
class TensorFlowFunction(AbstractFunction):
    """A function of TensorFlow tensors in inference mode, under the tensorflow backend.

    Its variables are read when it runs, so that changed ones are never stale.

    Parameters
    ----------
    source : callable
        A function, a `tf.function`, a `tf.Module` that can be called, a signature of a saved
        model, or what `tf.saved_model.load` returns, then called itself or by its signature
        ``serving_default``. Inputs are given as f(x), to a signature of several as ``f(*x)``, or
        as a dict where it takes them by name.
    data_format : {"channels_last", "channels_first"}, optional
        Layout of images, series and feature maps, channels last by default.
    select : int, str or callable, optional
        Which of several outputs is explained.
    class_names, feature_names : tuple of str, optional
        Names of the output's columns and of the inputs' features.

    Raises
    ------
    TypeError
        If the source cannot be called and has no signature to call.

    Examples
    --------
    >>> import numpy as np
    >>> import tensorflow as tf
    >>> from xai_core.attributions import GradientInput
    >>> weights = tf.Variable([[2.0], [-3.0]])
    >>> model = TensorFlowFunction(lambda x: x @ weights)
    >>> GradientInput(model, operator="regression")(np.array([[1.0, 2.0]]), targets=0).values
    array([[ 2., -6.]], dtype=float32)
    """

    title: ClassVar[str] = "a TensorFlowFunction, tf.Module, tf.function or saved model"
    framework: ClassVar[str] = "tensorflow"
    shape_errors: ClassVar[tuple[type[Exception], ...]] = (
        *(AbstractFunction.shape_errors),
        tf.errors.OpError,
    )

    def __post_init__(self) -> None:
        """Check the function and its options."""
        a_class = isinstance(self.source, type)
        if a_class or (
            not callable(self.source) and _SIGNATURE not in getattr(self.source, "signatures", ())
        ):
            raise TypeError(
                "`source` must be a function, or have the signature "
                f"{_SIGNATURE!r}. Received: {type(self.source).__name__}."
            )
        self._set_options()

    @classmethod
    def accepts(cls, model: Any) -> bool:
        """Whether this is an object of TensorFlow that can be called."""
        if isinstance(model, type):
            return False
        kinds = (tf.types.experimental.PolymorphicFunction, tf.types.experimental.ConcreteFunction)
        loaded = hasattr(model, "signatures")
        return (
            loaded or isinstance(model, kinds) or (isinstance(model, tf.Module) and callable(model))
        )

    def part(self, function: Any, inputs: Any, first: bool = False) -> Any:
        """The function or one half of it."""
        del first
        if not callable(function):
            function = function.signatures[_SIGNATURE]
        positions, names = _signature(function)
        several = isinstance(inputs, list | tuple)
        if not names:
            return function(*inputs) if several and len(inputs) == positions else function(inputs)
        if isinstance(inputs, Mapping):
            return function(**inputs)
        if several or len(names) > 1:
            # Their order is lost when a model is saved.
            raise ValueError(
                f"`inputs` must be a dict of {', '.join(map(repr, sorted(names)))}, which the "
                f"signature takes by name. Received: {type(inputs).__name__}."
            )
        return function(**{names[0]: inputs})

    def state(self) -> list[Tensor]:
        """Nothing: compiled steps read the variables themselves."""
        return []

    def with_state(self, state: list[Tensor]) -> contextlib.AbstractContextManager[Any]:
        """Nothing to set."""
        del state
        return contextlib.nullcontext()

    def fingerprint(self) -> Fingerprint:
        """Every plain attribute and variable of every module, and the function itself."""
        anchor = self.anchor
        modules = [anchor, *anchor.submodules] if isinstance(anchor, tf.Module) else []
        variables = anchor.variables if isinstance(anchor, tf.Module) else []
        function = getattr(self.source, "__func__", self.source)
        return Fingerprint(modules, _BOOKKEEPING, [function, *variables])


def _signature(function: Any) -> tuple[int, list[str]]:
    """How many inputs a function says that it takes by position, else those by name only."""
    specs = getattr(function, "input_signature", None) or ()
    positional, named = getattr(function, "structured_input_signature", None) or (specs, {})
    return len(positional), [] if positional else list(named)
