"""Small networks trained in seconds to tell apart patterns that are planted in noise.

Run it for the ratios of all methods, those of `test_planted.py` and the others::

    KERAS_BACKEND=torch python tests/planted.py
"""

from __future__ import annotations

import functools
import sys
import warnings
from typing import NamedTuple

import keras
import numpy as np
from keras import layers

HELD_OUT = 50


class Kind(NamedTuple):
    """The side of the input and of the pattern along each axis, and the layers that fit."""

    side: int
    part: int
    axes: int
    kernel: int
    convolution: type
    pool: type | None
    largest: type


KINDS = {
    "series": Kind(128, 10, 1, 5, layers.Conv1D, layers.MaxPooling1D, layers.GlobalMaxPooling1D),
    "image": Kind(32, 8, 2, 5, layers.Conv2D, layers.MaxPooling2D, layers.GlobalMaxPooling2D),
    "volume": Kind(12, 5, 3, 3, layers.Conv3D, None, layers.GlobalMaxPooling3D),
}


class Planted(NamedTuple):
    """A trained network, inputs that it gets right, and where their patterns are."""

    model: keras.Model
    inputs: np.ndarray
    classes: np.ndarray
    inside: np.ndarray
    background: np.ndarray

    def ratio(self, maps: np.ndarray) -> float:
        """Mean share of the absolute map inside the pattern over its share of the input."""
        mass = np.abs(maps.astype("float64")).reshape(len(maps), -1)
        inside = self.inside.reshape(len(maps), -1)
        share = (mass * inside).sum(1) / np.maximum(mass.sum(1), 1e-30)
        return float(np.mean(share / inside.mean(1)))


@functools.cache
def planted(name: str) -> Planted:
    """Train the network of one kind; its pattern covers at most 8 % of an input."""
    kind, generator = KINDS[name], np.random.default_rng(7)
    x, y, _ = _drawn(kind, generator, 384)
    model = _network(kind)
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.optimizer.learning_rate = 0.01
    model.fit(x, y, batch_size=64, epochs=6 if kind.axes < 3 else 4, shuffle=False, verbose=0)
    x, y, inside = _drawn(kind, generator, 160)
    right = np.asarray(model.predict(x, verbose=0)).argmax(1) == y
    chosen = np.flatnonzero(right)[:HELD_OUT]
    if len(chosen) < HELD_OUT:
        raise RuntimeError(f"The network is right on {right.mean():.0%} only.")
    noise = 0.2 * generator.normal(size=(5, *x.shape[1:])).astype("float32")
    return Planted(model, x[chosen], y[chosen], inside[chosen], noise)


def _drawn(kind: Kind, generator: np.random.Generator, count: int) -> tuple[np.ndarray, ...]:
    """Noise with one of three patterns somewhere, its class, and where it is."""
    x = 0.2 * generator.normal(size=(count, *[kind.side] * kind.axes, 1)).astype("float32")
    y = np.arange(count) % 3
    inside = np.zeros(x.shape, bool)
    for row, own in enumerate(y):
        corner = generator.integers(0, kind.side - kind.part + 1, kind.axes)
        box = (row, *(slice(at, at + kind.part) for at in corner))
        x[box] = 0.5 * x[box] + 2 * _pattern(kind, own)[..., None]
        inside[box] = True
    return x, y, inside


def _pattern(kind: Kind, own: int) -> np.ndarray:
    """Stripes along the first axis or along the last, or steps; of a series three rhythms."""
    places = np.indices([kind.part] * kind.axes)
    if kind.axes == 1:
        return np.where(places[0] // (own + 1) % 2, 1.0, -1.0)
    lines = (places[0] // 2, places[-1] // 2, (places[0] + places[-1]) // 2)
    return np.where(lines[own] % 2, 1.0, -1.0)


def _network(kind: Kind) -> keras.Model:
    def made(layer: type, *arguments: int, name: str) -> keras.Layer:
        start = keras.initializers.HeNormal(seed=len(name))
        return layer(
            *arguments, padding="same", activation="relu", kernel_initializer=start, name=name
        )

    return keras.Sequential(
        [
            keras.Input((*[kind.side] * kind.axes, 1)),
            made(kind.convolution, 8, kind.kernel, name="first"),
            *([] if kind.pool is None else [kind.pool(2)]),
            made(kind.convolution, 12, 3, name="second"),
            kind.largest(),
            layers.Dense(3, kernel_initializer=keras.initializers.HeNormal(seed=3)),
        ]
    )


FIELDS = {
    "RISE": {"n_samples": 500},
    "LIME": {"n_samples": 500},
    "KernelSHAP": {"n_samples": 500},
    "HSIC": {"n_samples": 500},
    "Sobol": {"n_design": 8},
    "ShapleySampling": {"n_permutations": 10},
    "Conductance": {"layer": "first", "steps": 16},
    "FinerCAM": {"n_similar": 2},
    "FORGrad": {"sigma": 4},
}
"""Few rows, and at the layer with the size of the input."""


def main() -> None:
    """Print how much denser than elsewhere the map of each method is inside the pattern."""
    from xai_core import attributions

    warnings.simplefilter("ignore")
    print(f"{'':20s} {' '.join(f'{kind:>8s}' for kind in KINDS)}")
    for name in attributions.__all__:
        ratios = (_ratio(getattr(attributions, name), planted(kind)) for kind in KINDS)
        print(f"{name:20s} {' '.join(f'{ratio:8.2f}' for ratio in ratios)}", flush=True)


def _ratio(method: type, made: Planted) -> float:
    from xai_core.attributions import Saliency

    fields = FIELDS.get(method.__name__, {})
    if method.__name__ in ("ExpectedGradients", "DeepSHAP"):
        fields = {"background": made.background}
    model = Saliency(made.model) if method.needs_explainer else made.model
    batch = {} if method.needs_explainer else {"batch_size": 50}
    maps = method(model, **batch, **fields)(made.inputs, made.classes).values
    return made.ratio(np.broadcast_to(np.abs(maps).sum(-1, keepdims=True), made.inputs.shape))


if __name__ == "__main__":
    sys.exit(main())
