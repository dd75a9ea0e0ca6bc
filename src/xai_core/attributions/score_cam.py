"""Score-CAM: what the model says of the input behind each channel of a layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from keras import ops
from scipy import special

from xai_core import _baselines, _scoring, images, operators, perturbation
from xai_core._request import Group, Request
from xai_core.attributions.cam import AbstractCAM
from xai_core.attributions.cam_maps import geometry
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
from xai_core.perturbation import Codes, Masking, Perturbation
from xai_core.typing import Array, Tensor

_ROUNDING = 1e-6
"""As a share of the largest activation of a channel: one that varies less is constant."""


@dataclass(frozen=True, eq=False, kw_only=True)
class ScoreCAM(AbstractCAM):
    r"""Activations of a layer, weighted by the score of the input that each of them leaves.

    .. math:: \phi = \mathrm{ReLU}\Bigl(\sum_k w_k A^k\Bigr), \qquad
        w = \mathrm{softmax}_k\, s\bigl(b + H^k \odot (x - b)\bigr), \qquad
        H^k = \frac{U^k - \min U^k}{\max U^k - \min U^k}

    where U^k is the channel A^k resized linearly to the input, and b the baseline. A channel that
    is the same everywhere leaves nothing. The map is resized in the same way, and not normalised.

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
        Leave out the ReLU, so that negative values of the sum stay.
    baseline : number, array, "mean", "blur", callable or list
        What stands where a channel leaves nothing: see `IntegratedGradients`. A list means the
        average of the scores. 0 by default.

    Raises
    ------
    TypeError, ValueError
        If a field is wrong or the layer unknown, at construction; if inputs or targets do not
        fit or the layer has no spatial map, at the call.

    Notes
    -----
    One row of the model for each channel, in full batches over channels and inputs. A softmax over
    hundreds of numbers between 0 and 1 is nearly flat: where ``output="raw"`` of a classifier is
    a probability, the weights are made of the logits behind it, which the Explanation notes, or a
    warning says that there are none. Other values of ``output`` are taken as they are. The paper
    subtracts the score of the baseline from all scores, which changes no softmax.

    Wang et al., 2020, "Score-CAM: Score-Weighted Visual Explanations for Convolutional Neural
    Networks", https://arxiv.org/abs/1910.01279

    Examples
    --------
    >>> import keras, numpy as np
    >>> layers = [keras.Input((8, 8, 3)), keras.layers.Conv2D(4, 3, name="features"),
    ...           keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(2)]
    >>> explanation = ScoreCAM(keras.Sequential(layers))(np.ones((1, 8, 8, 3)))
    >>> explanation.layer, explanation.values.shape, explanation.rows
    ('features', (1, 8, 8, 1), array([5]))
    """

    baseline: Any = 0.0

    forward_only: ClassVar[bool] = True
    source: ClassVar[str] = "Wang et al., 2020, Score-CAM, https://arxiv.org/abs/1910.01279"

    def _check_own_fields(self) -> None:
        """Check the baseline."""
        _baselines.check_field(self.baseline)

    def rows(self, *shapes: Sequence[int]) -> Any:
        """Model rows of one input: its own score, and one for each channel and baseline."""
        return rows_at(sites_for(self, shapes), self._turns)

    def _rows_of(self, request: Request) -> Any:
        return rows_at(sites_in(self, request), self._turns)

    @property
    def _turns(self) -> int:
        return len(_baselines.as_list(self.baseline))

    def _mapped(self, group: Group, site: Site) -> Maps:
        """The rule above at one layer."""
        layer = at_layer(group, site)
        request, notes, doubts = _with_logits(group.request)
        found = perturbation.scored(
            replace(group, request=request),
            _perturbation(group, layer),
            layer.targets,
            perturbation.baselines(group, group.baselines(self.baseline)),
            self._batch_size,
        )
        if np.isfinite(group.on_host(layer.scores)).all():
            perturbation.check_finite(found.scores)
        each = found.scores.reshape(len(group), layer.width, -1)
        maps = weighted(group, site, layer, special.softmax(each, axis=1), self.signed, self._turns)
        return maps._replace(notes=(*maps.notes, *notes), doubts=doubts)


def _with_logits(request: Request) -> tuple[Request, tuple[str, ...], tuple[str, ...]]:
    """The request whose scores are weights, and what is to be noted and doubted."""
    head = request.score.head
    asked = head.bypass is not None or head.apply is not None
    if asked or not head.probability or request.score.operator is not operators.classification:
        return request, (), ()
    try:
        logits = _scoring.head(request.engine, request.batch, "logits")
    except ValueError:
        doubt = (
            "The weights of the channels are a softmax over probabilities, which is nearly flat. "
            "Give a model that returns logits."
        )
        return request, (), (doubt,)
    note = "The weights of the channels are made of the logits behind the probabilities."
    return replace(request, score=replace(request.score, head=logits)), (note,), ()


def _perturbation(group: Group, layer: Layer) -> Perturbation:
    """Each input behind each channel; masks are made where they are needed, from small maps."""
    width, sides = layer.width, tuple(layer.planes.shape[2:])
    settings = geometry(group.request, "channels_first")
    rank, _, outside = settings["layouts"]
    masking = Masking(
        _left_by_channel,
        (settings["size"], images.channel_axis(rank, outside)),
        shared=(ops.reshape(layer.planes, (-1, *sides)),),
    )

    def codes(pairs: Array) -> Codes:
        return Codes(pairs // width, (pairs.astype("int32"),))

    return Perturbation(len(group) * width, codes, (masking,))


def _left_by_channel(arrays: Any, x: Any, codes: Any, own: Any, settings: Any) -> Tensor:
    """Masks (r, ...) of some channels, from 0 to 1."""
    del x
    (planes,), (size, channel) = own, settings
    maps = arrays.take(planes, codes[0], axis=0)
    axes = tuple(range(1, 1 + len(size)))

    def ends(values: Any) -> tuple[Any, Any]:
        return arrays.min(values, axis=axes, keepdims=True), arrays.max(
            values, axis=axes, keepdims=True
        )

    low, high = ends(maps)
    # What resizing makes of equal numbers differs by rounding, which must not become a mask.
    varies = high - low > _ROUNDING * arrays.maximum(arrays.abs(low), arrays.abs(high))
    maps = images.resize(maps, size, axes)
    low, high = ends(maps)
    span = high - low
    counted = arrays.logical_and(varies, span > 0)
    mask = (maps - low) / arrays.where(counted, span, arrays.ones_like(span))
    return arrays.expand_dims(arrays.where(counted, mask, arrays.zeros_like(mask)), channel)
