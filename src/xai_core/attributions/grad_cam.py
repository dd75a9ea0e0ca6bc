"""Grad-CAM."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from keras import ops

from xai_core._request import Group
from xai_core.attributions.cam import AbstractCAM
from xai_core.attributions.cam_maps import at_gradients
from xai_core.attributions.layer_outputs import Site
from xai_core.attributions.running import Maps
from xai_core.typing import Tensor


@dataclass(frozen=True, eq=False, kw_only=True)
class GradCAM(AbstractCAM):
    r"""Activations of a layer, weighted by the spatial mean of the score's gradients.

    .. math:: \phi = \mathrm{ReLU}\Bigl(\sum_k \alpha_k A^k\Bigr), \qquad
        \alpha_k = \frac{1}{Z} \sum_{ij} \frac{\partial s}{\partial A^k_{ij}}

    The map is resized linearly to the input, and not normalised.

    Parameters
    ----------
    model, operator, output, batch_size, progress
        As for every explainer: see `AbstractExplainer`.
    layer : str, int, layer, (features, head), list, optional
        Where: a name or path of names, an index into the model's layers, a dotted name of a torch
        module, or the layer itself; a list for the mean of the maps at several, each divided by
        its largest absolute value. By default the last layer with a spatial map that the score
        depends on; the Explanation tells which.
    call : int, optional
        Which call, of a layer that the model calls several times.
    signed : bool
        Leave out the ReLU, so that evidence against the target is negative.

    Raises
    ------
    TypeError, ValueError
        If a field is wrong or the layer unknown, at construction; if inputs or targets do not
        fit or the layer has no spatial map, at the call.

    Notes
    -----
    Selvaraju et al., 2017, "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based
    Localization", https://arxiv.org/abs/1610.02391

    Examples
    --------
    >>> import keras, numpy as np
    >>> layers = [keras.Input((8, 8, 3)), keras.layers.Conv2D(4, 3, name="features"),
    ...           keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(2)]
    >>> explanation = GradCAM(keras.Sequential(layers), signed=True)(np.ones((1, 8, 8, 3)))
    >>> explanation.layer, explanation.values.shape
    ('features', (1, 8, 8, 1))
    """

    source: ClassVar[str] = "Selvaraju et al., 2017, Grad-CAM, https://arxiv.org/abs/1610.02391"

    def _check_own_fields(self) -> None:
        """Nothing to check: the method adds no field."""

    def _mapped(self, group: Group, site: Site) -> Maps:
        """The rule above at one layer."""
        return at_gradients(group, site, weighted_sum, self.signed)


def weighted_sum(
    activations: Tensor, gradients: Tensor, axes: tuple[int, ...], channels: int
) -> Tensor:
    """The sum of channels, each weighted by the mean of its gradients."""
    weights = ops.mean(gradients, axis=axes, keepdims=True)
    return ops.sum(weights * activations, axis=channels, keepdims=True)
