"""RISE: the mean score of the masks that keep an element, and its error."""

import itertools

import keras
import numpy as np
import pytest
from keras import layers

import oracles
import tiny_models
import xai_core as xai
from oracles import assert_same
from tiny_models import FORMS, KINDS
from xai_core import designs
from xai_core.attributions import RISE
from xai_core.attributions.rise import BernoulliDesign
from xai_core.attributions.shifted import coverage

TARGETS = np.array([2, 0, 1, 1, 0])


def sums_of(masks, scores):
    """What `coverage` takes, from masks (k, P) and scores (k, M)."""
    middle = scores.mean(0)
    moved = (scores - middle).T
    found = [masks.sum(0), (masks**2).sum(0), moved @ masks, moved @ masks**2]
    return [*found, moved**2 @ masks**2], middle


# --- the estimate -------------------------------------------------------------------------------


@pytest.mark.parametrize("expected", [None, 0.5])
def test_all_masks_of_an_additive_model(expected):
    masks = np.array(list(itertools.product([0, 1], repeat=3)), float)
    sums, middle = sums_of(masks, masks @ np.array([[1.0], [2.0], [3.0]]))
    values, _ = coverage(8, sums, middle, expected)
    np.testing.assert_allclose(values, [[3.5, 4, 4.5]], rtol=1e-12)


@pytest.mark.parametrize("expected", [None, 0.3])
def test_error_is_that_of_the_delta_method(expected):
    rng = np.random.default_rng(1)
    masks, scores = rng.random((50, 6)), 100 + rng.normal(size=(50, 2))
    values, errors = coverage(50, *sums_of(masks, scores), expected)
    for target in range(2):
        s = scores[:, target, None]
        if expected is None:
            mean = (s * masks).sum(0) / masks.sum(0)
            error = np.sqrt((masks**2 * (s - mean) ** 2).sum(0) * 50 / 49) / masks.sum(0)
        else:
            mean = (s * masks).mean(0) / expected
            error = (s * masks).std(0, ddof=1) / np.sqrt(50) / expected
        np.testing.assert_allclose(values[target], mean, rtol=1e-10)
        np.testing.assert_allclose(errors[target], error, rtol=1e-8)


def test_errors_are_honest():
    """The interval of 95 % holds the limit E[s | m_i = 1] for 30 seeds and 16 cells."""
    main, pair = np.linspace(0, 1.5, 16), 0.8

    def score(bits):
        return (
            bits @ main + pair * bits[:, 0] * bits[:, 5] * 2 - bits[:, 2] * bits[:, 3] * bits[:, 4]
        )

    bits = np.array(list(itertools.product([0, 1], repeat=16)), bool)
    every = score(bits.astype(float))
    limit = np.array([every[bits[:, i]].mean() for i in range(16)])
    inside = []
    for seed in range(30):
        design = BernoulliDesign(16, 512, 0.5, None, seed)
        scores = score(design.codes(0, 512).astype(float))[:, None]
        found = design.estimate(scores, np.zeros(1))
        inside.append(np.abs(found.values[0] - limit) <= 1.96 * found.error[0])
    assert 0.92 <= np.mean(inside) <= 0.98


# --- masks --------------------------------------------------------------------------------------


