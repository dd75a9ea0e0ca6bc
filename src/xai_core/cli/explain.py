"""`xai-core explain`: pictures and Explanations of image files, with a saved model."""

from __future__ import annotations

import argparse
import dataclasses
import json
import zipfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np

import xai_core
from xai_core import _backend, _checks, plots
from xai_core.cli import judging, options, pictures
from xai_core.explanation import Explanation
from xai_core.typing import Array

_DPI = 150
_FILES_AT_ONCE = 32


class _Job(NamedTuple):
    """What is done with each batch of files."""

    explainer: Any
    model: Any
    size: tuple[int, int]
    channels: int
    mode: str
    target: int | str | None
    top: int


def run(known: argparse.Namespace, unknown: Sequence[str]) -> int:
    """Explain every image; everything that was typed is checked before the model computes."""
    method = options.method_named(known.method)
    fields = options.parse(method, unknown)
    _checks.integer("--top", known.top, minimum=1)
    files = pictures.found(known.images)
    bases = [known.output / name for name in pictures.result_names(files, method.__name__)]
    results = [Path(f"{base}{suffix}") for base in bases for suffix in (".png", ".npz")]
    _check_free(results, known.force)
    loaded = _load(known.model)
    size, channels = _image_shape(loaded, known.size)
    names = _class_names(known.class_names, getattr(loaded, "output_shape", None))
    model = xai_core.wrap(loaded, class_names=names)
    explainer = options.explainer(method, model, fields, known.explainer)
    job = _Job(explainer, model, size, channels, known.preprocess, _target(known.target), known.top)
    known.output.mkdir(parents=True, exist_ok=True)
    scores = []
    for first in range(0, len(files), _FILES_AT_ONCE):
        part = slice(first, first + _FILES_AT_ONCE)
        explanations, inputs = _explain(job, files[part], bases[part])
        if known.score:
            every = judging.with_random({method.__name__: explanations}, model, inputs)
            scores.append(judging.judged(every, model, inputs))
    if scores:
        _print_scores(scores, len(files))
    return 0


def _print_scores(parts: list[dict[str, Any]], images: int) -> None:
    print(f"Deletion (lower is better) and insertion (higher is better), mean of {images}:")
    joined = {}
    for name in parts[0]:
        deletion, insertion = zip(*(part[name] for part in parts), strict=True)
        joined[name] = tuple(
            np.concatenate([result.scores for result in found]) for found in (deletion, insertion)
        )
    judging.print_scores(joined)


def _explain(job: _Job, files: Sequence[Path], bases: Sequence[Path]) -> tuple[Explanation, Array]:
    """Explain one batch, write and tell its results, and return them with the inputs."""
    images = np.stack([pictures.read(file, job.size, job.channels) for file in files])
    inputs = pictures.preprocess(images, job.mode)
    if job.model.data_format == "channels_first":
        images, inputs = np.moveaxis(images, -1, 1), np.moveaxis(inputs, -1, 1)
    explanations = job.explainer(inputs, job.target)
    outputs = _outputs(job.model, inputs) if job.top > 1 else None
    for row, (file, base) in enumerate(zip(files, bases, strict=True)):
        explanation = _with_origin(explanations[row], file, job.mode)
        # The picture shows the photo, not what the model was given: no fingerprint fits.
        shown = dataclasses.replace(explanation, fingerprints=None)
        plots.attributions(shown, images[row : row + 1]).savefig(f"{base}.png", dpi=_DPI)
        explanation.save(f"{base}.npz")
        print(f"{file.name}: {_said(explanation)} -> {base}.png and .npz")
        if outputs is not None:
            print(f"  {_largest(outputs[row], job)}", flush=True)
    return explanations, inputs


def _with_origin(explanation: Explanation, file: Path, mode: str) -> Explanation:
    note = f"Image {file.name}, preprocessed as {mode!r}."
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
    names = job.model.class_names or [f"class {column}" for column in range(len(outputs))]
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


def _load(path: Path) -> Any:
    if path.suffix != ".keras" or not path.is_file():
        raise ValueError(f"`--model` must be a .keras file that exists. Received: {path}.")
    try:
        return keras.saving.load_model(path, compile=False, safe_mode=True)
    except (AttributeError, KeyError, OSError, TypeError, ValueError, zipfile.BadZipFile) as error:
        reason = " ".join(str(error).split()).partition(". ")[0].removesuffix(".")
        raise ValueError(
            f"`--model` must be a model that Keras can load in safe mode. Received: {path}: "
            f"{reason}."
        ) from error


def _image_shape(model: Any, size: Sequence[int] | None) -> tuple[tuple[int, int], int]:
    """Return height and width, and the number of channels, that the model takes."""
    shape = getattr(model, "input_shape", None)
    if not isinstance(shape, tuple) or len(shape) != 4:
        raise ValueError(f"`--model` must take one batch of images. Received: inputs {shape}.")
    channels_first = xai_core.wrap(model).data_format == "channels_first"
    *sides, channels = (shape[2], shape[3], shape[1]) if channels_first else shape[1:]
    if channels not in (1, 3):
        raise ValueError(
            f"`--model` must take images of 1 or 3 channels. Received: inputs {shape}."
        )
    return _sides(sides, size), channels


def _sides(sides: Sequence[int | None], size: Sequence[int] | None) -> tuple[int, int]:
    if size is None:
        height, width = sides
        if height is None or width is None:
            raise ValueError(
                "`--size` must be given, for the model leaves the size of its images open. "
                "Received: none. Pass for example --size 224."
            )
        return height, width
    wanted = tuple(_checks.integer("--size", side, minimum=1) for side in size)
    wanted = wanted * 2 if len(wanted) == 1 else wanted
    fits = all(own in (None, side) for own, side in zip(sides, wanted, strict=False))
    if len(wanted) != 2 or not fits:
        raise ValueError(
            f"`--size` must be one or two numbers that fit the model's {tuple(sides)}. "
            f"Received: {tuple(size)}."
        )
    return wanted


def _class_names(path: Path | None, shape: Any) -> list[str] | None:
    """Return the names in a JSON file, a list or a dict whose keys are indices: one per output."""
    if path is None:
        return None
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"`--class-names` must be JSON. Received: {path}: {error}.") from error
    if isinstance(found, dict) and sorted(found) == sorted(map(str, range(len(found)))):
        found = [found[str(k)] for k in range(len(found))]
    if not isinstance(found, list):
        raise ValueError(
            "`--class-names` must hold a list of names, or names by index from 0 on. "
            f"Received: {path}."
        )
    if isinstance(shape, tuple) and shape[-1] not in (None, len(found)):
        raise ValueError(
            f"`--class-names` must hold one name per output of the model, {shape[-1]}. "
            f"Received: {len(found)} in {path}."
        )
    # keras.applications' file has [WordNet id, name].
    names = [str(one[-1]) if isinstance(one, list) and one else str(one) for one in found]
    return _distinct(names)


def _distinct(names: list[str]) -> list[str]:
    """Return names that differ and are short: ImageNet's list many synonyms, and repeat some."""
    short = [name.partition(",")[0] for name in names]
    first = Counter(short)
    names = [one if first[one] == 1 else name for one, name in zip(short, names, strict=True)]
    times = Counter(names)
    return [f"{one} ({k})" if times[one] > 1 else one for k, one in enumerate(names)]


def _target(text: str | None) -> int | str | None:
    if text is None:
        return None
    return int(text) if text.removeprefix("-").isdecimal() else text
