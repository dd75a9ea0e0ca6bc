"""The deconvolutional network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from xai_core.attributions.rectified import AbstractRectified, changing, inverted


@dataclass(frozen=True, eq=False, kw_only=True)
class DeconvNet(AbstractRectified):
    r"""Gradient of the score, which each rectifier replaces by its positive part.

    .. math:: R^l = \mathbf{1}[R^{l+1} > 0] \, R^{l+1}

    at a rectifier, whatever its input was.

    Parameters
    ----------
    model, operator, output, batch_size, progress
        As for every explainer: see `AbstractExplainer`.
    reducer : {"max", "mean", "sum", "abs_max", "abs_mean"}, callable or None
        How the channels of images become one number, by default the mean of their absolute values.
    layer, call
        Explain the output of a layer: see `AbstractGradient`.

    Raises
    ------
    TypeError, ValueError
        If a field is wrong, at construction; if inputs or targets do not fit, or the model runs no
        rectifier that can be seen, at the call.

    Warns
    -----
    ExplanationWarning
        If the model has other non-linearities, or rectifiers out of reach, which pass gradients
        unchanged.

    Notes
    -----
    Which rectifiers are seen, `GuidedBackprop` tells: a Keras layer's own ``tf.nn.relu``,
    ``jax.nn.relu`` or ``torch.relu`` is not. All that are seen pass back the positive part, capped
    and leaky ones too.

    Zeiler and Fergus, 2014, "Visualizing and Understanding Convolutional Networks",
    https://arxiv.org/abs/1311.2901

    Examples
    --------
    >>> import keras, numpy as np
    >>> hidden = keras.layers.Dense(3, activation="relu", kernel_initializer="ones")
    >>> layers = [keras.Input((4,)), hidden, keras.layers.Dense(2)]
    >>> DeconvNet(keras.Sequential(layers))(np.ones((1, 4))).values.shape
    (1, 4)
    """

    source: ClassVar[str] = (
        "Zeiler and Fergus, 2014, Visualizing and Understanding Convolutional Networks, "
        "https://arxiv.org/abs/1311.2901"
    )
    within: ClassVar[Any] = staticmethod(changing(inverted))
