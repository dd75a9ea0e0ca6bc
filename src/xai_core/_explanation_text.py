"""How targets and scores of an Explanation read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

_LISTED = 3
_FIRST_CLASS = 5
"""The first column of a box, behind corners and objectness, that is the score of a class."""


def listed(rows: Any, text: Callable[[Any], str]) -> str:
    """Return the first few rows as text, and how many more there are."""
    shown = [text(row) for row in rows[:_LISTED]]
    if len(rows) > _LISTED:
        shown.append(f"... {len(rows) - _LISTED} more")
    return f"[{', '.join(shown)}]"


def short(score: float) -> str:
    """Return a score with the digits that a title has room for."""
    plain = score == 0 or 0.01 <= abs(score) < 1000
    return format(score, ".2f" if plain else ".2g")


def target_name(target: Any, names: Sequence[str] | None, operator: str | None) -> str:
    """Return what one row of targets stands for: a class, a contrast, a box, a zone."""
    target = np.asarray(target)
    unit = "output" if operator == "regression" else "class"
    if operator in _STRUCTURED:
        return _STRUCTURED[operator](target, names)
    if target.ndim == 0 and target.dtype.kind in "iu":
        return _column(int(target), names, unit)
    if target.ndim != 1 or target.dtype.kind not in "fiub":
        return "target"
    used = np.flatnonzero(target)
    if not 1 <= used.size <= _LISTED or np.any(np.abs(target[used]) != 1):
        return f"{used.size} weighted outputs"
    ordered = sorted(used, key=lambda column: target[column] < 0)
    terms = [
        f"{'-' if target[column] < 0 else '+'} {_column(int(column), names, unit)}"
        for column in ordered
    ]
    return " ".join(terms).removeprefix("+ ")


def _boxes(target: Any, names: Sequence[str] | None) -> str:
    """The class of the only box, or how many there are."""
    real = target[target.any(axis=-1)]
    if len(real) != 1 or real.shape[-1] <= _FIRST_CLASS:
        return f"{len(real)} box{'' if len(real) == 1 else 'es'}"
    return f"box: {_column(int(real[0, _FIRST_CLASS:].argmax()), names, 'class')}"


def _zone(target: Any, names: Sequence[str] | None) -> str:
    """The class whose column is marked; with the number of classes unknown, that of a last axis."""
    first = names is not None and target.shape[0] == len(names) != target.shape[-1]
    marked = np.moveaxis(target, 0, -1) if first else target
    used = np.flatnonzero(marked.reshape(-1, marked.shape[-1]).any(axis=0))
    if used.size != 1:
        return "zone" if names is None else f"zones of {used.size} classes"
    kind = "border" if (target < 0).any() else "zone"
    return f"{kind}: {_column(int(used[0]), names, 'class')}"


def _similarity(target: Any, names: Sequence[str] | None) -> str:
    del target, names
    return "similarity"


_STRUCTURED: dict[str | None, Callable[[Any, Sequence[str] | None], str]] = {
    "semantic_segmentation": _zone,
    "embedding_similarity": _similarity,
    "object_detection": _boxes,
    "object_detection_box_position": _boxes,
    "object_detection_box_proba": _boxes,
    "object_detection_box_class": _boxes,
}


def _column(column: int, names: Sequence[str] | None, unit: str) -> str:
    if names is not None and 0 <= column < len(names):
        return names[column]
    return f"{unit} {column}"
