"""HSIC: how much the score depends on the mask of a cell."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from xai_core import _checks
from xai_core.attributions.sampled import CELLS, AbstractSampled
from xai_core.dependence import HsicDesign
from xai_core.estimators import Design


@dataclass(frozen=True, eq=False, kw_only=True)
class HSIC(AbstractSampled):
    r"""Hilbert-Schmidt independence criterion of each cell's mask and the score.

    .. math:: \phi_i = \frac{1}{(p - 1)^2} \operatorname{tr}(K_i H L H), \qquad
        L_{jk} = e^{-(s_j - s_k)^2 / 2 \sigma^2}

    over p masks, with the kernel K_i of the cell's part of the masks and :math:`\sigma` the median
    distance of two scores. ``p_values`` of the Explanation test whether the score depends on a
    cell at all, ``interactions`` holds the same criterion for pairs of cells together. Between
    the centres of two cells masks and maps are interpolated; ``standard_error`` is then an upper
    bound, that of the cells stands in ``feature_standard_error``.

    Parameters
    ----------
    model : model, function or estimator
        Any model that predicts.
    operator, output, batch_size, progress
        As for every explainer: see `AbstractExplainer`.
    n_samples : int
        Number of masks, at least 4; a power of two for the Sobol' sequence.
    sampler : {"lhs", "sobol", "halton", "random"}
        Latin hypercube, scrambled sequences of Sobol' or Halton, independent points. The
        sequences give no standard error.
    masks : {"binary", "uniform"}
        Cells are kept or not, or kept in part.
    kernel : {"rbf", "sobolev"}, optional
        Of uniform masks, "sobolev" by default. On binary ones both would only change the
        scale.
    interactions : bool
        Also what each pair of cells tells together beyond the two, for "lhs" and "random".
    p_value_permutations : int
        Random columns beside those of the cells that the p-values count; 0 takes the gamma
        approximation.
    grid_size : int or tuple of int, optional
        Number of cells along each axis of space or time. By default 16 windows of a series, 8
        along an image's sides, 4 along a volume's.
        A table has a cell for each column.
    feature_mask, per_channel
        Other cells: see `Occlusion`.
    baseline : number, array, "mean", "blur", callable or list, optional
        What stands in a masked cell: see `IntegratedGradients`; 0 by default. A list means the
        average of the scores.
    background : array or DataFrame, shape (B, ...), optional
        Rows of data instead, of which each mask takes one at random.
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
    Novello, Fel and Vigouroux, 2022, "Making Sense of Dependence: Efficient Black-box
    Explanations Using Dependence Measure", https://arxiv.org/abs/2206.06219.

    Examples
    --------
    >>> import numpy as np
    >>> hsic = HSIC(lambda x: x[:, 0] * x[:, 1], operator="regression", interactions=True)
    >>> found = hsic(np.ones((1, 3)), targets=0)
    >>> (found.p_values < 0.01).tolist()
    [[True, True, False]]
    """

    n_samples: int = 1024
    sampler: str = "lhs"
    masks: str = "binary"
    kernel: str | None = None
    interactions: bool = False
    p_value_permutations: int = 0

    signed = False
    smooth: ClassVar[bool] = True
    way_to_errors: ClassVar[str] = "Draw 128 masks or more, by sampler 'lhs' or 'random'."
    _usual_cells = CELLS | {4: 8}
    source: ClassVar[str] = (
        "Novello et al., 2022, Making Sense of Dependence, https://arxiv.org/abs/2206.06219"
    )

    @property
    def keeps_parts(self) -> bool:
        """Whether a mask may keep a cell in part."""
        return self.masks == "uniform"

    def _check_design(self) -> None:
        _checks.integer("n_samples", self.n_samples, minimum=4)
        self._design(2)

    def _design(self, count: int) -> Design:
        """Masks over a number of cells."""
        return HsicDesign(
            count,
            self.n_samples,
            self.sampler,
            self.masks,
            self.kernel,
            self.interactions,
            self.p_value_permutations,
            self.seed,
        )
