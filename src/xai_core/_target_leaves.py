"""The targets of a call, checked for the operator that takes them, as leaves (N, M, ...)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np

from xai_core import _detection, operators, targets
from xai_core._boxes import check_corners
from xai_core._columns import numbers
from xai_core._detection import CLASSES
from xai_core._inputs import host
from xai_core._representations import Neuron
from xai_core.typing import Array, Operator

Leaves = tuple[tuple[Array, ...], Any]
"""Arrays (N, M, ...) for M explanations of N rows, and the structure of one target."""


def check_output(operator: Operator, output: str) -> None:
    """Refuse another form of the output where an operator cannot have it."""
    detection = any(operator is one for one in _detection.EVERY)
    if output != "raw" and (detection or isinstance(operator, Neuron)):
        reason = "reads a layer" if isinstance(operator, Neuron) else "takes boxes as they are"
        raise ValueError(
            f'`output` must be "raw" for {operators.name_of(operator)}, which {reason}. '
            f"Received: {output!r}."
        )


def checked(
    model: Any, operator: Operator, shape: tuple[int, ...], rows: int, asked: Sequence[Any]
) -> Leaves:
    """The targets of each explanation that is asked for; none for the predicted class.

    ``shape`` is that of the model's output for one row, batch axis included.
    """
    if not asked:
        return (), 0
    if operator in (operators.classification, operators.regression):
        return _columns(model, operator, shape, rows, asked), 0
    if isinstance(operator, Neuron):
        return _nothing(operator, asked)
    for known, check in _CHECKS:
        if operator is known:
            return (_stacked([check(operator, one, shape, rows) for one in asked]),), 0
    return _custom(model, rows, asked)


def output_columns(shape: tuple[int, ...]) -> int:
    """Number of columns of an output that is (N,) or (N, K)."""
    if len(shape) > 2:
        raise ValueError(
            "`operator` must say how outputs of more than two axes become one score per row. "
            f"Received: a classification or regression of outputs of shape {('N', *shape[1:])}. "
            'Pass operator="semantic_segmentation" with targets of the outputs\' shape '
            '(`targets.zone`), operator="object_detection" with boxes (`targets.boxes`), or a '
            "callable (model, inputs, targets) -> (N,)."
        )
    return shape[1] if len(shape) == 2 else 1


def every_column(operator: Operator, shape: tuple[int, ...]) -> list[int]:
    """The targets that ``"all"`` stands for."""
    columns = output_columns(shape)
    return [0, 1] if columns == 1 and operator is operators.classification else [*range(columns)]


def _columns(
    model: Any, operator: Operator, shape: Any, rows: int, asked: Sequence[Any]
) -> tuple[Array, ...]:
    columns = output_columns(shape)
    classification = operator is operators.classification
    if any(one is None for one in asked):
        if not classification and columns > 1:
            raise ValueError(
                f"`targets` must say which of the {columns} columns is explained in a regression. "
                "Received: None. Pass an index, or weights of shape (N, K) such as those of "
                "`targets.contrast`."
            )
        _check_one(asked)
        return ()
    classes = 2 if classification and columns == 1 else columns
    _check_labels(model, asked)
    each = [targets.encode(one, rows, columns, model.class_names, classes) for one in asked]
    if all(one.ndim == 1 for one in each):
        return (np.stack(each, axis=1),)
    if any(one.ndim == 1 for one in each) and columns == 1:
        raise ValueError(
            "`targets` of a model with one column must all be indices or all weights. "
            "Received: both."
        )
    weights = [np.eye(columns, dtype="float32")[one] if one.ndim == 1 else one for one in each]
    return (np.stack(weights, axis=1),)


def _check_one(asked: Sequence[Any]) -> None:
    if len(asked) > 1:
        raise ValueError("`targets` of several explanations must be given. Received: None.")


def _check_labels(model: Any, asked: Sequence[Any]) -> None:
    """Refuse integers where they could mean labels as well as columns."""
    if model.labels is None:
        return
    for one in asked:
        if host(one, "targets").dtype.kind in "iu":
            raise ValueError(
                "`targets` must be names of classes where an estimator's classes are integers "
                f"other than 0 to K - 1, here {list(model.labels)[:10]}. Received: {one!r}. "
                f"Pass a name such as {(model.class_names or model.labels)[0]!r}."
            )


def _nothing(operator: Neuron, asked: Sequence[Any]) -> Leaves:
    for one in asked:
        if one is not None:
            raise ValueError(
                "`targets` must be left out for a neuron, which is what is explained. "
                f"Received: {type(one).__name__}. Pass operator=neuron(layer, index) for another "
                f"than {operators.name_of(operator)}."
            )
    _check_one(asked)
    return (), 0


def _masks(operator: Operator, one: Any, shape: tuple[int, ...], rows: int) -> Array:
    """Weights 1, 0 and -1 of the outputs' shape."""
    del operator
    wanted = (rows, *shape[1:])
    if len(shape) < 3:
        raise ValueError(
            "`operator` semantic_segmentation needs outputs with positions, (N, H, W, K). "
            f"Received: outputs of shape {('N', *shape[1:])}. Pass "
            'operator="classification" for a model with one row of classes.'
        )
    if one is None:
        raise ValueError(
            f"`targets` of a segmentation must be masks of the outputs' own shape, {wanted}. "
            "Received: None. Make them with `targets.zone`."
        )
    masks = numbers("targets", one)
    if not _fits(masks.shape, wanted):
        raise ValueError(
            f"`targets` of a segmentation must be masks of the outputs' own shape, {wanted}. "
            f"Received: shape {masks.shape}. Make them with `targets.zone`."
        )
    other = (masks != 0) & (np.abs(masks) != 1)
    if other.any():
        raise ValueError(
            "`targets` of a segmentation must hold 1, 0 and -1 only. "
            f"Received: {masks[other][0]:.4g}. Make them of outputs with `targets.zone`."
        )
    _check_rows(masks, "no position is marked")
    return masks.astype("float32", copy=False)


