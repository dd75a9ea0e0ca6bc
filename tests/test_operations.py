"""The operations that a block sees, whichever way Keras is asked for them."""

import threading

import keras
import numpy as np
import pytest
from keras import layers, ops
from keras.src import backend

from tiny_models import BACKEND
from xai_core import operations
from xai_core.operations import RECTIFIER

X = np.linspace(-2, 2, 8, dtype="float32").reshape(2, 4)


def seen(function, *arrays):
    """Names of the operations that a function runs, and whether its result is as before."""
    given = [ops.convert_to_tensor(one) for one in arrays or (X,)]
    names = []

    def handler(operation):
        names.append(operation.name)
        return operation.result

    expected = ops.convert_to_numpy(function(*given))
    with operations.handled(handler):
        found = function(*given)
    np.testing.assert_array_equal(ops.convert_to_numpy(found), expected)
    return names


SINGLE = {
    RECTIFIER: [
        ops.relu,
        ops.relu6,
        lambda x: ops.leaky_relu(x, 0.1),
        lambda x: ops.maximum(x, 0),
        lambda x: ops.maximum(0.0, x),
        lambda x: ops.clip(x, 0, 2),
        lambda x: ops.threshold(x, 0.0, 0.0),
        lambda x: ops.threshold(x, threshold=0.5, default_value=0.0),
        layers.ReLU(max_value=1.0, threshold=0.5),
        layers.ReLU(negative_slope=0.1),
        layers.LeakyReLU(),
        layers.PReLU(),
        layers.Activation("relu"),
        keras.activations.relu,
    ],
    "clip": [lambda x: ops.clip(x, -1, 1), lambda x: ops.maximum(x, 0.5)],
    "threshold": [lambda x: ops.threshold(x, 0.0, 1.0)],
    "sigmoid": [ops.sigmoid, layers.Activation("sigmoid"), ops.nn.sigmoid],
    "tanh": [ops.tanh],
    "silu": [ops.silu, layers.Activation("swish")],
    "gelu": [ops.gelu],
    "mish": [layers.Activation("mish")],
    "softmax": [ops.softmax, layers.Softmax()],
    "absolute": [ops.abs, ops.absolute],
    "max": [lambda x: ops.max(x, axis=1), lambda x: ops.amax(x, axis=1)],
    "reciprocal": [lambda x: ops.divide(1.0, x)],
    "power": [lambda x: ops.power(2.0, x), lambda x: ops.power(x, 2)],
    "layer_normalization": [layers.LayerNormalization()],
}
CASES = [(name, k, one) for name, every in SINGLE.items() for k, one in enumerate(every)]


@pytest.mark.parametrize(
    ("name", "function"), [pytest.param(name, one, id=f"{name}-{k}") for name, k, one in CASES]
)
def test_functions_of_one_tensor(name, function):
    assert seen(function) == [name]


def test_operations_of_two_tensors():
    for name in ("multiply", "divide", "maximum", "minimum"):
        assert seen(getattr(ops, name), X, X + 3) == [name]
    assert seen(lambda a, b: ops.matmul(a, ops.transpose(b)), X, X) == ["matmul"]
    assert seen(lambda a, b: ops.einsum("ij,kj->ik", a, b), X, X) == ["einsum"]
    assert seen(lambda a, b: layers.Multiply()([a, b]), X, X) == ["multiply"]


def test_what_is_linear_in_all_its_floats_is_not_seen():
    for function in (
        lambda x: 2.0 * x,
        lambda x: ops.multiply(x, 3),
        lambda x: ops.divide(x, 2.0),
        lambda x: ops.add(x, x),
        lambda x: ops.mean(x, axis=1),
        lambda x: ops.reshape(x, (-1,)),
        lambda x: ops.maximum(ops.cast(x, "int32"), 0),
    ):
        assert seen(function) == []


def test_operands_are_given_by_name_or_place():
    assert seen(lambda x: ops.maximum(x1=x, x2=0)) == [RECTIFIER]
    assert seen(lambda x: ops.clip(x, x_min=0, x_max=1)) == [RECTIFIER]


def test_handler_decides_what_comes_out():
    with operations.handled(lambda operation: -operation.result):
        found = ops.relu(ops.convert_to_tensor(X))
    np.testing.assert_array_equal(ops.convert_to_numpy(found), -np.maximum(X, 0))


def test_operation_can_be_run_on_other_tensors():
    kept = []
    with operations.handled(lambda operation: (kept.append(operation), operation.result)[1]):
        ops.clip(ops.convert_to_tensor(X), 0, 1)
    (one,) = kept
    np.testing.assert_array_equal(
        ops.convert_to_numpy(one.call(ops.convert_to_tensor(3 * X))), np.clip(3 * X, 0, 1)
    )


def test_functions_come_back_after_an_exception():
    before = backend.nn.relu, backend.numpy.maximum, vars(layers.PReLU)["call"]

    def broken(operation):
        raise RuntimeError

    with pytest.raises(RuntimeError), operations.handled(broken):
        ops.relu(ops.convert_to_tensor(X))
    assert (backend.nn.relu, backend.numpy.maximum, vars(layers.PReLU)["call"]) == before
    assert backend.nn.relu is before[0]


def test_other_threads_pass_through():
    found = []

    def other():
        found.append(ops.convert_to_numpy(ops.relu(ops.convert_to_tensor(X))))

    with operations.handled(lambda operation: -operation.result):
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    np.testing.assert_array_equal(found[0], np.maximum(X, 0))


def test_path_is_that_of_the_moment():
    paths, where = [], ["first"]
    with operations.handled(
        lambda operation: (paths.append(operation.path), operation.result)[1], lambda: where[-1]
    ):
        ops.tanh(ops.convert_to_tensor(X))
        where.append("second")
        ops.tanh(ops.convert_to_tensor(X))
    assert paths == ["first", "second"]


@pytest.mark.parametrize("value", [0, 0.0, np.float32(0), np.array(0)])
def test_zero_is_the_number(value):
    assert operations.is_zero(value)
    for other in (False, None, "0", np.zeros(1), ops.zeros((1,)), ops.ones(()), 1e-9):
        assert not operations.is_zero(other)
    # Elsewhere its value may not be known yet.
    assert operations.is_zero(ops.zeros(())) == (BACKEND == "torch")


@pytest.mark.skipif(keras.backend.backend() != "jax", reason="loops of JAX")
def test_recurrent_layers_stay_loops():
    import jax

    layer = layers.SimpleRNN(2)
    layer.build((1, 5, 4))

    def function(x):
        with operations.handled(lambda operation: operation.result):
            return layer(x)

    assert "scan[" in str(jax.make_jaxpr(function)(np.ones((1, 5, 4), "float32")))
