"""What every metric that asks a model does: defaults, inputs, batches, fields, side effects."""

import dataclasses
import functools
import pickle

import keras
import numpy as np
import pandas
import pytest
from keras import ops

import oracles
import tiny_models
import xai_core as xai
from model_state import draws, framework_state, outputs, traces_left, weights
from oracles import assert_same, differ
from tiny_models import BACKEND, KINDS
from xai_core import metrics
from xai_core.explanation import row_fingerprints

METRICS = [cls for cls in map(metrics.__dict__.get, metrics.__all__) if hasattr(cls, "source")]
EVERY = pytest.mark.parametrize("cls", METRICS, ids=lambda cls: cls.__name__)
TARGETS = np.array([2, 0, 1, 1, 0])
X = KINDS["table"].inputs()
MAPS = np.random.default_rng(5).normal(size=X.shape).astype("float32")
IMAGES = KINDS["image"].inputs()
IMAGE_MAPS = np.random.default_rng(6).normal(size=(5, 7, 10, 1)).astype("float32")


def model(name="table"):
    """The shared model of a kind, of which only the tests of metrics compile steps."""
    return tiny_models.model(name, "metrics")


def tripled(model, inputs, targets):
    return xai.operators.classification(model, inputs, targets) / 3


def explanation(values=MAPS, inputs=X, **config):
    """A result as explainers give it, of random numbers."""
    config = {"model": "Sequential", "operator": "classification", "output": "softmax", **config}
    return xai.Explanation(
        values,
        "Saliency",
        targets=TARGETS,
        config=config,
        fingerprints=row_fingerprints(inputs),
    )


@functools.cache
def counted_table():
    """A model and the numbers of rows that it has seen; on JAX when it was traced."""
    return tiny_models.batch_sizes(tiny_models.network("table"))


@functools.cache
def estimator(shift=0):
    """A classifier of the classes 0, 1, 2, to each of which ``shift`` is added."""
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(9)
    rows = rng.normal(size=(60, 4))
    return LogisticRegression().fit(rows, (rows @ rng.normal(size=(4, 3))).argmax(1) + shift)


# --- what the Explanation says ------------------------------------------------------------------


@EVERY
def test_targets_output_and_operator_are_those_of_the_explanation(cls):
    found = cls(model())(explanation(), X)
    given = cls(model(), operator="classification", output="softmax")(MAPS, X, TARGETS)
    assert np.array_equal(found.curves, given.curves)
    regressed = cls(model())(explanation(operator="regression", output="raw"), X)
    given = cls(model(), operator="regression")(MAPS, X, TARGETS)
    assert np.array_equal(regressed.curves, given.curves)
    assert differ(regressed.curves, found.curves)


@EVERY
def test_what_is_given_wins_over_the_explanation(cls):
    other = cls(model())(explanation(), X, 1)
    assert np.array_equal(other.curves, cls(model(), output="softmax")(MAPS, X, 1).curves)
    told = explanation(operator="regression", output="raw")
    found = cls(model(), operator="classification", output="softmax")(told, X)
    assert np.array_equal(found.curves, cls(model())(explanation(), X).curves)


@EVERY
def test_an_operator_of_ones_own_must_be_given_again(cls):
    told = explanation(operator="<tripled>")
    with pytest.raises(ValueError, match=r"`operator` must be given again, .* <tripled>"):
        cls(model())(told, X)
    found = cls(model(), operator=tripled)(told, X)
    assert_same(3 * found.curves, cls(model())(explanation(), X).curves)


@EVERY
def test_an_array_is_judged_by_the_predicted_classes(cls):
    predicted = outputs(model(), X).argmax(-1)
    assert len(set(predicted)) > 1
    metric = cls(model(), output="softmax")
    assert np.array_equal(metric(MAPS, X).curves, metric(MAPS, X, predicted).curves)


