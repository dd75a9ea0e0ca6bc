"""Small nets around a rectifier in all its forms, and NumPy versions of gradients through them."""

import keras
import numpy as np
from keras import layers, ops

import tiny_models
from tiny_models import BACKEND

W = np.array([[1.0, -1.0], [-1.0, 1.0]])
V = np.array([[1.0, -1.0], [1.0, 1.0]])
"""One column per output: v = (1, 1) and v = (-1, 1) of T11."""
X = np.array([[2, 1], [7, 0], [5, 0], [0.3, 0], [1, 2]], "float32")
"""Behind W: 1, 7 (above the cap of 6), 5 (above that of 4), 0.3 (below the threshold)."""


def _plain(a):
    return np.where(a > 0, a, 0.0)


FUNCTIONS = {
    "plain": _plain,
    "capped at 6": lambda a: np.clip(a, 0, 6),
    "capped at 4": lambda a: np.clip(a, 0, 4),
    "above 0.5": lambda a: np.where(a > 0.5, a, 0.0),
    "leaky": lambda a: np.where(a > 0, a, 0.25 * a),
}
SLOPES = {
    "plain": lambda a: 1.0 * (a > 0),
    "capped at 6": lambda a: 1.0 * ((a > 0) & (a < 6)),
    "capped at 4": lambda a: 1.0 * ((a > 0) & (a < 4)),
    "above 0.5": lambda a: 1.0 * (a > 0.5),
    "leaky": lambda a: np.where(a > 0, 1.0, 0.25),
}
PASSES = {
    "Saliency": lambda upstream, slope: upstream * slope,
    "GuidedBackprop": lambda upstream, slope: slope * (upstream > 0) * upstream,
    "DeconvNet": lambda upstream, slope: (upstream > 0) * upstream,
}


def rectified(method, form, x=X, kernels=(W, V)):
    """What a method gives for each output: (outputs, N, features), one rectifier per kernel."""
    inside, a = [], np.asarray(x, float)
    for kernel in kernels[:-1]:
        inside.append(a @ kernel)
        a = FUNCTIONS[form](inside[-1])
    maps = []
    for column in kernels[-1].T:
        upstream = np.broadcast_to(column, a.shape)
        for kernel, before in zip(kernels[-2::-1], inside[::-1], strict=True):
            upstream = PASSES[method](upstream, SLOPES[form](before)) @ kernel.T
        maps.append(upstream)
    return np.stack(maps)


def _prelu():
    return layers.PReLU(alpha_initializer=keras.initializers.Constant(0.25))


KERAS = {
    "ReLU": (lambda: layers.ReLU(), "plain"),
    "ReLU(6)": (lambda: layers.ReLU(6.0), "capped at 6"),
    "ReLU(4)": (lambda: layers.ReLU(4.0), "capped at 4"),
    "ReLU(threshold)": (lambda: layers.ReLU(threshold=0.5), "above 0.5"),
    "ReLU(negative_slope)": (lambda: layers.ReLU(negative_slope=0.25), "leaky"),
    "LeakyReLU": (lambda: layers.LeakyReLU(negative_slope=0.25), "leaky"),
    "PReLU": (_prelu, "leaky"),
    "Activation": (lambda: layers.Activation("relu"), "plain"),
    "ops.relu": (lambda: ops.relu, "plain"),
    "ops.relu6": (lambda: ops.relu6, "capped at 6"),
    "ops.leaky_relu": (lambda: lambda h: ops.leaky_relu(h, 0.25), "leaky"),
    "ops.maximum": (lambda: lambda h: ops.maximum(h, 0.0), "plain"),
    "ops.maximum, 0 first": (lambda: lambda h: ops.maximum(0, h), "plain"),
    "ops.threshold": (lambda: lambda h: ops.threshold(h, 0.5, 0.0), "above 0.5"),
    "ops.vectorized_map": (lambda: lambda h: ops.vectorized_map(ops.relu, h), "plain"),
    "ops.clip": (lambda: lambda h: ops.clip(h, 0, 6), "capped at 6"),
    "ops.clip with names": (lambda: lambda h: ops.clip(h, x_min=0.0, x_max=6.0), "capped at 6"),
}
"""What makes a rectifier, and which of the functions above it is."""


