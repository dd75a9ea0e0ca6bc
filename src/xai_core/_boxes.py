"""Targets of a detector: boxes of its predictions, and the formats that boxes come in."""

from __future__ import annotations

from typing import Any

import numpy as np

from xai_core import _checks
from xai_core._columns import numbers
from xai_core._detection import CLASSES, CORNERS, SCORE, overlap
from xai_core.typing import Array

FORMATS = ("xyxy", "xywh", "cxcywh")


def boxes(
    outputs: Any,
    *,
    count: int | None = None,
    threshold: float = 0.5,
    max_overlap: float | None = 0.5,
    class_index: int | None = None,
) -> Array:
    """The best boxes that a detector predicts, as targets of `operators.object_detection`.

    Boxes are taken by objectness, the highest first, without those that overlap a better one of
    the same class (non-maximum suppression).

    Parameters
    ----------
    outputs : array or tensor, shape (N, P, 4 + 1 + K)
        What the detector returns: corners x1, y1, x2, y2, objectness, class scores.
    count : int, optional
        At most so many of each input.
    threshold : float
        Least objectness of a box.
    max_overlap : float, optional
        Largest intersection over union of two boxes of one class; None keeps all.
    class_index : int, optional
        Only boxes whose highest class score is that of this class.

    Returns
    -------
    array of float32, shape (N, B, 4 + 1 + K)
        Rows of zeros fill up inputs with fewer boxes than others. ``found[:, 0]`` is the best
        box of each input, ``list(found.swapaxes(0, 1))`` one target per box for `explain_each`.

    Raises
    ------
    TypeError, ValueError
        If an input has no such box, or boxes are not corners.

    Examples
    --------
    >>> import numpy as np
    >>> outputs = np.array([[[0, 0, 4, 4, 0.9, 1.0], [0, 0, 4, 3, 0.8, 1.0], [5, 5, 6, 6, 0.6, 1]]])
    >>> boxes(outputs)[0, :, 4]
    array([0.9, 0.6], dtype=float32)
    """
    array = _predictions(outputs)
    if count is not None:
        _checks.integer("count", count, minimum=1)
    _checks.number("threshold", threshold)
    if max_overlap is not None:
        _checks.number("max_overlap", max_overlap, minimum=0.0, maximum=1.0)
    if class_index is not None:
        classes = array.shape[2] - CLASSES.start
        if not 0 <= _checks.integer("class_index", class_index) < classes:
            raise ValueError(
                f"`class_index` must be from 0 to {classes - 1}. Received: {class_index}."
            )
    each = [
        _best(row[_candidates(n, row, threshold, class_index)], max_overlap)[:count]
        for n, row in enumerate(array)
    ]
    most = max(map(len, each))
    return np.stack([np.pad(one, [(0, most - len(one)), (0, 0)]) for one in each])


def convert_boxes(boxes: Any, source: str, target: str = "xyxy") -> Array:
    """The same boxes in another format.

    Parameters
    ----------
    boxes : array or tensor, shape (..., 4 or more)
        The first four columns are the box, further ones stay as they are. Rows of zeros are
        padding and stay.
    source, target : {"xyxy", "xywh", "cxcywh"}
        Corners; first corner, width and height; or centre, width and height.

    Returns
    -------
    array of float32, shape of ``boxes``
        The operators of detection take corners, ``"xyxy"``.

    Raises
    ------
    TypeError, ValueError
        If boxes have no size in the format that they are said to have.

    Examples
    --------
    >>> convert_boxes([[10, 20, 30, 40]], "xywh")
    array([[10., 20., 40., 60.]], dtype=float32)
    """
    _checks.choice("source", source, FORMATS)
    _checks.choice("target", target, FORMATS)
    array = _rows("boxes", boxes)
    first, second = array[..., :2], array[..., 2:4]
    size = second - first if source == "xyxy" else second
    _check_sizes("boxes", array, size, source)
    low = first - size / 2 if source == "cxcywh" else first
    start = low + size / 2 if target == "cxcywh" else low
    end = low + size if target == "xyxy" else size
    return np.concatenate([start, end, array[..., 4:]], axis=-1)


def normalize_boxes(boxes: Any, *, width: float, height: float) -> Array:
    """Corners in pixels as shares of the image's sides.

    Parameters
    ----------
    boxes : array or tensor, shape (..., 4 or more)
        Corners x1, y1, x2, y2 in pixels; further columns stay as they are, and rows of zeros.
    width, height : float
        Sides of the image, in pixels.

    Returns
    -------
    array of float32, shape of ``boxes``
        Corners within about 0 and 1.

    Raises
    ------
    TypeError, ValueError
        If boxes are no corners, have their centre outside the image, or look normalised already.

    Examples
    --------
    >>> normalize_boxes([[10, 20, 40, 60]], width=100, height=200)
    array([[0.1, 0.1, 0.4, 0.3]], dtype=float32)
    """
    array = _rows("boxes", boxes)
    sides = _sides(width, height)
    real = check_corners("boxes", array)
    if real.size and (np.abs(real[..., CORNERS]) <= 1).all():
        raise ValueError(
            "`boxes` must be in pixels. Received: boxes within the first pixel, such as "
            f"{_shown(real[0])}. They seem to be normalised already."
        )
    _check_centres(real, sides[:2], "the image")
    return np.concatenate([array[..., CORNERS] / sides, array[..., 4:]], axis=-1)


