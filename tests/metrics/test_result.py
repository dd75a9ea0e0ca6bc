"""What a metric returns: numbers, their mean, and which direction is better."""

import pickle

import numpy as np
import pytest

from xai_core.metrics import MetricResult


def result(**fields):
    return MetricResult("Deletion", np.array([0.1, 0.4, 0.4]), higher_is_better=False, **fields)


def test_float_is_the_mean():
    assert float(result()) == pytest.approx(0.3)
    assert isinstance(float(MetricResult("Insertion", np.ones(2, "float32"), True)), float)


def test_text_tells_the_mean_and_the_direction():
    assert repr(result()) == "MetricResult(Deletion, mean=0.3, N=3, lower is better)"
    higher = MetricResult("Insertion", np.array([2 / 3]), higher_is_better=True)
    assert repr(higher) == "MetricResult(Insertion, mean=0.6667, N=1, higher is better)"


def test_length_is_the_number_of_inputs():
    assert len(result()) == 3


def test_what_a_metric_has_not_is_none():
    found = result()
    assert (found.curves, found.shares, found.predictions, found.flip_share) == (None,) * 4


def test_results_are_frozen_and_compare_by_identity():
    one = result()
    with pytest.raises(AttributeError):
        one.scores = np.zeros(3)
    assert one == one
    assert one != result()


def test_results_survive_pickling():
    loaded = pickle.loads(pickle.dumps(result(curves=np.eye(3), shares=np.arange(3) / 2)))
    assert loaded.metric == "Deletion"
    assert loaded.curves.tolist() == np.eye(3).tolist()
    assert loaded.shares.tolist() == [0, 0.5, 1]
