"""Image files as a model takes them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from xai_core.typing import Array

_MODES = {1: "L", 3: "RGB"}
_DEEP = ("I", "F")


def found(paths: Sequence[Path]) -> list[Path]:
    """Return the files, those of a folder sorted and without what is no image by its name.

    Raises ValueError if there are none, or one cannot be opened.
    """
    files = [file for path in paths for file in (_in_folder(path) if path.is_dir() else [path])]
    for file in files:
        with _opened(file):
            pass
    return files


def result_names(files: Sequence[Path], method: str) -> list[str]:
    """Return the name of each file's results, without suffix.

    Raises ValueError if two files have the same name.
    """
    stems = Counter(file.stem for file in files)
    names = [file.stem if stems[file.stem] == 1 else file.name for file in files]
    twice = [name for name, times in Counter(names).items() if times > 1]
    if twice:
        raise ValueError(
            f"`--images` must have different names, since the results take theirs. Received: "
            f"{twice[0]!r} more than once. Explain the folders one by one."
        )
    return [f"{name}_{method}" for name in names]


def read(file: Path, size: tuple[int, int], channels: int) -> Array:
    """Return (height, width, channels) uint8: the short side resized, the long one cropped."""
    height, width = size
    with _opened(file) as image:
        try:
            upright = ImageOps.exif_transpose(image).convert(_MODES[channels])
        except (OSError, ValueError, SyntaxError) as error:
            raise ValueError(f"`--images`: {file} cannot be read: {error}.") from error
    fitted = ImageOps.fit(upright, (width, height), Image.Resampling.BILINEAR)
    return np.asarray(fitted).reshape(height, width, channels)


def preprocess(images: Array, mode: str) -> Array:
    """Return float32 images as the model was trained on; channels stand last.

    Raises ValueError if the mode is for colour images and these are grey.
    """
    pixels = images.astype("float32")
    if mode == "none":
        return pixels
    if mode == "unit":
        return pixels / 255
    if images.shape[-1] == 1 and mode != "tf":
        raise ValueError(
            "`--preprocess` must be none, unit or tf for a model of grey images. "
            f"Received: {mode!r}."
        )
    prepared = keras.applications.imagenet_utils.preprocess_input(
        pixels, data_format="channels_last", mode=mode
    )
    return np.asarray(prepared, "float32")


def _in_folder(folder: Path) -> list[Path]:
    known = Image.registered_extensions()
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() in known)
    if not files:
        raise ValueError(f"`--images` must hold image files. Received: {folder}, which has none.")
    return files


def _opened(file: Path) -> Image.Image:
    if not file.exists():
        raise ValueError(f"`--images` must be files or folders that exist. Received: {file}.")
    try:
        image = Image.open(file)
    except (UnidentifiedImageError, OSError) as error:
        raise ValueError(f"`--images`: {file} is not an image that can be read.") from error
    if image.mode.startswith(_DEEP):
        image.close()
        raise ValueError(
            f"`--images` must have 8 bits per channel. Received: {file} (mode {image.mode}). "
            "Save it with 8 bits."
        )
    return image
