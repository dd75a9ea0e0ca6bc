"""Occlusion: closed forms, patches and groups against loops, every baseline, counted rows."""

import functools

import keras
import numpy as np
import pytest
from keras import layers

import oracles
import tiny_models
import xai_core as xai
from cases import TARGETS
from model_state import outputs
from naming import shown
from oracles import assert_same
from tiny_models import BACKEND, FORMS, KINDS
from xai_core import _backend
from xai_core.attributions import Occlusion, RandomMap
from xai_core.wrappers import BlackBox

LINEAR, PRODUCT = np.array([[1.0, 2, 4]]), np.array([[1.0, 2, 3]])
TWINS = [kind for kind in KINDS.values() if kind.name != "shared"]
SHAPES = {"table": (5,), "series": (9, 3), "image": (7, 10, 2), "volume": (5, 4, 3, 2)}


def inputs(name, rows=5):
    return np.random.default_rng(7).normal(size=(rows, *SHAPES[name])).astype("float32")


def logits(name, x):
    """One layer of tanh over all elements: a model for inputs of any rank, in NumPy."""
    kernel, bias = weights(name)
    return np.tanh(np.reshape(x, (len(x), -1)) @ kernel + bias)


@functools.cache
def weights(name):
    generator = np.random.default_rng(8)
    size = np.prod(SHAPES[name])
    kernel = generator.normal(size=(size, 3)) / np.sqrt(size)
    return kernel.astype("float32").astype("float64"), np.array([0.25, -0.5, 0.125])


@functools.cache
def model(name, channels_first=False):
    """The same in Keras."""
    shape = SHAPES[name]
    kernel, bias = weights(name)
    if channels_first:
        kernel = np.moveaxis(kernel.reshape(*shape, 3), -2, 0).reshape(-1, 3)
        shape = (shape[-1], *shape[:-1])
    made = keras.Sequential(
        [keras.Input(shape), layers.Flatten(), layers.Dense(3, activation="tanh")]
    )
    made.layers[-1].set_weights([kernel, bias])
    return xai.wrap(made, data_format="channels_first" if channels_first else None)


def model_or_twin(name, first, per_channel):
    """The model; where only layout or channels differ its twin, which compiles nothing."""
    if per_channel is None and (name == "image" or not first):
        return model(name, first)

    def twin(x):
        return logits(name, np.moveaxis(x, 1, -1) if first else x)

    return xai.wrap(twin, data_format="channels_first" if first else None)


def score(name, targets=TARGETS):
    return lambda x: logits(name, x)[np.arange(len(x)), targets[: len(x)]]


# --- closed forms -------------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMS)
def test_linear_model(form):
    explanation = Occlusion(tiny_models.linear(form), patch_size=1, patch_stride=1)(
        LINEAR.astype("float32")
    )
    np.testing.assert_allclose(explanation.values, [[2, -6, 2]], rtol=1e-6)
    np.testing.assert_allclose(explanation.features, [[2, -6, 2]], rtol=1e-6)
    np.testing.assert_allclose(explanation.scores, [-1.3], rtol=1e-6)
    assert explanation.rows.tolist() == [4]


@pytest.mark.parametrize("form", FORMS)
def test_product_model(form):
    explanation = Occlusion(tiny_models.product(form))(PRODUCT.astype("float32"))
    np.testing.assert_allclose(explanation.values, [[6, 6, 6]], rtol=1e-6)


@pytest.mark.parametrize("operator", ["classification", "regression"])
def test_closed_forms_of_a_black_box(operator):
    linear = Occlusion(lambda x: x @ [2.0, -3.0, 0.5] + 0.7, operator=operator)(LINEAR)
    np.testing.assert_allclose(linear.values, [[2, -6, 2]], rtol=1e-6)
    product = Occlusion(lambda x: x.prod(axis=1), operator=operator)(PRODUCT)
    np.testing.assert_array_equal(product.values, [[6, 6, 6]])