@EVERY
@pytest.mark.parametrize("method", ["Saliency", "RandomMap"])
def test_results_of_explainers_are_judged_as_their_values(cls, method):
    told = getattr(xai.attributions, method)(model(), output="softmax")(X, TARGETS)
    given = cls(model(), output="softmax")(told.values, X, TARGETS)
    assert np.array_equal(cls(model())(told, X).scores, given.scores)
    part = cls(model())(told[1:3], X[1:3])
    assert_same(part.scores, given.scores[1:3])


@EVERY
def test_saved_explanations_are_judged_as_the_first_ones(cls, tmp_path):
    loaded = xai.Explanation.load(explanation().save(tmp_path / "map"))
    expected = cls(model())(explanation(), X)
    assert np.array_equal(cls(model())(loaded, X).curves, expected.curves)


@EVERY
def test_a_map_of_no_model_does_not_say_what_is_scored(cls):
    from sklearn.linear_model import LinearRegression

    regressor = LinearRegression().fit(X, X @ np.arange(4.0))
    random = xai.attributions.RandomMap()(X)
    given = cls(regressor, operator="regression")(random.values, X)
    assert np.array_equal(cls(regressor)(random, X).curves, given.curves)


@EVERY
@pytest.mark.parametrize("wrap", [xai.wrap, xai.wrappers.BlackBox], ids=["wrap", "BlackBox"])
def test_integer_classes_of_an_estimator_are_columns_in_an_explanation(cls, wrap):
    shifted = wrap(estimator(shift=3))
    told = xai.attributions.RandomMap(shifted)(X)
    assert told.targets.max() < 3
    plain = cls(estimator())
    assert_same(cls(shifted)(told, X).curves, plain(told.values, X, told.targets).curves)
    assert_same(cls(shifted)(told, X, "4").curves, plain(told.values, X, 1).curves)
    with pytest.raises(ValueError, match="`targets` must be names of classes"):
        cls(shifted)(told, X, 4)


@EVERY
def test_classes_have_names(cls):
    named = xai.wrap(model(), class_names=("cat", "dog", "owl"))
    found = cls(named, output="softmax")(MAPS, X, ["owl", "cat", "dog", "dog", "cat"])
    assert np.array_equal(found.curves, cls(model())(explanation(), X).curves)


# --- inputs -------------------------------------------------------------------------------------


@EVERY
def test_arrays_tensors_lists_and_frames_give_the_same(cls):
    metric = cls(model())
    expected = metric(explanation(), X).curves
    tensor = ops.convert_to_tensor(X)
    tensor = tensor.requires_grad_() if BACKEND == "torch" else tensor
    for same in (tensor, list(X), pandas.DataFrame(X)):
        assert_same(metric(explanation(), same).curves, expected)
    metric = cls(model(), output="softmax")
    for same in (ops.convert_to_tensor(MAPS), MAPS.astype("float64"), pandas.DataFrame(MAPS)):
        assert_same(metric(same, X, TARGETS).curves, expected)


@EVERY
def test_number_types_of_inputs_and_maps(cls):
    x, values = np.round(20 * np.abs(X)).astype("uint8"), np.round(9 * MAPS).astype("int8")
    metric = cls(model(), output="softmax")
    expected = metric(values.astype("float32"), x.astype("float32"), 1).curves
    for dtype in ("uint8", "float16", "float64"):
        given = x.astype(dtype)
        told = dataclasses.replace(explanation(values, given), targets=np.ones(5, int))
        assert_same(metric(values, given, 1).curves, expected)
        assert_same(cls(model())(told, given).curves, expected)
    half = ops.cast(MAPS, "bfloat16")
    rounded = ops.convert_to_numpy(ops.cast(half, "float32"))
    assert np.array_equal(metric(half, X, 1).curves, metric(rounded, X, 1).curves)


