"""Features, one number each: columns of a table or groups of elements, and what they are called."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from xai_core.explanation import Explanation
from xai_core.plots.arguments import listed
from xai_core.typing import Array

MAX_DISPLAY = 12
RANKS = (2, 3, 4, 5)
_NAME_WIDTH = 34


@dataclass(frozen=True, eq=False)
class Features:
    """Numbers (N, d) with their standard errors, where known, and the name of each feature.

    ``columns`` holds the column of a table that a feature is, -1 for a group of several.
    """

    values: Array
    error: Array | None
    names: list[str]
    columns: Array


@dataclass(frozen=True, eq=False)
class _Cells:
    """The numbers of an Explanation, with the columns of a table in each, none elsewhere."""

    values: Array
    error: Array | None
    names: list[str]
    members: list[Array]


def read_features(one: Explanation, feature_names: Sequence[str] | None = None) -> Features:
    """Return the numbers of the groups where there are groups, else of the columns of a table."""
    cells = _cells(one)
    names = _names(one, cells, feature_names)
    columns = [int(own[0]) if len(own) == 1 else -1 for own in cells.members]
    # Where inputs have masks of their own, those with fewer groups are filled up with NaN.
    finite = np.isfinite(cells.values)
    known = np.flatnonzero(finite.any(axis=0) | ~finite.any())
    error = None if cells.error is None else cells.error[:, known].astype(np.float64)
    return Features(
        np.where(finite, cells.values, np.nan)[:, known].astype(np.float64),
        error,
        [names[k] for k in known],
        np.array(columns)[known],
    )


def largest_first(sizes: Array) -> Array:
    """Return the order by magnitude; equal ones in the order of the columns, NaN last."""
    return np.argsort(-np.abs(sizes), kind="stable")


def column_mean(rows: Array) -> Array:
    """Return the mean of the finite numbers of each column, NaN where there are none."""
    known = np.isfinite(rows)
    total = np.where(known, rows, 0).sum(axis=0)
    return np.where(known.any(axis=0), total / np.maximum(known.sum(axis=0), 1), np.nan)


def row_sums(values: Array) -> Array:
    """Return the sum of the finite numbers of each row, (N, 1)."""
    return np.where(np.isfinite(values), values, 0).sum(axis=1, keepdims=True)


def label(name: str, *value: object) -> str:
    """Return a name that fits beside a bar, with the feature's value where one is given."""
    if len(name) > _NAME_WIDTH:
        half = (_NAME_WIDTH - 3) // 2
        name = f"{name[: half + 1]}...{name[-half:]}"
    return " = ".join([name, *map(_text, value)])


def others(count: int) -> str:
    """Return the name of the bar into which the smaller ones are folded."""
    return f"{count} other{'' if count == 1 else 's, summed'}"


def _text(value: object) -> str:
    text = format(value, ".3g") if isinstance(value, float | np.floating) else str(value)
    return text if len(text) <= _NAME_WIDTH else f"{text[: _NAME_WIDTH - 3]}..."


def _cells(one: Explanation) -> _Cells:
    found, mask = one.features, one.feature_mask
    if found is not None and (mask is not None or found.shape != one.values.shape):
        names, members = _groups(one, found.shape[1])
        return _Cells(found, one.feature_standard_error, names, members)
    if one.values.ndim != 2:
        raise ValueError(
            "`explanations` must be of tables (N, W), or have one number per group in `features`. "
            f"Received: shape {one.values.shape} without. `plots.attributions` draws maps."
        )
    error = one.feature_standard_error if one.standard_error is None else one.standard_error
    columns = range(one.values.shape[1])
    names = [f"feature {column}" for column in columns]
    return _Cells(one.values, error, names, [np.array([column]) for column in columns])


def _groups(one: Explanation, count: int) -> tuple[list[str], list[Array]]:
    """Return the names of the groups, by their labels in the mask, and their columns."""
    mask = None if one.feature_mask is None else _shared_mask(one)
    none = np.zeros(0, int)
    parts = [f"part {k}" for k in range(count)]
    if mask is None or len(labels := np.unique(mask)) > count:
        return parts, [none] * count
    # Beside inputs with more groups there are more numbers than groups.
    beyond = count - len(labels)
    table = one.values.ndim == 2
    members = [np.flatnonzero(mask == group) if table else none for group in labels]
    names = [f"group {group}" for group in labels]
    return names + parts[len(names) :], members + [none] * beyond


def _shared_mask(one: Explanation) -> Array:
    """Return the mask of one sample."""
    mask: Any = one.feature_mask
    shape = one.values.shape
    # The map has the mask's channels, so that only rows can be what it lacks.
    if mask.ndim < len(shape) - 1 or mask.shape == shape[1:]:
        return mask
    if (mask == mask[:1]).all():
        return mask[0]
    raise ValueError(
        "`explanations` must share one `feature_mask`, so that a group is the same in every "
        f"row. Received: masks of shape {mask.shape} that differ. Draw one row: explanation[0]."
    )


def _names(one: Explanation, cells: _Cells, given: Sequence[str] | None) -> list[str]:
    count = len(cells.names)
    width = one.values.shape[1] if one.values.ndim == 2 else count
    names = one.feature_names if given is None else listed(given, "feature_names")
    if names is not None and len(names) == width and any(map(len, cells.members)):
        return [_joined([names[column] for column in own]) for own in cells.members]
    if names is not None and len(names) == count:
        return list(names)
    if given is None:
        return cells.names
    both = "" if width == count else f", or per column, here {width}"
    raise ValueError(
        f"`feature_names` must hold one name per feature, here {count}{both}. "
        f"Received: {len(listed(given))}."
    )


def _joined(names: Sequence[str]) -> str:
    """Return the names of a group, as many as fit, and how many more there are."""
    for shown in range(len(names), 1, -1):
        more = f" and {len(names) - shown} more" if shown < len(names) else ""
        text = ", ".join(names[:shown]) + more
        if len(text) <= _NAME_WIDTH:
            return text
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"
