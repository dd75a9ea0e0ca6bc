"""Explanations of Keras and PyTorch models, on JAX, TensorFlow and PyTorch.

Importing the package chooses the framework that Keras runs on (see README, "Choosing the backend")
and imports Keras. Everything else is loaded when it is first used.
"""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any

from xai_core import _choice
from xai_core._version import __version__

_choice.import_keras(_choice.BACKEND)

if TYPE_CHECKING:
    from xai_core import (
        attributions,
        datasets,
        images,
        metrics,
        models,
        operators,
        plots,
        propagation,
        report,
        targets,
        wrappers,
    )
    from xai_core._checks import ExplanationWarning
    from xai_core._execution import clear_cache
    from xai_core.explanation import Explanation
    from xai_core.operators import Tasks
    from xai_core.wrappers import wrap

__all__ = [
    "Explanation",
    "ExplanationWarning",
    "Tasks",
    "__version__",
    "attributions",
    "clear_cache",
    "datasets",
    "images",
    "metrics",
    "models",
    "operators",
    "plots",
    "propagation",
    "report",
    "targets",
    "wrap",
    "wrappers",
]

_HOMES = {
    "Explanation": "explanation",
    "ExplanationWarning": "_checks",
    "Tasks": "operators",
    "clear_cache": "_execution",
    "wrap": "wrappers",
}


def __getattr__(name: str) -> Any:
    """Load a public name when it is first asked for."""
    if name not in __all__:
        raise AttributeError(
            f"module {__name__!r} has no attribute {name!r}", name=name, obj=sys.modules[__name__]
        )
    if name in _HOMES:
        value = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    else:
        value = importlib.import_module(f"{__name__}.{name}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
