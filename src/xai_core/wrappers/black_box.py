"""Models that only predict: functions, scikit-learn estimators, anything callable."""

from __future__ import annotations

import contextlib
import types
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from xai_core._inputs import host
from xai_core.typing import Array, Tensor
from xai_core.wrappers.base import AbstractModel, Output
from xai_core.wrappers.identity import Fingerprint

_FOREIGN = ("keras.", "tf_keras.", "torch.", "xai_core.")
"""Where classes come from that are callable, but are no functions of arrays."""


@dataclass(frozen=True, eq=False)
class BlackBox(AbstractModel):
    """A function of NumPy arrays, or a scikit-learn estimator, as a model without gradients.

    Rows reach the function as they are: in their own type (also DataFrames and objects), with
    NaN, never padded, at most ``batch_size`` at once. An estimator is called by `predict_proba` if
    it is a classifier, and by `predict` if it is a regressor. A function whose output has several
    columns classifies unless `operator` says otherwise.

    Parameters
    ----------
    source : callable or estimator
        ``f(inputs)`` gives one output row per input row, (N,) or (N, K), or several such arrays.
    data_format : {"channels_last", "channels_first"}
        Layout of images and series.
    select : int, str or callable, optional
        Which of several outputs is explained.
    class_names, feature_names : tuple of str, optional
        Names of the output's columns and of the input's features. The classes of an estimator
        and the columns of a DataFrame are found by themselves.

    Raises
    ------
    TypeError
        If the source is not callable and no estimator.
    ValueError
        If an estimator is not fitted, or a classifier has no `predict_proba`.

    Examples
    --------
    >>> import numpy as np
    >>> from xai_core.attributions import Occlusion
    >>> model = BlackBox(lambda x: x @ np.array([2.0, -3.0]))
    >>> Occlusion(model, operator="regression")(np.array([[1.0, 2.0]]), targets=0).values
    array([[ 2., -6.]], dtype=float32)
    """

    data_format: str | None = "channels_last"

    title: ClassVar[str] = "a function of arrays or a scikit-learn estimator (a black box)"
    arrays: ClassVar[types.ModuleType] = np
    on_host: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Check that the source predicts."""
        if _is_estimator(self.source):
            _check_estimator(self.source)
        elif not callable(self.source):
            raise TypeError(
                "`source` must be a function of arrays or an estimator. "
                f"Received: {self.described()}."
            )

    @classmethod
    def accepts(cls, model: Any) -> bool:
        """Whether this is an estimator or a function, and no model of a framework."""
        homes = [f"{kind.__module__}." for kind in type(model).__mro__]
        if isinstance(model, type) or any(home.startswith(_FOREIGN) for home in homes):
            return False
        return _is_estimator(model) or callable(model)

    @classmethod
    def adapt(cls, model: Any, data_format: str | None, **names: Any) -> BlackBox:
        """Take the names of an estimator's classes where none are given."""
        labels = getattr(model, "classes_", None) if _is_estimator(model) else None
        if names["class_names"] is None and isinstance(labels, np.ndarray) and labels.ndim == 1:
            names["class_names"] = tuple(str(label) for label in labels)
        return cls(model, data_format or "channels_last", **names)

    def call(self, inputs: Any) -> Any:
        """All outputs for a batch, as host arrays of floats."""
        return _as_floats(self._function(inputs))

    @property
    def _function(self) -> Callable[[Any], Any]:
        if not _is_estimator(self.source):
            return self.source
        return self.source.predict_proba if _is_classifier(self.source) else self.source.predict

    @property
    def task(self) -> str:
        """Regression for estimators that are regressors."""
        regressor = _is_estimator(self.source) and not _is_classifier(self.source)
        return "regression" if regressor else "classification"

    @property
    def labels(self) -> tuple[int, ...] | None:
        """The classes of an estimator, where they are integers other than 0 to K - 1."""
        found = getattr(self.source, "classes_", None) if _is_estimator(self.source) else None
        if not isinstance(found, np.ndarray) or found.dtype.kind not in "iu":
            return None
        return None if np.array_equal(found, np.arange(len(found))) else tuple(found.tolist())

    def described(self) -> str:
        """The name of the estimator's class, or of the function."""
        return getattr(self.source, "__name__", type(self.source).__name__)

    def state(self) -> list[Tensor]:
        """Nothing: nothing is compiled."""
        return []

    def with_state(self, state: list[Tensor]) -> contextlib.AbstractContextManager[Any]:
        """Nothing to set."""
        del state
        return contextlib.nullcontext()

    def fingerprint(self) -> Fingerprint:
        """Nothing is compiled, so that nothing goes stale."""
        return Fingerprint([], frozenset(), [])

    def find(self, layer: Any) -> tuple[str, Any]:
        """Refuse: a black box has no layers."""
        raise ValueError(
            f"`layer` must be left out for a black box, which has none. Received: {layer!r}."
        )

    def tap(
        self, found: tuple[str, Any], hook: Callable[[Tensor], Tensor], call: int | None
    ) -> contextlib.AbstractContextManager[Any]:
        """Refuse: a black box has no layers."""
        del hook, call
        self.find(found)
        return contextlib.nullcontext()

    def layer_outputs(self, run: Callable[[], Any]) -> list[Output]:
        """Nothing: a black box has no layers."""
        del run
        return []

    def check(self, inputs: Any) -> None:
        """Nothing: the function itself tells at the first row."""


def _is_estimator(model: Any) -> bool:
    return hasattr(model, "predict") and hasattr(model, "get_params")


def _is_classifier(estimator: Any) -> bool:
    from sklearn import base

    return base.is_classifier(estimator)


def _check_estimator(estimator: Any) -> None:
    from sklearn import base, exceptions
    from sklearn.utils import validation

    name = type(estimator).__name__
    if not _is_classifier(estimator) and not base.is_regressor(estimator):
        raise ValueError(
            f"`model` must be a classifier or a regressor. Received: {name}. "
            "Pass the function that gives its scores, such as estimator.score_samples."
        )
    try:
        validation.check_is_fitted(estimator)
    except exceptions.NotFittedError as error:
        raise ValueError(
            f"`model` must be fitted. Received: a {name} that is not. Call its `fit` first."
        ) from error
    if _is_classifier(estimator) and not hasattr(estimator, "predict_proba"):
        raise ValueError(
            f"`model` must have `predict_proba` to explain a classification. Received: {name}. "
            "Fit a sklearn.calibration.CalibratedClassifierCV around it, or pass a function such "
            "as its `decision_function`."
        )


def _as_floats(output: Any) -> Any:
    if isinstance(output, dict):
        return {key: _as_floats(value) for key, value in output.items()}
    if isinstance(output, tuple) or (isinstance(output, list) and _holds_arrays(output)):
        return type(output)(_as_floats(value) for value in output)
    array: Array = host(output, "output of the model")
    if array.dtype.kind not in "fiub":
        raise TypeError(
            "`model` must return numbers. Received: a function that returns "
            f"{array.dtype if array.ndim else type(output).__name__}."
        )
    return array if array.dtype.kind == "f" else array.astype("float64")


def _holds_arrays(output: list[Any]) -> bool:
    return bool(output) and all(hasattr(item, "shape") and item.shape for item in output)
