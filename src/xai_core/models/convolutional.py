"""A small convolutional network."""

from __future__ import annotations

from typing import Any

import keras

from xai_core import _checks

_FILTERS = (16, 32, 64)
_KERNELS = (5, 3, 3)


def small_cnn(input_shape: tuple[int, int, int], classes: int, *, seed: int = 0) -> keras.Model:
    """Build a CNN that ends in logits: 24,538 weights for ten classes of grey images.

    Three times a convolution (5 x 5, then 3 x 3), batch normalisation and ReLU, with 16, 32 and 64
    filters and average pooling between them; then global average pooling and a linear layer. The
    last feature map thus has a quarter of the image's height and width. Average pooling, unlike
    maximum pooling, leaves gradients smooth.

    Parameters
    ----------
    input_shape : tuple of int
        Height, width and channels of the images (channels last), at least 4 x 4.
    classes : int
        Number of outputs, at least 2.
    seed : int
        Of the initial weights, which are the same on one backend in every run. Global random
        state is neither used nor changed.

    Returns
    -------
    keras.Model
        Not trained, float32.

    Raises
    ------
    TypeError, ValueError
        If an argument is no integer or too small.

    Examples
    --------
    >>> small_cnn((24, 24, 1), classes=10).output_shape
    (None, 10)
    """
    if not isinstance(input_shape, tuple | list) or len(input_shape) != 3:
        raise ValueError(
            "`input_shape` must be height, width and channels. Received: "
            f"{input_shape!r}. Leave out the batch axis."
        )
    for side, smallest in zip(input_shape, (4, 4, 1), strict=True):
        _checks.integer("input_shape", side, minimum=smallest)
    _checks.integer("classes", classes, minimum=2)
    _checks.integer("seed", seed, minimum=0)
    inputs = keras.Input(tuple(input_shape), dtype="float32")
    x: Any = inputs
    for block, filters in enumerate(_FILTERS):
        if block:
            x = keras.layers.AveragePooling2D(2, data_format="channels_last", dtype="float32")(x)
        he: Any = keras.initializers.HeNormal(seed=len(_FILTERS) * seed + block)
        x = _block(x, filters, _KERNELS[block], he)
    x = keras.layers.GlobalAveragePooling2D(data_format="channels_last", dtype="float32")(x)
    start: Any = keras.initializers.GlorotUniform(seed=seed)
    logits = keras.layers.Dense(classes, kernel_initializer=start, dtype="float32", name="logits")(
        x
    )
    return keras.Model(inputs, logits, name="small_cnn")


def _block(x: keras.KerasTensor, filters: int, kernel: int, start: Any) -> keras.KerasTensor:
    convolution = keras.layers.Conv2D(
        filters,
        kernel,
        padding="same",
        use_bias=False,
        data_format="channels_last",
        kernel_initializer=start,
        dtype="float32",
    )
    normalization = keras.layers.BatchNormalization(momentum=0.9, dtype="float32")
    return keras.layers.ReLU(dtype="float32")(normalization(convolution(x)))
