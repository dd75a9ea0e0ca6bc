"""What users pass becomes checked host arrays: structures, types, refusals, fingerprints."""

import functools
import zlib

import keras
import numpy as np
import pytest
from keras import ops

import tiny_models
from cases import BY_NAME, CASES, TARGETS
from naming import shown
from oracles import assert_same, differ
from tiny_models import BACKEND, KINDS
from xai_core._inputs import as_structure, checked, chunks, host, padded

X = KINDS["table"].inputs(3)


def batch(inputs, integers=None, dtype="float32", several=False):
    structure = as_structure(inputs, several)
    leaves = keras.tree.flatten(structure)
    return checked(structure, integers or [False] * len(leaves), dtype)


def refused(inputs, error, says, **options):
    with pytest.raises(error, match=f"`inputs`.*{says}") as caught:
        batch(inputs, **options)
    return str(caught.value)


# --- numbers of every type ----------------------------------------------------------------------

NUMBERS = ["float64", "float32", "float16", "int64", "int32", "uint8", "bool"]


@pytest.mark.parametrize("dtype", NUMBERS)
@pytest.mark.parametrize("order", ["C", "F", "reversed"])
def test_numbers_become_floats_of_the_model(dtype, order):
    given = np.arange(12).reshape(3, 4).astype(dtype)
    given = given[:, ::-1] if order == "reversed" else np.asarray(given, order=order)
    found = batch(given)
    assert found.leaves[0].dtype == "float32"
    np.testing.assert_array_equal(found.leaves[0], given.astype("float32"))
    assert batch(given, dtype="float64").leaves[0].dtype == "float64"
    assert batch(given, dtype="bfloat16").leaves[0].dtype == "float32"


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_tensors_of_the_framework(dtype):
    given = np.arange(12.0).reshape(3, 4)
    found = batch(ops.cast(ops.convert_to_tensor(given), dtype))
    assert found.leaves[0].dtype == "float32"
    np.testing.assert_array_equal(found.leaves[0], given)


def test_list_of_rows_is_stacked():
    rows = [list(map(float, X[0])), X[1], ops.convert_to_tensor(X[2])]
    np.testing.assert_array_equal(batch(rows).leaves[0], X)


@pytest.mark.parametrize("case", ["grad", "inference"] if BACKEND == "torch" else [])
def test_torch_tensors_that_numpy_refuses(case):
    import torch

    with torch.inference_mode(case == "inference"):
        tensor = torch.tensor(X, requires_grad=case == "grad")
    np.testing.assert_array_equal(host(tensor), X)


def test_users_array_is_never_changed_and_doubles_keep_their_digits():
    given = X.astype("float64") / 3
    before = given.copy()
    found = batch(given, dtype="float64")
    np.testing.assert_array_equal(found.leaves[0], before)
    np.testing.assert_array_equal(given, before)


# --- structures ---------------------------------------------------------------------------------

WORDS = np.array([[1, 2], [3, 4], [0, 5]])


def test_a_list_is_a_structure_only_for_several_inputs():
    assert as_structure([X, X], several=False).shape == (2, 3, 4)
    pair = as_structure([X, WORDS], several=True)
    assert type(pair) is list
    assert pair[1].shape == (3, 2)
    assert type(as_structure((X, X), several=False)) is tuple
    nested = as_structure({"a": X, "b": (WORDS, [[1.0], [2.0], [3.0]])}, several=False)
    assert nested["b"][1].shape == (3, 1)


@pytest.mark.parametrize(
    "given",
    [{"x": X, "words": WORDS}, (X, WORDS), [X, WORDS], {"a": {"b": X}, "c": (WORDS,)}],
    ids=["dict", "tuple", "list", "nested"],
)
def test_integer_leaves_stay_and_the_structure_comes_back(given):
    flat = keras.tree.flatten(as_structure(given, several=True))
    integers = [leaf.dtype.kind == "i" for leaf in flat]
    found = batch(given, integers, several=True)
    assert len(found) == 3
    assert len(found.float_leaves()) == len(found.float_fingerprints()) == 1
    np.testing.assert_array_equal(found.float_leaves()[0], X)
    packed = found.pack(["float"], ["integer"])
    assert keras.tree.map_structure(lambda leaf: 0, packed) == keras.tree.map_structure(
        lambda leaf: 0, as_structure(given, several=True)
    )
    assert sorted(keras.tree.flatten(packed)) == ["float", "integer"]
    assert found.per_float_leaf(["alone"]) == "alone"


