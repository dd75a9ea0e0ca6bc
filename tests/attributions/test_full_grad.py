"""FullGrad: oracle, sums of terms, biases outside layers, and what is refused."""

import keras
import numpy as np
import pytest
from keras import layers, ops

import cam_oracles
import oracles
import tiny_models
from bad_rows import Row, check
from cams import SPATIAL
from cases import TARGETS
from oracles import assert_same
from tiny_models import BACKEND, KINDS
from xai_core.attributions import FullGrad, GradCAM
from xai_core.operators import neuron

IMAGES = KINDS["image"].inputs()


@pytest.mark.parametrize("kind", SPATIAL, ids=lambda kind: kind.name)
def test_equals_the_oracle(kind):
    explanation = FullGrad(tiny_models.model(kind.name, "FullGrad"))(kind.inputs(), TARGETS)
    expected = cam_oracles.full_grad(kind.twin, oracles.inputs(kind.twin), TARGETS)
    assert_same(explanation.values, kind.layout(expected))
    assert abs(explanation.completeness_gap).max() < 1e-5


def rectified(last=3, activation=None):
    """Convolution, batch normalisation, ReLU, pooling, and a residual merge."""
    inside = keras.Input((8, 6, 2))
    x = layers.Conv2D(4, 3, padding="same", use_bias=False, name="conv")(inside)
    x = layers.BatchNormalization(name="norm")(x)
    x = layers.ReLU(name="act")(x)
    x = layers.MaxPooling2D(2, name="pool")(x)
    y = layers.Conv2D(4, 3, padding="same", activation="relu", name="side")(x)
    x = ops.relu(layers.Add(name="sum")([x, y]))
    x = layers.Flatten()(x)
    model = keras.Model(inside, layers.Dense(last, activation=activation, name="out")(x))
    tiny_models.randomize(model)
    norm = model.get_layer("norm")
    scale, shift, mean, variance = norm.get_weights()
    norm.set_weights([scale, shift, mean, abs(variance) + 0.5])
    return model


X = np.random.default_rng(5).normal(size=(4, 8, 6, 2)).astype("float32")


@pytest.mark.parametrize("activation", [None, "softmax", "sigmoid"])
def test_signed_terms_sum_up_to_the_score(activation):
    explanation = FullGrad(rectified(activation=activation))(X, [0, 1, 2, 0])
    largest = abs(explanation.scores).max()
    np.testing.assert_allclose(explanation.completeness_gap, 0, atol=2e-6 * (largest + 10))
    assert (explanation.values >= 0).all()
    assert explanation.values.shape == (4, 8, 6, 1)


def test_terms_of_one_convolution_by_hand():
    model = keras.Sequential(
        [
            keras.Input((2, 2, 1)),
            layers.Conv2D(1, 1, name="conv"),
            layers.Flatten(),
            layers.Dense(1),
        ]
    )
    model.set_weights([np.full((1, 1, 1, 1), 2.0), np.array([-3.0]), np.ones((4, 1)), np.ones(1)])
    x = np.array([[1.0, 2.0], [3.0, 4.0]]).reshape(1, 2, 2, 1)
    explanation = FullGrad(model)(x)
    # |2 x| of the input, and |-3| of the bias at each place; the last bias has no place.
    np.testing.assert_allclose(explanation.values[0, :, :, 0], [[5, 7], [9, 11]], rtol=1e-6)
    np.testing.assert_allclose(explanation.scores, [9.0])
    np.testing.assert_allclose(explanation.completeness_gap, [0.0], atol=1e-5)


def test_nested_model_is_the_flat_one():
    flat = tiny_models.model("image", "FullGrad")
    nested = FullGrad(tiny_models.nested_image("trunk"))(IMAGES, TARGETS)
    assert_same(nested.values, FullGrad(flat)(IMAGES, TARGETS).values)


def test_neuron_is_the_output_of_a_submodel():
    model = rectified()
    inner = keras.ops.mean(model.get_layer("side").output, axis=(1, 2))
    expected = FullGrad(keras.Model(model.inputs, inner), operator="regression")(X, 2)
    found = FullGrad(model, operator=neuron("side", 2))(X)
    assert_same(found.values, expected.values)
    np.testing.assert_allclose(found.completeness_gap, 0, atol=1e-5)


def test_recurrent_cell_is_told():
    inside = keras.Input((9, 3))
    made = keras.Model(inside, layers.Dense(2)(layers.LSTM(4)(layers.Conv1D(3, 3)(inside))))
    tiny_models.randomize(made)
    with pytest.raises(ValueError, match="cells of recurrent layers"):
        FullGrad(made)(oracles.inputs("series"), 0)


