"""Random small networks of images, the same for a seed on every backend."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import layers

from xai_core.layers import places

SHAPES = ((12, 12, 3), (16, 9, 1), (10, 14, 2))
POLICIES = (*["float32"] * 10, "mixed_bfloat16", "mixed_float16")
ACTIVATIONS = (
    *("relu", "relu", "relu", "relu6", "leaky_relu", "elu", "tanh", "sigmoid", "silu", "gelu"),
    *("softplus", "linear", "mish"),
)
CLASSES = 5
RECTIFIERS = {"relu", "relu6", "leaky_relu", "Relu", "Relu6", "LeakyRelu", "ReLU", "PReLU"}
"""Names of functions, operations and layers."""


@dataclass(frozen=True)
class Architecture:
    """A network, inputs that fit it, what it is made of, and whether it has a rectifier."""

    model: Any
    inputs: np.ndarray
    policy: str
    blocks: tuple[str, ...]

    @property
    def rectified(self) -> bool:
        """Whether a layer or an operation is a rectifier, or a layer's activation."""
        every = [place.layer for place in places(self.model)]
        names = {type(one).__name__ for one in every}
        names |= {getattr(getattr(one, "activation", None), "__name__", "") for one in every}
        return not RECTIFIERS.isdisjoint(names)


def random_architecture(seed: int) -> Architecture:
    """Draw a network of two to five blocks, with weights drawn by NumPy."""
    generator = np.random.default_rng(seed)
    shape = SHAPES[seed % len(SHAPES)]
    policy = str(generator.choice(POLICIES))
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        model, names = _built(generator, shape)
    finally:
        keras.config.set_dtype_policy(before)
    for variable in model.variables:
        variable.assign(_values(generator, variable))
    inputs = generator.normal(size=(3, *shape)).astype("float32")
    return Architecture(model, inputs, policy, names)


def _values(generator: np.random.Generator, variable: Any) -> np.ndarray:
    """Weights that keep the size of what they multiply, and variances above zero."""
    if not keras.backend.is_float_dtype(variable.dtype):
        return np.zeros(variable.shape, variable.dtype)
    if variable.name in ("gamma", "moving_variance"):
        return generator.uniform(0.5, 1.5, variable.shape)
    fan = max(1, int(np.prod(variable.shape[:-1])))
    return generator.normal(size=variable.shape) * (0.3 if fan == 1 else fan**-0.5)


def _built(generator: np.random.Generator, shape: tuple[int, ...]) -> tuple[Any, tuple[str, ...]]:
    inputs = keras.Input(shape)
    names = [str(name) for name in generator.choice(sorted(BLOCKS), generator.integers(2, 6))]
    h = _conv(generator, inputs, name="conv1")
    nested = generator.random() < 0.2
    if nested:
        inner = keras.Input(h.shape[1:])
        h = keras.Model(inner, _stacked(generator, inner, names), name="inner")(h)
    else:
        h = _stacked(generator, h, names)
    h = _head(generator, h)
    activation = "softmax" if generator.random() < 0.5 else None
    outputs = layers.Dense(CLASSES, activation=activation, dtype="float32")(h)
    return keras.Model(inputs, outputs), (*names, *["nested"] * nested)


def _stacked(generator: np.random.Generator, h: Any, names: list[str]) -> Any:
    for name in names:
        h = BLOCKS[name](generator, h)
    return h


def _head(generator: np.random.Generator, h: Any) -> Any:
    kinds = (layers.GlobalAveragePooling2D, layers.GlobalMaxPooling2D, layers.Flatten)
    h = kinds[generator.integers(3)]()(h)
    if generator.random() < 0.5:
        h = layers.Dense(8, activation=_activation(generator))(h)
    return h


def _activation(generator: np.random.Generator) -> str:
    return str(generator.choice(ACTIVATIONS))


def _filters(generator: np.random.Generator) -> int:
    return int(generator.choice((4, 6)))


def _conv(generator: np.random.Generator, h: Any, name: str | None = None) -> Any:
    return layers.Conv2D(
        _filters(generator),
        int(generator.choice((1, 3))),
        padding="same",
        activation=_activation(generator),
        use_bias=bool(generator.random() < 0.7),
        name=name,
    )(h)


def _dilated(generator: np.random.Generator, h: Any) -> Any:
    return layers.Conv2D(_filters(generator), 3, padding="same", dilation_rate=2)(h)


def _depthwise(generator: np.random.Generator, h: Any) -> Any:
    return layers.DepthwiseConv2D(3, padding="same", activation=_activation(generator))(h)


def _separable(generator: np.random.Generator, h: Any) -> Any:
    return layers.SeparableConv2D(_filters(generator), 3, padding="same")(h)


def _batch_norm(generator: np.random.Generator, h: Any) -> Any:
    return layers.Activation(_activation(generator))(layers.BatchNormalization()(h))


def _layer_norm(generator: np.random.Generator, h: Any) -> Any:
    return layers.LayerNormalization()(h)


def _group_norm(generator: np.random.Generator, h: Any) -> Any:
    return layers.GroupNormalization(2)(h)


def _residual(generator: np.random.Generator, h: Any) -> Any:
    inner = layers.Conv2D(h.shape[-1], 3, padding="same", activation=_activation(generator))(h)
    return layers.Add()([h, layers.Conv2D(h.shape[-1], 1)(inner)])


def _branches(generator: np.random.Generator, h: Any) -> Any:
    return layers.Concatenate()([_conv(generator, h), _dilated(generator, h)])


def _shared(generator: np.random.Generator, h: Any) -> Any:
    layer = layers.Conv2D(h.shape[-1], 3, padding="same", activation=_activation(generator))
    return layer(layer(h))


def _gate(generator: np.random.Generator, h: Any) -> Any:
    shares = layers.Dense(h.shape[-1], activation="sigmoid")(layers.GlobalAveragePooling2D()(h))
    return layers.Multiply()([h, layers.Reshape((1, 1, h.shape[-1]))(shares)])


def _max_pool(generator: np.random.Generator, h: Any) -> Any:
    return layers.MaxPooling2D(2, padding="same")(h) if min(h.shape[1:3]) > 3 else h


def _average_pool(generator: np.random.Generator, h: Any) -> Any:
    return layers.AveragePooling2D(2)(h) if min(h.shape[1:3]) > 3 else h


def _dropout(generator: np.random.Generator, h: Any) -> Any:
    return layers.Dropout(0.5)(h)


def _rectifier(generator: np.random.Generator, h: Any) -> Any:
    kinds: tuple[Callable[[Any], Any], ...] = (
        layers.ReLU(),
        layers.ReLU(max_value=1.0),
        layers.ReLU(negative_slope=0.2),
        layers.PReLU(shared_axes=(1, 2)),
        keras.ops.relu,
        keras.ops.relu6,
    )
    return kinds[generator.integers(len(kinds))](h)


def _maximum(generator: np.random.Generator, h: Any) -> Any:
    return layers.Maximum()([h, layers.Conv2D(h.shape[-1], 1)(h)])


BLOCKS = {
    "conv": _conv,
    "dilated": _dilated,
    "depthwise": _depthwise,
    "separable": _separable,
    "batch_norm": _batch_norm,
    "layer_norm": _layer_norm,
    "group_norm": _group_norm,
    "residual": _residual,
    "branches": _branches,
    "shared": _shared,
    "gate": _gate,
    "max_pool": _max_pool,
    "average_pool": _average_pool,
    "dropout": _dropout,
    "rectifier": _rectifier,
    "maximum": _maximum,
}
