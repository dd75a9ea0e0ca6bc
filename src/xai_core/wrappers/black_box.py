"""Models that only predict: functions, scikit-learn estimators, anything callable."""

from __future__ import annotations

import contextlib
import numbers
import types
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import keras
import numpy as np

from xai_core._inputs import host
from xai_core.typing import Array, Tensor
from xai_core.wrappers.base import AbstractModel, checked_options
from xai_core.wrappers.identity import Fingerprint

_FOREIGN = ("keras.", "tf_keras.", "torch.", "xai_core.")
"""Where classes come from that are callable, but are no functions of arrays."""
_OUTPUT = "output of the model"


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
    data_format : {"channels_last", "channels_first"}, optional
        Layout of images and series, channels last by default.
    select : int, str or callable, optional
        Which of several outputs is explained.
    class_names, feature_names : tuple of str, optional
        Names of the output's columns and of the input's features. The classes of an estimator
        and the columns of a DataFrame are found by themselves.

    Raises
    ------
    TypeError
        If the source is not callable and no estimator, or is a class.
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

    title: ClassVar[str] = "a function of arrays or a scikit-learn estimator (a black box)"
    arrays: ClassVar[types.ModuleType] = np
    on_host: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Check that the source predicts; find the names of an estimator's classes."""
        a_class, estimator = isinstance(self.source, type), _is_estimator(self.source)
        if a_class or not (estimator or callable(self.source)):
            raise TypeError(
                "`source` must be a function of arrays or a fitted estimator. "
                f"Received: {'the class ' if a_class else ''}{self.described()}."
            )
        if estimator:
            _check_estimator(self.source, self._kind)
        checked = checked_options(
            self.data_format, self.select, self.class_names, self.feature_names
        )
        checked["data_format"] = checked["data_format"] or "channels_last"
        if checked["class_names"] is None:
            checked["class_names"] = _names_of(self._classes)
        for name, value in checked.items():
            object.__setattr__(self, name, value)

    @classmethod
    def accepts(cls, model: Any) -> bool:
        """Whether this is an estimator or a function, and no model of a framework."""
        homes = [f"{kind.__module__}." for kind in type(model).__mro__]
        of_sklearn = any(home.startswith("sklearn.") for home in homes)
        foreign = any(home.startswith(_FOREIGN) for home in homes) and not of_sklearn
        predicts = callable(model) or _is_estimator(model)
        return predicts and not foreign and not isinstance(model, type)

    @classmethod
    def adapt(cls, model: Any, **options: Any) -> BlackBox:
        """The model with these names, or those of an estimator's classes."""
        return cls(model, **options)

    @cached_property
    def _kind(self) -> str | None:
        """Whether it is a classifier or a regressor; None of a function."""
        return _kind_of(self.source) if _is_estimator(self.source) else None

    @property
    def _classes(self) -> Array | None:
        """The classes of a classifier of one output."""
        found = getattr(self.source, "classes_", None) if self._kind else None
        return found if isinstance(found, np.ndarray) and found.ndim == 1 else None

    def call(self, inputs: Any) -> Any:
        """What the function returns for a batch, lists of rows as arrays."""
        output = self._function(keras.tree.map_structure(_owned, inputs))
        output = _as_array(output) if self.select is None else output
        rows, shape = len(keras.tree.flatten(inputs)[0]), self.selected(output).shape
        if shape[:1] != (rows,):
            raise ValueError(
                f"`model` must return one row for each row of its inputs, {rows}. "
                f"Received: shape {shape}. Several outputs go into a tuple or a dict."
            )
        return output

    @property
    def _function(self) -> Callable[[Any], Any]:
        if self._kind is None:
            return self.source
        return self.source.predict_proba if self._kind == "classifier" else self.source.predict

    def selected(self, output: Any) -> Array:
        """The one output that is explained, as a host array of floats."""
        return _as_floats(super().selected(output))

    @property
    def task(self) -> str:
        """Regression for estimators that are regressors."""
        return "regression" if self._kind == "regressor" else "classification"

    @property
    def labels(self) -> tuple[int, ...] | None:
        """The classes of an estimator, where they are numbers other than 0 to K - 1."""
        found = self._classes
        if found is None or not all(isinstance(one, numbers.Number) for one in found.tolist()):
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

    def find_layer(self, layer: Any) -> tuple[str, Any]:
        """Refuse: a black box has no layers."""
        raise ValueError(
            f"`layer` must be left out for a black box, which has none. Received: {layer!r}."
        )

    def check(self, inputs: Any) -> None:
        """Nothing: the function itself tells at the first row."""


