"""The compiled steps of class activation maps: at a layer, resized to the inputs, fused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from keras import ops

from xai_core import _backend, images
from xai_core._arrays import full_type
from xai_core._request import Group, Request
from xai_core.attributions.layer_outputs import Site, tapped, with_output
from xai_core.attributions.running import Maps
from xai_core.typing import Tensor

Rule = Callable[..., Tensor]
Layouts = tuple[int, str, str]
"""The rank, and the data formats of the layer and of the inputs."""


def geometry(request: Request, inside: str) -> dict[str, Any]:
    """The layouts, ``inside`` a layer and outside, and the inputs' size, for a compiled step."""
    shape = request.batch.float_leaves()[0].shape
    outside = request.layout(len(shape))
    return {
        "layouts": (len(shape), inside, outside),
        "size": tuple(shape[axis] for axis in images.spatial_axes(len(shape), outside)),
    }


def explained(score: Any, floats: Any, integers: Any, targets: Any) -> tuple[Tensor, Any]:
    """What is differentiated, and (scores, targets) beside it: here the scores themselves."""
    found = score(floats, integers, targets)
    return found[0], found


def at_gradients(
    group: Group,
    site: Site,
    rule: Rule,
    signed: bool,
    score_of: Callable[..., Any] = explained,
    settings: tuple[Any, ...] = (),
) -> Maps:
    """The maps that ``rule(activations, gradients, axes, channels)`` makes at a layer.

    ``axes`` are those of space, ``channels`` that of channels, which the rule keeps with length 1.
    ``score_of`` is `explained`, or another module-level function that takes ``settings`` too. All
    gradients are those of one forward pass, with nothing computed backwards below the layer.
    """
    values, scores, targets, slope = group.step(
        _gradient_step,
        *group.inputs(),
        group.targets(),
        rows=len(group),
        rule=rule,
        score_of=score_of,
        settings=settings,
        signed=signed,
        **site.static(),
        **geometry(group.request, site.layout),
    )
    return Maps((values,), scores, targets, {}, site.name, site.notes, slope)


def at_activations(
    group: Group, site: Site, rule: Rule, signed: bool, settings: tuple[Any, ...] = ()
) -> Maps:
    """The maps that ``rule(activations, axes, channels, *settings)`` makes, without gradients."""
    values, scores, targets = group.step(
        _forward_step,
        *group.inputs(),
        group.targets(),
        rows=len(group),
        rule=rule,
        settings=settings,
        signed=signed,
        **site.static(),
        **geometry(group.request, site.layout),
    )
    return Maps((values,), scores, targets, {}, site.name, site.notes)


def fused(group: Group, every: list[Maps]) -> Maps:
    """The mean of maps at several layers, each divided by its largest absolute value."""
    values = group.step(_fuse_step, tuple(one.values[0] for one in every), rows=0)
    first = every[0]
    slopes = [one.slope for one in every if one.slope is not None]
    rows: list[Any] = [one.rows for one in every]
    return first._replace(
        values=(values,),
        layer=", ".join(str(one.layer) for one in every),
        notes=tuple(dict.fromkeys(note for one in every for note in one.notes)),
        doubts=tuple(dict.fromkeys(doubt for one in every for doubt in one.doubts)),
        slope=ops.stack(slopes, axis=1) if slopes else None,
        rows=None if first.rows is None else sum(rows),
    )


def in_full(tensor: Tensor) -> Any:
    """At least in float32."""
    return ops.cast(tensor, full_type(tensor.dtype))


def _gradient_step(
    score: Any,
    floats: Any,
    integers: Any,
    targets: Any,
    *,
    rule: Rule,
    score_of: Callable[..., Any],
    settings: tuple[Any, ...],
    signed: bool,
    layouts: Layouts,
    size: tuple[int, ...],
    **site: Any,
) -> Any:
    (_, (scores, used)), activations, gradients = _backend.activation_and_grad(
        lambda x: score_of(score, x, integers, targets, *settings),
        lambda hook: tapped(score.model, site, hook),
        floats,
    )
    activations, gradients = in_full(activations), in_full(gradients)
    rank, inside, _ = layouts
    sides = images.spatial_axes(rank, inside), images.channel_axis(rank, inside)
    maps = [
        laid_over(rule(activations, gradients[:, m], *sides), signed, layouts, size)
        for m in range(gradients.shape[1])
    ]
    return ops.stack(maps, axis=1), scores, used, largest(gradients)


def _forward_step(
    score: Any,
    floats: Any,
    integers: Any,
    targets: Any,
    *,
    rule: Rule,
    settings: tuple[Any, ...],
    signed: bool,
    layouts: Layouts,
    size: tuple[int, ...],
    **site: Any,
) -> Any:
    (scores, used), activations = with_output(score.model, site, score, floats, integers, targets)
    rank, inside, _ = layouts
    sides = images.spatial_axes(rank, inside), images.channel_axis(rank, inside)
    maps = laid_over(rule(in_full(activations), *sides, *settings), signed, layouts, size)
    return ops.stack([maps] * scores.shape[1], axis=1), scores, used


def laid_over(maps: Any, signed: bool, layouts: Layouts, size: tuple[int, ...]) -> Tensor:
    """Maps with one channel, rectified unless ``signed``, in the layout and size of the inputs."""
    rank, inside, outside = layouts
    maps = maps if signed else ops.relu(maps)
    maps = ops.moveaxis(maps, images.channel_axis(rank, inside), images.channel_axis(rank, outside))
    return images.resize(maps, size, images.spatial_axes(rank, outside))


def _fuse_step(score: Any, every: tuple[Tensor, ...]) -> Tensor:
    del score

    def divided(maps: Any) -> Any:
        axes = tuple(range(2, len(maps.shape)))
        largest: Any = ops.max(ops.abs(maps), axis=axes, keepdims=True)
        return maps / ops.where(largest > 0, largest, ops.ones_like(largest))

    return ops.mean(ops.stack([divided(maps) for maps in every]), axis=0)


def largest(gradients: Any) -> Tensor:
    """The largest absolute gradient of each row."""
    return ops.max(ops.abs(gradients), axis=tuple(range(1, len(gradients.shape))))
