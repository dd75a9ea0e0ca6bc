import random

import keras
import numpy as np
import pytest

from xai_core import models


def test_it_ends_in_logits_and_has_the_documented_size():
    model = models.small_cnn((24, 24, 1), classes=10)
    assert model.output_shape == (None, 10)
    assert model.count_params() == 24538
    assert model.layers[-1].activation is keras.activations.linear
    assert models.small_cnn((20, 32, 3), classes=2).input_shape == (None, 20, 32, 3)


def test_the_last_feature_map_is_a_quarter_of_the_image():
    model = models.small_cnn((24, 32, 1), classes=10)
    shapes = [layer.output.shape for layer in model.layers if len(layer.output.shape) == 4]
    assert tuple(shapes[-1]) == (None, 6, 8, 64)


def test_the_seed_decides_the_weights_and_global_state_stays():
    before = np.random.get_state()[1].copy(), random.getstate()  # noqa: NPY002
    first, again, other = (models.small_cnn((8, 8, 1), 3, seed=seed) for seed in (5, 5, 6))
    for one, two in zip(first.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)
    assert not np.array_equal(first.get_weights()[0], other.get_weights()[0])
    np.testing.assert_array_equal(np.random.get_state()[1], before[0])  # noqa: NPY002
    assert random.getstate() == before[1]


def test_it_does_not_follow_keras_settings():
    before = keras.config.image_data_format(), keras.config.floatx()
    try:
        keras.config.set_image_data_format("channels_first")
        keras.config.set_floatx("float16")
        model = models.small_cnn((8, 12, 1), classes=2)
    finally:
        keras.config.set_image_data_format(before[0])
        keras.config.set_floatx(before[1])
    assert {weight.dtype for weight in model.weights} == {"float32"}
    assert model.predict_on_batch(np.ones((1, 8, 12, 1), "float32")).dtype == np.float32


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (((8, 8), 2), ValueError, r"`input_shape` must be height, width and channels\. Received"),
        (((8, 3, 1), 2), ValueError, r"`input_shape` must be at least 4\. Received: 3\."),
        (((8, 8, 1), 1), ValueError, r"`classes` must be at least 2\. Received: 1\."),
        (((8, 8, 1), "ten"), TypeError, r"`classes` must be an integer\. Received: 'ten'\."),
    ],
)
def test_wrong_arguments_are_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        models.small_cnn(*arguments)
