"""The radius of a low-pass that gives the most faithful maps."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from xai_core import _checks

SHARE = 15 / 224
"""The usual radius, as a share of the longest side."""


class SigmaFit(NamedTuple):
    """What `FORGrad.fit_sigma` tried, in rising order, and the mean that the metric gave each."""

    metric: str
    sigmas: tuple[float, ...]
    scores: tuple[float, ...]


def check_metric(metric: Any) -> None:
    """Raise unless it can judge explanations and says which direction is better."""
    if isinstance(metric, type) or not callable(metric):
        received = f"the class {metric.__name__}" if isinstance(metric, type) else repr(metric)
        raise TypeError(
            "`metric` must be an object that judges (explanations, inputs, targets), such as "
            f"Deletion(model). Received: {received}."
        )
    if not isinstance(getattr(metric, "higher_is_better", None), bool):
        raise TypeError(
            "`metric` must have `higher_is_better`, True or False. "
            f"Received: {type(metric).__name__} without it."
        )


def candidates(sigmas: Any) -> tuple[float, ...]:
    """Return radii that a user gives, in rising order."""
    if isinstance(sigmas, str) or not isinstance(sigmas, Iterable):
        raise TypeError(f"`sigmas` must be a sequence of numbers. Received: {sigmas!r}.")
    found = sorted({_checks.number("sigmas", sigma) for sigma in sigmas})
    if not found:
        raise ValueError("`sigmas` must hold at least one number. Received: none.")
    if found[0] <= 0:
        raise ValueError(f"`sigmas` must be positive. Received: {found[0]:g}.")
    return tuple(found)


def usual_candidates(lengths: Sequence[Sequence[int]]) -> tuple[float, ...]:
    """Return radii for maps with these sides: the usual one, half octaves from it, and no filter.

    Below 1 only the mean of a map is left. At L sqrt(axes) / 2 all frequencies are within.
    """
    longest = max(max(own) for own in lengths)
    end = max(max(own) * math.sqrt(len(own)) / 2 for own in lengths)
    octaves = math.ceil(math.log2(1 / SHARE))
    around = (SHARE * longest * 2 ** (k / 2) for k in range(-4 * octaves, 2 * octaves))
    return (*(sigma for sigma in around if 1 <= sigma < end), float(longest))


def fitted(
    metric: Any, sigmas: Sequence[float], judged: Callable[[float], Any]
) -> tuple[float, SigmaFit]:
    """Return the best radius, the larger one of equals, and what was tried."""
    scores = tuple(_score(sigma, judged(sigma)) for sigma in sigmas)
    sign = 1 if metric.higher_is_better else -1
    _, best = max((sign * score, sigma) for score, sigma in zip(scores, sigmas, strict=True))
    return best, SigmaFit(type(metric).__name__, tuple(sigmas), scores)


def _score(sigma: float, result: Any) -> float:
    try:
        score = float(result)
    except (TypeError, ValueError) as error:
        raise TypeError(
            "`metric` must return something that float() takes. "
            f"Received: {type(result).__name__} for sigma {sigma:.4g}."
        ) from error
    if not np.isfinite(score):
        raise ValueError(
            f"`metric` must give finite means. Received: {score} for sigma {sigma:.4g}."
        )
    return score
