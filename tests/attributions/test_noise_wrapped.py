"""Noise around other explainers, black boxes, models with several inputs or other precision."""

import json
import pickle

import keras
import numpy as np
import pytest
from keras import layers

import oracles
import tiny_models
import xai_core as xai
from cases import TARGETS, tripled
from model_state import host
from noisy import IMAGES, SERIES, X, explainer, model, smooth
from oracles import assert_same
from tiny_models import BACKEND
from xai_core.attributions import (
    FORGrad,
    GradCAM,
    GradientInput,
    IntegratedGradients,
    Occlusion,
    RandomMap,
    Saliency,
    SmoothGrad,
    SquareGrad,
    VarGrad,
)

# --- other explainers ---------------------------------------------------------------------------

# Three samples of five inputs are one batch of fifteen, which is also explained directly.
FIFTEEN = {"batch_size": 15}
WRAPPED = {
    "Saliency": lambda m: Saliency(m, **FIFTEEN),
    "GradientInput": lambda m: GradientInput(m, **FIFTEEN),
    "IntegratedGradients": lambda m: IntegratedGradients(m, steps=3, baseline=0.4, **FIFTEEN),
    "GradCAM": lambda m: GradCAM(m, signed=True, **FIFTEEN),
    "FORGrad": lambda m: FORGrad(Saliency(m, operator=tripled, **FIFTEEN), sigma=2.5),
    "Occlusion": lambda m: Occlusion(m, patch_size=4, **FIFTEEN),
}


def noisy_images():
    drawn = oracles.normal(0, range(3), 140).reshape(3, 1, 7, 10, 2)
    return (IMAGES + 0.2 * drawn).reshape(15, 7, 10, 2).astype("float32")


def around(base, cls=SmoothGrad):
    return explainer(cls=cls, base=base, n_samples=3, noise=0.2)


def maps_of(base):
    """The maps (3, 5, ...) of the noisy images, explained directly."""
    every = host(base.attribute(noisy_images(), np.tile(TARGETS, 3)))
    return every.reshape(3, 5, *every.shape[1:])


@pytest.mark.parametrize("name", WRAPPED)
def test_maps_of_noisy_inputs_are_those_of_the_wrapped_explainer(name):
    base = WRAPPED[name](model())
    explanation = around(base)(IMAGES, TARGETS)
    assert_same(explanation.values, maps_of(base).mean(0))
    assert_same(explanation.scores, base(IMAGES, TARGETS).scores)
    assert explanation.config["explainer"]["method"] == type(base).__name__
    assert explanation.config["batch_size"] == 15


def test_variance_of_the_maps_of_a_wrapped_explainer():
    base = WRAPPED["Occlusion"](model())
    assert_same(around(base, VarGrad)(IMAGES, TARGETS).values, maps_of(base).var(0, ddof=1))


HALVES = {
    "one per input": IMAGES / 2,
    "a function": lambda x: x / 2,
    "mean": "mean",
}


@pytest.mark.parametrize("name", HALVES)
def test_baselines_belong_to_the_inputs_without_noise(name):
    def path(baseline):
        return IntegratedGradients(model(), steps=3, baseline=baseline, **FIFTEEN)

    known = IMAGES.mean((1, 2), keepdims=True) + 0 * IMAGES if name == "mean" else IMAGES / 2
    expected = maps_of(path(np.tile(known, (3, 1, 1, 1)))).mean(0)
    assert_same(around(path(HALVES[name]))(IMAGES, TARGETS).values, expected)


@pytest.mark.parametrize("name", ["GradCAM", "Occlusion"])
def test_maps_without_channels_are_not_reduced(name):
    base = WRAPPED[name](model())
    explanation = SmoothGrad(base, n_samples=3, noise=0.0)(IMAGES, TARGETS)
    assert_same(explanation.values, base(IMAGES, TARGETS).values)
    assert explanation.values.min() < 0
    assert explanation.standard_error.shape == explanation.values.shape
    assert explanation.unreduced_standard_error is None


def test_layer_and_notes_are_those_of_the_wrapped_explainer():
    explanation = around(WRAPPED["GradCAM"](model()))(IMAGES, TARGETS)
    assert explanation.layer == "conv2"
    assert any("chosen automatically" in note for note in explanation.notes)


