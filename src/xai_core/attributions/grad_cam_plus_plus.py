"""Grad-CAM++."""

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


@dataclass(frozen=True, eq=False, kw_only=True)
class GradCAMPlusPlus(AbstractCAM):
    r"""Activations of a layer, weighted by its positive gradients, each with its own share.

    .. math:: \phi = \mathrm{ReLU}\Bigl(\sum_k w_k A^k\Bigr), \qquad
        w_k = \sum_{ij} a^k_{ij}\,\mathrm{ReLU}(g^k_{ij}), \qquad
        a^k_{ij} = \frac{(g^k_{ij})^2}{2 (g^k_{ij})^2 + \bigl(\sum_{ab} A^k_{ab}\bigr) (g^k_{ij})^3}

    where g is the gradient of the score at the layer, and sums run over all axes of space. The map
    is resized linearly to the input, and not normalised.

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
        Leave out the last ReLU, so that evidence against the target is negative.

    Raises
    ------
    TypeError, ValueError
        If a field is wrong or the layer unknown, at construction; if inputs or targets do not
        fit or the layer has no spatial map, at the call.

    Notes
    -----
    The paper derives the rule for the exponential of the score, whose common factor it then leaves
    out; so does this class. It also assumes activations that are not negative. Where a channel sums
    up to less than zero the denominator may vanish or be negative: the formula is followed as it
    stands, but for a denominator of exactly zero, whose position counts for nothing.

    Chattopadhay et al., 2018, "Grad-CAM++: Improved Visual Explanations for Deep Convolutional
    Networks", https://arxiv.org/abs/1710.11063

    Examples
    --------
    >>> import keras, numpy as np
    >>> layers = [keras.Input((8, 8, 3)), keras.layers.Conv2D(4, 3, name="features"),
    ...           keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(2)]
    >>> explanation = GradCAMPlusPlus(keras.Sequential(layers))(np.ones((1, 8, 8, 3)))
    >>> explanation.layer, explanation.values.shape
    ('features', (1, 8, 8, 1))
    """

    source: ClassVar[str] = (
        "Chattopadhay et al., 2018, Grad-CAM++, https://arxiv.org/abs/1710.11063"
    )

    def _check_own_fields(self) -> None:
        """Nothing to check: the method adds no field."""

    def _mapped(self, group: Group, site: Site) -> Maps:
        """The rule above at one layer."""
        return at_gradients(group, site, _weighted_sum, self.signed)


def _weighted_sum(
    activations: Tensor, gradients: Tensor, axes: tuple[int, ...], channels: int
) -> Tensor:
    # Divided by g^3, a ReLU(g) is 1 / (2 / g + sum A) where g > 0, and 0 elsewhere: no power of g
    # can overflow. Each `where` guards the division beside it.
    positive = gradients > 0
    slopes: Any = ops.where(positive, gradients, 1.0)
    below = 2.0 / slopes + ops.sum(activations, axis=axes, keepdims=True)
    counted = ops.logical_and(positive, below != 0)
    safe: Any = ops.where(counted, below, 1.0)
    shares = ops.where(counted, 1.0 / safe, 0.0)
    weights = ops.sum(shares, axis=axes, keepdims=True)
    return ops.sum(weights * activations, axis=channels, keepdims=True)
