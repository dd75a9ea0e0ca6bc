"""The shim on TensorFlow: graphs without autograph, one trace for every number of rows."""

import contextlib
import functools
import platform
import threading
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any

import numpy as np
import tensorflow as tf

EAGER = False
FIXED_SHAPES = False
STATE_AS_ARGUMENT = False

# Apple's plug-in for GPUs has no XLA.
_XLA = platform.system() != "Darwin" or not tf.config.list_physical_devices("GPU")
_ZERO = tf.UnconnectedGradients.ZERO

_RECORDS: ContextVar[bool] = ContextVar("records", default=False)
"""Whether gradients of what is computed now will be asked for, and then how many."""
_INLINE: list[bool] = []
"""What the switch was when each block of `uncompiled` began that runs now."""
_INLINE_LOCK = threading.Lock()
_PULLS: ContextVar[int] = ContextVar("pulls", default=1)


@contextlib.contextmanager
def _within(variable: ContextVar[Any], value: Any) -> Iterator[None]:
    token = variable.set(value)
    try:
        yield
    finally:
        variable.reset(token)


def jit(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile ``function(state, *arguments)`` once for every number of rows."""
    traces: dict[Any, Callable[..., Any]] = {}

    def spec(tensor: Any) -> Any:
        shape = [] if tensor.shape.rank == 0 else [None, *tensor.shape[1:]]
        return tf.TensorSpec(shape, tensor.dtype)

    def call(*arguments: Any) -> Any:
        specs = tf.nest.map_structure(spec, arguments)
        key = repr(specs)
        if key not in traces:
            # TensorFlow warns of retracing when it meets the same code object often; every step
            # has this one, but a partial has none.
            own = functools.partial(function)
            compiled = tf.function(own, input_signature=specs, autograph=False)
            # Concrete, so that it stays compiled while another thread is within `uncompiled`.
            traces[key] = compiled.get_concrete_function()
        return traces[key](*arguments)

    return call


@contextlib.contextmanager
def uncompiled(inline: bool = True) -> Iterator[None]:
    """Within the block, functions that somebody compiled run as they are written.

    What is traced while operations are exchanged would else stay in the cache of those functions.
    With ``inline=False`` nothing changes: TensorFlow's loops are compiled all the same.
    """
    if not inline:
        yield
        return
    # The switch is that of all threads: the last block that ends restores it.
    with _INLINE_LOCK:
        _INLINE.append(tf.config.functions_run_eagerly())
        tf.config.run_functions_eagerly(True)
    try:
        yield
    except tf.errors.OperatorNotAllowedInGraphError as error:
        raise ValueError(
            "`model` must decide nothing in Python by the values of tensors where its operations "
            "are watched. Received: a branch or a loop that AutoGraph would rewrite. Choose with "
            "keras.ops.where."
        ) from error
    finally:
        with _INLINE_LOCK:
            # All but the first have found it switched by another.
            tf.config.run_functions_eagerly(_INLINE[0] or len(_INLINE) > 1)
            del _INLINE[-1]


def fused(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call ``function`` on tensors as one kernel, within a compiled step.

    XLA makes one pass over memory of many small operations, for each number of rows anew. Never
    for a model, whose compilation takes long.
    """
    if not (_XLA and tf.inside_function()):
        return function(*arguments)
    return tf.function(functools.partial(function), autograph=False, jit_compile=True)(*arguments)


def segment_sum(values: Any, segments: Any, count: int) -> Any:
    """Sums of the rows of ``values`` with the same number in ``segments``, below ``count``."""
    return tf.math.unsorted_segment_sum(values, segments, count)


def no_grad() -> contextlib.AbstractContextManager[None]:
    """Record nothing for gradients; TensorFlow records only under a tape."""
    return contextlib.nullcontext()


def recording() -> contextlib.AbstractContextManager[Any]:
    """Record what is computed for gradients, in a block without any."""
    return tf.GradientTape()


def records() -> bool:
    """Whether gradients pass back what is computed now: not so inside `tf.recompute_grad`."""
    with tf.GradientTape() as tape:
        x = tf.zeros(())
        tape.watch(x)
        same = tf.identity(x)
    return tape.gradient(same, x) is not None


def dry_run(function: Callable[..., Any], *arguments: Any) -> Any:
    """Run ``function`` for its side effects and shapes: traced, as the steps are.

    Eager loops of recurrent layers call their parts once for each time step, a trace only once.
    """
    traced = tf.function(functools.partial(function), autograph=False)
    return traced.get_concrete_function(*arguments).structured_outputs


def trace() -> Any:
    """What records operations now: something else inside of branches and loops."""
    return tf.compat.v1.get_default_graph()


def _columns(scores: Any) -> list[Any]:
    if scores.shape.rank == 1 or scores.shape[1] == 1:
        return [scores]
    return tf.unstack(scores, axis=1)


def _stacked(scores: Any, gradients: list[Any]) -> Any:
    if scores.shape.rank == 1:
        return gradients[0]
    if len(gradients) == 1:
        return tf.nest.map_structure(lambda g: None if g is None else g[:, None], gradients[0])
    return tf.nest.map_structure(
        lambda *g: None if g[0] is None else tf.stack(g, axis=1), *gradients
    )


def value_and_grad(
    function: Callable[[Any], Any],
    x: Any,
    finish: Callable[[Any], Any] | None = None,
    create_graph: bool = False,
    has_aux: bool = False,
) -> tuple[Any, Any]:
    """Scores and their gradients with respect to the float leaves of ``x`` (others: None).

    ``finish`` maps the gradients of one target, before those of the next are computed.
    ``create_graph`` makes the result differentiable again, which an outer tape always does.
    With ``has_aux`` the function returns (scores, aux), and so does this as the first value.
    """
    del create_graph
    floats = [leaf for leaf in tf.nest.flatten(x) if leaf.dtype.is_floating]
    with tf.GradientTape(persistent=True, watch_accessed_variables=False) as tape:
        tape.watch(floats)
        with _within(_RECORDS, True):
            result = function(x)
        scores = result[0] if has_aux else result
        columns = _columns(scores)

    def gradient(column: Any) -> Any:
        found = iter(tape.gradient(column, floats, unconnected_gradients=_ZERO))
        gradients = tf.nest.map_structure(
            lambda leaf: next(found) if leaf.dtype.is_floating else None, x
        )
        return gradients if finish is None else finish(gradients)

    with _within(_PULLS, len(columns)):
        return result, _stacked(scores, [gradient(column) for column in columns])


def jvp(function: Callable[..., Any], x: list[Any], direction: list[Any]) -> Any:
    """The derivative of ``function(*x)`` along ``direction``."""
    with tf.autodiff.ForwardAccumulator(x, direction) as accumulator:
        value = function(*x)
    return accumulator.jvp(value, unconnected_gradients=_ZERO)


def override_gradient(x: Any, pull: Callable[[Any], Any]) -> Any:
    """``x`` as it is, through which a gradient ``u`` goes back as ``pull(u)``."""
    return tf.custom_gradient(lambda x: (tf.identity(x), pull))(x)


def activation_and_grad(
    function: Callable[[Any], tuple[Any, Any]],
    tap: Callable[[Callable[[Any], Any]], contextlib.AbstractContextManager[Any]],
    x: Any,
) -> tuple[tuple[Any, Any], Any, Any]:
    """(scores, aux), the tapped output, and the scores' gradients with respect to it.

    One pass, with nothing computed backwards below the tapped output.
    """
    seen = []
    with tf.GradientTape(persistent=True, watch_accessed_variables=False) as tape:

        def watch(output: Any) -> Any:
            # A layer that returns its input would else share its gradient with other paths.
            output = tf.identity(output)
            tape.watch(output)
            seen.append(output)
            _RECORDS.set(True)  # `_within` also restores what is changed here
            return output

        with _within(_RECORDS, False), tap(watch):
            scores, aux = function(x)
        columns = _columns(scores)
    with _within(_PULLS, len(columns)):
        gradients = [tape.gradient(one, seen[0], unconnected_gradients=_ZERO) for one in columns]
    return (scores, aux), seen[0], _stacked(scores, gradients)


def host_function(host: Any, inputs: list[Any], shape: tuple[int, ...]) -> Any:
    """What ``host.call(*arrays)`` computes on the host, float32 of this shape, with its gradient.

    Where a gradient follows, ``host.start(*arrays)`` also gives a number, with which
    ``host.pull(pulls, number, cotangent, *arrays)`` gives the gradient for each float input,
    ``pulls`` times. All are called while compiled steps run, so they may hold a model only weakly.
    """

    @tf.custom_gradient
    def function(*inputs: Any) -> Any:
        if _RECORDS.get():
            result, started = tf.numpy_function(host.start, inputs, [tf.float32, tf.int32])
        else:
            result, started = tf.numpy_function(host.call, inputs, tf.float32), tf.constant(-1)
        result.set_shape(shape)
        floats = [x for x in inputs if x.dtype.is_floating]

        def backward(cotangent: Any) -> list[Any]:
            pull = functools.partial(host.pull, _PULLS.get())
            dtypes = [x.dtype for x in floats]
            found = tf.numpy_function(pull, [started, cotangent, *inputs], dtypes)
            for gradient, x in zip(found, floats, strict=True):
                gradient.set_shape(x.shape)
            left = iter(found)
            return [next(left) if x.dtype.is_floating else None for x in inputs]

        return result, backward

    return function(*inputs)


def to_device(array: np.ndarray, device: Any = None) -> Any:
    """A tensor of the framework that shares no memory with ``array``."""
    with tf.device(device) if device else contextlib.nullcontext():
        return tf.constant(array)


def to_host(tensor: Any) -> np.ndarray:
    """A NumPy array of ``tensor``."""
    return np.asarray(tensor)


def devices() -> list[str]:
    """The devices that this framework can use."""
    return [device.name for device in tf.config.list_logical_devices()]