def test_low_pass_of_a_smooth_map_comes_after_the_reduction():
    smoothed = explainer(reducer="abs_mean")
    explanation = FORGrad(smoothed, sigma=2.5, signed=True)(IMAGES, TARGETS)
    assert_same(explanation.values, xai.images.low_pass(smoothed(IMAGES, TARGETS).values, 2.5))
    assert explanation.standard_error is None


def test_random_maps_do_not_change_with_the_noise():
    base = RandomMap(model("table"), seed=1)
    explanation = explainer("table", base=base)(X, TARGETS)
    assert_same(explanation.values, base(X, TARGETS).values)


# --- black boxes --------------------------------------------------------------------------------

WEIGHTS = np.random.default_rng(3).normal(size=(140, 3))


def black_box(x):
    flat = np.asarray(x, float).reshape(len(x), -1)
    return np.sin(0.01 * flat @ WEIGHTS[: flat.shape[1]])


@pytest.mark.parametrize("dtype", ["float64", "float32", "uint8", "int8", "bool"])
def test_maps_of_a_black_box(dtype):
    x = np.clip(50 * IMAGES, -120, 120)
    x = (np.abs(x) if dtype == "uint8" else x > 0 if dtype == "bool" else x).astype(dtype)
    base = Occlusion(black_box, patch_size=4)
    maps = oracles.noisy_maps(
        lambda z: base(z.astype("float32"), TARGETS).values, x, 0.1, 3, scale="range"
    )
    for cls in (SmoothGrad, VarGrad):
        explanation = cls(base, noise=0.1, n_samples=3)(x, TARGETS)
        assert_same(explanation.values, oracles.STATISTICS[cls.__name__](maps), 1e-4)
        assert_same(explanation.scores, black_box(x)[range(5), TARGETS])


def test_black_box_sees_full_batches_without_padding():
    seen = []

    def counted(x):
        seen.append(len(x))
        return black_box(x)

    base = Occlusion(counted, batch_size=6)
    explanation = explainer("table", base=base)(X.astype("float64"), TARGETS)
    assert explanation.rows.tolist() == [1 + 4 * (1 + 4)] * 5
    # At most one row is a probe.
    assert 0 <= sum(seen) - explanation.rows.sum() <= 1
    assert max(seen) == 6


def test_missing_values_of_a_table_stay_missing():
    x = X.astype("float64")
    x[1, 2] = np.nan
    seen = []

    def filled(z):
        seen.append(np.isnan(z).any())
        return black_box(np.nan_to_num(z))

    explanation = explainer("table", base=Occlusion(filled))(x, TARGETS)
    assert any(seen)
    assert np.isfinite(explanation.values).all()
    # It is read as 0, which is also the baseline.
    assert explanation.values[1, 2] == 0


# --- targets and several inputs -----------------------------------------------------------------


def test_predicted_class_is_that_of_the_input_without_noise():
    predicted = oracles.logits("table", X).argmax(-1)
    noisy = oracles.noisy_maps(lambda z: oracles.logits("table", z), X, 3.0, 4).argmax(-1)
    assert (noisy != predicted).any()
    explanation = explainer("table", noise=3.0)(X)
    assert explanation.targets.tolist() == predicted.tolist()
    assert_same(explanation.values, smooth("table", X, 3.0, predicted))
    assert_same(explanation.scores, oracles.logits("table", X)[range(5), predicted])


def test_several_targets_have_maps_and_errors_of_their_own():
    own = explainer("table", VarGrad)
    wanted = [0, TARGETS]
    for found, target in zip(own.explain_each(X, wanted), wanted, strict=True):
        single = own(X, target)
        assert_same(found.values, single.values)
        assert_same(found.standard_error, single.standard_error)
        assert_same(found.scores, single.scores)


def test_several_inputs_have_noise_of_their_own():
    inside = tiny_models.several_inputs()
    given = tiny_models.several_input_rows()
    explanations = explainer("table", base=inside, noise=0.3)(given, 1)
    assert set(explanations) == {"table", "series", "word"}
    assert explanations["word"] is None
    # The numbers of a sample run through the inputs: ten for the series, then four.
    series, table = (oracles.normal(0, range(4), *part) for part in ((10, 0), (4, 10)))
    moved = {
        "series": np.concatenate([given["series"] + 0.3 * one.reshape(5, 2) for one in series]),
        "table": np.concatenate([given["table"] + 0.3 * one for one in table]),
        "word": np.tile(given["word"], (4, 1)),
    }
    every = Saliency(inside, absolute=False)(moved, 1)
    for name, shape in (("series", (5, 5, 2)), ("table", (5, 4))):
        expected = every[name].values.reshape(4, *shape).mean(0)
        assert_same(explanations[name].values, expected)
        assert explanations[name].standard_error.shape == shape


