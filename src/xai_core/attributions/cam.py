"""What class activation maps share: layers, named or found, and maps in the input's size."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from xai_core import _checks
from xai_core._request import Group, Request
from xai_core.attributions.base import AbstractExplainer
from xai_core.attributions.cam_layers import chosen, doubts, site_with_map
from xai_core.attributions.cam_maps import fused
from xai_core.attributions.layer_outputs import Site
from xai_core.attributions.running import Maps


@dataclass(frozen=True, eq=False, kw_only=True)
class AbstractCAM(AbstractExplainer):
    """A map made of the activations of a layer, often with the gradients of the score at it.

    Parameters
    ----------
    layer : str, int, layer, (features, head), list or None
        The layer, by name, path, index or object; or two functions with head(features(x)) =
        f(x), whose middle is meant (of a `JaxFunction` with parameters, both take them first).
        A list is several layers: the mean of their maps, each divided by its largest absolute
        value after it was resized; a map of zeros stays one. By default the last layer with a
        spatial map that the scores of all targets depend on, or else that of any, as 8 fixed
        random inputs tell: a matter of the model and of the targets of the call, and not of its
        inputs; the Explanation tells which.
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
        """Check that every layer exists."""
        if isinstance(self.layer, list) and not self.layer:
            raise ValueError("`layer` must name at least one layer. Received: [].")
        for layer in self._layers:
            self._model.find(layer)
        if self.call is not None:
            _checks.integer("call", self.call, minimum=0)
            if self.layer is None or isinstance(self.layer, list):
                raise ValueError(
                    "`call` needs one `layer`, whose call it counts. Received: "
                    f"call={self.call} and layer={self.layer!r}."
                )
        _checks.flag("signed", self.signed)
        self._check_own_fields()

    @property
    def _layers(self) -> list[Any]:
        """The layers that are named, none where one is to be found."""
        if isinstance(self.layer, list):
            return self.layer
        return [] if self.layer is None else [self.layer]

    @abc.abstractmethod
    def _check_own_fields(self) -> None:
        """Check the fields that the method adds."""

    @abc.abstractmethod
    def _mapped(self, group: Group, site: Site) -> Maps:
        """The map at one site."""

    def _check_request(self, request: Request) -> None:
        """Check that the inputs have space, and that every layer keeps it."""
        leaves = request.batch.float_leaves()
        check_space(type(self).__name__, leaves)
        request.layout(leaves[0].ndim)
        for layer in self._layers:
            site_with_map(request, layer, self.call)
        if self.layer is None:
            chosen(request, self._batch_size)

    def rows(self, *shapes: Sequence[int]) -> Any:
        """Model rows of one input: one for each layer."""
        del shapes
        return max(1, len(self._layers))

    def _maps(self, group: Group, reduced: bool) -> Maps:
        """The map at the layer, or the mean of several, resized to the inputs."""
        del reduced
        if self.layer is None:
            maps = self._mapped(group, chosen(group.request, self._batch_size))
            return maps._replace(doubts=(*maps.doubts, *doubts(group.request)))
        sites = [site_with_map(group.request, layer, self.call) for layer in self._layers]
        every = [self._mapped(group, site) for site in sites]
        return fused(group, every) if isinstance(self.layer, list) else every[0]


def check_space(method: str, leaves: list[Any]) -> None:
    """Raise unless there is one input, with axes of space or time."""
    if len(leaves) != 1 or leaves[0].ndim < 3:
        raise ValueError(
            f"`{method}` needs one input with space or time, (N, T, W), "
            f"(N, H, W, C) or (N, D, H, W, C). Received: shapes "
            f"{', '.join(str(leaf.shape) for leaf in leaves)}. Gradient methods explain tables."
        )