@EVERY
def test_a_shuffled_loader_is_noticed(cls):
    loader = [(X, TARGETS)]
    (told,) = xai.attributions.RandomMap(model(), output="softmax").stream(loader)
    cls(model())(told, X)
    with pytest.raises(ValueError, match="the same rows in another order"):
        cls(model())(told, X[[3, 0, 4, 1, 2]])
    with pytest.raises(ValueError, match="`inputs` must have one row per explained input, here 5"):
        cls(model())(told, X[:4])


@EVERY
def test_rows_of_a_frame_in_another_order_are_noticed(cls):
    frame = pandas.DataFrame({"a": [1, 2, 3], "b": [0.5, 0.1, 0.2], "c": [True, False, True]})
    scored = xai.wrap(lambda rows: np.tanh(rows.to_numpy("float64")))
    told = xai.attributions.Occlusion(scored, operator="regression")(frame, 1)
    cls(scored)(told, frame)
    with pytest.raises(ValueError, match="the same rows in another order"):
        cls(scored)(told, frame.iloc[::-1])


# --- batches ------------------------------------------------------------------------------------


@EVERY
def test_model_never_sees_more_than_batch_size_rows(cls):
    counted, seen = counted_table()
    for baseline in (0.0, [0.0, 1.0]):
        cls(counted, batch_size=3, baseline=baseline, output="softmax")(MAPS, X)
    assert seen
    assert max(seen) <= 3


@EVERY
@pytest.mark.parametrize("targets", [None, 1])
def test_black_box_sees_full_batches_and_no_padded_row(cls, targets):
    seen = []

    def counted(x):
        seen.append(len(x))
        return oracles.softmax(oracles.logits("table", x))

    cls(counted, batch_size=3, steps=4)(MAPS, X, targets)
    # One probe row, the predicted classes of both groups of inputs, and the rows of each curve.
    probes = [1] if targets is not None else [1, 3, 2]
    for probe in probes:
        seen.remove(probe)
    assert sum(seen) == 5 * 5
    assert sorted(seen)[1:] == [3] * 8


@EVERY
@pytest.mark.parametrize(
    ("baseline", "sizes"),
    [(0.0, (32, 1, 3, 64)), ([0.0, 1.0, -1.0], (32, 3))],
    ids=["one", "three"],
)
def test_batch_size_does_not_change_the_result(cls, baseline, sizes):
    whole, *others = (
        cls(model(), batch_size=size, output="softmax", baseline=baseline)(MAPS, X)
        for size in sizes
    )
    for other in others:
        assert_same(other.curves, whole.curves)
        assert_same(other.scores, whole.scores)


@EVERY
@pytest.mark.parametrize("baseline", [0.0, lambda x: x / 2], ids=["number", "function"])
def test_result_of_an_input_does_not_depend_on_its_neighbours(cls, baseline):
    metric = cls(model(), batch_size=4, output="softmax", baseline=baseline)
    whole = metric(MAPS, X)
    crowd = np.concatenate([X[3:4], 100 * X[:3], X[2:3]])
    assert_same(metric(MAPS[[3, 0, 1, 2, 2]], crowd).curves[[0, 4]], whole.curves[[3, 2]])
    assert_same(metric(MAPS[3:4], X[3:4]).curves, whole.curves[3:4])


@EVERY
@pytest.mark.parametrize("baseline", ["blur", "mean"])
def test_baseline_of_an_image_does_not_depend_on_its_neighbours(cls, baseline):
    metric = cls(model("image"), steps=5, output="softmax", baseline=baseline)
    crowd = np.concatenate([IMAGES[3:4], 100 * IMAGES[:3], IMAGES[2:3]])
    among = metric(IMAGE_MAPS[[3, 0, 1, 2, 2]], crowd)
    assert_same(among.curves[[0, 4]], metric(IMAGE_MAPS, IMAGES).curves[[3, 2]])


# --- settings -----------------------------------------------------------------------------------


CHANGES = {
    "model": tiny_models.network("table", activation="sigmoid"),
    "operator": tripled,
    "output": "sigmoid",
    "steps": 2,
    "baseline": 1.0,
}
NEUTRAL = {"batch_size": 3, "progress": False}


