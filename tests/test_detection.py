"""Object detection: how well predicted boxes agree with reference boxes (methods.md T27)."""

import warnings

import keras
import numpy as np
import pytest
from keras import layers, ops

import boxes
import oracles
import tiny_models
import xai_core as xai
from boxes import FLAGS, WIDTH, X
from oracles import assert_same
from tiny_models import FORMS
from xai_core import operators
from xai_core.attributions import (
    RISE,
    GradCAM,
    IntegratedGradients,
    Occlusion,
    Saliency,
    SmoothGrad,
    Sobol,
)
from xai_core.metrics import Deletion, Insertion

REFERENCES = boxes.references()


def host(tensor):
    return ops.convert_to_numpy(ops.stop_gradient(tensor))


def score(name, predicted, references, arrays):
    """What an operator gives for fixed predictions, as arrays of NumPy or of the framework."""
    given = [np.asarray(one, "float32") for one in (predicted, references)]
    if arrays == "framework":
        given = [ops.convert_to_tensor(one) for one in given]
    found = getattr(operators, name)(lambda inputs: given[0], None, given[1])
    return host(found) if arrays == "framework" else found


def signed(model, operator, **fields):
    return Saliency(model, operator=operator, absolute=False, reducer=None, **fields)


# --- the formula --------------------------------------------------------------------------------


@pytest.mark.parametrize("arrays", ["numpy", "framework"])
@pytest.mark.parametrize(
    ("box", "expected"),
    [([1, 0, 3, 1], 0.3), ([0, 0, 2, 1], 0.9), ([5, 5, 6, 6], 0.0), ([0, 0, 0, 0], 0.0)],
    ids=["a third", "identical", "elsewhere", "no detection"],
)
def test_detection_of_one_box(box, expected, arrays):
    reference = [[0, 0, 2, 1, 1, 0, 1, 0]]
    predicted = [[[*box, 0.9, 0, 1, 0], [9, 9, 9, 9, 0.99, 0, 1, 0]]]
    found = score("object_detection", predicted, reference, arrays)
    assert found.shape == (1,)
    assert found[0] == pytest.approx(expected, rel=1e-6, abs=1e-7)


@pytest.mark.parametrize("arrays", ["numpy", "framework"])
@pytest.mark.parametrize("name", FLAGS)
def test_agreement_of_random_boxes(name, arrays):
    generator = np.random.default_rng(1)
    corners = np.sort(generator.uniform(0, 9, (6, 7, 2, 2)), axis=2).reshape(6, 7, 4)
    predicted = np.concatenate([corners, generator.uniform(0, 1, (6, 7, 4))], axis=-1)
    corners = np.sort(generator.uniform(0, 9, (6, 3, 2, 2)), axis=2).reshape(6, 3, 4)
    references = np.concatenate([corners, generator.uniform(0, 1, (6, 3, 4))], axis=-1)
    references[0, 1:] = references[1, 0] = 0  # padding
    predicted[2, 3:] = predicted[3] = 0
    expected = boxes.detection(predicted, references, *FLAGS[name])
    assert expected[3] == 0
    assert_same(score(name, predicted, references, arrays), expected, 1e-6)


def test_no_predictions_give_0():
    for name in FLAGS:
        assert score(name, np.zeros((2, 0, 8)), REFERENCES[:2], "numpy").tolist() == [0, 0]


# --- every form of a model ----------------------------------------------------------------------


@tiny_models.in_forms
def one_box(form):
    """A detector of tables, whose eight columns are the box that it predicts."""
    if form == "torch":
        return tiny_models.torch_closed_form(lambda m, x: x[:, None])
    if form == "black box":
        return lambda x: x[:, None]
    return tiny_models.closed_form(form, (WIDTH,), layers.Reshape((1, WIDTH)))