def test_several_float_leaves_give_their_structure():
    found = batch({"b": X, "a": WORDS, "c": X}, [True, False, False])
    assert found.per_float_leaf(["first", "second"]) == {"b": "first", "a": None, "c": "second"}


def test_key_tells_structures_apart():
    dictionary, pair = batch({"a": X, "b": X}), batch((X, X))
    assert dictionary.key() != pair.key()
    assert pair.key() == batch((X + 1, X)).key()
    assert batch((X, WORDS)).key() != batch((X, WORDS), [False, True]).key()


# --- what is refused ----------------------------------------------------------------------------


class Thing:
    """An object that is no number."""


@pytest.mark.parametrize(
    ("given", "error", "says"),
    [
        ([[1.0, 2.0], [1.0]], ValueError, "one shape"),
        ([X[0], X[1, :2]], ValueError, "one shape"),
        (["a", "b"], TypeError, "numbers.*<U1"),
        (np.array([b"a"]), TypeError, "numbers"),
        (np.array([["a", 1]], object), TypeError, "numbers.*object"),
        (X.astype(object), TypeError, "numbers.*object"),
        (X.astype(complex), TypeError, "numbers.*complex128"),
        (np.array(["2020-01-01"], "datetime64[D]"), TypeError, "numbers.*datetime64"),
        (None, TypeError, "numbers.*object"),
        (Thing(), TypeError, "an array.*Thing"),
        (iter([X]), TypeError, "an array.*list_iterator.*`stream`"),
        (3.0, ValueError, r"at least one row.*\(\)"),
        ([], ValueError, r"at least one row.*\(0,\)"),
        (X[:0], ValueError, r"at least one row.*\(0, 4\)"),
        (X[:, :0], ValueError, r"at least one row.*\(3, 0\)"),
        (X[0], ValueError, r"2 to 5 axes.*\(4,\)"),
        (np.zeros((1, 2, 1, 1, 1, 1)), ValueError, r"2 to 5 axes.*\(1, 2, 1, 1, 1, 1\)"),
        ((X, X[:2]), ValueError, r"one number of rows.*\(3, 4\), \(2, 4\)"),
    ],
    ids=lambda value: None if isinstance(value, np.ndarray) else shown(value),
)
def test_what_is_no_batch_is_refused(given, error, says):
    refused(given, error, says)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
def test_rows_that_are_not_finite_are_counted(bad, dtype):
    given = np.zeros((4, 2, 3), dtype)
    given[1, 0, 2] = given[3, 1, 0] = bad
    refused(given, ValueError, "finite.*2 of 4 rows, first in row 1")


def test_infinities_of_both_signs_are_refused_without_another_warning():
    refused(np.array([[np.inf, -np.inf]]), ValueError, "finite")


def test_numbers_too_large_for_the_model_are_refused():
    given = np.array([[1.0, 2.0], [1e300, 0.0]])
    refused(given, ValueError, "finite.*1 of 2 rows, first in row 1")
    assert batch(given, dtype="float64").leaves[0].max() == 1e300


def test_large_numbers_are_finite_also_where_their_sum_is_not():
    given = np.full((2, 3), 3e38, "float32")
    np.testing.assert_array_equal(batch(given).leaves[0], given)


def test_integers_alone_have_no_float_leaves():
    assert batch((WORDS,), integers=[True]).float_leaves() == []


def test_ragged_targets_are_named():
    with pytest.raises(ValueError, match=r"`targets` must be an array"):
        host([[1.0], [1.0, 2.0]], "targets")


