"""The non-linear operations that a model runs, whatever layer or function calls them."""

from __future__ import annotations

import contextlib
import functools
import inspect
import threading
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops
from keras.src import backend
from keras.src.activations import activations
from keras.src.ops import nn

from xai_core import _backend
from xai_core.typing import Tensor

RECTIFIER = "rectifier"
"""The name of ReLU in all its forms: capped, leaky, with a threshold."""

ACTIVATIONS = frozenset(
    (
        *("sigmoid", "sparse_sigmoid", "tanh", "tanh_shrink", "softplus", "softsign"),
        *("soft_shrink", "sparse_plus", "silu", "squareplus", "log_sigmoid", "hard_sigmoid"),
        *("hard_silu", "elu", "selu", "gelu", "celu", "hard_tanh", "hard_shrink", "threshold"),
        *("exp", "exp2", "expm1", "log", "log2", "log10", "log1p", "sqrt", "rsqrt", "square"),
        *("absolute", "sign", "sin", "cos", "tan", "sinh", "cosh", "arcsin", "arccos", "arctan"),
        *("arcsinh", "arccosh", "arctanh", "reciprocal", "cbrt", "erf", "erfc", "clip", "floor"),
        *("ceil", "round", "trunc", "power", "mish"),
    )
)
"""Functions of each number by itself, rectifiers aside."""

POOLS = frozenset(("max_pool", "adaptive_max_pool", "max", "min"))
"""The largest or the smallest of several numbers."""

PRODUCTS = frozenset(("multiply", "matmul", "einsum", "dot", "tensordot", "divide"))
"""Linear in each of two tensors."""

PAIRS = frozenset(("maximum", "minimum"))
"""The larger or the smaller of two numbers."""

OTHERS = frozenset(
    (
        *("softmax", "log_softmax", "sparsemax", "glu", "dot_product_attention"),
        *("layer_normalization", "rms_normalization", "group_normalization"),
        *("instance_normalization", "local_response_normalization", "normalize"),
        *("recurrent", "var", "std", "prod", "cumprod", "logsumexp", "logaddexp"),
        *("norm", "sort", "top_k", "median", "quantile"),
    )
)
"""What mixes numbers in yet other ways."""

UNRULED = frozenset(("moments",))
"""What gives several tensors of which none has a row for each sample, so that no rule fits."""

_KERAS = {
    "nn": (
        *("relu", "relu6", "leaky_relu", "sigmoid", "sparse_sigmoid", "tanh", "tanh_shrink"),
        *("softplus", "softsign", "soft_shrink", "sparse_plus", "silu", "squareplus"),
        *("log_sigmoid", "hard_sigmoid", "hard_silu", "elu", "selu", "gelu", "celu", "hard_tanh"),
        *("hard_shrink", "threshold", "max_pool", "adaptive_max_pool", "softmax", "log_softmax"),
        *("sparsemax", "glu", "dot_product_attention", "layer_normalization"),
        *("rms_normalization", "moments"),
    ),
    "numpy": (
        *("exp", "exp2", "expm1", "log", "log2", "log10", "log1p", "sqrt", "square", "absolute"),
        *("abs", "sign", "sin", "cos", "tan", "sinh", "cosh", "tanh", "arcsin", "arccos"),
        *("arctan", "arcsinh", "arccosh", "arctanh", "reciprocal", "cbrt", "clip", "floor"),
        *("ceil", "round", "trunc", "power", "max", "amax", "min", "amin", "multiply", "matmul"),
        *("einsum", "dot", "tensordot", "divide", "true_divide", "maximum", "minimum", "var"),
        *("std", "prod", "cumprod", "logaddexp", "sort", "median", "quantile"),
    ),
    "math": ("rsqrt", "erf", "erfc", "logsumexp", "top_k"),
    "linalg": ("norm",),
    "": ("lstm", "gru", "rnn"),
}
"""Functions of Keras's backend in which every operation ends, by module."""

_NAMES = {
    **dict.fromkeys(("relu", "relu6", "leaky_relu"), RECTIFIER),
    "abs": "absolute",
    "amax": "max",
    "amin": "min",
    "true_divide": "divide",
    **dict.fromkeys(("lstm", "gru", "rnn"), "recurrent"),
}

