"""FORGrad: the oracle's low-pass of the oracle's maps, whatever explainer is wrapped."""

import dataclasses

import keras
import numpy as np
import pytest
from keras import layers

import oracles
import tiny_models
from cases import TARGETS, tripled
from model_state import host
from naming import shown
from oracles import assert_same
from tiny_models import FORMS, KINDS
from xai_core import ExplanationWarning, _backend
from xai_core.attributions import (
    FORGrad,
    GradCAM,
    GradientInput,
    IntegratedGradients,
    RandomMap,
    Saliency,
)

SPATIAL = [kind for kind in KINDS.values() if kind.rank > 2 and kind.name != "shared"]
X = KINDS["image"].inputs()


def model(name="image"):
    return tiny_models.model(name, "FORGrad")


def gradient(kind):
    x = oracles.inputs(kind.twin)
    return oracles.gradient(oracles.score(kind.twin, TARGETS), x)


def filtered(maps, sigma, signed=False):
    kept = oracles.low_pass(maps, sigma)
    return kept if signed else np.abs(kept)


# --- the rule -----------------------------------------------------------------------------------


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("kind", SPATIAL, ids=lambda kind: kind.name)
def test_of_saliency_equals_the_oracle(kind, signed):
    base = Saliency(model(kind.name), absolute=False, reducer="max")
    explanation = FORGrad(base, sigma=2.5, signed=signed)(kind.inputs(), TARGETS)
    expected = filtered(oracles.reduce(gradient(kind), "max"), 2.5, signed)
    assert_same(explanation.values, kind.layout(expected))


@pytest.mark.parametrize("name", ["image", "channels_first"])
def test_of_an_unreduced_map_filters_each_channel(name):
    kind = KINDS[name]
    explainer = FORGrad(Saliency(model(name), reducer=None), sigma=2.5)
    expected = kind.layout(filtered(np.abs(gradient(kind)), 2.5))
    assert_same(explainer(kind.inputs(), TARGETS).values, expected)
    assert_same(host(explainer.attribute(kind.inputs(), TARGETS)), expected)
    reducing = FORGrad(Saliency(model(name)), sigma=2.5)
    assert_same(host(reducing.attribute(kind.inputs(), TARGETS)), expected)


@pytest.mark.parametrize("signed", [False, True])
def test_of_integrated_gradients_equals_the_oracle(signed):
    base = IntegratedGradients(model(), steps=12, rule="trapezoid")
    explanation = FORGrad(base, sigma=3, signed=signed)(X, TARGETS)
    scores = oracles.score("image", TARGETS)
    path = oracles.integrated_gradients(scores, X, steps=12, rule="trapezoid")
    assert_same(explanation.values, filtered(oracles.reduce(path, "sum"), 3, signed))


@pytest.mark.parametrize("name", ["image", "series"])
def test_of_grad_cam_equals_the_oracle(name):
    kind = KINDS[name]
    explanation = FORGrad(GradCAM(model(name)), sigma=1.5)(kind.inputs(), TARGETS)
    maps = oracles.grad_cam_of(name, oracles.inputs(name), TARGETS)
    assert_same(explanation.values, filtered(maps, 1.5))


def test_of_a_volume_equals_the_oracle():
    shape = (5, 4, 6, 2)
    network = keras.Sequential(
        [
            keras.Input(shape),
            layers.Conv3D(3, 3, activation="tanh", name="conv"),
            layers.GlobalAveragePooling3D(),
            layers.Dense(2),
        ]
    )
    tiny_models.randomize(network)
    x = np.random.default_rng(3).normal(size=(3, *shape)).astype("float32")
    base = GradientInput(network)
    explanation = FORGrad(base, sigma=2, signed=True)(x, 1)
    assert explanation.values.shape == (3, 5, 4, 6, 1)
    assert_same(explanation.values, filtered(base(x, 1).values, 2, signed=True))


def test_default_radius_is_15_of_224_of_the_longest_side():
    network = keras.Sequential([keras.Input((20, 32, 1)), layers.Flatten(), layers.Dense(2)])
    tiny_models.randomize(network)
    x = np.random.default_rng(3).normal(size=(2, 20, 32, 1)).astype("float32")
    base = Saliency(network)
    explanation = FORGrad(base)(x, 0)
    assert_same(explanation.values, filtered(base(x, 0).values, 15 * 32 / 224))
    assert explanation.notes == ("`sigma` 2.14 is 15/224 of the longest side.",)
    assert FORGrad(base, sigma=3)(x, 0).notes == ()


