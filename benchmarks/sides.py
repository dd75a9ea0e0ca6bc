"""What is compared: each method as the library runs it, and the native code for the same work."""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Any, NamedTuple

import keras
import numpy as np

from models import Case


class Work(NamedTuple):
    """How much a method does: images, model rows for each, and rows per call."""

    images: int
    rows: int
    batch_size: int

    def __str__(self) -> str:
        """Images, and rows where there are several."""
        return f"{self.images} x {self.rows}" if self.rows > 1 else str(self.images)

    @property
    def padding(self) -> float:
        """Rows that fill the last batch, as a share of the others, where shapes are fixed."""
        rows = self.images * self.rows
        return -rows % self.batch_size / rows if rows > self.batch_size else 0.0


ONE_GRADIENT = {"small": Work(64, 1, 64), "large": Work(8, 1, 8)}
MANY_GRADIENTS = {"small": Work(16, 50, 64), "large": Work(1, 16, 8)}
CURVES = {"small": Work(64, 21, 64), "large": Work(1, 256, 32)}
CHANNELS = {"small": Work(2, 65, 64)}
"""A row for each of 64 channels; the large model's layer has 1,280 of them."""
WORK = {
    "Saliency": ONE_GRADIENT,
    "IntegratedGradients": MANY_GRADIENTS,
    "SmoothGrad": MANY_GRADIENTS,
    "GradCAM": ONE_GRADIENT,
    "GradCAMPlusPlus": ONE_GRADIENT,
    "LayerCAM": ONE_GRADIENT,
    "HiResCAM": ONE_GRADIENT,
    "ScoreCAM": CHANNELS,
    "AblationCAM": CHANNELS,
    "GuidedBackprop": ONE_GRADIENT,
    "ExpectedGradients": MANY_GRADIENTS,
    "DeepLIFT": ONE_GRADIENT,
    "Occlusion": {"small": Work(8, 226, 64), "large": Work(1, 256, 32)},
    "RISE": {"small": Work(2, 1001, 64), "large": Work(1, 256, 32)},
    "LIME": {"small": Work(1, 1000, 64), "large": Work(1, 256, 32)},
    "KernelSHAP": {"small": Work(1, 1000, 64), "large": Work(1, 256, 32)},
    "Sobol": {"small": Work(1, 2113, 64), "large": Work(1, 256, 32)},
    "HSIC": {"small": Work(2, 513, 64), "large": Work(1, 256, 32)},
    "Deletion": CURVES,
    "Insertion": CURVES,
}
PATCHES = {
    226: {"patch_size": 4, "patch_stride": 2},
    256: {"patch_size": (28, 16), "patch_stride": (14, 13)},
}
"""15 x 15 patches of the small images, 15 x 17 of the large ones, and a row without a patch."""


BESIDE = ("GuidedBackprop", "ExpectedGradients", "DeepLIFT")
"""Methods whose baseline gives another map: the plain gradient, that many gradients of
integrated gradients, and two gradients."""
SAMPLED = {
    "RISE": lambda rows: {"n_samples": rows - 1, "grid_size": 7},
    "LIME": lambda rows: {"n_samples": rows, "grid_size": 7},
    "KernelSHAP": lambda rows: {"n_samples": rows, "grid_size": 7},
    "Sobol": lambda rows: {2113: {"n_design": 32}, 256: {"n_design": 5, "grid_size": 7}}[rows],
    "HSIC": lambda rows: {"n_samples": rows - 1, "grid_size": 7},
}
"""The fields under which a method takes so many rows for each image."""


@dataclass(frozen=True)
class Sides:
    """The calls of one row of the table; ``compared`` names what tells of their difference."""

    method: Callable[[], np.ndarray]
    baseline: Callable[[], Any]
    beside: dict[str, Callable[[], Any]]
    compared: tuple[str, ...] = ()

    def differences(self) -> dict[str, float]:
        """Return the largest difference over the largest value, and the cosine of both results."""
        ours, theirs = self.method(), self.baseline()
        if not self.compared:
            return {}
        theirs = theirs.astype("float64")
        ours = ours.reshape(theirs.shape).astype("float64")
        cosine = (ours * theirs).sum() / (np.linalg.norm(ours) * np.linalg.norm(theirs))
        error = np.abs(ours - theirs).max() / np.abs(theirs).max()
        found = {"error": float(error), "cosine": float(cosine)}
        return {name: found[name] for name in self.compared}


def of(method: str, work: Work, case: Case) -> Sides:
    """Return both sides of a method for the first images of a case."""
    framework = "torch" if case.kind == "torch" else keras.backend.backend()
    native = importlib.import_module(f"native_{framework}")
    every = dataclasses.replace(case, batch_size=work.batch_size)
    case = dataclasses.replace(
        every, inputs=case.rows(work.images), targets=case.targets[: work.images]
    )
    if WORK[method] in (CHANNELS, CURVES) or method in ("Occlusion", *SAMPLED):
        return _forward(method, work, case, _bare_calls(every, work, native))
    return _gradient(method, work, case, every, native)


