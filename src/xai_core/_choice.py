"""The framework that Keras runs on: chosen here, before Keras is imported.

The order is: a Keras that is already imported, ``KERAS_BACKEND``, ``keras.json``, and where that
names TensorFlow (Keras writes this default on its first import, whatever runs) while TensorFlow is
missing, the first installed of JAX and PyTorch.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import sys
from pathlib import Path

VARIABLE = "KERAS_BACKEND"
USABLE = ("jax", "tensorflow", "torch")
_DEFAULT = "tensorflow"


def choose() -> tuple[str, str]:
    """Return the backend and the rule that decided, or raise ImportError with what would serve."""
    if "keras" in sys.modules:
        backend = importlib.import_module("keras.config").backend()
        _require_gradients(backend, "of the Keras that is already imported")
        return backend, "Keras was imported before xai_core, so its backend is kept."
    named = os.environ.get(VARIABLE)
    if named:
        _require(named, f"named by the environment variable {VARIABLE}")
        return named, f"The environment variable {VARIABLE} names it."
    return _from_file(_keras_json())


def installed() -> list[str]:
    """Return the usable backends whose framework is installed."""
    return [name for name in USABLE if _is_installed(name)]


def import_keras(backend: str) -> None:
    """Import Keras on ``backend``, and leave the environment variable as it was."""
    before = os.environ.get(VARIABLE)
    os.environ[VARIABLE] = backend
    try:
        importlib.import_module("keras")
    finally:
        if before is None:
            del os.environ[VARIABLE]
        else:
            os.environ[VARIABLE] = before


def _from_file(path: Path) -> tuple[str, str]:
    named = _named_in(path)
    if named and named != _DEFAULT:
        _require(named, f"named by {path}")
        return named, f"{path} names it."
    if _is_installed(_DEFAULT):
        said = f"{path} names it" if named else f"It is Keras's default and {path} names none"
        return _DEFAULT, f"{said}; {VARIABLE} is not set."
    others = installed()
    if not others:
        raise ImportError(f"No framework that Keras can run on is installed. {_ways(USABLE)}")
    said = f"{path} names {named}" if named else f"Keras's default is {_DEFAULT}"
    return others[0], f"{said}, which is not installed: the first installed of jax and torch."


def _keras_json() -> Path:
    """Return where Keras reads its settings."""
    home = os.environ.get("KERAS_HOME")
    if home is None:
        base = Path("~").expanduser()
        home = (base if os.access(base, os.W_OK) else Path("/tmp")) / ".keras"
    return Path(home, "keras.json").expanduser()


def _named_in(path: Path) -> str | None:
    if not path.exists():
        return None
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:  # Keras, too, reads a file that is no JSON as one without settings.
        return None
    return settings.get("backend") if isinstance(settings, dict) else None


def _require(backend: str, origin: str) -> None:
    _require_gradients(backend, origin)
    if not _is_installed(backend):
        raise ImportError(
            f"The Keras backend {backend!r}, {origin}, is not installed. {_ways((backend,))}"
        )


def _require_gradients(backend: str, origin: str) -> None:
    if backend not in USABLE:
        raise ImportError(
            f"The Keras backend {backend!r}, {origin}, is not one that gives gradients. "
            f"Usable are {', '.join(USABLE)}. {_ways(USABLE)}"
        )


def _is_installed(name: str) -> bool:
    """Tell whether the package is there, without importing it; a bare folder is no package."""
    spec = importlib.util.find_spec(name)
    return spec is not None and spec.origin is not None


def _ways(extras: tuple[str, ...]) -> str:
    """Return what to do: install one of the extras, or name a backend that is installed."""
    commands = " or ".join(f'`pip install "xai-core[{name}]"`' for name in extras)
    there = installed()
    other = f", or set {VARIABLE} to what is installed: {' or '.join(there)}" if there else ""
    return f"Run {commands}{other}."


BACKEND, RULE = choose()
