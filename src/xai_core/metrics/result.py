"""What every metric returns."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from xai_core.typing import Array


@dataclass(frozen=True, eq=False, repr=False)
class MetricResult:
    """One score per explained input; ``float(result)`` is their mean.

    Parameters
    ----------
    metric : str
        Name of the metric's class.
    scores : array, shape (N,)
        One number per input.
    higher_is_better : bool
        Whether a larger number means a better explanation.
    curves : array, shape (N, S + 1), optional
        The model's score at each step.
    shares : array, shape (S + 1,), optional
        Which share of the elements is removed or inserted at each step, from 0 to 1.
    predictions : array, shape (N, S + 1), optional
        The predicted class at each step, of a `Deletion` of a classification with one baseline.
    flip_share : array, shape (N,), optional
        The smallest of the shares at which another class is predicted than at the first; NaN
        where there is none.

    Examples
    --------
    >>> import numpy as np
    >>> result = MetricResult("Deletion", np.array([0.1, 0.3]), higher_is_better=False)
    >>> result, float(result)
    (MetricResult(Deletion, mean=0.2, N=2, lower is better), 0.2)
    """

    metric: str
    scores: Array
    higher_is_better: bool
    curves: Array | None = None
    shares: Array | None = None
    predictions: Array | None = None
    flip_share: Array | None = None

    def __float__(self) -> float:
        """Return the mean over the inputs."""
        return float(np.mean(self.scores))

    def __len__(self) -> int:
        """Return the number of inputs."""
        return len(self.scores)

    def __repr__(self) -> str:
        """Tell the metric, the mean, and which direction is better."""
        better = "higher" if self.higher_is_better else "lower"
        return (
            f"MetricResult({self.metric}, mean={float(self):.4g}, N={len(self)}, {better} is "
            "better)"
        )
