"""`JaxFunction`: parameters that are read at each call, and functions of the usual libraries."""

import functools
import gc
import weakref
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import pytest

import oracles
import tiny_models
from cases import TARGETS
from oracles import assert_same
from tiny_models import BACKEND, KINDS

if BACKEND != "jax":
    pytest.skip(f"functions of JAX are explained under jax, not {BACKEND}", allow_module_level=True)

import jax
import jax.numpy as jnp

import xai_core as xai
from xai_core.attributions import GradCAM, IntegratedGradients, Occlusion, Saliency
from xai_core.wrappers import JaxFunction

X, IMAGES = KINDS["table"].inputs(), KINDS["image"].inputs()
TRACES = []


def parameters(seed=0, hidden=5, classes=3):
    rng = np.random.default_rng(seed)
    shapes = {"w": (4, hidden), "v": (hidden, classes)}
    return {name: jnp.asarray(rng.normal(size=shape), "float32") for name, shape in shapes.items()}


def network(params, x):
    """A small network with tanh, which counts its traces."""
    TRACES.append(tuple(x.shape))
    return jnp.tanh(x @ params["w"]) @ params["v"]


def slopes(model, targets=1):
    return Saliency(model, absolute=False)(X, targets).values


def expected(params, target=1):
    w, v = (np.asarray(params[name], float) for name in ("w", "v"))
    return (1 - np.tanh(X.astype(float) @ w) ** 2) * v[:, target] @ w.T


# --- parameters ---------------------------------------------------------------------------------


def test_gradients_have_their_closed_form():
    params = parameters()
    assert_same(slopes(JaxFunction(network, params)), expected(params))
    path = IntegratedGradients(JaxFunction(network, params))(X, TARGETS)
    np.testing.assert_allclose(path.completeness_gap, 0, atol=1e-3)


def test_other_values_compile_nothing_and_are_never_stale():
    params = parameters()
    model = JaxFunction(network, params)
    slopes(model)
    before = len(TRACES)
    params["w"] = params["w"] * 0.5
    assert_same(slopes(model), expected(params))
    other = parameters(7)
    assert_same(slopes(JaxFunction(network, other)), expected(other))
    assert len(TRACES) == before


def test_arrays_of_numpy_that_are_changed_in_place():
    params = {name: np.array(values) for name, values in parameters().items()}
    model = JaxFunction(network, params)
    slopes(model)
    before = len(TRACES)
    params["w"] *= 0.5
    assert_same(slopes(model), expected(params))
    assert len(TRACES) == before


def test_another_structure_of_the_parameters_compiles_anew():
    def f(params, x):
        outputs = network(params, x)
        return outputs + params["bias"] * x[:, :1] if "bias" in params else outputs

    params = parameters()
    model = JaxFunction(f, params)
    assert_same(slopes(model), expected(params))
    params["bias"] = 2.0
    assert_same(slopes(model), expected(params) + 2 * np.eye(4)[0])
    del params["bias"]
    assert_same(slopes(model), expected(params))


def test_other_shapes_of_the_parameters_are_another_model():
    params = parameters()
    model = JaxFunction(network, params)
    assert_same(slopes(model), expected(params))
    params.update(parameters(1, hidden=6, classes=5))
    assert_same(slopes(model, 4), expected(params, 4))
    assert len(Saliency(model).explain_each(X, "all")) == 5
    params.update(parameters(2, classes=2))
    with pytest.raises(ValueError, match="`targets`"):
        slopes(model, 4)


def test_numbers_are_values_and_other_leaves_are_constants():
    def f(params, x):
        TRACES.append(1)
        activation = {"tanh": jnp.tanh, "sine": jnp.sin}[params["name"]]
        squared = params["square"](x) if params["twice"] else x
        return params["scale"] * activation(squared)

    params = {"name": "tanh", "scale": 2.0, "square": jnp.square, "twice": False, "none": None}
    model = JaxFunction(f, params)
    column, wide = np.eye(4)[1], X.astype(float)
    assert_same(slopes(model), 2 * (1 - np.tanh(wide) ** 2) * column)
    before = len(TRACES)
    params["scale"] = -3.0
    assert_same(slopes(model), -3 * (1 - np.tanh(wide) ** 2) * column)
    assert len(TRACES) == before
    params["name"] = "sine"
    assert_same(slopes(model), -3 * np.cos(wide) * column)
    params["twice"] = True
    assert_same(slopes(model), -3 * np.cos(wide**2) * 2 * wide * column)
    params["square"] = jnp.abs
    assert_same(slopes(model), -3 * np.cos(np.abs(wide)) * np.sign(wide) * column)


