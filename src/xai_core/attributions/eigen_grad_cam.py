"""Eigen-Grad-CAM: the first principal component of gradient times activation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from xai_core._request import Group
from xai_core.attributions.cam import AbstractCAM
from xai_core.attributions.cam_maps import at_gradients
from xai_core.attributions.eigen_cam import first_component
from xai_core.attributions.layer_outputs import Site
from xai_core.attributions.running import Maps
from xai_core.typing import Tensor


@dataclass(frozen=True, eq=False, kw_only=True)
class EigenGradCAM(AbstractCAM):
    r"""First principal component of gradient times activation of a layer.

    .. math:: \phi = \mathrm{ReLU}(M v_1), \qquad M_{ij,k} = A^k_{ij}
        \frac{\partial s}{\partial A^k_{ij}}, \qquad M = \sum_l \sigma_l u_l v_l^\top

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
    The rule of `EigenCAM` with the gradients as weights, which makes it one of the target. The
    sign of a singular vector is arbitrary: the map is turned so that its largest absolute value is
    positive.

    Muhammad and Yeasin, 2020, "Eigen-CAM: Class Activation Map using Principal Components",
    https://arxiv.org/abs/2008.00299

    Examples
    --------
    >>> import keras, numpy as np
    >>> layers = [keras.Input((8, 8, 3)), keras.layers.Conv2D(4, 3, name="features"),
    ...           keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(2)]
    >>> explanation = EigenGradCAM(keras.Sequential(layers))(np.ones((1, 8, 8, 3)))
    >>> explanation.layer, explanation.values.shape
    ('features', (1, 8, 8, 1))
    """

    source: ClassVar[str] = "Muhammad and Yeasin, 2020, Eigen-CAM, https://arxiv.org/abs/2008.00299"

    def _check_own_fields(self) -> None:
        """Nothing to check: the method adds no field."""

    def _mapped(self, group: Group, site: Site) -> Maps:
        """The rule above at one layer."""
        return at_gradients(group, site, _component, self.signed)


def _component(
    activations: Tensor, gradients: Tensor, axes: tuple[int, ...], channels: int
) -> Tensor:
    return first_component(gradients * activations, axes, channels)