# --- patches ------------------------------------------------------------------------------------

# The strides of most do not divide what is left beside the patch.
PATCHES = {
    "table": [(None, None), (1, 1), (2, None), (3, 2), ((4,), (3,)), (5, 1)],
    "series": [(None, None), (1, 1), (4, 3), ((2,), None), (9, 9)],
    "image": [(None, None), (1, 1), (3, 2), ((2, 5), None), ((4, 3), (3, 2)), ((7, 10), 1)],
    "volume": [(None, None), (2, 1), ((3, 2, 1), None), ((4, 2, 2), (3, 2, 1))],
}
CASES = [
    pytest.param(name, size, stride, per_channel, first, id=f"{name}-{size}-{stride}-{mark}")
    for name, patches in PATCHES.items()
    for k, (size, stride) in enumerate(patches)
    for per_channel in ((None,) if name == "table" else (None, True, False)[: 1 + 2 * (k % 2)])
    for first in ((False,) if name == "table" else (False, True)[: 1 + (k > 1)])
    for mark in (f"{per_channel}-{'first' if first else 'last'}",)
]


def resolved(name, size, stride):
    """The sizes and strides of the oracle, with the defaults of the design."""
    sides = SHAPES[name][:-1] if len(SHAPES[name]) > 1 else SHAPES[name]
    if size is None:
        parts = {"table": np.inf, "series": 16, "image": 7, "volume": 4}[name]
        size = tuple(max(1, int(np.ceil(side / parts))) for side in sides)
    size = size if isinstance(size, tuple) else (size,) * len(sides)
    stride = size if stride is None else stride
    return size, stride if isinstance(stride, tuple) else (stride,) * len(sides)


@pytest.mark.parametrize(("name", "size", "stride", "per_channel", "first"), CASES)
def test_equals_loops_over_patches(name, size, stride, per_channel, first):
    x = inputs(name)
    each = name == "series" if per_channel is None else per_channel
    sizes, strides = resolved(name, size, stride)
    maps, features = oracles.occlusion(score(name), x, sizes, strides, per_channel=each)
    given = np.moveaxis(x, -1, 1) if first else x
    explained = model_or_twin(name, first, per_channel)
    explainer = Occlusion(explained, patch_size=size, patch_stride=stride, per_channel=per_channel)
    explanation = explainer(np.ascontiguousarray(given), TARGETS)
    assert_same(explanation.values, np.moveaxis(maps, -1, 1) if first else maps)
    assert_same(explanation.features, features)
    assert explanation.rows.tolist() == [1 + features.shape[1]] * 5
    assert_same(explanation.scores, score(name)(x))


@pytest.mark.parametrize("kind", TWINS, ids=lambda kind: kind.name)
def test_defaults_on_every_kind_of_model(kind):
    x = oracles.inputs(kind.twin)
    parts = {2: np.inf, 3: 16, 4: 7, 5: 4}[x.ndim]
    sides = x.shape[1:-1] if x.ndim > 2 else x.shape[1:]
    size = [max(1, int(np.ceil(side / parts))) for side in sides]
    scores = oracles.score(kind.twin, TARGETS)
    maps, features = oracles.occlusion(scores, x, size, size, per_channel=x.ndim == 3)
    explanation = Occlusion(tiny_models.model(kind.name, "Occlusion"))(kind.inputs(), TARGETS)
    assert_same(explanation.values, kind.layout(maps))
    assert_same(explanation.features, features)


def test_every_element_is_covered_and_overlaps_are_averaged():
    ones = np.ones((1, 10, 8, 1), "float32")
    explainer = Occlusion(
        lambda x: x.sum(axis=(1, 2, 3)), operator="regression", patch_size=(4, 5), patch_stride=3
    )
    explanation = explainer(ones, 0)
    assert explanation.features.shape == (1, 3 * 2)
    np.testing.assert_array_equal(explanation.values, 20 * ones)


