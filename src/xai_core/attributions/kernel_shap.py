"""KernelSHAP: Shapley values by a weighted regression over coalitions of cells."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from xai_core.attributions.sampled import AbstractSampled
from xai_core.coalitions import KernelDesign
from xai_core.estimators import Design


@dataclass(frozen=True, eq=False, kw_only=True)
class KernelSHAP(AbstractSampled):
    r"""Shapley values of the cells, by least squares over coalitions with the Shapley kernel.

    .. math:: \min_\phi \sum_z \frac{d - 1}{\binom{d}{|z|} |z| (d - |z|)}
        \Bigl(s(x_z) - s(b) - \sum_i z_i \phi_i\Bigr)^2, \qquad \sum_i \phi_i = s(x) - s(b)

    Where all coalitions cost no more than ``n_samples``, they are all asked, and the values are
    exact. ``features`` of the Explanation holds the value of each cell; their sum is
    ``scores`` - ``base_values``.

    Parameters
    ----------
    model : model, function or estimator
        Any model that predicts.
    operator, output, batch_size, progress
        As for every explainer: see `AbstractExplainer`.
    n_samples : int or "exact"
        Number of model rows, those of the input and of the baseline among them. "exact" asks all
        coalitions of at most 16 cells.
    link : {"identity", "logit"}
        "logit" explains the log-odds of a score that is a probability.
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
        At most 100 rows of data instead; the score of each mask is the mean over them
        (interventional).
    tolerance : float, optional
        Stop as soon as the mean standard error of the cells is at most this share of the largest
        absolute value of a cell; looked at after 256, 512, 1,024, ... masks, of
        each input by itself.
    seed : int
        From 0 to 2**64 - 1. All inputs have the same masks, on every backend and for every batch
        size.

    Raises
    ------
    TypeError, ValueError
        If a field is wrong, at construction; if inputs or targets do not fit, at the call.

    Notes
    -----
    Lundberg and Lee, 2017, "A Unified Approach to Interpreting Model Predictions",
    https://arxiv.org/abs/1705.07874. ``standard_error`` is known from 512 rows on.

    Examples
    --------
    >>> import numpy as np
    >>> shap = KernelSHAP(lambda x: x.prod(axis=1), operator="regression")
    >>> shap(np.array([[1.0, 2.0, 3.0]]), targets=0).values
    array([[2., 2., 2.]], dtype=float32)
    """

    n_samples: int | Literal["exact"] = 2048
    link: str = "identity"

    averages_background: ClassVar[bool] = True
    source: ClassVar[str] = (
        "Lundberg and Lee, 2017, A Unified Approach to Interpreting Model Predictions, "
        "https://arxiv.org/abs/1705.07874"
    )

    def _check_design(self) -> None:
        self._design(2)

    def _design(self, count: int) -> Design:
        """Coalitions of a number of cells."""
        return KernelDesign(count, self.n_samples, self.link, self.seed)
