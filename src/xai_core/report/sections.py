"""The sections of a report beside its maps."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from xai_core import citations, plots
from xai_core.explanation import Explanation
from xai_core.report.arguments import Entry
from xai_core.report.maps import DPI
from xai_core.report.markup import (
    Markup,
    element,
    joined,
    picture,
    scrolling,
    table,
)
from xai_core.typing import Array

_CURVE_WIDTH, _CURVE_HEIGHT, _CURVE_LINE = 4.8, 3.2, 0.13
_OPEN = 2
_SHARED = ("model", "explainer", "method")
_INHERITED = (*_SHARED, "operator", "output", "batch_size")


def scores(columns: Mapping[str, Mapping[str, Any]], titles: Sequence[str]) -> list[Markup]:
    """Return the table of means, in the caller's order, the best of each column bold."""
    if not columns:
        return []
    rows = list(dict.fromkeys(title for column in columns.values() for title in column))
    best = {metric: _best(column) for metric, column in columns.items()}
    body = []
    for title in rows:
        cells = [element("th", title, scope="row")]
        for metric, column in columns.items():
            shown = _mean(column[title]) if title in column else "–"
            strong = title == best[metric] and len(column) > 1
            cells.append(element("td", element("strong", shown) if strong else shown))
        body.append(element("tr", *cells, class_=None if title in titles else "control"))
    head = ["map", *(_headed(metric, column) for metric, column in columns.items())]
    counts = sorted({len(one.scores) for column in columns.values() for one in column.values()})
    over = " to ".join(str(n) for n in dict.fromkeys((counts[0], counts[-1])))
    told = f"Means over {over} inputs, with their standard error. The best of a column is bold"
    others = [title for title in rows if title not in titles]
    told += f"; beside the methods: {', '.join(others)}." if others else "."
    return [
        element("h2", "Scores"),
        scrolling(head, body, class_="numbers"),
        element("p", told, class_="muted"),
    ]


def curves(columns: Mapping[str, Mapping[str, Any]]) -> list[Markup]:
    """Return the curves of each metric that has any."""
    found = []
    for metric, column in columns.items():
        lines = {t: one for t, one in column.items() if getattr(one, "curves", None) is not None}
        if lines:
            figure = plots.curves(lines)
            # The legend grows with the number of lines, and must not hide them.
            figure.set_size_inches(_CURVE_WIDTH, _CURVE_HEIGHT + _CURVE_LINE * len(lines))
            alt = f"Curves of {metric} for {', '.join(lines)}"
            known = all(one.metric == metric for one in lines.values())
            found.append(picture(figure, alt, "" if known else metric, DPI))
    return [element("h2", "Curves"), element("div", *found, class_="figures")] if found else []


def figures(given: Sequence[tuple[str, Any]]) -> list[Markup]:
    """Return the figures that were handed in."""
    found = [
        picture(figure, caption or f"Figure {k + 1}", caption, DPI)
        for k, (caption, figure) in enumerate(given)
    ]
    return [element("h2", "Figures"), element("div", *found, class_="figures")] if found else []


def methods(entries: Sequence[Entry], names: Sequence[str], limit: int) -> list[Markup]:
    """Return what is known of each result: settings, origin, and its numbers for each input."""
    parts = [element("h2", "Methods")]
    for entry in entries:
        inner = [table(_facts(entry.explanation), class_="facts")]
        inner += _numbers(entry.explanation, names[:limit])
        parts.append(_folded(entry.title, inner, len(entries) <= _OPEN))
    return parts


def references(entries: Sequence[Entry], columns: Mapping[str, Mapping[str, Any]]) -> list[Markup]:
    """Return the methods sentences and the BibTeX of methods and metrics."""
    cited = [entry.explanation.cite() for entry in entries]
    sentences = list(dict.fromkeys(one.sentence for one in cited))
    metrics = dict.fromkeys(one.metric for column in columns.values() for one in column.values())
    judged = {metric: citations.paper(metric) for metric in metrics}
    if judged:
        each = [f"{m} ({one.short})" if one is not None else m for m, one in judged.items()]
        sentences.append(f"Attributions were judged by {' and '.join(each)}.")
    bibtex = [one.bibtex for one in cited] + [one.bibtex for one in judged.values() if one]
    found = dict.fromkeys(entry for text in bibtex for entry in text.split("\n\n") if entry)
    few = len(entries) <= _OPEN
    told = [element("p", one) for one in sentences]
    parts = [element("h2", "For a paper"), _folded("What was computed", told, few)]
    if found:
        parts.append(_folded("BibTeX", [element("pre", "\n\n".join(found))], few))
    return parts


