"""Run a method group by group, and make Explanations of what it returns."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from xai_core import _backend, _checks, _doubts, operators
from xai_core._inputs import host
from xai_core._progress import progress_bar
from xai_core._request import Request
from xai_core.attributions import provenance
from xai_core.explanation import Explanation
from xai_core.typing import Array, Tensor

TARGETS_PER_STEP = 16
"""Targets that share one pass with gradients in `explain_each`, which bounds the memory of maps."""
SATURATED = 0.999
GAP = 0.05
NEGLIGIBLE = 1e-3


class Maps(NamedTuple):
    """What a method returns for a group of n rows and M targets.

    ``values`` holds one tensor (n, M, ...) per float input; ``scores`` are (n, M), or None
    without a model; ``facts`` are further numbers (n, M) by the name of an Explanation's field;
    ``layer`` and ``notes`` are the same for all rows; ``slope`` (n,) is the largest gradient at
    that layer, (n, L) at several. ``per_leaf`` holds fields of an Explanation that differ by float
    input, (n, M, ...) each: "standard_error" is that of the maps before channels were reduced.
    ``doubts`` are sentences to warn with, the same for all rows. ``rows`` (n,) are the model rows
    that each input took, where that is not known before, and ``converged`` (n,) whether its errors
    got small.
    ``site`` is the layer whose output is explained instead of the inputs.
    """

    values: tuple[Tensor, ...]
    scores: Any
    targets: tuple[Tensor, ...]
    facts: dict[str, Tensor]
    layer: str | None = None
    notes: tuple[str, ...] = ()
    slope: Any = None
    per_leaf: Mapping[str, tuple[Tensor, ...]] = MappingProxyType({})
    doubts: tuple[str, ...] = ()
    rows: Array | None = None
    converged: Array | None = None
    site: Any = None


def chain(explainer: Any) -> list[Any]:
    """An explainer, the one that it wraps, and so on."""
    found = [explainer]
    while found[-1]._base is not None:
        found.append(found[-1]._base)
    return found


def _first_of(explainers: list[Any], name: str) -> Any:
    """The first value of a field that is not None."""
    values = (getattr(one, name, None) for one in explainers)
    return next((value for value in values if value is not None), None)


def groups(explainer: Any, request: Request, reduced: bool) -> Iterator[Maps]:
    """The maps of each group of rows, without the padding."""
    for group in request.groups(explainer._batch_size):
        with contextlib.nullcontext() if request.model is None else request.model.on_device():
            yield _without_padding(explainer._maps(group, reduced), len(group))


def collected(explainer: Any, request: Request) -> Maps:
    """The reduced maps of all rows and targets, on the host.

    Targets share the forward passes of their part, as `_targets_at_once` cuts them.
    """
    parts = request.parts(_targets_at_once(explainer))
    total = len(parts) * int(_rows(explainer, request).sum())
    with progress_bar(explainer.progress, total, type(explainer).__name__) as advance:
        found = [
            _on_host(list(groups(explainer, replace(part, advance=advance), reduced=True)))
            for part in parts
        ]
    return found[0] if len(found) == 1 else _joined(found, axis=1)


def _targets_at_once(explainer: Any) -> int:
    """Targets of one pass: all of them where the model only predicts."""
    return TARGETS_PER_STEP if _differentiates(explainer) else 2**31


def _differentiates(explainer: Any) -> bool:
    last = chain(explainer)[-1]
    return last.requires == "gradients" and not last.forward_only


def refined(explainer: Any, request: Request) -> Iterator[Any]:
    """Explanations from more and more masks, of an explainer that has rounds of them."""
    start = time.perf_counter()
    total = int(_rows(explainer, request).sum())
    with progress_bar(explainer.progress, total, type(explainer).__name__) as advance:
        request = replace(request, advance=advance)
        with request.model.on_device():
            every = [explainer._rounds(group) for group in request.groups(explainer._batch_size)]
        warn = True
        while not all(rounds.done for rounds in every):
            maps = []
            for rounds in every:
                with request.model.on_device():
                    if not rounds.done:
                        rounds.advance()
                    if explainer.tolerance is not None:
                        rounds.settle(explainer.tolerance)
                    maps.append(_without_padding(explainer._known(rounds), len(rounds)))
            yield _made(explainer, request, _on_host(maps), 1, start, warn)[0]
            warn = False


def _without_padding(maps: Maps, rows: int) -> Maps:
    def cut(tensor: Tensor) -> Tensor:
        return tensor if tensor.shape[0] == rows else tensor[:rows]

    return maps._replace(
        values=tuple(cut(x) for x in maps.values),
        per_leaf={name: tuple(map(cut, leaves)) for name, leaves in maps.per_leaf.items()},
        scores=None if maps.scores is None else cut(maps.scores),
        slope=None if maps.slope is None else cut(maps.slope),
        targets=tuple(cut(x) for x in maps.targets),
        facts={name: cut(x) for name, x in maps.facts.items()},
    )


def _rows(explainer: Any, request: Request) -> Array:
    return np.full(len(request.batch), explainer._rows_of(request) if request.score else 0)


def explanations(explainer: Any, request: Request, count: int) -> list[Any]:
    """One Explanation for each of ``count`` targets, or a structure of them per float input."""
    start = time.perf_counter()
    return _made(explainer, request, collected(explainer, request), count, start)


def _made(
    explainer: Any, request: Request, maps: Maps, count: int, start: float, warn: bool = True
) -> list[Any]:
    """Explanations of what a method returned, checked."""
    if maps.scores is not None:
        if len(maps.scores) != len(request.batch):
            raise ValueError(
                f"`operator` must return one score per row, {len(request.batch)}. "
                f"Received: {len(maps.scores)}."
            )
        # What a baseline does to differences from it must not be blamed on the inputs.
        if "base_values" in maps.facts:
            check_scores("the baseline", maps.facts["base_values"])
        check_scores("the inputs", maps.scores)
    every = chain(explainer)
    if _first_of(every, "layer") is not None and maps.slope is not None:
        _check_slope(maps)
    shared = {
        "method": type(explainer).__name__,
        "config": provenance.configuration(explainer),
        "versions": provenance.versions(),
        "seed": _first_of(every, "seed"),
        "seconds": time.perf_counter() - start,
        "rows": _rows(explainer, request) if maps.rows is None else maps.rows,
        "converged": maps.converged,
        "layer": maps.layer,
        "notes": maps.notes,
        "targets_used": all(one.uses_targets for one in every),
    }
    mask = _first_of(every, "feature_mask")
    if mask is not None:
        shared["feature_mask"] = _labels(mask, request.decided["places"])
    if request.score is not None:
        shared["class_names"] = request.model.class_names
        shared["feature_names"] = request.feature_names
        shared["notes"] = (*request.score.head.notes, *maps.notes)
        if warn:
            _warn(explainer, request, maps)
    return [_for_target(request, maps, shared, m) for m in range(count)]


def _labels(mask: Any, places: Array) -> Array:
    """A feature mask as it was given where all inputs share it, else with all axes."""
    labels = host(mask, "feature_mask")
    return labels if len(places) == 1 else labels.reshape(places.shape)


def _on_host(parts: list[Maps]) -> Maps:
    maps = [
        part._replace(
            values=tuple(map(_backend.to_host, part.values)),
            per_leaf={
                name: tuple(map(_backend.to_host, leaves)) for name, leaves in part.per_leaf.items()
            },
            scores=None if part.scores is None else _backend.to_host(part.scores),
            slope=None if part.slope is None else _backend.to_host(part.slope),
            targets=tuple(map(_backend.to_host, part.targets)),
            facts={name: _backend.to_host(x) for name, x in part.facts.items()},
        )
        for part in parts
    ]
    return maps[0] if len(maps) == 1 else _joined(maps, axis=0)


def _joined(parts: list[Maps], axis: int) -> Maps:
    def join(arrays: Any) -> Array:
        return np.concatenate(list(arrays), axis=axis)

    def filled(name: str, like: tuple[Array, ...]) -> tuple[Array, ...]:
        each = zip(*(_of_part(part, name, like) for part in parts), strict=True)
        return tuple(join(_same_sides(leaf)) for leaf in each)

    first = parts[0]
    known = {name: leaves for part in parts for name, leaves in part.per_leaf.items()}
    return first._replace(
        values=tuple(join(leaf) for leaf in zip(*(p.values for p in parts), strict=True)),
        per_leaf={name: filled(name, like) for name, like in known.items()},
        scores=None if first.scores is None else join(p.scores for p in parts),
        slope=None if first.slope is None else np.concatenate([p.slope for p in parts]),
        targets=tuple(join(leaf) for leaf in zip(*(p.targets for p in parts), strict=True)),
        facts={name: join(p.facts[name] for p in parts) for name in first.facts},
        **{
            name: np.concatenate([getattr(p, name) for p in parts])
            for name in ("rows", "converged")
            if axis == 0 and getattr(first, name) is not None
        },
    )


def _of_part(part: Maps, name: str, like: tuple[Array, ...]) -> tuple[Array, ...]:
    """A field of each float input; without cells where inputs with other cells have none."""
    if name in part.per_leaf:
        return part.per_leaf[name]
    rows = len(part.values[0])
    return tuple(np.empty((rows, leaf.shape[1], *[0] * (leaf.ndim - 2))) for leaf in like)


def _same_sides(arrays: Sequence[Array]) -> list[Array]:
    """Arrays (n, M, ...) filled up with NaN where others have more cells."""
    sides = [max(one) for one in zip(*(array.shape[2:] for array in arrays), strict=True)]
    if all(list(array.shape[2:]) == sides for array in arrays):
        return list(arrays)
    return [
        np.pad(
            array,
            [(0, 0), (0, 0), *((0, a - b) for a, b in zip(sides, array.shape[2:], strict=True))],
            constant_values=np.nan,
        )
        for array in arrays
    ]


def check_scores(name: str, scores: Array, rows: Array | None = None) -> None:
    """Raise unless scores (n, M) are finite; ``rows`` are their numbers, 0 to n - 1 by default."""
    bad = np.flatnonzero(~np.isfinite(scores).all(axis=1))
    if bad.size:
        first = bad[0] if rows is None else rows[bad[0]]
        raise ValueError(
            f"`operator` must give finite scores of {name}. Received: NaN or infinity for "
            f"{bad.size} of {len(scores)} rows, first for row {first}. Check the model's output."
        )


def _check_slope(maps: Maps) -> None:
    reached = maps.slope.reshape(len(maps.slope), -1).any(axis=0)
    if not reached.all():
        names = str(maps.layer).split(", ") if len(reached) > 1 else [maps.layer]
        raise ValueError(
            "`layer` must be one that the score depends on. Received: "
            f"{names[reached.argmin()]!r}, where the gradient of all {len(maps.scores)} samples is "
            "exactly 0. "
            'Name another layer, or pass output="logits" if the score is a saturated probability.'
        )


def _warn(explainer: Any, request: Request, maps: Maps) -> None:
    """Warn at most once per call, of all that may mislead."""
    doubts = [*maps.doubts, *_doubts.of_scores(request.score.operator, maps.scores)]
    if _differentiates(explainer):
        doubts += _gradient_doubts(explainer, request, maps)
        if all(one.zero_without_gradient for one in chain(explainer)):
            doubts += _zero(request, maps)
        if (_rows(explainer, request) == 1).all():
            doubts += _doubts.of_gradients(request.score.operator, maps.scores)
    if doubts:
        _checks.warn(" ".join(doubts))


def _gradient_doubts(explainer: Any, request: Request, maps: Maps) -> list[str]:
    advice = chain(explainer)[-1].gap_advice
    doubts = [*_saturation(request, maps.scores), *_wide_gap(maps, advice)]
    broken = [~np.isfinite(leaf.reshape(len(leaf), -1)).all(axis=1) for leaf in maps.values]
    found = _first_of(chain(explainer), "layer") is None
    flat = [] if maps.slope is None else ~maps.slope.reshape(len(maps.slope), -1).any(axis=1)
    if found and np.any(flat):
        doubts.append(
            f"The score of {int(np.sum(flat))} of {len(flat)} samples has no gradient at "
            f"{maps.layer!r}, the layer that was chosen automatically. Name another `layer`."
        )
    if np.any(broken):
        doubts.append(
            f"The maps of {int(np.any(broken, axis=0).sum())} of {len(maps.scores)} samples hold "
            "NaN or infinity: the score has no finite gradient there."
        )
    return doubts


def _zero(request: Request, maps: Maps) -> Iterator[str]:
    if not any(leaf.any() for leaf in maps.values):
        yield (
            f"The maps of all {len(maps.scores)} samples are zero everywhere. "
            + _doubts.advice_on_zero(request.score.operator)
        )


def _saturation(request: Request, scores: Array) -> Iterator[str]:
    indices = not request.targets or request.targets[0].ndim == 2
    score = request.score
    if score.head.probability and indices and score.operator is operators.classification:
        saturated = int((scores > SATURATED).any(axis=1).sum())
        if saturated:
            yield (
                f"The explained probability is above {SATURATED} for {saturated} of "
                f"{len(scores)} samples, where its gradients nearly vanish. "
                'Pass output="logits" to explain what leads to it.'
            )


def _wide_gap(maps: Maps, advice: str) -> Iterator[str]:
    if not {"completeness_gap", "base_values"} <= maps.facts.keys():
        return
    gap, base = maps.facts["completeness_gap"], maps.facts["base_values"]
    change = maps.scores - base
    largest = np.maximum(np.abs(maps.scores), np.abs(base))
    wide = (np.abs(gap) > GAP * np.abs(change)) & (np.abs(change) > NEGLIGIBLE * largest)
    if wide.any():
        yield (
            f"The attributions of {int(wide.any(axis=1).sum())} of {len(gap)} samples miss "
            f"completeness by more than {GAP:.0%} of f(x) - f(baseline). {advice}"
        )


def _for_target(request: Request, maps: Maps, shared: dict[str, Any], m: int) -> Any:
    own = dict(shared)
    if maps.scores is not None:
        own["scores"] = maps.scores[:, m]
        targets = maps.targets
        own["targets"] = targets[0][:, m] if len(targets) == 1 else None
    own |= {name: values[:, m] for name, values in maps.facts.items()}
    if maps.site is not None:
        return _at_site(request, maps, own, m)
    found = []
    for k, x in enumerate(request.batch.float_leaves()):
        values = np.asarray(maps.values[k][:, m], "float32")
        found.append(
            Explanation(
                values,
                **own,
                **_of_leaf(maps, k, m, values.shape),
                data_format=request.layout(x.ndim, needed=False),
                inputs=x if x.ndim in (2, 3) else None,
                fingerprints=request.batch.float_fingerprints()[k],
            )
        )
    return request.batch.per_float_leaf(found)


def _at_site(request: Request, maps: Maps, own: dict[str, Any], m: int) -> Explanation:
    """The Explanation of a layer's output, or of the integers that an embedding looks up."""
    site, batch = maps.site, request.batch
    values = np.asarray(maps.values[0][:, m], "float32")
    leaf = batch.leaves[max(site.leaf, 0)]
    tokens = site.embeds and leaf.shape == values.shape[: leaf.ndim] and leaf.ndim in (2, 3)
    # Names and layouts of the inputs say nothing of a layer.
    own["feature_names"] = None
    return Explanation(
        values,
        **own,
        **_of_leaf(maps, 0, m, values.shape),
        data_format=site.layout or request.model.feature_format,
        inputs=leaf if tokens and leaf.shape == values.shape else None,
        fingerprints=batch.fingerprints[max(site.leaf, 0)],
    )


def _of_leaf(maps: Maps, k: int, m: int, shape: tuple[int, ...]) -> dict[str, Any]:
    found: dict[str, Any] = {
        name: np.asarray(x[k][:, m], "float32") for name, x in maps.per_leaf.items()
    }
    if "standard_error" in found and found["standard_error"].shape != shape:
        found["unreduced_standard_error"] = found.pop("standard_error")
    return found
