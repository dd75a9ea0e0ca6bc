"""Inside a model: the layer whose output is explained instead of the inputs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import keras
import numpy as np
from keras import ops

from xai_core import _backend, _checks, images
from xai_core._inputs import host
from xai_core._request import Group, Request
from xai_core.attributions import background
from xai_core.attributions.layer_outputs import (
    Site,
    named,
    outputs_of,
    site_of,
    tapped,
    with_output,
)
from xai_core.typing import Array, Tensor


def check_field(explainer: Any) -> None:
    """Raise unless the layer exists and ``call`` counts calls of one."""
    if explainer.layer is not None:
        explainer._model.find(explainer.layer)
    if explainer.call is not None:
        _checks.integer("call", explainer.call, minimum=0)
        if explainer.layer is None:
            raise ValueError(
                f"`call` needs `layer`, whose call it counts. Received: {explainer.call}."
            )


def found(request: Request, layer: Any, call: int | None) -> Site | None:
    """The site that a field means: None for the inputs, where these are floats."""
    if layer is not None:
        return _explained(request, named(request, layer, call, "explained"))
    return None if request.batch.float_leaves() else _embedding(request)


def _explained(request: Request, site: Site) -> Site:
    """A site with its channels, and with the input that it looks up."""
    rank, model = len(site.shape), request.model
    if model.embeds(site.layer):
        leaf = _looked_up(request, site)
        return site._replace(channel=rank - 1, embeds=True, tokens=True, leaf=leaf)
    channel = images.channel_axis(rank, site.layout) if rank >= 4 else None
    if request.batch.float_leaves():
        return site._replace(channel=channel)
    leaf = 0 if len(request.batch.leaves) == 1 else -1
    return site._replace(channel=channel, tokens=True, leaf=leaf)


def _embedding(request: Request) -> Site:
    """The only layer that looks up vectors of integers."""
    fitting = [
        one for one in outputs_of(request) if request.model.embeds(request.model.find(one.path)[1])
    ]
    if len(fitting) != 1:
        names = ", ".join(repr(one.path) for one in fitting) or "none"
        raise ValueError(
            "`layer` must name the embedding to explain, for inputs of integers have no gradient "
            f"themselves. Received: None, and a model with {names}."
        )
    one = fitting[0]
    site = site_of(request.model.find(one.path)[1], one, one.call or None, "explained")
    notes = (f"The embedding {one.path} was chosen automatically.",)
    return _explained(request, site._replace(notes=notes))


def _looked_up(request: Request, site: Site) -> int:
    """Which of the inputs holds the tokens: the one of their shape that the layer depends on."""
    batch = request.batch
    fitting = [
        k
        for k, (leaf, integer) in enumerate(zip(batch.leaves, batch.integers, strict=True))
        if integer and leaf.shape[1:] == tuple(site.shape[1:-1])
    ]
    if len(batch.leaves) == 1 and batch.integers[0]:
        fitting = [0]
    if len(fitting) > 1:
        shapes = tuple((leaf.shape[1:], leaf.dtype.name) for leaf in batch.leaves)
        key = ("looked up", site.path, site.call, shapes)
        fitting = request.engine.remembered(key, lambda: _moving(request, site, fitting))
    return fitting[0] if len(fitting) == 1 else -1


def _moving(request: Request, site: Site, leaves: list[int]) -> list[int]:
    """The inputs of which other tokens change what a layer gives for the first row."""

    def output(changed: int | None) -> Array:
        every = [leaf[:1] for leaf in request.batch.leaves]
        if changed is not None:
            every[changed] = np.where(every[changed] == 0, 1, 0).astype(every[changed].dtype)
        batch = replace(request.batch, leaves=tuple(every))
        inputs = Group(replace(request, batch=batch, targets=()), slice(0, 1), 1).inputs()
        step = request.engine.step(request.score, activation, *inputs, **site.static())
        return _backend.to_host(step[0])

    own = output(None)
    return [leaf for leaf in leaves if not np.array_equal(output(leaf), own)]


def scored(score: Any, site: dict[str, Any], points: Any, kept: Any, targets: Any) -> Any:
    """The score at points of the inputs, or of a layer for the inputs that are ``kept``."""
    if not site:
        return score(points, kept, targets)

    def here(output: Tensor) -> Tensor:
        # A copy, for the next operation may work in place.
        return ops.copy(ops.cast(points[0], output.dtype))

    with tapped(score.model, site, here):
        return score(*kept, targets)


def points(group: Group, site: Site | None, inputs: Any) -> tuple[Tensor, ...]:
    """What is explained for (floats, integers): the floats, or what the layer makes of them."""
    if site is None:
        return inputs[0]
    return group.step(activation, *inputs, rows=len(group), **site.static())


def activation(score: Any, floats: Any, integers: Any, **site: Any) -> tuple[Tensor]:
    """The output of a layer, as part of a compiled step."""
    inputs = score.batch.pack(floats, integers)
    return (with_output(score.model, site, score.outputs, inputs)[1],)


def baseline_inputs(group: Group, site: Site | None, baseline: Any) -> list[Any]:
    """The (floats, integers) of each baseline: other tokens, or other floats."""
    integers = group.inputs()[1]
    if site is None or not site.tokens:
        return [(start, integers) for start in group.baselines(baseline)]
    return [(group.inputs()[0], tokens) for tokens in _tokens(group, site, baseline)]


def _check_leaf(name: str, request: Request, site: Site) -> None:
    if site.leaf < 0:
        shapes = ", ".join(str(leaf.shape) for leaf in request.batch.leaves)
        raise ValueError(
            f"`{name}` must be tokens of one input, and it is not clear which one they are for at "
            f"{site.name!r}. Received: inputs of shapes {shapes}."
        )


def _tokens(group: Group, site: Site, baseline: Any) -> list[tuple[Tensor, ...]]:
    _check_leaf("baseline", group.request, site)
    tokens = group.request.batch.leaves[site.leaf]
    every = []
    for one in group.baselines_of(baseline, tokens):
        if one.dtype.kind not in "iub" or one.min() < 0:
            raise ValueError(
                "`baseline` must be a token, an integer that is not negative. "
                f"Received: {np.asarray(one).flat[0]!r}."
            )
        every.append(group.to_device(one))
    place = tokens_at(group.request, site)
    return [with_rows(place, group.inputs(), (one,))[1] for one in every]


def tokens_at(request: Request, site: Site | None) -> int | None:
    """Which of the integer inputs references stand for, None where it is all floats."""
    if site is None or not site.tokens:
        return None
    return sum(request.batch.integers[: site.leaf])


def with_rows(place: int | None, inputs: Any, rows: Any) -> Any:
    """(floats, integers) with other rows of one integer input, or of all floats."""
    floats, integers = inputs
    if place is None:
        # Rows of data come from the host, which may lack the model's float type.
        return tuple(ops.cast(row, x.dtype) for row, x in zip(rows, floats, strict=True)), integers
    return floats, (*integers[:place], *rows, *integers[place + 1 :])


def background_rows(request: Request, site: Site | None, given: Any) -> tuple[Array, ...]:
    """The rows of a background as `with_rows` takes them, checked."""
    if site is None or not site.tokens:
        return tuple(background.leaves(given, request, averaged=False))
    _check_leaf("background", request, site)
    every = [given]
    if isinstance(given, tuple | dict):
        every = keras.tree.flatten(request.model.arranged(given))
    several = len(request.batch.leaves)
    if len(every) not in (1, several):
        raise ValueError(
            f"`background` must have the structure of the inputs, {several} arrays. "
            f"Received: {len(every)}."
        )
    tokens = host(every[site.leaf] if len(every) > 1 else every[0], "background")
    like = request.batch.leaves[site.leaf]
    fits = tokens.ndim == like.ndim and tokens.shape[1:] == like.shape[1:] and len(tokens)
    if not fits or tokens.dtype.kind not in "iu" or tokens.min() < 0:
        raise ValueError(
            f"`background` must hold rows of tokens of shape {like.shape[1:]}, integers that are "
            f"not negative. Received: shape {tokens.shape} of {tokens.dtype}."
        )
    return (tokens.astype(like.dtype),)