def test_radius_below_one_leaves_the_mean_and_says_so():
    base = Saliency(model())
    for explainer in (FORGrad(base), FORGrad(base, sigma=0.5)):
        with pytest.warns(ExplanationWarning, match="nothing but the mean"):
            explanation = explainer(X, TARGETS)
        mean = base(X, TARGETS).values.mean(axis=(1, 2, 3), keepdims=True)
        assert_same(explanation.values, np.broadcast_to(mean, explanation.values.shape))


def test_what_the_wrapped_explainer_knows_is_told():
    random = FORGrad(RandomMap(model(), seed=3), sigma=2)(X, TARGETS)
    assert (random.seed, random.targets_used) == (3, False)
    saturated = tiny_models.network("image", activation="softmax")
    saturated.layers[-1].set_weights([100 * w for w in saturated.layers[-1].get_weights()])
    with pytest.warns(ExplanationWarning, match="above 0.999"):
        FORGrad(Saliency(saturated), sigma=2)(X)


@pytest.mark.parametrize(
    "wrong", [None, 5, model, len], ids=["none", "number", "model", "function"]
)
def test_only_explainers_are_wrapped(wrong):
    with pytest.raises(TypeError, match=r"`model` must be an explainer.*FORGrad\(Saliency\(model"):
        FORGrad(wrong() if wrong is model else wrong)


ROW = 1 + np.cos(2 * np.pi * 3 * np.arange(16) / 16)
WAVES = {"wave": np.tile(ROW, (16, 1)), "constant": np.ones((15, 15))}


def weighted(name):
    """``make(form)`` of a linear model of images with one channel, whose gradient is a wave."""
    weight = WAVES[name]

    @tiny_models.in_forms
    def make(form):
        if form == "torch":
            from torch import nn

            part = tiny_models.torch_part(nn.Linear(weight.size, 1, bias=False), weight)
            return tiny_models.torch_closed_form(lambda m, x: m.out(x.flatten(1)), out=part)
        flatten, dense = layers.Flatten(), layers.Dense(1, use_bias=False)
        made = tiny_models.closed_form(
            form, (*weight.shape, 1), lambda x: dense(flatten(x)), [flatten, dense]
        )
        dense.set_weights([weight.reshape(-1, 1)])
        return made

    return make


LINEAR = {name: weighted(name) for name in WAVES}


def filtered_gradient(name, form, sigma):
    """The gradient of a linear model as FORGrad gives it, (H, W)."""
    shape = WAVES[name].shape
    x = np.ones((1, 1, *shape) if form == "torch" else (1, *shape, 1), "float32")
    return FORGrad(Saliency(LINEAR[name](form)), sigma=sigma)(x).values.reshape(shape)


