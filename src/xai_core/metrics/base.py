"""What metrics share that ask the model: settings, and the request of one call."""

from __future__ import annotations

import abc
from dataclasses import KW_ONLY, dataclass, replace
from functools import cached_property
from typing import Any, ClassVar, Self

import keras
import numpy as np

from xai_core import _baselines, _checks, _request, _scoring, operators
from xai_core._inputs import as_given, as_structure, host
from xai_core._request import Request
from xai_core.explanation import Explanation, check_rows
from xai_core.metrics.result import MetricResult
from xai_core.typing import Array, Operator
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

    def _request(
        self, explanations: Any, inputs: Any, targets: Any, scored: bool = True
    ) -> Request:
        """The checked arguments of a call, with the Explanation's settings where none are given.

        Where nothing is ``scored``, targets do not count.
        """
        if not isinstance(explanations, Explanation) and not hasattr(explanations, "shape"):
            raise TypeError(
                "`explanations` must be an Explanation or an array. "
                f"Received: {type(explanations).__name__}."
            )
        given = self._explained(inputs)
        config: dict[str, Any] = {}
        if isinstance(explanations, Explanation):
            check_rows(explanations, given)
            targets = self._targets_of(explanations) if targets is None else targets
            # A map of no model, such as a random one, says nothing of the score.
            modelled = explanations.config.get("model", "any") is not None
            config = explanations.config if modelled else {}
        operator = self._operator_of(config.get("operator"))
        output = self.output or config.get("output") or "raw"
        asked = [targets] if scored else []
        request = _request.make(self._model, operator, output, inputs, asked)
        baseline = getattr(self, "baseline", None)
        _baselines.check_batch(baseline, request.batch, request.feature_names, background=False)
        return request

    def _explained(self, inputs: Any) -> Array:
        """The one array of the inputs that maps are of, as it was given."""
        model = self._model
        structure = model.arranged(as_structure(inputs, model.several_inputs))
        model.check(structure)
        if model.on_host:
            found = as_given(structure, inputs).leaves
        else:
            leaves = keras.tree.flatten(structure)
            integers = model.takes_integers(leaves)
            found = [leaf for leaf, i in zip(leaves, integers, strict=True) if not i]
        if len(found) != 1:
            raise ValueError(
                f"`inputs` must hold one array of floats for {type(self).__name__}. "
                f"Received: {len(found)}. Fix the others inside a function of the one."
            )
        return found[0]

    def _operator_of(self, name: str | None) -> Operator:
        if self.operator is not None:
            return operators.get(self.operator)
        if name is not None and name.startswith("<"):
            raise ValueError(
                f"`operator` must be given again, for an Explanation holds only its name, {name}. "
                f"Received: None. Pass {type(self).__name__}(model, operator=...)."
            )
        return operators.get(self._model.task if name is None else name)

    def _targets_of(self, explanation: Explanation) -> Any:
        found, labels = explanation.targets, self._model.labels
        if found is None or labels is None or found.dtype.kind == "f":
            return found
        # Columns; as integers they could be taken for the labels of an estimator.
        return np.eye(len(labels), dtype="float32")[found]

    def _maps(self, explanations: Any, request: Request) -> Array:
        """The maps as a host array that fits the inputs."""
        (x,) = request.batch.float_leaves()
        maps = host(explanations, "explanations")
        if maps.dtype.kind not in "fiub" and maps.dtype.name != "bfloat16":
            raise TypeError(f"`explanations` must be numbers. Received: {maps.dtype}.")
        sides = zip(maps.shape[1:], x.shape[1:], strict=False)
        if maps.ndim != x.ndim or len(maps) != len(x) or any(m not in (1, n) for m, n in sides):
            raise ValueError(
                "`explanations` must hold one map per input that broadcasts against it: the shape "
                f"{x.shape}, or 1 in place of other axes than the first. "
                f"Received: shape {maps.shape}."
            )
        bad = np.flatnonzero(~np.isfinite(maps.reshape(len(maps), -1)).all(axis=1))
        if bad.size:
            raise ValueError(
                "`explanations` must be finite. Received: NaN or infinity in "
                f"{bad.size} of {len(maps)} maps, first in map {bad[0]}."
            )
        return maps
