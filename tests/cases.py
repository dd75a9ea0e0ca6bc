"""One row per public class: what a new method adds to be held to the whole contract."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

import tiny_models
import xai_core as xai

EVERY = tuple(name for name in tiny_models.KINDS if name not in ("shared", "series_first"))
CONVOLUTIONAL = tuple(name for name in EVERY if name not in ("table", "torch_table"))


def tripled(model, inputs, targets):
    """A custom operator: three times the score of classification."""
    return 3 * xai.operators.classification(model, inputs, targets)


@dataclass(frozen=True)
class Change:
    """Two values of a field that must give different maps, on a kind, with other fields fixed."""

    first: Any
    second: Any
    on: str = "image"
    fixed: Mapping[str, Any] = field(default_factory=dict)


SHARED_CHANGES = {"operator": Change(None, tripled), "output": Change("raw", "softmax")}
NEUTRAL = {"batch_size": (1, 3, 64), "progress": (True, False)}


@dataclass(frozen=True)
class Case:
    """A public class, what it can explain, and what each of its fields does."""

    name: str
    kinds: tuple[str, ...]
    changes: Mapping[str, Change]
    neutral: Mapping[str, tuple] = field(default_factory=lambda: NEUTRAL)
    fields: Mapping[str, Any] = field(default_factory=dict)
    linear: Mapping[str, Any] | None = None
    """Fields under which the map of a weighted sum of targets is the weighted sum of their maps."""
    one_feature: bool = False
    """True where a series gives (N, T, 1)."""
    constant_is_zero: bool = True
    scores_only: Mapping[str, Change] = field(default_factory=dict)
    """Fields that change the scores beside the map, for methods that ignore the model."""

    @property
    def cls(self):
        return getattr(xai.attributions, self.name)

    @property
    def reduces(self):
        return "reducer" in self.changes

    def build(self, model, **fields):
        return self.cls(model, **{**self.fields, **fields})

    def on(self, kind, **fields):
        """The explainer of the shared model of a kind."""
        return self.build(tiny_models.model(kind, self.name), **fields)


CASES = (
    Case(
        "Saliency",
        kinds=EVERY,
        changes={
            **SHARED_CHANGES,
            "reducer": Change("max", "mean"),
            "absolute": Change(True, False),
        },
        linear={"absolute": False, "reducer": None},
    ),
    Case(
        "GradientInput",
        kinds=EVERY,
        changes={**SHARED_CHANGES, "reducer": Change("sum", "abs_max")},
        linear={},
    ),
    Case(
        "IntegratedGradients",
        kinds=EVERY,
        fields={"steps": 5, "rule": "gauss_legendre"},
        changes={
            **SHARED_CHANGES,
            "reducer": Change("sum", "abs_max"),
            "steps": Change(2, 5),
            "rule": Change("trapezoid", "gauss_legendre"),
            "baseline": Change(0.0, 0.4),
        },
        linear={},
    ),
    Case(
        "GradCAM",
        kinds=CONVOLUTIONAL,
        changes={
            **SHARED_CHANGES,
            "layer": Change(None, "conv1"),
            "call": Change(0, 1, on="shared", fixed={"layer": "shared"}),
            "signed": Change(False, True),
        },
        linear={"signed": True},
        one_feature=True,
    ),
    Case(
        "RandomMap",
        kinds=EVERY,
        changes={"grid_size": Change(None, 2), "seed": Change(0, 1)},
        scores_only=SHARED_CHANGES,
        constant_is_zero=False,
    ),
)

BY_NAME = {case.name: case for case in CASES}
GRADIENTS = tuple(case for case in CASES if case.linear is not None)

TARGETS = np.array([2, 0, 1, 1, 0])
"""Target classes of the five rows that the contract explains."""

EACH = [pytest.param(case, id=case.name) for case in CASES]
PAIRS = [
    pytest.param(case, tiny_models.KINDS[name], id=f"{case.name}-{name}")
    for case in CASES
    for name in case.kinds
]
