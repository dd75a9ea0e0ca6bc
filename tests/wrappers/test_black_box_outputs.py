"""What a black box may return, and what is refused."""

from collections import namedtuple
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from keras import ops

from black_boxes import ROWS, column, drops, linear, regression
from oracles import assert_same
from xai_core import wrap
from xai_core.attributions import Occlusion

Pair = namedtuple("Pair", ["first", "second"])
RETURNED = {
    "list of rows": lambda x: list(linear(x)),
    "list of lists": lambda x: linear(x).tolist(),
    "float32": lambda x: linear(x).astype("float32"),
    "float16": lambda x: linear(x).astype("float16"),
    "long double": lambda x: linear(x).astype("longdouble"),
    "tensor": lambda x: ops.convert_to_tensor(linear(x)),
    "list of tensors": lambda x: [ops.convert_to_tensor(row) for row in linear(x)],
    "objects": lambda x: linear(x).astype(object),
    "frame": lambda x: pd.DataFrame(linear(x)),
    "logits": lambda x: SimpleNamespace(logits=linear(x), hidden=x),
    "one of one": lambda x: (linear(x),),
}


@pytest.mark.parametrize("name", RETURNED)
@pytest.mark.parametrize("rows", [1, 6])
def test_what_may_be_returned(name, rows):
    found = Occlusion(RETURNED[name])(ROWS[:rows], 1)
    tolerance = {"float16": 5e-3}.get(name, 1e-6)
    assert_same(found.values, drops(linear, ROWS[:rows], 1), tolerance)
    assert found.scores.dtype in (np.float32, np.float64)


def test_half_precision_tensors_of_the_framework():
    found = Occlusion(lambda x: ops.cast(ops.convert_to_tensor(linear(x)), "bfloat16"))(ROWS, 1)
    assert_same(found.values, drops(linear, target=1), 5e-2)


@pytest.mark.parametrize("rows", [1, 2, 6])
@pytest.mark.parametrize(
    "returned",
    [
        column,
        lambda x: list(column(x)),
        lambda x: column(x)[:, None],
        lambda x: pd.Series(column(x)),
    ],
    ids=["array", "list", "one column", "series"],
)
def test_one_number_per_row(returned, rows):
    x = ROWS[:rows]
    assert_same(regression(returned)(x).values, drops(column, x))
    # A classifier of one column has the classes 1, the column, and 0, its opposite.
    assert_same(Occlusion(returned)(x).values, drops(column, x))
    assert_same(Occlusion(returned)(x, 0).values, -drops(column, x))


@pytest.mark.parametrize("kind", [int, bool])
def test_integers_and_booleans_become_floats(kind):
    found = Occlusion(lambda x: (linear(x) > 0).astype(kind))(ROWS, 0)
    assert found.scores.dtype == np.float64
    assert_same(found.values, drops(lambda x: (linear(x) > 0).astype(float)))


@pytest.mark.parametrize(
    ("returned", "select"),
    [
        (lambda x: (x, linear(x)), 1),
        (lambda x: [x, linear(x)], -1),
        (lambda x: {"a": x, "b": linear(x)}, "b"),
        (lambda x: Pair(x, linear(x)), "second"),
        (lambda x: Pair(x, linear(x)), 1),
        (lambda x: SimpleNamespace(deep=linear(x)), "deep"),
        (lambda x: SimpleNamespace(deep=[linear(x)]), lambda output: output.deep[0]),
        (lambda x: (x, ops.convert_to_tensor(linear(x))), 1),
        (lambda x: (np.zeros(3), linear(x)), 1),
        (lambda x: linear(x), lambda output: output[:, :2]),
    ],
    ids=[
        "tuple",
        "list",
        "dict",
        "name",
        "index",
        "attribute",
        "callable",
        "tensor",
        "other",
        "all",
    ],
)
def test_select_picks_one_of_several_outputs(returned, select):
    found = Occlusion(wrap(returned, select=select))(ROWS, 0)
    assert_same(found.values, drops(linear), 1e-6)


def test_several_outputs_need_select():
    with pytest.raises(ValueError, match=r"`select` must say which of the model's 2 outputs.*0, 1"):
        Occlusion(lambda x: (x, linear(x)))(ROWS, 0)
    with pytest.raises(ValueError, match=r"`select` must name one output.*3.*2 outputs"):
        Occlusion(wrap(lambda x: (x, linear(x)), select=3))(ROWS, 0)


@pytest.mark.parametrize(
    ("returned", "error", "says"),
    [
        (lambda x: None, TypeError, "`model` must return a tensor.*NoneType"),
        (lambda x: "cat", TypeError, "`model` must return a tensor.*str"),
        (lambda x: np.full(len(x), "cat"), TypeError, "must return numbers.*<U3.*`predict_proba`"),
        (
            lambda x: np.array(["cat"] * len(x), object),
            TypeError,
            "numbers.*object.*`predict_proba`",
        ),
        (lambda x: np.full(len(x), None), TypeError, "`model` must return numbers.*object"),
        (lambda x: linear(x) * 1j, TypeError, "`model` must return numbers.*complex128"),
        (lambda x: 1.0, ValueError, r"`model` must return one row for each.*1.*\(\)"),
        (lambda x: linear(x)[0], ValueError, r"`model` must return one row for each.*1.*\(2,\)"),
        (lambda x: np.ones((3, 2)), ValueError, r"`model` must return one row for.*1.*\(3, 2\)"),
        (lambda x: np.ones((1, 2)), ValueError, r"`model` must return one row for.*6.*\(1, 2\)"),
        (lambda x: [column(x), column(x)], ValueError, r"`model` must return one row.*\(2, 1\)"),
        (lambda x: [[1.0], [1.0, 2.0]], ValueError, "`output of the model` must be an array"),
        (lambda x: x[:, :, None], ValueError, "`operator` must say how outputs of more than two"),
        (lambda x: linear(x) * np.nan, ValueError, "`operator` must give finite scores of the in"),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else None,
)
def test_what_may_not_be_returned(returned, error, says):
    with pytest.raises(error, match=says):
        Occlusion(returned)(ROWS, 0)


class OwnError(Exception):
    """An error that only this function raises."""


@pytest.mark.parametrize("at", [1, 2, 3])
@pytest.mark.parametrize("error", [OwnError, ValueError, TypeError, KeyboardInterrupt])
def test_errors_of_the_function_pass_unchanged(error, at):
    raised, calls = error("of my own"), []

    def failing(x):
        calls.append(len(x))
        if len(calls) == at:
            raise raised
        return linear(x)

    explainer = Occlusion(failing, batch_size=8)
    with pytest.raises(error) as caught:
        explainer(ROWS, 0)
    assert caught.value is raised
    assert_same(explainer(ROWS, 0).values, drops(linear))
