"""Operators of object detection: how well the predicted boxes agree with reference boxes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from keras import ops

from xai_core._arrays import functions_of, in_type_of
from xai_core.typing import Tensor

CORNERS, SCORE, CLASSES = slice(0, 4), 4, slice(5, None)
"""The columns of a box: x1, y1, x2, y2, objectness, then one per class."""
_KINK = 1e-3
"""Share of a reference box's side within which a predicted side counts as equal to its side."""


def object_detection(model: Callable[[Any], Tensor], inputs: Any, targets: Tensor) -> Tensor:
    r"""Agreement of predicted with reference boxes in position, objectness and class.

    .. math:: s_n = \frac{1}{B_n} \sum_{b=1}^{B_n} \max_j \;
        \mathrm{IoU}(t_{nb}, p_{nj}) \cdot o_{nj} \cdot \cos(c(t_{nb}), c(p_{nj}))

    Boxes are rows ``x1, y1, x2, y2, objectness, class 0, ..., class K - 1`` with corners in the
    model's own units, before or after non-maximum suppression. Rows of zeros are padding. Where
    no predicted box overlaps a reference box its term is 0, with a gradient of 0.

    Parameters
    ----------
    model : callable
        Maps inputs to predicted boxes (N, P, 4 + 1 + K).
    inputs : structure of tensors
        A batch of N rows.
    targets : tensor
        Reference boxes (N, B, 4 + 1 + K), or one per input, (N, 4 + 1 + K); their objectness is
        taken as 1. `targets.boxes` makes them of a model's predictions.

    Returns
    -------
    tensor
        Scores (N,).

    Notes
    -----
    Petsiuk et al., 2021, "Black-box Explanation of Object Detectors via Saliency Maps",
    https://arxiv.org/abs/2006.03204. Where a predicted box equals its reference, IoU has its
    maximum, a kink; its gradient is 0 there, in steps of less than a thousandth of the side.

    Examples
    --------
    >>> import numpy as np
    >>> reference = np.array([[0.0, 0.0, 2.0, 1.0, 1.0, 0.0, 1.0]])
    >>> predicted = np.array([[[1.0, 0.0, 3.0, 1.0, 0.9, 0.0, 1.0]]])
    >>> float(object_detection(lambda x: predicted, None, reference)[0].round(6))
    0.3
    """
    return _agreement(model(inputs), targets, objectness=True, classes=True)


def object_detection_box_position(
    model: Callable[[Any], Tensor], inputs: Any, targets: Tensor
) -> Tensor:
    r"""Agreement in position alone, the mean of :math:`\max_j \mathrm{IoU}(t_{nb}, p_{nj})`.

    Parameters
    ----------
    model, inputs, targets
        As for `object_detection`.

    Returns
    -------
    tensor
        Scores (N,).

    Examples
    --------
    >>> import numpy as np
    >>> box = np.array([[0.0, 0.0, 2.0, 1.0, 1.0, 1.0]])
    >>> float(object_detection_box_position(lambda x: 0.5 * box[None], None, box)[0])
    0.25
    """
    return _agreement(model(inputs), targets, objectness=False, classes=False)


def object_detection_box_proba(
    model: Callable[[Any], Tensor], inputs: Any, targets: Tensor
) -> Tensor:
    r"""Position and objectness, the mean of :math:`\max_j \mathrm{IoU}(t_{nb}, p_{nj})\, o_{nj}`.

    Parameters
    ----------
    model, inputs, targets
        As for `object_detection`.

    Returns
    -------
    tensor
        Scores (N,).

    Examples
    --------
    >>> import numpy as np
    >>> box = np.array([[0.0, 0.0, 2.0, 1.0, 0.9, 1.0]])
    >>> float(object_detection_box_proba(lambda x: box[None], None, box)[0])
    0.9
    """
    return _agreement(model(inputs), targets, objectness=True, classes=False)


