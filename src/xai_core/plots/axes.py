"""New figures, which belong to nobody but the caller, and axes that the caller gives."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from xai_core import _checks

_TITLE_LINE = 0.2
_AXIS_LABEL = 0.55
_ROW_WIDTH, _ROW_HEIGHT, _LETTER, _ACROSS = 2.7, 0.22, 0.062, 3


class _Figure(Figure):
    """Shows itself at the end of a notebook cell, also where pyplot was never imported."""

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        self.savefig(buffer, format="png")
        return buffer.getvalue()


def new_axes(
    titles: Sequence[str], columns: int, size: Sequence[float], beside: float = 0.0
) -> tuple[Figure, list[Axes]]:
    """One axes of this size (width, height) per title, ``beside`` them all some width more."""
    rows = math.ceil(len(titles) / columns)
    width, height = size
    height += _TITLE_LINE * max(title.count("\n") + 1 for title in titles)
    figure = _Figure(figsize=(width * columns + beside, height * rows), layout="constrained")
    return figure, [figure.add_subplot(rows, columns, k + 1) for k in range(len(titles))]


def new_stacks(
    titles: Sequence[str], columns: int, height: int, size: Sequence[float], beside: float = 0.0
) -> tuple[Figure, list[Axes]]:
    """Return ``height`` axes of this size below each title, with one horizontal axis."""
    rows = math.ceil(len(titles) / columns)
    above = _TITLE_LINE * max(title.count("\n") + 1 for title in titles)
    tall = height * size[1] + above + _AXIS_LABEL
    figure = _Figure(figsize=(size[0] * columns + beside, tall * rows), layout="constrained")
    # One flat grid: in nested ones, room for a colour bar beside all would be taken from one.
    places = figure.add_gridspec(rows * height, columns)
    axes: list[Axes] = []
    for k in range(len(titles)):
        row, column = divmod(k, columns)
        lanes = [places[row * height + lane, column] for lane in range(height)]
        first = figure.add_subplot(lanes[0])
        axes += [first, *(figure.add_subplot(lane, sharex=first) for lane in lanes[1:])]
    return figure, axes


def given_axes(ax: Any, count: int, unit: str) -> tuple[Figure, list[Axes]]:
    """The axes that a caller gives, one per ``unit``, and their figure."""
    axes = [ax] if isinstance(ax, Axes) else list(np.asarray(ax, dtype=object).ravel())
    if not all(isinstance(one, Axes) for one in axes):
        raise TypeError(f"`ax` must be a matplotlib Axes or an array of them. Received: {ax!r}.")
    if len(axes) != count:
        raise ValueError(
            f"`ax` must hold one Axes per {unit}, here {count}. Received: {len(axes)}."
        )
    # The figure of a subfigure is the whole one.
    figures = [None if one.figure is None else one.figure.figure for one in axes]
    figure = figures[0]
    if figure is None or any(other is not figure for other in figures):
        raise ValueError("`ax` must hold Axes of one figure. Received: Axes of several or none.")
    return figure, axes


def set_titles(axes: Sequence[Axes], titles: Sequence[str]) -> None:
    """Write a title above each axes; names are no formulas."""
    for one, title in zip(axes, titles, strict=True):
        one.set_title(title, fontsize="small", parse_math=False)


def row_axes(
    titles: Sequence[str],
    labels: Sequence[Sequence[str]],
    columns: int | None,
    ax: Any,
    height: float = _ROW_HEIGHT,
) -> tuple[Figure, list[Axes]]:
    """One axes per title for rows with these labels, new ones as large as the labels need."""
    if ax is not None:
        if columns is not None:
            raise ValueError(f"`columns` must be left out with `ax`. Received: {columns}.")
        return given_axes(ax, len(titles), "panel")
    across = _ACROSS if columns is None else _checks.integer("columns", columns, 1)
    longest = max(len(name) for names in labels for name in names)
    rows = max(len(names) for names in labels)
    size = _ROW_WIDTH + _LETTER * longest, _AXIS_LABEL + height * rows
    return new_axes(titles, min(across, len(titles)), size)


def label_rows(ax: Axes, labels: Sequence[str]) -> None:
    """Name the rows 0, 1, ... of an axes from the top, and leave its lower line only."""
    ax.set_yticks(np.arange(len(labels)), labels, parse_math=False)
    ax.set_ylim(len(labels) - 0.4, -0.6)
    ax.xaxis.set_major_locator(MaxNLocator(5))
    ax.tick_params(labelsize="x-small")
    ax.tick_params(axis="y", length=0)
    ax.spines[["top", "right", "left"]].set_visible(False)


def share_limits(axes: Sequence[Axes]) -> None:
    """Give all axes the horizontal limits that hold what any of them shows."""
    low, high = zip(*(ax.get_xlim() for ax in axes), strict=True)
    for ax in axes:
        ax.set_xlim(min(low), max(high))