def denormalize_boxes(boxes: Any, *, width: float, height: float) -> Array:
    """Corners as shares of the image's sides in pixels.

    Parameters
    ----------
    boxes : array or tensor, shape (..., 4 or more)
        Corners x1, y1, x2, y2 as shares; further columns stay as they are, and rows of zeros.
    width, height : float
        Sides of the image, in pixels.

    Returns
    -------
    array of float32, shape of ``boxes``
        Corners in pixels.

    Raises
    ------
    TypeError, ValueError
        If boxes are no corners, or have their centre outside 0 and 1.

    Examples
    --------
    >>> denormalize_boxes([[0.25, 0.5, 0.5, 0.75]], width=100, height=200)
    array([[ 25., 100.,  50., 150.]], dtype=float32)
    """
    array = _rows("boxes", boxes)
    sides = _sides(width, height)
    real = check_corners("boxes", array)
    _check_centres(real, np.ones(2, "float32"), "0 and 1, as those of normalised boxes")
    return np.concatenate([array[..., CORNERS] * sides, array[..., 4:]], axis=-1)


def check_corners(name: str, array: Array) -> Array:
    """The rows that are no padding, which must be corners x1 < x2, y1 < y2."""
    corners = array[..., CORNERS]
    _check_sizes(name, array, corners[..., 2:] - corners[..., :2], "xyxy")
    return array[array.any(axis=-1)]


def _check_sizes(name: str, array: Array, size: Array, source: str) -> None:
    wrong = (size <= 0).any(axis=-1) & array.any(axis=-1)
    if wrong.any():
        rule = "corners with x1 < x2 and y1 < y2" if source == "xyxy" else "of positive size"
        place = tuple(int(k) for k in np.argwhere(wrong)[0])
        raise ValueError(
            f"`{name}` must be boxes, {rule}. Received: {_shown(array[wrong][0])} at {place}, and "
            f"{int(wrong.sum()) - 1} more. `targets.convert_boxes` takes {', '.join(FORMATS)}."
        )


def _check_centres(real: Array, sides: Array, inside: str) -> None:
    centres = (real[..., 0:2] + real[..., 2:4]) / 2
    wrong = ((centres < 0) | (centres > sides)).any(axis=-1)
    if wrong.any():
        raise ValueError(
            f"`boxes` must have their centres inside {inside}. "
            f"Received: {_shown(real[wrong][0])}, and {int(wrong.sum()) - 1} more."
        )


def _shown(row: Array) -> str:
    return f"({', '.join(format(float(one), '.4g') for one in row[CORNERS])})"


def _sides(width: Any, height: Any) -> Array:
    for name, side in (("width", width), ("height", height)):
        if _checks.number(name, side) <= 0:
            raise ValueError(f"`{name}` must be positive. Received: {side}.")
    return np.array([width, height, width, height], "float32")


def _rows(name: str, value: Any) -> Array:
    array = numbers(name, value).astype("float32", copy=False)
    if array.ndim == 0 or array.shape[-1] < 4:
        raise ValueError(
            f"`{name}` must have four columns or more, (..., 4). Received: shape {array.shape}."
        )
    return array


def _predictions(outputs: Any) -> Array:
    array = numbers("outputs", outputs).astype("float32", copy=False)
    if array.ndim != 3 or array.shape[-1] <= CLASSES.start:
        raise ValueError(
            "`outputs` must have the shape (N, P, 4 + 1 + K), P boxes of each input with corners, "
            f"objectness and K classes. Received: shape {array.shape}."
        )
    return array


def _candidates(n: int, row: Array, threshold: float, class_index: int | None) -> Array:
    """Indices of the boxes of one input that may be taken, the best first."""
    wanted = row[:, SCORE] >= threshold
    if class_index is not None:
        wanted &= row[:, CLASSES].argmax(axis=1) == class_index
    if not wanted.any():
        highest = row[:, SCORE].max(initial=-np.inf)
        of_class = "" if class_index is None else f" of class {class_index}"
        raise ValueError(
            f"`threshold` must leave a box{of_class} in every row of `outputs`. Received: "
            f"{threshold}, while row {n} has none; its highest objectness is {highest:.4g}."
        )
    corners = (row[:, 0] < row[:, 2]) & (row[:, 1] < row[:, 3])
    if not (wanted & corners).any():
        check_corners("outputs", row[wanted])
    found = np.flatnonzero(wanted & corners)
    return found[np.argsort(-row[found, SCORE], kind="stable")]


def _best(row: Array, max_overlap: float | None) -> Array:
    """Sorted boxes of one input without those that overlap a better one of their class."""
    if max_overlap is None:
        return row
    classes = row[:, CLASSES].argmax(axis=1)
    left, kept = np.arange(len(row)), []
    while left.size:
        best, left = left[0], left[1:]
        kept.append(best)
        shared = overlap(row[None, left, CORNERS], row[None, best : best + 1, CORNERS])[0, 0]
        left = left[(shared <= max_overlap) | (classes[left] != classes[best])]
    return row[kept]
