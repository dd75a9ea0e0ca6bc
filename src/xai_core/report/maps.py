"""The maps of a report, one picture each, so that a page of any width can arrange them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from xai_core.plots.grid import separate_panels
from xai_core.report.arguments import Entry
from xai_core.report.markup import Markup, element, joined, picture

DPI = 120
"""Pixels per inch of pictures."""

_VOLUME = 5
_WIDTHS = {2: "21rem", 3: "24rem"}


def drawn_maps(entries: Sequence[Entry], names: Sequence[str], limit: int) -> list[Markup]:
    """Return the maps of each input, those of all methods beside each other."""
    total = len(entries[0].explanation)
    shown = min(limit, total)
    parts = [element("h2", "Maps")]
    if shown < total:
        parts.append(element("p", f"The first {shown} of {total} inputs.", class_="muted"))
    drawn = [one for one in entries if one.explanation.values.ndim != _VOLUME]
    if len(drawn) < len(entries):
        parts.append(element("p", "Maps of volumes are not drawn.", class_="muted"))
    figures = [_panels(one, shown) for one in drawn]
    if len(drawn) == 1:
        panels = [_panel(drawn[0], figures[0], row, names[row], names[row]) for row in range(shown)]
        return [*parts, _grid(drawn, panels)]
    for row in range(shown if drawn else 0):
        labels = {one.explanation.label(row) for one in drawn}
        common = labels.pop() if len(labels) == 1 else ""
        parts.append(element("h3", f"{names[row]}: {common}" if common else names[row]))
        panels = [
            _panel(one, found, row, names[row], one.title, labelled=not common)
            for one, found in zip(drawn, figures, strict=True)
        ]
        parts.append(_grid(drawn, panels))
    return parts


def _grid(drawn: Sequence[Entry], panels: Sequence[Markup]) -> Markup:
    """Return pictures in as many columns as there is room for."""
    rank = max(one.explanation.values.ndim for one in drawn)
    if rank in _WIDTHS:
        return element("div", *panels, class_="panels", style=f"--wide: {_WIDTHS[rank]}")
    return element("div", *panels, class_="panels images")


def _panels(entry: Entry, shown: int) -> list[Any]:
    inputs = None if entry.inputs is None else entry.inputs[:shown]
    return separate_panels(entry.explanation[:shown], inputs)


def _panel(
    entry: Entry, figures: Sequence[Any], row: int, name: str, head: str, labelled: bool = True
) -> Markup:
    label = entry.explanation.label(row)
    caption = joined([element("strong", head), f" {label}" if labelled and label else None])
    return picture(figures[row], f"{entry.title} of {name}: {label}", caption, DPI)
