"""The shortest good JAX code by hand: what a user of one framework and one model would write."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

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


def smooth_grad(case: Case, n_samples: int, noise: float) -> Explain:
    """Return a function (images, classes) -> mean gradient under noise, absolute, over colours."""
    gradient = jax.grad(_score(case))

    @partial(jax.jit, static_argnames="count")
    def step(x, t, spread, start, total, count):
        key = jax.random.fold_in(jax.random.key(0), start)
        rows = x + spread * jax.random.normal(key, (count, *x.shape))
        slopes = gradient(rows.reshape(-1, *x.shape[1:]), jnp.tile(t, count))
        return total + slopes.reshape(rows.shape).sum(0)

    def explain(x, t):
        spread = noise * np.ptp(x, (1, 2, 3), keepdims=True)
        per, x = case.batch_size // len(x), jnp.asarray(x)
        total = jnp.zeros_like(x)
        for start in range(0, n_samples, per):
            total = step(x, t, spread, start, total, count=min(per, n_samples - start))
        return np.asarray(jnp.abs(total / n_samples).mean(-1))

    return explain


def grad_cam(case: Case) -> Explain:
    """Return a function (images, classes) -> Grad-CAM at the case's layer, in the image's size."""
    return _cam(case, lambda activations, slopes: slopes.mean((1, 2), keepdims=True))


def grad_cam_plus_plus(case: Case) -> Explain:
    """Return a function (images, classes) -> Grad-CAM++, likewise."""

    def weigh(activations, slopes):
        below = 2 * slopes**2 + activations.sum((1, 2), keepdims=True) * slopes**3
        share = jnp.where(below == 0, 0, slopes**2 / jnp.where(below == 0, 1, below))
        return (share * jax.nn.relu(slopes)).sum((1, 2), keepdims=True)

    return _cam(case, weigh)


def layer_cam(case: Case) -> Explain:
    """Return a function (images, classes) -> LayerCAM, likewise."""
    return _cam(case, lambda activations, slopes: jax.nn.relu(slopes))


def hires_cam(case: Case) -> Explain:
    """Return a function (images, classes) -> HiResCAM, likewise."""
    return _cam(case, lambda activations, slopes: slopes)


def scores(case: Case) -> Explain:
    """Return a function (images, classes) -> the scores that are explained."""
    step = jax.jit(lambda x, t: jnp.take_along_axis(case(x), t[:, None], 1)[:, 0])
    return lambda x, t: np.asarray(step(x, t))


def forward(case: Case, rows: int) -> Callable[[], list[np.ndarray]]:
    """Return a function that calls the model on ``rows`` prepared rows, in full batches only."""
    step = jax.jit(lambda x: case(x))
    batch = jnp.asarray(case.rows(case.batch_size))
    calls = -(-rows // case.batch_size)
    return lambda: [np.asarray(y) for y in [step(batch) for _ in range(calls)]]


def _cam(case: Case, weigh: Callable) -> Explain:
    def score(activations, t):
        return jnp.take_along_axis(case.head(activations), t[:, None], 1).sum()

    @jax.jit
    def step(x, t):
        activations = case.features(x)
        weight = weigh(activations, jax.grad(score)(activations, t))
        cam = jax.nn.relu((activations * weight).sum(-1))
        return jax.image.resize(cam, x.shape[:3], "bilinear")

    return lambda x, t: np.asarray(step(x, t))


def _score(case: Case) -> Callable:
    return lambda x, t: jnp.take_along_axis(case(x), t[:, None], 1).sum()