def object_detection_box_class(
    model: Callable[[Any], Tensor], inputs: Any, targets: Tensor
) -> Tensor:
    r"""Position and class, :math:`\max_j \mathrm{IoU}(t_{nb}, p_{nj}) \cos(c(t_{nb}), c(p_{nj}))`.

    Parameters
    ----------
    model, inputs, targets
        As for `object_detection`; the mean is taken over the reference boxes.

    Returns
    -------
    tensor
        Scores (N,).

    Examples
    --------
    >>> import numpy as np
    >>> box = np.array([[0.0, 0.0, 2.0, 1.0, 0.9, 3.0, 4.0]])
    >>> other = np.array([[[0.0, 0.0, 2.0, 1.0, 0.1, 1.0, 0.0]]])
    >>> float(object_detection_box_class(lambda x: other, None, box)[0].round(6))
    0.6
    """
    return _agreement(model(inputs), targets, objectness=False, classes=True)


USES_CLASSES = (object_detection, object_detection_box_class)
EVERY = (*USES_CLASSES, object_detection_box_position, object_detection_box_proba)


def _agreement(outputs: Tensor, targets: Tensor, objectness: bool, classes: bool) -> Tensor:
    arrays = functions_of(outputs)
    if len(targets.shape) == 2:
        targets = targets[:, None]
    real = arrays.any(arrays.not_equal(targets, 0), axis=-1)
    targets = in_type_of(targets, outputs)
    scores = overlap(outputs[..., CORNERS], targets[..., CORNERS])
    if objectness:
        scores = scores * outputs[:, None, :, SCORE]
    if classes:
        scores = scores * _cosines(outputs[..., CLASSES], targets[..., CLASSES])
    # The maximum of no predictions is 0, as their sum is.
    best = arrays.sum(scores, axis=-1) if 0 in scores.shape else arrays.max(scores, axis=-1)
    counted = in_type_of(real, outputs)
    return arrays.sum(best * counted, axis=-1) / arrays.maximum(arrays.sum(counted, axis=-1), 1.0)


def overlap(boxes: Tensor, references: Tensor) -> Tensor:
    r"""Intersection over union, :math:`|A \cap B| / |A \cup B|`, of corners, (N, B, P).

    Parameters
    ----------
    boxes, references
        Corners (N, P, 4), and (N, B, 4) that are taken as constants.
    """
    arrays = functions_of(boxes)
    own = boxes[:, None]
    theirs = references[:, :, None]
    shared, sizes, areas = [], [], []
    for low, high in ((0, 2), (1, 3)):
        side = theirs[..., high] - theirs[..., low]
        near = _KINK * arrays.where(side > 0, side, 1.0)
        last = _smaller(own[..., high], theirs[..., high], near)
        first = -_smaller(-own[..., low], -theirs[..., low], near)
        shared.append(_positive(arrays, last - first))
        sizes.append(_positive(arrays, own[..., high] - own[..., low]))
        areas.append(_positive(arrays, side))
    both = shared[0] * shared[1]
    union = sizes[0] * sizes[1] + areas[0] * areas[1] - both
    return both / arrays.where(union > 0, union, 1.0)


def _positive(arrays: Any, x: Tensor) -> Tensor:
    # Unlike a maximum with 0 this has one gradient at 0 on every framework.
    return arrays.where(x > 0, x, 0.0 * x)


def _smaller(own: Tensor, constant: Tensor, near: Tensor) -> Tensor:
    """The smaller of two, whose gradient is a half where they are equal.

    A target is often a prediction of the model itself, equal up to rounding. Without this,
    rounding would choose on which side of the kink each gradient is taken.
    """
    arrays = functions_of(own)
    exact = arrays.minimum(own, constant)
    if arrays is np:
        return exact
    share = ops.clip(0.5 - (own - constant) / (2.0 * near), 0.0, 1.0)
    stop = ops.stop_gradient
    return stop(exact) + stop(share) * (own - stop(own))


def _cosines(classes: Tensor, references: Tensor) -> Tensor:
    """Cosines of class scores (N, P, K) and references (N, B, K), (N, B, P)."""
    arrays = functions_of(classes)
    products = arrays.matmul(references, arrays.swapaxes(classes, 1, 2))
    squares = (
        arrays.sum(references * references, axis=-1)[..., None]
        * (arrays.sum(classes * classes, axis=-1)[:, None])
    )
    return products / arrays.sqrt(arrays.where(squares > 0, squares, 1.0))
