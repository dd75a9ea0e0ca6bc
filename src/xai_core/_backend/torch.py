"""The shim on torch: eager, never `.backward()`, never a gradient of a parameter."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import torch
from torch.utils.checkpoint import CheckpointError

EAGER = True
FIXED_SHAPES = False
STATE_AS_ARGUMENT = False


def jit(function: Callable[..., Any]) -> Callable[..., Any]:
    """Run ``function(state, *arguments)`` as it is, outside the caller's graph."""

    def call(*arguments: Any) -> Any:
        # Tensors made in inference mode have no gradients; the caller may be in it.
        with torch.inference_mode(False), torch.no_grad():
            return function(*arguments)

    return call


def uncompiled(inline: bool = True) -> contextlib.AbstractContextManager[None]:
    """Nothing to do: compiled functions notice themselves that they would call others."""
    del inline
    return contextlib.nullcontext()


def fused(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call ``function`` on tensors; eager operations are not joined."""
    return function(*arguments)


def segment_sum(values: Any, segments: Any, count: int) -> Any:
    """Sums of the rows of ``values`` with the same number in ``segments``, below ``count``."""
    return values.new_zeros(count, *values.shape[1:]).index_add_(0, segments, values)


def no_grad() -> contextlib.AbstractContextManager[None]:
    """Record nothing for gradients."""
    return torch.no_grad()


def recording() -> contextlib.AbstractContextManager[Any]:
    """Record what is computed for gradients, in a block without any."""
    return torch.enable_grad()


def records() -> bool:
    """Whether gradients pass back what is computed now: not so inside an `autograd.Function`."""
    return torch.is_grad_enabled()


def dry_run(function: Callable[..., Any], *arguments: Any) -> Any:
    """Run ``function`` for its side effects and shapes."""
    with torch.no_grad():
        return function(*arguments)


def trace() -> Any:
    """What records operations now: on torch nothing else, for branches and loops are of Python."""
    return None


def _cotangents(scores: Any) -> Iterator[Any]:
    if scores.ndim == 1 or scores.shape[1] == 1:
        yield torch.ones_like(scores)
        return
    for k in range(scores.shape[1]):
        cotangent = torch.zeros_like(scores)
        cotangent[:, k] = 1
        yield cotangent


def _gradients(scores: Any, leaves: list[Any], create_graph: bool = False) -> Iterator[list[Any]]:
    """The gradients of each target in turn; zeros where nothing connects."""
    last = 1 if scores.ndim == 1 else scores.shape[1]
    for k, cotangent in enumerate(_cotangents(scores), start=1):
        found: Any = [None] * len(leaves)
        if scores.requires_grad:
            options = {"retain_graph": create_graph or k < last, "create_graph": create_graph}
            try:
                found = torch.autograd.grad(scores, leaves, cotangent, allow_unused=True, **options)
            except CheckpointError as error:
                raise ValueError(
                    "`model` must keep what it computes until its gradients are taken, for a "
                    "method that changes them. Received: a model that computes parts again, by "
                    "torch.utils.checkpoint or keras.remat. Leave these away, or take a method "
                    "with plain gradients, such as IntegratedGradients."
                ) from error
        pairs = zip(found, leaves, strict=True)
        yield [torch.zeros_like(leaf) if g is None else g for g, leaf in pairs]


def _stacked(scores: Any, each: list[Any]) -> Any:
    if scores.ndim == 1:
        return each[0]

    def stack(*columns: Any) -> Any:
        if columns[0] is None:
            return None
        return columns[0][:, None] if len(columns) == 1 else torch.stack(columns, dim=1)

    return keras.tree.map_structure(stack, *each)


def _leaf(x: Any, create_graph: bool) -> Any:
    if not x.is_floating_point() or (create_graph and x.requires_grad):
        return x
    x = x.clone() if x.is_inference() else x.detach()
    return x.requires_grad_(True)


def value_and_grad(
    function: Callable[[Any], Any],
    x: Any,
    finish: Callable[[Any], Any] | None = None,
    create_graph: bool = False,
    has_aux: bool = False,
) -> tuple[Any, Any]:
    """Scores and their gradients with respect to the float leaves of ``x`` (others: None).

    ``finish`` maps the gradients of one target, before those of the next are computed.
    ``create_graph`` makes the result differentiable again and keeps the graph of ``x``.
    With ``has_aux`` the function returns (scores, aux), and so does this as the first value.
    """
    with torch.inference_mode(False), torch.enable_grad():
        x = keras.tree.map_structure(lambda leaf: _leaf(leaf, create_graph), x)
        scores, aux = function(x) if has_aux else (function(x), None)
    flat = keras.tree.flatten(x)
    each = []
    with torch.inference_mode(False), torch.set_grad_enabled(create_graph):
        for found in _gradients(scores, [t for t in flat if t.is_floating_point()], create_graph):
            left = iter(found)
            gradients = keras.tree.pack_sequence_as(
                x, [next(left) if t.is_floating_point() else None for t in flat]
            )
            each.append(gradients if finish is None else finish(gradients))
        stacked = _stacked(scores, each)
    value = scores if create_graph else scores.detach()
    return (value, aux) if has_aux else value, stacked


def jvp(function: Callable[..., Any], x: list[Any], direction: list[Any]) -> Any:
    """The derivative of ``function(*x)`` along ``direction``."""
    with torch.inference_mode(False), torch.enable_grad():
        x = [_leaf(one, create_graph=False) for one in x]
        value = function(*(one.clone() for one in x))  # which may work in place
        # A backward pass is linear in what it starts with; its own derivative is what is wanted.
        start = torch.zeros_like(value, requires_grad=True)
        if not value.requires_grad:
            return torch.zeros_like(value)
        options = {"create_graph": True, "allow_unused": True}
        pulled = torch.autograd.grad(value, x, start, **options)
        pairs = [(g, d) for g, d in zip(pulled, direction, strict=True) if g is not None]
        total = sum(((g * d).sum() for g, d in pairs), torch.zeros(()).to(value))
        found = torch.autograd.grad(total, start, allow_unused=True)[0] if pairs else None
    return torch.zeros_like(value) if found is None else found.detach()


def override_gradient(x: Any, pull: Callable[[Any], Any]) -> Any:
    """``x`` as it is, through which a gradient ``u`` goes back as ``pull(u)``."""
    if x.requires_grad:
        x.register_hook(pull)
    return x


def activation_and_grad(
    function: Callable[[Any], tuple[Any, Any]],
    tap: Callable[[Callable[[Any], Any]], contextlib.AbstractContextManager[Any]],
    x: Any,
) -> tuple[tuple[Any, Any], Any, Any]:
    """(scores, aux), the tapped output, and the scores' gradients with respect to it.

    One pass, with nothing computed backwards below the tapped output.
    """
    seen = []

    def start_here(output: Any) -> Any:
        # The layers below run without a graph; gradients are switched on at the tapped output.
        torch.set_grad_enabled(True)
        output = output.clone() if output.is_inference() else output.detach()
        seen[:] = [output.requires_grad_(True)]
        return output.clone()  # the next operation may work in place

    def run(recorded: bool) -> tuple[Any, bool]:
        # The block also restores the mode that the hook changes.
        with torch.inference_mode(False), torch.set_grad_enabled(recorded), tap(start_here):
            return function(x), torch.is_grad_enabled()

    (scores, aux), recorded = run(recorded=False)
    if not recorded:
        # The layer ran in a block of `no_grad`, whose end switched gradients off again.
        (scores, aux), _ = run(recorded=True)
    with torch.inference_mode(False), torch.no_grad():
        each = [found[0] for found in _gradients(scores, seen)]
        return (scores.detach(), aux), seen[0].detach(), _stacked(scores, each)


class _HostFunction(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, host: Any, *inputs: Any) -> Any:
        ctx.host = host
        ctx.save_for_backward(*inputs)
        return torch.from_numpy(host.call(*map(to_host, inputs))).to(inputs[0].device)

    @staticmethod
    def backward(ctx: Any, *cotangents: Any) -> Any:
        inputs = ctx.saved_tensors
        arrays = map(to_host, (*cotangents, *inputs))
        found = iter(ctx.host.pull(1, np.int32(-1), *arrays))
        each = [torch.from_numpy(next(found)) if x.is_floating_point() else None for x in inputs]
        pairs = zip(each, inputs, strict=True)
        return None, *(g if g is None else g.to(x.device) for g, x in pairs)


def host_function(host: Any, inputs: list[Any], shape: tuple[int, ...]) -> Any:
    """What ``host.call(*arrays)`` computes on the host, float32 of this shape, with its gradient.

    ``host.pull(pulls, number, cotangent, *arrays)`` gives the gradient for each float input; the
    number is here always -1, that of no forward pass which was kept.
    """
    del shape
    return _HostFunction.apply(host, *inputs)


def to_device(array: np.ndarray, device: Any = None) -> Any:
    """A tensor of the framework that shares no memory with ``array``."""
    with torch.inference_mode(False):
        return torch.tensor(array, device=device or _default_device())


def _default_device() -> Any:
    placed: Any = keras.ops.convert_to_tensor(0.0)
    return placed.device


def to_host(tensor: Any) -> np.ndarray:
    """A NumPy array of ``tensor``."""
    if isinstance(tensor, np.ndarray):
        return tensor
    tensor = tensor.detach().cpu()
    return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()


def devices() -> list[str]:
    """The devices that this framework can use."""
    found = [f"cuda:{k}" for k in range(torch.cuda.device_count())]
    return ["cpu", *found, *(["mps"] if torch.backends.mps.is_available() else [])]