def test_a_patch_of_the_whole_input_is_the_drop_to_the_baseline():
    x = inputs("image")
    explanation = Occlusion(model("image"), patch_size=(7, 10))(x, TARGETS)
    drop = score("image")(x) - score("image")(0 * x)
    assert_same(explanation.values, np.broadcast_to(drop.reshape(5, 1, 1, 1), (5, 7, 10, 1)))
    assert explanation.features.shape == (5, 1)


# --- baselines ----------------------------------------------------------------------------------

SAMPLE = np.random.default_rng(3).normal(size=SHAPES["image"])
BATCH = np.random.default_rng(4).normal(size=(5, *SHAPES["image"]))


def mean(x):
    return x.mean(axis=(1, 2), keepdims=True)


@pytest.mark.parametrize(
    ("baseline", "expected"),
    [
        (0.5, [0.5]),
        (SAMPLE, [SAMPLE]),
        (BATCH, [BATCH]),
        ("mean", [mean(inputs("image"))]),
        (lambda x: x[:, ::-1], [inputs("image")[:, ::-1]]),
        ([0.5, "mean", SAMPLE], [0.5, mean(inputs("image")), SAMPLE]),
    ],
    ids=["number", "sample", "batch", "mean", "callable", "list"],
)
def test_baseline(baseline, expected):
    x = inputs("image")
    explainer = Occlusion(model("image"), patch_size=4, baseline=baseline, batch_size=7)
    maps, features = oracles.occlusion(score("image"), x, (4, 4), (4, 4), expected)
    explanation = explainer(x, TARGETS)
    assert_same(explanation.values, maps)
    assert_same(explanation.features, features)
    assert explanation.rows.tolist() == [1 + 6 * len(expected)] * 5


def test_blurred_baseline():
    from scipy import ndimage

    x = inputs("image")
    blurred = ndimage.gaussian_filter(x, (0, 10 / 16, 10 / 16, 0), mode="nearest")
    maps, _ = oracles.occlusion(score("image"), x, (4, 4), (4, 4), [blurred])
    assert_same(Occlusion(model("image"), patch_size=4, baseline="blur")(x, TARGETS).values, maps)


def test_a_baseline_of_the_input_itself_changes_nothing():
    x = inputs("series")
    explanation = Occlusion(model("series"), baseline=lambda x: x)(x, TARGETS)
    np.testing.assert_allclose(explanation.values, 0, atol=1e-6)


# --- groups -------------------------------------------------------------------------------------


def ids(*shape, count=4, seed=0):
    """Groups whose numbers are negative, far apart and large."""
    names = np.array([-7, 3, 100, 2**40, 0])[:count]
    return names[np.random.default_rng(seed).integers(0, count, shape)]


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("table", (5,)),
        ("series", (9,)),
        ("series", (9, 1)),
        ("series", (9, 3)),
        ("image", (7, 10)),
        ("image", (7, 10, 1)),
        ("image", (7, 10, 2)),
        ("image", (1, 7, 10, 1)),
        ("volume", (5, 4, 3)),
    ],
    ids=shown,
)
def test_groups_shared_by_all_inputs(name, shape):
    x, mask = inputs(name), ids(*shape)
    whole = mask[..., None] if len(shape) == x.ndim - 2 else mask
    whole = np.broadcast_to(whole, (5, *whole.shape[-(x.ndim - 1) :]))
    explanation = Occlusion(model(name), feature_mask=mask)(x, TARGETS)
    maps, features = oracles.ablation(score(name), x, whole)
    assert_same(explanation.values, maps)
    assert_same(explanation.features, features)
    assert explanation.rows.tolist() == [1 + len(np.unique(mask))] * 5


