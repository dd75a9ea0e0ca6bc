"""The gradient shim against finite differences, eager and compiled, on the running backend."""

import contextlib
import functools
import gc
import threading

import keras
import numpy as np
import pytest
from keras import ops

from xai_core import _backend
from xai_core.wrappers import wrap

COMPILED = [False, True]


@pytest.fixture(scope="module")
def model():
    """A smooth network on (N, 4) with 3 outputs and seeded weights."""
    built = keras.Sequential(
        [
            keras.Input((4,)),
            keras.layers.Dense(5, activation="tanh", name="hidden"),
            keras.layers.Dense(3, name="scores"),
        ]
    )
    numbers = np.random.default_rng(0)
    built.set_weights([numbers.normal(size=w.shape) for w in built.get_weights()])
    return built


def rows(count=3, width=4):
    return np.random.default_rng(1).normal(size=(count, width)).astype("float32")


def run(function, x, compiled):
    """Call ``function`` on tensors, within what explainers put around a model."""
    tensors = keras.tree.map_structure(_backend.to_device, x)
    if not compiled:
        with keras.StatelessScope():
            return function(tensors)
    with keras.StatelessScope():
        return _backend.jit(lambda _state, z: function(z))([], tensors)


def slopes(function, x, step=1e-3):
    """Central differences of per-row scores of host arrays."""
    found = np.zeros_like(x)
    for k in range(x.shape[1]):
        shift = np.zeros_like(x)
        shift[:, k] = step
        found[:, k] = (function(x + shift) - function(x - shift)) / (2 * step)
    return found


def on_host(function):
    def call(x):
        with _backend.no_grad():
            return _backend.to_host(function(_backend.to_device(x)))

    return call


@pytest.mark.parametrize("compiled", COMPILED)
def test_scores_are_per_sample_and_gradients_are_finite_differences(model, compiled):
    def score(x):
        return model(x, training=False)[:, 1]

    scores, gradients = run(lambda x: _backend.value_and_grad(score, x), rows(), compiled)
    np.testing.assert_allclose(_backend.to_host(scores), on_host(score)(rows()), rtol=1e-5)
    expected = slopes(on_host(score), rows())
    np.testing.assert_allclose(_backend.to_host(gradients), expected, atol=2e-3)


@pytest.mark.parametrize("compiled", COMPILED)
def test_several_targets_have_an_axis_behind_the_batch(model, compiled):
    def scores(x):
        return model(x, training=False)

    _, every = run(lambda x: _backend.value_and_grad(scores, x), rows(), compiled)
    assert tuple(every.shape) == (3, 3, 4)
    for k in range(3):
        expected = slopes(on_host(lambda x, k=k: scores(x)[:, k]), rows())
        np.testing.assert_allclose(_backend.to_host(every)[:, k], expected, atol=2e-3)


@pytest.mark.parametrize("compiled", COMPILED)
def test_finish_maps_the_gradients_of_each_target(compiled):
    def scores(x):
        return ops.stack([ops.sum(x**2, -1), ops.sum(3 * x, -1)], axis=1)

    def sums(x):
        return _backend.value_and_grad(scores, x, finish=lambda g: ops.sum(g, -1))[1]

    expected = np.stack([2 * rows().sum(-1), np.full(3, 12.0)], axis=1)
    np.testing.assert_allclose(_backend.to_host(run(sums, rows(), compiled)), expected, rtol=1e-5)


@pytest.mark.parametrize("compiled", COMPILED)
def test_integer_leaves_of_a_structure_have_no_gradient(compiled):
    inputs = {"x": rows(), "index": np.array([0, 2, 1], "int32"), "pair": (2 * rows(), rows())}
    table = np.array([1.0, 10.0, 100.0], "float32")

    def score(z):
        weight = ops.take(ops.convert_to_tensor(table), z["index"])
        return weight * ops.sum(z["x"] * z["pair"][0], -1)

    def gradients(z):
        found = _backend.value_and_grad(score, z)[1]
        assert found["index"] is None
        return found["x"], found["pair"]

    x, (first, unconnected) = run(gradients, inputs, compiled)
    weight = table[inputs["index"]][:, None]
    np.testing.assert_allclose(_backend.to_host(x), weight * inputs["pair"][0], rtol=1e-6)
    np.testing.assert_allclose(_backend.to_host(first), weight * inputs["x"], rtol=1e-6)
    assert not _backend.to_host(unconnected).any()


