"""What the scores of an operator say against it, as sentences to warn with."""

from __future__ import annotations

from xai_core import _detection, operators
from xai_core.typing import Array, Operator

_HIGHEST: dict[Operator, float] = {
    operators.embedding_similarity: 1.0 - 1e-6,
    operators.object_detection_box_position: 1.0 - 1e-3,
    operators.object_detection_box_class: 1.0 - 1e-3,
}
"""Scores that have their highest value, up to rounding, and so no gradient."""


def of_scores(operator: Operator, scores: Array) -> list[str]:
    """Doubts about scores (N, M)."""
    if any(operator is one for one in _detection.EVERY) and (scores == 0).any():
        return [
            f"The score of {int((scores == 0).any(axis=1).sum())} of {len(scores)} samples is 0: "
            "no predicted box agrees with the reference boxes. Check that `targets` are corners "
            "in the units of the model's own boxes."
        ]
    return []


def of_gradients(operator: Operator, scores: Array) -> list[str]:
    """Doubts about the gradients of scores (N, M) at the inputs themselves."""
    highest = next((top for one, top in _HIGHEST.items() if one is operator), None)
    if highest is None or not (scores > highest).any():
        return []
    return [
        f"The score of {int((scores > highest).any(axis=1).sum())} of {len(scores)} samples is 1, "
        "its highest value, where it has no gradient: the model's output equals `targets`. Pass "
        "targets of other inputs, or explain it by SmoothGrad or a method that perturbs."
    ]


def advice_on_zero(operator: Operator) -> str:
    """What to do about maps of a gradient method that are zero everywhere."""
    if any(operator is one for one in _detection.EVERY):
        return (
            "A predicted box has no gradient where it equals its reference, and where it overlaps "
            "none. Explain such scores by SmoothGrad or a method that perturbs."
        )
    if operators.is_own(operator):
        return "Check that `operator` uses only differentiable operations of the framework."
    return (
        "The score does not depend on these inputs, or the model computes it by what has no "
        "gradient, such as rounding, argmax, stop_gradient or detach."
    )
