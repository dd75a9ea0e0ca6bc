"""Shapley values by random permutations of the cells."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from xai_core.attributions.sampled import AbstractSampled
from xai_core.coalitions import PermutationDesign
from xai_core.estimators import Design


@dataclass(frozen=True, eq=False, kw_only=True)
class ShapleySampling(AbstractSampled):
    r"""Shapley values of the cells: what each adds to those before it, in random orders.

    .. math:: \hat\phi_i = \frac{1}{n} \sum_\pi \bigl(s(x_{\{j \le_\pi i\}})
        - s(x_{\{j <_\pi i\}})\bigr)

    ``features`` of the Explanation holds the value of each cell; their sum is ``scores`` -
    ``base_values`` for every number of permutations.

    Parameters
    ----------
    model : model, function or estimator
        Any model that predicts.
    operator, output, batch_size, progress
        As for every explainer: see `AbstractExplainer`.
    n_permutations : int
        Number of orders, each of which costs a model row less than there are cells.
    antithetic : bool
        Take each second order as the reverse of the one before.
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
        absolute value of a cell; looked at after about 256, 512, 1,024, ... masks, of
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
    Castro, Gomez and Tejada, 2009, "Polynomial Calculation of the Shapley Value Based on
    Sampling", https://doi.org/10.1016/j.cor.2008.04.004. ``standard_error`` is known from 512
    rows on.

    Examples
    --------
    >>> import numpy as np
    >>> shapley = ShapleySampling(lambda x: x @ np.array([2.0, -3.0, 0.5]), operator="regression")
    >>> shapley(np.array([[1.0, 2.0, 4.0]]), targets=0).values
    array([[ 2., -6.,  2.]], dtype=float32)
    """

    n_permutations: int = 32
    antithetic: bool = True
    link: str = "identity"

    averages_background: ClassVar[bool] = True
    way_to_errors: ClassVar[str] = "Raise `n_permutations`."
    source: ClassVar[str] = (
        "Castro et al., 2009, Polynomial Calculation of the Shapley Value Based on Sampling, "
        "https://doi.org/10.1016/j.cor.2008.04.004"
    )

    def _check_design(self) -> None:
        self._design(2)

    def _design(self, count: int) -> Design:
        """Orders of a number of cells."""
        return PermutationDesign(count, self.n_permutations, self.antithetic, self.link, self.seed)
