"""What an Explanation says of its origin: settings and versions, as JSON values."""

from __future__ import annotations

import zlib
from dataclasses import fields
from functools import cache
from importlib import metadata
from typing import Any

import keras
import numpy as np

from xai_core import _backend, _version, operators
from xai_core._inputs import host

_LEFT_OUT = ("model", "progress")


def configuration(explainer: Any) -> dict[str, Any]:
    """The fields of an explainer: arrays by shape and CRC-32, callables by name."""
    names = [field.name for field in fields(explainer) if field.name not in _LEFT_OUT]
    found = {name: described(getattr(explainer, name)) for name in names}
    found |= {"output": explainer._output, "batch_size": explainer._batch_size}
    found["operator"] = operators.name_of(explainer._operator)
    model = None if explainer._model is None else type(explainer._model.source).__name__
    if explainer._base is not None:
        method = type(explainer._base).__name__
        found["explainer"] = {"method": method, **configuration(explainer._base)}
    return {"model": model, **found}


def described(value: Any) -> Any:
    """A JSON value that stands for ``value``."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, list | tuple):
        return [described(item) for item in value]
    if isinstance(value, dict):
        return {str(key): described(item) for key, item in value.items()}
    if hasattr(value, "shape"):
        array = np.ascontiguousarray(value if isinstance(value, np.ndarray) else host(value))
        if array.dtype.hasobject:
            return described(array.tolist())
        return {"shape": list(array.shape), "crc32": zlib.crc32(array.tobytes())}
    return getattr(value, "__qualname__", None) or getattr(value, "name", type(value).__name__)


@cache
def versions() -> dict[str, str]:
    """Versions of this package, of Keras and of the framework that it runs on."""
    framework = _backend.NAME
    for distribution in (framework, f"{framework}-cpu"):
        try:
            found = metadata.version(distribution)
            break
        except metadata.PackageNotFoundError:
            found = "unknown"
    return {
        "xai_core": _version.__version__,
        "keras": keras.__version__,
        framework: found,
    }
