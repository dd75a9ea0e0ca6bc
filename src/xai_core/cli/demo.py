"""`xai-core demo`: a network, its explanations, and a picture, from nothing."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np

import xai_core
from xai_core import _choice, attributions, datasets, models, plots
from xai_core.explanation import Explanation
from xai_core.typing import Array

WANTED_ACCURACY = 0.97

_FELL_SHORT = 1
_DIGITS = (0, 2, 3, 5, 8)
_NOISE = 0.4
_METHODS_PER_PICTURE = 8
_FILE = "xai_core_demo"


def run(known: argparse.Namespace) -> int:
    """Train, explain, draw, and tell; 1 if the network did not learn enough."""
    print(f"xai-core {xai_core.__version__} on {_choice.BACKEND}. {_choice.RULE}")
    known.output.mkdir(parents=True, exist_ok=True)
    data = datasets.digits()
    model, accuracy = _trained(data)
    if accuracy < WANTED_ACCURACY:
        print(f"That is less than {WANTED_ACCURACY:.0%}: nothing is explained.")
        return _FELL_SHORT
    images, labels = _examples(model, data)
    print(f"Explanations of {len(images)} held-out images, with the time of the first call:")
    explanations = {name: _explained(name, model, images) for name in attributions.__all__}
    for path in _draw(explanations, images, labels, known.output):
        print(f"Picture: {path.resolve()}")
    return 0


def _trained(data: datasets.Split) -> tuple[Any, float]:
    height, width, channels = data.train_inputs.shape[1:]
    model = models.small_cnn((height, width, channels), classes=10)
    print(
        f"Data: scikit-learn's digits, {height} x {width} pixels, {len(data.train_inputs):,} "
        f"images to learn from and {len(data.test_inputs)} held out"
    )
    start = time.perf_counter()
    models.fit_classifier(model, data.train_inputs, data.train_labels, noise=_NOISE)
    seconds = time.perf_counter() - start
    accuracy = float((_predicted(model, data.test_inputs) == data.test_labels).mean())
    print(
        f"Model: a CNN with {model.count_params():,} weights, trained in {seconds:.1f} s; "
        f"{accuracy:.1%} of the held-out images right"
    )
    return model, accuracy


def _predicted(model: Any, images: Array) -> Array:
    return np.argmax(model.predict(images, batch_size=len(images), verbose=0), axis=1)


def _examples(model: Any, data: datasets.Split) -> tuple[Array, Array]:
    """Return a held-out image of some digits, one each that the network gets right."""
    right = _predicted(model, data.test_inputs) == data.test_labels
    rows = [np.flatnonzero(right & (data.test_labels == digit))[0] for digit in _DIGITS]
    return data.test_inputs[rows], data.test_labels[rows]


def _explained(name: str, model: Any, images: Array) -> Explanation:
    start = time.perf_counter()
    explanation = getattr(attributions, name)(model)(images)
    print(f"  {name:<24}{time.perf_counter() - start:6.1f} s")
    return explanation


def _draw(
    explanations: dict[str, Explanation], images: Array, labels: Array, folder: Path
) -> list[Path]:
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