def _is_estimator(model: Any) -> bool:
    return hasattr(model, "predict") and hasattr(model, "get_params")


def _kind_of(estimator: Any) -> str | None:
    from sklearn import base

    try:
        known = {
            "classifier": base.is_classifier(estimator),
            "regressor": base.is_regressor(estimator),
        }
    except AttributeError:  # of another package, without the tags of scikit-learn
        return getattr(estimator, "_estimator_type", None)
    return next((kind for kind, holds in known.items() if holds), None)


def _check_estimator(estimator: Any, kind: str | None) -> None:
    name = type(estimator).__name__
    if kind not in ("classifier", "regressor"):
        raise ValueError(
            f"`model` must be a classifier or a regressor. Received: {name}. "
            "Pass the function that gives its scores, such as estimator.score_samples."
        )
    if not _is_fitted(estimator):
        raise ValueError(
            f"`model` must be fitted. Received: a {name} that is not. Call its `fit` first."
        )
    if kind == "classifier" and not hasattr(estimator, "predict_proba"):
        raise ValueError(
            f"`model` must have `predict_proba` to explain a classification. Received: {name}. "
            "Fit a sklearn.calibration.CalibratedClassifierCV around it, or pass a function such "
            "as its `decision_function`."
        )


def _is_fitted(estimator: Any) -> bool:
    from sklearn import exceptions
    from sklearn.utils import validation

    try:
        validation.check_is_fitted(estimator)
    except exceptions.NotFittedError:
        return False
    except (AttributeError, TypeError):  # of another package, which need not tell
        return True
    return True


def _names_of(classes: Array | None) -> tuple[str, ...] | None:
    return None if classes is None else tuple(str(one) for one in classes)


def _owned(x: Any) -> Any:
    """An array that the function may write into; DataFrames are made for it anyway."""
    return x.copy() if isinstance(x, np.ndarray) and not x.flags.owndata else x


def _as_array(output: Any) -> Any:
    """A number, a list of rows or a table as an array; several outputs stay as they are."""
    if isinstance(output, list):
        several = bool(output) and all(len(getattr(item, "shape", ())) > 1 for item in output)
        return output if several else host([host(row, _OUTPUT) for row in output], _OUTPUT)
    plain = isinstance(output, numbers.Number) or hasattr(output, "__array__")
    return host(output, _OUTPUT) if plain else output


def _as_floats(output: Any) -> Array:
    """Floats of 32 or 64 bits."""
    array = host(output, _OUTPUT)
    if array.dtype == object and all(isinstance(one, numbers.Number) for one in array.flat):
        array = array.astype("float64")
    if array.dtype.name in ("float16", "bfloat16"):
        return array.astype("float32")
    if array.dtype.kind not in "fiub":
        raise TypeError(
            f"`model` must return numbers. Received: a function that returns {array.dtype}."
            f"{_advice_on_labels(array)}"
        )
    return array if array.dtype.name in ("float32", "float64") else array.astype("float64")


def _advice_on_labels(array: Array) -> str:
    """What to pass instead of a classifier's `predict`, which returns the names of classes."""
    labels = array.size and all(isinstance(one, str) for one in array.flat)
    advice = " Pass what returns probabilities, such as `predict_proba`, or the estimator itself."
    return advice if labels else ""
