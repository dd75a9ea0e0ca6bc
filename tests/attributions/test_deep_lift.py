"""DeepLIFT: the rescale rule by hand, completeness of what has rules, and what is refused."""

import itertools

import keras
import numpy as np
import pytest
from keras import layers, ops

import oracles
import tiny_models
from cases import TARGETS
from oracles import assert_same
from tiny_models import BACKEND, KINDS
from xai_core import propagation
from xai_core.attributions import DeepLIFT, GradientInput

GENERATOR = np.random.default_rng(4)
TABLE = oracles.inputs("table")
IMAGES = oracles.inputs("image")
NATIVE = tiny_models.NAMED
"""The forms that show their operations."""


# --- closed forms -------------------------------------------------------------------------------


@pytest.mark.parametrize("form", NATIVE)
def test_linear_model(form):
    explanation = DeepLIFT(tiny_models.linear(form))(np.array([[1.0, 2.0, 4.0]], "float32"))
    np.testing.assert_allclose(explanation.values, [[2, -6, 2]], rtol=1e-6)
    np.testing.assert_allclose(explanation.scores, [-1.3], rtol=1e-6)
    np.testing.assert_allclose(explanation.base_values, [0.7], rtol=1e-6)
    np.testing.assert_allclose(explanation.completeness_gap, [0], atol=2e-6)
    assert explanation.rows.tolist() == [3]  # one of which predicts the target


@tiny_models.in_forms
def rectified_sum(form):
    """T25: y = ReLU(x1 + x2)."""
    if form == "torch":
        return tiny_models.torch_closed_form(lambda m, x: x.sum(1, keepdim=True).relu())
    return tiny_models.closed_form(
        form, (2,), lambda x: ops.relu(ops.sum(x, axis=1, keepdims=True))
    )


@pytest.mark.parametrize("form", NATIVE)
def test_where_the_rectifier_begins_on_its_flat_side(form):
    x, start = np.array([[2, -1]], "float32"), np.array([-1, -1], "float32")
    explanation = DeepLIFT(rectified_sum(form), baseline=start)(x)
    np.testing.assert_allclose(explanation.values, [[1, 0]], atol=1e-6)
    np.testing.assert_allclose(explanation.scores - explanation.base_values, [1], atol=1e-6)
    slope = GradientInput(rectified_sum(form))(x - start).values
    np.testing.assert_allclose(slope, [[3, 0]], atol=1e-6)


# --- the oracle ---------------------------------------------------------------------------------

CURVES = {
    "tanh": np.tanh,
    "sigmoid": lambda z: 1 / (1 + np.exp(-z)),
    "relu": lambda z: np.maximum(z, 0),
}


def dense_net(names, torch_module=False):
    """A table net with these activations, its kernels and biases."""
    sizes = [4, *(5 for _ in names), 3]
    kernels = [GENERATOR.normal(size=pair) for pair in itertools.pairwise(sizes)]
    biases = [GENERATOR.normal(size=size) for size in sizes[1:]]
    kernels, biases = ([one.astype("float32") for one in every] for every in (kernels, biases))
    hidden = [layers.Dense(5, activation=name) for name in names]
    made = keras.Sequential([keras.Input((4,)), *hidden, layers.Dense(3)])
    made.set_weights([one for pair in zip(kernels, biases, strict=True) for one in pair])
    if torch_module:
        import torch
        from torch import nn

        acts = {"tanh": nn.Tanh(), "sigmoid": nn.Sigmoid(), "relu": nn.ReLU(inplace=True)}
        parts = []
        for k, (kernel, bias) in enumerate(zip(kernels, biases, strict=True)):
            parts.append(tiny_models.torch_part(nn.Linear(*kernel.shape), kernel.T, bias))
            parts += [acts[names[k]]] if k < len(names) else []
        made = torch.nn.Sequential(*parts).eval()
    return made, kernels, biases


def rescaled(names, kernels, biases, x, start, targets):
    """Multipliers layer by layer, in float64."""
    ends, starts = np.asarray(x, float), np.broadcast_to(np.asarray(start, float), x.shape)
    change, ratios = ends - starts, []
    for k, name in enumerate(names):
        ends, starts = (z @ kernels[k].astype(float) + biases[k] for z in (ends, starts))
        curve = CURVES[name]
        ratios.append((curve(ends) - curve(starts)) / (ends - starts))
        ends, starts = curve(ends), curve(starts)
    multiplier = kernels[-1].astype(float).T[targets]
    for kernel, ratio in zip(kernels[-2::-1], ratios[::-1], strict=True):
        multiplier = (multiplier * ratio) @ kernel.T
    return multiplier * change


