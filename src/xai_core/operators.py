"""What is explained: an operator maps (model, inputs, targets) to one score per row."""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Any

import numpy as np
from keras import ops

from xai_core import _checks
from xai_core.typing import Operator, Tensor

__all__ = ["Tasks", "classification", "get", "regression"]


class Tasks(enum.StrEnum):
    """The tasks whose operators come with the package.

    Examples
    --------
    >>> [task.value for task in Tasks]
    ['classification', 'regression']
    """

    CLASSIFICATION = "classification"
    REGRESSION = "regression"


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
    return _arrays(outputs).where(targets == 1, column, opposite)


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


def as_columns(outputs: Tensor) -> Tensor:
    """Outputs (N, K); a model that returns (N,) has one column."""
    return outputs[:, None] if len(outputs.shape) == 1 else outputs


def _weighted(outputs: Tensor, targets: Tensor) -> Tensor:
    arrays = _arrays(outputs)
    if len(targets.shape) == 2:
        weights = targets if arrays is np else ops.cast(targets, outputs.dtype)
        return arrays.sum(outputs * weights, axis=-1)
    chosen: Any = arrays.take_along_axis(outputs, targets[:, None], axis=1)
    return chosen[:, 0]


def _arrays(outputs: Tensor) -> Any:
    """The functions for arrays of this kind: black boxes give those of NumPy."""
    return np if isinstance(outputs, np.ndarray) else ops


def name_of(operator: Operator) -> str:
    """The task of an operator of this package, else the function's own name in brackets."""
    for task, known in _OPERATORS.items():
        if operator is known:
            return task.value
    return f"<{getattr(operator, '__qualname__', type(operator).__name__)}>"


_OPERATORS: dict[Tasks, Operator] = {
    Tasks.CLASSIFICATION: classification,
    Tasks.REGRESSION: regression,
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
        known = {task.value: task for task in _OPERATORS}
        if name not in known:
            raise ValueError(
                f"`operator` must be one of {', '.join(map(repr, known))} or a callable. "
                f"Received: {operator!r}.{_checks.near(name, known)}"
            )
        return _OPERATORS[known[name]]
    if not callable(operator):
        raise TypeError(
            "`operator` must be a task's name or a callable (model, inputs, targets) -> (N,). "
            f"Received: {operator!r}."
        )
    return operator
