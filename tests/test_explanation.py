import copy
import dataclasses
import json
import pickle
import zipfile
import zlib

import ml_dtypes
import numpy as np
import pytest

from xai_core.explanation import Explanation, check_rows, row_fingerprints


@pytest.fixture
def full():
    """Every field set, with NaN, infinities, and dtypes of all kinds."""
    values = np.arange(24, dtype=np.float32).reshape(2, 4, 3)
    values[0, 0] = [np.nan, np.inf, -0.0]
    inputs = np.arange(24.0).reshape(2, 4, 3)
    return Explanation(
        values,
        "IntegratedGradients",
        config={"steps": 50, "baseline": [0.0, 1.5], "rule": "trapezoid", "layer": None},
        data_format="channels_first",
        targets=np.array([3, 1], dtype=np.int32),
        scores=np.array([0.1, 0.9]),
        base_values=np.array([0.1, np.nan]),
        standard_error=values * 2,
        unreduced_standard_error=np.ones((2, 4, 3, 2)),
        completeness_gap=np.array([1e-30, -2.0]),
        inputs=inputs,
        fingerprints=row_fingerprints(inputs),
        features=np.ones((2, 5)),
        feature_standard_error=np.ones((2, 5)),
        first_order=np.ones((2, 5)),
        interactions=np.full((2, 5, 5), np.nan),
        p_values=np.ones((2, 5)),
        rows=np.array([51, 51]),
        converged=np.array([True, False]),
        feature_mask=np.arange(12).reshape(4, 3),
        class_names=("cat", "dog", "bird", "\u732b $x$"),
        feature_names=("a", "b", "c"),
        seed=7,
        layer="block/conv",
        versions={"keras": "3.15.1"},
        seconds=1 / 3,
        targets_used=False,
        notes=("the last layer with positions was taken",),
    )


def assert_same(a, b):
    for item in dataclasses.fields(Explanation):
        left, right = getattr(a, item.name), getattr(b, item.name)
        assert type(left) is type(right), item.name
        if isinstance(left, np.ndarray):
            assert left.dtype == right.dtype, item.name
            np.testing.assert_array_equal(left, right, err_msg=item.name)
        else:
            assert left == right, item.name


# --- as an array ---------------------------------------------------------------------------------


def test_it_is_an_array_of_its_values(full):
    array = np.asarray(full)
    assert array.dtype == np.float32
    np.testing.assert_array_equal(array, full.values)
    assert np.asarray(full, dtype=np.float64).dtype == np.float64
    assert np.array(full, copy=True).flags.writeable
    assert np.shares_memory(np.asarray(full), full.values)


def test_array_without_a_copy_is_refused_where_one_is_needed(full):
    with pytest.raises(ValueError, match="copy"):
        np.array(full, dtype=np.float64, copy=False)


def test_values_become_float32():
    for dtype in (np.float64, np.float16, np.int32, np.uint8, bool):
        assert Explanation(np.ones((2, 3), dtype), "M").values.dtype == np.float32
    assert Explanation([[1, 2]], "M").values.dtype == np.float32


def test_equality_is_identity_and_there_is_no_arithmetic(full):
    assert full == full
    assert full != full[:]
    assert {full: 1}[full] == 1
    with pytest.raises(TypeError):
        full + 1
    with pytest.raises(TypeError):
        full - full


# --- rows ----------------------------------------------------------------------------------------


def test_an_integer_keeps_the_batch_axis(full):
    one = full[1]
    assert isinstance(one, Explanation)
    assert one.values.shape == (1, 4, 3)
    assert one.interactions.shape == (1, 5, 5)
    assert one.unreduced_standard_error.shape == (1, 4, 3, 2)
    assert one.targets.tolist() == [1]
    assert one.scores.tolist() == [0.9]
    assert one.converged.tolist() == [False]
    assert one.feature_mask.shape == (4, 3)
    assert one.class_names == full.class_names
    assert one.config == full.config
    assert_same(full[-1], one)
    assert_same(full[np.int64(1)], one)


@pytest.mark.parametrize(
    ("index", "rows"),
    [
        (slice(None), [0, 1, 2, 3]),
        (slice(1, None, 2), [1, 3]),
        (slice(9, None), []),
        ([2, 0, 2], [2, 0, 2]),
        (np.array([-1]), [3]),
        (np.array([True, False, False, True]), [0, 3]),
        ([False] * 4, []),
        ([], []),
    ],
)
def test_slices_arrays_and_masks(index, rows):
    explanation = Explanation(np.arange(4.0)[:, None], "M", targets=[5, 6, 7, 8])
    taken = explanation[index]
    assert len(taken) == len(rows)
    assert taken.values[:, 0].tolist() == rows
    assert taken.targets.tolist() == [5 + row for row in rows]


