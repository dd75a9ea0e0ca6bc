"""LIME: a linear model of the score near the input."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from xai_core.attributions.sampled import AbstractSampled
from xai_core.estimators import Design
from xai_core.surrogates import SurrogateDesign


@dataclass(frozen=True, eq=False, kw_only=True)
class LIME(AbstractSampled):
    r"""Coefficients of a linear model of the score over cells that are on or off.

    .. math:: \min_{\beta, c} \sum_z e^{-D(z)^2 / 2 w^2} \bigl(s(x_z) - c - \beta z\bigr)^2
        + \alpha \|\beta\|^2, \qquad D(z) = 1 - \sqrt{|z| / d}

    Cells are on or off for tables too; the quartiles of the package lime are not used.
    ``features`` of the Explanation holds the coefficient of each cell, ``base_values`` the
    intercept. There is no standard error, for the penalty biases the coefficients.

    Parameters
    ----------
    model : model, function or estimator
        Any model that predicts.
    operator, output, batch_size, progress
        As for every explainer: see `AbstractExplainer`.
    n_samples : int
        Number of model rows, at least 2; the first is the input itself.
    keep_probability : float
        Of each cell to be on, within (0, 1).
    kernel_width : float
        w, above 0: how fast the weight falls with the cosine distance D from the input.
    regressor : scikit-learn regressor, optional
        Fitted on a copy, with ``sample_weight``; its ``coef_`` are the values. By default
        ``Ridge(alpha=1)``.
    grid_size : int or tuple of int, optional
        Number of cells along each axis of space or time. By default 16 windows of a series, 7
        along an image's sides, 4 along a volume's.
        A table has a cell for each column.
    feature_mask, per_channel
        Other cells: see `Occlusion`.
    baseline : number, array, "mean", "blur", callable or list, optional
        What stands in a masked cell: see `IntegratedGradients`; 0 by default. A list means the
        average of the scores.
    background : array or DataFrame, shape (B, ...), optional
        Rows of data instead, of which each mask takes one at random.
    tolerance : None
        Refused: there is no standard error.
    seed : int
        From 0 to 2**64 - 1. All inputs have the same masks, on every backend and for every batch
        size.

    Raises
    ------
    TypeError, ValueError
        If a field is wrong, at construction; if inputs or targets do not fit, at the call.

    Notes
    -----
    Ribeiro, Singh and Guestrin, 2016, "Why Should I Trust You? Explaining the Predictions of Any
    Classifier", https://arxiv.org/abs/1602.04938. `images.superpixels` makes segments.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import LinearRegression
    >>> weights = np.array([2.0, -3.0, 0.5])
    >>> lime = LIME(lambda x: x @ weights, operator="regression", regressor=LinearRegression())
    >>> lime(np.array([[1.0, 2.0, 4.0]]), targets=0).values.round(3)
    array([[ 2., -6.,  2.]], dtype=float32)
    """

    n_samples: int = 1000
    keep_probability: float = 0.5
    kernel_width: float = 0.25
    regressor: Any = None

    way_to_errors: ClassVar[str] = "Leave it out, or take KernelSHAP or ShapleySampling."
    source: ClassVar[str] = (
        "Ribeiro et al., 2016, Why Should I Trust You?, https://arxiv.org/abs/1602.04938"
    )

    def _check_design(self) -> None:
        self._design(2)

    def _design(self, count: int) -> Design:
        """Random cells that are on."""
        fields = self.keep_probability, self.kernel_width, self.regressor, self.seed
        return SurrogateDesign(count, self.n_samples, *fields)
