"""Segmentation: the mean output over the marked positions of a mask of the outputs' own shape."""

import numpy as np
import pytest
from keras import ops

import boxes
import oracles
import xai_core as xai
from boxes import X
from oracles import assert_same
from tiny_models import BACKEND
from xai_core import operators, targets
from xai_core.attributions import (
    HSIC,
    RISE,
    GradCAM,
    GradientInput,
    IntegratedGradients,
    KernelSHAP,
    Occlusion,
    Saliency,
    SmoothGrad,
    Sobol,
)
from xai_core.metrics import Deletion, Insertion

ZONES = boxes.zones()
FIRST = np.ascontiguousarray(np.moveaxis(X, -1, 1))
ZONES_FIRST = np.ascontiguousarray(np.moveaxis(ZONES, -1, 1))


def host(tensor):
    return ops.convert_to_numpy(ops.stop_gradient(tensor))


def scores(x):
    return boxes.segmentation(boxes.segment(x), np.tile(ZONES, (len(x) // 5, 1, 1, 1)))


def signed(model, **fields):
    fields = {"operator": "semantic_segmentation", "absolute": False, "reducer": None, **fields}
    return Saliency(model, **fields)


def analytic(x):
    """Scores for the complex step, which `boxes.segment` does not take."""
    kernel, bias = boxes.weights("classes")
    outputs = oracles.activations("image", x) @ kernel + bias
    marks = np.repeat(ZONES, len(x) // 5, axis=0)
    count = (marks != 0).sum(axis=(1, 2, 3))
    return (outputs * marks).sum(axis=(1, 2, 3)) / count


GRADIENT = oracles.gradient(analytic, X)


# --- the formula --------------------------------------------------------------------------------


@pytest.mark.parametrize("arrays", ["numpy", "framework"])
@pytest.mark.parametrize("shape", [(6, 3), (4, 5, 3), (2, 4, 5, 3)], ids=str)
def test_mean_over_the_marked_positions(shape, arrays):
    generator = np.random.default_rng(3)
    outputs = generator.normal(size=(3, *shape)).astype("float32")
    marks = generator.choice([-1, 0, 1], (3, *shape)).astype("float32")
    given = [outputs, marks]
    if arrays == "framework":
        given = [ops.convert_to_tensor(one) for one in given]
    found = operators.semantic_segmentation(lambda inputs: given[0], None, given[1])
    found = host(found) if arrays == "framework" else found
    assert_same(found, boxes.segmentation(outputs, marks))


def test_zone_against_another_is_the_difference():
    outputs = np.array([[[5.0, 1.0], [3.0, 2.0]]])
    mask = np.array([[[1, 0], [0, -1]]])
    assert operators.semantic_segmentation(lambda x: outputs, None, mask)[0] == (5 - 2) / 2


# --- scores and gradients of a model ------------------------------------------------------------


def test_model_is_its_twin():
    assert_same(host(boxes.segmenter()(X, training=False)), boxes.segment(X))


def test_scores_and_gradients_of_a_model():
    explanation = signed(boxes.segmenter())(X, ZONES)
    assert_same(explanation.scores, scores(X))
    assert_same(explanation.values, GRADIENT)
    assert_same(explanation.targets, ZONES)


@pytest.mark.skipif(BACKEND == "tensorflow", reason="TensorFlow convolves channels first on GPUs")
def test_channels_first_outputs_take_channels_first_targets():
    explanation = signed(boxes.segmenter(channels_first=True))(FIRST, ZONES_FIRST)
    assert_same(explanation.scores, scores(X))
    assert_same(np.moveaxis(explanation.values, 1, -1), GRADIENT)


@pytest.mark.skipif(BACKEND != "torch", reason="a torch module")
def test_torch_module_takes_targets_in_its_own_layout():
    module = boxes.torch_segmenter()
    assert_same(np.moveaxis(signed(module)(FIRST, ZONES_FIRST).values, 1, -1), GRADIENT)
    # Inputs may be channels last; outputs, and so targets, stay as the module makes them.
    told = xai.wrap(module, data_format="channels_last")
    assert_same(signed(told)(X, ZONES_FIRST).values, GRADIENT)


def softmax_scores(x):
    return boxes.segmentation(oracles.softmax(boxes.segment(x)), ZONES)


def test_softmax_of_the_outputs_is_taken_over_the_classes():
    expected = softmax_scores(X)
    assert_same(signed(boxes.segmenter(), output="softmax")(X, ZONES).scores, expected)
    layouts = []
    if BACKEND != "tensorflow":
        layouts.append(boxes.segmenter(channels_first=True))
    if BACKEND == "torch":
        layouts.append(boxes.torch_segmenter())
    for model in layouts:
        found = signed(model, output="softmax")(FIRST, ZONES_FIRST)
        assert_same(found.scores, expected)

    def predict(x):
        return np.moveaxis(boxes.segment(np.moveaxis(x, 1, -1)), -1, 1)

    told = xai.wrap(predict, data_format="channels_first")
    found = Occlusion(told, operator="semantic_segmentation", output="softmax", patch_size=5)
    assert_same(found(FIRST, ZONES_FIRST).scores, expected)


def test_logits_of_a_segmenter_that_ends_in_a_softmax():
    model = boxes.segmenter(activation="softmax")
    assert_same(signed(model)(X, ZONES).scores, softmax_scores(X))
    assert_same(signed(model, output="logits")(X, ZONES).values, GRADIENT)


def test_zones_at_once_are_the_zones_alone():
    model = boxes.segmenter()
    each = [ZONES, ZONES[::-1], np.abs(ZONES)]
    together = signed(model).explain_each(X, each)
    for one, mask in zip(together, each, strict=True):
        assert_same(one.values, signed(model)(X, mask).values)
        assert_same(one.scores, boxes.segmentation(boxes.segment(X), mask))


def test_black_box_gives_the_scores_and_maps_of_the_model():
    fields = {"operator": "semantic segmentation", "patch_size": 5}
    expected = oracles.occlusion(scores, X, (5, 5), (5, 5))[0]
    assert_same(Occlusion(boxes.segment, **fields)(X, ZONES).values, expected)
    assert_same(Occlusion(boxes.segmenter(), **fields)(X, ZONES).values, expected)


# --- every method and metric --------------------------------------------------------------------


def test_methods_and_metrics_take_masks():
    model, operator = boxes.segmenter(), xai.Tasks.SEMANTIC_SEGMENTATION
    for explainer in (
        GradientInput(model, operator=operator),
        IntegratedGradients(model, operator=operator, steps=40),
        SmoothGrad(model, operator=operator, n_samples=2),
        GradCAM(model, operator=operator, layer="conv2"),
    ):
        explanation = explainer(X, ZONES)
        assert explanation.values.shape == (5, 7, 10, 1)
        assert explanation.values.any()
        assert_same(explanation.scores, scores(X))
        assert explanation.config["operator"] == "semantic_segmentation"
    for metric in (Deletion(model, steps=4), Insertion(model, steps=4)):
        result = metric(explanation, X)
        assert result.flip_share is None
        ends = result.curves[:, 0] if metric.inserts else result.curves[:, -1]
        assert_same(ends, scores(np.zeros_like(X)))


SAMPLED = [
    (RISE, {"n_samples": 64}),
    (Sobol, {"n_design": 8, "grid_size": 3}),
    (HSIC, {"n_samples": 64, "grid_size": 3}),
    (KernelSHAP, {"n_samples": 64, "grid_size": 3}),
]


@pytest.mark.parametrize(
    ("method", "fields"), SAMPLED, ids=lambda one: getattr(one, "__name__", "")
)
def test_masks_show_the_zones(method, fields):
    operator = xai.Tasks.SEMANTIC_SEGMENTATION
    found = method(boxes.segmenter(), operator=operator, **fields)(X, ZONES)
    twin = method(boxes.segment, operator=operator, **fields)(X, ZONES)
    assert_same(found.scores, scores(X))
    assert_same(found.values, twin.values, 1e-4)


def test_cam_of_a_segmentation():
    """At ``conv2`` the gradient is the kernel where a position is marked."""
    found = GradCAM(boxes.segmenter(), operator="semantic_segmentation", layer="conv2")(X, ZONES)
    counts = (ZONES != 0).sum(axis=(1, 2, 3), keepdims=True)
    grad = (ZONES / counts) @ boxes.weights("classes")[0].T
    expected = oracles.grad_cam(oracles.activations("image", X.astype(float)), grad, (7, 10))
    assert_same(found.values, expected)
    with pytest.raises(ValueError, match="`layer` must be given"):
        GradCAM(boxes.segmenter(), operator="semantic_segmentation")(X, ZONES)


def test_inputs_can_be_masked_without_any_targets():
    maps = np.ones((5, 7, 10, 1))
    for operator in ("semantic_segmentation", None):
        metric = Deletion(boxes.segmenter(), operator=operator)
        assert np.array_equal(metric.masked(maps, X, 0.0), X)


def test_masks_are_kept_saved_and_named(tmp_path):
    model = xai.wrap(boxes.segmenter(), class_names=("sky", "sea", "cat", "dog"))
    outputs = host(model.source(X, training=False))
    mask = targets.zone(outputs, outputs.argmax(-1)[:, 0, 0])
    explanation = Saliency(model, operator="semantic_segmentation")(X, mask)
    loaded = xai.Explanation.load(explanation.save(tmp_path / "zones"))
    assert np.array_equal(loaded.targets, mask)
    assert loaded[1:3].targets.shape == (2, 3, 5, 4)
    name = model.class_names[outputs[0, 0, 0].argmax()]
    assert loaded.label(0).startswith(f"zone: {name} ")
    edge = Saliency(model, operator="semantic_segmentation")(X, targets.border(mask))
    assert edge.label(0).startswith(f"border: {name} ")
