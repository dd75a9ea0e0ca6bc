"""Sobol: how much of the score's variance the mask of a cell is responsible for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, ClassVar

import numpy as np
from scipy import ndimage

from xai_core import _checks, images, perturbation
from xai_core.attributions.sampled import CELLS, AbstractSampled
from xai_core.estimators import Design
from xai_core.sensitivity import SobolDesign
from xai_core.typing import Array, Tensor

_PERTURBATIONS = ("inpainting", "blurring", "amplitude")
_USUAL_SIGMA = {"blurring": 10, "amplitude": 1.0}


@dataclass(frozen=True, eq=False, kw_only=True)
class Sobol(AbstractSampled):
    r"""Total Sobol' index of each cell's mask, a real number from 0 to 1.

    .. math:: S_{T_i} = \frac{E\bigl[V(s(x_m) \mid m_{\sim i})\bigr]}{V(s(x_m))}

    It counts what the cell does alone and together with others. ``first_order`` of the
    Explanation holds what it does alone, V(E[s | m_i]) / V(s). Between the centres of two cells
    masks and maps are interpolated; ``standard_error`` is then an upper bound, that of the cells
    stands in ``feature_standard_error``.

    Parameters
    ----------
    model : model, function or estimator
        Any model that predicts.
    operator, output, batch_size, progress
        As for every explainer: see `AbstractExplainer`.
    n_design : int
        Rows of the design, each of which costs as many model rows as there are cells, and two; a
        power of two for the Sobol' sequence.
    n_blocks : int
        Number of independent designs that are averaged.
    sampler : {"lhs", "sobol", "halton", "random"}
        Latin hypercube, scrambled sequences of Sobol' or Halton, independent points.
    estimator : {"jansen", "homma", "janon", "saltelli", "glen"}
        Of the total index.
    first_order_estimator : {"saltelli", "jansen"}
        Of the first-order index.
    perturbation : {"inpainting", "blurring", "amplitude"}
        What a mask m does: x m + b (1 - m) with the baseline b or with a blurred x, or
        x + (m - 1/2) ``sigma``.
    sigma : number, optional
        Side of the blur's box in elements, 10 by default; or the amplitude, 1 by default.
    grid_size : int or tuple of int, optional
        Number of cells along each axis of space or time. By default 16 windows of a series, 8
        along an image's sides, 4 along a volume's.
        A table has a cell for each column.
    feature_mask, per_channel
        Other cells: see `Occlusion`.
    baseline : number, array, "mean", "blur", callable or list, optional
        What stands in a masked cell: see `IntegratedGradients`; 0 by default.
    background : array or DataFrame, shape (B, ...), optional
        Rows of data instead, of which each row of the design takes one at random.
    tolerance : float, optional
        Stop as soon as the mean standard error of the cells is at most this share of the largest
        absolute value of a cell; looked at after each block, of
        each input by itself. Needs several blocks.
    seed : int
        From 0 to 2**64 - 1. All inputs have the same masks, on every backend and for every batch
        size.

    Raises
    ------
    TypeError, ValueError
        If a field is wrong, at construction; if inputs or targets do not fit, at the call.

    Notes
    -----
    Fel et al., 2021, "Look at the Variance! Efficient Black-box Explanations with Sobol-based
    Sensitivity Analysis", https://arxiv.org/abs/2111.04138. Standard errors come from rows that are
    drawn again for "random", and for "lhs" below eight blocks; from the blocks for "lhs", "sobol"
    and "halton" from eight on. The two sequences have none below.

    Examples
    --------
    >>> import numpy as np
    >>> sobol = Sobol(lambda x: x @ np.array([1.0, 2.0, 3.0]), operator="regression", n_design=512)
    >>> sobol(np.ones((1, 3)), targets=0).values.round(1)
    array([[0.1, 0.3, 0.6]], dtype=float32)
    """

    n_design: int = 32
    n_blocks: int = 1
    sampler: str = "lhs"
    estimator: str = "jansen"
    first_order_estimator: str = "saltelli"
    perturbation: str = "inpainting"
    sigma: float | None = None

    signed = False
    keeps_parts = True
    smooth: ClassVar[bool] = True
    way_to_errors: ClassVar[str] = "Raise `n_blocks`, to 16 for example."
    _usual_cells = CELLS | {4: 8}
    source: ClassVar[str] = (
        "Fel et al., 2021, Look at the Variance!, https://arxiv.org/abs/2111.04138"
    )

    def _check_design(self) -> None:
        self._design(2)
        _checks.choice("perturbation", self.perturbation, _PERTURBATIONS)
        if self.perturbation == "inpainting":
            if self.sigma is not None:
                raise ValueError(
                    '`sigma` must be left out for `perturbation="inpainting"`. '
                    f"Received: {self.sigma!r}."
                )
            return
        for name in ("baseline", "background"):
            if getattr(self, name) is not None:
                raise ValueError(
                    f'`{name}` must be left out for `perturbation="{self.perturbation}"`, which '
                    "needs none."
                )
        if self.sigma is not None and not _checks.number("sigma", self.sigma) > 0:
            raise ValueError(f"`sigma` must be above 0. Received: {self.sigma}.")
        if self.sigma is not None and self.perturbation == "blurring":
            _checks.integer("sigma", self.sigma, minimum=2)

    def _check_errors(self, design: Design) -> None:
        super()._check_errors(design)
        if self.tolerance is not None and self.n_blocks == 1:
            raise ValueError(
                "`tolerance` needs several blocks, after each of which it is looked at. "
                f"Received: {self.tolerance} beside 1 in `n_blocks`. {self.way_to_errors}"
            )

    def _design(self, count: int) -> Design:
        """Replicated designs over a number of cells."""
        estimators = self.estimator, self.first_order_estimator
        return SobolDesign(
            count, self.n_design, self.n_blocks, self.sampler, *estimators, self.seed
        )

    def _share(self, count: int) -> int:
        """A row of the design, of which the masks differ in single cells only."""
        return count + 2

    def _blend(self) -> Callable[..., Any]:
        return _amplified if self.perturbation == "amplitude" else perturbation.replaced

    @cached_property
    def _baseline(self) -> Any:
        """What stands in a masked cell; the amplitude, where masks are added."""
        if self.perturbation == "inpainting":
            return 0.0 if self.baseline is None else self.baseline
        sigma = _USUAL_SIGMA[self.perturbation] if self.sigma is None else self.sigma
        if self.perturbation == "amplitude":
            return float(sigma)
        return partial(_blurred, self._model.layout, int(sigma))


def _amplified(arrays: Any, x: Tensor, mask: Any, absent: Any) -> Any:
    """Rows to which the mask is added, from -1/2 to 1/2 of the amplitude."""
    x, mask, absent = perturbation.in_one_type(arrays, x, mask, absent)
    return x + (mask - 0.5) * absent


def _blurred(layout: Callable[[int], str], side: int, x: Array) -> Array:
    """The mean over a box around each element."""
    if x.ndim < 3:
        raise ValueError(
            f'`perturbation="blurring"` needs inputs with space or time. Received: shape {x.shape}.'
        )
    axes = images.spatial_axes(x.ndim, layout(x.ndim))
    sides: Any = [side if axis in axes else 1 for axis in range(x.ndim)]
    return ndimage.uniform_filter(np.asarray(x, "float64"), sides, mode="nearest")