@pytest.mark.parametrize("batch_size", [2, 32])
@pytest.mark.parametrize("channels", [1, 2])
def test_groups_of_each_input(channels, batch_size):
    x = inputs("image")
    mask = np.stack([ids(7, 10, channels, count=k, seed=k) for k in (3, 1, 5, 2, 4)])
    explainer = Occlusion(model("image"), feature_mask=mask, batch_size=batch_size)
    explanation = explainer(x, TARGETS)
    maps, features = oracles.ablation(score("image"), x, mask)
    assert_same(explanation.values, maps)
    np.testing.assert_array_equal(np.isnan(explanation.features), np.isnan(features))
    assert_same(np.nan_to_num(explanation.features), np.nan_to_num(features))
    assert explanation.rows.tolist() == [4, 2, 6, 3, 5]


def test_groups_of_channels_first():
    x, mask = inputs("image"), ids(7, 10)
    first = np.ascontiguousarray(np.moveaxis(x, -1, 1))
    for given in (mask, mask[None], np.broadcast_to(mask[None, None], (5, 1, 7, 10))):
        explanation = Occlusion(model("image", True), feature_mask=given)(first, TARGETS)
        maps, _ = oracles.ablation(
            score("image"), x, np.broadcast_to(mask[..., None], (5, 7, 10, 1))
        )
        assert_same(explanation.values, np.moveaxis(maps, -1, 1))


def test_one_group_for_each_patch_gives_the_map_of_patches():
    x = inputs("image")
    rows, columns = np.arange(7) // 4, np.arange(10) // 5
    mask = 10 * rows[:, None] + columns
    patches = Occlusion(model("image"), patch_size=(4, 5))(x[:, :, :], TARGETS)
    groups = Occlusion(model("image"), feature_mask=mask)(x, TARGETS)
    assert_same(groups.values[:, :3], patches.values[:, :3])
    assert_same(groups.features[:, :2], patches.features[:, :2])


@pytest.mark.parametrize("dtype", ["int8", "uint16", "int64", "tensor"])
def test_types_of_a_mask(dtype):
    x, mask = inputs("table"), np.array([4, 1, 1, 0, 4])
    given = keras.ops.convert_to_tensor(mask) if dtype == "tensor" else mask.astype(dtype)
    expected = Occlusion(model("table"), feature_mask=mask)(x, TARGETS).values
    np.testing.assert_array_equal(
        Occlusion(model("table"), feature_mask=given)(x, TARGETS).values, expected
    )


# --- batches and rows ---------------------------------------------------------------------------

FIELDS = {
    "patches": {"patch_size": 4, "patch_stride": 3},
    "baselines": {"patch_size": 4, "baseline": [0.0, 1.0, "mean"]},
    "groups": {"feature_mask": ids(5, 7, 10, 1)},
}


@pytest.mark.parametrize("name", ["patches", "groups"])
def test_batch_size_does_not_change_the_map(name):
    x, fields = inputs("image"), FIELDS[name]
    whole = Occlusion(model("image"), **fields)(x, TARGETS)
    for batch_size in (1, 3, 64):
        parts = Occlusion(model("image"), **fields, batch_size=batch_size)(x, TARGETS)
        assert_same(parts.values, whole.values)
        assert_same(parts.features, whole.features)


@pytest.mark.parametrize("fields", FIELDS.values(), ids=FIELDS)
def test_map_does_not_depend_on_its_neighbours(fields):
    x = inputs("image")
    whole = Occlusion(model("image"), **fields, batch_size=3)(x, TARGETS)
    own = {name: v[2:3] if np.shape(v)[:1] == (5,) else v for name, v in fields.items()}
    alone = Occlusion(model("image"), **own, batch_size=3)(x[2:3], TARGETS[2:3])
    assert_same(alone.values, whole.values[2:3])


