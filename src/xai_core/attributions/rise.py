"""RISE: the mean score under random masks that keep an element."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from xai_core import _checks, _detection, designs
from xai_core.attributions.sampled import CELLS, AbstractSampled
from xai_core.attributions.shifted import coverage
from xai_core.estimators import Design, Estimate, doubling
from xai_core.typing import Array

_NORMALIZATIONS = ("coverage", "expected")
_USUAL, _OF_BOXES = 4000, 5000
_GRID_OF_BOXES = 16
_KEPT = 16
"""Times that an element is kept on average, of which none at all is next to impossible."""


@dataclass(frozen=True, eq=False, kw_only=True)
class RISE(AbstractSampled):
    r"""Mean score of the masked inputs in which an element is kept.

    .. math:: \phi_i = \frac{\sum_k s(x \odot m_k + b \odot (1 - m_k)) \, m_{ki}}{\sum_k m_{ki}}

    Each mask is a coarse grid of random bits, stretched smoothly over the input and shifted by a
    random part of a cell, of its own for each mask. Tables and groups of a ``feature_mask`` have
    plain bits. With `operators.object_detection` this is D-RISE.

    Parameters
    ----------
    model : model, function or estimator
        Any model that predicts.
    operator, output, batch_size, progress
        As for every explainer: see `AbstractExplainer`.
    n_samples : int, optional
        Number of masks, at least 16 / ``keep_probability``; 4,000 by default, 5,000 for the boxes
        of a detector.
    keep_probability : float
        Of each bit, within (0, 1).
    normalization : {"coverage", "expected"}
        Divide by how much of an element the masks kept, or as the paper by what they keep on
        average, ``n_samples`` times ``keep_probability``.
    grid_size : int or tuple of int, optional
        Number of cells along each axis of space or time. By default 16 windows of a series, 7
        along an image's sides, 16 for the boxes of a detector, 4 along a volume's. A table has a
        bit for each column.
    feature_mask, per_channel
        Other cells: see `Occlusion`.
    baseline : number, array, "mean", "blur", callable or list, optional
        What stands where nothing is kept: see `IntegratedGradients`; 0 by default.
    background : array or DataFrame, shape (B, ...), optional
        Rows of data instead, of which each mask takes one at random.
    tolerance : float, optional
        Stop as soon as the mean standard error is at most this share of the largest distance of
        a value from the mean score; looked at after 256, 512, 1,024, ... masks, of each input by
        itself.
    seed : int
        From 0 to 2**64 - 1. All inputs have the same masks, on every backend and for every batch
        size.

    Raises
    ------
    TypeError, ValueError
        If a field is wrong, at construction; if inputs or targets do not fit, at the call.

    Notes
    -----
    Petsiuk, Das and Saenko, 2018, "RISE: Randomized Input Sampling for Explanation of Black-box
    Models", https://arxiv.org/abs/1806.07421; D-RISE: Petsiuk et al., 2021,
    https://arxiv.org/abs/2006.03204. ``standard_error`` is that of the ratio, by the delta
    method.

    Examples
    --------
    >>> import numpy as np
    >>> weights = np.array([1.0, 2.0, 3.0])
    >>> rise = RISE(lambda x: x @ weights, operator="regression", seed=1)
    >>> rise(np.ones((1, 3)), targets=0).values.round(1)
    array([[3.5, 4. , 4.5]], dtype=float32)
    """

    n_samples: int | None = None
    keep_probability: float = 0.5
    normalization: str = "coverage"

    signed = False
    shifted: ClassVar[bool] = True
    source: ClassVar[str] = "Petsiuk et al., 2018, RISE, https://arxiv.org/abs/1806.07421"

    def _check_design(self) -> None:
        if self.n_samples is not None:
            _checks.integer("n_samples", self.n_samples)
        _checks.choice("normalization", self.normalization, _NORMALIZATIONS)
        probability = _checks.number("keep_probability", self.keep_probability)
        if not 0 < probability < 1:
            raise ValueError(f"`keep_probability` must be within (0, 1). Received: {probability}.")
        least, count = _least(probability), self._design(1).total
        if count < least:
            raise ValueError(
                f"`n_samples` must be at least {least} for a `keep_probability` of {probability}, "
                f"so that every element is kept by some masks. Received: {count}."
            )

    @property
    def _of_boxes(self) -> bool:
        return any(self._operator is one for one in _detection.EVERY)

    @property
    def _usual_cells(self) -> dict[int, int]:
        return CELLS | {4: _GRID_OF_BOXES} if self._of_boxes else CELLS

    def _design(self, count: int) -> Design:
        """Independent bits for each cell."""
        usual = _OF_BOXES if self._of_boxes else _USUAL
        total = usual if self.n_samples is None else self.n_samples
        expected = self.keep_probability if self.normalization == "expected" else None
        return BernoulliDesign(count, total, self.keep_probability, expected, self.seed)


@dataclass(frozen=True)
class BernoulliDesign:
    """Independent bits, and the mean score where a cell is kept.

    Parameters
    ----------
    count
        Number of cells.
    n_samples
        Number of masks.
    probability
        Of each bit.
    expected
        The share that masks are taken to keep of a cell; None is what they kept.
    seed
        From 0 to 2**64 - 1.
    """

    count: int
    n_samples: int
    probability: float
    expected: float | None
    seed: int

    @property
    def total(self) -> int:
        """Number of masks."""
        return self.n_samples

    @property
    def without_error(self) -> None:
        """All masks are independent."""
        return None

    def checks(self) -> list[int]:
        """After 256, 512, 1,024, ... masks that keep every element, and at the end."""
        least = _least(self.probability)
        return [k for k in doubling(self.n_samples) if k >= least or k == self.n_samples]

    def codes(self, start: int, stop: int) -> Array:
        """The bits of some masks, (stop - start, count)."""
        return designs.bernoulli(self.seed, start, stop, (self.count,), self.probability)

    def estimate(self, scores: Array, whole: Array) -> Estimate:
        """The mean score where a cell is kept, (M, d), with its standard error."""
        del whole
        kept = self.codes(0, len(scores)).astype("float64")
        middle = scores.mean(axis=0)
        moved = (scores - middle).T
        powers = [moved**k for k in range(3)]
        sums = [kept.sum(axis=0), (kept**2).sum(axis=0), moved @ kept]
        sums += [powers[1] @ kept**2, powers[2] @ kept**2]
        return Estimate(*coverage(len(scores), sums, middle, self.expected), level=middle)


def _least(probability: float) -> int:
    """The fewest masks after which every element was kept by some."""
    return math.ceil(_KEPT / probability)
