"""Occlusion: what the score loses when a part of the input is replaced."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np

from xai_core import _baselines, _checks, images, perturbation
from xai_core._inputs import host
from xai_core._request import Group, Request
from xai_core._scoring import score_step
from xai_core.attributions.base import AbstractExplainer
from xai_core.attributions.running import Maps
from xai_core.perturbation import Perturbation
from xai_core.typing import Array, Tensor

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
    baseline : number, array, "mean", "blur", callable or list
        What stands in a patch: see `IntegratedGradients`. A list means the average of the scores.
        For a black box also NaN or objects; for a DataFrame an array of its columns' values.
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
    baseline: Any = 0.0
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
        _baselines.check_field(self.baseline, self._model.on_host)
        if self.feature_mask is not None:
            self._check_mask()

    def _check_mask(self) -> None:
        mask = host(self.feature_mask, "feature_mask")
        if mask.dtype.kind not in "iu":
            raise TypeError(f"`feature_mask` must hold integers. Received: {mask.dtype}.")
        for name in ("patch_size", "patch_stride", "per_channel"):
            if getattr(self, name) is not None:
                raise ValueError(
                    f"`{name}` must be left out beside `feature_mask`. "
                    f"Received: {getattr(self, name)!r}."
                )

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
            _labels(self.feature_mask, leaves[0].shape, self._channel(leaves[0].ndim))

    def rows(self, *shapes: Sequence[int]) -> Any:
        """Model rows of one input: its own score, and one for each part and baseline."""
        count = len(_baselines.as_list(self.baseline))
        if self.feature_mask is None:
            return 1 + count * sum(self._cells((1, *shape)).count for shape in shapes)
        shape = (1, *shapes[0])
        labels = host(self.feature_mask)
        if labels.ndim == len(shape):
            shape = (len(labels), *shapes[0])
        own = _labels(labels, shape, self._channel(len(shape)))
        return 1 + count * np.array([len(np.unique(one)) for one in own])

    def _channel(self, rank: int) -> int | None:
        """The axis of channels or features; a table has none."""
        return images.channel_axis(rank, self._model.layout(rank)) if rank > 2 else None

    def _cells(self, shape: Sequence[int]) -> _Cells:
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
        sizes = _per_axis("patch_size", self.patch_size, usual)
        strides = _per_axis("patch_stride", self.patch_stride, sizes)
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
        return _Cells(axes, tuple(sizes), starts)

    def _maps(self, group: Group, reduced: bool) -> Maps:
        """Score every masked input, part by part of the model's inputs."""
        del reduced
        scores, targets = group.step(score_step, *group.inputs(), group.targets(), rows=len(group))
        baselines = group.baselines(self.baseline)
        values, features = [], []
        whole = group.on_host(scores)
        for k, leaf in enumerate(group.request.batch.float_leaves()):
            masks = self._masks(group, leaf, k)
            found = perturbation.scored(
                group, masks.perturbation, targets, baselines, self._batch_size
            )
            if np.isfinite(whole).all():
                _check_finite(found.scores)
            drops = masks.arranged(found.scores, whole)
            values.append(group.to_device(masks.spread(drops)))
            features.append(group.to_device(drops))
        return Maps(tuple(values), scores, targets, {}, per_leaf={"features": tuple(features)})

    def _masks(self, group: Group, leaf: Array, k: int) -> _Patches | _Groups:
        shape = leaf.shape
        if self.feature_mask is None:
            return _Patches(self._cells(shape), len(group), shape, k)
        decided = group.request.decided
        if "places" not in decided:
            labels = _labels(self.feature_mask, shape, self._channel(leaf.ndim))
            decided["places"] = np.stack([_numbered(one) for one in labels])
        return _Groups(decided["places"], group)


def _check_finite(scores: Array) -> None:
    bad = np.flatnonzero(~np.isfinite(scores).all(axis=1))
    if bad.size:
        raise ValueError(
            "`operator` must give finite scores of masked inputs. Received: NaN or infinity for "
            f"{bad.size} of {len(scores)}. Check what the model makes of `baseline`."
        )


def _numbered(labels: Array) -> Array:
    """The groups of one mask by consecutive numbers from 0."""
    return np.unique(labels, return_inverse=True)[1].reshape(labels.shape).astype("int32")


class _Cells(NamedTuple):
    """Boxes: along which axes, of which size, and where they start on each."""

    axes: tuple[int, ...]
    sizes: tuple[int, ...]
    starts: list[list[int]]

    @property
    def count(self) -> int:
        return math.prod(len(one) for one in self.starts)


