"""Run a method group by group, and make Explanations of what it returns."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from xai_core import _backend, _checks, operators
from xai_core._progress import progress_bar
from xai_core._request import Request
from xai_core.attributions import provenance
from xai_core.explanation import Explanation
from xai_core.typing import Array, Tensor

SATURATED = 0.999
GAP = 0.05
NEGLIGIBLE = 1e-3


class Maps(NamedTuple):
    """What a method returns for a group of n rows and M targets.

    ``values`` holds one tensor (n, M, ...) per float input; ``scores`` are (n, M), or None
    without a model; ``facts`` are further numbers (n, M) by the name of an Explanation's field;
    ``layer`` and ``notes`` are the same for all rows.
    """

    values: tuple[Tensor, ...]
    scores: Tensor | None
    targets: tuple[Tensor, ...]
    facts: dict[str, Tensor]
    layer: str | None = None
    notes: tuple[str, ...] = ()


def groups(explainer: Any, request: Request, reduced: bool) -> Iterator[Maps]:
    """The maps of each group of rows, without the padding."""
    total = sum(_rows(explainer, request))
    with progress_bar(explainer.progress, total, type(explainer).__name__) as advance:
        request = replace(request, advance=advance)
        for group in request.groups(explainer.batch_size):
            yield _without_padding(explainer._maps(group, reduced), len(group))


def _without_padding(maps: Maps, rows: int) -> Maps:
    def cut(tensor: Tensor) -> Tensor:
        return tensor if tensor.shape[0] == rows else tensor[:rows]

    return maps._replace(
        values=tuple(cut(x) for x in maps.values),
        scores=None if maps.scores is None else cut(maps.scores),
        targets=tuple(cut(x) for x in maps.targets),
        facts={name: cut(x) for name, x in maps.facts.items()},
    )


def _rows(explainer: Any, request: Request) -> Array:
    shape = request.batch.float_leaves()[0].shape[1:]
    return np.full(len(request.batch), explainer.rows(shape) if request.score else 0)


def explanations(explainer: Any, request: Request, count: int) -> list[Any]:
    """One Explanation for each of ``count`` targets, or a structure of them per float input."""
    start = time.perf_counter()
    collected = _on_host(list(groups(explainer, request, reduced=True)))
    if collected.scores is not None:
        _check_scores(collected.scores)
    seconds = time.perf_counter() - start
    _warn(explainer, request, collected)
    shared = {
        "method": type(explainer).__name__,
        "config": provenance.configuration(explainer),
        "versions": provenance.versions(),
        "seed": getattr(explainer, "seed", None),
        "seconds": seconds,
        "rows": _rows(explainer, request),
        "layer": collected.layer,
        "notes": collected.notes,
        "targets_used": explainer.uses_targets,
    }
    if request.score is not None:
        shared["class_names"] = request.model.class_names
        shared["feature_names"] = request.model.feature_names
    return [_for_target(request, collected, shared, m) for m in range(count)]


def _on_host(parts: list[Maps]) -> Maps:
    def joined(tensors: Any) -> Array:
        arrays = [_backend.to_host(tensor) for tensor in tensors]
        return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)

    first = parts[0]
    return first._replace(
        values=tuple(joined(leaf) for leaf in zip(*(p.values for p in parts), strict=True)),
        scores=None if first.scores is None else joined(p.scores for p in parts),
        targets=tuple(joined(leaf) for leaf in zip(*(p.targets for p in parts), strict=True)),
        facts={name: joined(p.facts[name] for p in parts) for name in first.facts},
    )


def _check_scores(scores: Array) -> None:
    bad = np.flatnonzero(~np.isfinite(scores).all(axis=1))
    if bad.size:
        raise ValueError(
            "`operator` must give finite scores. Received: NaN or infinity for "
            f"{bad.size} of {len(scores)} rows, first for row {bad[0]}. Check the model's output."
        )


def _warn(explainer: Any, request: Request, collected: Maps) -> None:
    if explainer.requires != "gradients":
        return
    total = len(collected.scores)
    score = request.score
    indices = not request.targets or request.targets[0].ndim == 2
    if score.head.probability and indices and score.operator is operators.classification:
        saturated = int((collected.scores > SATURATED).any(axis=1).sum())
        if saturated:
            _checks.warn(
                f"The explained probability is above {SATURATED} for {saturated} of {total} "
                "samples, where its gradients nearly vanish. "
                'Pass output="logits" to explain what leads to it.'
            )
    if "completeness_gap" in collected.facts:
        _warn_of_gap(collected)
    if not any(leaf.any() for leaf in collected.values):
        _checks.warn(
            f"The map is zero everywhere for all {total} samples: the score does not depend on "
            "the inputs through differentiable operations, or nothing speaks for the target."
        )


def _warn_of_gap(collected: Maps) -> None:
    gap, base = collected.facts["completeness_gap"], collected.facts["base_values"]
    change = collected.scores - base
    largest = np.maximum(np.abs(collected.scores), np.abs(base))
    wide = (np.abs(gap) > GAP * np.abs(change)) & (np.abs(change) > NEGLIGIBLE * largest)
    if wide.any():
        _checks.warn(
            f"The attributions of {int(wide.any(axis=1).sum())} of {len(gap)} samples miss "
            f"completeness by more than {GAP:.0%} of f(x) - f(baseline). Increase `steps`."
        )


def _for_target(request: Request, collected: Maps, shared: dict[str, Any], m: int) -> Any:
    own = dict(shared)
    if collected.scores is not None:
        own["scores"] = collected.scores[:, m]
        targets = collected.targets
        own["targets"] = targets[0][:, m] if len(targets) == 1 and targets[0].ndim <= 3 else None
    own |= {name: values[:, m] for name, values in collected.facts.items()}
    found = []
    for k, x in enumerate(request.batch.float_leaves()):
        found.append(
            Explanation(
                np.asarray(collected.values[k][:, m], "float32"),
                **own,
                data_format=request.layout(x.ndim, needed=False),
                inputs=x if x.ndim in (2, 3) else None,
                fingerprints=request.batch.float_fingerprints()[k],
            )
        )
    return request.batch.per_float_leaf(found)
