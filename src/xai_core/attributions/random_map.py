"""Random maps, the baseline that an explanation must beat."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from xai_core import _backend, _checks, images
from xai_core._request import Group, Request
from xai_core._scoring import score_step
from xai_core.attributions.base import AbstractExplainer
from xai_core.attributions.running import Maps
from xai_core.typing import Array


@dataclass(frozen=True, eq=False, kw_only=True)
class RandomMap(AbstractExplainer):
    r"""Independent uniform numbers, the map of an explainer that knows nothing.

    .. math:: \phi_i \sim U[0, 1)

    Each sample's numbers come from NumPy's Philox generator with the key (``seed``, CRC-32 of the
    sample's bytes), drawn as float32 in C order over the positions or blocks, channels last: the
    same on every backend, whatever else is in the batch. Images and volumes have one number per
    position, tables and series one per element.

    Parameters
    ----------
    model : keras.Model, torch.nn.Module or Model, optional
        Only its scores are computed; without a model there are none.
    operator, output, batch_size, progress
        As for every explainer: see `AbstractExplainer`; they need a model.
    grid_size : int or tuple of int, optional
        Constant blocks: their number along each axis of space or time. By default every position
        has its own number.
    seed : int
        Part of the generator's key, from 0 to 2**64 - 1.

    Raises
    ------
    TypeError, ValueError
        If a field is wrong, at construction; if inputs do not fit, or the grid is larger than the
        input, at the call.

    Notes
    -----
    The control of Adebayo et al., 2018, "Sanity Checks for Saliency Maps",
    https://arxiv.org/abs/1810.03292

    Examples
    --------
    >>> import numpy as np
    >>> RandomMap(seed=1)(np.ones((2, 8, 8, 3))).values.shape
    (2, 8, 8, 1)
    """

    model: Any = field(default=None, kw_only=False)
    grid_size: int | tuple[int, ...] | None = None
    seed: int = 0

    requires: ClassVar[str] = "nothing"
    signed = False
    uses_targets: ClassVar[bool] = False
    source: ClassVar[str] = (
        "control of Adebayo et al., 2018, Sanity Checks for Saliency Maps, "
        "https://arxiv.org/abs/1810.03292"
    )

    def _check_fields(self) -> None:
        """Check seed and grid, and that the model's fields have a model."""
        _checks.seed(self.seed)
        if self.grid_size is not None:
            for size in np.atleast_1d(np.asarray(self.grid_size, object)):
                _checks.integer("grid_size", size, minimum=1)
        for name, usual in (("operator", None), ("output", "raw")):
            if self.model is None and getattr(self, name) != usual:
                raise ValueError(
                    f"`{name}` needs a model. Received: {getattr(self, name)!r} and no model."
                )

    def _check_request(self, request: Request) -> None:
        """Check the grid against the inputs."""
        for leaf in request.batch.float_leaves():
            self._cells(leaf.shape, request)
        if any(prints is None for prints in request.batch.float_fingerprints()):
            raise TypeError(
                "`inputs` must be numbers, whose bytes are the key of the random numbers. "
                "Received: an array of objects."
            )

    def _cells(self, shape: Sequence[int], request: Request) -> tuple[int, ...]:
        """Number of independent numbers along each axis of a sample, channels last."""
        rank = len(shape)
        if rank == 2:
            if self.grid_size is not None:
                raise ValueError(
                    "`grid_size` must be left out for a table, which has no axis of space. "
                    f"Received: {self.grid_size!r}."
                )
            return tuple(shape[1:])
        layout = request.layout(rank, needed=self.grid_size is not None)
        sides = [shape[axis] for axis in images.spatial_axes(rank, layout)]
        channels = shape[images.channel_axis(rank, layout)] if rank == 3 else 1
        if self.grid_size is None:
            return (*sides, channels)
        grid = self.grid_size if isinstance(self.grid_size, tuple) else (self.grid_size,)
        grid = grid * len(sides) if len(grid) == 1 else grid
        if len(grid) != len(sides) or any(g > s for g, s in zip(grid, sides, strict=True)):
            raise ValueError(
                f"`grid_size` must have one number per axis of space, at most {tuple(sides)}. "
                f"Received: {self.grid_size!r}."
            )
        return (*grid, channels)

    def _maps(self, group: Group, reduced: bool) -> Maps:
        """Draw the map of each row; score the rows if there is a model."""
        del reduced
        request = group.request
        batch = request.batch
        pairs = zip(batch.float_leaves(), batch.float_fingerprints(), strict=True)
        values = tuple(self._drawn(leaf, prints, group) for leaf, prints in pairs)
        if request.score is None:
            return Maps(tuple(map(_backend.to_device, values)), None, (), {})
        scores, targets = group.step(score_step, *group.inputs(), group.targets(), rows=len(group))
        repeated = [np.repeat(one, scores.shape[1], axis=1) for one in values]
        return Maps(tuple(map(group.to_device, repeated)), scores, targets, {})

    def _drawn(self, leaf: Array, prints: Array, group: Group) -> Array:
        cells = self._cells(leaf.shape, group.request)
        rank = leaf.ndim
        layout = group.request.layout(rank, needed=False)
        maps = []
        for fingerprint in prints[group.rows]:
            philox = np.random.Philox(key=np.array([self.seed, fingerprint], "uint64"))
            drawn = np.random.Generator(philox).random(cells, "float32")
            if rank > 2:
                sides = [leaf.shape[axis] for axis in images.spatial_axes(rank, layout)]
                for axis, side in enumerate(sides):
                    # Nearest cell, so that a map is constant on blocks.
                    nearest = np.arange(side) * cells[axis] // side
                    drawn = np.take(drawn, nearest, axis=axis)
                drawn = np.moveaxis(drawn, -1, images.channel_axis(rank, layout) - 1)
            maps.append(drawn)
        return np.stack(maps)[:, None]
