"""From what a user hands to a report to what stands in it; what does not fit raises here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from os import PathLike, fspath
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np

from xai_core.explanation import Explanation, check_rows, row_fingerprints
from xai_core.plots.arguments import host_array
from xai_core.typing import Array

_SUFFIXES = (".html", ".htm")


class Entry(NamedTuple):
    """An Explanation, its title, and the rows that it is drawn over, if they are given."""

    title: str
    explanation: Explanation
    inputs: Array | None


def read_path(path: str | PathLike[str]) -> Path:
    """Return the path with ``.html`` at its end, in a directory that exists."""
    text = fspath(path)
    found = Path(text if text.lower().endswith(_SUFFIXES) else f"{text}.html")
    if not found.parent.is_dir():
        raise FileNotFoundError(
            f"`path` must lie in a directory that exists. Received: {text!r}. "
            f"Create {str(found.parent)!r} first."
        )
    if found.is_dir():
        raise IsADirectoryError(f"`path` must be a file. Received: the directory {str(found)!r}.")
    return found


def read_text(name: str, value: Any) -> str:
    """Return a text."""
    if not isinstance(value, str):
        raise TypeError(f"`{name}` must be a str. Received: {value!r}.")
    return value


def read_names(names: Sequence[str] | None, count: int) -> list[str]:
    """Return a name for each input."""
    if names is None:
        return [f"Input {k + 1}" for k in range(count)]
    if isinstance(names, str):
        raise TypeError(f"`names` must be a sequence of str. Received: {names!r}.")
    found = [str(name) for name in names]
    if len(found) != count:
        raise ValueError(
            f"`names` must hold one name per explained input, here {count}. Received: {len(found)}."
        )
    return found


def read_explanations(explanations: Any, inputs: Any) -> list[Entry]:
    """Return every Explanation with a title of its own and the inputs that it fits."""
    titled = _titled(explanations)
    if not titled:
        raise ValueError("`explanations` must hold at least one. Received: none.")
    counts = sorted({len(one) for _, one in titled})
    if counts[0] == 0 or len(counts) > 1:
        raise ValueError(
            "`explanations` must be of the same inputs, at least one. "
            f"Received: {' and '.join(map(str, counts))} rows."
        )
    given = _arrays(inputs)
    return [Entry(title, one, _inputs_of(one, given)) for title, one in titled]


def read_scores(scores: Any, titles: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return {metric: {title: result}}."""
    if scores is None:
        return {}
    if not isinstance(scores, Mapping):
        if len(titles) > 1:
            raise TypeError(
                "`scores` must be a dict {title: results} where there are several explanations. "
                f"Received: {type(scores).__name__}. Titles: {', '.join(titles)}."
            )
        scores = {titles[0]: scores}
    columns: dict[str, dict[str, Any]] = {}
    for title, results in scores.items():
        for metric, result in _results(results):
            _add(columns.setdefault(metric, {}), metric, str(title), result)
    return columns


def read_figures(figures: Any) -> list[tuple[str, Any]]:
    """Return captions and figures."""
    if figures is None:
        return []
    if isinstance(figures, Mapping):
        found = [(str(caption), figure) for caption, figure in figures.items()]
    else:
        several = isinstance(figures, list | tuple)
        found = [("", figure) for figure in (figures if several else [figures])]
    for _, figure in found:
        if not (hasattr(figure, "savefig") and hasattr(figure, "get_size_inches")):
            raise TypeError(
                "`figures` must be a matplotlib Figure, a list of these, or a dict "
                f"{{caption: Figure}}. Received: {type(figure).__name__}."
            )
    return found


def _titled(explanations: Any) -> list[tuple[str, Explanation]]:
    if isinstance(explanations, Mapping):
        return [pair for key, value in explanations.items() for pair in _parts(str(key), value)]
    several = isinstance(explanations, list | tuple)
    found = [
        pair
        for value in (explanations if several else [explanations])
        for pair in _parts("", value)
    ]
    titles = [
        ": ".join(part for part in (one.method or "map", path) if part) for path, one in found
    ]
    times, seen = Counter(titles), Counter()
    for k, title in enumerate(titles):
        seen[title] += 1
        titles[k] = f"{title} ({seen[title]})" if times[title] > 1 else title
    return [(title, one) for title, (_, one) in zip(titles, found, strict=True)]


def _parts(path: str, value: Any) -> Iterator[tuple[str, Explanation]]:
    """Yield the Explanations of a structure with where they stand in it."""
    if value is None:
        return  # of an integer input, which has no map
    if isinstance(value, Explanation):
        yield path, value
    elif isinstance(value, Mapping | list | tuple):
        pairs = (
            value.items()
            if isinstance(value, Mapping)
            else ((f"input {k + 1}", part) for k, part in enumerate(value))
        )
        for key, part in pairs:
            yield from _parts(f"{path}: {key}" if path else str(key), part)
    else:
        raise TypeError(
            "`explanations` must be an Explanation, a list of these, or a dict "
            f"{{title: Explanation}}. Received: {type(value).__name__}. An array becomes one by "
            "xai_core.Explanation(array, name)."
        )


def _arrays(inputs: Any) -> list[Array]:
    """Return the arrays of a model's inputs."""
    if inputs is None:
        return []
    leaves = keras.tree.flatten(inputs) if isinstance(inputs, tuple | Mapping) else [inputs]
    try:
        return [host_array(leaf) for leaf in leaves]
    except ValueError as error:
        raise ValueError(
            "`inputs` must be an array with the batch axis, or a tuple or dict of these. "
            f"Received: {type(inputs).__name__} whose rows differ in shape."
        ) from error


def _inputs_of(one: Explanation, given: Sequence[Array]) -> Array | None:
    """Return the array that was explained."""
    if len(given) < 2:
        for array in given:
            check_rows(one, array)
        return given[0] if given else None
    fits = [array for array in given if _explained(one, array)]
    if not fits:
        raise ValueError(
            "`inputs` must hold the rows of each explanation, in their order. Received: arrays of "
            f"shapes {', '.join(str(array.shape) for array in given)}, none of them for the map of "
            f"shape {one.values.shape}."
        )
    return fits[0]


def _explained(one: Explanation, array: Array) -> bool:
    if array.ndim != one.values.ndim or len(array) != len(one):
        return False
    if one.fingerprints is not None:
        found = row_fingerprints(array)
        return found is not None and np.array_equal(found, one.fingerprints)
    sides = zip(one.values.shape, array.shape, strict=True)
    return all(own in (1, side) for own, side in sides)


def _add(column: dict[str, Any], metric: str, title: str, result: Any) -> None:
    if title in column:
        raise ValueError(
            f"`scores` must hold one result of a metric per title. Received: several of {metric} "
            f"for {title!r}. Name them: {{title: {{name: result}}}}."
        )
    if any(one.higher_is_better != result.higher_is_better for one in column.values()):
        raise ValueError(
            f"`scores` must agree on what is better. Received: higher and lower for {metric}."
        )
    column[title] = result


def _results(results: Any) -> Iterator[tuple[str, Any]]:
    """Yield names and results of what stands for one title."""
    if isinstance(results, Mapping):
        named = [(str(name), one) for name, one in results.items()]
    else:
        several = isinstance(results, list | tuple)
        named = [(None, one) for one in (results if several else [results])]
    for name, one in named:
        if not all(hasattr(one, part) for part in ("metric", "scores", "higher_is_better")):
            raise TypeError(
                "`scores` must hold what metrics returned: a result or a list of these for each "
                f"title. Received: {type(one).__name__}."
            )
        yield name or one.metric, one
