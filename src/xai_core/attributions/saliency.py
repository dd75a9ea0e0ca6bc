"""Saliency: the gradient of the score."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from keras import ops

from xai_core import _checks
from xai_core._request import Group
from xai_core.attributions.gradient import AbstractGradient, one_gradient
from xai_core.attributions.running import Maps
from xai_core.typing import Tensor


@dataclass(frozen=True, eq=False, kw_only=True)
class Saliency(AbstractGradient):
    r"""Absolute gradient of the score with respect to the input.

    .. math:: \phi(x) = \left| \frac{\partial s(x)}{\partial x} \right|

    Parameters
    ----------
    model, operator, output, batch_size, progress
        As for every explainer: see `AbstractExplainer`.
    reducer : {"max", "mean", "sum", "abs_max", "abs_mean"}, callable or None
        How the channels of images become one number, by default their maximum.
    layer, call
        Explain the output of a layer: see `AbstractGradient`.
    absolute : bool
        Take the absolute value; without it the map is the signed gradient.

    Raises
    ------
    TypeError, ValueError
        If a field is wrong, at construction; if inputs or targets do not fit, at the call.

    Notes
    -----
    Simonyan, Vedaldi and Zisserman, 2013, "Deep Inside Convolutional Networks: Visualising Image
    Classification Models and Saliency Maps", https://arxiv.org/abs/1312.6034

    Examples
    --------
    >>> import keras, numpy as np
    >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    >>> Saliency(model)(np.ones((2, 4)), targets=1).values.shape
    (2, 4)
    """

    reducer: str | Callable[..., Any] | None = "max"
    absolute: bool = True

    signed = False
    source: ClassVar[str] = (
        "Simonyan et al., 2013, Deep Inside Convolutional Networks, https://arxiv.org/abs/1312.6034"
    )

    def _check_own_fields(self) -> None:
        """Check the flag."""
        _checks.flag("absolute", self.absolute)

    def _maps(self, group: Group, reduced: bool) -> Maps:
        """One gradient of the whole group."""
        return one_gradient(self, group, reduced, _absolute if self.absolute else _signed)


def _absolute(x: Tensor, gradient: Tensor) -> Tensor:
    del x
    return ops.abs(gradient)


def _signed(x: Tensor, gradient: Tensor) -> Tensor:
    del x
    return gradient
