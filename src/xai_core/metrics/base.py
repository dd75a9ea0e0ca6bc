"""What metrics share that ask the model: settings, and the request of one call."""

from __future__ import annotations

import abc
from dataclasses import KW_ONLY, dataclass, replace
from functools import cached_property
from typing import Any, ClassVar, Self

import numpy as np

from xai_core import _checks, _request, _scoring, operators
from xai_core._inputs import host
from xai_core._request import Request
from xai_core.explanation import Explanation, check_rows
from xai_core.metrics.result import MetricResult
from xai_core.typing import Array
from xai_core.wrappers import wrap


@dataclass(frozen=True, eq=False)
class AbstractModelMetric(abc.ABC):
    """Settings of a metric that asks a model; calling it judges the maps of a batch.

    Parameters
    ----------
    model
        Any model that predicts, as `xai_core.wrap` takes it.
    operator : Tasks, str or callable, optional
        Which score is followed. By default that of the Explanation, of a plain array the
        explainers' default. A custom operator must be given again.
    output : {"raw", "logits", "softmax", "sigmoid"}, optional
        The form of the output, by default that of the Explanation, or what the model returns.
    batch_size : int
        Number of rows that the model sees at once.
    progress : bool, optional
        Show a progress bar. By default only in a terminal, and only on long work.
    """

    model: Any
    _: KW_ONLY
    operator: Any = None
    output: str | None = None
    batch_size: int = 32
    progress: bool | None = None

    higher_is_better: ClassVar[bool]
    source: ClassVar[str]

    def __post_init__(self) -> None:
        """Check every field that needs no input."""
        _ = self._model
        if self.operator is not None:
            operators.get(self.operator)
        if self.output is not None:
            _checks.choice("output", self.output, _scoring.OUTPUTS)
        _checks.integer("batch_size", self.batch_size, minimum=1)
        if self.progress is not None:
            _checks.flag("progress", self.progress)
        self._check_fields()

    @cached_property
    def _model(self) -> Any:
        return wrap(self.model)

    @abc.abstractmethod
    def _check_fields(self) -> None:
        """Check the metric's own fields."""

    @abc.abstractmethod
    def _result(self, request: Request, maps: Array) -> MetricResult:
        """Judge checked maps (N, ...) of the only input of a request."""

    def __call__(self, explanations: Any, inputs: Any, targets: Any = None) -> MetricResult:
        """Judge the maps of a batch.

        Parameters
        ----------
        explanations : Explanation or array, shape (N, ...)
            Maps that broadcast against the inputs.
        inputs : array-like, shape (N, ...)
            What the explainer was given, in the same order.
        targets : optional
            As for an explainer. By default those of the Explanation, of a plain array the
            predicted classes.

        Returns
        -------
        MetricResult
            One score per input.

        Raises
        ------
        TypeError, ValueError
            If maps, inputs and targets do not fit one another.
        """
        request = self._request(explanations, inputs, targets)
        return self._result(request, self._maps(explanations, request))

    def with_model(self, model: Any) -> Self:
        """The same settings for another model."""
        return replace(self, model=model)

    def _request(self, explanations: Any, inputs: Any, targets: Any) -> Request:
        """The checked arguments of a call, with the Explanation's settings where none are given."""
        config: dict[str, Any] = {}
        if isinstance(explanations, Explanation):
            check_rows(explanations, inputs)
            config = explanations.config
            targets = self._targets_of(explanations) if targets is None else targets
        output = self.output or config.get("output", "raw")
        operator = self._operator_of(config)
        request = _request.make(self._model, operator, output, inputs, [targets])
        leaves = request.batch.float_leaves()
        if len(leaves) != 1:
            raise ValueError(
                f"`inputs` must be one array for {type(self).__name__}. Received: {len(leaves)} "
                "inputs. Fix the others inside a function of the one."
            )
        return request

    def _operator_of(self, config: dict[str, Any]) -> Any:
        name = config.get("operator")
        if self.operator is not None:
            return operators.get(self.operator)
        if name is not None and name.startswith("<"):
            raise ValueError(
                f"`operator` must be given again, for an Explanation holds only its name, {name}. "
                f"Received: None. Pass {type(self).__name__}(model, operator=...)."
            )
        return operators.get(self._model.task if name is None else name)

    def _targets_of(self, explanation: Explanation) -> Any:
        found = explanation.targets
        if found is None or self._model.labels is None or found.dtype.kind == "f":
            return found
        # Columns, which the names of an estimator's classes say without doubt.
        return np.array(self._model.class_names)[found]

    def _maps(self, explanations: Any, request: Request) -> Array:
        """The maps as a host array that fits the inputs."""
        if not isinstance(explanations, Explanation) and not hasattr(explanations, "shape"):
            raise TypeError(
                "`explanations` must be an Explanation or an array. "
                f"Received: {type(explanations).__name__}."
            )
        (x,) = request.batch.float_leaves()
        maps = host(explanations, "explanations")
        if maps.dtype.kind not in "fiub":
            raise TypeError(f"`explanations` must be numbers. Received: {maps.dtype}.")
        if maps.ndim == 0 or len(maps) != len(x):
            raise ValueError(
                f"`explanations` must hold one map per input, {len(x)}. "
                f"Received: shape {maps.shape}."
            )
        sides = zip(maps.shape[1:], x.shape[1:], strict=False)
        if maps.ndim != x.ndim or any(m not in (1, side) for m, side in sides):
            raise ValueError(
                f"`explanations` must broadcast against the inputs of shape {x.shape}. "
                f"Received: shape {maps.shape}."
            )
        bad = np.flatnonzero(~np.isfinite(maps.reshape(len(maps), -1)).all(axis=1))
        if bad.size:
            raise ValueError(
                "`explanations` must be finite. Received: NaN or infinity in "
                f"{bad.size} of {len(maps)} maps, first in map {bad[0]}."
            )
        return maps