class _Patches:
    """The patches of a group of inputs."""

    def __init__(self, cells: _Cells, rows: int, shape: Sequence[int], leaf: int) -> None:
        self._cells, self._shape = cells, shape
        self._corners = first = np.array(list(itertools.product(*cells.starts)), "int32")
        behind = first + np.array(cells.sizes, "int32")
        self.perturbation = Perturbation(
            cells.count * rows,
            lambda pair: (pair % rows, (first[pair // rows], behind[pair // rows])),
            _outside_boxes,
            (cells.axes,),
            leaf=leaf,
        )

    def arranged(self, scores: Array, whole: Array) -> Array:
        """The drops (n, M, d) from scores of pairs."""
        each = scores.reshape(self._cells.count, *whole.shape)
        return np.moveaxis(whole - each, 0, -1)

    def spread(self, drops: Array) -> Array:
        """The mean drop of the patches over each element, (n, M, ...)."""
        axes, sizes, _ = self._cells
        shape = [side if k in axes else 1 for k, side in enumerate(self._shape)][1:]
        total = np.zeros((*drops.shape[:2], *shape), drops.dtype)
        times = np.zeros(shape, drops.dtype)
        for k, corner in enumerate(self._corners):
            box = [slice(None)] * len(shape)
            for axis, start, size in zip(axes, corner, sizes, strict=True):
                box[axis - 1] = slice(start, start + size)
            total[(..., *box)] += drops[:, :, k].reshape(*drops.shape[:2], *[1] * len(shape))
            times[tuple(box)] += 1
        return total / times


def _outside_boxes(
    arrays: Any, x: Tensor, codes: Any, own: Any, settings: tuple[Any, ...]
) -> Tensor:
    """Everything but the box from the first corner of the code to before the second."""
    del own
    (first, behind), (axes,) = codes, settings
    rank = len(x.shape)
    inside: Any = None
    for k, axis in enumerate(axes):
        line = [1] * rank
        line[axis] = x.shape[axis]
        position = arrays.reshape(arrays.arange(x.shape[axis], dtype="int32"), line)
        low, high = (
            arrays.reshape(corner[:, k], (-1, *[1] * (rank - 1))) for corner in (first, behind)
        )
        along = arrays.logical_and(position >= low, position < high)
        inside = along if inside is None else arrays.logical_and(inside, along)
    return arrays.logical_not(inside)


class _Groups:
    """The groups of elements of a feature mask, which each input may have of its own."""

    def __init__(self, places: Array, group: Group) -> None:
        """``places`` numbers the groups of each mask, (1, ...) if it is that of all inputs."""
        own = places[group.rows] if len(places) > 1 else places
        counts = np.broadcast_to(_largest(own) + 1, (len(group),))
        self._row = row = np.repeat(np.arange(len(group)), counts)
        self._place = place = np.concatenate([np.arange(count) for count in counts])
        self._own, self._widest = own, places.max() + 1
        each = np.broadcast_to(own, (len(group), *own.shape[1:]))
        self.perturbation = Perturbation(
            len(row),
            lambda pair: (row[pair], (place[pair].astype("int32"),)),
            _outside_group,
            own=(group.to_device(np.ascontiguousarray(each)),),
        )

    def arranged(self, scores: Array, whole: Array) -> Array:
        """The drops (n, M, d) from scores of pairs; NaN where an input has fewer groups."""
        drops = np.full((*whole.shape, self._widest), np.nan, whole.dtype)
        drops[self._row, :, self._place] = whole[self._row] - scores
        return drops

    def spread(self, drops: Array) -> Array:
        """The drop of the group of each element, (n, M, ...)."""
        own = self._own
        return np.stack([one[:, own[k % len(own)]] for k, one in enumerate(drops)])


def _largest(places: Array) -> Array:
    return places.reshape(len(places), -1).max(axis=1)


def _outside_group(
    arrays: Any, x: Tensor, codes: Any, own: Any, settings: tuple[Any, ...]
) -> Tensor:
    """Everything but the elements of the group that the code names."""
    del settings
    return own[0] != arrays.reshape(codes[0], (-1, *[1] * (len(x.shape) - 1)))


def _per_axis(name: str, value: Any, usual: Sequence[int]) -> list[int]:
    if value is None:
        return list(usual)
    sizes = list(value) if isinstance(value, tuple) else [value] * len(usual)
    if len(sizes) != len(usual):
        raise ValueError(
            f"`{name}` must be one number, or one for each of {len(usual)} axes. "
            f"Received: {value!r}."
        )
    return sizes


def _labels(mask: Any, shape: Sequence[int], channel: int | None) -> Array:
    """The feature mask with a batch axis of 1 or N, and the channel axis of 1 or C."""
    labels = given = host(mask, "feature_mask")
    if channel is not None and labels.ndim == len(shape) - 2:
        labels = np.expand_dims(labels, channel - 1)
    if labels.ndim == len(shape) - 1:
        labels = labels[None]
    sides = [(side, 1) if k in (0, channel) else (side,) for k, side in enumerate(shape)]
    fits = labels.ndim == len(shape) and all(
        size in allowed for size, allowed in zip(labels.shape, sides, strict=True)
    )
    if not fits:
        raise ValueError(
            f"`feature_mask` must have the shape of one sample, {tuple(shape[1:])}, with or "
            f"without its channels, or of the inputs, {tuple(shape)}. "
            f"Received: shape {given.shape}."
        )
    return labels
