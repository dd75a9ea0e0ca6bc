"""Eigen-CAM: the first principal component of the activations."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

from keras import ops

from xai_core._request import Group
from xai_core.attributions.cam import AbstractCAM
from xai_core.attributions.cam_maps import at_activations
from xai_core.attributions.layer_outputs import Site
from xai_core.attributions.running import Maps
from xai_core.typing import Tensor


@dataclass(frozen=True, eq=False, kw_only=True)
class EigenCAM(AbstractCAM):
    r"""First principal component of the activations of a layer.

    .. math:: \phi = \mathrm{ReLU}(A v_1), \qquad A = \sum_l \sigma_l u_l v_l^\top

    where A has a row for each place and a column for each channel; it is not centred. The map is
    resized linearly to the input, and not normalised. It is the same for all targets.

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
        Leave out the ReLU, so that negative values stay.

    Raises
    ------
    TypeError, ValueError
        If a field is wrong or the layer unknown, at construction; if inputs or targets do not
        fit or the layer has no spatial map, at the call.

    Notes
    -----
    The sign of a singular vector is arbitrary: the map is turned so that its largest absolute
    value is positive. No gradient is computed where the layer is named.

    Muhammad and Yeasin, 2020, "Eigen-CAM: Class Activation Map using Principal Components",
    https://arxiv.org/abs/2008.00299

    Examples
    --------
    >>> import keras, numpy as np
    >>> layers = [keras.Input((8, 8, 3)), keras.layers.Conv2D(4, 3, name="features"),
    ...           keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(2)]
    >>> explanation = EigenCAM(keras.Sequential(layers))(np.ones((1, 8, 8, 3)))
    >>> explanation.layer, explanation.values.shape
    ('features', (1, 8, 8, 1))
    """

    forward_only: ClassVar[bool] = True
    uses_targets: ClassVar[bool] = False
    source: ClassVar[str] = "Muhammad and Yeasin, 2020, Eigen-CAM, https://arxiv.org/abs/2008.00299"

    def _check_own_fields(self) -> None:
        """Nothing to check: the method adds no field."""

    def _mapped(self, group: Group, site: Site) -> Maps:
        """The rule above at one layer."""
        return at_activations(group, site, first_component, self.signed)


def first_component(matrix: Tensor, axes: tuple[int, ...], channels: int) -> Tensor:
    """Projection of each place on the first right singular vector, with the channel axis kept.

    Turned so that its largest absolute value is positive.
    """
    moved: Any = ops.moveaxis(matrix, channels, -1)
    sides, width = [int(matrix.shape[axis]) for axis in axes], int(matrix.shape[channels])
    flat: Any = ops.reshape(moved, (-1, math.prod(sides), width))
    # Numbers near the ends of the float range have squares that are zero or infinite.
    largest: Any = ops.max(ops.abs(flat), axis=(1, 2), keepdims=True)
    flat = flat / ops.where(largest > 0, largest, ops.ones_like(largest))
    found: Any = _projection(flat) * largest
    low: Any = ops.abs(ops.min(found, axis=(1, 2), keepdims=True))
    high: Any = ops.abs(ops.max(found, axis=(1, 2), keepdims=True))
    found = ops.where(low > high, -found, found)
    return ops.moveaxis(ops.reshape(found, (-1, *sides, 1)), -1, channels)


def _projection(flat: Any) -> Tensor:
    """Projections (n, places, 1) by the eigenvectors of the smaller of the two Gram matrices."""
    turned: Any = ops.transpose(flat, (0, 2, 1))
    places, width = flat.shape[1:]
    if places > width:
        _, vectors = _eigen(ops.matmul(turned, flat))
        return ops.matmul(flat, vectors[:, :, -1:])
    values, vectors = _eigen(ops.matmul(flat, turned))
    return vectors[:, :, -1:] * ops.sqrt(ops.relu(values[:, None, -1:]))


def _eigen(matrix: Tensor) -> Any:
    """Eigenvalues from the smallest on, and their vectors."""
    return ops.eigh(matrix)