@pytest.mark.parametrize("native", [False, *([True] if BACKEND == "torch" else [])])
@pytest.mark.parametrize("start", [0.0, -0.5])
@pytest.mark.parametrize("names", [("tanh",), ("relu", "sigmoid"), ("tanh", "relu", "relu")])
def test_equals_multipliers_by_hand(names, start, native):
    model, kernels, biases = dense_net(names, native)
    explanation = DeepLIFT(model, baseline=start, batch_size=3)(TABLE, TARGETS)
    # Quotients of small differences have the rounding of the numbers they are of.
    expected = rescaled(names, kernels, biases, TABLE, start, TARGETS)
    assert_same(explanation.values, expected, tolerance=2e-4)
    assert np.abs(explanation.completeness_gap).max() < 1e-5


def test_baselines_of_every_form():
    names = ("tanh", "relu")
    model, kernels, biases = dense_net(names)
    each = oracles.inputs("table", seed=9)

    def same(actual, expected):
        assert_same(actual, expected, tolerance=2e-4)

    def by_hand(start):
        return rescaled(names, kernels, biases, TABLE, start, TARGETS)

    same(DeepLIFT(model, baseline=each[0])(TABLE, TARGETS).values, by_hand(each[0]))
    same(DeepLIFT(model, baseline=each)(TABLE, TARGETS).values, by_hand(each))
    same(DeepLIFT(model, baseline=lambda x: -x)(TABLE, TARGETS).values, by_hand(-TABLE))
    explanation = DeepLIFT(model, baseline=[0.0, 0.5, each])(TABLE, TARGETS)
    same(explanation.values, np.mean([by_hand(s) for s in (0.0, 0.5, each)], axis=0))
    np.testing.assert_allclose(
        explanation.values.sum(1), explanation.scores - explanation.base_values, atol=1e-5
    )
    assert (explanation.rows == 6).all()


def test_input_equal_to_its_baseline_gets_zeros():
    model, *_ = dense_net(("tanh", "relu"))
    with pytest.warns(UserWarning, match="zero everywhere"):
        explanation = DeepLIFT(model, baseline=TABLE)(TABLE, TARGETS)
    assert not explanation.values.any()
    assert not explanation.completeness_gap.any()


def test_maxima_of_windows_by_hand():
    """Rises and falls: shared between where the input and where the baseline has its maximum."""
    x = np.array([[1, 5, 2, 0], [0, 1, 3, 2], [4, 4, 0, 1]], "float32")
    start = np.array([[2, 3, 4, 4.5], [3, 0, 1, 2], [0, 0, 5, 1]], "float32")
    weight = np.array([2.0, -3.0])
    expected = np.zeros_like(x)
    for n, (one, other) in enumerate(zip(x, start, strict=True)):
        for k in range(2):
            a, b = one[2 * k : 2 * k + 2], other[2 * k : 2 * k + 2]
            far = max(a.max(), b.max())
            expected[n, 2 * k + a.argmax()] += weight[k] * (far - b.max())
            expected[n, 2 * k + b.argmax()] += weight[k] * (a.max() - far)
    inside = keras.Input((4, 1))
    dense = layers.Dense(1, use_bias=False)
    made = keras.Model(inside, dense(layers.Flatten()(layers.MaxPooling1D(2)(inside))))
    dense.set_weights([weight[:, None]])
    explanation = DeepLIFT(made, baseline=start[..., None])(x[..., None])
    assert_same(explanation.values[..., 0], expected)
    np.testing.assert_allclose(explanation.completeness_gap, 0, atol=1e-6)


def test_product_is_shared_by_both_factors():
    # Python's product is an operation of Keras in a functional model.
    explanation = DeepLIFT(tiny_models.product("flat"))(np.array([[1.0, 2.0, 3.0]], "float32"))
    np.testing.assert_allclose(explanation.values.sum(), 6, rtol=1e-6)
    inside = keras.Input((2,))
    made = keras.Model(inside, layers.Multiply()([inside[:, :1], inside[:, 1:]]))
    x, start = np.array([[3.0, 5.0]], "float32"), np.array([1.0, -2.0], "float32")
    # ½ (b + b0) Δa and ½ (a + a0) Δb
    found = DeepLIFT(made, baseline=start)(x)
    np.testing.assert_allclose(found.values, [[0.5 * 3 * 2, 0.5 * 4 * 7]], rtol=1e-6)
    np.testing.assert_allclose(found.scores - found.base_values, [17], rtol=1e-6)


