"""FEM: the channels that stand out, at the places where they do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from keras import ops

from xai_core import _checks
from xai_core._request import Group
from xai_core.attributions.cam import AbstractCAM
from xai_core.attributions.cam_maps import at_activations
from xai_core.attributions.layer_outputs import Site
from xai_core.attributions.running import Maps
from xai_core.typing import Tensor

_ROUNDING = 1e-6
"""As a share of the largest activation of a channel."""


@dataclass(frozen=True, eq=False, kw_only=True)
class FEM(AbstractCAM):
    r"""Mean activations of the channels of a layer, where they are far above their mean.

    .. math:: \phi_{ij} = \sum_k \mu_k\, [A^k_{ij} \ge \mu_k + \kappa \sigma_k]

    where mu and sigma are mean and standard deviation of a channel over all places (division by
    their number). The map is resized linearly to the input, and not normalised. It is the same for
    all targets.

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
    kappa : float
        How many standard deviations above the mean of its channel an activation must be.

    Raises
    ------
    TypeError, ValueError
        If a field is wrong or the layer unknown, at construction; if inputs or targets do not
        fit or the layer has no spatial map, at the call.

    Notes
    -----
    No gradient is computed where the layer is named. Activations that are not negative give maps
    that are not negative. A channel that is the same everywhere counts everywhere, as the formula
    says.

    Fuad et al., 2020, "Features Understanding in 3D CNNs for Actions Recognition in Video",
    https://hal.science/hal-02963298

    Examples
    --------
    >>> import keras, numpy as np
    >>> layers = [keras.Input((8, 8, 3)), keras.layers.Conv2D(4, 3, name="features"),
    ...           keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(2)]
    >>> explanation = FEM(keras.Sequential(layers))(np.ones((1, 8, 8, 3)))
    >>> explanation.layer, explanation.values.shape
    ('features', (1, 8, 8, 1))
    """

    kappa: float = 2.0

    forward_only: ClassVar[bool] = True
    uses_targets: ClassVar[bool] = False
    source: ClassVar[str] = (
        "Fuad et al., 2020, Features Understanding in 3D CNNs, https://hal.science/hal-02963298"
    )

    def _check_own_fields(self) -> None:
        """Check kappa."""
        _checks.number("kappa", self.kappa, minimum=0)

    def _mapped(self, group: Group, site: Site) -> Maps:
        """The rule above at one layer."""
        return at_activations(group, site, _outstanding, self.signed, (self.kappa,))


def _outstanding(activations: Any, axes: tuple[int, ...], channels: int, kappa: float) -> Tensor:
    means: Any = ops.mean(activations, axis=axes, keepdims=True)
    spreads: Any = ops.std(activations, axis=axes, keepdims=True)
    # Rounding must not decide about a place right at the threshold, nor about equal ones.
    largest: Any = ops.max(ops.abs(activations), axis=axes, keepdims=True)
    threshold = means + kappa * spreads - _ROUNDING * largest
    marked = ops.cast(activations >= threshold, activations.dtype)
    return ops.sum(means * marked, axis=channels, keepdims=True)
