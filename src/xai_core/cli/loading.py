"""The model that `explain` is about: a file, or a network of keras.applications with weights."""

from __future__ import annotations

import argparse
import json
import urllib.error
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import keras
import numpy as np

import xai_core
from xai_core import _checks
from xai_core.cli import pictures
from xai_core.cli.arguments import PREPROCESS
from xai_core.typing import Array

_DOWNLOADED = "imagenet"
_CLASSES = 1000
_USUAL_SIDE = 224
_BROKEN = (AttributeError, KeyError, OSError, TypeError, ValueError, zipfile.BadZipFile)


class Loaded(NamedTuple):
    """A wrapped model, the images that it takes, and how pixels (channels last) become these."""

    model: Any
    size: tuple[int, int]
    channels: int
    prepare: Callable[[Array], Array]
    prepared: str


def load(known: argparse.Namespace) -> Loaded:
    """Return the model that was typed, with what goes with it."""
    names = _class_names(known.class_names)
    build = applications().get(known.model.lower())
    mode = known.preprocess
    if build is None:
        model = _saved(known)
        size, channels = _image_shape(model, known.size)
    else:
        model = _application(build, known, _CLASSES if names is None else len(names))
        size, channels = _image_shape(model, None)
    _check_count(names, getattr(model, "output_shape", None))
    if build is None or mode is not None:
        prepare, prepared = (lambda images: pictures.preprocess(images, mode)), repr(mode)
    else:
        prepare, prepared = _own_preprocessing(build), f"keras.applications does for {_name(build)}"
    return Loaded(xai_core.wrap(model, class_names=names), size, channels, prepare, prepared)


def applications() -> dict[str, Any]:
    """Return the functions of keras.applications that build a network, by name in lower case."""
    every = (getattr(keras.applications, name) for name in dir(keras.applications))
    return {_name(one).lower(): one for one in every if callable(one)}


def _name(build: Any) -> str:
    return build.__name__


def _own_preprocessing(build: Any) -> Callable[[Array], Array]:
    """Return the preprocessing of the module that a network of keras.applications comes from."""
    module = getattr(keras.applications, build.__module__.rpartition(".")[2])

    def prepare(images: Array) -> Array:
        pixels = images.astype("float32")
        return np.asarray(module.preprocess_input(pixels, data_format="channels_last"), "float32")

    return prepare


def _saved(known: argparse.Namespace) -> Any:
    """Return the model in a file."""
    path = Path(known.model)
    if path.suffix != ".keras" or not path.is_file():
        every = [_name(build) for build in applications().values()]
        raise ValueError(
            "`--model` must be a .keras file that exists, or a network of keras.applications such "
            f"as MobileNetV2. Received: {known.model}.{_checks.near(known.model, every)}"
        )
    if known.weights is not None:
        raise ValueError(
            "`--weights` must be left out for a .keras file, which holds them. "
            f"Received: {known.weights}."
        )
    if known.preprocess is None:
        raise ValueError(
            "`--preprocess` must be given for a .keras file, which does not tell what the model "
            f"was trained on. Received: none. Choose {', '.join(PREPROCESS)}."
        )
    try:
        return keras.saving.load_model(path, compile=False, safe_mode=True)
    except _BROKEN as error:
        raise ValueError(
            f"`--model` must be a model that Keras can load in safe mode. Received: {path}: "
            f"{_reason(error)}."
        ) from error


def _application(build: Any, known: argparse.Namespace, classes: int) -> Any:
    """Return a network of keras.applications with the weights that were typed."""
    weights = known.weights
    if weights is None:
        raise ValueError(
            f"`--weights` must be given for {_name(build)}, for random weights explain nothing: "
            "--weights FILE for weights on this machine, or --weights imagenet, which downloads "
            "those of Keras. Received: none."
        )
    settings: dict[str, Any] = {"classes": classes}
    if known.size is not None:
        settings["input_shape"] = _input_shape(_sides((None, None), known.size))
    if weights.lower() == _DOWNLOADED:
        with _Download():
            return _sized(build, settings | {"weights": _DOWNLOADED})
    if not Path(weights).is_file():
        raise ValueError(
            f"`--weights` must be a file that exists, or {_DOWNLOADED}. Received: {weights}."
        )
    return _weighted(build, settings, weights)


def _weighted(build: Any, settings: dict[str, Any], weights: str) -> Any:
    """Return the network with the weights in a file."""
    model = _sized(build, settings | {"weights": None})
    wanted = f"`--weights` must hold weights of {_name(build)} with {settings['classes']} classes."
    random = [np.array(values) for values in model.get_weights()]
    try:
        with warnings.catch_warnings():
            # Keras only warns of layers that it finds no weights for, and leaves them random.
            warnings.simplefilter("ignore", UserWarning)
            model.load_weights(weights)
    except _BROKEN as error:
        raise ValueError(f"{wanted} Received: {weights}: {_reason(error)}.") from error
    found = zip(model.weights, random, model.get_weights(), strict=True)
    left = [
        weight.path
        for weight, before, after in found
        if weight.trainable and np.ptp(before) > 0 and np.array_equal(after, before)
    ]
    if left:
        raise ValueError(f"{wanted} Received: {weights}, which has none for {left[0]}.")
    return model


def _sized(build: Any, settings: dict[str, Any]) -> Any:
    """Return the network; those that leave the size of images open get the usual one."""
    model = build(**settings)
    if "input_shape" in settings or None not in model.input_shape[1:]:
        return model
    return build(**settings, input_shape=_input_shape((_USUAL_SIDE, _USUAL_SIDE)))


def _input_shape(size: tuple[int, int]) -> tuple[int, ...]:
    return (3, *size) if keras.config.image_data_format() == "channels_first" else (*size, 3)


class _Download:
    """Names what to do where Keras cannot download, which it tells by an exception of no type."""

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None and isinstance(error.__context__, urllib.error.URLError):
            raise OSError(
                f"`--weights {_DOWNLOADED}` cannot be downloaded: {error}. Pass a file of weights "
                "that lies on this machine."
            ) from error


def _reason(error: BaseException) -> str:
    return " ".join(str(error).split()).partition(". ")[0].removesuffix(".")


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


def _class_names(path: Path | None) -> list[str] | None:
    """Return the names in a JSON file, a list or a dict whose keys are indices."""
    if path is None:
        return None
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"`--class-names` must be JSON. Received: {path}: {error}.") from error
    if isinstance(found, dict) and sorted(found) == sorted(map(str, range(len(found)))):
        found = [found[str(k)] for k in range(len(found))]
    if not isinstance(found, list) or not found:
        raise ValueError(
            "`--class-names` must hold a list of names, or names by index from 0 on. "
            f"Received: {path}."
        )
    # keras.applications' file has [WordNet id, name].
    names = [str(one[-1]) if isinstance(one, list) and one else str(one) for one in found]
    return _distinct(names)


def _check_count(names: Sequence[str] | None, shape: Any) -> None:
    if names is not None and isinstance(shape, tuple) and shape[-1] not in (None, len(names)):
        raise ValueError(
            f"`--class-names` must hold one name per output of the model, {shape[-1]}. "
            f"Received: {len(names)}."
        )


def _distinct(names: list[str]) -> list[str]:
    """Return names that differ and are short: ImageNet's list many synonyms, and repeat some."""
    short = [name.partition(",")[0] for name in names]
    first = Counter(short)
    names = [one if first[one] == 1 else name for one, name in zip(short, names, strict=True)]
    times = Counter(names)
    return [f"{one} ({k})" if times[one] > 1 else one for k, one in enumerate(names)]