# --- number types -------------------------------------------------------------------------------

PRECISIONS = {"mixed_float16": 5e-3, "mixed_bfloat16": 5e-2}
if BACKEND != "jax":  # has float64 only where a user switches it on
    PRECISIONS["float64"] = 1e-5


@pytest.mark.parametrize("policy", PRECISIONS)
def test_models_of_other_precision(policy):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        made = tiny_models.network("table")
    finally:
        keras.config.set_dtype_policy(before)
    explanation = explainer("table", base=made, noise=0.3)(X, TARGETS)
    assert explanation.values.dtype == np.float32
    assert_same(explanation.values, smooth("table", X, 0.3), PRECISIONS[policy])


if BACKEND == "torch":
    import torch

    def module(dtype, factor):
        made = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(27, 3))
        torch.nn.init.constant_(made[1].weight, factor)
        return made.eval().to(dtype)

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
    @pytest.mark.parametrize("factor", [1000.0, 1e-4])
    def test_squares_of_half_precision_have_room(dtype, factor):
        explanation = explainer("series", SquareGrad, module(dtype, factor))(SERIES, 1)
        np.testing.assert_allclose(explanation.values, factor**2, rtol=1e-2)

    def test_time_axis_is_asked_for_only_where_it_matters():
        inside = module(torch.float32, 1.0)
        explanation = explainer("series", base=inside)(SERIES, 1)
        np.testing.assert_allclose(explanation.values, 1.0, rtol=1e-6)
        with pytest.raises(ValueError, match="`data_format` must be given for series"):
            SmoothGrad(inside, n_samples=4)(SERIES, 1)


# --- explainers are data ------------------------------------------------------------------------


def test_another_model_goes_through_the_wrapper():
    own = explainer("table", base=IntegratedGradients(model("table"), steps=3))
    other = tiny_models.model("table", "another")
    moved = own.with_model(other)
    assert moved.model.model is other
    assert moved.model.steps == 3
    assert (moved.n_samples, moved.noise_scale) == (4, "absolute")
    assert_same(moved(X, TARGETS).values, own(X, TARGETS).values)
    assert own.model.model is model("table")


def test_wrapped_explainer_survives_pickling():
    base = Saliency(model("table"), absolute=False)
    own = explainer("table", VarGrad, base, noise=np.full(4, 0.3))
    expected = own(X, TARGETS).values
    loaded = pickle.loads(pickle.dumps(own))
    assert_same(loaded(X, TARGETS).values, expected)


def test_explanation_tells_of_both_explainers(tmp_path):
    base = Saliency(model(), batch_size=15)
    fields = {"noise": np.full((10, 2), 0.1), "seed": 2**63, "reducer": "abs_mean"}
    explanation = explainer(base=base, **fields)(IMAGES, TARGETS)
    config = explanation.config
    assert explanation.method == "SmoothGrad"
    assert explanation.seed == config["seed"] == 2**63
    assert config["explainer"]["method"] == "Saliency"
    assert config["explainer"]["absolute"] is True
    assert config["noise"]["shape"] == [10, 2]
    shared = [config[name] for name in ("operator", "output", "batch_size")]
    assert shared == ["classification", "raw", 15]
    assert json.loads(json.dumps(config)) == config
    loaded = xai.Explanation.load(explanation.save(tmp_path / "map"))
    assert (loaded.config, loaded.seed) == (config, 2**63)
    assert_same(loaded.unreduced_standard_error, explanation.unreduced_standard_error)


def test_dead_layer_of_a_wrapped_map_is_reported():
    inside = keras.Input((6, 6, 1))
    dead = layers.Conv2D(2, 3, name="dead")(inside)
    live = layers.GlobalAveragePooling2D()(layers.Conv2D(2, 3)(inside))
    zero = layers.GlobalAveragePooling2D()(dead) * 0.0
    network = keras.Model(inside, layers.Dense(2)(live + zero))
    x = np.random.default_rng(0).normal(size=(3, 6, 6, 1)).astype("float32")
    explainer = SmoothGrad(GradCAM(network, layer="dead", batch_size=2), n_samples=3)
    with pytest.raises(ValueError, match=r"`layer` must be one that the score depends on.*dead"):
        explainer(x, 0)
