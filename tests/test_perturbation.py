"""The engine of black-box methods: codes by batch, several baselines, facts of each input."""

import dataclasses
import functools

import keras
import numpy as np
import pytest
from keras import layers

import tiny_models
from model_state import outputs
from oracles import assert_same
from xai_core import _backend, _request, operators, wrap
from xai_core.perturbation import Codes, Masking, Perturbation, baselines, scored

WEIGHTS = np.array([[1.0, 2.0], [3.0, 5.0], [7.0, 11.0], [13.0, 17.0]])
X = np.random.default_rng(5).normal(size=(5, 4)).astype("float32")
SOURCES = ["keras", "black box"]


@functools.cache
def keras_model():
    made = keras.Sequential([keras.Input((4,)), layers.Dense(2, use_bias=False)])
    made.set_weights([WEIGHTS])
    return made


def source(name):
    return keras_model() if name == "keras" else lambda x: x @ WEIGHTS


def groups(name, x=X, targets=(0,), size=3, operator=operators.classification):
    model = name if callable(name) else source(name)
    request = _request.make(wrap(model), operator, "raw", x, list(targets))
    return request.groups(size)


def starts_of(group, baseline):
    return baselines(group, group.baselines(baseline))


def other_columns(arrays, x, codes, own, settings):
    """Everything but the column that the code names."""
    columns = arrays.reshape(arrays.arange(x.shape[1], dtype="int32"), (1, -1))
    return columns != codes[0][:, None]


def above_the_own(arrays, x, codes, own, settings):
    """What is at least a number of the input's own, plus the code, times a setting."""
    return x >= settings[0] * own[0] + codes[0][:, None]