_WRITTEN_OUT = {
    (activations.ReLU, "static_call"): RECTIFIER,
    (activations.Mish, "static_call"): "mish",
    (keras.layers.PReLU, "call"): RECTIFIER,
    (keras.layers.GroupNormalization, "call"): "group_normalization",
    (nn, "_normalize"): "normalize",
    (nn, "_layer_normalization"): "layer_normalization",
    (nn, "_rms_normalization"): "rms_normalization",
}
"""Functions that Keras writes out in smaller ones."""

_SEVERAL = ("recurrent", "top_k")
"""Operations of Keras that give several tensors, with a row for each sample in all of them."""

_LOCK = threading.RLock()


class Operation(NamedTuple):
    """One operation that a model is about to run.

    Parameters
    ----------
    name
        That of `keras.ops`; `RECTIFIER` for all forms of ReLU.
    call
        Maps tensors such as its own to what the operation makes of them.
    tensors
        Its operands: two of products, pairs and of a power that has them, three of attention, else
        one.
    path
        Where the model runs it, as far as that is known.
    """

    name: str
    call: Callable[..., Tensor]
    tensors: tuple[Tensor, ...]
    path: str

    @property
    def result(self) -> Tensor:
        """What the model computes."""
        return self.call(*self.tensors)


Handler = Callable[[Operation], Tensor]


def count(name: str) -> int:
    """The largest number of operands of an operation."""
    if name == "dot_product_attention":
        return 3
    return 2 if name in PRODUCTS or name in PAIRS or name in ("power", "logaddexp") else 1


def is_zero(value: Any) -> bool:
    """Whether an operand is the number 0, or an array without axes that holds it."""
    if _backend.EAGER and ops.is_tensor(value):
        return len(value.shape) == 0 and not value.requires_grad and float(value) == 0.0
    plain = isinstance(value, int | float | np.generic | np.ndarray) and np.ndim(value) == 0
    return plain and not isinstance(value, bool) and float(value) == 0.0


def of_call(name: str, path: str, function: Callable[..., Any], args: Any, kwargs: Any) -> Any:
    """The operation that a call of a function is; None of one that is linear in all its floats."""
    # In front there may be what is none: a subscript, the layer itself, the 2 of 2 ** x.
    places = [k for k, one in enumerate(args) if _is_float(one)][: count(name)]
    if not places or (name == "einsum" and len(args) != 3):
        return None
    if name in PRODUCTS and len(places) == 1:
        if name != "divide" or places == [0]:
            return None
        name = "reciprocal"
    elif name in PAIRS and len(places) == 1:
        name = RECTIFIER if name == "maximum" and is_zero(args[1 - places[0]]) else "clip"
    elif name in ("clip", "threshold") and is_zero(_floor(name, args, kwargs)):
        name = RECTIFIER

    def call(*tensors: Any) -> Any:
        own = list(args)
        for place, tensor in zip(places, tensors, strict=True):
            own[place] = tensor
        return function(*own, **kwargs)

    return Operation(name, call, tuple(args[place] for place in places), path)


def clipped(handler: Handler, path: str, x: Any, low: Any, high: Any) -> Any:
    """What lies between tensors: the larger of two, and the smaller of that and the last."""
    for name, function, bound in (("maximum", ops.maximum, low), ("minimum", ops.minimum, high)):
        if bound is not None:
            operation = of_call(name, path, function, (x, bound), {})
            x = function(x, bound) if operation is None else handler(operation)
    return x


def is_between_tensors(name: str, args: Any) -> bool:
    """Whether the bounds of ``clip``, given by position, are no numbers."""
    return name == "clip" and any(map(_is_float, args[1:3]))


def _floor(name: str, args: Any, kwargs: Any) -> Any:
    """What `clip` and `threshold` give instead of small numbers."""
    if name == "clip":
        return args[1] if len(args) > 1 else None
    return args[2] if len(args) > 2 else kwargs.get("default_value", kwargs.get("value"))


def _is_float(value: Any) -> bool:
    return (
        ops.is_tensor(value)
        and len(value.shape) > 0
        and keras.backend.is_float_dtype(keras.backend.standardize_dtype(value.dtype))
    )


