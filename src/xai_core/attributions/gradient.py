"""What gradient methods share: where gradients are taken, and channels that are reduced there."""

from __future__ import annotations

import abc
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, ClassVar

from keras import ops

from xai_core import _backend, images
from xai_core._request import Group, Request
from xai_core.attributions import sites
from xai_core.attributions.base import AbstractExplainer
from xai_core.attributions.layer_outputs import Site, tapped
from xai_core.attributions.running import Maps
from xai_core.typing import Tensor

Within = Callable[[Any], AbstractContextManager[Any]]


def unchanged(model: Any) -> AbstractContextManager[None]:
    """Gradients as they are."""
    del model
    return nullcontext()


@dataclass(frozen=True, eq=False, kw_only=True)
class AbstractGradient(AbstractExplainer):
    """A method whose maps have the shape of what is explained until channels are reduced.

    Parameters
    ----------
    reducer : {"max", "mean", "sum", "abs_max", "abs_mean"}, callable or None
        How the channels of images and volumes become one number; a callable takes
        ``(maps, axis)``. None keeps them. Tables and series are never reduced, embeddings are.
    layer : str, int, layer, (features, head), optional
        Explain the output of a layer instead of the inputs; the map has its shape. Given as for
        `GradCAM`. Of an embedding the map has one number per token, and the layer is found by
        itself where all inputs are integers.
    call : int, optional
        Which call, of a layer that the model calls several times.
    """

    reducer: str | Callable[..., Any] | None = "sum"
    layer: Any = None
    call: int | None = None

    takes_integers: ClassVar[bool] = True
    within: ClassVar[Any] = staticmethod(unchanged)
    """Maps a model to the block in which its gradients are those of the method."""

    def _check_fields(self) -> None:
        """Check the reducer, the layer and the method's own fields."""
        check_reducer(self.reducer)
        sites.check_field(self)
        self._check_own_fields()

    @abc.abstractmethod
    def _check_own_fields(self) -> None:
        """Check the fields that the method adds."""

    def _check_request(self, request: Request) -> None:
        """Refuse a reducer where there are no channels to reduce."""
        check_reduces(self, request, self._site(request))

    def _site(self, request: Request) -> Site | None:
        """The layer that is explained; None for the inputs."""
        decided = request.decided
        if "site" not in decided:
            decided["site"] = sites.found(request, self.layer, self.call)
        return decided["site"]

    def reduction(self, request: Request, reduced: bool) -> dict[str, Any]:
        """The static arguments `reduce_all` takes: the reducer, and the channel axis per leaf."""
        axes, drops = channel_axes(request, self._site(request))
        return {"reducer": self.reducer if reduced else None, "axes": axes, "drops": drops}


def check_reducer(reducer: Any) -> None:
    """Raise unless a reducer is known, callable or None."""
    known = reducer is None or callable(reducer)
    if not known and reducer not in images.REDUCERS:
        raise ValueError(
            f"`reducer` must be one of {', '.join(map(repr, images.REDUCERS))}, a callable "
            f"or None. Received: {reducer!r}."
        )


def check_reduces(explainer: Any, request: Request, site: Site | None) -> None:
    """Refuse a reducer where there are no channels to reduce.

    The default passes, also where it is given: nothing tells it from a field that was left out.
    """
    if explainer.reducer == type(explainer).reducer:
        return
    if site is not None:
        if site.channel is None:
            shape = ("N", *site.shape[1:])
            raise ValueError(
                "`reducer` must be left out for a layer without channels. "
                f"Received: {explainer.reducer!r}, and {site.name!r} of shape {shape}."
            )
        return
    rank = max(leaf.ndim for leaf in request.batch.float_leaves())
    if rank < 4:
        raise ValueError(
            "`reducer` must be left out for tables and series, whose maps keep every "
            f"feature. Received: {explainer.reducer!r} and inputs of rank {rank}."
        )


def channel_axes(request: Request, site: Site | None) -> tuple[tuple[int | None, ...], bool]:
    """The axis of channels of each map that has one, and whether it goes when it is reduced."""
    if site is not None:
        # Of one token for each sample a column stays.
        return (site.channel,), site.embeds and len(site.shape) > 2
    axes = (
        images.channel_axis(x.ndim, request.layout(x.ndim)) if x.ndim >= 4 else None
        for x in request.batch.float_leaves()
    )
    return tuple(axes), False


def one_gradient(
    explainer: AbstractGradient, group: Group, reduced: bool, rule: Callable[..., Tensor]
) -> Maps:
    """The maps that ``rule``, a module-level function (input, gradient) -> map, makes."""
    site = explainer._site(group.request)
    static = {"rule": rule, "within": explainer.within}
    static |= explainer.reduction(group.request, reduced)
    arguments = *group.inputs(), group.targets()
    if site is None:
        values, scores, targets = group.step(_gradient_step, *arguments, rows=len(group), **static)
        return Maps(values, scores, targets, {})
    values, scores, targets, slope = group.step(
        _layer_step, *arguments, rows=len(group), **static, **site.static()
    )
    return site.told(Maps(values, scores, targets, {}, slope=slope))


def _gradient_step(
    score: Any,
    floats: Any,
    integers: Any,
    targets: Any,
    *,
    rule: Any,
    within: Within,
    reducer: Any,
    axes: Any,
    drops: bool,
) -> Any:
    def finish(gradients: Any) -> Any:
        maps = [rule(x, g) for x, g in zip(floats, gradients, strict=True)]
        return reduce_all(maps, reducer, axes, drops)

    def function(x: Any) -> Any:
        with within(score.model):
            return score(x, integers, targets)

    (scores, used), values = _backend.value_and_grad(function, floats, finish=finish, has_aux=True)
    return values, scores, used


def _layer_step(
    score: Any,
    floats: Any,
    integers: Any,
    targets: Any,
    *,
    rule: Any,
    within: Within,
    reducer: Any,
    axes: Any,
    drops: bool,
    **site: Any,
) -> Any:
    """The same at the output of a layer, and the largest gradient of each row there."""

    def function(x: Any) -> Any:
        with within(score.model):
            return score(x, integers, targets)

    (scores, used), activation, gradients = _backend.activation_and_grad(
        function, lambda hook: tapped(score.model, site, hook), floats
    )
    rank = len(gradients.shape)
    maps = [rule(activation, gradients[:, m]) for m in range(gradients.shape[1])]
    values = reduce_all((ops.stack(maps, axis=1),), reducer, _behind_targets(axes), drops)
    slope = ops.max(ops.abs(ops.cast(gradients, "float32")), axis=tuple(range(1, rank)))
    return values, scores, used, slope


def reduce_all(
    maps: Any, reducer: Any, axes: tuple[int | None, ...], drops: bool = False
) -> tuple[Tensor, ...]:
    """The maps of each float leaf with its channels reduced; the axis goes only if it ``drops``."""
    found = []
    for x, axis in zip(maps, axes, strict=True):
        one = x if axis is None else images.reduce_channels(x, reducer, axis)
        found.append(ops.squeeze(one, axis) if drops and reducer is not None else one)
    return tuple(found)


def reduce_targets(
    maps: Any, reducer: Any, axes: tuple[int | None, ...], drops: bool = False
) -> tuple[Tensor, ...]:
    """The same for maps (n, M, ...), whose axis of targets stands in front of the channels."""
    return reduce_all(maps, reducer, _behind_targets(axes), drops)


def _behind_targets(axes: tuple[int | None, ...]) -> tuple[int | None, ...]:
    return tuple(None if axis is None else axis + 1 for axis in axes)
