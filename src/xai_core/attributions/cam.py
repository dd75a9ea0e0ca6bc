"""What class activation maps share: a layer, named or found, and its map in the input's size."""

from __future__ import annotations

import abc
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from keras import ops

from xai_core import _backend, _checks, images, layers
from xai_core._request import Group, Request
from xai_core._scoring import device_rows
from xai_core.attributions.base import AbstractExplainer
from xai_core.attributions.running import Maps
from xai_core.typing import Tensor
from xai_core.wrappers.base import Output
from xai_core.wrappers.split import PATH, Split

MapOf = Callable[..., Tensor]

COMPOSED = 1e-3
"""How far a pair (features, head) may be from its model, relative to the largest output."""

TRIED = 8
"""Candidates for the automatic layer that are tried before the last one is taken as it is."""


@dataclass(frozen=True, eq=False, kw_only=True)
class AbstractCAM(AbstractExplainer):
    """A map made of the activations of a layer and the gradients of the score at it.

    Parameters
    ----------
    layer : str, int, layer, (features, head) or None
        The layer, by name, path, index or object; or two functions with head(features(x)) =
        f(x), whose middle is meant (of a `JaxFunction` with parameters, both take them first).
        By default the last one with a spatial map
        that the score depends on; the Explanation tells which.
    call : int, optional
        Which call of a layer that the model calls several times.
    signed : bool
        Leave out the final rectifier, so that evidence against the target is negative.
    """

    layer: Any = None
    call: int | None = None
    signed: bool = False

    zero_without_gradient: ClassVar[bool] = False  # rectified; the gradient itself is checked

    def _check_fields(self) -> None:
        """Check that the layer exists."""
        if self.layer is not None:
            self._model.find(self.layer)
        if self.call is not None:
            _checks.integer("call", self.call, minimum=0)
            if self.layer is None:
                raise ValueError(
                    f"`call` needs `layer`, whose call it counts. Received: {self.call}."
                )
        _checks.flag("signed", self.signed)
        self._check_own_fields()

    @abc.abstractmethod
    def _check_own_fields(self) -> None:
        """Check the fields that the method adds."""

    @abc.abstractmethod
    def _map_of(self) -> MapOf:
        """A module-level function (activations, gradients, axes, channels) -> map, no rectifier.

        ``axes`` are those of space, ``channels`` that of channels, which it keeps with length 1.
        """

    def _check_request(self, request: Request) -> None:
        """Check that the inputs have space, and that the layer keeps it."""
        leaves = request.batch.float_leaves()
        if len(leaves) != 1 or leaves[0].ndim < 3:
            raise ValueError(
                f"`{type(self).__name__}` needs one input with space or time, (N, T, W), "
                f"(N, H, W, C) or (N, D, H, W, C). Received: shapes "
                f"{', '.join(str(leaf.shape) for leaf in leaves)}. Gradient methods explain tables."
            )
        request.layout(leaves[0].ndim)
        if self.layer is not None:
            self._check_layer(request)

    def _check_layer(self, request: Request) -> None:
        path, found = self._model.find(self.layer)
        if isinstance(found, Split):
            check_split(request, found)
            return
        outputs = [one for one in _outputs(request) if one.path == path]
        layers.check_calls(path, len(outputs), self.call)
        rank = request.batch.float_leaves()[0].ndim
        if not _has_map(outputs[self.call or 0], rank, request):
            raise ValueError(
                f"`layer` must have a spatial map of {rank} axes. Received: {path!r}, whose "
                f"output has the shape {('N', *outputs[0].shape[1:])}. Name an earlier layer."
            )

    def _maps(self, group: Group, reduced: bool) -> Maps:
        """The map at the layer, resized to the inputs."""
        del reduced
        if self.layer is None:
            return self._at_last(group)
        path, found = self._model.find(self.layer)
        if isinstance(found, Split):
            notes = check_split(group.request, found)
            return self._mapped(group, (path, found), self.call, path)._replace(notes=notes)
        return self._at(group, path, self.call)

    def _at_last(self, group: Group) -> Maps:
        """The map at the last candidate on which the score has a gradient."""
        chosen = group.request.decided
        if "layer" in chosen:
            return self._at(group, *chosen["layer"])
        first: Any = None
        for path, call in candidates(group.request)[:TRIED]:
            maps = self._at(group, path, call)
            first = first or maps
            # The first row decides, so that the size of a batch changes nothing.
            if _backend.to_host(maps.slope)[0]:
                chosen["layer"] = (path, call)
                return maps
        return first

    def _at(self, group: Group, path: str, call: int | None) -> Maps:
        """The map at a layer with a name."""
        outputs = _outputs(group.request)
        output = next(one for one in outputs if (one.path, one.call) == (path, call or 0))
        notes = ()
        if self.layer is None:
            notes = (f"The layer {_named(output)} was chosen automatically.",)
        if output.first_of_several:
            notes += (f"The first of several tensors that {path} returns is mapped.",)
        found = group.request.model.find(path)
        return self._mapped(group, found, call, _named(output))._replace(notes=notes)

    def _mapped(self, group: Group, found: tuple[str, Any], call: int | None, name: str) -> Maps:
        """The map at what was found: a layer, or the middle of a pair."""
        request = group.request
        shape = request.batch.float_leaves()[0].shape
        outside = request.layout(len(shape))
        values, scores, targets, slope = group.step(
            _cam_step,
            *group.inputs(),
            group.targets(),
            rows=len(group),
            path=found[0],
            layer=found[1],
            call=call,
            map_of=self._map_of(),
            signed=self.signed,
            layouts=(len(shape), request.model.feature_format, outside),
            size=tuple(shape[axis] for axis in images.spatial_axes(len(shape), outside)),
        )
        return Maps((values,), scores, targets, {}, name, slope=slope)