def test_types_of_numbers_are_constants():
    params = {**parameters(), "dtype": jnp.bfloat16, "other": np.float32}

    def f(params, x):
        return network(params, x).astype(params["dtype"])

    assert_same(slopes(JaxFunction(f, params)), expected(params), 0.02)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_parameters_of_half_precision(dtype):
    params = {name: values.astype(dtype) for name, values in parameters().items()}
    values = slopes(JaxFunction(network, params))
    assert values.dtype == np.float32
    assert_same(values, expected(params), 0.05)


def test_parameters_of_a_compiled_function():
    params = parameters()
    for f in (jax.jit(network), jax.checkpoint(network), functools.partial(network)):
        assert_same(slopes(JaxFunction(f, params)), expected(params))


def test_key_arrays_and_integers_are_values():
    def f(params, x):
        noise = jax.random.normal(params["key"], x.shape)
        return (x + noise) ** params["power"]

    params = {"key": jax.random.key(3), "power": jnp.asarray(2)}
    noise = np.asarray(jax.random.normal(params["key"], (32, 4)))
    values = Saliency(JaxFunction(f, params), absolute=False)(X, 1).values
    other = 2 * (X + noise[:5]) * np.eye(4)[1]
    same_shape = 2 * (X + np.asarray(jax.random.normal(params["key"], (5, 4)))) * np.eye(4)[1]
    assert min(np.abs(values - one).max() for one in (other, same_shape)) < 1e-5


# --- functions as the usual libraries make them -------------------------------------------------


class FlaxLike:
    """A module whose variables are held outside: ``module.apply(variables, x)``."""

    def __init__(self, activation):
        self.activation = activation

    def __hash__(self):
        return hash(self.activation)

    def __eq__(self, other):
        return isinstance(other, FlaxLike) and self.activation is other.activation

    def apply(self, variables, x, mutable=False):
        assert not mutable
        TRACES.append(1)
        dense = variables["params"]["dense"]
        mean = variables["batch_stats"]["mean"]
        return self.activation((x - mean) @ dense["kernel"] + dense["bias"])


def test_module_with_variables_outside():
    module = FlaxLike(jnp.tanh)
    kernel, bias = jnp.asarray(np.arange(8.0).reshape(4, 2) / 9), jnp.asarray([0.1, -0.2])
    variables = {
        "params": {"dense": {"kernel": kernel, "bias": bias}},
        "batch_stats": {"mean": jnp.full(4, 0.5)},
    }
    for _ in range(2):
        hidden = np.tanh((X - 0.5).astype(float) @ np.asarray(kernel) + np.asarray(bias))
        values = slopes(JaxFunction(module.apply, variables))
        assert_same(values, (1 - hidden[:, 1:] ** 2) * np.asarray(kernel)[:, 1])
        count = len(TRACES)
    slopes(JaxFunction(module.apply, variables))
    assert len(TRACES) == count
    sine = FlaxLike(jnp.sin)
    inner = (X - 0.5).astype(float) @ np.asarray(kernel) + np.asarray(bias)
    values = slopes(JaxFunction(sine.apply, variables))
    assert_same(values, np.cos(inner[:, 1:]) * np.asarray(kernel)[:, 1])


@jax.tree_util.register_pytree_node_class
@dataclass
class EquinoxLike:
    """A network that is a pytree: arrays are its leaves, its activation is static."""

    weight: Any
    activation: Any = field(default=jnp.tanh)

    def __call__(self, x):
        return self.activation(self.weight @ x)

    def tree_flatten(self):
        return (self.weight,), self.activation

    @classmethod
    def tree_unflatten(cls, activation, children):
        return cls(*children, activation)


def batched(net, x):
    TRACES.append(1)
    return jax.vmap(net)(x)


def test_network_that_is_a_pytree():
    weight = np.random.default_rng(0).normal(size=(3, 4))
    net = EquinoxLike(jnp.asarray(weight, "float32"))
    inner = X.astype(float) @ weight[1]
    model = JaxFunction(batched, net)
    assert_same(slopes(model), (1 - np.tanh(inner) ** 2)[:, None] * weight[1])
    count = len(TRACES)
    net.weight = net.weight * 2
    assert_same(slopes(model), 2 * (1 - np.tanh(2 * inner) ** 2)[:, None] * weight[1])
    assert len(TRACES) == count
    net.activation = jnp.sin
    assert_same(slopes(model), 2 * np.cos(2 * inner)[:, None] * weight[1])
    assert_same(slopes(JaxFunction(jax.vmap(net))), slopes(model))


class Transformed(NamedTuple):
    """Two pure functions, as a library that transforms makes them."""

    init: Any
    apply: Any