def _embeddings(operator: Operator, one: Any, shape: tuple[int, ...], rows: int) -> Array:
    """References of the outputs' shape; one may hold for all rows."""
    del operator
    wanted = (rows, *shape[1:])
    if one is None:
        raise ValueError(
            f"`targets` must be the embeddings to compare with, {wanted}. Received: None. "
            "Pass what the model returns for other inputs."
        )
    found = numbers("targets", one)
    if found.ndim == len(wanted) - 1 and _fits(found.shape, wanted[1:]):
        found = np.broadcast_to(found, (rows, *found.shape))
    if not _fits(found.shape, wanted):
        raise ValueError(
            f"`targets` must be embeddings of the outputs' shape, {wanted}, or one of shape "
            f"{wanted[1:]} for all rows. Received: shape {found.shape}."
        )
    _check_rows(found, "its embedding is zero, which has no direction")
    return found.astype("float32", copy=False)


def _boxes(operator: Operator, one: Any, shape: tuple[int, ...], rows: int) -> Array:
    """Reference boxes (N, B, 4 + 1 + K)."""
    least = CLASSES.start + any(operator is known for known in _detection.USES_CLASSES)
    width = shape[-1]
    if len(shape) != 3 or (width is not None and width < least):
        raise ValueError(
            f"`operator` {operators.name_of(operator)} needs a model that returns boxes, "
            "(N, P, 4 + 1 + K): corners, objectness and classes. Received: outputs of shape "
            f"{('N', *shape[1:])}. Rearrange them in a function around the model."
        )
    if one is None:
        raise ValueError(
            f"`targets` of a detection must be reference boxes, ({rows}, B, {width}). "
            "Received: None. Make them of the model's outputs with `targets.boxes`."
        )
    found = numbers("targets", one)
    found = found[:, None] if found.ndim == 2 else found
    if found.ndim != 3 or not _fits((len(found), found.shape[2]), (rows, width)):
        raise ValueError(
            f"`targets` of a detection must be boxes ({rows}, {width}), or several of each input, "
            f"({rows}, B, {width}). Received: shape {np.shape(one)}."
        )
    _check_rows(found, "it has no reference box, but rows of zeros, which are padding")
    real = check_corners("targets", found)
    if least > CLASSES.start and not real[:, CLASSES].any(axis=1).all():
        raise ValueError(
            "`targets` of a detection must have a class score other than 0 in each box. Received: "
            'a box without. Pass operator="object_detection_box_proba" to leave out the class.'
        )
    return found.astype("float32", copy=False)


def _fits(shape: tuple[int, ...], wanted: tuple[int | None, ...]) -> bool:
    """Whether a shape is the wanted one, of which None leaves a side open."""
    pairs = zip(shape, wanted, strict=False)
    return len(shape) == len(wanted) and all(side in (None, own) for own, side in pairs)


def _check_rows(array: Array, reason: str) -> None:
    empty = np.flatnonzero(~array.reshape(len(array), -1).any(axis=1))
    if empty.size:
        raise ValueError(
            "`targets` must not be zero everywhere. Received: zeros for "
            f"{empty.size} of {len(array)} rows, first for row {empty[0]}: {reason}."
        )


_Check = Callable[[Operator, Any, tuple[int, ...], int], Array]
_CHECKS: tuple[tuple[Operator, _Check], ...] = (
    (operators.semantic_segmentation, _masks),
    (operators.embedding_similarity, _embeddings),
    *((one, _boxes) for one in _detection.EVERY),
)


def _stacked(each: list[Array]) -> Array:
    """Targets (N, M, ...), fewer boxes filled up with padding."""
    if each[0].ndim == 3 and len({one.shape for one in each}) > 1:
        most = max(one.shape[1] for one in each)
        each = [np.pad(one, [(0, 0), (0, most - one.shape[1]), (0, 0)]) for one in each]
    return np.stack(each, axis=1)


def _custom(model: Any, rows: int, asked: Sequence[Any]) -> Leaves:
    if asked[0] is None or any(one is None for one in asked):
        _check_one(asked)
        return (), 0
    flat = [[_custom_leaf(leaf, rows, model) for leaf in _leaves(one)] for one in asked]
    skeleton = keras.tree.map_structure(lambda _: 0, _as_tree(asked[0]))
    if len({tuple(leaf.shape for leaf in leaves) for leaves in flat}) > 1:
        raise ValueError(
            "`targets` of several explanations must have the same shapes. Received: "
            f"{[[leaf.shape for leaf in leaves] for leaves in flat]}."
        )
    return tuple(np.stack(parts, axis=1) for parts in zip(*flat, strict=True)), skeleton


def _as_tree(one: Any) -> Any:
    return one if isinstance(one, dict | tuple) else 0


def _leaves(one: Any) -> list[Any]:
    return keras.tree.flatten(one) if isinstance(one, dict | tuple) else [one]


def _custom_leaf(leaf: Any, rows: int, model: Any) -> Array:
    if isinstance(leaf, str):
        return targets.encode(leaf, rows, 0, model.class_names, len(model.class_names or ()))
    array = host(leaf, "targets")
    if array.dtype.kind not in "fiub":
        raise TypeError(f"`targets` must be numbers. Received: an array of {array.dtype}.")
    if array.ndim == 0:
        array = np.broadcast_to(array, (rows,))
    if len(array) != rows:
        raise ValueError(
            f"`targets` must have one entry per row, {rows}. Received: shape {array.shape}."
        )
    return array.astype("float32" if array.dtype.kind == "f" else "int32")
