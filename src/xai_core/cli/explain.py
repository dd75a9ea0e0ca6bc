"""`xai-core explain`: pictures, Explanations and a report of image files."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from xai_core import _backend, _checks, plots, report
from xai_core.cli import judging, loading, options, pictures
from xai_core.explanation import Explanation
from xai_core.typing import Array

_DPI = 150
_FILES_AT_ONCE = 32
_REPORTED = 24


class _Job(NamedTuple):
    """What is done with each batch of files."""

    explainer: Any
    loaded: loading.Loaded
    target: int | str | None
    top: int


class _Part(NamedTuple):
    """What came out of a batch: photos and model inputs lie in the model's layout."""

    explanations: Explanation
    images: Array
    inputs: Array


def run(known: argparse.Namespace, unknown: Sequence[str]) -> int:
    """Explain every image; everything that was typed is checked before the model computes."""
    method = options.method_named(known.method)
    fields = options.parse(method, unknown)
    _checks.integer("--top", known.top, minimum=1)
    files = pictures.found(known.images)
    bases = [known.output / name for name in pictures.result_names(files, method.__name__)]
    results = [Path(f"{base}{suffix}") for base in bases for suffix in (".png", ".npz")]
    page = known.output / f"report_{method.__name__}.html" if known.report else None
    _check_free(results + ([] if page is None else [page]), known.force)
    loaded = loading.load(known)
    explainer = options.explainer(method, loaded.model, fields, known.explainer)
    job = _Job(explainer, loaded, _target(known.target), known.top)
    known.output.mkdir(parents=True, exist_ok=True)
    first, judged = None, []
    for start in range(0, len(files), _FILES_AT_ONCE):
        chosen = slice(start, start + _FILES_AT_ONCE)
        part = _explain(job, files[chosen], bases[chosen])
        first = part if first is None else first
        if known.score:
            every = {method.__name__: part.explanations}
            every = judging.with_random(every, loaded.model, part.inputs)
            judged.append(judging.judged(every, loaded.model, part.inputs))
    scores = judging.joined(judged)
    if scores:
        print(f"Deletion (lower is better) and insertion (higher is better), mean of {len(files)}:")
        judging.print_scores(scores)
    if page is not None and first is not None:
        _report(page, known.model, job, first, files, scores)
    return 0


def _explain(job: _Job, files: Sequence[Path], bases: Sequence[Path]) -> _Part:
    """Explain one batch, write and tell its results, and return them with the images."""
    size, channels, model = job.loaded.size, job.loaded.channels, job.loaded.model
    images = np.stack([pictures.read(file, size, channels) for file in files])
    inputs = job.loaded.prepare(images)
    if model.data_format == "channels_first":
        images, inputs = np.moveaxis(images, -1, 1), np.moveaxis(inputs, -1, 1)
    explanations = job.explainer(inputs, job.target)
    outputs = _outputs(model, inputs) if job.top > 1 else None
    for row, (file, base) in enumerate(zip(files, bases, strict=True)):
        explanation = _with_origin(explanations[row], file, job.loaded.prepared)
        plots.attributions(_of_photos(explanation), images[row : row + 1]).savefig(
            f"{base}.png", dpi=_DPI
        )
        explanation.save(f"{base}.npz")
        print(f"{file.name}: {_said(explanation)} -> {base}.png and .npz")
        if outputs is not None:
            print(f"  {_largest(outputs[row], job)}", flush=True)
    return _Part(explanations, images, inputs)


def _report(
    page: Path, name: str, job: _Job, part: _Part, files: Sequence[Path], scores: dict[str, Any]
) -> None:
    """Write a page of the first images and the scores of all."""
    shown = min(_REPORTED, len(part.explanations))
    told = f"What {Path(name).name} says of {len(files)} images, preprocessed as"
    told = f"{told} {job.loaded.prepared}."
    if shown < len(files):
        told += f" The first {shown} are shown here; scores are of all."
    path = report.write(
        page,
        _of_photos(part.explanations[:shown]),
        part.images[:shown],
        scores=scores or None,
        title=f"{part.explanations.method} of {Path(name).name}",
        introduction=told,
        names=[file.name for file in files[:shown]],
        limit=shown,
    )
    print(f"Report: {path}")


def _of_photos(explanation: Explanation) -> Explanation:
    """Return it for a picture of the photo, which is not what the model was given."""
    return dataclasses.replace(explanation, fingerprints=None)


def _with_origin(explanation: Explanation, file: Path, prepared: str) -> Explanation:
    note = f"Image {file.name}, preprocessed as {prepared}."
    return dataclasses.replace(explanation, notes=(*explanation.notes, note))


def _said(explanation: Explanation) -> str:
    """Return class and score, the class's index where it has a name, and the layer."""
    targets = explanation.targets
    index = ""
    if explanation.class_names is not None and targets is not None and targets.ndim == 1:
        index = f" (class {int(targets[0])})"
    layer = f", layer {explanation.layer}" if explanation.layer else ""
    return f"{explanation.label()}{index}{layer}"


def _outputs(model: Any, inputs: Array) -> Array:
    """Return the raw outputs, (N, K)."""
    with _backend.no_grad():
        outputs = _backend.to_host(model(_backend.to_device(inputs, model.device)))
    return outputs.reshape(len(inputs), -1)


def _largest(outputs: Array, job: _Job) -> str:
    columns = np.argsort(-outputs, kind="stable")[: job.top]
    class_names = job.loaded.model.class_names
    names = class_names or [f"class {column}" for column in range(len(outputs))]
    listed = ", ".join(f"{names[column]} {outputs[column]:.4g}" for column in columns)
    return f"largest raw outputs: {listed}"


def _check_free(results: Sequence[Path], force: bool) -> None:
    there = [path for path in results if path.exists()]
    if there and not force:
        more = f" and {len(there) - 1} more" if len(there) > 1 else ""
        raise ValueError(
            f"`--output` must not hold the results yet. Received: {there[0]}{more}. "
            "Pass --force to overwrite."
        )


def _target(text: str | None) -> int | str | None:
    if text is None:
        return None
    return int(text) if text.removeprefix("-").isdecimal() else text
