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


def grad_cam(case: Case) -> Explain:
    """Return a function (images, classes) -> Grad-CAM at the case's layer, in the image's size."""

    @_graph
    def step(x, t):
        activations = case.features(x)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(activations)
            score = tf.gather(case.head(activations), t, batch_dims=1)
        weight = tf.reduce_mean(tape.gradient(score, activations), (1, 2), keepdims=True)
        cam = tf.nn.relu(tf.reduce_sum(activations * weight, -1, keepdims=True))
        return tf.image.resize(cam, x.shape[1:3])[..., 0]

    return lambda x, t: step(tf.constant(x), tf.constant(t)).numpy()


def scores(case: Case) -> Explain:
    """Return a function (images, classes) -> the scores that are explained."""
    step = _graph(lambda x, t: tf.gather(case(x), t, batch_dims=1))
    return lambda x, t: step(tf.constant(x), tf.constant(t)).numpy()


def _graph(function: Callable) -> Callable:
    return tf.function(function, autograph=False, reduce_retracing=True)


def _gradient(case: Case, x: tf.Tensor, t: tf.Tensor) -> tf.Tensor:
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(x)
        score = tf.gather(case(x), t, batch_dims=1)
    return tape.gradient(score, x)
