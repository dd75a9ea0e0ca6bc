"""One row per public class: what a new method adds to be held to the whole contract."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression

import tiny_models
import xai_core as xai

VOLUMES = tuple(name for name in tiny_models.KINDS if name.endswith("volume"))
"""Not for every method, for each compiles its own steps; the oracles are met by all of them."""
APART = ("shared", "series_first", *VOLUMES)
EVERY = tuple(name for name in tiny_models.KINDS if name not in APART)
CONVOLUTIONAL = tuple(name for name in EVERY if name not in ("table", "torch_table"))


def tripled(model, inputs, targets):
    """A custom operator: three times the score of classification."""
    return 3 * xai.operators.classification(model, inputs, targets)


def squared(model, inputs, targets):
    """A custom operator for indices that do not depend on the scale of the score."""
    score = xai.operators.classification(model, inputs, targets)
    return score * score


@dataclass(frozen=True)
class Change:
    """Two values of a field that must give different maps, on a kind, with other fields fixed."""

    first: Any
    second: Any
    on: str = "image"
    fixed: Mapping[str, Any] = field(default_factory=dict)
    of: str = "values"
    """What of the Explanation must differ."""


GROUPS = np.arange(70).reshape(7, 10) // 12
"""Parts of an image that are no patches."""

SHARED = {"operator", "output", "batch_size"}
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
    wraps: str | None = None
    """The method whose explainer is given in place of the model, with all fields but the own."""
    linear: Mapping[str, Any] | None = None
    """Fields under which the map of a weighted sum of targets is the weighted sum of their maps."""
    one_feature: bool = False
    """True where a series gives (N, T, 1)."""
    constant_is_zero: bool = True
    models_of: str | None = None
    """The method whose copies of the shared models are taken, for it asks for the same steps."""
    refused: Mapping[str, Any] = field(default_factory=dict)
    """Fields that only exist because those of all such methods do, and a value that is refused."""
    scores_only: Mapping[str, Change] = field(default_factory=dict)
    """Fields that change the scores beside the map, for methods that ignore the model."""
    rectified: bool = False
    """True where the models must have rectifiers, and better nothing else."""
    tolerance: float = 1e-5
    """How near maps must be that other batches or number types give."""
    at_layer: bool = False
    """True where the map has the shape of a layer, which may be that of the input."""

    @property
    def cls(self):
        return getattr(xai.attributions, self.name)

    @property
    def unreduced(self):
        """Fields under which a call reduces no channels; None for a method that never does."""
        reduces = BY_NAME[self.wraps].unreduced if self.wraps else "reducer" in self.changes
        return {"reducer": None} if reduces else None

    def build(self, model, **fields):
        if self.wraps:
            own = {one.name for one in dataclasses.fields(self.cls)} - SHARED
            theirs = {name: fields.pop(name) for name in fields.keys() - own}
            model = BY_NAME[self.wraps].build(model, **theirs)
        fields = {**self.fields, **fields}
        if fields.get("background", False) is BACKGROUND:
            fields["background"] = background_of(model)
        return self.cls(model, **fields)

    def settings(self, explainer):
        """The explainer that holds the shared fields."""
        return explainer.model if self.wraps else explainer

    def replaced(self, explainer, **shared):
        """A copy with other shared fields."""
        if self.wraps:
            return replace(explainer, model=replace(explainer.model, **shared))
        return replace(explainer, **shared)

    def on(self, kind, **fields):
        """The explainer of the shared model of a kind."""
        return self.build(self.model(kind), **fields)

    def model(self, kind, owner=None):
        """The shared model of a kind."""
        return tiny_models.model(kind, owner or self.models_of or self.name, self.rectified)

    def fresh(self, kind):
        """A model of a kind that tests may change."""
        return tiny_models.fresh(kind, self.rectified)

    @property
    def few_rows(self):
        """A batch size that is less than the rows of a call, and does not take many batches."""
        return 24 if self.neutral is SIZES_ELSEWHERE else 3

    @property
    def acts(self):
        """The activations of a network."""
        return {"trunk": "relu", "inner": "relu"} if self.rectified else {}


BACKGROUND = object()
"""Stands for rows that fit the inputs of the model."""


def background_of(model, rows=3):
    """Rows for a Keras model of some kind, or for a torch module that takes images."""
    source = getattr(model, "source", model)
    if hasattr(source, "input_shape"):
        shape = tuple(source.input_shape[1:])
        fitting = (kind for kind in tiny_models.KINDS.values() if not kind.native)
        fitting = [kind for kind in fitting if kind.inputs(1).shape[1:] == shape]
    else:
        last = getattr(model, "data_format", None) == "channels_last"
        fitting = [tiny_models.KINDS["image" if last else "channels_first"]]
    return fitting[0].inputs(rows, seed=9)


NOISY = {"n_samples": 4, "noise": 0.3, "noise_scale": "absolute"}
NOISY_CHANGES = {
    **SHARED_CHANGES,
    "n_samples": Change(4, 6),
    "noise": Change(0.3, 0.5),
    "noise_scale": Change("absolute", "range"),
    "seed": Change(0, 2**32),
}

SAMPLED_CHANGES = {
    **SHARED_CHANGES,
    "grid_size": Change(None, 3),
    "feature_mask": Change(None, GROUPS),
    "per_channel": Change(None, True),
    "baseline": Change(None, 0.4),
    "background": Change(None, tiny_models.KINDS["image"].inputs(3, seed=9)),
    "tolerance": Change(None, 100.0, on="table", fixed={"n_samples": 300}),
    "seed": Change(0, 2**32),
}

CAM_CHANGES = {
    **SHARED_CHANGES,
    "layer": Change(None, "conv1"),
    "call": Change(0, 1, on="shared", fixed={"layer": "shared"}),
    "signed": Change(False, True),
}
# What differs by layout and rank, their oracles are tried on; the rest of the contract compiles
# steps of its own for each kind.
CAM_KINDS = GUIDED_KINDS = ("image", *(kind for kind in EVERY if kind == "torch_image"))
PATH_CHANGES = {
    **SHARED_CHANGES,
    "reducer": Change("sum", "abs_max"),
    "layer": Change(None, "conv1"),
    "call": Change(0, 1, on="shared", fixed={"layer": "shared"}),
}
NO_SOFTMAX = {"output": Change("raw", "sigmoid")}
QUOTIENTS = 2e-4
"""Those of small differences have the rounding of the numbers they are of."""
OTHER_ROWS = Change(*(tiny_models.KINDS["image"].inputs(3, seed=seed) for seed in (8, 9)))

SOME = tuple(name for name in EVERY if name not in ("gray", "torch_table"))
# Of one row and of few, `test_sampled` tries.
SIZES_ELSEWHERE = {"batch_size": (64,), "progress": (True, False)}
LONG_SHAP = {"n_samples": 600}

CASES = (
    Case(
        "Saliency",
        kinds=(*EVERY, *VOLUMES),
        changes={
            **PATH_CHANGES,
            "reducer": Change("max", "mean"),
            "absolute": Change(True, False),
        },
        linear={"absolute": False, "reducer": None},
    ),
    Case(
        "GradientInput",
        kinds=EVERY,
        changes=PATH_CHANGES,
        linear={},
    ),
    Case(
        "IntegratedGradients",
        kinds=EVERY,
        fields={"steps": 5, "rule": "gauss_legendre"},
        changes={
            **PATH_CHANGES,
            "steps": Change(2, 5),
            "rule": Change("trapezoid", "gauss_legendre"),
            "baseline": Change(0.0, 0.4),
        },
        linear={},
    ),
    Case(
        "GradCAM",
        kinds=(*CONVOLUTIONAL, *VOLUMES),
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
        "GradCAMPlusPlus",
        kinds=CONVOLUTIONAL,
        changes={
            **SHARED_CHANGES,
            "layer": Change(None, "conv1"),
            "call": Change(0, 1, on="shared", fixed={"layer": "shared"}),
            "signed": Change(False, True),
        },
        one_feature=True,
    ),
    *(
        Case(
            name,
            kinds=("table", *GUIDED_KINDS),
            rectified=True,
            models_of="GuidedBackprop",
            changes={
                **SHARED_CHANGES,
                "reducer": Change("abs_mean", "max"),
                "layer": Change(None, "conv1"),
                "call": Change(0, 1, on="shared", fixed={"layer": "shared"}),
            },
        )
        for name in ("GuidedBackprop", "DeconvNet")
    ),
    Case(
        "GuidedGradCAM",
        kinds=GUIDED_KINDS,
        rectified=True,
        models_of="GuidedBackprop",
        changes={
            **SHARED_CHANGES,
            "reducer": Change("abs_mean", "max"),
            "layer": Change(None, "conv1"),
            "call": Change(0, 1, on="shared", fixed={"layer": "shared"}),
        },
    ),
    Case(
        "DeepLIFT",
        kinds=("table", "series", *GUIDED_KINDS),
        tolerance=QUOTIENTS,
        changes={**PATH_CHANGES, **NO_SOFTMAX, "baseline": Change(0.0, 0.4)},
        neutral={**NEUTRAL, "check_completeness": (True, False)},
        linear={},
    ),
    Case(
        "DeepSHAP",
        kinds=GUIDED_KINDS,
        fields={"background": BACKGROUND},
        models_of="DeepLIFT",
        tolerance=QUOTIENTS,
        changes={**PATH_CHANGES, **NO_SOFTMAX, "background": OTHER_ROWS},
        neutral={**NEUTRAL, "check_completeness": (True, False)},
    ),
    Case(
        "ExpectedGradients",
        kinds=GUIDED_KINDS,
        fields={"background": BACKGROUND, "n_samples": 4},
        changes={
            **PATH_CHANGES,
            "background": OTHER_ROWS,
            "n_samples": Change(4, 6),
            "seed": Change(0, 2**32),
        },
        linear={},
    ),
    Case(
        "Conductance",
        kinds=GUIDED_KINDS,
        fields={"layer": "conv1", "steps": 8},
        at_layer=True,
        changes={
            **PATH_CHANGES,
            "layer": Change("conv1", "conv2"),
            "steps": Change(6, 10, fixed={"baseline": 0.4}),
            "baseline": Change(0.0, 0.4),
        },
    ),
    *(
        Case(
            name,
            kinds=CAM_KINDS,
            changes=CAM_CHANGES,
            linear=linear,
            one_feature=True,
            tolerance=tolerance,
        )
        for name, linear, tolerance in (
            ("LayerCAM", None, 1e-5),
            ("HiResCAM", {"signed": True}, 1e-5),
            # Divided by sums of activations of both signs, which round.
            ("XGradCAM", {"signed": True}, 1e-4),
            ("EigenGradCAM", None, 1e-5),
        )
    ),
    Case(
        "FinerCAM",
        kinds=CAM_KINDS,
        fields={"n_similar": 1},
        changes={
            **{name: change for name, change in CAM_CHANGES.items() if name != "operator"},
            "gamma": Change(0.6, 1.0),
            "n_similar": Change(1, 2),
        },
        refused={"operator": tripled},
        one_feature=True,
    ),
    *(
        Case(
            name,
            kinds=CAM_KINDS,
            fields=fields,
            changes={
                **{key: CAM_CHANGES[key] for key in ("layer", "call", "signed")},
                **changes,
            },
            scores_only=SHARED_CHANGES,
            one_feature=True,
        )
        for name, fields, changes in (
            ("EigenCAM", {}, {}),
            ("FEM", {"kappa": 1.0}, {"kappa": Change(1.0, 0.5)}),
        )
    ),
    Case(
        "ScoreCAM",
        kinds=CAM_KINDS,
        changes={**CAM_CHANGES, "baseline": Change(0.0, 0.4)},
        one_feature=True,
    ),
    Case(
        "AblationCAM",
        kinds=CAM_KINDS,
        changes={**CAM_CHANGES, "operator": Change(None, squared)},
        one_feature=True,
    ),
    Case(
        "FullGrad",
        kinds=CAM_KINDS,
        changes=SHARED_CHANGES,
        neutral={**NEUTRAL, "check_completeness": (True, False)},
        one_feature=True,
    ),
    Case(
        "FORGrad",
        kinds=CONVOLUTIONAL,
        wraps="Saliency",
        fields={"sigma": 2.5},
        changes={
            **SHARED_CHANGES,
            "sigma": Change(1.5, 3.5),
            "signed": Change(False, True, fixed={"absolute": False}),
        },
        linear={"signed": True, "absolute": False, "reducer": None},
    ),
    Case(
        "SmoothGrad",
        kinds=EVERY,
        fields=NOISY,
        changes={**NOISY_CHANGES, "reducer": Change("abs_mean", "max")},
        linear={"reducer": None},
    ),
    *(
        Case(
            name,
            kinds=("table", "image", *(kind for kind in EVERY if kind.startswith("torch"))),
            fields=NOISY,
            models_of="SmoothGrad",
            changes={**NOISY_CHANGES, "reducer": Change("mean", "max")},
        )
        for name in ("SquareGrad", "VarGrad")
    ),
    Case(
        "Occlusion",
        kinds=(*EVERY, *VOLUMES),
        fields={"patch_size": 2},
        changes={
            **SHARED_CHANGES,
            "patch_size": Change(2, 3),
            "patch_stride": Change(1, 2),
            "baseline": Change(0.0, 0.4),
            "background": Change(None, tiny_models.KINDS["image"].inputs(3, seed=9)),
            "feature_mask": Change(None, GROUPS, fixed={"patch_size": None}),
            "per_channel": Change(None, True),
        },
        linear={},
    ),
    Case(
        "RISE",
        kinds=(*SOME, *VOLUMES),
        fields={"n_samples": 60},
        neutral=SIZES_ELSEWHERE,
        changes={
            **SAMPLED_CHANGES,
            "n_samples": Change(60, 80),
            "keep_probability": Change(0.5, 0.3),
            "normalization": Change("coverage", "expected"),
        },
        constant_is_zero=False,
    ),
    Case(
        "KernelSHAP",
        kinds=SOME,
        fields={"n_samples": 120},
        neutral=SIZES_ELSEWHERE,
        changes={
            **SAMPLED_CHANGES,
            "n_samples": Change(120, 140),
            "per_channel": Change(None, True, fixed={"n_samples": 300}),
            "tolerance": Change(None, 100.0, on="series", fixed=LONG_SHAP),
            "link": Change("identity", "logit", fixed={"output": "softmax"}),
        },
        linear={},
    ),
    Case(
        "ShapleySampling",
        kinds=("table", "series", "image"),
        fields={"n_permutations": 2},
        neutral=SIZES_ELSEWHERE,
        models_of="KernelSHAP",
        changes={
            **SAMPLED_CHANGES,
            "n_permutations": Change(2, 4),
            "antithetic": Change(True, False),
            "tolerance": Change(None, 100.0, on="table", fixed={"n_permutations": 300}),
            "link": Change("identity", "logit", fixed={"output": "softmax"}),
        },
        linear={},
    ),
    Case(
        "LIME",
        kinds=("table", "series", "image"),
        fields={"n_samples": 60},
        neutral=SIZES_ELSEWHERE,
        models_of="KernelSHAP",
        changes={
            **{name: change for name, change in SAMPLED_CHANGES.items() if name != "tolerance"},
            "n_samples": Change(60, 80),
            "keep_probability": Change(0.5, 0.6),
            "kernel_width": Change(0.25, 0.5),
            "regressor": Change(None, LinearRegression(), fixed={"grid_size": 3}),
        },
        refused={"tolerance": 0.1},
        linear={},
    ),
    Case(
        "Sobol",
        kinds=("table", "image", *(name for name in SOME if name.startswith("torch"))),
        fields={"n_design": 8},
        neutral=SIZES_ELSEWHERE,
        changes={
            **SAMPLED_CHANGES,
            "n_design": Change(8, 9),
            "n_blocks": Change(1, 2),
            "sampler": Change("lhs", "sobol"),
            "estimator": Change("jansen", "janon"),
            "first_order_estimator": Change("saltelli", "jansen", of="first_order"),
            "perturbation": Change("inpainting", "amplitude"),
            "sigma": Change(None, 0.3, fixed={"perturbation": "amplitude"}),
            "tolerance": Change(None, 1e6, on="table", fixed={"n_blocks": 3, "n_design": 16}),
            "operator": Change(None, squared),
        },
    ),
    Case(
        "HSIC",
        kinds=("table", "image"),
        fields={"n_samples": 64},
        neutral=SIZES_ELSEWHERE,
        changes={
            **SAMPLED_CHANGES,
            "n_samples": Change(64, 80),
            "sampler": Change("lhs", "random"),
            "masks": Change("binary", "uniform"),
            "kernel": Change("rbf", "sobolev", fixed={"masks": "uniform"}),
            "interactions": Change(False, True, of="interactions"),
            "p_value_permutations": Change(0, 50, of="p_values"),
            "operator": Change(None, squared),
        },
    ),
    Case(
        "RandomMap",
        kinds=(*EVERY, *VOLUMES),
        changes={"grid_size": Change(None, 2), "seed": Change(0, 1)},
        scores_only=SHARED_CHANGES,
        constant_is_zero=False,
    ),
)

BY_NAME = {case.name: case for case in CASES}
MODEL_BASED = tuple(case for case in CASES if case.cls.requires != "nothing")

TARGETS = np.array([2, 0, 1, 1, 0])
"""Target classes of the five rows that the contract explains."""

EACH = [pytest.param(case, id=case.name) for case in CASES]
PAIRS = [
    pytest.param(case, tiny_models.KINDS[name], id=f"{case.name}-{name}")
    for case in CASES
    for name in case.kinds
]
