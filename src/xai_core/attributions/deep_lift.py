"""DeepLIFT, the rescale rule."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from xai_core import _baselines
from xai_core._request import Group
from xai_core.attributions import sites
from xai_core.attributions.differences import AbstractDifferences


@dataclass(frozen=True, eq=False, kw_only=True)
class DeepLIFT(AbstractDifferences):
    r"""What each feature's difference from a baseline adds to the difference of the score.

    .. math:: \phi = m \odot (x - x_0), \qquad
        m = \prod_l m_l, \quad m_l = \frac{f_l(a) - f_l(a_0)}{a - a_0}

    where the multipliers m_l of operations are chained as gradients are: the rescale rule at each
    non-linear function f_l, the gradient itself at what is linear. The attributions of a sample
    sum up to s(x) - s(x_0).

    Parameters
    ----------
    model, operator, output, batch_size, progress
        As for every explainer: see `AbstractExplainer`. Models of Keras, and torch modules on the
        torch backend.
    reducer : {"max", "mean", "sum", "abs_max", "abs_mean"}, callable or None
        How the channels of images become one number, by default their sum, which keeps
        completeness.
    layer, call
        Explain the output of a layer: see `AbstractGradient`. Of an embedding the baseline is a
        token.
    baseline : number, array, "mean", "blur", callable or list
        The reference x_0: see `IntegratedGradients`. A list means the average over its items.
    check_completeness : bool
        Raise if the attributions of a sample miss s(x) - s(x_0), as they do where the model
        computes by operations that nobody sees; without it they are returned. Missed is more than
        1 % of that difference, or of 1 % of the larger score where this is more; in models that
        compute in float16 or bfloat16 also more than 16 epsilon (1/64, 1/8) of the larger score or
        of the sum of absolute attributions, which is their rounding.

    Raises
    ------
    TypeError, ValueError
        If a field is wrong, at construction; if inputs, targets or baseline do not fit, the model
        runs an operation without a rule or inside of a loop or branch that is traced by itself, a
        rule changes what the model computes, or the attributions are not complete, at the call.

    Notes
    -----
    Rules exist for functions of each number by itself, max-pooling, and products, quotients,
    maxima and minima of two tensors; whatever is linear needs none. Layer normalisation,
    attention, recurrent layers and a softmax inside the model have none:
    `xai_core.propagation.register_rule` takes your own. Operations are seen where Keras
    dispatches them, and in torch modules where functions of torch are called; Python's ``a * b`` of
    two tensors inside a Keras layer of one's own is not seen, of which the check of completeness
    tells.

    Shrikumar, Greenside and Kundaje, 2017, "Learning Important Features Through Propagating
    Activation Differences", https://arxiv.org/abs/1704.02685. Rescale is the rule of its section
    3.5.1; products, quotients and max-pooling are not in the paper.

    Examples
    --------
    >>> import keras, numpy as np
    >>> hidden = keras.layers.Dense(3, activation="relu", kernel_initializer="ones")
    >>> layers = [keras.Input((4,)), hidden, keras.layers.Dense(2)]
    >>> explanation = DeepLIFT(keras.Sequential(layers))(np.ones((2, 4)), targets=1)
    >>> bool(abs(explanation.completeness_gap).max() < 1e-5)
    True
    """

    baseline: Any = 0.0

    source: ClassVar[str] = "Shrikumar et al., 2017, DeepLIFT, https://arxiv.org/abs/1704.02685"

    def _check_reference(self) -> None:
        """Check the baseline."""
        _baselines.check_field(self.baseline)

    def _count(self) -> int:
        """Number of baselines."""
        return len(_baselines.as_list(self.baseline))

    def _references(self, group: Group) -> list[Any]:
        """The (floats, integers) of each baseline."""
        return sites.baseline_inputs(group, self._site(group.request), self.baseline)
