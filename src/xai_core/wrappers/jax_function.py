"""Functions of JAX: Flax, Equinox, Haiku or one's own, with their gradients."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, ClassVar

import jax

from xai_core.operations import Operation
from xai_core.typing import Tensor
from xai_core.wrappers import jax_operations
from xai_core.wrappers.function import AbstractFunction
from xai_core.wrappers.identity import Fingerprint, Same
from xai_core.wrappers.jax_operations import is_value

_LIVE: ContextVar[tuple[Any, Any]] = ContextVar("params", default=(None, None))
_HANDLER: ContextVar[tuple[Any, Any]] = ContextVar("handler", default=(None, None))


@dataclass(frozen=True, eq=False)
class JaxFunction(AbstractFunction):
    """A function of JAX arrays in inference mode, under the jax backend.

    ``params`` are read at each call and are arguments of the compiled step: other values compile
    nothing anew and are never stale. Arrays that the function closes over are constants of the
    step: after a change of them call `xai_core.clear_cache`.

    Parameters
    ----------
    source : callable
        ``f(x)``, or ``f(params, x)`` where ``params`` are given; x has the structure of the
        inputs. Flax: ``JaxFunction(module.apply, variables)``. Equinox:
        ``JaxFunction(lambda net, x: jax.vmap(net)(x), net)``. Haiku:
        ``JaxFunction(lambda params, x: transformed.apply(params, None, x), params)``.
    params : pytree, optional
        Its leaves are arrays or numbers; others, such as activation functions, are constants.
    data_format : {"channels_last", "channels_first"}, optional
        Layout of images, series and feature maps, channels last by default.
    select : int, str or callable, optional
        Which of several outputs is explained.
    class_names, feature_names : tuple of str, optional
        Names of the output's columns and of the inputs' features.

    Raises
    ------
    TypeError
        If the source is not callable, or ``params`` hold no array.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> import numpy as np
    >>> from xai_core.attributions import GradientInput
    >>> model = JaxFunction(lambda w, x: x @ w, jnp.array([[2.0], [-3.0]]))
    >>> GradientInput(model, operator="regression")(np.array([[1.0, 2.0]]), targets=0).values
    array([[ 2., -6.]], dtype=float32)
    """

    params: Any = None

    title: ClassVar[str] = "a JaxFunction"
    shows_activations: ClassVar[bool] = True
    framework: ClassVar[str] = "jax"

    def __post_init__(self) -> None:
        """Check the function, its options and its parameters."""
        if not callable(self.source) or isinstance(self.source, type):
            raise TypeError(f"`source` must be a function. Received: {self.source!r}.")
        self._set_options()
        if self.params is not None and not self.state():
            raise TypeError(
                f"`params` must be a pytree with arrays. Received: {type(self.params).__name__} "
                "without any."
            )

    @classmethod
    def accepts(cls, model: Any) -> bool:
        """Nothing by itself: a function could as well be one of NumPy."""
        del model
        return False

    def part(self, function: Any, inputs: Any, first: bool = False) -> Any:
        """The function or one half of it, with the parameters if there are any."""
        del first
        owner, handler = _HANDLER.get()
        run = function
        if handler is not None and owner is self.source:
            run = functools.partial(jax_operations.handled, handler, function)
        if self.params is None:
            return run(inputs)
        owner, params = _LIVE.get()
        return run(params if owner is self.params else self.params, inputs)

    @contextlib.contextmanager
    def operations(self, handler: Callable[[Operation], Tensor]) -> Iterator[None]:
        """Change what activations give, by rewriting the traced function."""
        token = _HANDLER.set((self.source, handler))
        try:
            yield
        finally:
            _HANDLER.reset(token)

    def state(self) -> list[Tensor]:
        """The leaves of the parameters that are arrays or numbers."""
        return [leaf for leaf in jax.tree.leaves(self.params) if is_value(leaf)]

    @contextlib.contextmanager
    def with_state(self, state: list[Tensor]) -> Iterator[None]:
        """Compute with these values of the parameters."""
        leaves, tree = jax.tree.flatten(self.params)
        values = iter(state)
        merged = [next(values) if state and is_value(leaf) else leaf for leaf in leaves]
        token = _LIVE.set((self.params, jax.tree.unflatten(tree, merged)))
        try:
            yield
        finally:
            _LIVE.reset(token)

    def fingerprint(self) -> Fingerprint:
        """The function itself; what it closes over is constant."""
        return Fingerprint([], frozenset(), [getattr(self.source, "__func__", self.source)])

    def key(self) -> tuple[Any, ...]:
        """The structure and shapes of the parameters, and their leaves that are no values."""
        leaves, tree = jax.tree.flatten(self.params)
        known = tuple(_shape(leaf) if is_value(leaf) else Same(leaf) for leaf in leaves)
        return (*super().key(), tree, known)

    @property
    def arguments(self) -> str:
        """What the function is called with."""
        return super().arguments if self.params is None else "`inputs` and `params`"


def _shape(leaf: Any) -> tuple[tuple[int, ...], str]:
    return tuple(getattr(leaf, "shape", ())), str(getattr(leaf, "dtype", type(leaf)))