@pytest.mark.parametrize("fields", FIELDS.values(), ids=FIELDS)
def test_targets_of_one_call_share_the_rows(fields):
    x = inputs("image")
    explainer = Occlusion(model("image"), **fields, batch_size=3)
    weights = np.random.default_rng(1).normal(size=(5, 3))
    wanted = [0, [2, 1, 0, 2, 1], weights]
    for one, target in zip(explainer.explain_each(x, wanted), wanted, strict=True):
        single = explainer(x, target)
        assert_same(one.values, single.values)
        assert_same(one.features, single.features)
        assert one.rows.tolist() == single.rows.tolist()


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("batch_size", [1, 3, 64])
@pytest.mark.parametrize("fields", FIELDS.values(), ids=FIELDS)
def test_number_of_rows_is_the_formula_and_none_is_padded(fields, batch_size, count):
    x, seen = inputs("image"), []

    def counting(rows):
        seen.append(len(rows))
        return logits("image", rows)

    explainer = Occlusion(counting, **fields, batch_size=batch_size)
    explanation = explainer.explain_each(x, [1, 0, 2][:count])[0]
    parts = {"patch_size": 2 * 3, "feature_mask": 4}[next(iter(fields))]
    parts = 2 * 3 if "patch_stride" not in fields and "patch_size" in fields else parts
    wanted = 1 + parts * len(fields.get("baseline", [0]))
    assert explanation.rows.tolist() == [wanted] * 5
    assert seen[0] == 1  # the probe, which is not counted
    assert sum(seen[1:]) == 5 * wanted
    assert max(seen) <= batch_size
    assert_same(explanation.values, Occlusion(model("image"), **fields)(x, 1).values)


@pytest.mark.parametrize("fields", FIELDS.values(), ids=FIELDS)
@pytest.mark.parametrize("batch_size", [3, 64])
def test_no_call_of_a_keras_model_exceeds_the_batch_size(fields, batch_size):
    counted, seen = tiny_models.batch_sizes(model("image").source)
    explanation = Occlusion(counted, **fields, batch_size=batch_size)(inputs("image"), TARGETS)
    assert seen
    assert max(seen) <= batch_size
    if BACKEND != "jax":  # there the notes are of the traces, not of the rows
        assert sum(seen) - seen.count(1) <= explanation.rows.sum() <= sum(seen)


def test_predicted_class_is_that_of_the_whole_input():
    x = inputs("image")
    explanation = Occlusion(model("image"), patch_size=7)(x)
    predicted = logits("image", x).argmax(axis=1)
    assert explanation.targets.tolist() == predicted.tolist()
    assert_same(explanation.values, Occlusion(model("image"), patch_size=7)(x, predicted).values, 0)


@pytest.mark.skipif(_backend.EAGER, reason="nothing is compiled on this backend")
def test_other_patches_baselines_and_groups_compile_nothing():
    traces = []

    class Counted(layers.Layer):
        def call(self, x):
            traces.append(1)
            return x * 1.0

    made = keras.Sequential([keras.Input((6, 6, 1)), Counted(), layers.Flatten(), layers.Dense(2)])
    x = np.ones((3, 6, 6, 1), "float32")
    Occlusion(made, batch_size=8)(x, 0)
    Occlusion(made, batch_size=8, feature_mask=np.eye(6, dtype=int))(x, 0)
    before = len(traces)
    for fields in (
        {"patch_size": 3},
        {"patch_size": (2, 4), "patch_stride": (1, 3)},
        {"baseline": "mean"},
        {"feature_mask": np.arange(36).reshape(6, 6)},
        {"feature_mask": np.stack([np.eye(6, dtype=int)[..., None]] * 3)},
    ):
        Occlusion(made, batch_size=8, **fields)(x, 1)
        Occlusion(made, batch_size=8, **fields)(x, [0, 1, 1])
    assert len(traces) == before


# --- several inputs -----------------------------------------------------------------------------


