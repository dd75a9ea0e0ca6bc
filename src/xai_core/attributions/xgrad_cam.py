"""XGrad-CAM: Grad-CAM with gradients weighted by the activations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from keras import ops

from xai_core._request import Group
from xai_core.attributions.cam import AbstractCAM
from xai_core.attributions.cam_maps import at_gradients
from xai_core.attributions.layer_outputs import Site
from xai_core.attributions.running import Maps
from xai_core.typing import Tensor

_ROUNDING = 1e-5
"""Of a sum in float32, as a share of the sum of the absolute values."""


@dataclass(frozen=True, eq=False, kw_only=True)
class XGradCAM(AbstractCAM):
    r"""Activations of a layer, weighted by the mean gradient that their own shares give.

    .. math:: \phi = \mathrm{ReLU}\Bigl(\sum_k w_k A^k\Bigr), \qquad
        w_k = \sum_{ij} \frac{A^k_{ij}}{\sum_{ab} A^k_{ab}}\,
        \frac{\partial s}{\partial A^k_{ij}}

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
    A channel whose activations sum up to zero counts for nothing.

    Fu et al., 2020, "Axiom-based Grad-CAM: Towards Accurate Visualization and Explanation of
    CNNs", https://arxiv.org/abs/2008.02312

    Examples
    --------
    >>> import keras, numpy as np
    >>> layers = [keras.Input((8, 8, 3)), keras.layers.Conv2D(4, 3, name="features"),
    ...           keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(2)]
    >>> explanation = XGradCAM(keras.Sequential(layers))(np.ones((1, 8, 8, 3)))
    >>> explanation.layer, explanation.values.shape
    ('features', (1, 8, 8, 1))
    """

    source: ClassVar[str] = (
        "Fu et al., 2020, Axiom-based Grad-CAM, https://arxiv.org/abs/2008.02312"
    )

    def _check_own_fields(self) -> None:
        """Nothing to check: the method adds no field."""

    def _mapped(self, group: Group, site: Site) -> Maps:
        """The rule above at one layer."""
        return at_gradients(group, site, _shared_sum, self.signed)


def _shared_sum(
    activations: Tensor, gradients: Tensor, axes: tuple[int, ...], channels: int
) -> Tensor:
    totals: Any = ops.sum(activations, axis=axes, keepdims=True)
    products: Any = ops.sum(gradients * activations, axis=axes, keepdims=True)
    # What rounding leaves of a sum of zero must not dominate all other channels.
    sizes: Any = ops.sum(ops.abs(activations), axis=axes, keepdims=True)
    counted = ops.abs(totals) > _ROUNDING * sizes
    safe: Any = ops.where(counted, totals, ops.ones_like(totals))
    weights: Any = ops.where(counted, products / safe, ops.zeros_like(totals))
    return ops.sum(weights * activations, axis=channels, keepdims=True)
