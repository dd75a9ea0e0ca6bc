"""What holds for the map of every method: each test runs over the rows of `cases.CASES`."""

import dataclasses
import json

import numpy as np
import pytest
from keras import ops

import tiny_models
import xai_core as xai
from cases import EACH, MODEL_BASED, PAIRS, TARGETS
from model_state import host, outputs
from oracles import assert_same
from tiny_models import BACKEND, KINDS

# What the warnings say is tested method by method.
ANY_WARNING = pytest.mark.filterwarnings("ignore::xai_core.ExplanationWarning")


# --- the map ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("case", "kind"), PAIRS)
def test_map_is_finite_float32_and_broadcasts_against_its_input(case, kind):
    x = kind.inputs()
    explanation = case.on(kind.name)(x, TARGETS)
    expected = list(x.shape)
    if kind.rank > 3:
        expected[1 if kind.channels_first else -1] = 1
    elif kind.rank == 3 and case.one_feature:
        expected[-1] = 1
    assert explanation.values.shape == tuple(expected)
    assert explanation.values.dtype == np.float32
    assert np.isfinite(explanation.values).all()
    assert explanation.values.any()
    if kind.rank > 3:
        expected = "channels_first" if kind.channels_first else "channels_last"
        assert explanation.data_format == expected


@pytest.mark.parametrize("case", EACH)
def test_attribute_gives_tensors_of_the_backend_before_reduction(case):
    x = KINDS["image"].inputs()
    tensor = case.on("image").attribute(x, TARGETS)
    assert ops.is_tensor(tensor)
    unreduced = case.on("image", **(case.unreduced or {}))(x, TARGETS)
    whole = case.unreduced and not case.at_layer
    assert tensor.shape == (x.shape if whole else unreduced.values.shape)
    assert_same(host(tensor), unreduced.values)


@pytest.mark.parametrize("case", EACH)
def test_signed_says_whether_values_may_be_negative(case):
    assert isinstance(case.cls.signed, bool)
    assert isinstance(case.cls.uses_targets, bool)
    assert case.cls.requires in ("gradients", "predictions", "nothing")
    assert "http" in case.cls.source
    values = case.on("image")(KINDS["image"].inputs(), TARGETS).values
    assert (values < 0).any() == case.cls.signed


@pytest.mark.parametrize("case", EACH)
def test_explanation_tells_where_it_came_from(case):
    x = KINDS["image"].inputs()
    explanation = case.on("image")(x, TARGETS)
    model = case.model("image")
    assert explanation.method == case.name
    assert explanation.targets.tolist() == TARGETS.tolist()
    assert explanation.targets_used == case.cls.uses_targets
    assert_same(explanation.scores, outputs(model, x)[np.arange(5), TARGETS])
    for name in (
        f.name for f in dataclasses.fields(case.cls) if f.name not in ("model", "progress")
    ):
        assert name in explanation.config
    assert json.loads(json.dumps(explanation.config)) == explanation.config
    assert explanation.seconds > 0
    assert explanation.fingerprints.shape == (5,)
    assert {"keras", "xai_core", BACKEND} <= {
        name.replace("-", "_") for name in explanation.versions
    }


# --- batches ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("case", "kind"), PAIRS)
def test_batch_size_does_not_change_the_map(case, kind):
    # Sizes 1 and 64 are tried on images, among the fields that do not change the map.
    x = kind.inputs()
    whole = case.on(kind.name)(x, TARGETS)
    parts = case.on(kind.name, batch_size=3)(x, TARGETS)
    assert_same(parts.values, whole.values, case.tolerance)
    assert_same(parts.scores, whole.scores)


@ANY_WARNING
@pytest.mark.parametrize(("case", "kind"), PAIRS)
def test_map_does_not_depend_on_its_neighbours(case, kind):
    x = kind.inputs()
    whole = case.on(kind.name)(x, TARGETS)
    crowd = np.concatenate([x[3:4], 100 * x[:3], x[2:3]])
    other = case.on(kind.name)(crowd, TARGETS[[3, 0, 1, 2, 2]])
    assert_same(other.values[[0, 4]], whole.values[[3, 2]], case.tolerance)
    if kind.name == "image":
        alone = case.on(kind.name)(x[3:4], TARGETS[3:4])
        assert_same(alone.values, whole.values[3:4], case.tolerance)


@pytest.mark.parametrize("case", EACH)
def test_stream_gives_the_maps_of_the_call(case):
    x = KINDS["image"].inputs()
    explainer = case.on("image")
    batches = list(explainer.stream(iter([x, x[3:]])))
    assert [len(batch) for batch in batches] == [5, 2]
    assert all(isinstance(batch, xai.Explanation) for batch in batches)
    whole = explainer(x)
    assert_same(batches[0].values, whole.values, case.tolerance)
    assert_same(batches[1].values, whole.values[3:], case.tolerance)
    assert np.array_equal(batches[1].targets, whole.targets[3:])


