"""Rules of DeepLIFT: what they return, what multipliers they have, and how they are registered."""

import numpy as np
import pytest
from keras import ops

from xai_core import _backend, operations, propagation

GENERATOR = np.random.default_rng(0)


def multipliers(rule, function, inputs, baselines):
    """The output of a rule and its gradients with respect to the inputs, (1, n) each."""
    starts = tuple(ops.convert_to_tensor(one, "float32") for one in baselines)

    def total(leaves):
        found = rule(function, tuple(leaves), starts, function(*starts))
        return ops.sum(ops.reshape(found, (1, -1)), axis=1)

    given = tuple(ops.convert_to_tensor(one, "float32") for one in inputs)
    value, gradients = _backend.value_and_grad(total, given)
    return float(_backend.to_host(value)[0]), [_backend.to_host(one) for one in gradients]


def rows(*numbers):
    return np.array([numbers], "float32")


def test_rescale_has_the_quotient_of_differences():
    x, start = rows(2.0, -1.0, 0.5), rows(-1.0, 1.0, 0.0)
    value, (found,) = multipliers(propagation.rescale, ops.tanh, (x,), (start,))
    np.testing.assert_allclose(value, np.tanh(x).sum(), rtol=1e-6)
    np.testing.assert_allclose(found, (np.tanh(x) - np.tanh(start)) / (x - start), rtol=1e-6)


def test_rescale_takes_the_gradient_where_nothing_moved():
    x = rows(2.0, 0.5, 0.0)
    start = x + rows(0.0, 1e-7, 0.0)
    _, (found,) = multipliers(propagation.rescale, ops.tanh, (x,), (start,))
    np.testing.assert_allclose(found, 1 - np.tanh(x) ** 2, rtol=1e-5)


def test_infinite_slopes_elsewhere_do_no_harm():
    x, start = rows(0.0, 4.0), rows(1.0, 4.0)
    _, (found,) = multipliers(propagation.rescale, ops.sqrt, (x,), (start,))
    np.testing.assert_allclose(found, [[1.0, 0.25]], rtol=1e-6)


def test_halved_shares_a_product():
    a, b, a0, b0 = rows(3.0), rows(5.0), rows(1.0), rows(-2.0)
    value, found = multipliers(propagation.halved, ops.multiply, (a, b), (a0, b0))
    assert value == 15
    np.testing.assert_allclose(np.ravel(found), [(5 - 2) / 2, (3 + 1) / 2])


def test_halved_shares_a_product_of_matrices():
    a, b, a0, b0 = (GENERATOR.normal(size=(2, 3, 3)) for _ in range(4))
    value, (of_a, of_b) = multipliers(propagation.halved, ops.matmul, (a, b), (a0, b0))
    np.testing.assert_allclose(value, (a @ b).sum(), rtol=1e-4)
    change = (of_a * (a - a0)).sum() + (of_b * (b - b0)).sum()
    np.testing.assert_allclose(change, (a @ b - a0 @ b0).sum(), rtol=1e-4)


def test_largest_puts_the_change_where_the_maxima_are():
    def top(x):
        return ops.max(x, axis=1)

    # It rises from 2 (first) to 5 (second), and falls from 6 (first) to 4 (second).
    for x, start, parts in (
        (rows(1, 5), rows(2, 0), [0, 3]),
        (rows(1, 4), rows(6, 0), [-2, 0]),
        (rows(5, 5), rows(5, 1), [0, 0]),
    ):
        value, (found,) = multipliers(propagation.largest, top, (x,), (start,))
        assert value == x.max()
        np.testing.assert_allclose((found * (x - start))[0], parts, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "function"),
    [("maximum", ops.maximum), ("minimum", ops.minimum), ("divide", ops.divide)],
)
def test_rules_of_two_tensors_are_complete(name, function):
    a, b, a0, b0 = (np.abs(GENERATOR.normal(size=(1, 20))) + 0.5 for _ in range(4))
    rule = propagation.rules()[name]
    value, (of_a, of_b) = multipliers(rule, function, (a, b), (a0, b0))
    expected = {"maximum": np.maximum, "minimum": np.minimum, "divide": np.divide}[name]
    np.testing.assert_allclose(value, expected(a, b).sum(), rtol=1e-5)
    change = of_a * (a - a0) + of_b * (b - b0)
    np.testing.assert_allclose(change, expected(a, b) - expected(a0, b0), rtol=1e-3, atol=1e-5)


def reduced(x):
    return ops.max(x, axis=-1)


@pytest.mark.parametrize("name", sorted(propagation.rules()))
def test_every_rule_gives_what_the_function_gives(name):
    """Whatever the function does that the rule may not know of, here rounding."""
    pair = operations.count(name) == 2
    plain = {"max": reduced, "min": reduced, "max_pool": reduced, "adaptive_max_pool": reduced}
    inner = plain.get(name, ops.multiply if pair else ops.tanh)
    given, starts = ([np.abs(GENERATOR.normal(size=(1, 9))) + 0.5] * (1 + pair) for _ in range(2))

    def function(*tensors):
        return ops.floor(7 * inner(*tensors))

    value, _ = multipliers(propagation.rules()[name], function, given, starts)
    tensors = [ops.convert_to_tensor(one, "float32") for one in given]
    assert value == float(ops.sum(function(*tensors)))


def test_quotient_that_is_cut_off_is_complete():
    def whole(a, b):
        return ops.floor(a / b)

    a, b, a0, b0 = (np.abs(GENERATOR.normal(size=(1, 20))) + 0.5 for _ in range(4))
    value, (of_a, of_b) = multipliers(propagation.rules()["divide"], whole, (3 * a, b), (a0, b0))
    assert value == np.floor(3 * a / b).sum()
    change = of_a * (3 * a - a0) + of_b * (b - b0)
    expected = np.floor(3 * a / b) - np.floor(a0 / b0)
    np.testing.assert_allclose(change, expected, rtol=1e-3, atol=1e-4)


def test_smallest_mirrors_largest():
    x, start = GENERATOR.normal(size=(1, 6)), GENERATOR.normal(size=(1, 6))
    rule = propagation.rules()["min"]
    _, (low,) = multipliers(rule, lambda x: ops.min(x, axis=1), (x,), (start,))
    _, (high,) = multipliers(propagation.largest, lambda x: ops.max(x, axis=1), (-x,), (-start,))
    np.testing.assert_allclose(low, high, rtol=1e-5)


def test_rules_are_registered_and_taken_back():
    assert "softmax" not in propagation.rules()
    assert propagation.registered() == {}
    propagation.register_rule("softmax", propagation.rescale)
    try:
        assert propagation.rules()["softmax"] is propagation.rescale
        assert list(propagation.registered()) == ["rule of softmax"]
    finally:
        propagation.unregister_rule("softmax")
    assert "softmax" not in propagation.rules()
    with pytest.raises(ValueError, match=r"`operation`.*softmax"):
        propagation.unregister_rule("softmax")


@pytest.mark.parametrize("name", ["layer_norm", "dense", "add", None, 3])
def test_unknown_operation_is_refused(name):
    with pytest.raises(ValueError, match="`operation` must name"):
        propagation.register_rule(name, propagation.rescale)
    with pytest.raises(ValueError, match="`operation`"):
        propagation.unregister_rule(name)


def test_near_names_are_told():
    with pytest.raises(ValueError, match="layer_normalization"):
        propagation.register_rule("layer_normalisation", propagation.rescale)


def test_rule_must_be_callable():
    with pytest.raises(TypeError, match="`rule`"):
        propagation.register_rule("tanh", "rescale")