# --- completeness -------------------------------------------------------------------------------


def conv(x, **fields):
    return layers.Conv2D(4, 3, padding="same", **fields)(x)


def gated(x):
    return layers.Multiply()([conv(x), conv(x, activation="sigmoid")])


def quotient(x):
    return ops.divide(conv(x), 1.5 + ops.square(conv(x)))


def squeezed(x):
    gate = layers.Dense(4, activation="sigmoid")(layers.GlobalAveragePooling2D()(conv(x)))
    return layers.Multiply()([conv(x), layers.Reshape((1, 1, 4))(gate)])


PARTS = {
    "batch normalisation": lambda x: layers.Activation("relu")(
        layers.BatchNormalization()(conv(x))
    ),
    "max pooling": lambda x: layers.MaxPooling2D(2)(conv(x, activation="relu")),
    "overlapping maxima": lambda x: layers.MaxPooling2D(3, 1)(conv(x)),
    "average pooling": lambda x: layers.AveragePooling2D(2)(conv(x, activation="tanh")),
    "separable": lambda x: layers.SeparableConv2D(4, 3, activation="relu")(x),
    "depthwise": lambda x: layers.DepthwiseConv2D(3, activation="relu6")(conv(x)),
    "transposed": lambda x: layers.Conv2DTranspose(4, 3, activation="elu")(x),
    "silu": lambda x: conv(x, activation="silu"),
    "gelu": lambda x: conv(x, activation="gelu"),
    "mish": lambda x: conv(x, activation="mish"),
    "softplus and hard sigmoid": lambda x: conv(
        conv(x, activation="softplus"), activation="hard_sigmoid"
    ),
    "PReLU": lambda x: layers.PReLU(alpha_initializer="random_normal")(conv(x)),
    "gate": gated,
    "squeeze and excitation": squeezed,
    "division": quotient,
    "maximum": lambda x: layers.Maximum()([conv(x), conv(x)]),
    "minimum": lambda x: layers.Minimum()([conv(x), conv(x, activation="relu")]),
    "global maxima": lambda x: layers.Reshape((1, 1, 4))(layers.GlobalMaxPooling2D()(conv(x))),
    "smallest": lambda x: ops.min(conv(x), axis=1, keepdims=True),
    "residual": lambda x: layers.Activation("relu")(
        layers.Add()([conv(x), conv(conv(x, activation="relu"))])
    ),
    "powers": lambda x: ops.power(1.5 + ops.square(conv(x)), 0.5) + ops.power(2.0, conv(x)),
}


def with_part(name):
    inside = keras.Input(oracles.SHAPES["image"])
    hidden = PARTS[name](inside)
    made = keras.Model(inside, layers.Dense(3)(layers.Flatten()(hidden)))
    tiny_models.randomize(made)
    for layer in made.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.set_weights([np.abs(w) + 0.5 for w in layer.get_weights()])
    return made


@pytest.mark.parametrize("name", PARTS)
def test_is_complete(name):
    model = with_part(name)
    explanation = DeepLIFT(model, baseline=oracles.inputs("image", 1, seed=5)[0])(IMAGES, TARGETS)
    size = np.abs(explanation.scores - explanation.base_values).max()
    assert size > 0.1
    assert np.abs(explanation.completeness_gap).max() <= 1e-5 * max(
        size, np.abs(explanation.values).sum(axis=(1, 2, 3)).max()
    )
    np.testing.assert_allclose(
        explanation.values.sum(axis=(1, 2, 3)) - explanation.completeness_gap,
        explanation.scores - explanation.base_values,
        atol=1e-4 * size,
    )


@pytest.mark.parametrize("name", ["image", "channels_first", "series", "torch_image"])
def test_is_complete_on_every_kind(name):
    if name not in KINDS:
        pytest.skip("torch modules")
    kind = KINDS[name]
    explanation = DeepLIFT(tiny_models.model(name, "DeepLIFT"), baseline=0.3)(
        kind.inputs(), TARGETS
    )
    total = explanation.values.reshape(5, -1).sum(1)
    np.testing.assert_allclose(
        total, explanation.scores - explanation.base_values, rtol=1e-4, atol=1e-5
    )


