"""Gradient times input."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from xai_core._request import Group
from xai_core.attributions.gradient import AbstractGradient, one_gradient
from xai_core.attributions.running import Maps
from xai_core.typing import Tensor


@dataclass(frozen=True, eq=False, kw_only=True)
class GradientInput(AbstractGradient):
    r"""Input times the gradient of the score, the first-order contribution of each feature.

    .. math:: \phi(x) = x \odot \frac{\partial s(x)}{\partial x}

    Parameters
    ----------
    model, operator, output, batch_size, progress
        As for every explainer: see `AbstractExplainer`.
    reducer : {"max", "mean", "sum", "abs_max", "abs_mean"}, callable or None
        How the channels of images become one number, by default their sum.
    layer, call
        Explain the output of a layer, by its gradient times itself: see `AbstractGradient`.

    Raises
    ------
    TypeError, ValueError
        If a field is wrong, at construction; if inputs or targets do not fit, at the call.

    Notes
    -----
    Shrikumar, Greenside, Shcherbina and Kundaje, 2016, "Not Just a Black Box: Learning Important
    Features Through Propagating Activation Differences", https://arxiv.org/abs/1605.01713

    Examples
    --------
    >>> import keras, numpy as np
    >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    >>> GradientInput(model)(np.ones((2, 4)), targets=1).values.shape
    (2, 4)
    """

    source: ClassVar[str] = (
        "Shrikumar et al., 2016, Not Just a Black Box, https://arxiv.org/abs/1605.01713"
    )

    def _check_own_fields(self) -> None:
        """Nothing to check: the method adds no field."""

    def _maps(self, group: Group, reduced: bool) -> Maps:
        """One gradient of the whole group."""
        return one_gradient(self, group, reduced, _product)


def _product(x: Tensor, gradient: Tensor) -> Tensor:
    return x * gradient
