"""`xai-core demo`: a network, its explanations, and a picture, from nothing."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np

import xai_core
from xai_core import _choice, attributions, datasets, models, plots, report
from xai_core.cli import judging, options
from xai_core.explanation import Explanation
from xai_core.typing import Array

WANTED_ACCURACY = 0.97

_FELL_SHORT = 1
_NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_SHOWN = (0, 2, 3, 5, 8)
_SCORED = 40
_NOISE = 0.4
_METHODS_PER_PICTURE = 8
_MASKS: dict[str, dict[str, int]] = {
    "RISE": {"n_samples": 500},
    "LIME": {"n_samples": 300},
    "KernelSHAP": {"n_samples": 512},
    "ShapleySampling": {"n_permutations": 8},
    "Sobol": {"n_design": 8},
    "HSIC": {"n_samples": 256},
}
"""Fewer than usual: so small a network is understood with few."""
_AGAINST_ROWS = ("DeepSHAP", "ExpectedGradients")
"""Methods that compare with rows of data."""
_TYPICAL = 10
_FULL_SIZE = 3
"""The layer behind the first convolution, whose maps have the size of the image."""
_FILE = "xai_core_demo"
_INTRODUCTION = (
    "Why a small convolutional network, trained on scikit-learn's digits, recognises images that "
    "it has not seen."
)


def run(known: argparse.Namespace) -> int:
    """Train, explain, draw, and tell; 1 if the network did not learn enough."""
    print(f"xai-core {xai_core.__version__} on {_choice.BACKEND}. {_choice.RULE}")
    known.output.mkdir(parents=True, exist_ok=True)
    data = datasets.digits()
    model, accuracy = _trained(data)
    if accuracy < WANTED_ACCURACY:
        print(f"That is less than {WANTED_ACCURACY:.0%}: nothing is explained.")
        return _FELL_SHORT
    images = _examples(model, data)
    named = xai_core.wrap(model, class_names=_NAMES)
    print(f"Explanations of {len(images)} held-out images, with the time of the first call:")
    typical = data.train_inputs[:_TYPICAL]
    explanations = {name: _explained(name, named, images, typical) for name in attributions.__all__}
    shown = {name: found[: len(_SHOWN)] for name, found in explanations.items()}
    for path in _draw(shown, images[: len(_SHOWN)], known.output):
        print(f"Picture: {path.resolve()}")
    print(
        "How soon the probability falls when the most important pixels are deleted (lower is "
        f"better)\nand rises when they are inserted (higher is better), mean of {len(images)} "
        "images:"
    )
    results = judging.judged(judging.with_random(explanations, named, images), named, images)
    judging.print_scores(results)
    path = report.write(
        known.output / _FILE,
        shown,
        images[: len(_SHOWN)],
        scores=results,
        title="A small network and its digits",
        introduction=f"{_INTRODUCTION} It gets {accuracy:.1%} of the held-out images right.",
        names=[f"A {_NAMES[digit]}" for digit in _SHOWN],
    )
    print(f"All on one page: {path.resolve()}")
    return 0


def _trained(data: datasets.Split) -> tuple[Any, float]:
    height, width, channels = data.train_inputs.shape[1:]
    model = models.small_cnn((height, width, channels), classes=len(_NAMES))
    print(
        f"Data: scikit-learn's digits, {height} x {width} pixels, {len(data.train_inputs):,} "
        f"images to learn from and {len(data.test_inputs)} held out"
    )
    print(f"Model: a CNN with {model.count_params():,} weights; training ...", flush=True)
    start = time.perf_counter()
    models.fit_classifier(model, data.train_inputs, data.train_labels, noise=_NOISE)
    seconds = time.perf_counter() - start
    right = _logits(model, data.test_inputs).argmax(axis=1) == data.test_labels
    print(f"Trained in {seconds:.1f} s: {right.mean():.1%} of the held-out images right")
    return model, float(right.mean())


def _logits(model: Any, images: Array) -> Array:
    return model.predict(images, batch_size=len(images), verbose=0)


def _examples(model: Any, data: datasets.Split) -> Array:
    """Return the held-out image of some digits that is most clearly what it is, and further ones.

    The first are shown, all are scored.
    """
    logits = _logits(model, data.test_inputs)
    own = data.test_labels[:, None] == np.arange(len(_NAMES))
    lead = np.where(own, logits, -np.inf).max(axis=1) - np.where(own, -np.inf, logits).max(axis=1)
    rows = [np.where(data.test_labels == digit, lead, -np.inf).argmax() for digit in _SHOWN]
    others = np.setdiff1d(np.arange(len(data.test_inputs)), rows)[: _SCORED - len(rows)]
    return data.test_inputs[[*rows, *others]]


def _explained(name: str, model: Any, images: Array, typical: Array) -> Explanation:
    start = time.perf_counter()
    fields: dict[str, Any] = dict(_MASKS.get(name, {}))
    if name in _AGAINST_ROWS:
        fields["background"] = typical
    if name == "Conductance":
        fields["layer"] = _FULL_SIZE
    explanation = options.explainer(getattr(attributions, name), model, fields, None)(images)
    print(f"  {name:<24}{time.perf_counter() - start:6.1f} s")
    return explanation


def _draw(explanations: dict[str, Explanation], images: Array, folder: Path) -> list[Path]:
    """Write pictures of a few methods each, and return where they are."""
    names = list(explanations)
    paths = []
    for first in range(0, len(names), _METHODS_PER_PICTURE):
        part = {name: explanations[name] for name in names[first : first + _METHODS_PER_PICTURE]}
        figure = plots.attributions(part, images)
        number = f"_{len(paths) + 1}" if len(names) > _METHODS_PER_PICTURE else ""
        paths.append(folder / f"{_FILE}{number}.png")
        figure.savefig(paths[-1], dpi=120)
    return paths
