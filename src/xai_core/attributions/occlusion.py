"""Occlusion: what the score loses when a part of the input is replaced."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from xai_core import _baselines, _checks, images, perturbation
from xai_core._request import Group, Request
from xai_core._scoring import score_step
from xai_core.attributions import background, parts
from xai_core.attributions.base import AbstractExplainer
from xai_core.attributions.parts import Cells, Groups, Patches
from xai_core.attributions.running import Maps
from xai_core.perturbation import Absent
from xai_core.typing import Array

_PARTS = {3: 16, 4: 7, 5: 4}
"""Number of patches along each axis of space or time, by the rank of the inputs."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Occlusion(AbstractExplainer):
    r"""Drop of the score when a patch is replaced by a baseline, averaged over the patches.

    .. math:: \phi_i = \frac{1}{|\{P \ni i\}|} \sum_{P \ni i}
        \bigl(s(x) - s(x_{[x_P = b_P]})\bigr)

    The patches lie on a grid with its last row and column at the border, so that every element is
    covered. With ``feature_mask`` the parts are groups of elements (feature ablation).
    ``features`` of the Explanation holds the drop of each part: patches in C order of their first
    elements, channels last, groups by their number, then NaN where another input has more.

    Parameters
    ----------
    model : model, function or estimator
        Any model that predicts.
    operator, output, batch_size, progress
        As for every explainer: see `AbstractExplainer`.
    patch_size : int or tuple of int, optional
        Elements of a patch along each axis of space or time, or columns of a table. By default
        one column of a table, a 16th of a series, a 7th of an image's sides, a 4th of a
        volume's, rounded up.
    patch_stride : int or tuple of int, optional
        Distance between patches, at most ``patch_size``, which is the default.
    baseline : number, array, "mean", "blur", callable or list, optional
        What stands in a patch: see `IntegratedGradients`. A list means the average of the scores.
        For a black box also NaN or objects; for a DataFrame an array of its columns' values, or a
        Series with the same names. 0 by default, which is refused where a column holds words.
    background : array or DataFrame, shape (B, ...), optional
        At most 100 rows of data that stand in a patch instead of a baseline; the scores are
        averaged over them. The mean over a data set of the absolute values is then the
        importance by permutation.
    feature_mask : array of int, optional
        Which group each element belongs to, instead of patches. It has the shape of one sample,
        with its channel axis or 1 in its place, or without it; or that of the inputs, for one
        mask per input.
    per_channel : bool, optional
        Mask each channel or feature by itself. By default True for series, where the map then has
        the inputs' shape, and False for images and volumes. Tables have no channels.

    Raises
    ------
    TypeError, ValueError
        If a field is wrong, at construction; if inputs or targets do not fit, or a patch is larger
        than the input, at the call.

    Notes
    -----
    Zeiler and Fergus, 2013, "Visualizing and Understanding Convolutional Networks",
    https://arxiv.org/abs/1311.2901. Overlapping patches are averaged, not added up.

    Examples
    --------
    >>> import numpy as np
    >>> weights = np.array([2.0, -3.0, 0.5])
    >>> occlusion = Occlusion(lambda x: x @ weights, operator="regression")
    >>> occlusion(np.array([[1.0, 2.0, 4.0]]), targets=0).values
    array([[ 2., -6.,  2.]], dtype=float32)
    """

    patch_size: int | tuple[int, ...] | None = None
    patch_stride: int | tuple[int, ...] | None = None
    baseline: Any = None
    background: Any = None
    feature_mask: Any = None
    per_channel: bool | None = None

    requires: ClassVar[str] = "predictions"
    source: ClassVar[str] = (
        "Zeiler and Fergus, 2013, Visualizing and Understanding Convolutional Networks, "
        "https://arxiv.org/abs/1311.2901"
    )

    def _check_fields(self) -> None:
        """Check patches, mask and baseline."""
        for name in ("patch_size", "patch_stride"):
            value = getattr(self, name)
            for size in value if isinstance(value, tuple) else (value,) * (value is not None):
                _checks.integer(name, size, minimum=1)
        if self.per_channel is not None:
            _checks.flag("per_channel", self.per_channel)
        background.check_field(self.background, self.baseline)
        _baselines.check_field(self._baseline, self._model.on_host)
        parts.check_mask(self.feature_mask, self, ("patch_size", "patch_stride", "per_channel"))

    @cached_property
    def _baseline(self) -> Any:
        return 0.0 if self.baseline is None else self.baseline

    def _check_request(self, request: Request) -> None:
        """Check that the patches or the mask fit the inputs."""
        leaves = request.batch.float_leaves()
        if self.feature_mask is not None and len(leaves) > 1:
            raise ValueError(
                f"`feature_mask` needs a model of one input. Received: {len(leaves)} inputs."
            )
        for leaf in leaves:
            self._cells(leaf.shape)
        if self.feature_mask is not None:
            rows, *shape = leaves[0].shape
            channel = self._channel(len(shape) + 1)
            request.decided["places"] = parts.places(self.feature_mask, shape, channel, rows)
        if self.background is not None:
            rows = background.leaves(self.background, request, averaged=True)
            request.decided["background"] = rows

    def rows(self, *shapes: Sequence[int]) -> Any:
        """Model rows of one input: its own score, and one for each part and baseline."""
        count = len(_baselines.as_list(self._baseline))
        if self.background is not None:
            count = background.length(self.background, self._model.several_inputs)
        if self.feature_mask is None:
            return 1 + count * sum(self._cells((1, *shape)).total for shape in shapes)
        shape = shapes[0]
        places = parts.places(self.feature_mask, shape, self._channel(len(shape) + 1))
        return 1 + count * parts.counts(places)

    def _channel(self, rank: int) -> int | None:
        """The axis of channels or features; a table has none."""
        return images.channel_axis(rank, self._model.layout(rank)) if rank > 2 else None

    def _cells(self, shape: Sequence[int]) -> Cells:
        """The patches of inputs of a shape, batch axis included."""
        rank, channel = len(shape), self._channel(len(shape))
        if rank == 2 and self.per_channel is not None:
            raise ValueError(
                "`per_channel` must be left out for a table, which has no channels. "
                f"Received: {self.per_channel!r}."
            )
        axes = tuple(axis for axis in range(1, rank) if axis != channel)
        sides = [shape[axis] for axis in axes]
        usual = [math.ceil(side / _PARTS[rank]) if rank > 2 else 1 for side in sides]
        sizes = parts.per_axis("patch_size", self.patch_size, usual)
        strides = parts.per_axis("patch_stride", self.patch_stride, sizes)
        for size, stride, side in zip(sizes, strides, sides, strict=True):
            if size > side:
                raise ValueError(
                    f"`patch_size` must be at most the input's side, {side}. Received: {size}."
                )
            if stride > size:
                raise ValueError(
                    f"`patch_stride` must be at most `patch_size`, {size}, so that every element "
                    f"is covered. Received: {stride}."
                )
        each = rank == 3 if self.per_channel is None else self.per_channel
        if channel is not None and each:
            axes, sizes = (*axes, channel), [*sizes, 1]
            sides, strides = [*sides, shape[channel]], [*strides, 1]
        starts = [
            [*range(0, side - size, stride), side - size]
            for side, size, stride in zip(sides, sizes, strides, strict=True)
        ]
        return Cells(axes, tuple(sizes), starts)

    def _maps(self, group: Group, reduced: bool) -> Maps:
        """Score every masked input, part by part of the model's inputs."""
        del reduced
        scores, targets = group.step(score_step, *group.inputs(), group.targets(), rows=len(group))
        absent = self._absent(group)
        values, features = [], []
        whole = group.on_host(scores)
        for k, leaf in enumerate(group.request.batch.float_leaves()):
            masks = self._masks(group, leaf, k)
            found = perturbation.scored(
                group, masks.perturbation, targets, absent, self._batch_size
            )
            if np.isfinite(whole).all():
                perturbation.check_finite(found.scores)
            drops = masks.arranged(found.scores, whole)
            values.append(group.to_device(masks.spread(drops)))
            features.append(group.to_device(drops))
        return Maps(tuple(values), scores, targets, {}, per_leaf={"features": tuple(features)})

    def _absent(self, group: Group) -> Absent:
        """What stands in a patch: baselines, or the rows of the background."""
        rows = group.request.decided.get("background")
        if rows is None:
            return perturbation.baselines(group, group.baselines(self._baseline))
        return perturbation.averaged(tuple(map(group.sent, rows)))

    def _masks(self, group: Group, leaf: Array, k: int) -> Patches | Groups:
        if self.feature_mask is None:
            return Patches(self._cells(leaf.shape), len(group), leaf.shape, k)
        return Groups(group.request.decided["places"], group)
