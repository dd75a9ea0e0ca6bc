"""DeepLIFT: operations with several operands or results, constants, and numbers without end."""

import keras
import numpy as np
import pytest
from keras import layers, ops

import oracles
import tiny_models
from cases import TARGETS
from oracles import assert_same
from tiny_models import BACKEND
from xai_core import propagation
from xai_core.attributions import DeepLIFT, IntegratedGradients

TABLE = oracles.inputs("table")
SERIES = oracles.inputs("series")
TORCH = pytest.mark.skipif(BACKEND != "torch", reason="torch modules")


def function_of(function, *shapes):
    """A model of one output: a function of inputs of these shapes, each named by its place."""
    inside = [keras.Input(shape, name=f"x{k}") for k, shape in enumerate(shapes)]
    return keras.Model(inside if len(inside) > 1 else inside[0], function(*inside))


def pair(function, x, start):
    """What a function of two numbers gives to each of them."""
    model = function_of(lambda x: function(x[:, :1], x[:, 1:]), (2,))
    found = DeepLIFT(model, baseline=np.float32(start))(np.float32([x]))
    np.testing.assert_allclose(found.completeness_gap, 0, atol=1e-5)
    return found.values[0]


# --- several operands ---------------------------------------------------------------------------


def test_power_of_two_tensors_is_the_mean_of_both_orders():
    # 2 ** 1 - 1 or 2 ** 3 - 1 for the basis, 2 ** 3 - 2 or nothing for the exponent.
    np.testing.assert_allclose(pair(ops.power, (2, 3), (1, 1)), [4, 3], rtol=1e-5)


class Bounded(layers.Layer):
    """A column between numbers and another column."""

    def __init__(self, low=None, high=None):
        super().__init__()
        self.low, self.high = low, high

    def call(self, x):
        a, b = x[:, :1], x[:, 1:]
        low, high = (b if bound is None else bound for bound in (self.low, self.high))
        return ops.clip(a, low, high)


def bounded(x, start, **fields):
    made = function_of(Bounded(**fields), (2,))
    return DeepLIFT(made, baseline=np.float32(start))(np.float32([x])).values[0]


@pytest.mark.parametrize("start", [(0, 0), (2, -1)])
def test_bounds_that_are_tensors_are_maxima_and_minima(start):
    x = (5, 1)
    low = bounded(x, start, high=10)
    np.testing.assert_allclose(low, pair(ops.maximum, x, start), rtol=1e-6)
    high = bounded(x, start, low=-10)
    np.testing.assert_allclose(high, pair(ops.minimum, x, start), rtol=1e-6)


@TORCH
@pytest.mark.parametrize("in_place", [False, True])
def test_bounds_of_torch(in_place):
    import torch

    def forward(_, x):
        a, b = x[:, :1] * 1, x[:, 1:]
        return a.clamp_(max=b) if in_place else torch.clamp(a, max=b)

    x = np.float32([[5, 1]])
    found = DeepLIFT(tiny_models.torch_closed_form(forward))(x)
    np.testing.assert_allclose(found.values, [pair(ops.minimum, (5, 1), (0, 0))], rtol=1e-6)


@TORCH
def test_products_of_torch():
    import torch
    from torch import nn

    def forward(m, x):
        a, b = x[:, None, :2], x[:, None, 2:]
        mixed = torch.baddbmm(a.transpose(1, 2) @ b, a.transpose(1, 2), b, beta=0.5, alpha=2)
        exported = torch.ops.aten.mul.Tensor(x[:, 0:1], x[:, 1:2])
        return m.both(x[:, :2], x[:, 2:]) + mixed.flatten(1).sum(1, keepdim=True) + exported

    made = tiny_models.torch_closed_form(forward, both=nn.Bilinear(2, 2, 3))
    found = DeepLIFT(made, baseline=0.2)(TABLE, TARGETS)
    np.testing.assert_allclose(found.completeness_gap, 0, atol=1e-5)


# --- constants ----------------------------------------------------------------------------------


class Mixed(layers.Layer):
    """Two branches, by weights that a softmax makes."""

    def build(self, shape):
        self.shares = self.add_weight(shape=(2,), name="shares", initializer="random_normal")

    def call(self, x):
        shares = ops.softmax(ops.convert_to_tensor(self.shares))
        return shares[0] * ops.relu(x) + shares[1] * x


def test_softmax_of_weights_needs_no_rule():
    made = function_of(lambda x: layers.Dense(3)(Mixed()(layers.Dense(5)(x))), (4,))
    tiny_models.randomize(made)
    found = DeepLIFT(made)(TABLE, TARGETS)
    np.testing.assert_allclose(found.completeness_gap, 0, atol=1e-5)
    ends = function_of(lambda x: layers.Dense(3)(ops.softmax(Mixed()(x))), (4,))
    with pytest.raises(ValueError, match="softmax"):
        DeepLIFT(ends)(TABLE, TARGETS)