def test_iteration_gives_every_row_and_ends(full):
    rows = list(full)
    assert len(rows) == len(full) == 2
    assert all(len(row) == 1 for row in rows)
    np.testing.assert_array_equal(np.concatenate(rows), full.values)


@pytest.mark.parametrize("index", [2, -3, [0, 5], [True], [True, False, True]])
def test_out_of_range_is_an_index_error(full, index):
    with pytest.raises(IndexError):
        full[index]


@pytest.mark.parametrize("index", [True, 1.0, "0", (0, 1), None, [[0]], [0.5]])
def test_other_indices_are_refused(full, index):
    with pytest.raises(TypeError, match="An Explanation is indexed by"):
        full[index]


# --- what the caller holds stays his own ---------------------------------------------------------


def test_arrays_are_read_only_and_detached():
    values, scores = np.zeros((2, 3), np.float32), np.zeros(2)
    explanation = Explanation(values, "M", scores=scores)
    values[:], scores[:] = 1, 1
    assert explanation.values.sum() == explanation.scores.sum() == 0
    for array in (explanation.values, explanation.scores, explanation[0].values):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1


def test_a_read_only_view_of_a_writable_array_is_detached_too():
    values = np.zeros((2, 3), np.float32)
    view = np.broadcast_to(values, (2, 3))
    explanation = Explanation(view, "M")
    values[:] = 1
    assert explanation.values.sum() == 0


def test_slices_share_memory(full):
    assert np.shares_memory(full[:1].values, full.values)


def test_config_and_versions_are_detached():
    config, versions = {"grid": (7, 7), "n": np.int64(3)}, {"keras": "3"}
    explanation = Explanation(np.zeros((1, 2)), "M", config=config, versions=versions)
    config["n"], versions["keras"] = 0, ""
    assert explanation.config == {"grid": [7, 7], "n": 3}
    assert explanation.versions == {"keras": "3"}


def test_fields_cannot_be_set(full):
    with pytest.raises(dataclasses.FrozenInstanceError):
        full.method = "other"


def test_pickle_deepcopy_and_replace(full):
    assert_same(pickle.loads(pickle.dumps(full)), full)
    assert_same(copy.deepcopy(full), full)
    assert dataclasses.replace(full, fingerprints=None).fingerprints is None


# --- construction --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "error", "message"),
    [
        ({"values": np.float32(1)}, ValueError, r"`values` must have a batch axis"),
        ({"values": np.array([["a"]])}, TypeError, r"`values` must hold numbers"),
        ({"targets": [1, 2, 3]}, ValueError, r"`targets` must have one row per row of `values`"),
        ({"targets": 1}, ValueError, r"`targets` must have one row .* shape \(\)"),
        ({"scores": [1.0]}, ValueError, r"`scores` must have one row .* here 2"),
        ({"scores": [[1.0], [2.0]]}, ValueError, r"`scores` must have rank 1"),
        ({"interactions": np.ones((2, 3))}, ValueError, r"`interactions` must have rank 3"),
        ({"inputs": np.ones((3, 3))}, ValueError, r"`inputs` must have one row"),
        ({"data_format": "NCHW"}, ValueError, r"`data_format` must be one of"),
        ({"class_names": "cat"}, TypeError, r"`class_names` must be a sequence of names"),
        ({"config": {"f": len}}, TypeError, r"`config` must hold only .* builtin_function"),
        ({"seed": 0.5}, TypeError, r"`seed` must be an integer"),
        ({"targets_used": 1}, TypeError, r"`targets_used` must be True or False"),
    ],
)
def test_wrong_fields_are_refused(fields, error, message):
    fields = {"values": np.ones((2, 3)), "method": "M", **fields}
    with pytest.raises(error, match=message):
        Explanation(**fields)


def test_names_and_numbers_are_plain_python():
    names = np.array(["cat", "dog"])
    explanation = Explanation(
        np.ones((1, 2)), "M", class_names=names, seed=np.int64(3), seconds=np.float32(0.5)
    )
    assert explanation.class_names == ("cat", "dog")
    assert all(type(name) is str for name in explanation.class_names)
    assert type(explanation.seed) is int
    assert type(explanation.seconds) is float


# --- files ---------------------------------------------------------------------------------------