@pytest.mark.parametrize("form", [*FORMS, "black box"])
def test_one_box_without_one_of_its_numbers(form):
    """Without x1 a box reaches to 0; without x2, y2, objectness or class it agrees with none."""
    rest = [0.9, 0, 1, 0]
    x = np.array([[1, 0, 3, 1, *rest], [0, 0, 2, 1, *rest], [5, 5, 6, 6, *rest]], "float32")
    references = np.tile(np.array([0, 0, 2, 1, 1, 0, 1, 0], "float32"), (3, 1))
    with pytest.warns(xai.ExplanationWarning, match="1 of 3 samples is 0"):
        explanation = Occlusion(one_box(form), operator="object_detection")(x, references)
    np.testing.assert_allclose(explanation.scores, [0.3, 0.9, 0], rtol=1e-6, atol=1e-7)
    expected = np.outer([0.3, 0.9, 0], [0, 0, 1, 1, 1, 0, 1, 0])
    expected[0, 0] = 0.3 - 0.6
    np.testing.assert_allclose(explanation.values, expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("form", FORMS)
def test_one_box_has_the_slopes_of_its_agreement(form):
    x = np.array([[1, 0.2, 3, 1.1, 0.9, 0.1, 0.7, 0.2]], "float32")
    references = np.array([[0, 0, 2, 1, 1, 0, 1, 0.5]], "float32")

    def scores(x):
        return boxes.detection(x[:, None], references[:, None])

    found = Saliency(one_box(form), operator="object_detection", absolute=False)(x, references)
    assert_same(found.values, oracles.difference_gradient(scores, x), 1e-4)


# --- scores and gradients of a model ------------------------------------------------------------


def test_model_is_its_twin():
    assert_same(host(boxes.detector()(X, training=False)), boxes.detect(X))


@pytest.mark.parametrize("name", FLAGS)
def test_gradients_are_those_of_finite_differences(name):
    def scores(x):
        return boxes.detection(boxes.detect(x), REFERENCES, *FLAGS[name])

    explanation = signed(boxes.detector(), name)(X, REFERENCES)
    assert_same(explanation.scores, scores(X))
    assert_same(explanation.values, oracles.difference_gradient(scores, X), 1e-4)


def test_one_map_is_the_mean_over_boxes_and_padding_counts_for_nothing():
    explainer = signed(boxes.detector(), "object_detection")
    together = explainer(X, REFERENCES)
    each = explainer.explain_each(X, list(REFERENCES.swapaxes(0, 1)))
    assert_same(together.values, np.mean([one.values for one in each], axis=0))
    assert_same(together.scores, np.mean([one.scores for one in each], axis=0))
    padded = np.concatenate([np.zeros_like(REFERENCES[:, :1]), REFERENCES[:, :2]], axis=1)
    assert_same(explainer(X, padded).values, np.mean([one.values for one in each[:2]], axis=0))
    unequal = explainer.explain_each(X, [REFERENCES[:, 0], REFERENCES[:, 1:]])
    assert_same(unequal[0].values, each[0].values)
    assert_same(unequal[1].scores, np.mean([one.scores for one in each[1:]], axis=0))


def test_one_box_needs_no_axis_of_boxes():
    explainer = signed(boxes.detector(), "object_detection")
    assert_same(explainer(X, REFERENCES[:, 0]).values, explainer(X, REFERENCES[:, :1]).values)


def test_three_boxes_need_the_model_rows_of_one():
    seen_of, rows_of = [], []
    for count in (1, 3):
        inner = keras.Sequential([keras.Input(X.shape[1:]), boxes.detector()])
        model, seen = tiny_models.batch_sizes(inner)
        each = Saliency(model, operator="object_detection").explain_each(
            X, list(REFERENCES.swapaxes(0, 1))[:count]
        )
        seen_of.append(sum(seen))
        rows_of.append([one.rows.tolist() for one in each])
    assert seen_of[0] == seen_of[1]
    assert rows_of[1] == 3 * rows_of[0]


def test_black_box_gives_the_scores_and_maps_of_the_model():
    def predict(x):
        return boxes.detect(x)

    boxes_of = {"operator": "object_detection", "patch_size": 5}
    expected = Occlusion(boxes.detector(), **boxes_of)(X, REFERENCES)
    found = Occlusion(predict, **boxes_of)(X, REFERENCES)
    assert_same(found.values, expected.values)
    assert_same(found.scores, boxes.detection(boxes.detect(X), REFERENCES))


# --- where IoU has a kink -----------------------------------------------------------------------


def test_boxes_of_the_model_itself_have_no_gradient_of_position():
    """Rounding must not choose a side of the kink, whatever the framework computes."""
    model = boxes.detector()
    own = host(model(X, training=False))[:, :2]
    own += np.random.default_rng(2).uniform(-1e-6, 1e-6, own.shape).astype("float32")
    explainer = signed(model, "object_detection_box_position")
    with pytest.warns(xai.ExplanationWarning, match="5 of 5 samples is 1") as caught:
        position = explainer(X, own)
    assert len(caught) == 1
    assert position.scores == pytest.approx(1, abs=1e-4)
    elsewhere = np.abs(explainer(X, REFERENCES).values).max()
    assert np.abs(position.values).max() < 0.01 * elsewhere
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Occlusion(model, operator="object_detection_box_position", patch_size=5)(X, own)


def test_boxes_of_the_model_itself_have_the_gradient_of_objectness():
    own = boxes.detect(X)[:, :1].astype("float32")

    def objectness(x):
        return boxes.detect(x)[:, 0, 4]

    found = signed(boxes.detector(), "object_detection_box_proba")(X, own)
    assert_same(found.values, oracles.difference_gradient(objectness, X), 1e-2)


def test_no_detection_gives_zero_maps_and_says_so():
    far = REFERENCES.copy()
    far[1:3, :, :4] += 50
    explainer = signed(boxes.detector(), "object_detection")
    with pytest.warns(xai.ExplanationWarning, match="2 of 5 samples is 0") as caught:
        explanation = explainer(X, far)
    assert len(caught) == 1
    assert np.isfinite(explanation.values).all()
    assert not explanation.values[1:3].any()
    assert explanation.scores[1:3].tolist() == [0, 0]
    assert_same(explanation.values[[0, 3, 4]], explainer(X, REFERENCES).values[[0, 3, 4]])


# --- every method and metric --------------------------------------------------------------------


def test_methods_and_metrics_take_boxes():
    model, operator = boxes.detector(), xai.Tasks.OBJECT_DETECTION
    for explainer in (
        IntegratedGradients(model, operator=operator, steps=40),
        SmoothGrad(model, operator=operator, n_samples=2),
        GradCAM(model, operator=operator, layer="conv2"),
    ):
        explanation = explainer(X, REFERENCES)
        assert explanation.values.shape == (5, 7, 10, 1)
        assert explanation.values.any()
        assert_same(explanation.scores, boxes.detection(boxes.detect(X), REFERENCES))
        assert_same(explanation.targets, REFERENCES)
        assert explanation.config["operator"] == "object_detection"
    for metric in (Deletion(model, steps=4), Insertion(model, steps=4)):
        result = metric(explanation, X)
        assert result.flip_share is None
        ends = result.curves[:, 0] if metric.inserts else result.curves[:, -1]
        expected = boxes.detection(boxes.detect(np.zeros_like(X)), REFERENCES)
        assert_same(ends, expected)
    assert Deletion(model).masked(explanation, X, 0.5).shape == X.shape


SAMPLED = [(RISE, {"n_samples": 64}), (Sobol, {"n_design": 8, "grid_size": 3})]


@pytest.mark.parametrize(("method", "fields"), SAMPLED, ids=[one.__name__ for one, _ in SAMPLED])
def test_masks_show_the_boxes_of_one_set_of_rows(method, fields):
    """RISE with this operator is D-RISE; the twin stands for any detector that only predicts."""
    each, rows = list(REFERENCES.swapaxes(0, 1)), []

    def detect(x):
        rows.append(len(x))
        return boxes.detect(x)

    operator = xai.Tasks.OBJECT_DETECTION
    found = method(boxes.detector(), operator=operator, **fields).explain_each(X, each)
    twins = method(detect, operator=operator, **fields).explain_each(X, each)
    assert sum(rows) == int(twins[0].rows.sum()) + 1
    for one, twin, reference in zip(found, twins, each, strict=True):
        assert_same(one.scores, boxes.detection(boxes.detect(X), reference[:, None]))
        assert_same(one.values, twin.values, 1e-4)
    alone = method(detect, operator=operator, **fields)(X, each[1])
    np.testing.assert_array_equal(alone.values, twins[1].values)


def test_cam_of_a_detector_needs_a_layer():
    with pytest.raises(ValueError, match="`layer` must be given"):
        GradCAM(boxes.detector(), operator="object_detection")(X, REFERENCES)


def test_boxes_are_kept_saved_and_named(tmp_path):
    model = xai.wrap(boxes.detector(), class_names=("cat", "dog", "bird"))
    explanation = Saliency(model, operator="object detection")(X, REFERENCES)
    loaded = xai.Explanation.load(explanation.save(tmp_path / "boxes"))
    assert np.array_equal(loaded.targets, REFERENCES)
    assert loaded[1].targets.shape == (1, 3, 8)
    assert loaded.label(0).startswith("3 boxes ")
    single = Saliency(model, operator="object detection")(X, REFERENCES[:, 0])
    name = ("cat", "dog", "bird")[REFERENCES[0, 0, 5:].argmax()]
    assert single.label(0).startswith(f"box: {name} ")