def test_two_pure_functions():
    transformed = Transformed(
        lambda rng, x: {"linear": {"w": jax.random.normal(rng, (4, 3))}},
        lambda params, rng, x: jnp.tanh(x @ params["linear"]["w"]),
    )
    params = transformed.init(jax.random.PRNGKey(0), X)

    def f(params, x):
        return transformed.apply(params, None, x)

    weight = np.asarray(params["linear"]["w"], float)
    inner = X.astype(float) @ weight[:, 1]
    assert_same(slopes(JaxFunction(f, params)), (1 - np.tanh(inner) ** 2)[:, None] * weight[:, 1])


# --- closures -----------------------------------------------------------------------------------


def test_closed_over_arrays_are_constants_until_the_cache_is_cleared():
    box = {"params": parameters()}
    model = JaxFunction(lambda x: network(box["params"], x))
    old = expected(box["params"])
    assert_same(slopes(model), old)
    box["params"] = parameters(7)
    assert_same(slopes(model), old)
    xai.clear_cache()
    assert_same(slopes(model), expected(box["params"]))


# --- pairs --------------------------------------------------------------------------------------


def maps_of(params, x):
    kernel = params["kernel"]
    numbers = ("NHWC", "HWIO", "NHWC")
    maps = jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=numbers)
    return jnp.tanh(maps)


def top(params, maps):
    return maps.mean((1, 2)) @ params["out"]


def convolution(params, x):
    return top(params, maps_of(params, x))


def convolution_parameters(seed=0):
    rng = np.random.default_rng(seed)
    shapes = {"kernel": (3, 3, 2, 4), "out": (4, 3)}
    return {name: jnp.asarray(rng.normal(size=shape), "float32") for name, shape in shapes.items()}


def cam_of(params, target):
    kernel, out = (np.asarray(params[name], float) for name in ("kernel", "out"))
    maps = np.tanh(oracles.convolve(IMAGES.astype(float), kernel, 0.0))
    grad = np.broadcast_to(out[:, target] / 70, maps.shape)
    return oracles.grad_cam(maps, grad, (7, 10))


def test_both_halves_of_a_pair_take_the_parameters_as_they_are():
    params = convolution_parameters()
    model = JaxFunction(convolution, params)
    assert_same(GradCAM(model, layer=(maps_of, top))(IMAGES, 1).values, cam_of(params, 1))
    params.update(convolution_parameters(5))
    assert_same(GradCAM(model, layer=(maps_of, top))(IMAGES, 2).values, cam_of(params, 2))


def test_features_of_several_outputs_give_the_first():
    def several(params, x):
        return maps_of(params, x), x.sum()

    def rest(params, both):
        return top(params, both[0]) + 0 * both[1]

    params = convolution_parameters()
    explanation = GradCAM(JaxFunction(convolution, params), layer=(several, rest))(IMAGES, 1)
    assert_same(explanation.values, cam_of(params, 1))


# --- what is kept and refused -------------------------------------------------------------------


def test_the_cache_keeps_no_parameters_alive():
    class Held:
        def __init__(self):
            self.params = parameters()

        def apply(self, params, x):
            return network(params, x)

    held = Held()
    weight = weakref.ref(held.params["w"])
    for explainer in (Saliency, IntegratedGradients, Occlusion):
        explainer(JaxFunction(held.apply, held.params))(X, 0)
    reference = weakref.ref(held)
    del held
    gc.collect()
    assert (reference(), weight()) == (None, None)


@pytest.mark.parametrize("params", [{}, [], {"activation": jnp.tanh}, "weights", {"a": None}])
def test_parameters_without_arrays_are_refused(params):
    with pytest.raises(TypeError, match=r"`params` must be a pytree with arrays"):
        JaxFunction(network, params)


@pytest.mark.parametrize(
    "params",
    [
        [parameters()],
        {"w": parameters()["w"]},
        {"w": parameters()["v"], "v": parameters()["w"]},
        parameters()["w"],
    ],
    ids=["list", "missing", "swapped", "array"],
)
def test_parameters_of_another_structure_are_refused(params):
    with pytest.raises(ValueError, match=r"`inputs` and `params` must be what the model takes"):
        slopes(JaxFunction(network, params))


def test_forgotten_parameters_are_refused():
    with pytest.raises(ValueError, match=r"`inputs` must be what the model takes.*missing"):
        slopes(JaxFunction(network))


def test_weights_of_a_keras_model_as_parameters():
    explanation = Saliency(tiny_models.as_function(tiny_models.network("table")))(X, TARGETS)
    scores = oracles.score("table", TARGETS)
    assert_same(explanation.values, np.abs(oracles.gradient(scores, oracles.inputs("table"))))
