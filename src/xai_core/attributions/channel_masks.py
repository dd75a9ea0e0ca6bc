"""What methods share that send a row through the model for each channel of a layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from keras import ops

from xai_core import images
from xai_core._arrays import full_type
from xai_core._request import Group, Request, make
from xai_core.attributions.cam_layers import candidates, chosen, site_with_map
from xai_core.attributions.cam_maps import Layouts, geometry, in_full, laid_over
from xai_core.attributions.layer_outputs import Site, with_output
from xai_core.attributions.running import Maps
from xai_core.typing import Array, Tensor


class Layer(NamedTuple):
    """What a layer gives for a group of n inputs with M targets.

    ``activations`` are as the layer returns them; ``planes`` (n, K, ...) have their K channels
    first, at least in float32.
    """

    scores: Tensor
    targets: tuple[Tensor, ...]
    activations: Tensor
    planes: Tensor

    @property
    def width(self) -> int:
        """Number of channels."""
        return int(self.planes.shape[1])


def at_layer(group: Group, site: Site) -> Layer:
    """Run the inputs themselves, and keep what a layer gives."""
    channel = images.channel_axis(len(site.shape), site.layout)
    given = *group.inputs(), group.targets()
    return Layer(
        *group.step(_layer_step, *given, rows=len(group), channel=channel, **site.static())
    )


def weighted(
    group: Group, site: Site, layer: Layer, weights: Array, signed: bool, turns: int = 1
) -> Maps:
    """The maps of weights (n, K, M); each channel took ``turns`` rows of the model."""
    weights = weights.astype(full_type(layer.planes.dtype))
    values = group.step(
        _weighted_step,
        layer.planes,
        group.to_device(np.ascontiguousarray(weights.transpose(0, 2, 1))),
        rows=0,
        signed=signed,
        **geometry(group.request, "channels_first"),
    )
    rows = np.full(len(group), 1 + turns * layer.width)
    told = site.name, site.notes
    return Maps((values,), layer.scores, layer.targets, {}, *told, rows=rows)


def rows_at(every: Sequence[Site], turns: int = 1) -> int:
    """Model rows of one input: for each layer its own score, and ``turns`` for each channel."""
    axes = [images.channel_axis(len(one.shape), one.layout) for one in every]
    return sum(1 + turns * int(one.shape[axis]) for one, axis in zip(every, axes, strict=True))


def sites_in(explainer: Any, request: Request) -> list[Site]:
    """The layers that an explainer maps."""
    named = [site_with_map(request, layer, explainer.call) for layer in explainer._layers]
    return named or [chosen(request, explainer._batch_size)]


def sites_for(explainer: Any, shapes: Sequence[Sequence[int]]) -> list[Site]:
    """The layers that an explainer maps for inputs of these shapes.

    Of a layer that is still to be found, the last candidate.
    """
    zeros: Any = tuple(np.zeros((1, *shape), "float32") for shape in shapes)
    settings = explainer._model, explainer._operator, explainer._output
    request = make(*settings, zeros if len(zeros) > 1 else zeros[0], [])
    # The operator may need targets, and the layers do not depend on it.
    request = replace(request, score=replace(request.score, operator=_whole_output))
    return sites_in(explainer, request) if explainer._layers else candidates(request)[:1]


def _whole_output(model: Any, inputs: Any, targets: Any) -> Tensor:
    del targets
    return model(inputs)


def _layer_step(
    score: Any, floats: Any, integers: Any, targets: Any, *, channel: int, **site: Any
) -> Any:
    (scores, used), activations = with_output(score.model, site, score, floats, integers, targets)
    return scores, used, activations, ops.moveaxis(in_full(activations), channel, 1)


def _weighted_step(
    score: Any,
    planes: Any,
    weights: Tensor,
    *,
    signed: bool,
    layouts: Layouts,
    size: tuple[int, ...],
) -> Tensor:
    del score
    sides = tuple(planes.shape[2:])
    flat = ops.reshape(planes, (-1, planes.shape[1], int(np.prod(sides))))
    maps = ops.reshape(ops.matmul(weights, flat), (-1, 1, *sides))
    maps = laid_over(maps, signed, layouts, size)
    return ops.reshape(maps, (-1, weights.shape[1], *maps.shape[1:]))
