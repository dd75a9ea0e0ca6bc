import random

import keras
import numpy as np
import pytest

from xai_core import models

POINTS = np.random.default_rng(0).normal(size=(65, 2)).astype("float32")
LABELS = (POINTS[:, 0] > POINTS[:, 1]).astype("int64")


def trained(**arguments):
    start = keras.initializers.GlorotUniform(seed=0)
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2, kernel_initializer=start)])
    models.fit_classifier(model, POINTS, LABELS, **{"epochs": 300} | arguments)
    return model


def test_it_learns_and_repeats_itself_and_global_state_stays():
    before = np.random.get_state()[1].copy(), random.getstate()  # noqa: NPY002
    first, again = trained(noise=0.1), trained(noise=0.1)
    for one, two in zip(first.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)
    assert (first.predict_on_batch(POINTS).argmax(axis=1) == LABELS).mean() > 0.9
    np.testing.assert_array_equal(np.random.get_state()[1], before[0])  # noqa: NPY002
    assert random.getstate() == before[1]


@pytest.mark.parametrize("change", [{"seed": 1}, {"noise": 0.5}, {"epochs": 2}])
def test_every_argument_changes_the_result(change):
    base = trained(epochs=5).get_weights()[0]
    assert not np.array_equal(base, trained(**{"epochs": 5} | change).get_weights()[0])


def test_the_data_stay_as_they_are():
    points, labels = POINTS.copy(), LABELS.copy()
    trained(noise=0.5)
    np.testing.assert_array_equal(points, POINTS)
    np.testing.assert_array_equal(labels, LABELS)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"epochs": 0}, ValueError, r"`epochs` must be at least 1\. Received: 0\."),
        ({"epochs": True}, TypeError, r"`epochs` must be an integer\. Received: True\."),
        ({"noise": -1}, ValueError, r"`noise` must be at least 0\. Received: -1\."),
        ({"seed": -1}, ValueError, r"`seed` must be at least 0\. Received: -1\."),
    ],
)
def test_wrong_arguments_are_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        trained(**arguments)


def test_labels_must_be_as_many_as_inputs():
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2)])
    with pytest.raises(ValueError, match=r"the same length, at least 1\. Received: 65 and 64\."):
        models.fit_classifier(model, POINTS, LABELS[:-1])
    with pytest.raises(ValueError, match="Received: 0 and 0"):
        models.fit_classifier(model, POINTS[:0], LABELS[:0])


def test_few_samples_are_one_batch():
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2)])
    before = model.get_weights()[0].copy()
    models.fit_classifier(model, POINTS[:3], LABELS[:3], epochs=1)
    assert not np.array_equal(before, model.get_weights()[0])
