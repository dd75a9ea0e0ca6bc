"""What every explainer is: frozen settings that map inputs and targets to Explanations."""

from __future__ import annotations

import abc
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, replace
from functools import cached_property
from typing import Any, ClassVar, Self

from keras import ops

from xai_core import _checks, _request, _scoring, operators
from xai_core._request import Group, Request
from xai_core.attributions import running
from xai_core.attributions.running import Maps
from xai_core.typing import Operator
from xai_core.wrappers import wrap


@dataclass(frozen=True, eq=False)
class AbstractExplainer(abc.ABC):
    """Settings of one method for one model; calling it explains a batch.

    Parameters
    ----------
    model : keras.Model, torch.nn.Module or Model
        What is explained, as `xai_core.wrap` takes it.
    operator : Tasks, str or callable, optional
        Which score is explained: a task's name or ``(model, inputs, targets) -> (N,)``.
        Classification where nothing is given. Steps are compiled once for each callable, known
        by identity: define it once, not per call. What a callable closes over is a constant of
        the compiled step: on JAX also the weights of other models.
    output : {"raw", "logits", "softmax", "sigmoid"}
        The form of the output that is scored. ``"raw"`` is what the model returns.
    batch_size : int
        Number of rows that the model sees at once.
    progress : bool, optional
        Show a progress bar. By default only in a terminal, and only on long work.
    """

    model: Any
    _: KW_ONLY
    operator: Any = None
    output: str = "raw"
    batch_size: int = 32
    progress: bool | None = None

    requires: ClassVar[str] = "gradients"
    uses_targets: ClassVar[bool] = True
    source: ClassVar[str]
    signed = True  # not annotated, for class activation maps have a field of this name

    def __post_init__(self) -> None:
        """Check every field that needs no input."""
        _ = self._model, self._operator  # read once, which checks them
        _checks.choice("output", self.output, _scoring.OUTPUTS)
        _checks.integer("batch_size", self.batch_size, minimum=1)
        if self.progress is not None:
            _checks.flag("progress", self.progress)
        self._check_fields()

    @cached_property
    def _model(self) -> Any:
        """The wrapped model; None for a method that needs none and was given none."""
        needed = self.model is not None or self.requires != "nothing"
        return wrap(self.model) if needed else None

    @cached_property
    def _operator(self) -> Operator:
        return operators.get(self.operator)

    @abc.abstractmethod
    def _check_fields(self) -> None:
        """Check the method's own fields."""

    @abc.abstractmethod
    def _check_request(self, request: Request) -> None:
        """Check what needs the inputs, before the model computes."""

    @abc.abstractmethod
    def _maps(self, group: Group, reduced: bool) -> Maps:
        """The maps of a group of rows; channels are reduced only if ``reduced``."""

    def rows(self, shape: Sequence[int]) -> int:
        """Number of model rows that one input of this shape, without batch axis, costs."""
        del shape
        return 1

    def __call__(self, inputs: Any, targets: Any = None) -> Any:
        """Explain a batch.

        Parameters
        ----------
        inputs : array-like, tuple or dict
            (N, W) a table, (N, T, W) series, (N, H, W, C) or (N, C, H, W) images; a tuple or
            dict of arrays for a model with several inputs.
        targets : int, str, (N,) integers or strings, (N, K) weights, optional
            The explained output; None is the predicted class.

        Returns
        -------
        Explanation
            For several float inputs one per input, in their structure.

        Raises
        ------
        TypeError, ValueError
            If an argument does not fit the model.
        """
        return self._explained(inputs, [targets])[0]

    def explain_each(self, inputs: Any, targets: Any) -> list[Any]:
        """Explain the same inputs for several targets, from one set of model rows.

        Sixteen targets share one forward pass; more take as many passes as they have sixteens.

        Parameters
        ----------
        inputs
            As for a call.
        targets : list or "all"
            One entry per wanted Explanation, each as for a call; "all" is every output column.

        Returns
        -------
        list of Explanation
            One per entry.
        """
        if isinstance(targets, str) and targets == "all":
            shape = self._request(inputs, [0] if self._is_built_in() else [None]).score.head.shape
            targets = _request.every_column(self._operator, shape)
        if not isinstance(targets, list | tuple) or not targets:
            raise TypeError(f'`targets` must be a list of targets or "all". Received: {targets!r}.')
        return self._explained(inputs, list(targets))

    def attribute(self, inputs: Any, targets: Any = None) -> Any:
        """The unreduced attributions as tensors of the framework, on the model's device.

        Parameters and errors are those of a call; there is one tensor per float input.
        """
        request = self._request(inputs, [targets])
        parts = [part.values for part in running.groups(self, request, reduced=False)]
        leaves = [ops.concatenate(leaf, axis=0)[:, 0] for leaf in zip(*parts, strict=True)]
        return request.batch.per_float_leaf(leaves)

    def stream(self, data: Iterable[Any], targets: Any = None) -> Iterator[Any]:
        """Explain batch after batch of an iterable.

        Parameters
        ----------
        data : iterable
            Yields batches by Keras's convention: x, (x, y) or (x, y, weights).
        targets : int, str, optional
            The same target for every row, or ``"labels"`` for each batch's y; None is the
            predicted class.

        Yields
        ------
        Explanation
            One per batch.
        """
        if not isinstance(data, Iterable) or isinstance(data, Mapping) or hasattr(data, "shape"):
            shown = type(data).__name__ if hasattr(data, "shape") else repr(data)
            raise TypeError(
                f"`data` must be an iterable of batches. Received: {shown}. "
                "Call the explainer on a single batch."
            )
        for batch in data:
            x, y = _x_and_y(batch)
            if isinstance(targets, str) and targets == "labels":
                if y is None:
                    raise ValueError(
                        '`targets="labels"` needs batches (x, y). Received: batches of x alone.'
                    )
                yield self(x, y)
            else:
                yield self(x, targets)

    def with_model(self, model: Any) -> Self:
        """The same settings for another model."""
        return replace(self, model=model)

    def _is_built_in(self) -> bool:
        return self._operator in _scoring.BUILT_IN

    def _request(self, inputs: Any, asked: Sequence[Any]) -> Request:
        if self._model is None:
            request = _request.without_model(inputs)
        else:
            request = _request.make(self._model, self._operator, self.output, inputs, asked)
        self._check_request(request)
        return request

    def _explained(self, inputs: Any, asked: Sequence[Any]) -> list[Any]:
        return running.explanations(self, self._request(inputs, asked), len(asked))


def _x_and_y(batch: Any) -> tuple[Any, Any]:
    if not isinstance(batch, tuple):
        return batch, None
    if not 1 <= len(batch) <= 3:
        raise ValueError(
            "`data` must yield x, (x, y) or (x, y, weights). "
            f"Received: a tuple of {len(batch)} items."
        )
    return batch[0], batch[1] if len(batch) > 1 else None
