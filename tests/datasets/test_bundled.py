import random

import numpy as np
import pytest

from xai_core import datasets


@pytest.fixture(scope="module")
def split():
    return datasets.digits(size=24)


def test_the_images_are_all_of_scikit_learns(split):
    from sklearn.datasets import load_digits

    assert split.train_inputs.shape == (1437, 24, 24, 1)
    assert split.test_inputs.shape == (360, 24, 24, 1)
    assert split.train_inputs.dtype == split.test_inputs.dtype == np.float32
    labels = np.concatenate([split.train_labels, split.test_labels])
    np.testing.assert_array_equal(np.bincount(labels), np.bincount(load_digits().target))


def test_every_class_has_its_share_of_the_held_out_images(split):
    shares = np.bincount(split.test_labels) / np.bincount(split.train_labels)
    assert np.ptp(shares) < 0.03


def test_the_values_are_ink_on_paper(split):
    assert split.train_inputs.min() == 0
    assert split.train_inputs.max() == 1
    assert split.train_inputs[:, 0].max() == 0, "The margin is paper."


def test_enlarging_keeps_the_picture():
    """At its own size the framed image is scikit-learn's; a larger one has about the same mean."""
    from sklearn.datasets import load_digits

    small, large = datasets.digits(size=10), datasets.digits(size=40)
    inside = small.train_inputs[:, 1:-1, 1:-1, 0] * 16
    assert np.array_equal(inside, inside.round())
    known = {image.tobytes() for image in load_digits().images.astype("float32")}
    assert {image.tobytes() for image in inside} <= known
    np.testing.assert_allclose(
        large.train_inputs.mean(axis=(1, 2, 3)), small.train_inputs.mean(axis=(1, 2, 3)), atol=1e-6
    )


def test_the_seed_decides_what_is_held_out_and_global_state_stays(split):
    before = np.random.get_state()[1].copy(), random.getstate()  # noqa: NPY002
    again, other = datasets.digits(size=24), datasets.digits(size=24, seed=1)
    np.testing.assert_array_equal(split.test_inputs, again.test_inputs)
    assert not np.array_equal(split.test_inputs, other.test_inputs)
    np.testing.assert_array_equal(np.random.get_state()[1], before[0])  # noqa: NPY002
    assert random.getstate() == before[1]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"size": 9}, ValueError, r"`size` must be at least 10\. Received: 9\."),
        ({"size": 24.0}, TypeError, r"`size` must be an integer\. Received: 24\.0\."),
        ({"seed": -1}, ValueError, r"`seed` must be at least 0\. Received: -1\."),
    ],
)
def test_wrong_arguments_are_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        datasets.digits(**arguments)
