"""`xai-core doctor`: what the package runs on, and what is missing."""

from __future__ import annotations

import argparse
import importlib.metadata
import platform

import xai_core
from xai_core import _backend, _choice
from xai_core.cli.methods import print_table

_NEEDED = ("keras", "numpy", "scipy", "scikit-learn", "matplotlib", "pillow", "rich")
_MISSING = "not installed"


def run(known: argparse.Namespace) -> int:
    """Print backend, devices and versions, and one command for what is missing."""
    del known
    needed = {name: _version(name) for name in _NEEDED}
    frameworks = {name: _framework_version(name) for name in _choice.USABLE}
    print_table(
        [
            ("backend", f"{_choice.BACKEND}. {_choice.RULE}"),
            ("devices", ", ".join(_backend.devices())),
            ("system", f"Python {platform.python_version()}, {platform.platform()}"),
            ("xai-core", xai_core.__version__),
            *((name, version or _MISSING) for name, version in (needed | frameworks).items()),
        ]
    )
    print(f"\n{_advice(needed, frameworks)}")
    return 0


def _advice(needed: dict[str, str | None], frameworks: dict[str, str | None]) -> str:
    packages = [name for name, version in needed.items() if version is None]
    extras = [name for name, version in frameworks.items() if version is None]
    if extras:
        packages.append(f'"xai-core[{",".join(extras)}]"')
    if not packages:
        return "Nothing is missing."
    what = "Needed and missing" if len(packages) > bool(extras) else "Further backends"
    return f"{what}: python -m pip install {' '.join(packages)}"


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def _framework_version(name: str) -> str | None:
    """Return the version of whatever distribution brings the package: there are several."""
    if name not in _choice.installed():
        return None
    owners = importlib.metadata.packages_distributions().get(name, [name])
    found = {owner: _version(owner) for owner in owners}
    owner = name if found.get(name) else next(iter(found))
    return found[owner] if owner == name else f"{found[owner]} ({owner})"
