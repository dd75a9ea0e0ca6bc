"""HiResCAM: gradient times activation, place by place."""

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
class HiResCAM(AbstractCAM):
    r"""Gradient times activation of a layer, summed over its channels.

    .. math:: \phi_{ij} = \mathrm{ReLU}\Bigl(\sum_k g^k_{ij} A^k_{ij}\Bigr), \qquad
        g^k_{ij} = \frac{\partial s}{\partial A^k_{ij}}

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
    Unlike Grad-CAM it shows no place that the score does not depend on. Where a pooled linear head
    follows the layer, both are the same; where a linear head follows, the signed sum over the
    layer's places is the score but for its bias.

    Draelos and Carin, 2020, "Use HiResCAM instead of Grad-CAM for faithful explanations of
    convolutional neural networks", https://arxiv.org/abs/2011.08891

    Examples
    --------
    >>> import keras, numpy as np
    >>> layers = [keras.Input((8, 8, 3)), keras.layers.Conv2D(4, 3, name="features"),
    ...           keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(2)]
    >>> explanation = HiResCAM(keras.Sequential(layers))(np.ones((1, 8, 8, 3)))
    >>> explanation.layer, explanation.values.shape
    ('features', (1, 8, 8, 1))
    """

    source: ClassVar[str] = "Draelos and Carin, 2020, HiResCAM, https://arxiv.org/abs/2011.08891"

    def _check_own_fields(self) -> None:
        """Nothing to check: the method adds no field."""

    def _mapped(self, group: Group, site: Site) -> Maps:
        """The rule above at one layer."""
        return at_gradients(group, site, _product_sum, self.signed)


def _product_sum(
    activations: Tensor, gradients: Tensor, axes: tuple[int, ...], channels: int
) -> Tensor:
    del axes
    return ops.sum(gradients * activations, axis=channels, keepdims=True)
