"""Guided Grad-CAM."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

from keras import ops

from xai_core._request import Group, Request
from xai_core.attributions.base import AbstractExplainer
from xai_core.attributions.grad_cam import GradCAM
from xai_core.attributions.gradient import (
    channel_axes,
    check_reducer,
    check_reduces,
    reduce_targets,
)
from xai_core.attributions.guided_backprop import GuidedBackprop
from xai_core.attributions.running import Maps
from xai_core.attributions.shared_steps import shared_step
from xai_core.typing import Tensor


@dataclass(frozen=True, eq=False, kw_only=True)
class GuidedGradCAM(AbstractExplainer):
    r"""Guided backpropagation, kept where Grad-CAM finds evidence for the target.

    .. math:: \phi = \phi_{\mathrm{guided}} \odot \mathrm{up}(\phi_{\mathrm{Grad-CAM}})

    with Grad-CAM resized linearly to the input. Nothing is normalised.

    Parameters
    ----------
    model, operator, output, batch_size, progress
        As for every explainer: see `AbstractExplainer`.
    reducer : {"max", "mean", "sum", "abs_max", "abs_mean"}, callable or None
        How the channels of images become one number, by default the mean of their absolute values.
    layer, call
        Of Grad-CAM: see `GradCAM`.

    Raises
    ------
    TypeError, ValueError
        If a field is wrong, at construction; if inputs or targets do not fit, the layer has no
        spatial map or the model runs no rectifier that can be seen, at the call.

    Warns
    -----
    ExplanationWarning
        If the model has other non-linearities than rectifiers.

    Notes
    -----
    Selvaraju et al., 2017, "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based
    Localization", https://arxiv.org/abs/1610.02391, section 3.2

    Examples
    --------
    >>> import keras, numpy as np
    >>> layers = [keras.Input((8, 8, 3)), keras.layers.Conv2D(4, 3, activation="relu"),
    ...           keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(2)]
    >>> GuidedGradCAM(keras.Sequential(layers))(np.ones((1, 8, 8, 3)), 1).values.shape
    (1, 8, 8, 1)
    """

    reducer: str | Callable[..., Any] | None = "abs_mean"
    layer: Any = None
    call: int | None = None

    zero_without_gradient: ClassVar[bool] = False
    signed = False
    source: ClassVar[str] = "Selvaraju et al., 2017, Grad-CAM, https://arxiv.org/abs/1610.02391"

    @cached_property
    def _cam(self) -> GradCAM:
        return GradCAM(self.model, layer=self.layer, call=self.call, **self._shared)

    @cached_property
    def _guided(self) -> GuidedBackprop:
        return GuidedBackprop(self.model, **self._shared)

    @property
    def _shared(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("operator", "output", "batch_size")}

    def _check_fields(self) -> None:
        """Check the reducer, and make both explainers, which check the rest."""
        check_reducer(self.reducer)
        _ = self._cam, self._guided

    def _check_request(self, request: Request) -> None:
        """Check what both need."""
        check_reduces(self, request, None)
        self._cam._check_request(request)
        self._guided._check_request(request)

    def rows(self, *shapes: Any) -> int:
        """Model rows of one input: one for the gradient, and one for each layer."""
        return 1 + self._cam.rows(*shapes)

    def _maps(self, group: Group, reduced: bool) -> Maps:
        """The product of both maps."""
        cam = self._cam._maps(group, reduced=False)
        own = Group(group.request, group.rows, group.size, (*group.inputs(), cam.targets))
        guided = self._guided._maps(own, reduced=False)
        (values,) = shared_step(_product, cam.values, guided.values)
        if reduced:
            values = reduce_targets((values,), self.reducer, *channel_axes(group.request, None))
        else:
            values = (values,)
        rows = None if cam.rows is None else cam.rows + 1
        return cam._replace(values=values, doubts=guided.doubts, rows=rows)


def _product(cam: tuple[Tensor, ...], guided: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Both maps where the model computes, in the type of the gradients."""
    pairs = zip(cam, guided, strict=True)
    return tuple(ops.cast(one, other.dtype) * other for one, other in pairs)
