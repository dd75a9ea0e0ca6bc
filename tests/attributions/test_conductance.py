"""Conductance: what flows through a layer, by a slow sum, and its completeness."""

import keras
import numpy as np
import pytest
from keras import layers

import oracles
import tiny_models
import xai_core as xai
from cases import TARGETS
from oracles import assert_same
from tiny_models import FORMS, KINDS
from xai_core.attributions import Conductance, IntegratedGradients

X = oracles.inputs("table")


def by_hand(x, start=0.0, steps=9):
    """The trapezoid over changes of tanh(x W + b), (N, 5)."""
    weights = oracles.weights("table")
    kernel, bias = weights["hidden"]
    slope = weights["logits"][0].T[TARGETS]  # of a linear head the same everywhere
    x, start = np.asarray(x, float), np.broadcast_to(np.asarray(start, float), x.shape)
    total, before = 0.0, None
    for position in np.linspace(0, 1, steps):
        units = np.tanh((start + position * (x - start)) @ kernel + bias)
        if before is not None:
            total = total + slope * (units - before)
        before = units
    return total


def through(twin, x, start, steps):
    """The same at ``conv1`` of a convolutional twin, whose head is not linear."""
    weights = oracles.weights(twin)

    def head(maps):
        hidden = np.tanh(oracles.convolve(oracles.halve(maps), *weights["conv2"]))
        return oracles.head(twin, hidden)

    def scores(maps):
        out = head(maps)
        return out[np.arange(len(out)), np.repeat(TARGETS, len(out) // len(TARGETS))]

    total, before = 0.0, None
    for position in np.linspace(0, 1, steps):
        maps = oracles.softplus(oracles.convolve(start + position * (x - start), *weights["conv1"]))
        slope = oracles.gradient(scores, maps)
        if before is not None:
            total = total + (slope + before[0]) / 2 * (maps - before[1])
        before = slope, maps
    return total


@pytest.mark.parametrize("batch_size", [1, 3, 7, 64])
@pytest.mark.parametrize("start", [0.0, -0.5])
def test_units_of_a_table_net(batch_size, start):
    explainer = Conductance(
        tiny_models.model("table", "Conductance"),
        layer="hidden",
        steps=9,
        baseline=start,
        batch_size=batch_size,
    )
    explanation = explainer(X, TARGETS)
    assert explanation.values.shape == (5, 5)
    assert_same(explanation.values, by_hand(X, start))
    np.testing.assert_allclose(explanation.completeness_gap, 0, atol=1e-5)
    assert explanation.layer == "hidden"


# Few steps on purpose.
@pytest.mark.filterwarnings("ignore::xai_core.ExplanationWarning")
@pytest.mark.parametrize("batch_size", [2, 32])
def test_feature_maps_against_the_slow_sum(batch_size):
    x = oracles.inputs("image")
    model = tiny_models.model("image", "Conductance")
    fields = {"layer": "conv1", "steps": 4, "baseline": 0.25, "batch_size": batch_size}
    expected = through("image", x, 0.25, 4)
    assert_same(Conductance(model, **fields, reducer=None)(x, TARGETS).values, expected)
    reduced = Conductance(model, **fields)(x, TARGETS)
    assert reduced.values.shape == (5, 7, 10, 1)
    assert_same(reduced.values, expected.sum(-1, keepdims=True))


def test_is_complete_where_nothing_goes_around():
    x = oracles.inputs("image")
    explanation = Conductance(tiny_models.model("image", "Conductance"), layer="conv2")(x, TARGETS)
    np.testing.assert_allclose(
        explanation.values.sum((1, 2, 3)) - explanation.completeness_gap,
        explanation.scores - explanation.base_values,
        atol=1e-5,
    )
    np.testing.assert_allclose(explanation.completeness_gap, 0, atol=1e-3)


def test_what_goes_around_the_layer_is_warned_of():
    model = xai.wrap(tiny_models.residual(), select=0)
    with pytest.warns(xai.ExplanationWarning, match="goes around"):
        Conductance(model, layer="right")(oracles.inputs("image"), TARGETS)


@pytest.mark.parametrize("form", [form for form in FORMS if form in tiny_models.NAMED])
def test_flow_through_a_linear_layer_is_that_of_integrated_gradients(form):
    x = np.array([[1.0, 2.0, 4.0]], "float32")
    model = tiny_models.linear(form)
    explanation = Conductance(model, layer="out", steps=5)(x)
    total = IntegratedGradients(model)(x).values.sum()
    np.testing.assert_allclose(explanation.values, [[total]], rtol=1e-6)


def test_several_baselines_are_averaged():
    model = tiny_models.model("table", "Conductance")
    explanation = Conductance(model, layer="hidden", steps=9, baseline=[0.0, 0.5])(X, TARGETS)
    assert_same(explanation.values, (by_hand(X) + by_hand(X, 0.5)) / 2)
    assert (explanation.rows == 1 + 2 * 10).all()


def test_pair_and_several_targets():
    model = tiny_models.model("table", "Conductance")
    halves = tiny_models.cut(model, "hidden")
    found = Conductance(model, layer=halves, steps=9)(X, TARGETS)
    assert_same(found.values, by_hand(X))
    each = Conductance(model, layer="hidden", steps=9).explain_each(X, [0, 1, 2])
    assert_same(each[2].values[0], by_hand(X)[0])


def test_call_of_a_shared_layer():
    x = oracles.inputs("image")
    model = tiny_models.model("shared", "Conductance")
    first, second = (
        Conductance(model, layer="shared", call=call, steps=200)(x, TARGETS) for call in (0, 1)
    )
    assert first.values.shape == (5, 7, 10, 1)
    assert second.values.shape == (5, 3, 5, 1)
    for one in (first, second):
        np.testing.assert_allclose(one.completeness_gap, 0, atol=1e-3)


@pytest.mark.skipif("torch_table" not in KINDS, reason="torch modules")
def test_module():
    model = tiny_models.model("torch_table", "Conductance")
    assert_same(Conductance(model, layer="act", steps=9)(X, TARGETS).values, by_hand(X))


def test_several_inputs():
    given = tiny_models.several_input_rows()
    model = tiny_models.several_inputs()
    name = next(layer.name for layer in model.layers if isinstance(layer, layers.Concatenate))
    explanation = Conductance(model, layer=name)(given, TARGETS)
    assert explanation.values.shape == (5, 4 + 10 + 6)
    # Words have no path; both ends have the same.
    np.testing.assert_allclose(explanation.values[:, 14:], 0, atol=1e-6)
    np.testing.assert_allclose(explanation.completeness_gap, 0, atol=1e-3)


def test_a_rectifier_at_rest_passes_nothing():
    made = keras.Sequential(
        [keras.Input((1,)), layers.Dense(2, activation="relu", name="units"), layers.Dense(1)]
    )
    made.set_weights([np.array([[1.0, -1.0]]), np.zeros(2), np.array([[2.0], [3.0]]), np.zeros(1)])
    found = Conductance(made, layer="units", operator="regression")(np.ones((1, 1)), 0)
    np.testing.assert_allclose(found.values, [[2, 0]], rtol=1e-5)