@TORCH
def test_constants_of_torch_need_no_rule():
    import torch
    from torch import nn

    def forward(m, x):
        shares = m.mix.weight.softmax(1)
        deviation, mean = torch.std_mean(m.conv.weight, dim=(1, 2), keepdim=True)
        kernel = (m.conv.weight - mean) / deviation
        h = nn.functional.conv1d(x, kernel).relu()
        return m.out(m.norm(h).mean(2)) + shares.sum()

    made = tiny_models.torch_closed_form(
        forward,
        mix=nn.Linear(2, 1),
        conv=nn.Conv1d(3, 4, 3),
        out=nn.Linear(4, 3),
        norm=nn.InstanceNorm1d(4, track_running_stats=True),
    )
    found = DeepLIFT(made.eval())(SERIES.transpose(0, 2, 1), TARGETS)
    np.testing.assert_allclose(found.completeness_gap, 0, atol=1e-5)


# --- no end -------------------------------------------------------------------------------------


def test_padding_without_end_takes_no_part():
    padding = [[0, 0], [1, 1], [1, 1], [0, 0]]

    def padded(x, value):
        h = ops.pad(layers.Conv2D(4, 3, name="conv")(x), padding, constant_values=value)
        return layers.Dense(3, name="out")(layers.Flatten()(layers.MaxPooling2D(3, 2)(ops.relu(h))))

    x = oracles.inputs("image")
    maps = []
    for value in (-np.inf, -1e9):
        made = function_of(lambda x, value=value: padded(x, value), x.shape[1:])
        rng = np.random.default_rng(1)
        made.set_weights([rng.normal(size=one.shape) for one in made.get_weights()])
        maps.append(DeepLIFT(made, baseline=0.3)(x, TARGETS).values)
    assert np.abs(maps[1]).max() > 0
    assert_same(*maps)


def test_maxima_over_padding_without_end():
    x = oracles.inputs("image")

    def padded(x):
        h = ops.pad(
            layers.Conv2D(4, 3)(x), [[0, 0], [0, 1], [0, 1], [0, 0]], constant_values=-np.inf
        )
        return layers.Dense(3)(layers.Flatten()(layers.MaxPooling2D(2)(h)))

    made = function_of(padded, x.shape[1:])
    tiny_models.randomize(made)
    found = DeepLIFT(made, baseline=0.3)(x, TARGETS)
    np.testing.assert_allclose(found.completeness_gap, 0, atol=1e-4)


def test_root_of_zero_on_both_sides_gives_nothing():
    made = function_of(lambda x: ops.sqrt(ops.relu(x)), (3,))
    found = DeepLIFT(made)(np.float32([[4, -1, 0]]), 0)
    np.testing.assert_allclose(found.values, [[2, 0, 0]], atol=1e-6)


# --- a way around the layer ---------------------------------------------------------------------


def test_way_around_a_layer_is_told():
    def residual(x):
        inner = layers.Dense(4, activation="relu", name="branch")(x)
        return layers.Dense(3)(layers.Activation("relu")(layers.Add()([x, inner])))

    made = function_of(residual, (4,))
    tiny_models.randomize(made)
    with pytest.raises(ValueError, match="nothing goes around"):
        DeepLIFT(made, layer="branch")(TABLE, TARGETS)
    with pytest.raises(ValueError, match="operations that are seen") as error:
        DeepLIFT(function_of(lambda x: Cubed()(x), (4,)))(TABLE, TARGETS)
    assert "around" not in str(error.value)
    with pytest.warns(UserWarning, match="way around"):
        IntegratedGradients(made, layer="branch")(TABLE, TARGETS)


class Cubed(layers.Layer):
    """Multiplies by an operator of Python, which Keras does not see."""

    def call(self, x):
        return x * x * x


# --- rules of one's own -------------------------------------------------------------------------


def along_differences(function, inputs, baselines, baseline_output):
    """The change of each row shared in the proportions of its change, over all operands."""
    rows = [ops.stop_gradient(x) - x0 for x, x0 in zip(inputs, baselines, strict=True)]
    sides = [tuple(range(1, len(x.shape))) for x in rows]
    total = sum(ops.sum(x * x, axis=axes) for x, axes in zip(rows, sides, strict=True))
    share = sum(
        ops.sum(row * (x - ops.stop_gradient(x)), axis=axes)
        for row, x, axes in zip(rows, inputs, sides, strict=True)
    )
    output = ops.stop_gradient(function(*inputs))
    shape = (-1, *[1] * (len(output.shape) - 1))
    return output + ops.reshape(share / total, shape) * (output - baseline_output)