def columns_of(group, asked=None):
    """Each column of each input is masked; ``asked`` notes the numbers of the pairs."""

    def codes(pair):
        if asked is not None:
            asked.append(pair.copy())
        return Codes(pair % len(group), ((pair // len(group)).astype("int32"),))

    return Perturbation(4 * len(group), codes, (Masking(other_columns),))


def masked(x, baseline=0.0):
    """(4, n, 2) outputs with each column replaced."""
    found = []
    for column in range(4):
        changed = np.array(x, float)
        changed[:, column] = np.broadcast_to(baseline, x.shape)[:, column]
        found.append(changed @ WEIGHTS)
    return np.stack(found)


@pytest.mark.parametrize("name", SOURCES)
@pytest.mark.parametrize("size", [1, 3, 64])
def test_scores_of_every_pair(name, size):
    for group in groups(name, size=size):
        found = scored(group, columns_of(group), group.targets(), starts_of(group, 0.0), size)
        assert found.classes is None
        assert found.scores.shape == (4 * len(group), 1)
        assert_same(found.scores[:, 0], masked(X[group.rows])[..., 0].ravel())


@pytest.mark.parametrize("name", SOURCES)
def test_scores_of_several_targets_and_their_average_over_baselines(name):
    several = [0.0, X[::-1].copy(), np.array([1.0, -1.0, 2.0, 0.0])]
    weights = np.random.default_rng(6).normal(size=(5, 2)).astype("float32")
    for group in groups(name, targets=[1, weights], size=4):
        rows = group.rows
        starts = starts_of(group, several)
        found = scored(group, columns_of(group), group.targets(), starts, 4)
        every = [masked(X[rows], start) for start in (0.0, X[::-1][rows], several[2])]
        expected = np.mean(every, axis=0)
        assert_same(found.scores[:, 0], expected[..., 1].ravel())
        assert_same(found.scores[:, 1], (expected * weights[rows]).sum(-1).ravel())


@pytest.mark.parametrize("turns", [1, 2, 3])
@pytest.mark.parametrize("name", SOURCES)
def test_codes_are_asked_for_batch_by_batch_and_only_the_last_is_ragged(name, turns):
    (group,) = groups(name, size=5)
    asked = []
    starts = starts_of(group, [float(k) for k in range(turns)])
    scored(group, columns_of(group, asked), group.targets(), starts, 8)
    rows = np.concatenate(asked)
    np.testing.assert_array_equal(rows, np.arange(20 * turns) // turns)
    assert [len(pair) for pair in asked] == {
        1: [8, 8, 4],
        2: [8, 8, 8, 8, 8],
        3: [8, 8, 8, 8, 8, 8, 8, 4],
    }[turns]


def test_codes_of_a_batch_are_made_when_the_one_before_was_computed():
    order = []

    def noted(x):
        order.append(len(x))
        return x @ WEIGHTS

    (group,) = groups(noted, size=5)
    order.clear()
    perturbation = columns_of(group)

    def codes(pair):
        order.append("codes")
        return perturbation.codes(pair)

    streamed = Perturbation(20, codes, perturbation.masks)
    scored(group, streamed, group.targets(), starts_of(group, 0.0), 8)
    assert order == ["codes", 8, "codes", 8, "codes", 4]


@pytest.mark.parametrize("name", SOURCES)
def test_a_mask_may_depend_on_facts_of_its_own_input_and_on_settings(name):
    facts = np.linspace(-1, 1, 5, dtype="float32")[:, None]
    for group in groups(name, size=3):
        steps = np.array([-0.5, 0.0, 0.25], "float32")
        perturbation = Perturbation(
            3 * len(group),
            lambda pair, steps=steps: Codes(pair // 3, (steps[pair % 3],)),
            (Masking(above_the_own, (0.5,), (group.to_device(facts[group.rows]),)),),
        )
        found = scored(group, perturbation, group.targets(), starts_of(group, 2.0), 4)
        x = X[group.rows][:, None]
        kept = x >= 0.5 * facts[group.rows][:, None] + steps[None, :, None]
        assert_same(found.scores[:, 0], (np.where(kept, x, 2.0) @ WEIGHTS)[..., 0].ravel())


@pytest.mark.parametrize("name", SOURCES)
def test_predicted_classes_of_masked_inputs(name):
    (group,) = groups(name, size=5)
    found = scored(
        group, columns_of(group), group.targets(), starts_of(group, 0.0), 8, classes=True
    )
    assert found.classes.shape == (20,)
    np.testing.assert_array_equal(found.classes, masked(X).argmax(-1).ravel())
    assert_same(found.scores[:, 0], masked(X)[..., 0].ravel())


@pytest.mark.parametrize(("output", "threshold"), [("raw", 0.0), ("sigmoid", 0.5)])
@pytest.mark.parametrize("name", SOURCES)
def test_predicted_class_of_one_column_is_its_sign_or_a_probability_above_one_half(
    name, output, threshold
):
    made = keras.Sequential([keras.Input((4,)), layers.Dense(1, use_bias=False)])
    made.set_weights([WEIGHTS[:, :1]])
    model = made if name == "keras" else lambda x: x @ WEIGHTS[:, 0]
    request = _request.make(wrap(model), operators.classification, output, X, [1])
    (group,) = request.groups(5)
    found = scored(
        group, columns_of(group), group.targets(), starts_of(group, 0.0), 8, classes=True
    )
    logits = masked(X)[..., 0].ravel()
    np.testing.assert_array_equal(found.classes, logits > 0)
    np.testing.assert_array_equal(found.classes, found.scores[:, 0] > threshold)


def test_second_input_is_masked_and_the_others_go_with_their_rows():
    given, model = tiny_models.several_input_rows(), tiny_models.several_inputs()
    series = given["series"]

    def first_time_steps(arrays, x, codes, own, settings):
        time = arrays.reshape(arrays.arange(x.shape[1], dtype="int32"), (1, -1, 1))
        return time >= codes[0][:, None, None]

    (group,) = groups(model, given, size=5, targets=[2])
    # The leaves are in the order of their names.
    perturbation = Perturbation(
        10,
        lambda pair: Codes(pair // 2, ((3 * (pair % 2)).astype("int32"),)),
        (Masking(first_time_steps, leaf=0),),
    )
    found = scored(group, perturbation, group.targets(), starts_of(group, 0.0), 4)
    changed = series.copy()
    changed[:, :3] = 0
    expected = [outputs(model, given | {"series": one})[:, 2] for one in (series, changed)]
    assert_same(found.scores[:, 0], np.stack(expected, axis=1).ravel())


def test_progress_counts_rows_without_padding():
    counted = []
    request = _request.make(wrap(source("keras")), operators.classification, "raw", X, [0])
    (group,) = dataclasses.replace(request, advance=counted.append).groups(5)
    scored(group, columns_of(group), group.targets(), starts_of(group, [0.0, 1.0]), 16)
    assert counted == [16, 16, 8]


def test_scores_are_float64_where_the_model_gives_them():
    (group,) = groups("black box", X.astype("float64") / 3, size=5)
    found = scored(group, columns_of(group), group.targets(), starts_of(group, 0.0), 8)
    assert found.scores.dtype == "float64"
    np.testing.assert_array_equal(
        found.scores[:, 0], masked(X.astype("float64") / 3)[..., 0].ravel()
    )


@pytest.mark.skipif(not _backend.FIXED_SHAPES, reason="shapes may change on this backend")
def test_every_batch_has_one_shape_where_shapes_are_compiled():
    made, seen = tiny_models.batch_sizes(keras_model())
    for group in groups(made, size=3):
        scored(group, columns_of(group), group.targets(), starts_of(group, 0.0), 8)
    assert set(seen) <= {1, 8}
