"""The activations that are found in the trace of a function of JAX, wherever they stand."""

import numpy as np
import pytest

from tiny_models import BACKEND

if BACKEND != "jax":
    pytest.skip("functions of JAX", allow_module_level=True)

import jax
import jax.numpy as jnp

from xai_core.operations import RECTIFIER
from xai_core.wrappers.jax_operations import handled

X = np.linspace(-2, 2, 8, dtype="float32").reshape(2, 4)


def seen(function, *arrays):
    """Names of the activations that a function runs; values and gradients are as before."""
    names = []

    def handler(operation):
        names.append(operation.name)
        return operation.result

    given = arrays or (X,)
    np.testing.assert_array_equal(handled(handler, function, *given), function(*given))
    found = list(names)

    def total(run):
        return lambda *own: jnp.sum(jnp.sin(run(*own)))

    expected = jax.grad(total(function))(*given)
    own = jax.grad(total(lambda *x: handled(handler, function, *x)))(*given)
    np.testing.assert_allclose(own, expected, atol=1e-6)
    return found


@jax.custom_vjp
def own_rule(x):
    return jax.nn.relu(x)


own_rule.defvjp(lambda x: (jax.nn.relu(x), x), lambda x, u: (u * (x > 0),))


ZERO = jnp.array(0.0)


def relu(x):
    """Somebody's own function of the name."""
    return jnp.tanh(x)


def softmax(x):
    """Somebody's own function of the name."""
    return jax.nn.relu(x)


def looped(x):
    return jax.lax.scan(lambda c, w: (jax.nn.relu(c + w), c), x, jnp.ones((3, 4)))[0]


def chosen(x):
    return jax.lax.cond(x.sum() > 100, jax.nn.relu, lambda x: jax.nn.relu(x) + 1, x)


@pytest.mark.parametrize(
    ("names", "function"),
    [
        ([RECTIFIER], jax.nn.relu),
        ([RECTIFIER], jax.nn.relu6),
        ([RECTIFIER], jax.nn.leaky_relu),
        ([RECTIFIER], lambda x: jnp.maximum(0, x)),
        ([RECTIFIER], lambda x: jnp.clip(x, 0, 1)),
        ([RECTIFIER], jax.jit(jax.nn.relu)),
        ([RECTIFIER], jax.checkpoint(lambda x: jax.nn.relu(2 * x))),
        ([RECTIFIER], looped),
        ([RECTIFIER, RECTIFIER], chosen),
        ([RECTIFIER], own_rule),
        (["tanh", RECTIFIER], lambda x: jax.nn.relu(jnp.tanh(x))),
        (["silu"], jax.nn.silu),
        (["softplus"], jax.nn.softplus),
        (["sigmoid"], jax.nn.sigmoid),
        (["clip"], lambda x: jnp.clip(x, -1, 1)),
        ([RECTIFIER], lambda x: jnp.clip(x, min=0.0, max=6.0)),
        ([RECTIFIER], lambda x: jax.lax.clamp(0.0, x, 1.0)),
        (["clip"], lambda x: jax.lax.clamp(-1.0, x, 0.0)),
        (["clip"], lambda x: jnp.clip(x, max=0.0)),
        (["clip"], lambda x: jnp.clip(x, min=-1.0, max=0.0)),
        ([RECTIFIER], lambda x: jnp.maximum(x, ZERO)),
        ([RECTIFIER], jax.jit(lambda x: jnp.maximum(x, ZERO))),
        ([RECTIFIER], lambda x: jax.jit(jnp.maximum)(x, 0.0)),
        (["clip"], jax.jit(lambda x: jnp.maximum(x, ZERO + 1))),
        (["maximum"], lambda x: jnp.maximum(x, jnp.zeros_like(x))),
        (["minimum"], lambda x: jnp.minimum(x, 2 * x)),
        (["sin", "exp"], lambda x: jnp.exp(jnp.sin(x))),
        (["sin"], jax.jit(jnp.sin)),
        ([], jax.nn.softmax),
        (["tanh"], jax.jit(relu)),
        ([RECTIFIER], jax.jit(softmax)),
        ([], lambda x: x * jnp.maximum(jnp.arange(4), 2)),
        (["where"], lambda x: jnp.where(x > 0, x, 0)),
        (["where"], jax.jit(lambda x: jnp.where(2 * x < 1, 1, x))),
        (["where"], lambda x: jax.lax.select(x > 0, x, -x)),
        ([], lambda x: jnp.where(jnp.arange(4) > 2, x, 0)),
        ([], lambda x: jnp.where(x[0, 0] < 0, x, 0)),
        (["absolute", "sign"], lambda x: abs(x) * jnp.sign(x)),
        (["clip"], lambda x: jnp.maximum(x, 1)),
        ([], lambda x: jnp.sort(x, axis=1) @ X.T),
    ],
)
def test_activations_are_found(names, function):
    assert seen(function) == names


def test_structures_pass():
    def function(params, x):
        return {"a": jax.nn.relu(x @ params["w"]), "b": (x,)}

    found = handled(lambda operation: 2 * operation.result, function, {"w": jnp.eye(4)}, X)
    np.testing.assert_allclose(found["a"], 2 * np.maximum(X, 0))
    np.testing.assert_array_equal(found["b"][0], X)


def test_derivatives_of_ones_own_are_kept_where_no_rectifier_is_inside():
    @jax.custom_vjp
    def doubled(x):
        return x

    doubled.defvjp(lambda x: (x, None), lambda _, u: (2 * u,))

    def total(x):
        return jnp.sum(handled(lambda operation: operation.result, lambda x: doubled(x), x))

    np.testing.assert_allclose(jax.grad(total)(X), 2)
