"""Surrogates: simple models fitted to the scores of masked inputs."""

from __future__ import annotations

import inspect
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np

from xai_core import _checks
from xai_core.designs import bernoulli
from xai_core.estimators import Estimate, doubling
from xai_core.typing import Array

__all__ = ["SurrogateDesign"]

_LIGHTEST = 1e-6


@dataclass(frozen=True)
class SurrogateDesign:
    r"""LIME: the coefficients of a linear model of the score near the input.

    .. math:: \min_{\phi, b} \sum_n w_n \bigl(s(z_n) - b - z_n \cdot \phi\bigr)^2
        + \alpha \lVert \phi \rVert^2, \qquad
        w_n = \sqrt{\exp(-D_n^2 / \sigma^2)}, \qquad
        D_n = 1 - \sqrt{|z_n| / d}

    Rows z keep each cell with one probability; the input itself is the first sample. D is the
    cosine distance from it, 1 for the row that keeps nothing. There are no standard errors: a
    penalty draws the coefficients away from their limit. Columns of a table are kept or not like
    any other cell, which is not the sampling by quartiles of the package lime.

    Parameters
    ----------
    d : int
        Number of cells.
    n_samples : int
        Number of samples, the input among them.
    keep_probability : float
        Within (0, 1).
    kernel_width : float
        The width σ.
    regressor : estimator of scikit-learn, optional
        What is fitted instead of a ridge regression with α = 1 and a free intercept: its ``fit``
        takes ``sample_weight``, and it has ``coef_`` afterwards. Copies are fitted, one for each
        target, with ``seed`` where it has a ``random_state`` of None.
    seed : int
        Of the draws, from 0 to 2**64 - 1.

    Raises
    ------
    TypeError, ValueError
        If a setting is wrong.

    Notes
    -----
    Ribeiro, Singh and Guestrin, 2016, "Why Should I Trust You?", https://arxiv.org/abs/1602.04938.
    Distance, width and root are those of the authors' code.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import LinearRegression
    >>> design = SurrogateDesign(3, n_samples=50, regressor=LinearRegression())
    >>> scores = design.codes(0, design.total) @ np.array([2.0, -6.0, 2.0])
    >>> design.estimate(scores[:, None], np.array([-2.0])).values.round(9)
    array([[ 2., -6.,  2.]])
    """

    d: int
    n_samples: int = 1000
    keep_probability: float = 0.5
    kernel_width: float = 0.25
    regressor: Any = None
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the settings."""
        _checks.integer("d", self.d, minimum=1)
        _checks.integer("n_samples", self.n_samples, minimum=2)
        _checks.seed(self.seed)
        _checks.number("keep_probability", self.keep_probability)
        if not 0 < self.keep_probability < 1:
            raise ValueError(
                "`keep_probability` must be between 0 and 1, both excluded. "
                f"Received: {self.keep_probability}."
            )
        self._check_width()
        if self.regressor is not None:
            check_regressor(self.regressor)

    def _check_width(self) -> None:
        width = _checks.number("kernel_width", self.kernel_width)
        if width <= 0:
            raise ValueError(f"`kernel_width` must be above 0. Received: {width}.")
        usual = _weights(np.array([self.keep_probability]), width)[0]
        if usual < _LIGHTEST:
            raise ValueError(
                "`kernel_width` must be wide enough for rows that keep a share of "
                f"{self.keep_probability} of the cells. Received: {width}, with which they weigh "
                f"{usual:.1g} of the input itself. Use a larger one, or a larger "
                "`keep_probability`."
            )

    @property
    def total(self) -> int:
        """Number of rows, that of the input itself not among them."""
        return self.n_samples - 1

    @property
    def without_error(self) -> str:
        """The penalty biases the coefficients."""
        return "because its penalty biases the coefficients"

    def checks(self) -> list[int]:
        """Numbers of rows after which there is an estimate."""
        return doubling(self.total)

    def codes(self, start: int, stop: int) -> Array:
        """Which cells are kept in the rows from ``start`` to ``stop``."""
        return bernoulli(self.seed, start, stop, (self.d,), self.keep_probability)

    def estimate(self, scores: Array, whole: Array) -> Estimate:
        """What the scores (k, M) of the first k rows tell, and those of the input itself (M,)."""
        kept = np.ones((len(scores) + 1, self.d))
        kept[1:] = self.codes(0, len(scores))
        answers = np.concatenate([whole[None], scores]).astype("float64")
        weights = _weights(kept.mean(1), self.kernel_width)
        if self.regressor is None:
            from sklearn.linear_model import Ridge

            fitted = Ridge(alpha=1.0, copy_X=False).fit(kept, answers, sample_weight=weights)
            values = np.reshape(fitted.coef_, (-1, self.d))
            return Estimate(values, None, np.ravel(fitted.intercept_))
        each = [self._fitted(kept, answer, weights) for answer in answers.T]
        values, base = zip(*each, strict=True)
        return Estimate(np.stack(values), None, np.array(base))

    def _fitted(self, kept: Array, answers: Array, weights: Array) -> tuple[Array, float]:
        fitted = _copy(self.regressor, self.seed).fit(kept, answers, sample_weight=weights)
        values = np.ravel(fitted.coef_).astype("float64")
        if values.shape != (self.d,):
            raise ValueError(
                f"`regressor` must have one number in `coef_` for each of {self.d} cells. "
                f"Received: {type(fitted).__name__} with {values.size}."
            )
        return values, float(np.ravel(getattr(fitted, "intercept_", 0.0))[0])


def check_regressor(regressor: Any) -> None:
    """Raise if this is known not to be a linear model that takes weights of samples."""
    name = regressor.__name__ if isinstance(regressor, type) else type(regressor).__name__
    if isinstance(regressor, type) or not callable(getattr(regressor, "fit", None)):
        raise TypeError(
            "`regressor` must be a regressor of scikit-learn, such as LinearRegression(). "
            f"Received: {name}{', a class' * isinstance(regressor, type)}."
        )
    if "sample_weight" not in inspect.signature(regressor.fit).parameters:
        raise TypeError(
            "`regressor` must take `sample_weight` in `fit`, because samples near the input "
            f"weigh more. Received: {name}."
        )
    from sklearn.base import is_classifier

    if is_classifier(regressor) or _without_coefficients(regressor):
        raise TypeError(
            "`regressor` must be a linear model of numbers, with `coef_` after `fit`. "
            f"Received: {name}."
        )


def _without_coefficients(regressor: Any) -> bool:
    """Whether a fit to a sum of bits leaves no coefficients; unknown where it cannot be fitted."""
    bits = np.array([[row >> k & 1 for k in range(4)] for row in range(16)], float)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            fitted = _copy(regressor, 0).fit(bits, 1 + bits.sum(1), sample_weight=np.ones(16))
        except ValueError:
            return False
    return not hasattr(fitted, "coef_")


def _copy(regressor: Any, seed: int) -> Any:
    """An unfitted copy, whose random numbers are not those of the whole process."""
    from sklearn.base import clone

    copied: Any = clone(regressor, safe=False)
    settings = copied.get_params() if hasattr(copied, "get_params") else {}
    if settings.get("random_state", 0) is None:
        copied.set_params(random_state=seed % 2**32)
    return copied


def _weights(share: Array, width: float) -> Array:
    """Weights of rows that keep a share of the cells, by their cosine distance from the input."""
    return np.exp(-((1 - np.sqrt(share)) ** 2) / (2 * width**2))