def test_every_field_comes_back(full, tmp_path):
    path = full.save(tmp_path / "map")
    assert path == tmp_path / "map.npz"
    assert_same(Explanation.load(path), full)
    assert_same(Explanation.load(str(tmp_path / "map")), full)


def test_fields_without_a_value_come_back_as_none(tmp_path):
    explanation = Explanation(np.ones((3, 2)), "Saliency")
    assert_same(Explanation.load(explanation.save(tmp_path / "a.npz")), explanation)


@pytest.mark.parametrize(
    "explanation",
    [
        Explanation(np.ones((2, 3)), "M", targets=np.array([[1.0, -1.0], [0.5, 0]], np.float32)),
        Explanation(np.ones((2, 3)), "M", class_names=()),
        Explanation(np.ones((0, 3)), "M", targets=np.zeros(0, np.int64)),
        Explanation(np.ones((2, 3, 4))[::-1, :, ::2], "M"),
        Explanation(np.asfortranarray(np.ones((2, 3))), "M"),
        Explanation(np.ones((1, 2)), "M", inputs=np.array([["red", "blue"]])),
        Explanation(np.ones((1, 3)), "M", inputs=np.array([["red", 1.5, None]], dtype=object)),
        Explanation(np.ones((2, 1)), "M", inputs=np.zeros((2, 1), "datetime64[s]")),
    ],
)
def test_unusual_fields_come_back(explanation, tmp_path):
    assert_same(Explanation.load(explanation.save(tmp_path / "a")), explanation)


def test_a_float_type_unknown_to_numpy_is_kept_as_float32(tmp_path):
    inputs = np.array([[1.5, 2.0]], dtype=ml_dtypes.bfloat16)
    explanation = Explanation(inputs, "M", inputs=inputs)
    assert explanation.inputs.dtype == np.float32
    assert_same(Explanation.load(explanation.save(tmp_path / "a")), explanation)


def test_the_file_holds_no_pickle_and_a_readable_header(full, tmp_path):
    path = full.save(tmp_path / "a")
    with np.load(path, allow_pickle=False) as archive:
        for name in archive.files:
            assert archive[name] is not None
    with zipfile.ZipFile(path) as archive:
        header = json.loads(archive.read("explanation.json"))
    assert header["version"] == 1
    assert header["fields"]["method"] == "IntegratedGradients"


def test_save_replaces_a_file(full, tmp_path):
    full.save(tmp_path / "a")
    assert_same(Explanation.load(full[:1].save(tmp_path / "a")), full[:1])


def test_a_missing_directory_or_file_says_so(full, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"`path` must lie in a directory that exists"):
        full.save(tmp_path / "missing" / "a")
    with pytest.raises(FileNotFoundError):
        Explanation.load(tmp_path / "missing")


def test_objects_that_are_no_json_are_refused_before_anything_is_written(tmp_path):
    inputs = np.array([[object()]], dtype=object)
    with pytest.raises(TypeError, match="`inputs` must hold only"):
        Explanation(np.ones((1, 1)), "M", inputs=inputs).save(tmp_path / "a")
    assert not (tmp_path / "a.npz").exists()


def write_header(path, **header):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("explanation.json", json.dumps(header))


def test_files_that_are_no_explanation_are_refused(full, tmp_path):
    path = tmp_path / "a.npz"

    def refused(match):
        with pytest.raises(ValueError, match=match):
            Explanation.load(path)

    ours = r"`path` must be a file that `Explanation.save` wrote"
    path.write_bytes(b"")
    refused(ours)
    path.write_bytes(b"no zip file at all")
    refused(ours)
    np.savez(path, values=np.ones(3))
    refused(ours)
    write_header(path, format="another", version=1)
    refused(ours)
    write_header(path, format="xai_core.Explanation", version=1, fields=[1], objects={})
    refused(ours)
    write_header(path, format="xai_core.Explanation", version=1, fields={}, objects={})
    refused("`path` must hold the fields of an Explanation")
    write_header(path, format="xai_core.Explanation", version=1, fields={"unknown": 1}, objects={})
    refused("`path` must hold the fields of an Explanation")
    np.savez(path, values=np.array([object()], dtype=object))
    refused(ours)
    whole = full.save(path).read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    refused(ours)
    damaged = bytearray(whole)
    damaged[whole.index(b"NUMPY") + 130] ^= 255  # in the first array, behind its header
    path.write_bytes(bytes(damaged))
    refused(ours)


