"""Models as users have them: recurrent, stateful, oddly built, changed between two calls."""

import collections
import enum

import keras
import numpy as np
import pytest
from keras import layers, ops

from oracles import assert_same
from xai_core import _backend, wrap
from xai_core.attributions import GradCAM, IntegratedGradients, Saliency


def rows(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def seeded(seed, scale=0.5):
    return keras.initializers.RandomNormal(stddev=scale, seed=seed)


@pytest.mark.parametrize("cell", [layers.LSTM, layers.GRU])
def test_logits_of_a_recurrent_classifier_are_what_went_into_its_softmax(cell):
    model = keras.Sequential(
        [keras.Input((6, 4)), cell(5), layers.Dense(3, activation="softmax", name="head")]
    )
    twin = keras.Sequential([keras.Input((6, 4)), cell(5), layers.Dense(3)])
    twin.set_weights(model.get_weights())
    x = rows(2, 6, 4)
    found = Saliency(model, output="logits")(x, 0)
    expected = Saliency(twin)(x, 0)
    np.testing.assert_allclose(found.scores, expected.scores, rtol=1e-5)
    assert_same(found.values, expected.values)


def test_a_layer_that_returns_its_input_has_its_own_gradient():
    inputs = keras.Input((5, 6, 2))
    first = layers.Conv2D(3, 3, padding="same", kernel_initializer=seeded(1))(inputs)
    dropped = layers.Dropout(0.5, name="dropped")(first)
    branch = layers.Conv2D(3, 3, padding="same", name="branch", kernel_initializer=seeded(2))
    merged = layers.Add()([first, branch(dropped)])
    pooled = layers.GlobalAveragePooling2D()(merged)
    head = layers.Dense(2, kernel_initializer=seeded(3), name="head")
    model = keras.Model(inputs, head(pooled))
    x = rows(2, 5, 6, 2)
    found = GradCAM(model, layer="dropped", signed=True)(x, 0).values
    activation = keras.Model(inputs, first).predict(x, verbose=0)

    # Only the branch counts: the gradient of its score with respect to its own input.
    part = keras.Input((5, 6, 3))
    alone = keras.Model(part, head(layers.GlobalAveragePooling2D()(branch(part))))
    slopes = Saliency(alone, reducer=None, absolute=False)(activation, 0).values
    weights = slopes.mean(axis=(1, 2), keepdims=True)
    assert_same(found, (weights * activation).sum(-1, keepdims=True))


@pytest.mark.filterwarnings("ignore:The attributions .* miss completeness")
def test_infinite_gradients_stay_with_their_own_path():
    inputs = keras.Input((3,))
    model = keras.Model(inputs, ops.sum(ops.sqrt(inputs), axis=-1, keepdims=True))
    found = IntegratedGradients(model, steps=5, operator="regression")(np.ones((2, 3)))
    assert np.isfinite(found.values).all()
    assert_same(found.values[:1], found.values[1:])


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 3


class Settings(keras.Model):
    """A model that reads plain attributes of every kind."""

    def __init__(self):
        super().__init__()
        self.dense = layers.Dense(3, kernel_initializer=seeded(0))
        self.factor = np.float64(1.0)
        self.level = Level.LOW
        self.factors = [1.0, 1.0]
        self.table = {"scale": 1.0}
        self.functions = (ops.tanh, ops.sigmoid)
        self.array = np.ones(3, "float32")

    def call(self, x):
        h = self.dense(x) * ops.convert_to_tensor(self.array) * float(self.factor)
        h = h * int(self.level) * self.factors[1] * self.table["scale"]
        return self.functions[0](h)


CHANGES = {
    "NumPy number": lambda m: setattr(m, "factor", np.float64(2.0)),
    "enum": lambda m: setattr(m, "level", Level.HIGH),
    "item of a list": lambda m: m.factors.__setitem__(1, 2.0),
    "item of a dict": lambda m: m.table.__setitem__("scale", 2.0),
    "tuple of functions": lambda m: setattr(m, "functions", m.functions[::-1]),
    "array": lambda m: setattr(m, "array", np.full(3, 2.0, "float32")),
}


@pytest.mark.parametrize("change", CHANGES)
def test_after_a_change_of_an_attribute_the_scores_are_the_new_models(change):
    model, x = Settings(), rows(2, 4)
    model(x)
    explainer = Saliency(model)
    old = explainer(x, 0).scores
    CHANGES[change](model)
    new = explainer(x, 0).scores
    assert not np.allclose(old, new)
    expected = ops.convert_to_numpy(model(x, training=False))[:, 0]
    np.testing.assert_allclose(new, expected, rtol=1e-5)


def test_a_normalization_that_is_adapted_again_is_read_again():
    normalization = layers.Normalization()
    normalization.adapt(rows(50, 4))
    model = keras.Sequential([keras.Input((4,)), normalization, layers.Dense(2)])
    old = Saliency(model)(rows(1, 4), 0).values
    normalization.adapt(4 * rows(50, 4))
    np.testing.assert_allclose(Saliency(model)(rows(1, 4), 0).values, old / 4, rtol=1e-4)


class Counter(layers.Layer):
    """Multiplies by the number of its calls, and adds a loss and noise from its own generator."""

    def __init__(self):
        super().__init__()
        self.count = self.add_weight(shape=(), initializer="zeros", trainable=False)
        self.generator = keras.random.SeedGenerator(0)

    def call(self, x):
        self.count.assign(self.count + 1)
        self.add_loss(ops.sum(x))
        return x * self.count + keras.random.normal((1,), seed=self.generator)


@pytest.mark.parametrize("method", [Saliency, GradCAM, IntegratedGradients])
def test_a_stateful_model_stays_as_it_was(method):
    counter = Counter()
    parts = [layers.Conv2D(3, 3), counter, layers.GlobalAveragePooling2D(), layers.Dense(2)]
    model = keras.Sequential([keras.Input((6, 5, 2)), *parts])
    x, before = np.repeat(rows(1, 6, 5, 2), 3, axis=0), [w.numpy() for w in weights(model)]
    options = {"steps": 3, "rule": "trapezoid"} if method is IntegratedGradients else {}
    losses = len(model.losses)
    found = method(model, batch_size=1, **options)(x, 0).values
    for old, new in zip(before, weights(model), strict=True):
        np.testing.assert_array_equal(old, new.numpy())
    assert len(model.losses) == losses
    assert_same(found[:1], found[2:])


def weights(model):
    class Read:
        def __init__(self, variable):
            self.variable = variable

        def numpy(self):
            return np.array(ops.convert_to_numpy(self.variable.value))

    return [Read(variable) for variable in model.variables]


def test_a_model_that_permutes_its_inputs_has_feature_maps_of_another_layout():
    inputs = keras.Input((2, 7, 6))
    moved = layers.Permute((2, 3, 1))(inputs)
    options = {"data_format": "channels_last"}
    features = layers.Conv2D(4, 3, kernel_initializer=seeded(1), **options)(moved)
    pooled = layers.GlobalAveragePooling2D(**options)(features)
    model = keras.Model(inputs, layers.Dense(2, kernel_initializer=seeded(2))(pooled))
    plain = keras.Sequential([keras.Input((7, 6, 2)), *model.layers[2:]])
    x = rows(2, 2, 7, 6)
    wrapped = wrap(model, data_format="channels_first")
    for method in (Saliency, GradCAM):
        found = method(wrapped)(x, 0).values
        expected = method(wrap(plain, data_format="channels_last"))(x.transpose(0, 2, 3, 1), 0)
        assert_same(found, expected.values.transpose(0, 3, 1, 2))


def test_a_dict_is_put_into_the_order_of_the_model():
    first, second = keras.Input((1,), name="zz"), keras.Input((1,), name="aa")
    structure = collections.OrderedDict(zz=first, aa=second)
    model = keras.Model(structure, 2 * first + 5 * second)
    found = Saliency(model, operator="regression")({"aa": [[0.0]], "zz": [[4.0]]})
    assert found["zz"].scores == 8
    assert (found["zz"].values.item(), found["aa"].values.item()) == (2, 5)


@pytest.mark.parametrize("given", [lambda x: x, lambda x: [x], lambda x: (x,)])
def test_a_model_made_of_a_list_of_one_input_takes_the_array(given):
    inputs = keras.Input((3,))
    model = keras.Model([inputs], [layers.Dense(2)(inputs)])
    assert Saliency(model)(given(rows(4, 3)), 0).values.shape == (4, 3)


@pytest.mark.filterwarnings("ignore:Explicitly requested dtype float64")
def test_outputs_in_another_precision_than_the_inputs():
    model = keras.Sequential([keras.Input((4,)), layers.Dense(2, dtype="float64")])
    found = IntegratedGradients(model)(rows(2, 4), 0)
    np.testing.assert_allclose(found.completeness_gap, 0, atol=1e-5)


def test_labels_as_keras_takes_them():
    model = keras.Sequential([keras.Input((4,)), layers.Dense(1, activation="sigmoid")])
    x = rows(3, 4)
    column, flat = (Saliency(model)(x, labels).scores for labels in ([[0], [1], [0]], [0, 1, 0]))
    np.testing.assert_array_equal(column, flat)


def test_a_function_as_baseline_sees_all_inputs_whatever_the_batch():
    model = keras.Sequential([keras.Input((4,)), layers.Dense(5, activation="tanh")])
    seen = []

    def mean_row(x):
        seen.append(x.shape)
        return np.broadcast_to(x.mean(axis=0), x.shape)

    maps = [
        IntegratedGradients(model, baseline=mean_row, batch_size=size)(rows(6, 4), 0).values
        for size in (2, 6)
    ]
    assert_same(*maps)
    assert seen == [(6, 4), (6, 4)]


def test_a_score_that_is_not_finite_at_the_baseline_is_refused():
    inputs = keras.Input((3,))
    model = keras.Model(inputs, ops.sum(ops.log(inputs), axis=-1, keepdims=True))
    with pytest.raises(ValueError, match=r"`operator` must give finite scores of the baseline"):
        IntegratedGradients(model, operator="regression")(np.ones((2, 3)))


def test_an_operator_that_drops_rows_is_refused():
    model = keras.Sequential([keras.Input((4,)), layers.Dense(2)])
    explainer = Saliency(model, operator=lambda m, x, t: m(x)[:1, 0])
    with pytest.raises(ValueError, match=r"`operator` must return one score per row"):
        explainer(rows(3, 4))


def test_a_stream_is_no_single_batch():
    model = keras.Sequential([keras.Input((4,)), layers.Dense(2)])
    with pytest.raises(TypeError, match=r"`data` must be an iterable of batches"):
        next(Saliency(model).stream(rows(3, 4)))


if _backend.EAGER:
    import torch

    @pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")
    def test_scripted_parts_leave_no_hooks_behind():
        scripted = torch.jit.script(torch.nn.Sequential(torch.nn.Tanh()))
        module = torch.nn.Sequential(
            torch.nn.Conv2d(2, 3, 3), scripted, torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()
        ).eval()
        GradCAM(module)(rows(2, 2, 6, 5), 0)
        assert not any(part._forward_hooks for part in module)
