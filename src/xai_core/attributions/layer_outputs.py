"""Layers inside a model: which one is meant, and what it gives."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from keras import ops

from xai_core import _backend, layers
from xai_core._request import Group, Request
from xai_core._scoring import device_rows
from xai_core.attributions.running import Maps
from xai_core.typing import Tensor
from xai_core.wrappers.base import Output
from xai_core.wrappers.split import PATH, Split

COMPOSED = 1e-3
"""How far a pair (features, head) may be from its model, relative to the largest output."""


class Site(NamedTuple):
    """The output of one call of a layer, or the middle of a pair (features, head).

    ``shape`` is that for one row, batch axis included, and ``layout`` its data format; ``notes``
    tell what was decided. Where it is explained instead of the inputs, ``channel`` is the axis
    that a reducer takes, None where there is none; ``embeds`` tells whether the layer looks up the
    vectors of integers, and ``tokens`` whether references are tokens, those of input ``leaf``.
    """

    path: str
    layer: Any
    call: int | None
    shape: tuple[int, ...]
    notes: tuple[str, ...] = ()
    channel: int | None = None
    embeds: bool = False
    tokens: bool = False
    leaf: int = 0
    layout: str = ""

    @property
    def name(self) -> str:
        """What the Explanation calls it."""
        return f"{self.path} (call {self.call})" if self.call else self.path

    def static(self) -> dict[str, Any]:
        """What a compiled step needs to find it."""
        return {"path": self.path, "layer": self.layer, "call": self.call}

    def told(self, maps: Maps) -> Maps:
        """Maps of this output that say where they are from."""
        return maps._replace(layer=self.name, notes=(*maps.notes, *self.notes), site=self)


def tapped(
    model: Any, site: dict[str, Any], hook: Callable[[Tensor], Tensor]
) -> AbstractContextManager[Any]:
    """Within the block, the output of a site is ``hook(output)``."""
    return model.tap((site["path"], site["layer"]), hook, site["call"])


def with_output(
    model: Any, site: dict[str, Any], function: Callable[..., Any], *arguments: Any
) -> tuple[Any, Tensor]:
    """``function(*arguments)``, which runs the model, and the output of a site in that pass."""
    seen: list[Tensor] = []

    def record(output: Tensor) -> Tensor:
        # The next operation of a torch module may work in place.
        seen.append(ops.copy(output))
        return output

    with tapped(model, site, record):
        result = function(*arguments)
    return result, seen[0]


def named(request: Request, layer: Any, call: int | None, verb: str) -> Site:
    """The site that a user names; ``verb`` tells what is done with its output."""
    path, found = request.model.find(layer)
    if isinstance(found, Split):
        shape, notes = split_middle(request, found)
        middle = Output(path, 0, shape, False, False, request.model.feature_format)
        return site_of(found, middle, call, verb)._replace(notes=notes)
    outputs = [one for one in outputs_of(request) if one.path == path]
    layers.check_calls(path, len(outputs), call)
    return site_of(found, outputs[call or 0], call, verb)


def site_of(layer: Any, output: Output, call: int | None, verb: str) -> Site:
    """The site of a layer's output, with a note where it is one of several.

    Raises ValueError where it has a `Flaw`.
    """
    flaw = flaw_of(output)
    if flaw is not None:
        raise ValueError(f"`layer` must {flaw.rule}. Received: {flaw.received}. {flaw.advice}")
    note = f"The first of several tensors that {output.path} returns is {verb}."
    notes = (note,) * output.first_of_several
    return Site(output.path, layer, call, output.shape, notes, layout=output.layout)


class Flaw(NamedTuple):
    """Why nothing can be explained at a layer: what it must do, what it does, and what to do."""

    rule: str
    received: str
    advice: str


def flaw_of(output: Output) -> Flaw | None:
    """What is wrong with a layer's output, if anything."""
    if output.other:
        rule = "return a tensor, or several, of which the first is taken"
        received = f"{output.path!r}, which returns {output.other}"
        return Flaw(rule, received, "Name a layer inside it.")
    rows = output.shape[0] if output.shape else "no"
    # TensorFlow may not know the number before the model runs.
    if rows not in (1, None):
        received = f"{output.path!r}, which gives {rows} rows for one"
        advice = "Name a layer before samples are folded into one batch, or behind it."
        return Flaw("give one row per sample", received, advice)
    if not output.layout and len(output.shape) > 2:
        received = f"{output.path!r}, behind moved axes in a model with layers of both data formats"
        advice = "Name a layer that has a `data_format` itself, such as a convolution."
        return Flaw("tell which axis is that of channels", received, advice)
    return None


def outputs_of(request: Request) -> list[Output]:
    """The outputs of all layers for one row, from a dry run that is remembered."""
    one = replace(request, targets=tuple(leaf[:1] for leaf in request.targets))
    group = Group(one, slice(0, 1), 1)

    def run() -> list[Output]:
        arguments = (*group.inputs(), group.targets())
        return request.model.layer_outputs(lambda: request.engine.dry_run(_run, *arguments))

    def _run(*arguments: Any) -> Any:
        return request.score(*arguments)[0]

    shapes = tuple((leaf.shape[1:], leaf.dtype.name) for leaf in request.batch.leaves)
    return request.engine.remembered(("layer outputs", request.score.key(), shapes), run)


def split_middle(request: Request, halves: Split) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """The shape in the middle of a pair for one row, and what is to be noted.

    Raises ValueError unless the pair gives the model's own output.
    """
    batch, engine = request.batch, request.engine
    shapes = tuple((leaf.shape[1:], leaf.dtype.name) for leaf in batch.leaves)
    key = ("split", halves.same(), request.score.key(), shapes)

    def run() -> tuple[tuple[int, ...], float, bool]:
        inputs = device_rows(request.model, batch, slice(0, 1))
        try:
            step = engine.step(request.score, _split_step, *inputs, halves=halves)
        except request.model.shape_errors as error:
            raise ValueError(_composed(f"{type(error).__name__}: {error}")) from error
        middle, whole, found, several = map(_backend.to_host, step)
        if whole.shape != found.shape:
            raise ValueError(_composed(f"outputs of shape {found.shape} and {whole.shape}"))
        gap = np.abs(whole - found).max() / max(np.abs(whole).max(), np.finfo("float32").tiny)
        return tuple(middle.shape), float(gap), bool(several)

    shape, gap, several = engine.remembered(key, run)
    if not gap <= COMPOSED:  # NaN is no small gap
        raise ValueError(_composed(f"outputs that differ by {gap:.1e} of the largest"))
    return shape, ("The first of several tensors that the features return is taken.",) * several


def _composed(received: str) -> str:
    return (
        "`layer` given as (features, head) must give the model's own output, head(features(x)) = "
        f"f(x). Received: {received}, on the first row."
    )


def _split_step(score: Any, floats: Any, integers: Any, *, halves: Split) -> Any:
    """The middle of a pair, the model's output, the pair's, and if there are several middles."""
    inputs = score.batch.pack(floats, integers)
    whole = score.outputs(inputs)
    site = Site(PATH, halves, None, ()).static()
    found, middle = with_output(score.model, site, score.outputs, inputs)
    every = score.model.part(halves.features, inputs, first=True)
    return middle, whole, found, ops.convert_to_tensor(isinstance(every, list | tuple))