def heads(x):
    one = layers.Reshape((9, 1, 4))
    parts = [one(layers.Dense(4)(x)) for _ in range(3)]
    return layers.Flatten()(ops.dot_product_attention(*parts))


RULED = {
    "recurrent": lambda x: layers.LSTM(4)(x),
    "recurrent sequence": lambda x: layers.Flatten()(layers.GRU(4, return_sequences=True)(x)),
    "group_normalization": lambda x: layers.Flatten()(layers.GroupNormalization(3)(x)),
    "normalize": lambda x: layers.Flatten()(ops.normalize(x)),
    "dot_product_attention": heads,
    "top_k": lambda x: ops.top_k(layers.Flatten()(x), 5)[0],
    "sort": lambda x: ops.sort(layers.Flatten()(x)),
    "softmax": lambda x: ops.softmax(layers.Flatten()(x)),
    "logsumexp": lambda x: ops.logsumexp(x, axis=1),
    "var": lambda x: ops.var(x, axis=1),
    "median": lambda x: ops.median(x, axis=1),
    "logaddexp": lambda x: layers.Flatten()(ops.logaddexp(x, layers.Dense(3)(x))),
}


@pytest.fixture
def ruled(request):
    name = request.param.split()[0]
    propagation.register_rule(name, along_differences)
    yield request.param
    propagation.unregister_rule(name)


def behind(name):
    made = function_of(lambda x: layers.Dense(3)(RULED[name](x)), SERIES.shape[1:])
    tiny_models.randomize(made)
    return made


@pytest.mark.parametrize("name", RULED)
def test_operation_without_a_rule_names_itself(name):
    with pytest.raises(ValueError, match=f"register_rule\\('{name.split()[0]}'"):
        DeepLIFT(behind(name), baseline=0.1)(SERIES, TARGETS)


@pytest.mark.parametrize("ruled", RULED, indirect=True)
def test_rule_of_ones_own_is_complete(ruled):
    found = DeepLIFT(behind(ruled), baseline=0.1)(SERIES, TARGETS)
    assert np.abs(found.values).max() > 0
    np.testing.assert_allclose(found.completeness_gap, 0, atol=1e-4)


def test_operation_of_several_tensors_without_rows_takes_no_rule():
    with pytest.raises(ValueError, match="`operation`"):
        propagation.register_rule("moments", along_differences)
    made = function_of(lambda x: layers.Dense(3)(sum(ops.moments(x, axes=[1]))), SERIES.shape[1:])
    with pytest.raises(ValueError, match=r"moments.*IntegratedGradients"):
        DeepLIFT(made)(SERIES, TARGETS)


TORCH_RULED = {
    "recurrent": ("lstm", lambda m, x: m.lstm(x)[0].flatten(1)),
    "dot_product_attention": (None, lambda m, x: attending(x, 2 * x, 1 - x).flatten(1)),
    "sort": (None, lambda m, x: x.flatten(1).sort(dim=1).values),
    "median": (None, lambda m, x: x.median(dim=1).values),
    "top_k": (None, lambda m, x: x.flatten(1).topk(5).values),
    "max_pool": (None, lambda m, x: pooled_with_places(x)),
}


def attending(*parts):
    from torch.nn import functional

    return functional.scaled_dot_product_attention(*parts)


def pooled_with_places(x):
    from torch.nn import functional

    return functional.max_pool1d(x.transpose(1, 2), 2, return_indices=True)[0].flatten(1)


@TORCH
@pytest.mark.parametrize("ruled", TORCH_RULED, indirect=True)
def test_rule_of_ones_own_for_modules(ruled):
    import torch
    from torch import nn

    parts = {
        "lstm": lambda: nn.LSTM(3, 4, batch_first=True),
        None: lambda: nn.Identity(),
    }
    part, forward = TORCH_RULED[ruled]
    made = tiny_models.torch_closed_form(
        lambda m, x: m.out(forward(m, x)), out=nn.LazyLinear(3), **{part or "none": parts[part]()}
    )
    with torch.no_grad():
        made(torch.tensor(SERIES[:1]))
    found = DeepLIFT(made, baseline=0.1)(SERIES, TARGETS)
    np.testing.assert_allclose(found.completeness_gap, 0, atol=1e-4)
    propagation.unregister_rule(ruled)
    try:
        if ruled != "max_pool":
            with pytest.raises(ValueError, match="register_rule"):
                DeepLIFT(made, baseline=0.1)(SERIES, TARGETS)
    finally:
        propagation.register_rule(ruled, along_differences)
