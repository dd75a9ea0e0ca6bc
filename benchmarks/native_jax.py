"""The shortest good JAX code by hand: what a user of one framework and one model would write."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from models import Case

Explain = Callable[[np.ndarray, np.ndarray], np.ndarray]


def saliency(case: Case) -> Explain:
    """Return a function (images, classes) -> largest absolute gradient of each pixel."""
    gradient = jax.grad(_score(case))
    step = jax.jit(lambda x, t: jnp.abs(gradient(x, t)).max(-1))
    return lambda x, t: np.asarray(step(x, t))


def integrated_gradients(case: Case, nodes: np.ndarray, weights: np.ndarray) -> Explain:
    """Return a function (images, classes) -> integrated gradients from 0, summed over colours."""
    gradient = jax.grad(_score(case))

    @jax.jit
    def step(x, t, position, weight, total):
        rows = (position[:, None, None, None, None] * x).reshape(-1, *x.shape[1:])
        slopes = gradient(rows, jnp.tile(t, len(position)))
        return total + jnp.tensordot(weight, slopes.reshape(-1, *x.shape), 1)

    def explain(x, t):
        per, x = case.batch_size // len(x), jnp.asarray(x)
        total = jnp.zeros_like(x)
        for start in range(0, len(nodes), per):
            part = slice(start, start + per)
            total = step(x, t, nodes[part], weights[part], total)
        return np.asarray((total * x).sum(-1))

    return explain


def grad_cam(case: Case) -> Explain:
    """Return a function (images, classes) -> Grad-CAM at the case's layer, in the image's size."""

    def score(activations, t):
        return jnp.take_along_axis(case.head(activations), t[:, None], 1).sum()

    @jax.jit
    def step(x, t):
        activations = case.features(x)
        weight = jax.grad(score)(activations, t).mean((1, 2), keepdims=True)
        cam = jax.nn.relu((activations * weight).sum(-1))
        return jax.image.resize(cam, x.shape[:3], "bilinear")

    return lambda x, t: np.asarray(step(x, t))


def scores(case: Case) -> Explain:
    """Return a function (images, classes) -> the scores that are explained."""
    step = jax.jit(lambda x, t: jnp.take_along_axis(case(x), t[:, None], 1)[:, 0])
    return lambda x, t: np.asarray(step(x, t))


def _score(case: Case) -> Callable:
    return lambda x, t: jnp.take_along_axis(case(x), t[:, None], 1).sum()
