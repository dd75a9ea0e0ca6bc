"""The shortest good TensorFlow code by hand: a graph function, a tape, nothing else."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from models import Case

Explain = Callable[[np.ndarray, np.ndarray], np.ndarray]


def saliency(case: Case) -> Explain:
    """Return a function (images, classes) -> largest absolute gradient of each pixel."""
    step = _graph(lambda x, t: tf.reduce_max(tf.abs(_gradient(case, x, t)), -1))
    return lambda x, t: step(tf.constant(x), tf.constant(t)).numpy()


def integrated_gradients(case: Case, nodes: np.ndarray, weights: np.ndarray) -> Explain:
    """Return a function (images, classes) -> integrated gradients from 0, summed over colours."""

    @_graph
    def step(x, t, position, weight):
        rows = tf.reshape(position[:, None, None, None, None] * x, (-1, *x.shape[1:]))
        slopes = _gradient(case, rows, tf.tile(t, tf.shape(position)))
        return tf.tensordot(weight, tf.reshape(slopes, (-1, *x.shape)), 1)

    def explain(x, t):
        per, x, t = case.batch_size // len(x), tf.constant(x), tf.constant(t)
        total = 0.0
        for start in range(0, len(nodes), per):
            part = slice(start, start + per)
            total += step(x, t, tf.constant(nodes[part]), tf.constant(weights[part]))
        return tf.reduce_sum(total * x, -1).numpy()

    return explain


def smooth_grad(case: Case, n_samples: int, noise: float) -> Explain:
    """Return a function (images, classes) -> mean gradient under noise, absolute, over colours."""

    @_graph
    def step(x, t, spread, count):
        drawn = tf.random.normal(tf.concat([[count], tf.shape(x)], 0))
        rows = tf.reshape(x + spread * drawn, (-1, *x.shape[1:]))
        slopes = _gradient(case, rows, tf.tile(t, [count]))
        return tf.reduce_sum(tf.reshape(slopes, (-1, *x.shape)), 0)

    def explain(x, t):
        spread = tf.constant(noise * np.ptp(x, (1, 2, 3), keepdims=True))
        per, x, t = case.batch_size // len(x), tf.constant(x), tf.constant(t)
        total = 0.0
        for start in range(0, n_samples, per):
            total += step(x, t, spread, tf.constant(min(per, n_samples - start)))
        return tf.reduce_mean(tf.abs(total / n_samples), -1).numpy()

    return explain


def grad_cam(case: Case) -> Explain:
    """Return a function (images, classes) -> Grad-CAM at the case's layer, in the image's size."""
    return _cam(case, lambda activations, slopes: tf.reduce_mean(slopes, (1, 2), keepdims=True))


def grad_cam_plus_plus(case: Case) -> Explain:
    """Return a function (images, classes) -> Grad-CAM++, likewise."""

    def weigh(activations, slopes):
        below = 2 * slopes**2 + tf.reduce_sum(activations, (1, 2), keepdims=True) * slopes**3
        share = tf.math.divide_no_nan(slopes**2, below)
        return tf.reduce_sum(share * tf.nn.relu(slopes), (1, 2), keepdims=True)

    return _cam(case, weigh)


def layer_cam(case: Case) -> Explain:
    """Return a function (images, classes) -> LayerCAM, likewise."""
    return _cam(case, lambda activations, slopes: tf.nn.relu(slopes))


def hires_cam(case: Case) -> Explain:
    """Return a function (images, classes) -> HiResCAM, likewise."""
    return _cam(case, lambda activations, slopes: slopes)


def scores(case: Case) -> Explain:
    """Return a function (images, classes) -> the scores that are explained."""
    step = _graph(lambda x, t: tf.gather(case(x), t, batch_dims=1))
    return lambda x, t: step(tf.constant(x), tf.constant(t)).numpy()


def forward(case: Case, rows: int) -> Callable[[], list[np.ndarray]]:
    """Return a function that calls the model on ``rows`` prepared rows, in full batches and one."""
    step = tf.function(lambda x: case(x), autograph=False)
    full, rest = (tf.constant(case.rows(n)) for n in (case.batch_size, rows % case.batch_size))
    batches = [full] * (rows // case.batch_size) + [rest] * bool(len(rest))
    return lambda: [y.numpy() for y in [step(batch) for batch in batches]]


def _cam(case: Case, weigh: Callable) -> Explain:
    @_graph
    def step(x, t):
        activations = case.features(x)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(activations)
            score = tf.gather(case.head(activations), t, batch_dims=1)
        weight = weigh(activations, tape.gradient(score, activations))
        cam = tf.nn.relu(tf.reduce_sum(activations * weight, -1, keepdims=True))
        return tf.image.resize(cam, x.shape[1:3])[..., 0]

    return lambda x, t: step(tf.constant(x), tf.constant(t)).numpy()


def _graph(function: Callable) -> Callable:
    return tf.function(function, autograph=False, reduce_retracing=True)


def _gradient(case: Case, x: tf.Tensor, t: tf.Tensor) -> tf.Tensor:
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(x)
        score = tf.gather(case(x), t, batch_dims=1)
    return tape.gradient(score, x)