def test_each_input_is_occluded_by_itself():
    given, made = tiny_models.several_input_rows(), tiny_models.several_inputs()
    found = Occlusion(made, baseline=0.5, batch_size=4)(given, TARGETS)
    assert found["word"] is None
    for name, per_channel in (("table", False), ("series", True)):

        def changed(x, name=name):
            filled = given | {name: x.astype("float32")}
            return outputs(made, filled)[np.arange(5), TARGETS]

        maps, features = oracles.occlusion(changed, given[name], (1,), (1,), [0.5], per_channel)
        assert_same(found[name].values, maps, 1e-4)
        assert_same(found[name].features, features, 1e-4)
        assert found[name].rows.tolist() == [1 + 4 + 10] * 5


# --- what the Explanation tells -----------------------------------------------------------------


def test_explanation_tells_the_settings():
    mask = ids(7, 10)
    x = inputs("image")
    explanation = Occlusion(model("image"), feature_mask=mask)(x, TARGETS)
    assert explanation.config["feature_mask"]["shape"] == [7, 10]
    assert explanation.config["patch_size"] is None
    again = Occlusion(model("image"), patch_size=(3, 2), baseline=[0.0, "mean"])(x, TARGETS)
    assert again.config["patch_size"] == [3, 2]
    assert again.config["baseline"] == [0.0, "mean"]
    assert again.standard_error is None
    assert again.base_values is None


def test_slices_keep_the_features():
    explanation = Occlusion(model("image"))(inputs("image"), TARGETS)
    np.testing.assert_array_equal(explanation[2].features, explanation.features[2:3])


# --- what is refused ----------------------------------------------------------------------------

MASK = np.zeros((7, 10), int)
WRONG = [
    ({"patch_size": 0}, ValueError, "`patch_size` must be at least 1.*0"),
    ({"patch_size": 2.0}, TypeError, r"`patch_size` must be an integer.*2\.0"),
    ({"patch_size": True}, TypeError, "`patch_size` must be an integer.*True"),
    ({"patch_size": (3, None)}, TypeError, "`patch_size` must be an integer.*None"),
    ({"patch_size": (3, 0)}, ValueError, "`patch_size` must be at least 1.*0"),
    ({"patch_stride": 0}, ValueError, "`patch_stride` must be at least 1.*0"),
    ({"patch_stride": [1, 1]}, TypeError, "`patch_stride` must be an integer"),
    ({"per_channel": 1}, TypeError, "`per_channel` must be True or False.*1"),
    ({"baseline": "median"}, ValueError, "`baseline`.*'median'"),
    ({"baseline": np.nan}, ValueError, "`baseline` must be finite.*nan"),
    ({"feature_mask": MASK.astype(float)}, TypeError, "`feature_mask`.*integers.*float64"),
    ({"feature_mask": MASK > 0}, TypeError, "`feature_mask`.*integers.*bool"),
    ({"feature_mask": MASK, "patch_size": 3}, ValueError, "`patch_size` must be left out.*3"),
    ({"feature_mask": MASK, "patch_stride": 3}, ValueError, "`patch_stride` must be left out"),
    ({"feature_mask": MASK, "per_channel": True}, ValueError, "`per_channel` must be left out"),
]


@pytest.mark.parametrize(("fields", "error", "says"), WRONG, ids=shown)
def test_wrong_field_is_refused_at_construction(fields, error, says):
    with pytest.raises(error, match=says):
        Occlusion(model("image"), **fields)


