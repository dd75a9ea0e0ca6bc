"""New figures, which belong to nobody but the caller, and axes that the caller gives."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

_TITLE_LINE = 0.2


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