@EVERY
def test_every_field_matters(cls):
    assert {field.name for field in dataclasses.fields(cls)} == {*CHANGES, *NEUTRAL}
    usual = cls(model(), output="softmax")
    expected = usual(MAPS, X, 1).scores
    for name, value in CHANGES.items():
        # The other model is one that ends in a sigmoid.
        fields = {name: value, **({"output": "raw"} if name == "model" else {})}
        assert differ(dataclasses.replace(usual, **fields)(MAPS, X, 1).scores, expected), name
    for name, value in NEUTRAL.items():
        assert_same(dataclasses.replace(usual, **{name: value})(MAPS, X, 1).scores, expected)


@EVERY
def test_metrics_are_frozen_settings_by_keyword(cls):
    metric = cls(model())
    with pytest.raises(TypeError):
        cls(model(), None)
    with pytest.raises(dataclasses.FrozenInstanceError):
        metric.steps = 3
    assert metric != cls(model())
    assert cls.higher_is_better in (True, False)
    assert "https://" in cls.source


@EVERY
def test_with_model_gives_a_copy(cls):
    metric = cls(model(), steps=3, output="softmax")
    moved = metric.with_model(oracles_table)
    assert (moved.steps, moved.model) == (3, oracles_table)
    assert_same(moved(MAPS, X, 1).curves, metric(MAPS, X, 1).curves)


def oracles_table(x):
    return oracles.logits("table", x)


@pytest.mark.parametrize(
    ("cls", "scored"), [(METRICS[0], model), *((cls, lambda: oracles_table) for cls in METRICS)]
)
def test_metrics_survive_pickling(cls, scored):
    metric = cls(scored(), steps=3, output="softmax")
    expected = metric(MAPS, X, 1).curves
    loaded = pickle.loads(pickle.dumps(metric))
    assert loaded.steps == 3
    assert_same(loaded(MAPS, X, 1).curves, expected)


# --- side effects -------------------------------------------------------------------------------


@EVERY
@pytest.mark.parametrize("name", ["image", *(["torch_image"] if BACKEND == "torch" else [])])
def test_inputs_maps_and_model_are_untouched(cls, name, capfd):
    scored, kind = model(name), KINDS[name]
    x, values = kind.inputs(), kind.layout(IMAGE_MAPS).copy()
    before = x.tobytes(), values.tobytes(), weights(scored), traces_left(scored)
    cls(scored, output="softmax", baseline=blackened)(values, x)
    assert (x.tobytes(), values.tobytes()) == before[:2]
    assert [w.tobytes() for w in weights(scored)] == [w.tobytes() for w in before[2]]
    assert traces_left(scored) == before[3]
    assert capfd.readouterr() == ("", "")


def blackened(x):
    x[:] = 0
    return x


@EVERY
@pytest.mark.parametrize("at", [0, 1])
def test_an_exception_inside_leaves_everything_as_it_was(cls, at):
    calls = []

    def failing(model, inputs, targets):
        calls.append(1)
        if len(calls) > at:
            raise RuntimeError
        return tripled(model, inputs, targets)

    scored = model()
    expected = cls(scored, operator=tripled)(MAPS, X, TARGETS).curves
    before = weights(scored), traces_left(scored), framework_state()
    with pytest.raises(RuntimeError):
        cls(scored, operator=failing, batch_size=2)(MAPS, X, TARGETS)
    assert [w.tobytes() for w in weights(scored)] == [w.tobytes() for w in before[0]]
    assert (traces_left(scored), framework_state()) == before[1:]
    assert np.array_equal(cls(scored, operator=tripled)(MAPS, X, TARGETS).curves, expected)


@EVERY
def test_random_numbers_and_configuration_are_untouched(cls):
    keras.utils.set_random_seed(5)
    expected, before = draws(), framework_state()
    keras.utils.set_random_seed(5)
    cls(model())(explanation(), X)
    assert draws() == expected
    assert framework_state() == before
