"""`waterfall`: from the base value to the score of one row, step by step."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Colormap
from matplotlib.figure import Figure

from xai_core import _checks
from xai_core.explanation import Explanation
from xai_core.plots.arguments import read_explanations, summary_titles
from xai_core.plots.axes import label_rows, row_axes, set_titles, share_limits
from xai_core.plots.color import signed_colors
from xai_core.plots.feature import (
    MAX_DISPLAY,
    RANKS,
    Features,
    label,
    largest_first,
    others,
    read_features,
)

_GAP, _ROUNDING = 1e-3, 1e-6
_ROOM_LEFT, _ROOM_RIGHT = 0.04, 0.24


def waterfall(
    explanations: Any,
    *,
    feature_names: Sequence[str] | None = None,
    max_display: int = MAX_DISPLAY,
    titles: Sequence[str] | None = None,
    cmap: str | Colormap | None = None,
    scale: str = "map",
    columns: int | None = None,
    ax: Any = None,
) -> Figure:
    """Draw the way from the base value to f(x) of one row, a bar for each contribution.

    It is read from the bottom: every bar begins where the one below it ends, the largest last. The
    smaller ones are added up in one bar. What the contributions leave out of f(x) minus the base
    value stands in a hatched bar, "not explained": coefficients such as those of `LIME` do not add
    up by construction, gradients along a path nearly do.

    Parameters
    ----------
    explanations : Explanation of one row, list of these, or dict {title: Explanation}
        One panel each, such as the classes of ``explain_each``. It must have ``base_values`` and
        ``scores``. Groups (``feature_mask``) have one bar each.
    feature_names : sequence of str, optional
        One per column or per group. By default those of the Explanation, else numbers.
    max_display : int
        Features with a bar of their own.
    titles : sequence of str, optional
        One per panel. By default the key of a dict, the method where the methods differ, and the
        explained class with its score.
    cmap : str or matplotlib.colors.Colormap, optional
        Its two ends colour the bars.
    scale : {"map", "shared"}
        One axis for each panel, or the same for all.
    columns : int, optional
        Panels in a row: at most 3 by default.
    ax : matplotlib Axes or array of Axes, optional
        Where to draw: one for each panel, in one figure.

    Returns
    -------
    matplotlib.figure.Figure
        Not shown, and unknown to pyplot. That of ``ax`` where given.

    Raises
    ------
    TypeError, ValueError
        If there are several rows, base value or score is missing, there is neither a table nor
        groups, or names, titles or axes do not fit.

    Examples
    --------
    >>> from xai_core import Explanation
    >>> row = Explanation([[3.0, -1.0]], "IntegratedGradients", scores=[2.5], base_values=[0.5])
    >>> [text.get_text() for text in waterfall(row).axes[0].get_yticklabels()]
    ['f(x)', 'feature 0', 'feature 1', 'base value']
    """
    count = _checks.integer("max_display", max_display, 1)
    _checks.choice("scale", scale, ("map", "shared"))
    heads, found = read_explanations(explanations, None, RANKS)
    drawn = [_way(one, read_features(one, feature_names), count) for one in map(_checked, found)]
    above = summary_titles(titles, heads, found)
    labels = [[step.label for step in steps] for steps in drawn]
    figure, axes = row_axes(above, labels, columns, ax)
    set_titles(axes, above)
    for panel, steps in zip(axes, drawn, strict=True):
        _draw_way(panel, steps, cmap)
    if scale == "shared":
        share_limits(axes)
    return figure


class _Step(NamedTuple):
    """One line of a waterfall: a bar from ``start``, or one of its ends where it has no value."""

    label: str
    start: float
    value: float | None = None
    error: float = math.nan
    explained: bool = True

    @property
    def end(self) -> float:
        return self.start + (self.value or 0.0)


def _checked(one: Explanation) -> Explanation:
    if len(one) > 1:
        raise ValueError(
            f"`explanations` must be of one row. Received: {len(one)} rows. "
            "Take one, explanation[i]; `plots.bar` and `plots.beeswarm` draw all."
        )
    for name in ("base_values", "scores"):
        value = getattr(one, name)
        if value is None or not np.isfinite(value).all():
            received = "none" if value is None else str(value[0])
            raise ValueError(
                f"`explanations` must have finite `{name}`, an end of the way. Received: "
                f"{received}, of {one.method or 'an array'}. Methods with a baseline that has a "
                f"score give it; else set it, `dataclasses.replace(explanation, {name}=[...])`, or "
                "draw `plots.bar`."
            )
    return one


def _way(one: Explanation, features: Features, count: int) -> list[_Step]:
    """Return the lines from the top: f(x), the largest contribution, ..., the base value."""
    base, score = (float(getattr(one, name)[0]) for name in ("base_values", "scores"))
    values = np.where(np.isfinite(features.values[0]), features.values[0], 0)
    order = largest_first(values)
    shown, rest = order[:count], order[count:]
    steps = [_Step("base value", base)]
    if rest.size:
        steps.append(_Step(others(rest.size), base, float(values[rest].sum())))
    for k in shown[::-1]:
        error = math.nan if features.error is None else float(features.error[0, k])
        steps.append(_Step(_valued(one, features, k), steps[-1].end, float(values[k]), error))
    missing = score - steps[-1].end
    rounding = _ROUNDING * max(abs(score), abs(base))
    if abs(missing) > _GAP * max(np.abs(values).max(), abs(score - base)) + rounding:
        steps.append(_Step("not explained", steps[-1].end, missing, explained=False))
    return [_Step("f(x)", score), *steps[::-1]]


def _valued(one: Explanation, features: Features, k: int) -> str:
    column, inputs = features.columns[k], one.inputs
    if column < 0 or inputs is None or inputs.ndim != 2 or column >= inputs.shape[1]:
        return label(features.names[k])
    return label(features.names[k], inputs[0, column])


def _draw_way(ax: Axes, steps: Sequence[_Step], cmap: str | Colormap | None) -> None:
    label_rows(ax, [step.label for step in steps])
    right = max(steps[0].start, steps[-1].start)
    left = min(steps[0].start, steps[-1].start)
    for line, step in enumerate(steps):
        beyond = 0.0 if math.isnan(step.error) else step.error
        high, low = max(step.start, step.end + beyond), min(step.start, step.end - beyond)
        right, left = max(right, high), min(left, low)
        _draw_step(ax, line, step, cmap)
        text = _number(step.start) if step.value is None else f"{_number(step.value, '+')}"
        ax.annotate(
            text, (high, line), (4, 0), textcoords="offset points", va="center", fontsize="x-small"
        )
        if line + 1 < len(steps):
            place = step.start
            ax.plot([place] * 2, [line, line + 1], color="0.4", linewidth=0.8, linestyle=":")
    room = (right - left) or 1.0
    ax.set_xlim(left - _ROOM_LEFT * room, right + _ROOM_RIGHT * room)
    ax.set_xlabel("score", fontsize="small")


def _draw_step(ax: Axes, line: int, step: _Step, cmap: str | Colormap | None) -> None:
    if step.value is None:
        ax.plot([step.start] * 2, [line - 0.4, line + 0.4], color="black", linewidth=1.6)
        return
    (color,) = signed_colors(np.array([step.value]), cmap)
    look: dict[str, Any] = {"color": color}
    if not step.explained:
        look = {"facecolor": "white", "edgecolor": "0.35", "hatch": "////", "linewidth": 0.8}
    ax.barh(line, step.value, left=step.start, **look)
    if not math.isnan(step.error):
        ax.errorbar(step.end, line, xerr=step.error, fmt="none", ecolor="black", elinewidth=1)


def _number(value: float, sign: str = "") -> str:
    """Return a number with three digits, in powers of ten only where it is very large or small."""
    if value and not 1e-3 <= abs(value) < 1e5:
        return format(value, f"{sign}.2e")
    digits = max(0, 2 - math.floor(math.log10(abs(value)))) if value else 0
    return format(value, f"{sign}.{digits}f")
