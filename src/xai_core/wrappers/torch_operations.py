"""The non-linear operations that a torch module runs, under the names that Keras gives them."""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from xai_core import operations
from xai_core.operations import RECTIFIER, Handler

_NAMES = {
    **dict.fromkeys(("relu", "relu6", "leaky_relu", "prelu", "rrelu"), RECTIFIER),
    "clamp": "clip",
    "clamp_min": "maximum",
    "clamp_max": "minimum",
    "abs": "absolute",
    "mul": "multiply",
    "div": "divide",
    "true_divide": "divide",
    "bmm": "matmul",
    "mm": "matmul",
    "__matmul__": "matmul",
    "__mul__": "multiply",
    "__rmul__": "multiply",
    "__rmatmul__": "matmul",
    "__imul__": "multiply",
    **dict.fromkeys(("__truediv__", "__div__", "__itruediv__", "__idiv__"), "divide"),
    **dict.fromkeys(("__rtruediv__", "__rdiv__"), "reciprocal"),
    **dict.fromkeys(("pow", "__pow__", "__rpow__", "__ipow__"), "power"),
    "acos": "arccos",
    "asin": "arcsin",
    "atan": "arctan",
    "acosh": "arccosh",
    "asinh": "arcsinh",
    "atanh": "arctanh",
    "hardsigmoid": "hard_sigmoid",
    "hardswish": "hard_silu",
    "hardtanh": "hard_tanh",
    "logsigmoid": "log_sigmoid",
    "hardshrink": "hard_shrink",
    "softshrink": "soft_shrink",
    "tanhshrink": "tanh_shrink",
    "amax": "max",
    "amin": "min",
    "layer_norm": "layer_normalization",
    "rms_norm": "rms_normalization",
    "group_norm": "group_normalization",
    "instance_norm": "instance_normalization",
    "local_response_norm": "local_response_normalization",
    "scaled_dot_product_attention": "dot_product_attention",
    "multi_head_attention_forward": "dot_product_attention",
    **dict.fromkeys(("lstm", "gru", "rnn_tanh", "rnn_relu"), "recurrent"),
    **dict.fromkeys(("lstm_cell", "gru_cell", "rnn_tanh_cell", "rnn_relu_cell"), "recurrent"),
    **dict.fromkeys((f"max_pool{k}d" for k in (1, 2, 3)), "max_pool"),
    **dict.fromkeys((f"max_pool{k}d_with_indices" for k in (1, 2, 3)), "max_pool"),
    **dict.fromkeys((f"adaptive_max_pool{k}d" for k in (1, 2, 3)), "adaptive_max_pool"),
    **{f"adaptive_max_pool{k}d_with_indices": "adaptive_max_pool" for k in (1, 2, 3)},
    "bilinear": "multiply",
    "topk": "top_k",
    "var_mean": "var",
    "std_mean": "std",
    "cosine_similarity": "normalize",
    "_threshold": "threshold",
    "linalg_norm": "norm",
    "linalg_vector_norm": "norm",
    "softmin": "softmax",
    "special_expit": "sigmoid",
}
_ALONG = ("max", "min", "median")
"""Functions that give several tensors along an axis, and one without."""
_FIRST_OF_SEVERAL = frozenset(
    (
        *("topk", "sort", "var_mean", "std_mean", "multi_head_attention_forward"),
        *("lstm", "gru", "rnn_tanh", "rnn_relu", "lstm_cell"),
        *(f"{kind}max_pool{k}d_with_indices" for kind in ("", "adaptive_") for k in (1, 2, 3)),
    )
)
"""Functions that also give what is no part of the operation."""
_FUSED: dict[str, Callable[..., Any]] = {
    "addcmul": torch.mul,
    "addcdiv": torch.div,
    "baddbmm": torch.bmm,
}
"""Functions that add the result of another to their first operand."""
_KNOWN = (
    operations.ACTIVATIONS
    | operations.POOLS
    | operations.PRODUCTS
    | operations.PAIRS
    | operations.OTHERS
)


@contextlib.contextmanager
def handled(handler: Handler, path: Callable[[], str]) -> Iterator[None]:
    """Within the block, the non-linear operations of torch give what ``handler`` makes of them."""
    with _Mode(handler, path):
        yield


