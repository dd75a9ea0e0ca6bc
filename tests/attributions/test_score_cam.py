"""ScoreCAM: closed form, oracle, baselines, logits behind probabilities, and batches."""

import keras
import numpy as np
import pytest
from keras import layers, ops

import cam_oracles
import cams
import oracles
import tiny_models
import xai_core as xai
from bad_rows import Row, check
from cams import SPATIAL
from cases import TARGETS
from oracles import assert_same, differ
from tiny_models import AT_MAPS, KINDS
from xai_core.attributions import ScoreCAM, SmoothGrad

IMAGES = KINDS["image"].inputs()


@pytest.mark.parametrize(("form", "layer"), AT_MAPS)
def test_two_maps_under_a_pooled_linear_head(form, layer):
    # Behind the first channel 5/3 is left of the score, behind the second -3/4.
    first, second = oracles.softmax(np.array([5 / 3, -3 / 4]))
    expected = np.array([[1, 2], [3, 4]]) * first + np.array([[4, 0], [0, 0]]) * second
    cams.check_two_maps("ScoreCAM", form, layer, expected)


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("kind", SPATIAL, ids=lambda kind: kind.name)
def test_equals_the_oracle(kind, signed):
    cams.check_oracle("ScoreCAM", kind, cam_oracles.score_cam(signed=signed), signed=signed)


@pytest.mark.parametrize("baseline", [0.4, [0.0, 0.4], [-1.0, 0.3, 2.0]], ids=str)
def test_baselines(baseline):
    every = baseline if isinstance(baseline, list) else [baseline]
    expected = cam_oracles.score_cam(every)
    cams.check_oracle("ScoreCAM", KINDS["image"], expected, baseline=baseline)
    model = tiny_models.model("image", "ScoreCAM")
    explanation = ScoreCAM(model, layer="conv2", baseline=baseline)(IMAGES)
    assert explanation.rows.tolist() == [1 + 6 * len(every)] * 5


def test_full_batches_of_as_many_rows_as_there_are_channels():
    cams.check_rows(ScoreCAM, 7)
    cams.check_rows(ScoreCAM, 13, baseline=[0.0, 0.5])


def test_several_targets_share_the_rows():
    model, seen = tiny_models.batch_sizes(tiny_models.network("image"))
    explainer = ScoreCAM(model, layer="conv2", batch_size=5)
    explainer.explain_each(IMAGES, "all")
    seen.clear()
    together = explainer.explain_each(IMAGES, "all")
    assert sum(seen) <= 36
    for target, one in enumerate(together):
        assert_same(one.values, explainer(IMAGES, target).values)


def test_channel_that_is_constant_leaves_nothing():
    x, weights = cams.random_case(2, (4, 4, 3), rows=3)
    x[..., 1] = 0.7
    model = cams.weighted(weights)
    explanation = ScoreCAM(model, layer="maps", signed=True)(x)
    masks = cam_oracles.channel_masks(x.astype(float), (4, 4))
    assert not masks[:, 1].any()
    scores = np.einsum("nkyx,nyxc,yxc->nk", masks, x, weights[0])
    expected = np.einsum("nk,nyxk->nyx", oracles.softmax(scores), x)
    assert_same(explanation.values[..., 0], expected)


def upsampled(value):
    """A network whose layer ``maps`` is half the size of its input, and constant."""
    model = keras.Sequential(
        [
            keras.Input((7, 10, 2)),
            layers.Conv2D(2, 3, strides=2, name="maps"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(2),
        ]
    )
    tiny_models.randomize(model)
    kernel, _ = model.get_layer("maps").get_weights()
    model.get_layer("maps").set_weights([0 * kernel, np.array([value, value / 3])])
    return model


@pytest.mark.parametrize("value", [0.1, 1 / 3, 1e6, 1e-20])
def test_rounding_makes_no_mask_of_a_constant_channel(value):
    model = upsampled(value)
    explanation = ScoreCAM(model, layer="maps")(IMAGES, 0)
    np.testing.assert_allclose(explanation.values, 2 / 3 * value, rtol=1e-5)


# --- probabilities ------------------------------------------------------------------------------


def test_weights_of_a_probability_are_made_of_the_logits():
    model = tiny_models.network("image", activation="softmax")
    explanation = ScoreCAM(model, layer="conv2")(IMAGES, TARGETS)
    x = oracles.inputs("image")
    assert_same(explanation.values, cam_oracles.score_cam()("image", x, TARGETS))
    expected = oracles.softmax(oracles.logits("image", x))[np.arange(5), TARGETS]
    assert_same(explanation.scores, expected)
    assert any("logits" in note for note in explanation.notes)


def test_probabilities_that_are_asked_for_are_taken():
    model = tiny_models.model("image", "ScoreCAM")
    explanation = ScoreCAM(model, layer="conv2", output="softmax")(IMAGES, TARGETS)
    expected = cam_oracles.score_cam(function=oracles.softmax)
    x = oracles.inputs("image")
    assert_same(explanation.values, expected("image", x, TARGETS))
    assert not explanation.notes


def test_probability_without_logits_warns_once():
    inside = keras.Input((7, 10, 2))
    flat = tiny_models.network("image")
    x = ops.softmax(flat(inside))
    model = keras.Model(inside, x / ops.sum(x, axis=1, keepdims=True) * 0.5 + 1 / 6)
    wrapped = keras.Sequential([keras.Input((7, 10, 2)), flat, layers.Softmax()])
    assert any("logits" in n for n in ScoreCAM(wrapped, layer="conv2")(IMAGES, 0).notes)
    quantized = tiny_models.network("image", activation="softmax")
    quantized.get_layer("logits").quantize("int8")
    with pytest.warns(xai.ExplanationWarning, match="nearly flat") as caught:
        ScoreCAM(quantized, layer="conv2")(IMAGES, 0)
    assert len(caught) == 1
    assert ScoreCAM(model, layer="conv2")(IMAGES, 0).values.any()


def test_is_wrapped_and_counted():
    model = tiny_models.model("image", "ScoreCAM")
    noisy = SmoothGrad(ScoreCAM(model, layer="conv2"), n_samples=3, noise=0.1)
    assert noisy.rows((7, 10, 2)) == 1 + 3 * 7
    explanation = noisy(IMAGES[:2], 0)
    assert explanation.values.shape == (2, 7, 10, 1)
    assert differ(explanation.values, ScoreCAM(model, layer="conv2")(IMAGES[:2], 0).values)


def at(**fields):
    return lambda: ScoreCAM(tiny_models.model("image", "ScoreCAM"), **fields)(IMAGES)


REFUSED = [
    Row("unknown baseline", at(baseline="black"), ValueError, ("`baseline`", "black", "blur")),
    Row("no baseline", at(baseline=[]), ValueError, ("`baseline`", "[]")),
    Row("baseline NaN", at(baseline=np.nan), ValueError, ("`baseline`", "finite", "nan")),
    Row("baseline None", at(baseline=None), TypeError, ("`baseline`", "numbers")),
    Row("baseline of another shape", at(baseline=np.ones((3, 3))), ValueError, ("`baseline`",)),
    Row("layer without space", at(layer="gap"), ValueError, ("`layer`", "gap")),
]


@pytest.mark.parametrize("row", REFUSED, ids=lambda row: row.name)
def test_what_is_refused(row):
    check(row)
