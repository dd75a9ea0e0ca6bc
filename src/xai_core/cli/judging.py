"""What the commands print of their maps: deletion and insertion, beside random maps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from xai_core import _request, attributions, images, metrics, operators
from xai_core.explanation import Explanation
from xai_core.metrics import MetricResult
from xai_core.typing import Array

STEPS = 25
"""Steps of each curve."""

BLOCKS = 7
"""Blocks along each side of the coarse random map."""


def with_random(explanations: Mapping[str, Explanation], model: Any, inputs: Array) -> Any:
    """The explanations, and random maps of the same scores: one per pixel, and one in blocks."""
    first = next(iter(explanations.values()))
    settings = {name: first.config[name] for name in ("output", "batch_size")}
    fine = attributions.RandomMap(model, **settings)
    axes = images.spatial_axes(4, model.data_format)
    blocks = tuple(min(BLOCKS, inputs.shape[axis]) for axis in axes)
    coarse = attributions.RandomMap(model, grid_size=blocks, **settings)
    random = {
        "random": fine(inputs, first.targets),
        f"random {blocks[0]} x {blocks[1]}": coarse(inputs, first.targets),
    }
    return {name: e for name, e in explanations.items() if e.method != "RandomMap"} | random


def judged(explanations: Mapping[str, Explanation], model: Any, inputs: Array) -> dict[str, Any]:
    """Results (Deletion, Insertion) of each, as probabilities of the explained class."""
    settings = {"steps": STEPS, "output": probability(model, inputs)}
    deletion = metrics.Deletion(model, **settings)
    insertion = metrics.Insertion(model, **settings)
    return {name: (deletion(e, inputs), insertion(e, inputs)) for name, e in explanations.items()}


def probability(model: Any, inputs: Array) -> str:
    """The form of the model's output that is a probability."""
    request = _request.make(model, operators.classification, "raw", inputs[:1], [None])
    if request.score.head.probability:
        return "raw"
    return "softmax" if _request.output_columns(request.score.head.shape) > 1 else "sigmoid"


def joined(parts: Sequence[Mapping[str, Sequence[MetricResult]]]) -> dict[str, Any]:
    """Results of all batches of inputs, from those of each."""
    if not parts:
        return {}
    return {
        name: tuple(_one(results) for results in zip(*(part[name] for part in parts), strict=True))
        for name in parts[0]
    }


def _one(results: Sequence[MetricResult]) -> MetricResult:
    """One result of the inputs of several; of what a report shows."""
    first = results[0]
    curves = [one.curves for one in results if one.curves is not None]
    return MetricResult(
        first.metric,
        np.concatenate([one.scores for one in results]),
        first.higher_is_better,
        np.concatenate(curves) if curves else None,
        first.shares,
    )


def print_scores(results: Mapping[str, Sequence[MetricResult]]) -> None:
    """Print means with standard errors, the best first."""
    scores = {name: [one.scores for one in pair] for name, pair in results.items()}
    rows = [("map", "deletion", "insertion", "difference")]
    order = sorted(scores, key=lambda name: np.mean(scores[name][0] - scores[name][1]))
    for name in order:
        deletion, insertion = scores[name]
        rows.append((name, _shown(deletion), _shown(insertion), _shown(insertion - deletion)))
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
    for row in rows:
        cells = [f"{row[0]:<{widths[0]}}", *(f"{c:>{w}}" for c, w in zip(row, widths, strict=True))]
        print("  " + "  ".join([cells[0], *cells[2:]]))


def _shown(values: Array) -> str:
    if len(values) < 2:
        return f"{values.mean():.3f}"
    return f"{values.mean():.3f} +- {values.std(ddof=1) / np.sqrt(len(values)):.3f}"