@contextlib.contextmanager
def handled(handler: Handler, path: Callable[[], str] = lambda: "") -> Iterator[None]:
    """Within the block, the non-linear operations of Keras give what ``handler`` makes of them.

    Every way to write them in Keras ends in the same functions of the backend, which are exchanged
    for this thread; those that an operation or the handler itself calls are left alone.
    """
    owner = threading.get_ident()
    inside = False

    def exchanged(name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        every = inspect.signature(original).parameters.values()
        parameters = tuple(one.name for one in every if one.kind is not one.KEYWORD_ONLY)

        @functools.wraps(original)
        def call(*args: Any, **kwargs: Any) -> Any:
            nonlocal inside
            if inside or threading.get_ident() != owner:
                return original(*args, **kwargs)
            inside = True
            try:
                args, kwargs = _positional(parameters, args, kwargs)
                with _backend.uncompiled(inline=False):
                    return _given(handler, name, path(), original, args, kwargs)
            finally:
                inside = False

        return call

    with _LOCK, contextlib.ExitStack() as undo:
        for where, name in _functions():
            original = inspect.getattr_static(where, name)
            function = getattr(where, name)
            known = _WRITTEN_OUT.get((where, name)) or _NAMES.get(name, name)
            made: Any = exchanged(known, function)
            if isinstance(original, staticmethod):
                made = staticmethod(made)
            undo.callback(setattr, where, name, original)
            setattr(where, name, made)
        # One row after the other, for what is mapped at once shows no gradients.
        undo.callback(setattr, backend.core, "vectorized_map", backend.core.vectorized_map)
        backend.core.vectorized_map = _mapped(backend.core.vectorized_map, owner)
        with _backend.uncompiled():
            yield


def _given(
    handler: Handler, name: str, path: str, function: Callable[..., Any], args: Any, kwargs: Any
) -> Any:
    """What a call gives, with the result of the handler in it where there is something for one."""
    if name in _SEVERAL:
        return _of_several(handler, name, path, function, args, kwargs)
    if is_between_tensors(name, args):
        return clipped(handler, path, *args[:3])
    operation = of_call(name, path, function, args, kwargs)
    return function(*args, **kwargs) if operation is None else handler(operation)


def _of_several(
    handler: Handler, name: str, path: str, function: Callable[..., Any], args: Any, kwargs: Any
) -> Any:
    """As `_given`, where a call gives several tensors: floats of each row stand side by side."""
    plain = function(*args, **kwargs)  # which recurrent layers try, and do without if it raises
    flat = keras.tree.flatten(plain)
    places = [k for k, leaf in enumerate(flat) if _is_float(leaf)]
    sizes = [int(np.prod(flat[k].shape[1:])) for k in places]

    def packed(*args: Any, **kwargs: Any) -> Any:
        leaves = keras.tree.flatten(function(*args, **kwargs))
        rows = [ops.reshape(leaves[k], (-1, size)) for k, size in zip(places, sizes, strict=True)]
        return ops.concatenate(rows, axis=1)

    operation = of_call(name, path, packed, args, kwargs)
    if operation is None:
        return plain
    found, start = handler(operation), 0
    for k, size in zip(places, sizes, strict=True):
        flat[k] = ops.reshape(found[:, start : start + size], (-1, *flat[k].shape[1:]))
        start += size
    return keras.tree.pack_sequence_as(plain, flat)


def _mapped(original: Callable[..., Any], owner: int) -> Callable[..., Any]:
    @functools.wraps(original)
    def call(function: Callable[..., Any], elements: Any) -> Any:
        ours = threading.get_ident() == owner
        return backend.core.map(function, elements) if ours else original(function, elements)

    return call


def _functions() -> Iterator[tuple[Any, str]]:
    """Owner and name of each function that is exchanged."""
    for where, name in _WRITTEN_OUT:
        if hasattr(where, name):
            yield where, name
    for module, names in _KERAS.items():
        where = getattr(backend, module) if module else backend
        yield from ((where, name) for name in names if hasattr(where, name))


def _positional(parameters: tuple[str, ...], args: Any, kwargs: Any) -> tuple[Any, Any]:
    """The operands in front, however they were given."""
    args, kwargs = list(args), dict(kwargs)
    for name in parameters[len(args) : 3]:
        if name not in kwargs:
            break
        args.append(kwargs.pop(name))
    return tuple(args), kwargs