AT_THE_CALL = [
    ("image", {"patch_size": 8}, "`patch_size` must be at most.*7.*8"),
    ("image", {"patch_size": (3, 11)}, "`patch_size` must be at most.*10.*11"),
    ("table", {"patch_size": 6}, "`patch_size` must be at most.*5.*6"),
    ("image", {"patch_size": 3, "patch_stride": 4}, "`patch_stride` must be at most.*3.*4"),
    ("image", {"patch_stride": (1, 3)}, "`patch_stride` must be at most.*2.*3"),
    ("image", {"patch_size": (3, 3, 3)}, r"`patch_size` must be one number.*2 axes.*\(3, 3, 3\)"),
    ("image", {"patch_size": ()}, r"`patch_size` must be one number.*\(\)"),
    ("series", {"patch_stride": (1, 1)}, "`patch_stride` must be one number.*1 axes"),
    ("table", {"per_channel": True}, "`per_channel` must be left out for a table.*True"),
    ("table", {"baseline": "mean"}, "`baseline`.*table.*'mean'"),
    ("image", {"baseline": np.zeros(3)}, r"`baseline`.*\(7, 10, 2\).*\(3,\)"),
    ("image", {"feature_mask": MASK.T}, r"`feature_mask`.*\(7, 10, 2\).*\(10, 7\)"),
    ("image", {"feature_mask": np.zeros((7, 10, 3), int)}, r"`feature_mask`.*\(7, 10, 3\)"),
    ("image", {"feature_mask": np.zeros((4, 7, 10, 2), int)}, r"`feature_mask`.*\(4, 7, 10, 2\)"),
    ("image", {"feature_mask": np.array(3)}, r"`feature_mask`.*\(\)"),
    ("table", {"feature_mask": np.zeros((5, 5, 1), int)}, r"`feature_mask`.*\(5, 5, 1\)"),
]


@pytest.mark.parametrize(("name", "fields", "says"), AT_THE_CALL, ids=shown)
def test_what_does_not_fit_the_input_is_refused_before_the_model_runs(name, fields, says):
    explainer = Occlusion(model(name), **fields)
    with pytest.raises(ValueError, match=says):
        explainer(inputs(name), TARGETS)


def test_groups_of_several_inputs_are_refused():
    explainer = Occlusion(tiny_models.several_inputs(), feature_mask=np.arange(4))
    with pytest.raises(ValueError, match=r"`feature_mask` needs a model of one input.*2 inputs"):
        explainer(tiny_models.several_input_rows(), TARGETS)


def test_scores_of_masked_inputs_must_be_finite():
    def inverse(x):
        return 1 / x.sum(axis=1)

    explainer = Occlusion(inverse, operator="regression", patch_size=2)
    with (
        np.errstate(divide="ignore"),
        pytest.raises(ValueError, match=r"`operator` must give finite scores of masked.*3 of 3"),
    ):
        explainer(np.ones((3, 2)), 0)


if BACKEND == "torch":

    def test_series_of_a_torch_module_ask_for_their_layout():
        import torch

        module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(27, 3)).eval()
        with pytest.raises(ValueError, match=r"`data_format` must be given for series"):
            Occlusion(module)(inputs("series"), TARGETS)
        explainer = Occlusion(xai.wrap(module, data_format="channels_first"))
        assert explainer(inputs("series").transpose(0, 2, 1), 0).values.shape == (5, 3, 9)


def test_explanation_tells_the_groups_that_all_inputs_share():
    model = BlackBox(lambda x: x.sum(axis=1))
    x = np.ones((2, 4))
    for mask in (np.array([3, 3, 7, 7]), np.array([[3, 3, 7, 7]])):
        explanation = Occlusion(model, feature_mask=mask)(x, 1)
        assert np.array_equal(explanation.feature_mask, mask)
        assert explanation.features.shape == (2, 2)
    own = np.array([[3, 3, 7, 7], [1, 2, 3, 4]])
    each = Occlusion(model, feature_mask=own)(x, 1)
    assert np.array_equal(each.feature_mask, own)
    assert np.array_equal(each[1].feature_mask, own[1:])
    assert np.isnan(each.features[0, 2:]).all()


def test_configuration_tells_objects_by_value():
    model = BlackBox(lambda x: np.array([len("".join(row)) for row in x.tolist()], float))
    words = np.array([["a", "bc"], ["def", "g"]])
    one, two = (
        Occlusion(model, baseline=np.array(["", "z"], object))(words, 1).config for _ in range(2)
    )
    assert one == two
    assert one["baseline"] == ["", "z"]


def test_all_targets_need_a_model():
    with pytest.raises(ValueError, match="needs a model"):
        RandomMap().explain_each(np.ones((1, 3)), "all")