def test_several_inputs_are_complete_together():
    given = tiny_models.several_input_rows()
    found = DeepLIFT(tiny_models.several_inputs())(given, TARGETS)
    total = found["table"].values.sum(1) + found["series"].values.sum((1, 2))
    np.testing.assert_allclose(
        total, found["table"].scores - found["table"].base_values, rtol=1e-4, atol=1e-5
    )


# --- the output ---------------------------------------------------------------------------------


def test_softmax_is_refused_and_its_input_explained():
    model = tiny_models.network("table", activation="softmax")
    with pytest.raises(ValueError, match=r'softmax.*output="logits"'):
        DeepLIFT(model)(TABLE, TARGETS)
    logits = DeepLIFT(model, output="logits")(TABLE, TARGETS).values
    assert_same(logits, DeepLIFT(tiny_models.network("table"))(TABLE, TARGETS).values)


def test_sigmoid_of_the_output_has_a_rule():
    explanation = DeepLIFT(tiny_models.one_column("sigmoid"))(TABLE)
    np.testing.assert_allclose(explanation.completeness_gap, 0, atol=1e-6)


# --- refused, and rules of one's own ------------------------------------------------------------


def normalised():
    inside = keras.Input((4,))
    hidden = layers.LayerNormalization(name="norm")(layers.Dense(5, activation="tanh")(inside))
    block = keras.Model(inside, hidden, name="block")
    made = keras.Model(inside, layers.Dense(3)(block(inside)))
    tiny_models.randomize(made)
    return made


def attention():
    inside = keras.Input((9, 3))
    mixed = layers.MultiHeadAttention(2, 3, name="heads")(inside, inside)
    return keras.Model(inside, layers.Dense(3)(layers.Flatten()(mixed)))


def recurrent():
    inside = keras.Input((9, 3))
    return keras.Model(inside, layers.Dense(3)(layers.GRU(4, name="memory")(inside)))


@pytest.mark.parametrize(
    ("make", "kind", "path"),
    [
        (normalised, "table", "block/norm"),
        (attention, "series", "heads"),
        (recurrent, "series", "memory"),
    ],
)
def test_operation_without_a_rule_is_refused_with_its_path(make, kind, path):
    with pytest.raises(ValueError, match="register_rule") as error:
        DeepLIFT(make())(oracles.inputs(kind), TARGETS)
    assert f"in '{path}" in str(error.value)


def steady_deviation(function, inputs, baselines, baseline_output):
    """The deviation as a constant: no difference is passed back through it."""
    del baselines, baseline_output
    (x,) = inputs
    deviation = ops.stop_gradient(ops.std(x, axis=-1, keepdims=True))
    linear = (x - ops.mean(x, axis=-1, keepdims=True)) / deviation
    return ops.stop_gradient(function(x) - linear) + linear


def along_differences(function, inputs, baselines, baseline_output):
    """Rescale where one number depends on several: the change shared in their own proportions."""
    (x,), (x0,) = inputs, baselines
    steady = ops.stop_gradient(x)
    change = ops.stop_gradient(function(x)) - baseline_output
    moved = steady - x0
    length = ops.sum(moved * moved, axis=-1, keepdims=True)
    along = ops.sum(moved * (x - steady), axis=-1, keepdims=True) / length
    return ops.stop_gradient(function(x)) + along * change


@pytest.fixture
def normalisation_rule():
    propagation.register_rule("layer_normalization", along_differences)
    yield
    if "layer_normalization" in propagation._OWN:
        propagation.unregister_rule("layer_normalization")


@pytest.mark.usefixtures("normalisation_rule")
def test_registered_rule_is_used_until_it_is_taken_back():
    model = normalised()
    explainer = DeepLIFT(model)
    first = explainer(TABLE, TARGETS)
    np.testing.assert_allclose(first.completeness_gap, 0, atol=1e-5)
    # Another rule gives other numbers at once, though the model is the same.
    propagation.register_rule("layer_normalization", steady_deviation)
    other = DeepLIFT(model, check_completeness=False)
    with pytest.warns(UserWarning, match="completeness"):
        second = other(TABLE, TARGETS)
    assert oracles.differ(second.values, first.values)
    propagation.register_rule("layer_normalization", along_differences)
    assert np.array_equal(explainer(TABLE, TARGETS).values, first.values)
    propagation.unregister_rule("layer_normalization")
    with pytest.raises(ValueError, match="register_rule"):
        explainer(TABLE, TARGETS)