def test_several_targets_at_once():
    explainer = FullGrad(rectified())
    for target, one in enumerate(explainer.explain_each(X, "all")):
        single = explainer(X, target)
        assert_same(one.values, single.values)
        np.testing.assert_allclose(one.completeness_gap, single.completeness_gap, atol=1e-5)


def test_layer_that_is_called_twice():
    explanation = FullGrad(tiny_models.model("shared", "FullGrad"))(IMAGES, 1)
    assert abs(explanation.completeness_gap).max() < 1e-5


def outside():
    """A subclassed model that adds a bias by itself, behind a linear layer."""

    class Outside(keras.Model):
        def __init__(self):
            super().__init__()
            self.conv = layers.Conv2D(3, 3)
            self.out = layers.Dense(2)

        def call(self, x):
            return self.out(ops.mean(self.conv(x) + 5.0, axis=(1, 2)))

    model = Outside()
    model(X)
    tiny_models.randomize(model)
    return model


def test_bias_outside_the_layers_is_refused_or_reported():
    model = outside()
    with pytest.raises(ValueError, match="`model` must add its biases inside") as error:
        FullGrad(model)(X, 0)
    assert "check_completeness=False" in str(error.value)
    explanation = FullGrad(model, check_completeness=False)(X, 0)
    kernel = ops.convert_to_numpy(model.out.kernel.value)
    np.testing.assert_allclose(explanation.completeness_gap, -5 * kernel[:, 0].sum(), rtol=1e-4)


def test_native_module():
    if BACKEND != "torch":
        pytest.skip("of native torch modules")
    import torch
    from torch import nn

    torch.manual_seed(0)
    parts = (
        nn.Conv2d(2, 3, 3),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2),
        nn.BatchNorm2d(3),
        nn.Flatten(),
    )
    model = nn.Sequential(*parts, nn.Linear(36, 2)).eval()
    pure = nn.Sequential(parts[0], nn.ReLU(), *parts[2:], model[-1]).eval()
    x = np.random.default_rng(1).normal(size=(3, 2, 8, 10)).astype("float32")
    maps = [FullGrad(one)(x, 1) for one in (model, pure)]
    assert_same(maps[0].values, maps[1].values)
    assert abs(maps[0].completeness_gap).max() < 1e-5


def test_twin_module_sums_up_to_the_score():
    if BACKEND != "torch":
        pytest.skip("of native torch modules")
    kind = KINDS["torch_image"]
    explanation = FullGrad(tiny_models.model("torch_image", "FullGrad"))(kind.inputs(), TARGETS)
    expected = oracles.logits("image", oracles.inputs("image"))[np.arange(5), TARGETS]
    assert_same(explanation.scores, expected)
    assert abs(explanation.completeness_gap).max() < 1e-5


def function():
    model = tiny_models.two_maps("function" if BACKEND != "torch" else "flat")
    return FullGrad(model)(np.ones((1, 2, 2, 2)))


def compiled_call(method, **fields):
    import tensorflow

    class Compiled(keras.Model):
        def __init__(self):
            super().__init__()
            self.conv = layers.Conv2D(3, 2, name="conv")
            self.out = layers.Dense(2)

        @tensorflow.function
        def call(self, x):
            return self.out(ops.mean(self.conv(x), axis=(1, 2)))

    model = Compiled()
    model(X)
    return method(model, **fields)(X, 1)


REFUSED = [
    Row(
        "flag is a word",
        lambda: FullGrad(outside(), check_completeness="no"),
        TypeError,
        ("`chec",),
    ),
    Row(
        "table",
        lambda: FullGrad(tiny_models.model("table"))(KINDS["table"].inputs()),
        ValueError,
        ("`FullGrad`", "space or time"),
    ),
    Row("black box", lambda: FullGrad(lambda x: x), TypeError, ("`model`", "FullGrad")),
    *(
        [Row("function", function, ValueError, ("`model`", "show its layers"))]
        if BACKEND != "torch"
        else []
    ),
    *(
        [
            Row(
                "call that TensorFlow compiled",
                lambda: compiled_call(FullGrad),
                ValueError,
                ("`model`", "whenever it is called", "tf.function"),
            ),
            Row(
                "layer behind a call that TensorFlow compiled",
                lambda: compiled_call(GradCAM, layer="conv"),
                ValueError,
                ("`layer`", "compiled call", "tf.function"),
            ),
        ]
        if BACKEND == "tensorflow"
        else []
    ),
]


@pytest.mark.parametrize("row", REFUSED, ids=lambda row: row.name)
def test_what_is_refused(row):
    check(row)