@pytest.mark.parametrize("form", FORMS)
def test_wave_of_three_cycles(form):
    for sigma, expected in ((2, np.ones((16, 16))), (3, WAVES["wave"]), (16, WAVES["wave"])):
        values = filtered_gradient("wave", form, sigma)
        np.testing.assert_allclose(values, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("form", FORMS)
def test_constant_map_of_odd_size(form):
    for sigma in (None, 1, 15):
        values = filtered_gradient("constant", form, sigma)
        np.testing.assert_allclose(values, WAVES["constant"], rtol=0, atol=1e-6)


# --- what the Explanation tells -----------------------------------------------------------------


def test_explanation_keeps_what_still_holds():
    base = IntegratedGradients(model(), steps=12)
    inner, outer = base(X, TARGETS), FORGrad(base, sigma=2)(X, TARGETS)
    assert inner.completeness_gap is not None
    assert outer.completeness_gap is None
    for name in ("scores", "base_values", "targets", "rows", "fingerprints"):
        np.testing.assert_array_equal(getattr(outer, name), getattr(inner, name))
    assert outer.rows[0] == 14
    assert outer.method == "FORGrad"
    assert outer.config["sigma"] == 2
    assert outer.config["explainer"]["method"] == "IntegratedGradients"
    assert outer.config["explainer"]["steps"] == 12


def test_layer_and_notes_are_those_of_the_explainer():
    base = GradCAM(model())
    inner, outer = base(X, TARGETS), FORGrad(base, sigma=2)(X, TARGETS)
    assert outer.layer == inner.layer == "conv2"
    assert outer.notes == inner.notes != ()


def test_of_a_random_map_with_and_without_a_model():
    expected = filtered(RandomMap(seed=4)(X).values, 2)
    assert_same(FORGrad(RandomMap(seed=4), sigma=2)(X).values, expected)
    explanation = FORGrad(RandomMap(model(), seed=4), sigma=2)(X, TARGETS)
    assert_same(explanation.values, expected)
    assert explanation.scores is not None


def test_of_itself_is_the_smaller_radius():
    base = Saliency(model(), absolute=False)
    twice = FORGrad(FORGrad(base, sigma=3, signed=True), sigma=1.5, signed=True)
    once = FORGrad(base, sigma=1.5, signed=True)
    assert_same(twice(X, TARGETS).values, once(X, TARGETS).values)


# --- composition --------------------------------------------------------------------------------


def test_settings_are_those_of_the_explainer():
    base = Saliency(model(), operator=tripled, output="softmax", batch_size=2)
    explanation = FORGrad(base, sigma=2)(X, TARGETS)
    assert_same(explanation.values, filtered(base(X, TARGETS).values, 2))
    assert_same(explanation.scores, base(X, TARGETS).scores)
    same = FORGrad(base, sigma=2, operator=tripled, output="softmax", batch_size=2)
    assert_same(same(X, TARGETS).values, explanation.values)


@pytest.mark.parametrize(
    "other", [{"operator": tripled}, {"output": "softmax"}, {"batch_size": 8}], ids=shown
)
def test_settings_that_differ_from_the_explainers_are_refused(other):
    (name,) = other
    with pytest.raises(ValueError, match=f"`{name}` must be that of the wrapped explainer"):
        FORGrad(Saliency(model()), **other)


def test_with_model_reaches_the_explainer():
    softmax = tiny_models.network("image", activation="softmax")
    explainer = FORGrad(Saliency(model(), reducer="mean"), sigma=2)
    moved = explainer.with_model(softmax)
    assert (moved.sigma, moved.model.reducer, moved.model.model) == (2, "mean", softmax)
    assert explainer.model.model is model()
    expected = filtered(Saliency(softmax, reducer="mean")(X, TARGETS).values, 2)
    assert_same(moved(X, TARGETS).values, expected)


def test_copy_with_another_radius():
    explainer = FORGrad(Saliency(model()), sigma=2)
    other = dataclasses.replace(explainer, sigma=3)
    assert_same(other(X, TARGETS).values, filtered(Saliency(model())(X, TARGETS).values, 3))


def test_several_inputs_are_filtered_one_by_one():
    image, series = keras.Input((6, 8, 2)), keras.Input((9, 3))
    parts = [layers.Flatten()(layers.Activation("tanh")(one)) for one in (image, series)]
    network = keras.Model((image, series), layers.Dense(2)(layers.Concatenate()(parts)))
    tiny_models.randomize(network)
    rng = np.random.default_rng(3)
    x = tuple(rng.normal(size=(3, *one.shape[1:])).astype("float32") for one in (image, series))
    base = GradientInput(network)
    for sigma in (2, 1.5):
        for inner, outer in zip(base(x, 1), FORGrad(base, sigma=sigma)(x, 1), strict=True):
            assert_same(outer.values, filtered(inner.values, sigma))


# --- compile once -------------------------------------------------------------------------------


@pytest.mark.skipif(_backend.EAGER, reason="nothing is compiled on this backend")
def test_another_radius_compiles_nothing(monkeypatch):
    from xai_core import images

    traces, usual = [], images.filtered

    def counted(*arguments):
        traces.append(arguments)
        return usual(*arguments)

    monkeypatch.setattr(images, "filtered", counted)
    base = Saliency(tiny_models.fresh("image"))
    first = FORGrad(base, sigma=1)(X, TARGETS).values
    assert len(traces) == 1
    second = FORGrad(base, sigma=3)(X, 0).values
    assert len(traces) == 1
    assert oracles.differ(first, second)


# --- what cannot be done ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ({"sigma": 0}, ValueError),
        ({"sigma": -2.0}, ValueError),
        ({"sigma": np.inf}, ValueError),
        ({"sigma": np.nan}, ValueError),
        ({"sigma": "3"}, TypeError),
        ({"sigma": True}, TypeError),
        ({"signed": 1}, TypeError),
    ],
    ids=shown,
)
def test_wrong_fields_are_refused(wrong, error):
    (name,) = wrong
    with pytest.raises(error, match=f"`{name}`"):
        FORGrad(Saliency(model()), **wrong)


def test_tables_are_refused():
    x = KINDS["table"].inputs()
    with pytest.raises(ValueError, match=r"`FORGrad` needs inputs with space or time.*\(5, 4\)"):
        FORGrad(Saliency(model("table")))(x, TARGETS)


def test_what_the_explainer_refuses_is_refused():
    with pytest.raises(ValueError, match=r"`reducer` must be left out for tables and series"):
        FORGrad(Saliency(model("series"), reducer="mean"))(KINDS["series"].inputs(), TARGETS)
