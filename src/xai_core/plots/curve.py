"""`curves`: how a score falls or rises while elements of the inputs change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from xai_core.plots.arguments import listed
from xai_core.plots.axes import given_axes, new_axes, set_titles

# Okabe and Ito's colours, which nearly everybody can tell apart; yellow is too light for a line.
_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_DASHES = ("-", (0, (5, 1.5)), (0, (1, 1)), (0, (5, 1.5, 1, 1.5)))
_BAND = 0.18
_SIZE = 4.6, 3.2
_CHANGES = {"Deletion": "removed", "Insertion": "inserted"}


def curves(results: Any, *, titles: Sequence[str] | None = None, ax: Any = None) -> Figure:
    """Draw the mean curve of each result, with a band of one standard error.

    The area under it, which is the mean score, stands in the legend. The band is the standard
    error of the mean over the inputs; a result of one input has none.

    Parameters
    ----------
    results : MetricResult, list of these, or dict {title: MetricResult}
        Of one metric that has curves, such as `Deletion`. They may differ in inputs and steps.
    titles : sequence of str, optional
        One per result. By default the keys of a dict, or numbers.
    ax : matplotlib Axes, optional
        Where to draw.

    Returns
    -------
    matplotlib.figure.Figure
        Not shown, and unknown to pyplot. That of ``ax`` where given.

    Raises
    ------
    TypeError
        If something else than results of a metric is given.
    ValueError
        If a result has no curves, results are of different metrics, or there are more or fewer
        titles than results.

    Examples
    --------
    >>> import numpy as np
    >>> from xai_core.metrics import MetricResult
    >>> shares = np.array([0.0, 0.5, 1.0])
    >>> scores, lines = np.array([0.5, 0.4]), np.array([[1.0, 0.5, 0.0], [0.8, 0.4, 0.0]])
    >>> figure = curves({"GradCAM": MetricResult("Deletion", scores, False, lines, shares)})
    >>> figure.axes[0].get_legend().get_texts()[0].get_text()
    'GradCAM 0.450'
    """
    names, found = _read(results)
    if titles is not None:
        names = listed(titles)
        if len(names) != len(found):
            raise ValueError(
                f"`titles` must hold one title per result, here {len(found)}. "
                f"Received: {len(names)}."
            )
    better = "higher" if found[0].higher_is_better else "lower"
    above = [f"{found[0].metric} ({better} is better)"]
    figure, axes = new_axes(above, 1, _SIZE) if ax is None else given_axes(ax, 1, "plot")
    set_titles(axes, above)
    _draw(axes[0], names, found)
    return figure


def _read(results: Any) -> tuple[list[str], list[Any]]:
    """Return the title of each result, and the results."""
    if isinstance(results, Mapping):
        names, found = [str(key) for key in results], list(results.values())
    else:
        found = list(results) if isinstance(results, list | tuple) else [results]
        names = ["area"] if len(found) == 1 else [f"result {k + 1}:" for k in range(len(found))]
    if not found:
        raise ValueError("`results` must hold at least one. Received: none.")
    for one in found:
        if not hasattr(one, "curves") or not hasattr(one, "metric"):
            raise TypeError(
                "`results` must be what a metric returned, a list of these, or a dict "
                f"{{title: result}}. Received: {type(one).__name__}."
            )
        if one.curves is None:
            raise ValueError(f"`results` must have curves. Received: {one.metric} without.")
    metrics = list(dict.fromkeys(one.metric for one in found))
    if len(metrics) > 1:
        raise ValueError(
            "`results` must be of one metric, whose curves compare. "
            f"Received: {' and '.join(metrics)}. Give each an `ax` of its own."
        )
    return names, found


def _draw(ax: Axes, names: Sequence[str], found: Sequence[Any]) -> None:
    lowest = 0.0
    for k, one in enumerate(found):
        lines = np.asarray(one.curves, np.float64)
        mean, color = lines.mean(axis=0), _COLORS[k % len(_COLORS)]
        dashes = _DASHES[k // len(_COLORS) % len(_DASHES)]
        ax.plot(one.shares, mean, color=color, linestyle=dashes)
        if len(lines) > 1:
            error = lines.std(axis=0, ddof=1) / np.sqrt(len(lines))
            band = mean - error, mean + error
            ax.fill_between(one.shares, *band, color=color, alpha=_BAND, linewidth=0)
        lowest = min(lowest, mean.min())
    if lowest == 0:
        ax.set_ylim(bottom=0)  # what lies above it is the area
    ax.set_xlim(0, 1)
    change = _CHANGES.get(found[0].metric, "changed")
    ax.set_xlabel(f"share of elements {change}", fontsize="small")
    ax.set_ylabel("score", fontsize="small")
    ax.tick_params(labelsize="x-small")
    ax.spines[["top", "right"]].set_visible(False)
    _draw_legend(ax, names, found)


def _draw_legend(ax: Axes, names: Sequence[str], found: Sequence[Any]) -> None:
    lines = ax.lines[-len(found) :]
    # Matplotlib leaves out labels that begin with an underscore, so they come in afterwards.
    texts = ax.legend(lines, ["-"] * len(lines), fontsize="x-small", frameon=False).get_texts()
    for text, name, one in zip(texts, names, found, strict=True):
        text.set_text(f"{name} {_number(float(one))}".strip())
        text.set_parse_math(False)


def _number(area: float) -> str:
    return f"{area:.3f}" if abs(area) < 10 else f"{area:.4g}"
