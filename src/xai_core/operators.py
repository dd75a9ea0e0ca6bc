"""What is explained: an operator maps (model, inputs, targets) to one score per row."""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Any

from xai_core import _checks
from xai_core._arrays import functions_of, in_type_of
from xai_core._detection import (
    object_detection,
    object_detection_box_class,
    object_detection_box_position,
    object_detection_box_proba,
)
from xai_core._representations import Neuron, embedding_similarity, neuron
from xai_core.typing import Operator, Tensor

__all__ = [
    "Tasks",
    "classification",
    "embedding_similarity",
    "get",
    "neuron",
    "object_detection",
    "object_detection_box_class",
    "object_detection_box_position",
    "object_detection_box_proba",
    "regression",
    "semantic_segmentation",
]


class Tasks(enum.StrEnum):
    """The tasks whose operators come with the package.

    Examples
    --------
    >>> [task.value for task in Tasks][:3]
    ['classification', 'regression', 'semantic_segmentation']
    """

    CLASSIFICATION = "classification"
    REGRESSION = "regression"
    SEMANTIC_SEGMENTATION = "semantic_segmentation"
    OBJECT_DETECTION = "object_detection"
    OBJECT_DETECTION_BOX_POSITION = "object_detection_box_position"
    OBJECT_DETECTION_BOX_PROBA = "object_detection_box_proba"
    OBJECT_DETECTION_BOX_CLASS = "object_detection_box_class"


def classification(model: Callable[[Any], Tensor], inputs: Any, targets: Tensor) -> Tensor:
    r"""Score of the target class, :math:`s_n = f_{t_n}(x_n)` or :math:`\sum_k f_k(x_n) t_{nk}`.

    A model with one output column has two classes: 1 is the column, and 0 its opposite, 1 - f
    where the column is known to be a probability, else -f.

    Parameters
    ----------
    model : callable
        Maps inputs to outputs (N, K) or (N,).
    inputs : structure of tensors
        A batch of N rows.
    targets : tensor
        Class indices (N,) or weights (N, K).

    Returns
    -------
    tensor
        Scores (N,).

    Examples
    --------
    >>> from keras import ops
    >>> classification(lambda x: 2 * x, ops.array([[1.0, 3.0]]), ops.array([1])).shape == (1,)
    True
    """
    outputs = as_columns(model(inputs))
    if len(targets.shape) == 2 or outputs.shape[1] > 1:
        return _weighted(outputs, targets)
    column = outputs[:, 0]
    opposite = 1.0 - column if getattr(model, "is_probability", False) else -column
    return functions_of(outputs).where(targets == 1, column, opposite)


def regression(model: Callable[[Any], Tensor], inputs: Any, targets: Tensor) -> Tensor:
    r"""Predicted value, :math:`s_n = f_{t_n}(x_n)` or :math:`\sum_k f_k(x_n) t_{nk}`.

    Parameters
    ----------
    model : callable
        Maps inputs to outputs (N, K) or (N,).
    inputs : structure of tensors
        A batch of N rows.
    targets : tensor
        Column indices (N,) or weights (N, K).

    Returns
    -------
    tensor
        Scores (N,).

    Examples
    --------
    >>> from keras import ops
    >>> regression(lambda x: 2 * x, ops.array([[1.0, 3.0]]), ops.array([0])).shape == (1,)
    True
    """
    return _weighted(as_columns(model(inputs)), targets)


