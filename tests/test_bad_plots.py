"""What users get wrong with plots of features and of series."""

import dataclasses

import numpy as np
import pytest
from matplotlib.figure import Figure

from bad_rows import Row, check
from xai_core import Explanation, plots
from xai_core.explanation import row_fingerprints

TABLE = np.random.default_rng(1).normal(size=(3, 4))
FOUND = Explanation(
    TABLE,
    "KernelSHAP",
    inputs=TABLE,
    fingerprints=row_fingerprints(TABLE),
    scores=[1.0, 2.0, 3.0],
    base_values=[0.0, 0.0, 0.0],
)
IMAGES = Explanation(np.ones((3, 8, 8, 1)), "GradCAM")
PARTS = dataclasses.replace(IMAGES, features=np.ones((3, 5)))
CURVES = np.random.default_rng(2).normal(size=(3, 9, 2))
SERIES = Explanation(CURVES, "Occlusion", inputs=CURVES)


def drawn(draw, given=FOUND, *more, **options):
    return lambda: draw(given, *more, **options)


def on(count):
    return list(np.atleast_1d(Figure().subplots(1, count)))


def without(**fields):
    return dataclasses.replace(FOUND[0], **fields)


FORMS = [
    ("of maps", IMAGES, ValueError, ("`explanations`", "(3, 8, 8, 1)", "plots.attributions")),
    ("without the batch axis", TABLE[0], ValueError, ("`explanations`", "(4,)")),
    ("none", [], ValueError, ("`explanations`", "at least one")),
    ("no rows", TABLE[:0], ValueError, ("`explanations`", "empty")),
    ("text", TABLE.astype(str), TypeError, ("`values`", "numbers")),
    ("of other inputs", [TABLE[:1], TABLE], ValueError, ("`explanations`", "(1, 4), (3, 4)")),
]
FEATURE_PLOTS = {
    "bar": (plots.bar, FOUND),
    "waterfall": (plots.waterfall, FOUND[0]),
    "beeswarm": (plots.beeswarm, FOUND),
}
FEATURE_OPTIONS = [
    (
        "three names for four",
        {"feature_names": ["a"] * 3},
        ValueError,
        ("`feature_names`", "4", "3"),
    ),
    ("one string of names", {"feature_names": "abcd"}, TypeError, ("`feature_names`", "'abcd'")),
    ("no features", {"max_display": 0}, ValueError, ("`max_display`", "at least 1", "0")),
    ("half a feature", {"max_display": 2.5}, TypeError, ("`max_display`", "integer", "2.5")),
    ("unknown scale", {"scale": "common"}, ValueError, ("`scale`", "'shared'", "'common'")),
    ("a scale of each kind", {"scale": True}, ValueError, ("`scale`", "true")),
    ("two titles", {"titles": ["a", "b"]}, ValueError, ("`titles`", "here 1", "2")),
    ("title as a string", {"titles": "a"}, TypeError, ("`titles`", "'a'")),
    ("no columns", {"columns": 0}, ValueError, ("`columns`", "at least 1", "0")),
    ("columns of axes", {"columns": 1, "ax": on(1)}, ValueError, ("`columns`", "`ax`", "1")),
    ("two axes", {"ax": on(2)}, ValueError, ("`ax`", "per panel", "here 1", "2")),
    ("no axes", {"ax": 3}, TypeError, ("`ax`", "axes", "3")),
    ("unknown colours", {"cmap": "jett"}, ValueError, ("jett",)),
]
ROWS = [
    Row(f"{name}: {title}", drawn(draw, given, **options), error, says)
    for name, (draw, given) in FEATURE_PLOTS.items()
    for title, options, error, says in FEATURE_OPTIONS
]
ROWS += [
    Row(f"{draw.__name__}: {title}", drawn(draw, given), error, says)
    for draw in (plots.bar, plots.beeswarm)
    for title, given, error, says in FORMS
]
ROWS += [
    Row(
        "bar: three names for five parts",
        drawn(plots.bar, PARTS, feature_names=["a"] * 3),
        ValueError,
        ("`feature_names`", "here 5", "3"),
    ),
    Row(
        "waterfall: several rows",
        drawn(plots.waterfall, FOUND),
        ValueError,
        ("`explanations`", "one row", "3 rows", "explanation[i]", "plots.bar"),
    ),
    Row(
        "waterfall: no base value",
        drawn(plots.waterfall, without(base_values=None)),
        ValueError,
        ("`base_values`", "none, of kernelshap", "dataclasses.replace(explanation, base_values="),
    ),
    Row(
        "waterfall: no score",
        drawn(plots.waterfall, without(scores=None)),
        ValueError,
        ("`scores`", "none", "dataclasses.replace(explanation, scores="),
    ),
    Row(
        "waterfall: infinite score",
        drawn(plots.waterfall, without(scores=[np.inf])),
        ValueError,
        ("finite `scores`", "inf"),
    ),
    Row(
        "waterfall: array",
        drawn(plots.waterfall, TABLE[:1]),
        ValueError,
        ("`base_values`", "an array", "plots.bar"),
    ),
    Row(
        "waterfall: maps",
        drawn(plots.waterfall, dataclasses.replace(IMAGES[0], scores=[1.0], base_values=[0.0])),
        ValueError,
        ("`features`", "(1, 8, 8, 1)", "plots.attributions"),
    ),
    Row(
        "beeswarm: inputs in another order",
        drawn(plots.beeswarm, FOUND, TABLE[::-1]),
        ValueError,
        ("`inputs`", "another order"),
    ),
    Row(
        "beeswarm: inputs of other columns",
        drawn(plots.beeswarm, TABLE, TABLE[:, :2]),
        ValueError,
        ("`inputs`", "(3, 4)", "(3, 2)"),
    ),
    Row(
        "beeswarm: inputs of parts",
        drawn(plots.beeswarm, PARTS, np.ones((3, 8, 8, 1))),
        ValueError,
        ("`inputs`", "left out", "(3, 8, 8, 1)"),
    ),
    *(
        Row(f"{draw.__name__}: clip {clip!r}", drawn(draw, given, clip=clip), error, ("`clip`",))
        for draw, given in ((plots.beeswarm, FOUND), (plots.series, SERIES))
        for clip, error in ((50, ValueError), (-1, ValueError), ("5", TypeError))
    ),
    Row("series: tables", drawn(plots.series, FOUND), ValueError, ("series (n, t, w)", "(3, 4)")),
    Row("series: images", drawn(plots.series, IMAGES), ValueError, ("series", "(3, 8, 8, 1)")),
    Row("series: no curves", drawn(plots.series, CURVES), ValueError, ("`inputs`", "none")),
    Row(
        "series: curves of another length",
        drawn(plots.series, CURVES, CURVES[:, :5]),
        ValueError,
        ("`explanations`", "5 steps", "(9, 2)"),
    ),
    Row(
        "series: other channels",
        drawn(plots.series, CURVES, np.ones((3, 9, 4))),
        ValueError,
        ("`explanations`", "here 4", "(9, 2)"),
    ),
    Row(
        "series: other rows",
        drawn(plots.series, SERIES, CURVES[:2]),
        ValueError,
        ("`inputs`", "here 3", "(2, 9, 2)"),
    ),
    Row(
        "series: text",
        drawn(plots.series, CURVES, CURVES.astype(str)),
        TypeError,
        ("`inputs`", "numbers"),
    ),
    Row(
        "series: names",
        drawn(plots.series, SERIES, feature_names=["a"]),
        ValueError,
        ("`feature_names`", "per channel, here 2", "1"),
    ),
    Row(
        "series: a name",
        drawn(plots.series, SERIES, feature_names="ab"),
        TypeError,
        ("`feature_names`", "'ab'"),
    ),
    Row(
        "series: scale", drawn(plots.series, SERIES, scale="all"), ValueError, ("`scale`", "'all'")
    ),
    Row(
        "series: titles",
        drawn(plots.series, SERIES, titles=["a", "b"]),
        ValueError,
        ("`titles`", "here 3", "2"),
    ),
    Row(
        "series: axes",
        drawn(plots.series, SERIES, ax=on(3)),
        ValueError,
        ("`ax`", "per channel of a sample", "here 6", "3"),
    ),
    Row(
        "series: columns of several",
        drawn(plots.series, [SERIES, SERIES], columns=1),
        ValueError,
        ("`columns`", "several", "1"),
    ),
    Row("series: colours", drawn(plots.series, SERIES, cmap="jett"), ValueError, ("jett",)),
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_wrong_call(row):
    check(row)