# --- fingerprints and chunks --------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float64", "float32", "uint8"])
def test_fingerprints_are_of_the_rows_as_they_were_given(dtype):
    given = np.arange(12).reshape(3, 4).astype(dtype)
    (prints,) = batch(given).fingerprints
    assert prints.dtype == np.uint32
    assert prints.tolist() == [zlib.crc32(row.tobytes()) for row in given]
    assert batch(given[::-1]).fingerprints[0].tolist() == prints.tolist()[::-1]
    assert batch(np.asfortranarray(given)).fingerprints[0].tolist() == prints.tolist()


def test_fingerprints_of_each_leaf():
    found = batch({"words": WORDS, "x": X}, [False, True])
    assert len(found.fingerprints) == 2
    assert found.float_fingerprints()[0].tolist() != batch(WORDS[::-1]).fingerprints[0].tolist()


@pytest.mark.parametrize(
    ("rows", "size", "expected"),
    [
        (5, 2, [(0, 2), (2, 4), (4, 5)]),
        (4, 2, [(0, 2), (2, 4)]),
        (1, 32, [(0, 1)]),
        (0, 3, []),
    ],
)
def test_chunks(rows, size, expected):
    assert [(part.start, part.stop) for part in chunks(rows, size)] == expected


def test_padding_repeats_the_first_row():
    longer = padded(X, 5)
    assert longer.shape == (5, 4)
    assert_same(longer[:3], X, 0)
    assert_same(longer[3:], X[[0, 0]], 0)
    assert padded(X, 3) is X
    assert padded(X, 0) is X


# --- every method -------------------------------------------------------------------------------

ANY_WARNING = pytest.mark.filterwarnings("ignore::xai_core.ExplanationWarning")
SEVERAL = [
    pytest.param(case, id=case.name) for case in CASES if {"table", "series"} <= set(case.kinds)
]
ROUGH = ("GradCAMPlusPlus", "GuidedGradCAM")
POLICIES = {"mixed_float16": 1e-2, "mixed_bfloat16": 1e-1}
PRECISIONS = [(case, "mixed_float16") for case in CASES]
BFLOAT = ("Saliency", "GradCAM", "Occlusion", "DeepLIFT", "FullGrad")
PRECISIONS += [(BY_NAME[name], "mixed_bfloat16") for name in BFLOAT]


@functools.cache
def of_policy(policy, twin, rectified):
    """A network that computes in another type."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        return tiny_models.fresh(twin, rectified)
    finally:
        keras.config.set_dtype_policy(before)


@ANY_WARNING
@pytest.mark.parametrize(
    ("case", "policy"),
    [pytest.param(case, policy, id=f"{case.name}-{policy}") for case, policy in PRECISIONS],
)
def test_model_of_mixed_precision(case, policy):
    twin = "table" if "table" in case.kinds else "image"
    x, fields = KINDS[twin].inputs(), fields_for_tables(case)
    exact = case.on(twin, **fields)(x, TARGETS)
    found = case.build(of_policy(policy, twin, case.rectified), **fields)(x, TARGETS)
    assert found.values.dtype == np.float32
    assert_same(found.values, exact.values, POLICIES[policy] * (10 if case.name in ROUGH else 1))
    assert_same(found.scores, exact.scores, POLICIES[policy])


@ANY_WARNING
@pytest.mark.parametrize("case", SEVERAL)
def test_inputs_of_integers_go_to_the_model_and_are_not_explained(case):
    given = tiny_models.several_input_rows()
    explainer = case.build(tiny_models.several_inputs(), **fields_for_tables(case))
    found = explainer(given, TARGETS)
    assert list(found) == list(given)
    assert found["word"] is None
    for name in ("table", "series"):
        assert found[name].values.shape == given[name].shape
        assert np.isfinite(found[name].values).all()
    assert_same(found["table"].scores, found["series"].scores, 0)
    other = explainer(given | {"word": (given["word"] + 1) % 6}, TARGETS)
    assert differ(other["table"].scores, found["table"].scores)


def fields_for_tables(case):
    return {"noise_scale": "absolute"} if "noise_scale" in case.changes else {}