@pytest.mark.parametrize("compiled", COMPILED)
def test_a_score_that_ignores_its_input_has_zero_gradients(compiled):
    def score(x):
        return ops.ones((3,), "float32")

    _, gradients = run(lambda x: _backend.value_and_grad(score, x), rows(), compiled)
    np.testing.assert_array_equal(_backend.to_host(gradients), np.zeros((3, 4)))


@pytest.mark.parametrize("compiled", COMPILED)
def test_second_order(compiled):
    def cubes(x):
        return ops.sum(x**3, -1)

    def slope(x):
        return ops.sum(_backend.value_and_grad(cubes, x, create_graph=True)[1], -1)

    def second(x):
        return _backend.value_and_grad(slope, x, create_graph=True)[1]

    np.testing.assert_allclose(
        _backend.to_host(run(second, rows(), compiled)), 6 * rows(), rtol=1e-4
    )


@pytest.mark.parametrize("compiled", COMPILED)
def test_auxiliary_results_come_back(compiled):
    def score(x):
        return ops.sum(x**2, -1), {"largest": ops.max(x, -1)}

    def both(x):
        return _backend.value_and_grad(score, x, has_aux=True)

    (scores, aux), gradients = run(both, rows(), compiled)
    np.testing.assert_allclose(_backend.to_host(scores), (rows() ** 2).sum(-1), rtol=1e-5)
    np.testing.assert_allclose(_backend.to_host(aux["largest"]), rows().max(-1))
    np.testing.assert_allclose(_backend.to_host(gradients), 2 * rows(), rtol=1e-5)


