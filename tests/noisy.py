"""Explainers with noise of shared tiny models, and what the oracle says that they give."""

import functools

import numpy as np

import oracles
import tiny_models
from cases import TARGETS
from tiny_models import KINDS
from xai_core.attributions import SmoothGrad

X, SERIES, IMAGES = (KINDS[name].inputs() for name in ("table", "series", "image"))


def model(name="image"):
    """A shared model; those of which few steps are compiled are shared with the contract."""
    return tiny_models.model(name, "noise" if name in ("table", "image") else "SmoothGrad")


def explainer(name="image", cls=SmoothGrad, base=None, **fields):
    """Few samples of absolute noise, no channel reduced."""
    own = {"reducer": None} if KINDS[name].rank > 3 else {}
    base = model(name) if base is None else base
    return cls(base, **{"n_samples": 4, "noise_scale": "absolute", **own, **fields})


def smooth(name, x, noise, targets=TARGETS, **settings):
    """The oracle's mean gradient of noisy copies of channels-last inputs."""
    scores = oracles.score(KINDS[name].twin, targets)
    maps = oracles.noisy_maps(
        lambda z: oracles.gradient(scores, z), x, noise, **{"n_samples": 4, **settings}
    )
    return maps.mean(0)


NAMES = ("table", "image", "volume", *(name for name in KINDS if name.startswith("torch")))
"""Kinds that every statistic is compared with the oracle on."""


def assert_equals_the_oracle(name, cls):
    """Map and standard error of a shared model against the oracle's noisy maps."""
    kind = KINDS[name]
    scores = oracles.score(kind.twin, TARGETS)
    maps = oracles.noisy_maps(
        lambda z: oracles.gradient(scores, z), oracles.inputs(kind.twin), 0.3, 7, seed=2**33 + 1
    )
    fields = {"n_samples": 7, "noise": 0.3, "seed": 2**33 + 1}
    explanation = explainer(name, cls, **fields)(kind.inputs(), TARGETS)
    expected, error = oracles.statistic(cls.__name__, maps)
    oracles.assert_same(explanation.values, kind.layout(expected))
    oracles.assert_same(explanation.standard_error, kind.layout(error), 1e-4)
    oracles.assert_same(
        explanation.scores, oracles.logits(kind.twin, oracles.inputs(kind.twin))[range(5), TARGETS]
    )


@functools.cache
def experiments(cls, n_samples, seeds):
    """Maps and standard errors (seeds, 100) at 1, with noise of .2: so many experiments."""
    explanations = [hundred(cls, n_samples, seed, 1.0) for seed in range(seeds)]
    values = np.concatenate([explanation.values for explanation in explanations])
    return values, np.concatenate([explanation.standard_error for explanation in explanations])


def hundred(cls, n_samples, seed, at):
    """The Explanation of f = x_1² + ... + x_100² where all elements are ``at``."""
    fields = {"n_samples": n_samples, "noise": 0.2, "noise_scale": "absolute", "batch_size": 200}
    return cls(tiny_models.squares(), seed=seed, **fields)(np.full((1, 100), at, "float32"))


def coverage(cls, n_samples, truth, seeds=8):
    """The share of the intervals of 1.96 standard errors that hold the truth."""
    values, errors = experiments(cls, n_samples, seeds)
    return (np.abs(values - truth) <= 1.96 * errors).mean()
