"""What users get wrong with reports: nothing is written then."""

import tempfile
from pathlib import Path

import numpy as np
import pytest

from bad_rows import Row, check
from xai_core import Explanation, report
from xai_core.explanation import row_fingerprints
from xai_core.metrics import MetricResult

X = np.random.default_rng(0).random((3, 8, 8, 3)).astype("float32")
MAP = Explanation(np.ones((3, 8, 8, 1)), "Saliency", fingerprints=row_fingerprints(X))
TABLE = Explanation(np.ones((3, 4)), "Saliency")
LOWER = MetricResult("Deletion", np.ones(3), higher_is_better=False)
HIGHER = MetricResult("Deletion", np.ones(3), higher_is_better=True)


def written(explanations=MAP, inputs=None, name="page", **more):
    def call():
        with tempfile.TemporaryDirectory() as folder:
            try:
                report.write(Path(folder, name), explanations, inputs, **more)
            finally:
                assert list(Path(folder).iterdir()) == []

    return call


def folder():
    with tempfile.TemporaryDirectory() as parent:
        Path(parent, "maps.html").mkdir()
        report.write(Path(parent, "maps"), MAP)


ROWS = [
    Row("folder that is missing", written(name="a/b"), FileNotFoundError, ("`path`", "exists")),
    Row("folder as a file", folder, IsADirectoryError, ("`path`", "directory", "maps.html")),
    Row("nothing", written([]), ValueError, ("`explanations`", "at least one", "none")),
    Row("no rows", written(MAP[:0]), ValueError, ("`explanations`", "at least one", "0 rows")),
    Row(
        "array for an Explanation",
        written(np.ones((3, 8, 8, 1))),
        TypeError,
        ("`explanations`", "ndarray", "xai_core.Explanation(array"),
    ),
    Row(
        "arrays for Explanations",
        written({"A": MAP, "B": {"C": 3}}),
        TypeError,
        ("`explanations`", "{title: Explanation}", "int"),
    ),
    Row(
        "explanations of other inputs",
        written([MAP, MAP[:2]]),
        ValueError,
        ("`explanations`", "same inputs", "2 and 3 rows"),
    ),
    Row(
        "inputs in another order",
        written(MAP, X[::-1]),
        ValueError,
        ("`inputs`", "another order", "Saliency"),
    ),
    Row(
        "fewer inputs", written(MAP, X[:2], limit=2), ValueError, ("`inputs`", "3", "(2, 8, 8, 3)")
    ),
    Row(
        "inputs of none",
        written([MAP, TABLE], (X + 1, np.ones((3, 5)))),
        ValueError,
        ("`inputs`", "(3, 8, 8, 3), (3, 5)", "(3, 8, 8, 1)"),
    ),
    Row("ragged inputs", written(TABLE, [[1, 2], [3]]), ValueError, ("`inputs`", "array", "list")),
    Row(
        "list of scores for two",
        written([MAP, MAP], scores=[LOWER]),
        TypeError,
        ("`scores`", "{title: results}", "list", "Saliency (1), Saliency (2)"),
    ),
    Row("number as a score", written(scores=0.3), TypeError, ("`scores`", "metrics", "float")),
    Row(
        "two results of one metric",
        written(scores=[LOWER, LOWER]),
        ValueError,
        ("`scores`", "several of Deletion", "'Saliency'", "{name: result}"),
    ),
    Row(
        "scores that disagree",
        written(scores={"Saliency": LOWER, "B": HIGHER}),
        ValueError,
        ("`scores`", "higher and lower", "Deletion"),
    ),
    Row("picture as a figure", written(figures=[X]), TypeError, ("`figures`", "Figure", "ndarray")),
    Row("title of bytes", written(title=b"a"), TypeError, ("`title`", "str", "b'a'")),
    Row("no introduction", written(introduction=None), TypeError, ("`introduction`", "None")),
    Row("one name for three", written(names=["a"]), ValueError, ("`names`", "here 3", "1")),
    Row("name of one", written(names="abc"), TypeError, ("`names`", "'abc'")),
    Row("limit of none", written(limit=0), ValueError, ("`limit`", "at least 1", "0")),
    Row("half a limit", written(limit=1.5), TypeError, ("`limit`", "integer", "1.5")),
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_wrong_call(row):
    check(row)
