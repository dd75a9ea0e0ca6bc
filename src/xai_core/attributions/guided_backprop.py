"""Guided backpropagation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from xai_core.attributions.rectified import AbstractRectified, changing, gated


@dataclass(frozen=True, eq=False, kw_only=True)
class GuidedBackprop(AbstractRectified):
    r"""Gradient of the score, of which each rectifier passes back the positive part only.

    .. math:: R^l = f'(a^l) \, \mathbf{1}[R^{l+1} > 0] \, R^{l+1}

    at a rectifier f with the input a, where f'(a) is 1[a > 0], for a capped one 1[0 < a < cap].

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
    Rectifiers are seen where the model's own framework offers them (ReLU6, leaky, parametric, with
    a threshold, clipped at 0): those of Keras in Keras models, those of torch in torch modules,
    those of JAX in `JaxFunction`. **Not seen**, and so passed unchanged, are ``tf.nn.relu``,
    ``jax.nn.relu`` or ``torch.relu`` that a Keras layer calls past Keras, a hand-written
    ``where(x > 0, x, 0)``, ``maximum`` of two tensors, and what stands inside of functions with
    gradients of their own. The warning names what is seen of these: pairs of tensors, layers of
    Keras that hold a function or a module of a framework, ``where`` in a `JaxFunction`,
    ``torch.autograd.Function``, ``torch.jit`` and ``tf.recompute_grad``.

    The map says more of the input's edges than of the class: it hardly changes when upper layers
    are drawn anew (Adebayo et al., 2018, https://arxiv.org/abs/1810.03292).

    Springenberg et al., 2014, "Striving for Simplicity: The All Convolutional Net",
    https://arxiv.org/abs/1412.6806

    Examples
    --------
    >>> import keras, numpy as np
    >>> hidden = keras.layers.Dense(3, activation="relu", kernel_initializer="ones")
    >>> layers = [keras.Input((4,)), hidden, keras.layers.Dense(2)]
    >>> GuidedBackprop(keras.Sequential(layers))(np.ones((1, 4))).values.shape
    (1, 4)
    """

    source: ClassVar[str] = (
        "Springenberg et al., 2014, Striving for Simplicity, https://arxiv.org/abs/1412.6806"
    )
    within: ClassVar[Any] = staticmethod(changing(gated))
