"""What methods share that score an input under many masks drawn by a design."""

from __future__ import annotations

import abc
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from keras import ops

from xai_core import _baselines, _checks, images, perturbation
from xai_core._request import Group, Request
from xai_core.attributions import background, cells, parts, running
from xai_core.attributions.base import AbstractExplainer
from xai_core.attributions.cells import Grid, Labelled
from xai_core.attributions.plans import CellPlan
from xai_core.attributions.rounds import Plan, Rounds, Standing
from xai_core.attributions.running import Maps
from xai_core.attributions.shifted import ShiftedPlan
from xai_core.estimators import Design

CELLS = {3: 16, 4: 7, 5: 4}
"""Cells along each axis of space or time, by the rank of the inputs."""


@dataclass(frozen=True, eq=False, kw_only=True)
class AbstractSampled(AbstractExplainer):
    """One number per cell of the input, from the scores under many masks.

    Parameters
    ----------
    grid_size : int or tuple of int, optional
        Number of cells along each axis of space or time. By default one per column of a table,
        16 windows of a series, 7 along an image's sides, 4 along a volume's.
    feature_mask : array of int, optional
        Which cell each element belongs to, instead of a grid. It has the shape of one sample,
        with its channel axis or 1 in its place, or without it; or that of the inputs, for one
        mask per input.
    per_channel : bool, optional
        Mask each channel or feature by itself. By default True for series, where the map then has
        the inputs' shape, and False for images and volumes. Tables have no channels.
    baseline : number, array, "mean", "blur", callable or list, optional
        What stands in a masked cell: see `IntegratedGradients`; 0 by default. A list means the
        average of the scores.
    background : array, shape (B, ...), optional
        Rows of data that stand in masked cells instead of a baseline.
    tolerance : float, optional
        Stop as soon as the mean standard error of the cells is at most this share of the largest
        absolute value of a cell; looked at after 256, 512, 1,024, ... masks.
    seed : int
        From 0 to 2**64 - 1. All inputs have the same masks, on every backend and for every batch
        size.
    """

    grid_size: int | tuple[int, ...] | None = None
    feature_mask: Any = None
    per_channel: bool | None = None
    baseline: Any = None
    background: Any = None
    tolerance: float | None = None
    seed: int = 0

    requires: ClassVar[str] = "predictions"
    smooth: ClassVar[bool] = False
    shifted: ClassVar[bool] = False
    averages_background: ClassVar[bool] = False
    way_to_errors: ClassVar[str] = "Raise `n_samples`."
    """What to do where a tolerance is refused for want of errors."""
    # Not annotated, for they are fields or properties of some classes.
    interactions = False
    keeps_parts = False
    link = "identity"
    _usual_cells = CELLS

    @abc.abstractmethod
    def _design(self, count: int) -> Design:
        """The masks over a number of cells."""

    @abc.abstractmethod
    def _check_design(self) -> None:
        """Check the fields of the design."""

    def _check_fields(self) -> None:
        """Check design, cells, baseline, background, tolerance and seed."""
        self._check_design()
        for size in self.grid_size if isinstance(self.grid_size, tuple) else (self.grid_size,):
            if size is not None:
                _checks.integer("grid_size", size, minimum=1)
        if self.per_channel is not None:
            _checks.flag("per_channel", self.per_channel)
        parts.check_mask(self.feature_mask, self, ("grid_size", "per_channel"))
        background.check_field(self.background, self.baseline)
        _baselines.check_field(self._baseline, self._model.on_host)
        _checks.seed(self.seed)
        if self.tolerance is not None:
            _checks.number("tolerance", self.tolerance, minimum=0)
            self._check_errors(self._design(1))

    def _check_errors(self, design: Design) -> None:
        """Raise if a tolerance could never be met."""
        if self.tolerance is not None and design.without_error is not None:
            raise ValueError(
                f"`tolerance` needs standard errors, which {type(self).__name__} has none of "
                f"{design.without_error}. Received: {self.tolerance}. {self.way_to_errors}"
            )

    @cached_property
    def _baseline(self) -> Any:
        return 0.0 if self.baseline is None else self.baseline

    def _check_request(self, request: Request) -> None:
        """Check that cells and background fit the inputs, and that there is a design for them."""
        leaves = request.batch.float_leaves()
        if self.feature_mask is not None:
            if len(leaves) > 1:
                raise ValueError(
                    f"`feature_mask` needs a model of one input. Received: {len(leaves)} inputs."
                )
            rows, *shape = leaves[0].shape
            channel = self._channel(len(shape) + 1)
            request.decided["places"] = parts.places(self.feature_mask, shape, channel, rows)
        if len(leaves) > 1 and self.interactions:
            raise ValueError(
                f"`interactions` needs a model of one input. Received: {len(leaves)} inputs."
            )
        if self.keeps_parts and any(leaf.dtype == object for leaf in leaves):
            raise TypeError(
                f"`inputs` must be numbers for `{type(self).__name__}`, whose masks keep a cell in "
                "part. Received: objects. KernelSHAP, ShapleySampling and LIME take them."
            )
        if self.background is not None:
            averaged = self.averages_background
            rows = background.leaves(self.background, request, averaged)
            request.decided["background"] = tuple(rows)
        for count in self._counts([leaf.shape[1:] for leaf in leaves]):
            self._check_errors(self._design(count))

    def _channel(self, rank: int) -> int | None:
        """The axis of channels or features; a table has none."""
        return images.channel_axis(rank, self._model.layout(rank)) if rank > 2 else None

    def _grid(self, shape: Sequence[int]) -> Grid:
        """The cells of inputs of a shape, batch axis included."""
        rank, channel = len(shape), self._channel(len(shape))
        for name in ("grid_size", "per_channel") if rank == 2 else ():
            if getattr(self, name) is not None:
                raise ValueError(
                    f"`{name}` must be left out for a table, which has a cell for each column. "
                    f"Received: {getattr(self, name)!r}."
                )
        sides = [shape[axis] for axis in range(1, rank) if axis != channel]
        usual = [min(self._usual_cells.get(rank, side), side) for side in sides]
        counts = parts.per_axis("grid_size", self.grid_size, usual)
        for count, side in zip(counts, sides, strict=True):
            if count > side:
                raise ValueError(
                    f"`grid_size` must be at most the input's side, {side}. Received: {count}."
                )
        each = rank == 3 if self.per_channel is None else self.per_channel
        return cells.grid(shape, channel, counts, each, self.smooth)

    def _counts(self, shapes: Sequence[Sequence[int]]) -> list[int]:
        """The number of cells of each input, or of all of them."""
        if self.feature_mask is None:
            return [sum(self._grid((1, *shape)).size(0) for shape in shapes)]
        shape = shapes[0]
        places = parts.places(self.feature_mask, shape, self._channel(len(shape) + 1))
        return [int(count) for count in parts.counts(places)]

    def rows(self, *shapes: Sequence[int]) -> Any:
        """Model rows of one input: its own score, and one for each mask and what stands in it."""
        turns = 1
        if self.background is None:
            turns = len(_baselines.as_list(self._baseline))
        elif self.averages_background:
            turns = background.length(self.background, self._model.several_inputs)
        totals = [self._design(count).total for count in self._counts(shapes)]
        return 1 + turns * (totals[0] if len(totals) == 1 else np.array(totals))

    def _plan(self, group: Group) -> Plan:
        """The masks of a group of inputs."""
        found = self._cells(group)
        grids = [one for one in found if isinstance(one, Grid) and len(one.sides) > 1]
        if self.shifted and len(grids) == len(found):
            return ShiftedPlan(grids, self._design(sum(one.size(0) for one in grids)))
        return CellPlan(found, self._design, len(group), self._blend(), self._share)

    def _cells(self, group: Group) -> list[Grid | Labelled]:
        decided = group.request.decided
        if "places" not in decided:
            return [self._grid(leaf.shape) for leaf in group.request.batch.float_leaves()]
        every = decided["places"]
        own = every[group.rows] if len(every) > 1 else every
        sent = group.to_device(own) if len(every) > 1 else group.sent(own)
        return [Labelled(own, sent)]

    def _share(self, count: int) -> int:
        """Number of consecutive masks over some cells that share a drawn row of the background."""
        del count
        return 1

    def _blend(self) -> Callable[..., Any]:
        return perturbation.replaced

    def _standing(self, group: Group) -> Standing:
        """What stands in masked cells."""
        rows = group.request.decided.get("background")
        if rows is None:
            return Standing(self._starts(group), None, False, self.seed)
        sent = tuple(group.sent(leaf) for leaf in rows)
        return Standing(None, sent, self.averages_background, self.seed)

    def _starts(self, group: Group) -> list[tuple[Any, ...]]:
        return group.baselines(self._baseline)

    def _rounds(self, group: Group) -> Rounds:
        return Rounds(group, self._plan(group), self._standing(group), self._batch_size)

    def _maps(self, group: Group, reduced: bool) -> Maps:
        """Score masks until there are enough."""
        del reduced
        rounds = self._rounds(group)
        if self.tolerance is None:
            rounds.finish()
        else:
            while not rounds.done:
                rounds.advance()
                rounds.settle(self.tolerance)
        return self._known(rounds)

    def _known(self, rounds: Rounds) -> Maps:
        """What is known after some rounds, with the scores on the scale of the attributions."""
        maps = rounds.maps(self.tolerance)
        if self.link == "identity":
            return maps
        p: Any = maps.scores
        scores = np.log(p / (1 - p)) if self._model.on_host else ops.log(p / (1 - p))
        note = "Scores, base values and contributions are log-odds."
        return maps._replace(scores=scores, notes=(*maps.notes, note))

    def refine(self, inputs: Any, targets: Any = None) -> Iterator[Any]:
        """Explain a batch better and better.

        Parameters
        ----------
        inputs, targets
            As for a call.

        Yields
        ------
        Explanation
            After 256, 512, 1,024, ... masks, with the errors so far; the last is what a call
            returns. Rows are sent when the next one is asked for.

        Raises
        ------
        TypeError, ValueError
            If an argument does not fit the model.
        """
        return running.refined(self, self._request(inputs, [targets]))