def _bare_calls(case: Case, work: Work, native: ModuleType) -> dict[str, Callable[[], Any]]:
    """Calls of the model alone, and others beside them.

    Their rows differ from one another, as masked ones do: torch's max-pooling is so much faster on
    copies of one image that the small model then takes a tenth less time.
    """
    rows = work.images * work.rows
    if work in CHANNELS.values():
        # The two inputs themselves are no batch that would have to be filled up.
        rows -= work.images
    return {name: native.forward(one, rows) for name, one in (("", case), *_others(case))}


def _forward(method: str, work: Work, case: Case, bare: dict[str, Callable[[], Any]]) -> Sides:
    """Bare calls of the model are the baseline: there is no map to compare."""
    curves = method in ("Deletion", "Insertion")
    call = _curves(method, work, case) if curves else _masks(method, work, case)
    return Sides(call, bare.pop(""), bare)


def _masks(method: str, work: Work, case: Case) -> Callable[[], np.ndarray]:
    from xai_core import attributions

    if WORK[method] is CHANNELS:
        own = {"layer": case.layer}
    else:
        own = SAMPLED[method](work.rows) if method in SAMPLED else PATCHES[work.rows]
    explainer = getattr(attributions, method)(case.model, **own, **_fields(case))
    rows = explainer(case.inputs, case.targets).rows
    if not (rows == work.rows).all():
        raise SystemExit(f"{method} took {rows[0]} rows for each image, not {work.rows}.")
    return lambda: explainer(case.inputs, case.targets).values


def _curves(method: str, work: Work, case: Case) -> Callable[[], np.ndarray]:
    from xai_core import metrics
    from xai_core.attributions import RandomMap

    maps = RandomMap(case.model, output="softmax", progress=False)(case.inputs, case.targets)
    metric = getattr(metrics, method)(case.model, steps=work.rows - 1, **_fields(case))
    return lambda: metric(maps, case.inputs, case.targets).curves


def _gradient(method: str, work: Work, case: Case, every: Case, native: ModuleType) -> Sides:
    """Native code of the same method is the baseline."""
    from xai_core import attributions

    own = {
        "IntegratedGradients": {"steps": work.rows},
        "SmoothGrad": {"n_samples": work.rows},
        "ExpectedGradients": {"n_samples": work.rows, "background": every.rows(16)},
    }
    settings = {"layer": case.layer} if method.endswith(("CAM", "CAMPlusPlus")) else own.get(method)
    explainer = getattr(attributions, method)(case.model, **(settings or {}), **_fields(case))
    x, t = case.inputs, case.targets

    def by_hand(case: Case) -> Callable[[], np.ndarray]:
        explain = _native(native, explainer, case)
        return lambda: explain(x, t)

    baseline = by_hand(case)
    beside = {name: by_hand(other) for name, other in _others(case)}
    scored = {
        "IntegratedGradients": [x, np.zeros_like(x)],
        "SmoothGrad": [x],
        "ExpectedGradients": [x],
    }.get(method)
    if scored:
        rows, targets = np.concatenate(scored), np.tile(t, len(scored))
        scores = native.scores(case)
        beside["native with scores"] = lambda: (baseline(), scores(rows, targets))
    compared = {**dict.fromkeys(BESIDE, ()), "SmoothGrad": ("cosine",)}
    compared = compared.get(method, ("error", "cosine"))
    return Sides(lambda: explainer(x, t).values, baseline, beside, compared)


def _native(native: ModuleType, explainer: Any, case: Case) -> Callable[..., np.ndarray]:
    """The baseline of a gradient method."""
    made = {
        "Saliency": lambda: native.saliency(case),
        "IntegratedGradients": lambda: native.integrated_gradients(
            case, *nodes(explainer.rule, explainer.steps)
        ),
        "SmoothGrad": lambda: native.smooth_grad(case, explainer.n_samples, explainer.noise),
        "GuidedBackprop": lambda: native.saliency(case),
        "ExpectedGradients": lambda: native.integrated_gradients(
            case, *nodes("trapezoid", explainer.n_samples)
        ),
        "DeepLIFT": lambda: _twice(native.saliency(case)),
        "GradCAM": lambda: native.grad_cam(case),
        "GradCAMPlusPlus": lambda: native.grad_cam_plus_plus(case),
        "LayerCAM": lambda: native.layer_cam(case),
        "HiResCAM": lambda: native.hires_cam(case),
    }
    return made[type(explainer).__name__]()


def _twice(explain: Callable[..., np.ndarray]) -> Callable[..., np.ndarray]:
    def both(x, t):
        explain(x, t)
        return explain(x, t)

    return both


def _fields(case: Case) -> dict[str, Any]:
    return {"batch_size": case.batch_size, "progress": False}


def _others(case: Case) -> Iterator[tuple[str, Case]]:
    """Yield the plain memory layout of a torch module, to stand beside channels last."""
    if case.kind == "torch":
        yield "NCHW", dataclasses.replace(case, channels_last_memory=False)


def nodes(rule: str, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Return positions on [0, 1] and weights of a rule for an integral, both (steps,)."""
    if rule == "gauss_legendre":
        positions, weights = np.polynomial.legendre.leggauss(steps)
        positions, weights = (positions + 1.0) / 2.0, weights / 2.0
    else:
        positions = np.linspace(0.0, 1.0, steps)
        weights = np.full(steps, 1.0 / (steps - 1))
        weights[[0, -1]] /= 2.0
    return positions.astype("float32"), weights.astype("float32")