def net(make, form="flat"):
    """W, the rectifier and V as a flat, nested or subclassed model."""
    first, last = layers.Dense(2, use_bias=False), layers.Dense(2, use_bias=False)
    act = make()
    parts = [first, *([act] if isinstance(act, layers.Layer) else []), last]
    made = tiny_models.closed_form(form, (2,), lambda x: last(act(first(x))), parts)
    first.set_weights([W])
    last.set_weights([V])
    return made


def with_relu_inside():
    """The rectifier as the activation of a Dense layer."""
    made = keras.Sequential(
        [
            keras.Input((2,)),
            layers.Dense(2, use_bias=False, activation="relu"),
            layers.Dense(2, use_bias=False),
        ]
    )
    made.set_weights([W, V])
    return made


def shared():
    """One ReLU layer that is called twice."""
    relu = layers.ReLU()
    first, second = (layers.Dense(2, use_bias=False) for _ in range(2))
    last = layers.Dense(2, use_bias=False)
    inside = keras.Input((2,))
    made = keras.Model(inside, last(relu(second(relu(first(inside))))))
    made.set_weights([W, SECOND, V])
    return made


SECOND = np.array([[1.0, 0.5], [-2.0, 1.0]])


def compiled(function):
    """The function as its framework compiles it."""
    if BACKEND == "jax":
        import jax

        return jax.jit(function)
    if BACKEND == "tensorflow":
        import tensorflow

        return tensorflow.function(function)
    import torch

    return torch.compile(function, backend="eager")


class Compiled(keras.Model):
    """W, a rectifier in a helper that is compiled once and for all, and V, beside another ReLU."""

    def __init__(self, change):
        super().__init__()
        self.first = layers.Dense(2, use_bias=False)
        self.last = layers.Dense(2, use_bias=False)
        self.change = change

    def call(self, x):
        return self.last(self.change(self.first(ops.relu(x))))


def with_helper(change):
    """A subclassed model around W, a helper and V, whose first ReLU is on everywhere."""
    made = Compiled(change)
    made(X)
    made.set_weights([W, V])
    return made


# --- torch --------------------------------------------------------------------------------------


def _torch_forms():
    import torch
    from torch import nn
    from torch.nn import functional

    def in_place(function):
        def call(h):
            function(h)
            return h

        return call

    return {
        "nn.ReLU": (nn.ReLU(), "plain"),
        "nn.ReLU in place": (nn.ReLU(inplace=True), "plain"),
        "nn.ReLU6": (nn.ReLU6(), "capped at 6"),
        "nn.ReLU6 in place": (nn.ReLU6(inplace=True), "capped at 6"),
        "F.relu": (functional.relu, "plain"),
        "F.relu in place": (in_place(lambda h: functional.relu(h, inplace=True)), "plain"),
        "torch.relu": (torch.relu, "plain"),
        "x.relu": (lambda h: h.relu(), "plain"),
        "x.relu_": (in_place(lambda h: h.relu_()), "plain"),
        "torch.relu_": (in_place(torch.relu_), "plain"),
        "x.clamp": (lambda h: h.clamp(min=0), "plain"),
        "x.clamp by position": (lambda h: h.clamp(0, 6), "capped at 6"),
        "x.clamp_": (in_place(lambda h: h.clamp_(0, 6)), "capped at 6"),
        "x.clamp_min": (lambda h: h.clamp_min(0), "plain"),
        "torch.clip": (lambda h: torch.clip(h, 0, 6), "capped at 6"),
        "nn.Hardtanh": (nn.Hardtanh(0, 6), "capped at 6"),
        "F.hardtanh": (lambda h: functional.hardtanh(h, 0.0, 6.0), "capped at 6"),
        "nn.Threshold": (nn.Threshold(0, 0), "plain"),
        "nn.Threshold in place": (nn.Threshold(0.5, 0, inplace=True), "above 0.5"),
        "F.threshold_": (in_place(lambda h: functional.threshold_(h, 0.5, 0.0)), "above 0.5"),
        "torch.relu with a name": (lambda h: torch.relu(input=h), "plain"),
        "torch.clamp with names": (lambda h: torch.clamp(input=h, min=0), "plain"),
        "torch.ops": (torch.ops.aten.relu.default, "plain"),
        "nn.LeakyReLU": (nn.LeakyReLU(0.25), "leaky"),
        "nn.LeakyReLU in place": (nn.LeakyReLU(0.25, inplace=True), "leaky"),
        "nn.PReLU": (nn.PReLU(init=0.25), "leaky"),
    }


