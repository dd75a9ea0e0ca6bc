"""What is explained: the small and the large model, their inputs, and their parts for Grad-CAM."""

from __future__ import annotations

import importlib.util
import itertools
import json
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import keras
import numpy as np
from keras import layers

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@dataclass(frozen=True)
class Case:
    """One model with the inputs that both sides explain.

    ``features`` and ``head`` are the model cut behind ``layer``: head(features(x)) = model(x).
    """

    model: Any
    layer: str
    features: Callable[[Any], Any]
    head: Callable[[Any], Any]
    inputs: np.ndarray
    targets: np.ndarray
    batch_size: int
    kind: str
    channels_last_memory: bool = True

    def __call__(self, inputs: Any) -> Any:
        """Return the model's output as inference gives it."""
        return self.model(inputs, training=False) if self.kind == "keras" else self.model(inputs)

    def rows(self, count: int) -> np.ndarray:
        """Return ``count`` inputs, repeated from the start where there are fewer."""
        return np.resize(self.inputs, (count, *self.inputs.shape[1:]))

    @property
    def channel_axis(self) -> int:
        """The axis of the colours: last, but second in a native torch module."""
        return -1 if self.kind == "keras" else 1

    @property
    def spatial_axes(self) -> tuple[int, int]:
        """The axes of height and width."""
        return (1, 2) if self.kind == "keras" else (2, 3)


def small(kind: str, size: tuple[int, int] = (32, 32)) -> Case:
    """Return the CNN with random weights and 64 images of noise: overhead shows here."""
    model = _small_keras(size)
    generator = np.random.default_rng(0)
    inputs = generator.random((64, *size, 3), dtype="float32")
    targets = generator.integers(0, 10, 64)
    if kind == "keras":
        features, head = _cut_keras(model, "last")
        return Case(model, "last", features, head, inputs, targets, 64, kind)
    module = _small_torch(model.get_weights())
    features, head = _cut_torch(module, "last")
    return Case(module, "last", features, head, _channels_first(inputs), targets, 64, kind)


def large(kind: str, data: Path) -> Case:
    """Return the ImageNet MobileNetV2 of the folder ``data`` and eight of its photos."""
    loader = _load(data / "load_mobilenetv2.py")
    photos, targets, _ = photographs(data, 8)
    inputs = loader.preprocess(photos)
    if kind == "keras":
        model = loader.load_mobilenetv2()
        features, head = _cut_keras(model, "out_relu")
        return Case(model, "out_relu", features, head, inputs, targets, 8, kind)
    module = _load(data / "load_mobilenetv2_torch.py").load_mobilenetv2_torch()
    layer = f"features.{len(module.features) - 1}"

    def head(activations: Any) -> Any:
        return module.classifier(module.flatten(module.pool(activations)))

    return Case(module, layer, module.features, head, _channels_first(inputs), targets, 8, kind)


def photographs(data: Path, count: int) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Return photos of the folder ``data`` as (N, 224, 224, 3), their classes and their names."""
    loader = _load(data / "load_mobilenetv2.py")
    labels = json.loads((data / "imagenet_samples" / "labels.json").read_text())
    files = sorted(labels)[:: len(labels) // count][:count]
    photos = np.stack([loader.load_image(data / "imagenet_samples" / file) for file in files])
    return photos, np.array([labels[file][0] for file in files]), [labels[f][1] for f in files]


def _small_keras(size: tuple[int, int]) -> keras.Sequential:
    def convolution(filters: int, name: str | None = None) -> layers.Layer:
        return layers.Conv2D(filters, 3, padding="same", activation="relu", name=name)

    model = keras.Sequential(
        [
            keras.Input((*size, 3)),
            convolution(32),
            convolution(32),
            layers.MaxPooling2D(),
            convolution(64),
            convolution(64, name="last"),
            layers.MaxPooling2D(),
            layers.GlobalAveragePooling2D(),
            layers.Dense(10),
        ]
    )
    generator = np.random.default_rng(0)  # Keras draws other weights on each backend
    model.set_weights([_random_weight(generator, w.shape) for w in model.get_weights()])
    return model


def _random_weight(generator: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Draw as He does for ReLU layers, and biases that bend the path of an integral."""
    scale = 0.1 if len(shape) == 1 else np.sqrt(2.0 / np.prod(shape[:-1]))
    return (scale * generator.standard_normal(shape)).astype("float32")


def _small_torch(weights: list[np.ndarray]) -> Any:
    import torch
    from torch import nn

    parts: OrderedDict[str, nn.Module] = OrderedDict()
    channels = [3, 32, 32, 64, 64]
    for index, (before, after) in enumerate(itertools.pairwise(channels)):
        parts[f"convolution_{index}"] = nn.Conv2d(before, after, 3, padding=1)
        parts["last" if index == 3 else f"relu_{index}"] = nn.ReLU()
        if index % 2:
            parts[f"pool_{index}"] = nn.MaxPool2d(2)
    parts |= {"average": nn.AdaptiveAvgPool2d(1), "flatten": nn.Flatten(), "out": nn.Linear(64, 10)}
    module = nn.Sequential(parts)
    with torch.no_grad():
        for parameter, weight in zip(module.parameters(), weights, strict=True):
            order = (3, 2, 0, 1) if weight.ndim == 4 else tuple(range(weight.ndim))[::-1]
            parameter.copy_(torch.from_numpy(np.ascontiguousarray(weight.transpose(order))))
    return module.eval().requires_grad_(False)


def _cut_keras(model: keras.Model, name: str) -> tuple[Callable, Callable]:
    """Cut a model whose layers behind ``name`` form a chain."""
    layer = model.get_layer(name)
    behind = model.layers[model.layers.index(layer) + 1 :]
    trunk = keras.Model(model.inputs, layer.output)

    def features(inputs: Any) -> Any:
        return trunk(inputs, training=False)

    def head(activations: Any) -> Any:
        for part in behind:
            activations = part(activations)
        return activations

    return features, head


def _cut_torch(module: Any, name: str) -> tuple[Callable, Callable]:
    index = [part for part, _ in module.named_children()].index(name) + 1
    return module[:index], module[index:]


def _channels_first(inputs: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(inputs.transpose(0, 3, 1, 2))


def _load(path: Path) -> ModuleType:
    if not path.exists():
        raise SystemExit(f"Nothing was run: {path} is missing. Name its folder with --data.")
    specification = importlib.util.spec_from_file_location(path.stem, path)
    if specification is None or specification.loader is None:
        raise SystemExit(f"Nothing was run: {path} is no Python file.")
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module