def test_a_newer_file_is_refused(tmp_path):
    write_header(tmp_path / "a.npz", format="xai_core.Explanation", version=2)
    with pytest.raises(ValueError, match=r"version 1 .* Received: .* of version 2. Update"):
        Explanation.load(tmp_path / "a")


# --- text ----------------------------------------------------------------------------------------


def test_repr_tells_method_shape_targets_and_scores(full):
    text = repr(full)
    assert text == (
        "Explanation(method='IntegratedGradients', shape=(2, 4, 3), "
        "targets=['\u732b $x$', 'dog'], targets_used=False, scores=[0.1, 0.9], layer='block/conv')"
    )


def test_repr_is_short_for_many_rows():
    many = Explanation(
        np.ones((5000, 2)), "Saliency", targets=np.arange(5000), scores=np.arange(5000) / 7
    )
    assert repr(many) == (
        "Explanation(method='Saliency', shape=(5000, 2), "
        "targets=['class 0', 'class 1', 'class 2', ... 4997 more], "
        "scores=[0, 0.1429, 0.2857, ... 4997 more])"
    )


@pytest.mark.parametrize(
    ("fields", "label"),
    [
        ({}, ""),
        ({"scores": [0.934]}, "0.93"),
        ({"targets": [1]}, "dog"),
        ({"targets": [1], "scores": [12.345]}, "dog 12.35"),
        ({"targets": [1], "scores": [1e-5]}, "dog 1e-05"),
        ({"targets": [1], "scores": [-123456.0]}, "dog -1.2e+05"),
        ({"targets": [1], "scores": [0.0]}, "dog 0.00"),
        ({"targets": [1], "scores": [np.nan]}, "dog nan"),
        ({"targets": [7]}, "class 7"),
        ({"targets": [7], "config": {"operator": "regression"}}, "output 7"),
        ({"targets": [[0.0, 1.0]]}, "dog"),
        ({"targets": [[-1.0, 1.0]]}, "dog - cat"),
        ({"targets": [[-1.0, 0.0]]}, "- cat"),
        ({"targets": [[0.5, 0.5]]}, "2 weighted outputs"),
        ({"targets": [[0.0, 0.0]]}, "0 weighted outputs"),
        ({"targets": np.ones((1, 2, 2))}, "target"),
    ],
)
def test_labels(fields, label):
    explanation = Explanation(np.ones((1, 2)), "M", class_names=("cat", "dog"), **fields)
    assert explanation.label() == label


def test_label_of_a_row(full):
    assert full.label(1) == "dog 0.90"
    assert full.label(-1) == full.label(1)
    with pytest.raises(IndexError):
        full.label(2)


# --- fingerprints --------------------------------------------------------------------------------


def test_fingerprints_are_crcs_of_the_rows_bytes():
    rng = np.random.default_rng(0)
    inputs = rng.random((3, 4, 5, 2)).astype(np.float32)
    expected = [zlib.crc32(row.tobytes()) for row in inputs]
    found = row_fingerprints(inputs)
    assert found.dtype == np.uint32
    assert found.tolist() == expected
    assert row_fingerprints(np.asfortranarray(inputs)).tolist() == expected
    assert row_fingerprints(inputs.astype(np.float64)).tolist() != expected
    assert row_fingerprints(np.zeros((0, 3))).shape == (0,)
    assert row_fingerprints(np.zeros((2, 0))).tolist() == [0, 0]
    assert row_fingerprints(np.arange(3)).shape == (3,)
    assert row_fingerprints(np.array([["a"], ["b"]])).shape == (2,)
    assert row_fingerprints(np.array([["a"], [1]], dtype=object)) is None


def test_rows_are_known_again():
    inputs = np.arange(6.0).reshape(3, 2)
    explanation = Explanation(np.ones((3, 2)), "M", fingerprints=row_fingerprints(inputs))
    check_rows(explanation, inputs)
    check_rows(explanation, inputs.tolist())
    check_rows(explanation[[2, 0]], inputs[[2, 0]])
    with pytest.raises(ValueError, match=r"M was given.*the same rows in another order"):
        check_rows(explanation, inputs[::-1])
    with pytest.raises(ValueError, match="other data or another dtype"):
        check_rows(explanation, inputs + 1)
    with pytest.raises(ValueError, match="float32"):
        check_rows(explanation, inputs.astype(np.float32))
    with pytest.raises(ValueError, match=r"here 3\. Received: shape"):
        check_rows(explanation, inputs[:2])
    check_rows(dataclasses.replace(explanation, fingerprints=None), inputs + 1)
