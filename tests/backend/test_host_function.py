"""Functions on the host within compiled steps, with gradients of their own."""

import threading
from concurrent.futures import ThreadPoolExecutor

import keras
import numpy as np
import pytest

from xai_core import _backend

W = np.random.default_rng(0).normal(size=(4, 3)).astype("float32")
X = np.random.default_rng(1).normal(size=(5, 4)).astype("float32")
ROWS = np.array([2, 0, 1, 1, 0], "int32")


class Host:
    """tanh(x W), shifted by rows of integers where they are given."""

    def __init__(self):
        self.calls, self.kept, self.pulls = [], {}, []

    def output(self, x, rows=None):
        found = np.tanh(np.asarray(x) @ W)
        return found if rows is None else found + np.asarray(rows)[:, None].astype("float32")

    def call(self, *arrays):
        self.calls.append("call")
        return self.output(*arrays)

    def start(self, *arrays):
        self.calls.append("start")
        number = len(self.kept)
        self.kept[number] = [np.array(array) for array in arrays]
        return self.output(*arrays), np.array(number, "int32")

    def pull(self, pulls, number, cotangent, *arrays):
        self.calls.append("pull")
        self.pulls.append(pulls)
        kept = self.kept.get(int(number))
        for array, same in zip(arrays, kept or (), strict=False):
            assert np.array_equal(array, same)
        slope = 1 - np.tanh(np.asarray(arrays[0]) @ W) ** 2
        return [((np.asarray(cotangent) * slope) @ W.T).astype("float32")]


def run(function, *arrays):
    """``function`` of tensors, compiled as steps are, on the host."""
    tensors = [_backend.to_device(array) for array in arrays]
    results = _backend.jit(lambda _state, *x: function(*x))([], *tensors)
    return keras.tree.map_structure(_backend.to_host, results)


def hosted(host, *inputs):
    return _backend.host_function(host, list(inputs), (inputs[0].shape[0], 3))


def slopes(k):
    return (1 - np.tanh(X @ W) ** 2)[:, k, None] * W[:, k]


def test_values_without_a_gradient():
    host = Host()
    np.testing.assert_allclose(run(lambda x: hosted(host, x), X), np.tanh(X @ W), rtol=1e-6)
    assert host.calls == ["call"]


def test_a_gradient_starts_once_and_pulls_once():
    host = Host()
    scores, gradient = run(lambda x: _backend.value_and_grad(lambda z: hosted(host, z)[:, 1], x), X)
    np.testing.assert_allclose(scores, np.tanh(X @ W)[:, 1], rtol=1e-6)
    np.testing.assert_allclose(gradient, slopes(1), rtol=1e-5, atol=1e-6)
    assert (len(host.calls), host.pulls) == (2, [1])


def test_several_targets_pull_as_often_as_they_say():
    host = Host()
    _, gradients = run(lambda x: _backend.value_and_grad(lambda z: hosted(host, z), x), X)
    for k in range(3):
        np.testing.assert_allclose(gradients[:, k], slopes(k), rtol=1e-5, atol=1e-6)
    # Torch takes the pulls one by one, each of which computes for itself.
    assert host.pulls == ([1] * 3 if _backend.EAGER else [3] * 3)
    assert len(host.calls) == 4


def test_integers_have_no_gradient():
    host = Host()

    def step(x, rows):
        scores, (gradient, none) = _backend.value_and_grad(
            lambda z: hosted(host, *z)[:, 0], (x, rows)
        )
        assert none is None
        return scores, gradient

    scores, gradient = run(step, X, ROWS)
    np.testing.assert_allclose(scores, np.tanh(X @ W)[:, 0] + ROWS, rtol=1e-6)
    np.testing.assert_allclose(gradient, slopes(0), rtol=1e-5, atol=1e-6)


def test_a_gradient_at_a_tapped_output_starts_nothing_below_it():
    below, above = Host(), Host()
    seen = []

    class Tap:
        def __init__(self, hook):
            self.hook = hook

        def __enter__(self):
            seen[:] = [self.hook]

        def __exit__(self, *_):
            seen.clear()

    def score(x):
        middle = hosted(below, x)
        middle = seen[0](middle) if seen else middle
        wide = keras.ops.concatenate([middle, middle[:, :1]], axis=1)
        return hosted(above, wide)[:, 1], ()

    def step(x):
        (scores, _), activation, gradient = _backend.activation_and_grad(score, Tap, x)
        return scores, activation, gradient

    _, activation, gradient = run(step, X)
    wide = np.concatenate([activation, activation[:, :1]], axis=1)
    full = (1 - np.tanh(wide @ W) ** 2)[:, 1, None] * W[:, 1]
    expected = full[:, :3] + np.eye(3)[0] * full[:, 3:]
    np.testing.assert_allclose(gradient, expected, rtol=1e-5, atol=1e-6)
    assert set(below.calls) == {"call"}
    assert above.calls.count("pull") == 1


class Large:
    """Twice the input, which is so large that frameworks copy it in other threads."""

    def call(self, x):
        return 2 * np.asarray(x)

    def start(self, x):
        return self.call(x), np.array(0, "int32")

    def pull(self, pulls, number, cotangent, x):
        return [2 * np.asarray(cotangent) + 0 * np.asarray(x)]


@pytest.mark.parametrize("count", [1, 8])
def test_threads_with_large_arrays_do_not_wait_for_each_other(count):
    x = np.ones((8, 60_000), "float32")
    start = threading.Barrier(count)
    step = _backend.jit(
        lambda _state, x: _backend.value_and_grad(
            lambda z: keras.ops.sum(_backend.host_function(Large(), [z], z.shape), axis=1), x
        )
    )

    def work(k):
        start.wait()
        for _ in range(4):
            scores, gradient = map(_backend.to_host, step([], _backend.to_device(x * (k + 1))))
        return scores, gradient

    with ThreadPoolExecutor(count) as pool:
        for k, (scores, gradient) in enumerate(pool.map(work, range(count))):
            np.testing.assert_allclose(scores, 120_000 * (k + 1))
            np.testing.assert_allclose(gradient, 2)


def test_an_exception_on_the_host_is_told():
    class Failing(Host):
        def output(self, x):
            if np.asarray(x).max() > 100:
                raise ArithmeticError("rows above a hundred")
            return super().output(x)

    host = Failing()
    run(lambda x: hosted(host, x), X)
    with pytest.raises(Exception, match="rows above a hundred"):
        run(lambda x: hosted(host, x), 1000 * np.abs(X))