class _Mode(TorchFunctionMode):
    def __init__(self, handler: Handler, path: Callable[[], str]) -> None:
        super().__init__()
        self._handler, self._path = handler, path
        self._owner = threading.get_ident()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Hand the operation to the handler; what either computes with comes here no more."""
        del types
        kwargs = dict(kwargs or {})
        spoken = getattr(func, "__name__", "").partition(".")[0]  # operators of torch.ops
        name = _named(spoken)
        ours = threading.get_ident() == self._owner
        if ours and spoken in _FUSED and len(args) == 3:
            added = self.__torch_function__(_FUSED[spoken], (), args[1:])
            first = args[0] * kwargs["beta"] if "beta" in kwargs else args[0]
            return torch.add(first, added, alpha=kwargs.get("value", kwargs.get("alpha", 1)))
        fixed = spoken == "instance_norm" and kwargs.get("use_input_stats") is False
        if name is None or not ours or fixed:
            return func(*args, **kwargs)
        if not args and "input" in kwargs:
            args = (kwargs.pop("input"),)
        in_place = bool(kwargs.pop("inplace", False)) or _is_in_place(spoken)
        given: Any = args[0] if args else None
        if in_place:
            # The result is written into the operand, which the operation may have kept.
            args = (given.clone(), *args[1:])
            func = _on_a_copy(func) if _is_in_place(spoken) else func
        name, function, args, kwargs = _plain(name, spoken, func, args, kwargs)
        if operations.is_between_tensors(name, args):
            result = operations.clipped(self._handler, self._path(), *args)
            return given.copy_(result) if in_place else result
        along = spoken in _ALONG and name == spoken and len(args) + len(kwargs) > 1
        if along or spoken in _FIRST_OF_SEVERAL:
            return self._first(name, function, args, kwargs)
        operation = operations.of_call(name, self._path(), function, args, kwargs)
        result = function(*args, **kwargs) if operation is None else self._handler(operation)
        return given.copy_(result) if in_place else result

    def _first(self, name: str, function: Any, args: Any, kwargs: Any) -> Any:
        """Several results, of which the first is the operation's: values, and where they are."""

        def values(*args: Any, **kwargs: Any) -> Any:
            return function(*args, **kwargs)[0]

        plain = function(*args, **kwargs)
        operation = operations.of_call(name, self._path(), values, args, kwargs)
        if operation is None:
            return plain
        return type(plain)((self._handler(operation), *plain[1:]))


def _named(spoken: str) -> str | None:
    """Keras's name of a function of torch, None of one that is linear or unknown."""
    plain = spoken if spoken.endswith("__") else spoken.removesuffix("_")
    name = _NAMES.get(plain, plain)
    return name if name == RECTIFIER or name in _KNOWN else None


def _is_in_place(spoken: str) -> bool:
    return spoken.startswith("__i") if spoken.endswith("__") else spoken.endswith("_")


def _on_a_copy(func: Callable[..., Any]) -> Callable[..., Any]:
    """A function that writes into its operand, such as ``relu_``, as one that leaves it alone."""

    @functools.wraps(func)
    def call(tensor: Any, *args: Any, **kwargs: Any) -> Any:
        return func(tensor.clone(), *args, **kwargs)

    return call


def _plain(name: str, spoken: str, func: Any, args: Any, kwargs: Any) -> tuple[str, Any, Any, Any]:
    """Name, function and arguments of a call with bounds by position and tensors in and out."""
    if name in operations.PRODUCTS:
        keyed = [kwargs.pop(key) for key in ("other", "mat2") if key in kwargs]
        return name, func, (*args, *keyed), kwargs
    if spoken.rstrip("_") in ("clamp", "clip"):
        bounds = [*args[1:], *[None] * (3 - len(args))]
        bounds = [kwargs.get(key, own) for key, own in zip(("min", "max"), bounds, strict=True)]
        return name, torch.clamp, (args[0], *bounds), {}
    if name == "hard_tanh":
        bounds = [*args[1:3], *(-1.0, 1.0)[len(args[1:3]) :]]
        keys = ("min_val", "max_val")
        bounds = [kwargs.get(key, own) for key, own in zip(keys, bounds, strict=True)]
        return "clip", torch.clamp, (args[0], *bounds), {}
    if name in operations.PAIRS:
        keyed = [kwargs.pop(key) for key in ("min", "max", "other") if key in kwargs]
        return name, func, (*args, *keyed), kwargs
    if name in ("max", "min") and len(args) > 1 and isinstance(args[1], torch.Tensor):
        return f"{name}imum", func, args, kwargs
    return name, func, args, kwargs