def candidates(request: Request) -> list[tuple[str, int]]:
    """Layers with a spatial map, by path and call, the last one first."""
    rank = request.batch.float_leaves()[0].ndim
    if len(request.score.head.shape) > 2:
        raise ValueError(
            "`layer` must be given for a model whose output is itself spatial. Received: None, "
            f"and outputs of shape {('N', *request.score.head.shape[1:])}."
        )
    outputs = _outputs(request)
    fitting = [one for one in outputs if not one.skipped and _has_map(one, rank, request)]
    if not fitting:
        if not outputs:
            raise ValueError(
                f"`layer` must be a pair (features, head) for {request.model.title}, whose layers "
                "have no names here. Received: None."
            )
        seen = ", ".join(f"{one.path} {('N', *one.shape[1:])}" for one in outputs[-6:])
        raise ValueError(
            f"`layer` cannot be chosen, for no layer has a spatial map of {rank} axes. "
            f"Received: None. The model's last layers give {seen}."
        )
    return [(one.path, one.call) for one in reversed(fitting)]


def _outputs(request: Request) -> list[Output]:
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


def check_split(request: Request, halves: Split) -> tuple[str, ...]:
    """Raise unless a pair's middle has space, and the pair gives the model's own output.

    Returns what is to be noted.
    """
    batch, engine = request.batch, request.engine
    rank = batch.float_leaves()[0].ndim
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
    output = Output(PATH, 0, shape, False, False)
    if not _has_map(output, rank, request):
        raise ValueError(
            f"`layer` given as (features, head) must have a spatial map of {rank} axes in the "
            f"middle. Received: {('N', *shape[1:])}."
        )
    return ("The first of several tensors that the features return is mapped.",) * several


def _composed(received: str) -> str:
    return (
        "`layer` given as (features, head) must give the model's own output, head(features(x)) = "
        f"f(x). Received: {received}, on the first row."
    )


def _split_step(score: Any, floats: Any, integers: Any, *, halves: Split) -> Any:
    """The middle of a pair, the model's output, the pair's, and if there are several middles."""
    seen: list[Tensor] = []

    def record(middle: Tensor) -> Tensor:
        seen.append(middle)
        return middle

    inputs = score.batch.pack(floats, integers)
    whole = score.outputs(inputs)
    with score.model.tap((PATH, halves), record, None):
        found = score.outputs(inputs)
    middle = score.model.part(halves.features, inputs, first=True)
    return seen[0], whole, found, ops.convert_to_tensor(isinstance(middle, list | tuple))


def _named(output: Output) -> str:
    return f"{output.path} (call {output.call})" if output.call else output.path


def _has_map(output: Output, rank: int, request: Request) -> bool:
    axes = images.spatial_axes(rank, request.model.feature_format)
    return len(output.shape) == rank and math.prod(output.shape[axis] for axis in axes) > 1


def _cam_step(
    score: Any,
    floats: Any,
    integers: Any,
    targets: Any,
    *,
    path: str,
    layer: Any,
    call: int | None,
    map_of: MapOf,
    signed: bool,
    layouts: tuple[int, str, str],
    size: tuple[int, ...],
) -> Any:
    (scores, used), activations, gradients = _backend.activation_and_grad(
        lambda x: score(x, integers, targets),
        lambda hook: score.model.tap((path, layer), hook, call),
        floats,
    )
    rank, inside, outside = layouts
    axes = images.spatial_axes(rank, inside)
    channels = images.channel_axis(rank, inside)
    dtype = "float64" if "float64" in str(gradients.dtype) else "float32"
    gradients: Any = ops.cast(gradients, dtype)
    activations = ops.cast(activations, dtype)

    def of_target(m: int) -> Tensor:
        found = map_of(activations, gradients[:, m], axes, channels)
        found = found if signed else ops.relu(found)
        found = ops.moveaxis(found, channels, images.channel_axis(rank, outside))
        return images.resize(found, size, images.spatial_axes(rank, outside))

    slope = ops.max(ops.abs(gradients), axis=tuple(range(1, rank + 1)))
    maps = [of_target(m) for m in range(gradients.shape[1])]
    return ops.stack(maps, axis=1), scores, used, slope