@pytest.mark.parametrize("case", EACH)
def test_stream_computes_a_batch_when_it_is_asked_for(case):
    x, taken = KINDS["image"].inputs(), []

    def batches():
        for start in (0, 1):
            taken.append(start)
            yield x

    stream = case.on("image").stream(batches())
    next(stream)
    assert taken == [0]


@ANY_WARNING
@pytest.mark.parametrize("case", EACH)
@pytest.mark.parametrize("targets", [[1, 0, [0, 2, 1, 1, 2]], "all"], ids=["list", "all"])
def test_explain_each_equals_one_call_per_target(case, targets):
    x, seen = KINDS["image"].inputs(), []
    explainer = case.on("image")
    if targets == "all":
        model, seen = tiny_models.batch_sizes(tiny_models.network("image", **case.acts))
        explainer = case.build(model, batch_size=case.few_rows)
    together = explainer.explain_each(x, targets)
    assert max(seen, default=0) <= case.few_rows, "The model never sees more rows."
    assert seen or targets != "all" or not case.cls.uses_targets
    singles = [explainer(x, target) for target in ([0, 1, 2] if targets == "all" else targets)]
    assert max(seen, default=0) <= case.few_rows
    assert len(together) == 3
    for one, single in zip(together, singles, strict=True):
        assert_same(one.values, single.values, case.tolerance)
        assert_same(one.scores, single.scores)
        assert np.array_equal(one.targets, single.targets)


# --- the same result ----------------------------------------------------------------------------


@pytest.mark.parametrize("case", EACH)
def test_two_calls_give_the_same_numbers(case):
    x = KINDS["image"].inputs()
    first = case.on("image")(x, TARGETS).values
    assert np.array_equal(case.on("image")(x, TARGETS).values, first)


def test_equal_fields_do_not_make_explainers_equal():
    model = tiny_models.model("table")
    first, second = xai.attributions.Saliency(model), xai.attributions.Saliency(model)
    assert first != second
    assert first == first
    assert len({first, second}) == 2


@pytest.mark.parametrize(("case", "kind"), PAIRS)
def test_arrays_tensors_and_lists_give_the_same_map(case, kind):
    x = kind.inputs()
    explainer = case.on(kind.name)
    expected = explainer(x, TARGETS).values
    nested = [x.tolist()] if case.cls.uses_targets else []  # Python floats have other bytes.
    for same in (ops.convert_to_tensor(x), list(x), *nested):
        assert_same(explainer(same, TARGETS).values, expected)


@ANY_WARNING
@pytest.mark.parametrize("dtype", ["float64", "float16", "uint8", "int64", "bool"])
@pytest.mark.parametrize("case", MODEL_BASED, ids=lambda case: case.name)
def test_other_number_types_are_explained_as_the_same_numbers(case, dtype):
    x = np.round(40 * np.abs(KINDS["image"].inputs())).astype(dtype)
    if dtype == "bool":
        x = KINDS["image"].inputs() > 0
    explainer = case.on("image")
    assert_same(explainer(x, TARGETS).values, explainer(x.astype("float32"), TARGETS).values)


@pytest.mark.parametrize("case", EACH)
@pytest.mark.parametrize("layout", ["fortran", "reversed", "read-only"])
def test_memory_layout_of_the_input_does_not_matter(case, layout):
    x = KINDS["image"].inputs()
    explainer = case.on("image")
    expected = explainer(x, TARGETS).values
    if layout == "fortran":
        same = np.asfortranarray(x)
    elif layout == "reversed":
        same = np.ascontiguousarray(x[:, ::-1])[:, ::-1]
    else:
        same = x.copy()
        same.flags.writeable = False
    assert_same(explainer(same, TARGETS).values, expected)


@pytest.mark.parametrize("case", EACH)
def test_channels_first_is_channels_last_transposed(case):
    first = case.on("channels_first")(KINDS["channels_first"].inputs(), TARGETS)
    last = case.on("image")(KINDS["image"].inputs(), TARGETS)
    if case.cls.uses_targets:
        assert_same(np.moveaxis(first.values, 1, -1), last.values, case.tolerance)
    assert_same(first.scores, last.scores)


@ANY_WARNING
@pytest.mark.parametrize("case", EACH)
def test_constant_model_gives_zeros(case):
    for twin in {"table", "image"} & set(case.kinds):
        acts = {"inner": "relu"} if case.rectified else {}
        explanation = case.build(tiny_models.constant(twin, **acts))(KINDS[twin].inputs(), TARGETS)
        assert np.isfinite(explanation.values).all()
        assert (np.abs(explanation.values).max() > 1e-12) != case.constant_is_zero