def shifted_masks(seed, count, sides, cells):
    """The masks of images one by one: bits, stretched over one cell more, and cut."""
    side = [-(-whole // n) for whole, n in zip(sides, cells, strict=True)]
    bits = designs.bernoulli(seed, 0, count, (int(np.prod(cells)),), 0.5)
    starts = designs.shifts(seed, 0, count, side)
    found = []
    for one, start in zip(bits.reshape(count, *cells).astype(float), starts, strict=True):
        for axis, (n, cell) in enumerate(zip(cells, side, strict=True)):
            place = (np.arange((n + 1) * cell) + 0.5) * n / ((n + 1) * cell) - 0.5
            place = np.clip(place, 0, n - 1)
            low = np.minimum(np.floor(place).astype(int), n - 2)
            shape = [1, 1]
            shape[axis] = -1
            share = (place - low).reshape(shape)
            whole = np.take(one, low, axis) * (1 - share) + np.take(one, low + 1, axis) * share
            one = np.take(whole, np.arange(sides[axis]) + start[axis], axis)
        found.append(one)
    return np.stack(found)


@pytest.mark.parametrize("name", ["image", "channels_first"])
@pytest.mark.parametrize("baseline", [0.0, 0.7])
def test_image_equals_the_oracle(name, baseline):
    x, twin = KINDS[name].inputs(), oracles.inputs("image")
    explainer = RISE(
        tiny_models.model(name, "RISE"), n_samples=70, grid_size=3, seed=4, baseline=baseline
    )
    masks = shifted_masks(4, 70, (7, 10), (3, 3))
    score = oracles.score("image", TARGETS)
    rows = [score(baseline + m[..., None] * (twin - baseline)) for m in masks]
    flat = masks.reshape(70, -1)
    values, errors = coverage(70, *sums_of(flat, np.array(rows)), None)
    found = explainer(x, TARGETS)
    shape = (5, 1, 7, 10) if name == "channels_first" else (5, 7, 10, 1)
    assert_same(found.values, values.reshape(shape))
    assert_same(found.standard_error, errors.reshape(shape), 1e-3)
    assert found.rows.tolist() == [71] * 5


def test_series_and_volumes_have_masks_of_their_own():
    x = KINDS["series"].inputs()
    found = RISE(tiny_models.model("series", "RISE"), n_samples=40)(x, TARGETS)
    assert found.values.shape == x.shape
    together = RISE(tiny_models.model("series", "RISE"), n_samples=40, per_channel=False)
    assert together(x, TARGETS).values.shape == (*x.shape[:2], 1)
    volume = RISE(tiny_models.model("volume", "RISE"), n_samples=40)
    assert volume(KINDS["volume"].inputs(), TARGETS).values.std() > 0


@pytest.mark.parametrize("form", [*FORMS, "black box"])
def test_table_of_an_additive_model(form):
    if form == "black box":
        model = lambda x: x @ np.array([[2.0], [-3.0], [0.5]]) + 0.7  # noqa: E731
    else:
        model = tiny_models.linear(form)
    x = np.array([[1.0, 2.0, 4.0]], "float32")
    found = RISE(model, n_samples=400, operator="regression")(x, 0)
    kept = designs.bernoulli(0, 0, 400, (3,), 0.5).astype(float)
    scores = kept @ (x[0] * [2.0, -3.0, 0.5]) + 0.7
    np.testing.assert_allclose(found.values[0], scores @ kept / kept.sum(0), rtol=1e-5)
    np.testing.assert_array_equal(found.features, found.values)


def test_groups_of_a_feature_mask():
    x = KINDS["image"].inputs()
    groups = np.arange(70).reshape(7, 10) // 12
    model = tiny_models.model("image", "RISE")
    found = RISE(model, n_samples=40, feature_mask=groups)(x, TARGETS)
    assert found.features.shape == (5, 6)
    np.testing.assert_array_equal(found.values[..., 0], found.features[:, groups])
    own = np.stack([groups, groups % 4, groups, groups // 3, groups])
    each = RISE(model, n_samples=40, feature_mask=own)(x, TARGETS)
    assert_same(each.values[0], found.values[0])
    alone = RISE(model, n_samples=40, feature_mask=own[3])(x[3:4], TARGETS[3:4])
    assert_same(each.values[3], alone.values[0])


# --- the operator of detectors ------------------------------------------------------------------


def test_boxes_have_more_masks_and_finer_ones():
    made = keras.Sequential([keras.Input((32, 32, 1)), layers.Flatten(), layers.Dense(8)])
    made = keras.Sequential([made, layers.Reshape((1, 8))])
    of_boxes = RISE(made, operator=xai.Tasks.OBJECT_DETECTION)
    assert of_boxes.rows((32, 32, 1)) == 5001
    assert of_boxes._grid((1, 32, 32, 1)).counts == (16, 16, 1)
    usual = RISE(made, operator=lambda model, x, t: model(x)[:, 0, 0])
    assert usual.rows((32, 32, 1)) == 4001
    assert usual._grid((1, 32, 32, 1)).counts == (7, 7, 1)
