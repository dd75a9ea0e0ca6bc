"""Targets of a segmentation: zones of a class, connected zones, and their borders."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from scipy import ndimage

from xai_core import _checks
from xai_core._columns import numbers
from xai_core._inputs import host
from xai_core.typing import Array

_FORMATS = ("channels_last", "channels_first")


class _Segments(NamedTuple):
    """The predicted class of each position (N, *space), and where the classes stand."""

    classes: Array
    total: int
    axis: int


def zone(
    outputs: Any,
    class_index: Any = None,
    *,
    at: Any = None,
    data_format: str = "channels_last",
) -> Array:
    """Where a class is predicted, as targets of `operators.semantic_segmentation`.

    Parameters
    ----------
    outputs : array or tensor, shape (N, H, W, K) or (N, K, H, W)
        What the model returns, one column per class; also of series and volumes.
    class_index : int or (N,) integers, optional
        The class whose whole zone is marked.
    at : tuple of int or (N, 2) integers, optional
        A position instead of a class: the connected zone around it is marked, of the class that
        is predicted there. Positions connect by their sides.
    data_format : {"channels_last", "channels_first"}
        Where the axis of classes stands.

    Returns
    -------
    array of float32, shape of the outputs
        1 in the column of the class where it is predicted, 0 elsewhere.

    Raises
    ------
    TypeError, ValueError
        If the class is absent from a row, or the position is outside.

    Examples
    --------
    >>> import numpy as np
    >>> outputs = np.array([[[0.9, 0.1], [0.2, 0.8], [0.3, 0.7]]])
    >>> zone(outputs, 1)[0, :, 1]
    array([0., 1., 1.], dtype=float32)
    """
    found = _segments(outputs, data_format)
    if (class_index is None) == (at is None):
        raise ValueError(
            "`class_index` or `at` must be given, and not both. "
            f"Received: class_index={class_index!r}, at={at!r}."
        )
    if class_index is not None:
        chosen = _chosen(found, class_index)
        return _marked(found, found.classes == _per_row(chosen, found.classes), chosen)
    places = _places(found, at)
    rows = np.arange(len(found.classes))
    chosen = found.classes[(rows, *places.T)]
    inside = []
    for row, place, one in zip(found.classes, places, chosen, strict=True):
        labels = _numbered(row == one)
        inside.append(labels == labels[tuple(place)])
    return _marked(found, np.stack(inside), chosen)


def zones(
    outputs: Any,
    class_index: Any,
    *,
    minimum_size: int = 1,
    data_format: str = "channels_last",
) -> list[Array]:
    """The connected zones of a class in each segmentation, the largest first.

    ``list(zones(outputs, k)[n])`` are the targets with which ``explain_each(x[n:n+1], ...)`` gives
    one map per zone of row n.

    Parameters
    ----------
    outputs : array or tensor, shape (N, H, W, K) or (N, K, H, W)
        What the model returns, one column per class; also of series and volumes.
    class_index : int or (N,) integers
        The class.
    minimum_size : int
        Zones of fewer positions are left out. Positions connect by their sides.
    data_format : {"channels_last", "channels_first"}
        Where the axis of classes stands.

    Returns
    -------
    list of N arrays of float32, shape (Z, 1, H, W, K) or (Z, 1, K, H, W)
        As `zone` marks them, Z zones of each row.

    Raises
    ------
    TypeError, ValueError
        If the class is absent from a row, or all its zones there are smaller.

    Examples
    --------
    >>> import numpy as np
    >>> outputs = np.array([[[0.1, 0.9], [0.7, 0.3], [0.3, 0.7], [0.4, 0.6]]])
    >>> [one[0, :, 1].tolist() for one in zones(outputs, 1)[0]]
    [[0.0, 0.0, 1.0, 1.0], [1.0, 0.0, 0.0, 0.0]]
    """
    _checks.integer("minimum_size", minimum_size, minimum=1)
    found = _segments(outputs, data_format)
    chosen = _chosen(found, class_index)
    every = []
    for n, (row, one) in enumerate(zip(found.classes, chosen, strict=True)):
        labels = _numbered(row == one)
        sizes = np.bincount(labels.ravel())[1:]
        order = np.argsort(-sizes, kind="stable")
        kept = [k for k in order if sizes[k] >= minimum_size]
        if not kept:
            raise ValueError(
                "`minimum_size` must leave a zone in every row. Received: "
                f"{minimum_size}, while the largest zone of row {n} has {sizes.max()} positions."
            )
        inside = np.stack([labels == k + 1 for k in kept])
        every.append(_marked(found, inside, np.full(len(kept), one))[:, None])
    return every


def border(zone: Any, *, towards: Any = None, data_format: str = "channels_last") -> Array:
    """The border of a zone: 1 on its inner side, -1 on its outer side.

    A position is on the border if one of those around it, also diagonally, is on the other side;
    the edge of the image is none.

    Parameters
    ----------
    zone : array, shape (N, H, W, K) or (N, K, H, W)
        As `zone` makes it: 1 inside, 0 outside.
    towards : array, shape of the zone, optional
        Another zone: only the border between both is marked.
    data_format : {"channels_last", "channels_first"}
        Where the axis of classes stands.

    Returns
    -------
    array of float32, shape of the zone
        In the zone's own columns.

    Raises
    ------
    TypeError, ValueError
        If there is no border in a row, or values other than 0 and 1.

    Examples
    --------
    >>> import numpy as np
    >>> inside = np.array([0.0, 0.0, 1.0, 1.0, 1.0, 0.0])
    >>> border(inside[None, :, None])[0, :, 0]
    array([ 0., -1.,  1.,  0.,  1., -1.], dtype=float32)
    """
    inside = _flags("zone", zone)
    axis = _class_axis(inside.ndim, data_format)
    around = np.ones([1 if k in (0, axis) else 3 for k in range(inside.ndim)], bool)
    outside = ~inside
    if towards is not None:
        other = _flags("towards", towards)
        if other.shape != inside.shape:
            raise ValueError(
                f"`towards` must have the shape of `zone`, {inside.shape}. Received: {other.shape}."
            )
        outside &= other.any(axis=axis, keepdims=True)
    inner = inside & ndimage.binary_dilation(outside, around)
    outer = outside & ndimage.binary_dilation(inside, around)
    empty = np.flatnonzero(~inner.reshape(len(inner), -1).any(axis=1))
    if empty.size:
        reason = "has no border" if towards is None else "does not touch `towards`"
        raise ValueError(
            f"`zone` must have a border in every row. Received: a zone that {reason} in row "
            f"{empty[0]}."
        )
    return inner.astype("float32") - outer.astype("float32")


def _class_axis(rank: int, data_format: str) -> int:
    _checks.choice("data_format", data_format, _FORMATS)
    return 1 if data_format == "channels_first" else rank - 1


def _segments(outputs: Any, data_format: str) -> _Segments:
    array = numbers("outputs", outputs)
    axis = _class_axis(array.ndim, data_format)
    if not 3 <= array.ndim <= 5 or array.shape[axis] < 2:
        raise ValueError(
            "`outputs` must have positions and two classes or more, (N, H, W, K), or (N, K, H, W) "
            f'with data_format="channels_first". Received: shape {array.shape}. '
            "Of one column a mask is (outputs > threshold)."
        )
    return _Segments(array.argmax(axis=axis), array.shape[axis], axis)


def _numbered(inside: Array) -> Array:
    """The number of the connected zone of each position, 0 outside."""
    found: Any = ndimage.label(inside)
    return found[0]


def _per_row(values: Array, like: Array) -> Array:
    return values.reshape(-1, *[1] * (like.ndim - 1))


def _chosen(found: _Segments, class_index: Any) -> Array:
    """The class of each row, which must be there."""
    rows = len(found.classes)
    chosen = host(class_index, "class_index")
    if chosen.dtype.kind not in "iu":
        raise TypeError(f"`class_index` must be an integer. Received: {class_index!r}.")
    if chosen.shape not in ((), (rows,)):
        raise ValueError(
            f"`class_index` must be one class or one per row, ({rows},). "
            f"Received: shape {chosen.shape}."
        )
    chosen = np.broadcast_to(chosen, (rows,))
    for n, (row, one) in enumerate(zip(found.classes, chosen, strict=True)):
        if not 0 <= one < found.total:
            raise ValueError(
                f"`class_index` must be from 0 to {found.total - 1}. Received: {one}. "
                "Pass `data_format` if the classes stand on another axis."
            )
        if not (row == one).any():
            raise ValueError(
                "`class_index` must be a class that is predicted somewhere in every row. Received: "
                f"{one}, absent from row {n}, whose classes are {np.unique(row)[:20].tolist()}."
            )
    return chosen


def _places(found: _Segments, at: Any) -> Array:
    """A position in each row, (N, number of axes of space)."""
    sides = found.classes.shape[1:]
    places = host(at, "at")
    wanted = (len(found.classes), len(sides))
    if places.dtype.kind not in "iu" or places.shape not in (wanted[1:], wanted):
        raise ValueError(
            f"`at` must be a position of {len(sides)} integers, or one per row, {wanted}. "
            f"Received: {at!r}."
        )
    if ((places < 0) | (places >= np.array(sides))).any():
        raise ValueError(f"`at` must be inside the outputs' {sides}. Received: {at!r}.")
    return np.broadcast_to(places, wanted)


def _marked(found: _Segments, inside: Array, chosen: Array) -> Array:
    """Masks (N, *space) in the column of the class of each, the axis of classes put in."""
    columns = np.eye(found.total, dtype="float32")[chosen]
    shape = [len(chosen), *[1] * inside.ndim]
    shape[found.axis] = found.total
    return np.expand_dims(inside, found.axis) * columns.reshape(shape)


def _flags(name: str, mask: Any) -> Array:
    array = numbers(name, mask)
    if not 3 <= array.ndim <= 5:
        raise ValueError(
            f"`{name}` must have the shape of the outputs, (N, H, W, K). "
            f"Received: shape {array.shape}."
        )
    if not ((array == 0) | (array == 1)).all():
        odd = array[(array != 0) & (array != 1)][0]
        raise ValueError(f"`{name}` must hold 0 and 1 only. Received: {odd:.4g}.")
    return array == 1
