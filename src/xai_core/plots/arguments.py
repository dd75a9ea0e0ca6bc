"""From what a user hands to a plot to the panels that are drawn."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import keras
import numpy as np

from xai_core import _checks
from xai_core.explanation import Explanation, check_rows
from xai_core.plots.panel import Panel
from xai_core.typing import Array

_SERIES, _IMAGES = 3, 4
_CHANNELS = (1, 3)
_TITLE_WIDTH, _TITLE_LINES = 34, 2
_NAMED_CLASSES = 10
_FORMS = {
    2: "tables (N, W)",
    3: "series (N, T, W)",
    4: "images (N, H, W, C)",
    5: "volumes (N, D, H, W, C)",
}


def host_array(inputs: Any) -> Array:
    """Return tensors of the backend, wherever they are, and anything array-like as an array."""
    try:
        return np.asarray(inputs)
    except (TypeError, RuntimeError):
        # A tensor on another device, with a gradient, or of a dtype that NumPy lacks.
        if not keras.ops.is_tensor(inputs):
            raise
        array = np.asarray(keras.ops.convert_to_numpy(inputs))
        return array.astype(np.float32) if array.dtype.kind == "V" else array


def read_explanations(
    explanations: Any, pictures: Array | None, ranks: Sequence[int] = (2, 3, 4)
) -> tuple[list[str], list[Explanation]]:
    """Return the heads of the columns (empty where they have none) and the Explanations.

    ``ranks`` are those that the plot draws.
    """
    if isinstance(explanations, Mapping):
        heads, items = [str(key) for key in explanations], list(explanations.values())
    elif isinstance(explanations, list | tuple):
        heads, items = [], list(explanations)
    else:
        heads, items = [], [explanations]
    if not items:
        raise ValueError("`explanations` must hold at least one. Received: none.")
    found = [_explanation(item, pictures) for item in items]
    _check_alike(found, ranks)
    if pictures is not None:
        _check_pictures(found, pictures)
    if not heads and len({one.method for one in found}) > 1:
        heads = [one.method for one in found]
    return heads or [""] * len(found), found


def panel_titles(
    titles: Sequence[str] | None, heads: Sequence[str], found: Sequence[Explanation]
) -> list[str]:
    """Return the title of each panel, row by row."""
    samples = len(found[0])
    if titles is not None:
        titles = listed(titles)
        if len(titles) == samples * len(found):
            return [wrapped(title) for title in titles]
        if len(titles) != len(found):
            raise ValueError(
                f"`titles` must hold one title per panel, here {samples * len(found)}, or one per "
                f"explanation, here {len(found)}. Received: {len(titles)}."
            )
        heads = titles
    lines = []
    for sample in range(samples):
        for head, one in zip(heads, found, strict=True):
            headed = head if sample == 0 or len(found) == 1 else ""
            parts = [wrapped(part) for part in (headed, one.label(sample)) if part]
            lines.append("\n".join(parts))
    return lines


def summary_titles(
    titles: Sequence[str] | None, heads: Sequence[str], found: Sequence[Explanation]
) -> list[str]:
    """Return one title per explanation: class and score of one row, what is common of several."""
    summaries = []
    for one in found:
        first = one[:1]
        if len(one) > 1:
            same = one.targets is not None and bool((one.targets == one.targets[:1]).all())
            first = replace(first, scores=None, targets=first.targets if same else None)
        summaries.append(first)
    return panel_titles(titles, heads, summaries)


def warn_of_mixed_classes(found: Sequence[Explanation]) -> None:
    """Warn where the rows of an Explanation explain different classes, which summaries mix."""
    mixed = []
    for one in found:
        if one.targets is None or not one.targets_used or not len(one):
            continue
        # Without scores a label is the name of the class alone.
        plain, flat = replace(one, scores=None), one.targets.reshape(len(one), -1)
        rows = np.sort(np.unique(flat, axis=0, return_index=True)[1])
        if len(rows) > 1:
            names = [plain.label(row) for row in rows[:_NAMED_CLASSES]]
            more = f" and {len(rows) - len(names)} more" if len(rows) > len(names) else ""
            mixed.append(f"{one.method or 'An explanation'} ({', '.join(names)}{more})")
    if mixed:
        _checks.warn(
            f"The rows of {'; '.join(dict.fromkeys(mixed))} explain different classes, which this "
            "figure mixes. Give the explainer one class for all rows: pass `targets=`."
        )


def make_panels(
    found: Sequence[Explanation],
    pictures: Array | None,
    prepare: Callable[[Array, Array | None, str], tuple[Array, Array | None]],
    titles: Sequence[str],
) -> list[Panel]:
    """Return one panel per sample and explanation, row by row."""
    prepared = []
    for one in found:
        values, shown = prepare(
            one.values, one.inputs if pictures is None else pictures, one.data_format
        )
        prepared.append((one, values, shown, bool((values < 0).any())))
    panels = []
    for sample in range(len(found[0])):
        for one, values, shown, signed in prepared:
            panels.append(
                Panel(
                    values[sample],
                    None if shown is None else shown[sample],
                    signed,
                    titles[len(panels)],
                    one.feature_names,
                    None if one.standard_error is None else one.standard_error[sample],
                )
            )
    return panels


def listed(titles: Sequence[str], name: str = "titles") -> list[str]:
    """Return titles, or the names that an argument ``name`` holds, as a list of str."""
    if isinstance(titles, str):
        raise TypeError(f"`{name}` must be a sequence of str. Received: {titles!r}.")
    return [str(title) for title in titles]


def percent(clip: Any) -> float:
    """Return the percent of values at each end that may leave the colour scale."""
    share = _checks.number("clip", clip)
    if not 0 <= share < 50:
        raise ValueError(f"`clip` must be at least 0 and below 50. Received: {clip}.")
    return share


def sample_columns(columns: int | None, found: Sequence[Explanation], ax: Any, usual: int) -> int:
    """Return the panels in a row: one per explanation, or samples of a single one."""
    if columns is not None and (len(found) > 1 or ax is not None):
        raise ValueError(
            "`columns` must be left out with several explanations, where each has its own column, "
            f"and with `ax`. Received: {columns}."
        )
    if len(found) > 1:
        return len(found)
    chosen = usual if columns is None else _checks.integer("columns", columns, 1)
    return min(chosen, len(found[0]))


def wrapped(title: str) -> str:
    """Return a title in lines that fit above a panel, the rest left out."""
    lines = textwrap.wrap(title, _TITLE_WIDTH, max_lines=_TITLE_LINES, placeholder=" ...")
    return "\n".join(lines)


def _explanation(item: Any, pictures: Array | None) -> Explanation:
    if isinstance(item, Explanation):
        return item
    values = host_array(item)
    shown = values if pictures is None or pictures.ndim != _IMAGES else pictures
    data_format = guess_format(shown)
    if shown.ndim == _IMAGES and values.ndim == _SERIES:
        values = np.expand_dims(values, 1 if data_format == "channels_first" else -1)
    return Explanation(values, "", data_format=data_format)


def guess_format(array: Array) -> str:
    """Return channels last, unless only axis 1 of images can be the channels."""
    first = array.ndim == _IMAGES and array.shape[1] in _CHANNELS
    return "channels_first" if first and array.shape[-1] not in _CHANNELS else "channels_last"


def _check_alike(found: Sequence[Explanation], ranks: Sequence[int]) -> None:
    shapes = [one.values.shape for one in found]
    if len({(shape[0], len(shape)) for shape in shapes}) > 1:
        raise ValueError(
            "`explanations` must be of the same inputs: equal numbers of rows and of axes. "
            f"Received: shapes {', '.join(map(str, shapes))}."
        )
    if len(shapes[0]) not in ranks:
        *others, last = (_FORMS[rank] for rank in ranks)
        forms = f"{', '.join(others)} or {last}" if others else last
        raise ValueError(
            f"`explanations` must be of {forms}, with the batch axis. Received: shape {shapes[0]}."
        )
    if 0 in [length for shape in shapes for length in shape]:
        raise ValueError(f"`explanations` must not be empty. Received: shapes {shapes}.")


def _check_pictures(found: Sequence[Explanation], pictures: Array) -> None:
    for one in found:
        alike = pictures.ndim == one.values.ndim and 0 not in pictures.shape
        if not alike or (pictures.ndim == 2 and pictures.shape != one.values.shape):
            raise ValueError(
                f"`inputs` must fit maps of shape {one.values.shape}, with the batch axis. "
                f"Received: shape {pictures.shape}."
            )
        if pictures.ndim > 2 and pictures.dtype.kind not in "fiubV":
            raise TypeError(f"`inputs` must hold numbers. Received: dtype {pictures.dtype}.")
        check_rows(one, pictures)