def test_rule_replaces_one_that_exists():
    model, *_ = dense_net(("tanh",))
    before = DeepLIFT(model)(TABLE, TARGETS).values

    def gradient(function, inputs, baselines, baseline_output):
        del baselines, baseline_output
        return function(*inputs)

    propagation.register_rule("tanh", gradient)
    try:
        with pytest.warns(UserWarning, match="completeness"):
            found = DeepLIFT(model, check_completeness=False)(TABLE, TARGETS).values
        assert_same(found, GradientInput(model)(TABLE, TARGETS).values)
    finally:
        propagation.unregister_rule("tanh")
    assert np.array_equal(DeepLIFT(model)(TABLE, TARGETS).values, before)


class Hidden(layers.Layer):
    """Multiplies by an operator of Python, which Keras does not see."""

    def call(self, x):
        return x * x * x


def test_what_nobody_sees_is_caught_by_the_sum():
    inside = keras.Input((4,))
    made = keras.Model(inside, layers.Dense(3)(Hidden()(inside)))
    tiny_models.randomize(made)
    with pytest.raises(ValueError, match="check_completeness=False") as error:
        DeepLIFT(made)(TABLE, TARGETS)
    assert "keras.ops" in str(error.value)
    with pytest.warns(UserWarning, match="completeness"):
        found = DeepLIFT(made, check_completeness=False)(TABLE, TARGETS)
    assert_same(found.values, GradientInput(made)(TABLE, TARGETS).values)
    assert np.abs(found.completeness_gap).max() > 0.1


def test_functions_and_black_boxes_are_refused():
    refused = [lambda x: x @ np.ones((4, 3))]
    if BACKEND != "torch":
        refused.append(tiny_models.as_function(tiny_models.network("table")))
    for model in refused:
        with pytest.raises((TypeError, ValueError), match="`model`"):
            DeepLIFT(model)


@pytest.mark.skipif(BACKEND == "torch" or not tiny_models.TORCH, reason="the bridge")
def test_module_over_a_bridge_is_refused():
    with pytest.raises(ValueError, match="IntegratedGradients"):
        DeepLIFT(tiny_models.torch_twin("table"))


# --- torch --------------------------------------------------------------------------------------


@pytest.mark.skipif(BACKEND != "torch", reason="torch modules")
def test_module_with_operations_of_all_sorts_is_complete():
    import torch
    from torch import nn
    from torch.nn import functional

    def forward(m, x):
        h = m.conv(x)
        h = functional.max_pool2d(h, 2) + m.pool(h)
        h = h * torch.sigmoid(h) / (1.5 + h.pow(2))
        h.relu_()
        h += 0.1
        h.mul_(torch.sigmoid(1.0 * h))
        h = torch.maximum(h, functional.gelu(h - 0.2)).clamp(0.05, 2)
        h = h.flatten(2).max(dim=-1).values + torch.amin(h, dim=(2, 3))
        return m.out(h)

    parts = {"conv": nn.Conv2d(2, 4, 3), "pool": nn.MaxPool2d(2), "out": nn.Linear(4, 3)}
    made = tiny_models.torch_closed_form(forward, **parts)
    generator = np.random.default_rng(3)
    with torch.no_grad():
        for one in made.parameters():
            one.copy_(torch.tensor(generator.normal(0, 0.4, one.shape)))
    x = KINDS["channels_first"].inputs()
    before = [p.detach().clone() for p in made.parameters()]
    explanation = DeepLIFT(made, baseline=0.1)(x, TARGETS)
    np.testing.assert_allclose(explanation.completeness_gap, 0, atol=1e-5)
    assert all(torch.equal(a, b) for a, b in zip(before, made.parameters(), strict=True))


@pytest.mark.skipif(BACKEND != "torch", reason="torch modules")
def test_module_with_layer_normalisation_is_refused_with_its_name():
    from torch import nn

    made = nn.Sequential(nn.Linear(4, 5), nn.Sequential(nn.LayerNorm(5)), nn.Linear(5, 3)).eval()
    with pytest.raises(ValueError, match="register_rule") as error:
        DeepLIFT(made)(TABLE, TARGETS)
    assert "'1.0'" in str(error.value)