TORCH = _torch_forms() if BACKEND == "torch" else {}


def torch_net(act):
    """W, the rectifier and V as a torch module."""
    from torch import nn

    first, last = (nn.Linear(2, 2, bias=False) for _ in range(2))
    parts = {"first": first, "last": last}
    if isinstance(act, nn.Module):
        parts["act"] = act
    made = tiny_models.torch_closed_form(lambda m, x: m.last(act(m.first(x))), **parts)
    tiny_models.torch_part(first, W.T)
    tiny_models.torch_part(last, V.T)
    return made


# --- functions of JAX ---------------------------------------------------------------------------


def _jax_forms():
    import jax
    import jax.numpy as jnp

    @jax.custom_vjp
    def own(h):
        return jax.nn.relu(h)

    own.defvjp(lambda h: (jax.nn.relu(h), h), lambda h, u: (u * (h > 0),))

    zero = jnp.array(0.0)

    def scanned(h):
        return jax.lax.scan(lambda carry, _: (jax.nn.relu(carry), None), h, None, length=2)[0]

    def chosen(h):
        return jax.lax.cond(h.sum() > -1e9, jax.nn.relu, lambda h: 2 * h, h)

    return {
        "jax.nn.relu": (jax.nn.relu, "plain"),
        "jax.nn.relu6": (jax.nn.relu6, "capped at 6"),
        "jax.nn.leaky_relu": (lambda h: jax.nn.leaky_relu(h, 0.25), "leaky"),
        "jnp.maximum": (lambda h: jnp.maximum(h, 0), "plain"),
        "jnp.maximum, 0 first": (lambda h: jnp.maximum(0.0, h), "plain"),
        "jnp.clip": (lambda h: jnp.clip(h, 0, 6), "capped at 6"),
        "jnp.clip with names": (lambda h: jnp.clip(h, min=0.0, max=6.0), "capped at 6"),
        "jnp.clip from below": (lambda h: jnp.clip(h, min=0.0), "plain"),
        "lax.clamp": (lambda h: jax.lax.clamp(0.0, h, 6.0), "capped at 6"),
        "jnp.maximum of a zero from outside": (lambda h: jnp.maximum(h, zero), "plain"),
        "inside jit": (jax.jit(lambda h: jax.nn.relu(1.0 * h)), "plain"),
        "inside checkpoint": (jax.checkpoint(lambda h: jax.nn.relu(1.0 * h)), "plain"),
        "inside scan": (scanned, "plain"),
        "inside cond": (chosen, "plain"),
        "inside custom_vjp": (own, "plain"),
        "inside vmap": (jax.vmap(jax.nn.relu), "plain"),
    }


JAX = _jax_forms() if BACKEND == "jax" else {}


def jax_net(act):
    """W, the rectifier and V as a function of JAX."""
    from xai_core.wrappers import JaxFunction

    return JaxFunction(lambda p, x: act(x @ p[0]) @ p[1], [np.float32(W), np.float32(V)])


def jax_where():
    """The rectifier written by hand, which nobody recognises."""
    import jax.numpy as jnp

    return jax_net(lambda h: jnp.where(h > 0, h, 0))


def every():
    """Name, model and function of each net of this backend."""
    for name, (make, form) in KERAS.items():
        yield f"Keras {name}", lambda make=make: net(make), form
    for name, (act, form) in TORCH.items():
        yield f"torch {name}", lambda act=act: torch_net(act), form
    for name, (act, form) in JAX.items():
        yield f"JAX {name}", lambda act=act: jax_net(act), form


EVERY = list(every())