def _folded(summary: str, content: Sequence[Markup], opened: bool) -> Markup:
    return element("details", element("summary", summary), *content, open=opened)


def _best(column: Mapping[str, Any]) -> str | None:
    """Return the title with the best mean."""
    means = {title: float(np.mean(one.scores)) for title, one in column.items()}
    finite = {title: mean for title, mean in means.items() if np.isfinite(mean)}
    if not finite:
        return None
    higher = next(iter(column.values())).higher_is_better
    return (max if higher else min)(finite, key=lambda title: finite[title])


def _headed(metric: str, column: Mapping[str, Any]) -> Markup:
    better = "higher" if next(iter(column.values())).higher_is_better else "lower"
    arrow = "↑" if better == "higher" else "↓"
    return joined([metric, element("br"), element("small", f"{arrow} {better} is better")])


def _mean(result: Any) -> str:
    """Return the mean with its standard error."""
    values = np.asarray(result.scores, np.float64)
    if len(values) < 2:
        return number(values.mean())
    return f"{number(values.mean())} ± {number(values.std(ddof=1) / np.sqrt(len(values)))}"


def number(value: float) -> str:
    """Return a number with the digits that matter in a table."""
    if not np.isfinite(value):
        return "not finite"
    return format(value, ".3f" if value == 0 or 1e-3 <= abs(value) < 100 else ".3g")


def _facts(one: Explanation) -> list[tuple[Any, Any]]:
    """Return names and values of what holds for all inputs."""
    rows: list[tuple[Any, Any]] = []
    for depth, (name, config) in enumerate(citations.explainers(one)):
        rows.append(("of the explainer" if depth else "method", _linked(name)))
        rows += [
            (key.replace("_", " "), citations.shown(value))
            for key, value in config.items()
            if key not in (_INHERITED if depth else _SHARED)
        ]
    rows += [("model", one.config["model"])] if one.config.get("model") else []
    rows += [("layer that was used", one.layer)] if one.layer is not None else []
    rows += [("seed", one.seed)] if one.seed is not None and "seed" not in one.config else []
    if not one.targets_used:
        rows.append(("target", "The map is the same for every target."))
    rows.append(("map", f"shape {one.values.shape}"))
    if one.rows is not None:
        least, most = int(one.rows.min()), int(one.rows.max())
        rows.append(("model rows per input", str(most) if least == most else f"{least} to {most}"))
    rows += [("seconds of the call", f"{one.seconds:.3g}")] if one.seconds is not None else []
    rows += [("versions", ", ".join(f"{k} {v}" for k, v in one.versions.items()))]
    rows += [("note", note) for note in one.notes]
    return [(name, value) for name, value in rows if value != ""]


def _linked(name: str) -> Any:
    """Return a method's name with a link to its paper."""
    known = citations.paper(name)
    if known is None:
        return name
    link = element("a", known.short, href=known.url, rel="noreferrer")
    return joined([f"{name}, ", link])


def _numbers(one: Explanation, names: Sequence[str]) -> list[Markup]:
    """Return the table of what is known of each input."""
    plain = dataclasses.replace(one, scores=None)
    columns: dict[str, list[str]] = {}
    if one.targets is not None:
        columns["explained"] = [plain.label(row) for row in range(len(names))]
    columns |= _each(one, len(names))
    if not columns:
        return []
    rows = [(name, *cells) for name, *cells in zip(names, *columns.values(), strict=True)]
    return [table(rows, ["input", *columns], class_="numbers")]


def _each(one: Explanation, count: int) -> dict[str, list[str]]:
    """Return columns of numbers, one per input."""
    found: dict[str, Any] = {
        "f(x)": one.scores,
        "f(baseline)": one.base_values,
        "sum − (f(x) − f(baseline))": one.completeness_gap,
        "standard error, mean of the map": _mean_of_map(one.standard_error),
        "standard error before channels were reduced, mean": _mean_of_map(
            one.unreduced_standard_error
        ),
    }
    columns = {
        name: [number(float(value)) for value in values[:count]]
        for name, values in found.items()
        if values is not None
    }
    if one.rows is not None:
        columns["model rows"] = [str(int(rows)) for rows in one.rows[:count]]
    if one.converged is not None:
        columns["converged"] = ["yes" if flag else "no" for flag in one.converged[:count]]
    return columns


def _mean_of_map(errors: Array | None) -> Array | None:
    return None if errors is None else np.reshape(errors, (len(errors), -1)).mean(axis=1)
