"""Ablation-CAM: what the score loses without each channel of a layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from xai_core import images, perturbation
from xai_core._request import Group, Request
from xai_core.attributions.cam import AbstractCAM
from xai_core.attributions.channel_masks import (
    Layer,
    at_layer,
    rows_at,
    sites_for,
    sites_in,
    weighted,
)
from xai_core.attributions.layer_outputs import Site
from xai_core.attributions.running import Maps
from xai_core.perturbation import Absent, Codes, Inside, Masking, Perturbation
from xai_core.typing import Array, Tensor


@dataclass(frozen=True, eq=False, kw_only=True)
class AblationCAM(AbstractCAM):
    r"""Activations of a layer, weighted by the share of the score that is lost without each.

    .. math:: \phi = \mathrm{ReLU}\Bigl(\sum_k w_k A^k\Bigr), \qquad
        w_k = \frac{s - s_{[A^k = 0]}}{|s|}

    Where the score is 0, its loss is not divided. The map is resized linearly to the input, and not
    normalised.

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
    One row of the model for each channel, in full batches over channels and inputs; only what
    follows the layer depends on it, and compiled steps compute nothing else. The paper divides by
    the score itself, which turns the map of a negative score around.

    Desai and Ramaswamy, 2020, "Ablation-CAM: Visual Explanations for Deep Convolutional Network
    via Gradient-free Localization", https://doi.org/10.1109/WACV45572.2020.9093360

    Examples
    --------
    >>> import keras, numpy as np
    >>> layers = [keras.Input((8, 8, 3)), keras.layers.Conv2D(4, 3, name="features"),
    ...           keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(2)]
    >>> explanation = AblationCAM(keras.Sequential(layers))(np.ones((1, 8, 8, 3)))
    >>> explanation.layer, explanation.values.shape, explanation.rows
    ('features', (1, 8, 8, 1), array([5]))
    """

    forward_only: ClassVar[bool] = True
    source: ClassVar[str] = (
        "Desai and Ramaswamy, 2020, Ablation-CAM, https://doi.org/10.1109/WACV45572.2020.9093360"
    )

    def _check_own_fields(self) -> None:
        """Nothing to check: the method adds no field."""

    def rows(self, *shapes: Sequence[int]) -> Any:
        """Model rows of one input: its own score, and one for each channel."""
        return rows_at(sites_for(self, shapes))

    def _rows_of(self, request: Request) -> Any:
        return rows_at(sites_in(self, request))

    def _mapped(self, group: Group, site: Site) -> Maps:
        """The rule above at one layer."""
        layer = at_layer(group, site)
        model = group.request.model
        zeros = group.sent(np.zeros((1,) * len(site.shape), "float32"))
        absent = Absent((model.arrays.cast(zeros, layer.activations.dtype),), _first)
        found = perturbation.scored(
            group, _perturbation(group, site, layer), layer.targets, absent, self._batch_size
        )
        whole = group.on_host(layer.scores)
        if np.isfinite(whole).all():
            perturbation.check_finite(found.scores)
        lost = whole[:, None] - found.scores.reshape(len(group), layer.width, -1)
        divisor = np.where(whole == 0, 1, np.abs(whole))
        return weighted(group, site, layer, lost / divisor[:, None], self.signed)


def _perturbation(group: Group, site: Site, layer: Layer) -> Perturbation:
    """Each input without each channel."""
    width = layer.width
    channel = images.channel_axis(len(site.shape), site.layout)

    def codes(pairs: Array) -> Codes:
        return Codes(pairs // width, ((pairs % width).astype("int32"),))

    inside = Inside(site.path, site.layer, site.call, layer.activations)
    masking = Masking(_without_channel, (channel,))
    return Perturbation(len(group) * width, codes, (masking,), inside=inside)


def _first(index: Array, pair: Array, turn: Array) -> Array:
    del pair, turn
    return np.zeros_like(index)


def _without_channel(arrays: Any, x: Any, codes: Any, own: Any, settings: Any) -> Tensor:
    """Booleans (r, ...), False at one channel of each row."""
    del own
    (channel,) = settings
    axes = tuple(axis for axis in range(1, len(x.shape)) if axis != channel)
    every = arrays.cast(arrays.arange(x.shape[channel]), codes[0].dtype)
    return arrays.expand_dims(codes[0][:, None] != every[None], axes)
