"""The file of an Explanation: a zip of ``.npy`` members and one JSON text, no pickle."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from os import PathLike, fspath
from pathlib import Path
from typing import Any

import numpy as np

from xai_core._explanation_fields import json_text
from xai_core.typing import Array

FORMAT = "xai_core.Explanation"
VERSION = 1
HEADER = "explanation.json"

_RULE = "`path` must be a file that `Explanation.save` wrote."
_UNREADABLE = (
    zipfile.BadZipFile,
    EOFError,
    AttributeError,
    KeyError,
    NotImplementedError,
    TypeError,
    ValueError,
)


def npz_path(path: str | PathLike[str]) -> Path:
    """Return the path with ``.npz`` at its end."""
    text = fspath(path)
    return Path(text if text.endswith(".npz") else f"{text}.npz")


def write(path: Path, values: Mapping[str, Any]) -> None:
    """Write fields by name; arrays of objects go into the JSON text."""
    if not path.parent.is_dir():
        raise FileNotFoundError(
            f"`path` must lie in a directory that exists. Received: {str(path)!r}. "
            f"Create {str(path.parent)!r} first."
        )
    arrays = {name: value for name, value in values.items() if isinstance(value, np.ndarray)}
    objects = {name: value for name, value in arrays.items() if value.dtype.hasobject}
    header = {
        "format": FORMAT,
        "version": VERSION,
        "fields": {name: value for name, value in values.items() if name not in arrays},
        "objects": {
            name: {"shape": value.shape, "items": value.ravel().tolist()}
            for name, value in objects.items()
        },
    }
    text = json_text(" and ".join(objects) or "fields", header)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(HEADER, text)
        for name, value in arrays.items():
            if name not in objects:
                with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                    np.lib.format.write_array(member, value, allow_pickle=False)


def read(path: Path) -> dict[str, Any]:
    """Return fields by name."""
    try:
        with zipfile.ZipFile(path) as archive:
            header = json.loads(archive.read(HEADER))
            known = header["format"] == FORMAT
            version = int(header["version"])
            if known and version <= VERSION:
                return _members(archive, header)
    except _UNREADABLE as error:
        raise ValueError(f"{_RULE} Received: {str(path)!r} ({error}).") from error
    if not known:
        raise ValueError(f"{_RULE} Received: {str(path)!r}.")
    raise ValueError(
        f"`path` must hold version {VERSION} of the file format or an older one. Received: "
        f"{str(path)!r} of version {version}. Update xai-core to read it."
    )


def _members(archive: zipfile.ZipFile, header: dict[str, Any]) -> dict[str, Any]:
    found = dict(header["fields"])
    for name, value in header["objects"].items():
        found[name] = _objects(value["items"], value["shape"])
    for member in archive.namelist():
        if member.endswith(".npy"):
            with archive.open(member) as file:
                array = np.lib.format.read_array(file, allow_pickle=False)
            found[member.removesuffix(".npy")] = array
    return found


def _objects(items: list[Any], shape: list[int]) -> Array:
    array = np.empty(len(items), dtype=object)
    array[:] = items
    return array.reshape(shape)
