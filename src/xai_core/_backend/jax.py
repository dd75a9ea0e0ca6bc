"""The shim on JAX: everything is traced; weights are arguments, never constants of a trace."""

import contextlib
import functools
import itertools
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any

import jax
import jax.core
import jax.extend.core
import jax.numpy as jnp
import numpy as np
from jax.experimental.xla_metadata import set_xla_metadata

EAGER = False
FIXED_SHAPES = True  # a new shape compiles anew, so callers pad the last chunk
STATE_AS_ARGUMENT = True

_PULLS: ContextVar[int] = ContextVar("pulls", default=1)
"""How many gradients of one forward pass are asked for."""
_BLOCKS = itertools.count()


def jit(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile ``function(state, *arguments)``."""
    return jax.jit(function)


@contextlib.contextmanager
def uncompiled(inline: bool = True) -> Iterator[None]:
    """Within the block, functions that somebody compiled run as they are written.

    What is traced while operations are exchanged would else stay in the cache of those functions.
    With ``inline=False`` they are compiled all the same, as long loops should be.
    """
    # Checkpoints and branches are traced in any case, and kept by what marks their operations.
    mark = str(next(_BLOCKS)) if inline else None
    with jax.disable_jit(inline), set_xla_metadata(xai_core=mark):
        yield


def fused(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call ``function`` on tensors as one kernel; a compiled step is one already."""
    return function(*arguments)


def segment_sum(values: Any, segments: Any, count: int) -> Any:
    """Sums of the rows of ``values`` with the same number in ``segments``, below ``count``."""
    return jax.ops.segment_sum(values, segments, num_segments=count)


def no_grad() -> contextlib.AbstractContextManager[None]:
    """Record nothing for gradients; JAX never does."""
    return contextlib.nullcontext()


def recording() -> contextlib.AbstractContextManager[Any]:
    """Record what is computed for gradients, in a block without any; JAX needs not."""
    return contextlib.nullcontext()


def records() -> bool:
    """Whether gradients pass back what is computed now, as in JAX they always do."""
    return True


def dry_run(function: Callable[..., Any], *arguments: Any) -> Any:
    """Run ``function`` for its side effects and shapes: on JAX without computing anything."""
    return jax.eval_shape(function, *arguments)


def trace() -> Any:
    """What records operations now: something else inside of branches and loops."""
    # Older versions of JAX have it elsewhere.
    home = jax.extend.core if hasattr(jax.extend.core, "get_opaque_trace_state") else jax.core
    return home.get_opaque_trace_state()


def _split(x: Any) -> tuple[list[Any], Callable[[Any], Any], Callable[[Any], Any]]:
    leaves, tree = jax.tree.flatten(x)
    float_at = [k for k, leaf in enumerate(leaves) if jnp.issubdtype(leaf.dtype, jnp.floating)]

    def merge(floats: Any, rest: list[Any]) -> Any:
        merged = list(rest)
        for k, leaf in zip(float_at, floats, strict=True):
            merged[k] = leaf
        return jax.tree.unflatten(tree, merged)

    floats = [leaves[k] for k in float_at]
    empty = [None] * len(leaves)
    return floats, lambda z: merge(z, leaves), lambda g: merge(g, empty)


def _pulled(scores: Any, pull: Callable[[Any], Any]) -> Any:
    if scores.ndim == 1:
        return pull(jnp.ones_like(scores))
    targets = scores.shape[1]
    if targets == 1:
        return jax.tree.map(lambda g: g[:, None], pull(jnp.ones_like(scores)))
    columns = jnp.eye(targets, dtype=scores.dtype)
    token = _PULLS.set(targets)
    try:
        each = jax.lax.map(lambda column: pull(jnp.broadcast_to(column, scores.shape)), columns)
    finally:
        _PULLS.reset(token)
    return jax.tree.map(lambda g: jnp.moveaxis(g, 0, 1), each)


def value_and_grad(
    function: Callable[[Any], Any],
    x: Any,
    finish: Callable[[Any], Any] | None = None,
    create_graph: bool = False,
    has_aux: bool = False,
) -> tuple[Any, Any]:
    """Scores and their gradients with respect to the float leaves of ``x`` (others: None).

    ``finish`` maps the gradients of one target, before those of the next are computed.
    ``create_graph`` makes the result differentiable again, which JAX's results always are.
    With ``has_aux`` the function returns (scores, aux), and so does this as the first value.
    """
    del create_graph
    floats, with_inputs, with_none = _split(x)
    pair = function if has_aux else lambda z: (function(z), None)
    scores, pullback, aux = jax.vjp(lambda z: pair(with_inputs(z)), floats, has_aux=True)

    def pull(cotangent: Any) -> Any:
        gradients = with_none(pullback(cotangent)[0])
        return gradients if finish is None else finish(gradients)

    return (scores, aux) if has_aux else scores, _pulled(scores, pull)


def jvp(function: Callable[..., Any], x: list[Any], direction: list[Any]) -> Any:
    """The derivative of ``function(*x)`` along ``direction``."""
    return jax.jvp(function, x, direction)[1]


def override_gradient(x: Any, pull: Callable[[Any], Any]) -> Any:
    """``x`` as it is, through which a gradient ``u`` goes back as ``pull(u)``."""
    passed = jax.custom_vjp(lambda x: x)
    passed.defvjp(lambda x: (x, None), lambda _, cotangent: (pull(cotangent),))
    return passed(x)


def activation_and_grad(
    function: Callable[[Any], tuple[Any, Any]],
    tap: Callable[[Callable[[Any], Any]], contextlib.AbstractContextManager[Any]],
    x: Any,
) -> tuple[tuple[Any, Any], Any, Any]:
    """(scores, aux), the tapped output, and the scores' gradients with respect to it.

    One pass, with nothing computed backwards below the tapped output.
    """

    def tapped(hook: Callable[[Any], Any], z: Any) -> tuple[Any, Any]:
        seen = []

        def record(output: Any) -> Any:
            seen.append(output)
            return hook(output)

        with tap(record):
            result = function(z)
        return result, seen[0]

    # A zero is added at the layer and differentiated, so that nothing flows back below it.
    shape = jax.eval_shape(lambda z: tapped(lambda output: output, z)[1], x)

    def with_added(added: Any) -> tuple[Any, Any]:
        (scores, aux), activation = tapped(lambda output: output + added, x)
        return scores, (aux, activation)

    zero = jnp.zeros(shape.shape, shape.dtype)
    scores, pullback, (aux, activation) = jax.vjp(with_added, zero, has_aux=True)
    return (scores, aux), activation, _pulled(scores, lambda cotangent: pullback(cotangent)[0])


def host_function(host: Any, inputs: list[Any], shape: tuple[int, ...]) -> Any:
    """What ``host.call(*arrays)`` computes on the host, float32 of this shape, with its gradient.

    Where a gradient follows, ``host.start(*arrays)`` also gives a number, with which
    ``host.pull(pulls, number, cotangent, *arrays)`` gives the gradient for each float input,
    ``pulls`` times. All are called while compiled steps run, so they may hold a model only weakly.
    """
    result, number = jax.ShapeDtypeStruct(shape, "float32"), jax.ShapeDtypeStruct((), "int32")

    @jax.custom_vjp
    def function(*inputs: Any) -> Any:
        return _on_host(lambda *arrays: [host.call(*arrays)], [result], inputs)[0]

    def forward(*inputs: Any) -> tuple[Any, Any]:
        found, started = _on_host(host.start, [result, number], inputs)
        return found, (started, inputs)

    def backward(kept: tuple[Any, tuple[Any, ...]], cotangent: Any) -> tuple[Any, ...]:
        started, inputs = kept
        floats, _, with_rest = _split(inputs)
        like = [jax.ShapeDtypeStruct(x.shape, x.dtype) for x in floats]
        pull = functools.partial(host.pull, _PULLS.get())
        return with_rest(_on_host(pull, like, (started, cotangent, *inputs)))

    function.defvjp(forward, backward)
    return function(*inputs)


def _on_host(call: Callable[..., Any], like: list[Any], inputs: tuple[Any, ...]) -> list[Any]:
    """The arrays that ``call(*arrays)`` returns while a compiled step runs."""
    from jax.experimental.buffer_callback import buffer_callback

    def filled(_context: Any, results: list[Any], *buffers: Any) -> None:
        for result, array in zip(results, call(*map(np.asarray, buffers)), strict=True):
            np.copyto(np.asarray(result), array)

    # On the CPU `pure_callback` waits for copies that the threads make which such calls block:
    # as many calls at once as there are cores would wait forever.
    return jax.lax.platform_dependent(
        *inputs,
        cpu=buffer_callback(filled, like, vmap_method="sequential"),
        default=lambda *x: jax.pure_callback(call, like, *x, vmap_method="sequential"),
    )


def to_device(array: np.ndarray, device: Any = None) -> Any:
    """A tensor of the framework that shares no memory with ``array``."""
    return jax.device_put(jnp.array(array), device)


def to_host(tensor: Any) -> np.ndarray:
    """A NumPy array of ``tensor``."""
    return np.asarray(tensor)


def devices() -> list[str]:
    """The devices that this framework can use."""
    return [str(device) for device in jax.devices()]
