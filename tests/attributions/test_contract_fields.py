"""Every field matters, and explainers are plain data; over the rows of `cases.CASES`."""

import dataclasses
import pickle

import numpy as np
import pytest

import tiny_models
import xai_core as xai
from cases import CASES, EACH, TARGETS
from model_state import outputs
from oracles import assert_same, differ
from tiny_models import KINDS


@pytest.mark.parametrize("case", EACH)
def test_row_of_cases_names_every_field(case):
    names = {field.name for field in dataclasses.fields(case.cls)} - {"model"}
    groups = case.changes, case.scores_only, case.neutral, case.refused
    assert set().union(*groups) == names
    assert sum(map(len, groups)) == len(names)


@pytest.mark.parametrize(
    ("case", "name"),
    [pytest.param(case, name, id=f"{case.name}-{name}") for case in CASES for name in case.changes],
)
def test_field_changes_the_map(case, name):
    change = case.changes[name]
    x = KINDS[change.on].inputs()
    first, second = (
        getattr(case.on(change.on, **change.fixed, **{name: value})(x, TARGETS), change.of)
        for value in (change.first, change.second)
    )
    assert (first is None) != (second is None) or differ(first, second)


@pytest.mark.parametrize(
    ("case", "name"),
    [
        pytest.param(case, name, id=f"{case.name}-{name}")
        for case in CASES
        for name in case.scores_only
    ],
)
def test_field_changes_the_scores_of_a_method_that_ignores_the_model(case, name):
    change = case.scores_only[name]
    x = KINDS[change.on].inputs()
    first, second = (
        case.on(change.on, **{name: value})(x, TARGETS) for value in (change.first, change.second)
    )
    assert differ(first.scores, second.scores)
    assert np.array_equal(first.values, second.values)


@pytest.mark.parametrize(
    ("case", "name"),
    [pytest.param(case, name, id=f"{case.name}-{name}") for case in CASES for name in case.neutral],
)
def test_other_field_does_not_change_the_map(case, name):
    x = KINDS["image"].inputs()
    expected = case.on("image")(x, TARGETS).values
    for value in case.neutral[name]:
        assert_same(case.on("image", **{name: value})(x, TARGETS).values, expected, case.tolerance)


@pytest.mark.parametrize(
    ("case", "name"),
    [pytest.param(case, name, id=f"{case.name}-{name}") for case in CASES for name in case.refused],
)
def test_field_without_meaning_is_refused(case, name):
    with pytest.raises(ValueError, match=f"`{name}`"):
        case.on("image", **{name: case.refused[name]})


@pytest.mark.parametrize("case", EACH)
def test_fields_are_keyword_only_and_frozen(case):
    assert dataclasses.is_dataclass(case.cls)
    explainer = case.on("image")
    with pytest.raises(TypeError):
        case.cls(tiny_models.model("image"), None)
    with pytest.raises(dataclasses.FrozenInstanceError):
        explainer.batch_size = 3
    with pytest.raises(TypeError):
        case.on("image", unheard_of=1)


@pytest.mark.parametrize("case", EACH)
def test_replace_and_with_model_give_copies(case):
    x = KINDS["image"].inputs()
    explainer = case.on("image", batch_size=32)
    smaller = case.replaced(explainer, batch_size=case.few_rows)
    sizes = [case.settings(one).batch_size for one in (smaller, explainer)]
    assert sizes == [case.few_rows, 32]
    assert_same(smaller(x, TARGETS).values, explainer(x, TARGETS).values, case.tolerance)
    other = tiny_models.network("image", activation="sigmoid", **case.acts)
    moved = smaller.with_model(other)
    assert case.settings(moved).batch_size == case.few_rows
    assert_same(moved(x, TARGETS).values, case.build(other)(x, TARGETS).values)
    assert_same(moved(x, TARGETS).scores, outputs(other, x)[np.arange(5), TARGETS])


@pytest.mark.parametrize(
    ("case", "name"),
    [
        pytest.param(case, name, id=f"{case.name}-{name}")
        for case in CASES
        for name in ("image", "torch_image")
        if name in case.kinds
    ],
)
def test_explainer_of_a_wrapped_model_survives_pickling(case, name):
    x = KINDS[name].inputs()
    wrapped = xai.wrap(case.model(name), class_names=("a", "b", "c"))
    loaded = pickle.loads(pickle.dumps(case.build(wrapped, batch_size=64)))
    assert case.settings(loaded).batch_size == 64
    explanation = loaded(x, TARGETS)
    assert explanation.class_names == ("a", "b", "c")
    assert_same(explanation.values, case.on(name)(x, TARGETS).values, case.tolerance)