@pytest.mark.parametrize("compiled", COMPILED)
def test_activation_and_gradient_at_an_inner_layer(model, compiled):
    adapter = wrap(model)
    place = adapter.find("hidden")

    def at_layer(x):
        (scores, _), activation, gradients = _backend.activation_and_grad(
            lambda z: (model(z, training=False), None),
            lambda hook: adapter.tap(place, hook, None),
            x,
        )
        return scores, activation, gradients

    scores, activation, gradients = run(at_layer, rows(), compiled)
    first, bias, second, offset = model.get_weights()
    hidden = np.tanh(rows() @ first + bias)
    np.testing.assert_allclose(_backend.to_host(activation), hidden, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(_backend.to_host(scores), hidden @ second + offset, rtol=1e-4)
    expected = np.broadcast_to(second.T, (3, 3, 5))
    np.testing.assert_allclose(_backend.to_host(gradients), expected, rtol=1e-5)


def test_nothing_leaks_over_a_thousand_calls(model):
    def score(x):
        return model(x, training=False)[:, 0]

    compiled = _backend.jit(lambda _state, z: _backend.value_and_grad(score, z))
    x = _backend.to_device(rows())

    def calls(count):
        with keras.StatelessScope():
            for _ in range(count):
                compiled([], x)
        gc.collect()
        return len(gc.get_objects())

    before = calls(20)
    assert calls(1000) - before < 200


def test_tensors_share_no_memory_with_the_users_array():
    array = rows()
    tensor = _backend.to_device(array)
    array[:] = 7
    np.testing.assert_array_equal(_backend.to_host(tensor), rows())


def test_devices_are_named():
    assert _backend.devices()
    assert all(isinstance(name, str) for name in _backend.devices())


if _backend.EAGER:
    import torch

    def test_parameters_get_no_gradient_and_keep_their_flags():
        module = torch.nn.Linear(4, 2)
        module.weight.requires_grad_(False)
        _backend.value_and_grad(lambda x: module(x)[:, 0], torch.tensor(rows()))
        assert module.weight.grad is None
        assert module.bias.grad is None
        assert not module.weight.requires_grad
        assert module.bias.requires_grad

    @pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
    def test_a_caller_without_gradients_gets_them_and_keeps_its_mode(mode):
        module = torch.nn.Linear(4, 1).requires_grad_(False)
        with mode():
            x = torch.tensor(rows())
        with torch.no_grad():
            _, gradients = _backend.value_and_grad(lambda z: module(z)[:, 0], x)
            assert not torch.is_grad_enabled()
        np.testing.assert_allclose(gradients.numpy(), np.repeat(module.weight.numpy(), 3, 0))
        assert torch.is_grad_enabled()

    def test_results_carry_no_graph(model):
        scores, gradients = _backend.value_and_grad(
            lambda x: model(x, training=False), _backend.to_device(rows())
        )
        assert not scores.requires_grad
        assert not gradients.requires_grad


@pytest.mark.parametrize("compiled", [False, True])
def test_override_gradient_changes_what_goes_back_and_nothing_else(compiled):
    def score(x):
        passed = _backend.override_gradient(2 * x, lambda u: ops.relu(u) * 10)
        return ops.sum(passed * ops.convert_to_tensor([[1.0, -1.0]]), axis=1)

    x = ops.convert_to_tensor([[3.0, 4.0]])

    def step(x):
        return _backend.value_and_grad(score, x)

    value, gradient = (_backend.jit(step) if compiled else step)(x)
    np.testing.assert_allclose(_backend.to_host(value), [-2])
    np.testing.assert_allclose(_backend.to_host(gradient), [[20, 0]])


# --- derivatives along a direction --------------------------------------------------------------


def test_derivative_along_a_direction():
    x, y, u, v = (ops.convert_to_tensor(a) for a in np.random.default_rng(2).normal(size=(4, 3)))
    found = _backend.jvp(lambda a, b: a * a * b, [x, y], [u, v])
    x, y, u, v = map(_backend.to_host, (x, y, u, v))
    np.testing.assert_allclose(_backend.to_host(found), 2 * x * y * u + x * x * v, rtol=1e-5)
    unconnected = _backend.jvp(lambda a: ops.ones_like(a), [ops.ones((3,))], [ops.ones((3,))])
    assert not _backend.to_host(unconnected).any()


# --- functions that somebody compiled -----------------------------------------------------------


@pytest.mark.skipif(_backend.NAME == "torch", reason="nothing to do")
@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("own", [False, True])
def test_compiled_functions_run_as_written_within_a_block(own, fails):
    calls = []

    def helper(x):
        calls.append(x)
        return 2 * x

    if _backend.NAME == "jax":
        import jax

        compiled, switched = jax.jit(helper), lambda: jax.config.jax_disable_jit
        switch = functools.partial(jax.config.update, "jax_disable_jit")
    else:
        import tensorflow

        compiled, switched = tensorflow.function(helper), tensorflow.config.functions_run_eagerly
        switch = tensorflow.config.run_functions_eagerly
    x = ops.ones(2)
    compiled(x)
    switch(own)
    try:
        with contextlib.suppress(RuntimeError), _backend.uncompiled(), _backend.uncompiled():
            del calls[:]
            compiled(x)
            assert calls[0] is x
            if fails:
                raise RuntimeError
        assert switched() == own
    finally:
        switch(False)
    del calls[:]
    compiled(x)
    assert not calls


@pytest.mark.skipif(_backend.NAME != "tensorflow", reason="the switch is that of all threads")
def test_the_last_of_several_threads_restores_the_switch():
    import tensorflow

    switched = tensorflow.config.functions_run_eagerly
    entered, leave = threading.Event(), threading.Event()

    def other():
        with _backend.uncompiled():
            entered.set()
            leave.wait(10)

    thread = threading.Thread(target=other)
    with _backend.uncompiled():
        thread.start()
        assert entered.wait(10)
    assert switched()
    leave.set()
    thread.join()
    assert not switched()


@pytest.mark.skipif(_backend.NAME != "jax", reason="loops of JAX")
def test_loops_and_branches_within_a_block():
    import jax

    def function(x):
        with _backend.uncompiled():
            x = jax.lax.scan(lambda c, w: (c + w, None), x, x)[0]
            x = jax.lax.cond(x.sum() > 0, lambda x: 2 * x, lambda x: x, x)
            x = jax.lax.while_loop(lambda x: x.sum() < 100, lambda x: 3 * x, x)
            with _backend.uncompiled(inline=False):
                return jax.lax.scan(lambda c, _: (c + 1, None), x, None, length=3)[0]

    x = ops.ones((2, 2))
    found = jax.jit(function)(x)
    np.testing.assert_array_equal(found, np.full((2, 2), 54 + 3))
    assert str(jax.make_jaxpr(function)(x)).count("scan[") == 1
