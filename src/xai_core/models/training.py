"""A short, reproducible training."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from xai_core import _checks
from xai_core.typing import Array

_BATCH_SIZE = 64


def fit_classifier(
    model: keras.Model,
    inputs: Array,
    labels: Array,
    *,
    noise: float = 0.0,
    epochs: int = 12,
    seed: int = 0,
) -> None:
    """Train a classifier that ends in logits, in place.

    Adam on batches of 64, with a learning rate that rises to 0.01 during the first eighth and
    falls to 0 along a cosine. Order and noise come from a NumPy generator of their own; global
    random state is neither used nor changed.

    Parameters
    ----------
    model : keras.Model
        Ends in logits, (N, classes). It is compiled anew.
    inputs : array, shape (N, ...)
        The samples.
    labels : array of integers, shape (N,)
        Their classes.
    noise : float
        Gaussian noise is added to every sample anew, with a standard deviation that is drawn
        uniformly from 0 to this number. A network that was trained so has clearer gradients.
    epochs : int
        How often each sample is used.
    seed : int
        Of the noise and the order of the samples. Those that do not fill the last batch of an
        epoch are left out, others each time.

    Raises
    ------
    TypeError, ValueError
        If a number is of the wrong kind or too small, or inputs and labels differ in length.

    Examples
    --------
    >>> import keras, numpy as np
    >>> dense = keras.layers.Dense(2, kernel_initializer="zeros")
    >>> model = keras.Sequential([keras.Input((2,)), dense])
    >>> points = np.random.default_rng(0).normal(size=(64, 2))
    >>> fit_classifier(model, points, points[:, 0] > 0, epochs=300)
    >>> predicted = model.predict_on_batch(points).argmax(axis=1)
    >>> bool((predicted == (points[:, 0] > 0)).mean() > 0.9)
    True
    """
    _checks.integer("epochs", epochs, minimum=1)
    _checks.integer("seed", seed, minimum=0)
    _checks.number("noise", noise, minimum=0)
    inputs, labels = np.asarray(inputs, "float32"), np.asarray(labels).astype("int32")
    if len(inputs) != len(labels) or not len(inputs):
        raise ValueError(
            "`inputs` and `labels` must have the same length, at least 1. "
            f"Received: {len(inputs)} and {len(labels)}."
        )
    batch_size = min(_BATCH_SIZE, len(inputs))
    batches = len(inputs) // batch_size
    rate: Any = _rising_and_falling(batches * epochs)
    model.compile(
        optimizer=keras.optimizers.Adam(rate),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    generator = np.random.default_rng(seed)
    for _ in range(epochs):
        order = generator.permutation(len(inputs))[: batches * batch_size]
        for rows in order.reshape(batches, batch_size):
            model.train_on_batch(_noisy(inputs[rows], noise, generator), labels[rows])


def _noisy(batch: Array, noise: float, generator: np.random.Generator) -> Array:
    if not noise:
        return batch
    deviations = generator.random((len(batch), *[1] * (batch.ndim - 1)), "float32") * noise
    return batch + deviations * generator.standard_normal(batch.shape, "float32")


def _rising_and_falling(steps: int) -> keras.optimizers.schedules.CosineDecay:
    rising = max(1, steps // 8)
    return keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=5e-4,
        decay_steps=max(1, steps - rising),
        warmup_target=1e-2,
        warmup_steps=rising,
    )