def semantic_segmentation(model: Callable[[Any], Tensor], inputs: Any, targets: Tensor) -> Tensor:
    r"""Mean output over the marked positions, :math:`\sum_i f_i(x) t_i \, / \, |\{i: t_i \ne 0\}|`.

    Targets have the outputs' own shape and layout, whatever that is: 1 marks the column of a class
    at a position that counts for the score, -1 one that counts against it (the outer side of a
    border, or another class), 0 all others. A logit counts evidence that classes share: with
    ``output="softmax"`` the score tells the class from the others.

    Parameters
    ----------
    model : callable
        Maps inputs to one column per class at each position: (N, H, W, K), or (N, K, H, W) of a
        model that is channels first; (N, T, K) of series, (N, D, H, W, K) of volumes.
    inputs : structure of tensors
        A batch of N rows.
    targets : tensor, shape of the outputs
        Values 1, 0 and -1. `targets.zone` and `targets.border` make them of a model's outputs.

    Returns
    -------
    tensor
        Scores (N,).

    Examples
    --------
    >>> import numpy as np
    >>> outputs = np.array([[[2.0, 0.0], [4.0, 1.0], [1.0, 5.0]]])
    >>> mask = np.array([[[1.0, 0.0], [1.0, 0.0], [0.0, 0.0]]])
    >>> float(semantic_segmentation(lambda x: outputs, None, mask)[0])
    3.0
    """
    outputs = model(inputs)
    arrays = functions_of(outputs)
    axes = tuple(range(1, len(outputs.shape)))
    marked = in_type_of(arrays.not_equal(targets, 0), outputs)
    total = arrays.sum(outputs * in_type_of(targets, outputs), axis=axes)
    return total / arrays.maximum(arrays.sum(marked, axis=axes), 1.0)


def as_columns(outputs: Tensor) -> Tensor:
    """Outputs (N, K); a model that returns (N,) has one column."""
    return outputs[:, None] if len(outputs.shape) == 1 else outputs


def _weighted(outputs: Tensor, targets: Tensor) -> Tensor:
    arrays = functions_of(outputs)
    if len(targets.shape) == 2:
        return arrays.sum(outputs * in_type_of(targets, outputs), axis=-1)
    # Not `take_along_axis`, whose gradient takes TensorFlow 50 ms to trace.
    columns = arrays.arange(outputs.shape[1], dtype=targets.dtype)
    chosen = arrays.equal(targets[:, None], columns)
    return arrays.sum(arrays.where(chosen, outputs, arrays.zeros_like(outputs)), axis=1)


def name_of(operator: Operator) -> str:
    """The name of an operator of this package, else a callable's own name in brackets."""
    for name, known in _OPERATORS.items():
        if operator is known:
            return name
    if isinstance(operator, Neuron):
        return f"<{operator.described()}>"
    return f"<{getattr(operator, '__qualname__', type(operator).__name__)}>"


def has_columns(operator: Operator) -> bool:
    """Whether targets may be columns of an output (N, K); a user's own operator may take them."""
    known = name_of(operator)
    return known in (Tasks.CLASSIFICATION, Tasks.REGRESSION) or is_own(operator)


def is_own(operator: Operator) -> bool:
    """Whether an operator is the user's, and none of this package."""
    return not isinstance(operator, Neuron) and name_of(operator).startswith("<")


_OPERATORS: dict[str, Operator] = {
    Tasks.CLASSIFICATION.value: classification,
    Tasks.REGRESSION.value: regression,
    Tasks.SEMANTIC_SEGMENTATION.value: semantic_segmentation,
    Tasks.OBJECT_DETECTION.value: object_detection,
    Tasks.OBJECT_DETECTION_BOX_POSITION.value: object_detection_box_position,
    Tasks.OBJECT_DETECTION_BOX_PROBA.value: object_detection_box_proba,
    Tasks.OBJECT_DETECTION_BOX_CLASS.value: object_detection_box_class,
    "embedding_similarity": embedding_similarity,
}


def get(operator: Any = None) -> Operator:
    """The operator of a task, or a callable as it is.

    Parameters
    ----------
    operator : Tasks, str or callable, optional
        A task's name in any case, with spaces, hyphens or underscores; or a function
        ``(model, inputs, targets) -> (N,)``. None means classification.

    Returns
    -------
    callable
        ``(model, inputs, targets) -> (N,)``.

    Raises
    ------
    ValueError
        If there is no task of that name.
    TypeError
        If it is neither a name nor callable.

    Examples
    --------
    >>> get("Classification") is classification
    True
    """
    if operator is None:
        return classification
    if isinstance(operator, str):
        name = "_".join(operator.lower().replace("-", " ").replace("_", " ").split())
        if name not in _OPERATORS:
            raise ValueError(
                f"`operator` must be one of {', '.join(map(repr, _OPERATORS))} or a callable. "
                f"Received: {operator!r}.{_checks.near(name, _OPERATORS)}"
            )
        return _OPERATORS[name]
    if not callable(operator):
        raise TypeError(
            "`operator` must be a task's name or a callable (model, inputs, targets) -> (N,). "
            f"Received: {operator!r}."
        )
    return operator
