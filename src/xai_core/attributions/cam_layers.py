"""The layers of class activation maps: whether one has a map, and which is taken by itself."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import numpy as np

from xai_core import _backend, images
from xai_core._request import Group, Request
from xai_core.attributions.cam_maps import in_full, largest
from xai_core.attributions.layer_outputs import (
    Site,
    flaw_of,
    named,
    outputs_of,
    site_of,
    tapped,
)
from xai_core.typing import Array, Tensor
from xai_core.wrappers.base import Output
from xai_core.wrappers.split import Split

TRIED = 32
"""Candidates that are tried before the last one is taken as it is."""
PROBED = 8
"""Rows that tell whether the score depends on a layer, and targets that do so at most."""


def site_with_map(request: Request, layer: Any, call: int | None) -> Site:
    """Where a layer that is named has its map; raises ValueError where it has none."""
    site = named(request, layer, call, "mapped")
    rank = request.batch.float_leaves()[0].ndim
    if _has_map(site, rank):
        return site
    shape = ("N", *site.shape[1:])
    if isinstance(site.layer, Split):
        raise ValueError(
            f"`layer` given as (features, head) must have a spatial map of {rank} axes in the "
            f"middle. Received: {shape}."
        )
    raise ValueError(
        f"`layer` must have a spatial map of {rank} axes. Received: {site.path!r}, whose "
        f"output has the shape {shape}. Name an earlier layer."
    )


def candidates(request: Request) -> list[Site]:
    """Layers with a spatial map, the last one first."""
    rank = request.batch.float_leaves()[0].ndim
    if len(request.score.head.shape) > 2:
        raise ValueError(
            "`layer` must be given for a model whose output is itself spatial. Received: None, "
            f"and outputs of shape {('N', *request.score.head.shape[1:])}."
        )
    outputs = outputs_of(request)
    usable = [one for one in outputs if flaw_of(one) is None]
    fitting = [one for one in usable if not one.skipped and _has_map(one, rank)]
    if not fitting:
        if not outputs:
            raise ValueError(
                f"`layer` must be a pair (features, head) for {request.model.title}, whose layers "
                "have no names here. Received: None."
            )
        seen = ", ".join(f"{one.path} {('N', *one.shape[1:])}" for one in usable[-6:])
        raise ValueError(
            f"`layer` cannot be chosen, for no layer has a spatial map of {rank} axes. "
            f"Received: None. The model's last layers give {seen}."
        )
    return [_noted(request, one) for one in reversed(fitting)]


def _noted(request: Request, output: Output) -> Site:
    site = site_of(request.model.find(output.path)[1], output, output.call, "mapped")
    note = f"The layer {site.name} was chosen automatically."
    return site._replace(notes=(note, *site.notes))


def _has_map(at: Output | Site, rank: int) -> bool:
    if len(at.shape) != rank:
        return False
    return math.prod(at.shape[axis] for axis in images.spatial_axes(rank, at.layout)) > 1


def chosen(request: Request, size: int) -> Site:
    """The last candidate on which the scores of all targets depend, or that of any, or the last.

    It follows from the model and the targets of the call, and not from its inputs. The model gets
    at most ``size`` rows at once.
    """
    decided = request.decided
    if "layer" not in decided:
        every = candidates(request)[:TRIED]
        fitting = (site for k in (all, any) for site in every if has_slope(request, site, size, k))
        decided["layer"] = next(fitting, every[0])
        decided["layers tried"] = len(every)
        decided["layer fits"] = has_slope(request, decided["layer"], size, any)
    return decided["layer"]


def doubts(request: Request) -> tuple[str, ...]:
    """What is to be doubted of the layer that was `chosen`."""
    if request.decided.get("layer fits", True):
        return ()
    return (
        f"The score depends on none of the last {request.decided['layers tried']} layers with a "
        f"map, as far as random inputs tell, so {request.decided['layer'].name!r} was taken. Name "
        "another `layer`.",
    )


def has_slope(
    request: Request, site: Site, size: int, wanted: Callable[[Iterable[bool]], bool]
) -> bool:
    """Whether the scores of `all` or of `any` targets have a gradient at a layer.

    Rows are always the same. That there is one is remembered; that there is none is not, for
    weights may change.
    """
    shapes = tuple((leaf.shape[1:], leaf.dtype.name) for leaf in request.batch.leaves)
    key = ("slope", site.path, site.call, request.score.key(), shapes)
    known: set[bytes] = request.engine.remembered(key, set)
    every = _targets(request)
    if wanted is any and not known.isdisjoint(every):
        return True

    def probed(own: bytes) -> bool:
        if own not in known and _probed(request, site, every[own], size):
            known.add(own)
        return own in known

    return wanted(probed(own) for own in every)


def _targets(request: Request) -> dict[bytes, tuple[Array, ...]]:
    """Different targets of the call, one row and column each; their order does not matter."""
    flat = [leaf.reshape(-1, *leaf.shape[2:]) for leaf in request.targets]
    count = len(flat[0]) if flat else 1
    rows = [tuple(leaf[k : k + 1] for leaf in flat) for k in range(count)]
    every = {b"".join(leaf.tobytes() for leaf in row): row for row in rows}
    return {own: tuple(leaf[:, None] for leaf in every[own]) for own in sorted(every)[:PROBED]}


def _probed(request: Request, site: Site, targets: tuple[Array, ...], size: int) -> bool:
    """Whether the score of one target has a gradient at a layer for any of some random rows."""
    generator = np.random.Generator(np.random.Philox(0))

    def rows(leaf: Array, integer: bool) -> Array:
        shape = (PROBED, *leaf.shape[1:])
        if integer:
            return np.zeros(shape, leaf.dtype)
        # Some models take numbers of the size of 1, some up to 255.
        scales = 2.0 ** np.arange(PROBED).reshape(-1, *[1] * (leaf.ndim - 1))
        return (scales * generator.standard_normal(shape)).astype("float32")

    batch = request.batch
    pairs = zip(batch.leaves, batch.integers, strict=True)
    probe = replace(
        request,
        batch=replace(batch, leaves=tuple(rows(*pair) for pair in pairs)),
        targets=tuple(np.repeat(leaf, PROBED, axis=0) for leaf in targets),
    )
    return any(_slopes(group, site).any() for group in probe.groups(size))


def _slopes(group: Group, site: Site) -> Array:
    arguments = *group.inputs(), group.targets()
    score, engine = group.request.score, group.request.engine
    return group.on_host(engine.step(score, _slope_step, *arguments, **site.static()))


def _slope_step(score: Any, floats: Any, integers: Any, targets: Any, **site: Any) -> Tensor:
    *_, gradients = _backend.activation_and_grad(
        lambda x: score(x, integers, targets),
        lambda hook: tapped(score.model, site, hook),
        floats,
    )
    return largest(in_full(gradients))
