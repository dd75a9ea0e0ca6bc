"""How targets and scores of an Explanation read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

_LISTED = 3


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


def target_name(target: Any, names: Sequence[str] | None, unit: str) -> str:
    """Return what one row of targets stands for: a class, or a contrast of a few."""
    target = np.asarray(target)
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


def _column(column: int, names: Sequence[str] | None, unit: str) -> str:
    if names is not None and 0 <= column < len(names):
        return names[column]
    return f"{unit} {column}"
