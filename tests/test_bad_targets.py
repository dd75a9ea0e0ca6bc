"""What users get wrong with the targets of segmentations, detections, neurons and contrasts."""

import numpy as np
import pytest

import boxes
import oracles
import tiny_models
from bad_rows import Row, check
from boxes import X
from tiny_models import KINDS
from xai_core import targets
from xai_core.attributions import GradCAM, IntegratedGradients, Occlusion, Saliency
from xai_core.metrics import Deletion

TABLE = KINDS["table"].inputs(3)
BOXES = boxes.references()
ZONES = boxes.zones()


def segment(given, **fields):
    fields = {"operator": "semantic_segmentation", **fields}
    return lambda: Saliency(boxes.segmenter(), **fields)(X, given)


def detect(given, operator="object_detection", **fields):
    return lambda: Saliency(boxes.detector(), operator=operator, **fields)(X, given)


def similar(given):
    return lambda: Saliency(tiny_models.model("table"), operator="embedding_similarity")(
        TABLE, given
    )


def without(array, row):
    found = array.copy()
    found[row] = 0
    return found


def changed(columns, values):
    """One box of each input, with other values in some columns of the third."""
    found = BOXES[:, 0].copy()
    found[2, columns] = values
    return found


ROWS = [
    # Segmentation
    Row(
        "segmentation without an operator",
        lambda: Saliency(boxes.segmenter())(X),
        ValueError,
        ("`operator`", "semantic_segmentation", "('N', 3, 5, 4)"),
    ),
    Row(
        "regression of a segmentation",
        lambda: Occlusion(boxes.segment, operator="regression")(X, 0),
        ValueError,
        ("`operator`", "semantic_segmentation", "object_detection", "('N', 3, 5, 4)"),
    ),
    Row(
        "no mask", segment(None), ValueError, ("`targets`", "(5, 3, 5, 4)", "None", "targets.zone")
    ),
    Row(
        "class in place of a mask",
        segment(1),
        ValueError,
        ("`targets`", "(5, 3, 5, 4)", "shape ()", "targets.zone"),
    ),
    Row(
        "map of classes in place of a mask",
        segment(ZONES.argmax(-1)),
        ValueError,
        ("`targets`", "(5, 3, 5, 4)", "(5, 3, 5)"),
    ),
    Row(
        "mask of the image's size",
        segment(np.ones((5, 7, 10, 4))),
        ValueError,
        ("`targets`", "(5, 3, 5, 4)", "(5, 7, 10, 4)"),
    ),
    Row(
        "mask in the other layout",
        segment(np.moveaxis(ZONES, -1, 1)),
        ValueError,
        ("`targets`", "(5, 3, 5, 4)", "(5, 4, 3, 5)"),
    ),
    Row(
        "masks of four of five",
        segment(ZONES[:4]),
        ValueError,
        ("`targets`", "(5, 3, 5, 4)", "(4, 3, 5, 4)"),
    ),
    Row(
        "probabilities in place of a mask",
        segment(oracles.softmax(boxes.segment(X))),
        ValueError,
        ("`targets`", "1, 0 and -1 only", "targets.zone"),
    ),
    Row("mask of NaN", segment(ZONES * np.nan), ValueError, ("`targets`", "finite")),
    Row("mask of words", segment(ZONES.astype(str)), TypeError, ("`targets`", "numbers", "<U")),
    Row(
        "empty mask",
        segment(without(ZONES, 3)),
        ValueError,
        ("`targets`", "zero everywhere", "1 of 5 rows", "row 3"),
    ),
    Row(
        "segmentation of a classifier",
        lambda: Saliency(tiny_models.model("table"), operator="semantic_segmentation")(
            TABLE, np.ones((3, 3))
        ),
        ValueError,
        ("`operator`", "positions", "('N', 3)", "classification"),
    ),
    Row(
        "all classes of a segmentation",
        lambda: Saliency(boxes.segmenter(), operator="semantic_segmentation").explain_each(
            X, "all"
        ),
        ValueError,
        ('`targets="all"`', "semantic_segmentation", "list"),
    ),
    Row(
        "one of two masks missing",
        lambda: Saliency(boxes.segmenter(), operator="semantic_segmentation").explain_each(
            X, [ZONES, None]
        ),
        ValueError,
        ("`targets`", "None", "targets.zone"),
    ),
    Row(
        "class activation map of a segmentation without a layer",
        lambda: GradCAM(boxes.segmenter(), operator="semantic_segmentation")(X, ZONES),
        ValueError,
        ("`layer`", "spatial", "None"),
    ),
    Row(
        "deletion of a segmentation without masks",
        lambda: Deletion(boxes.segmenter(), operator="semantic_segmentation")(
            np.ones((5, 7, 10, 1)), X
        ),
        ValueError,
        ("`targets`", "None", "targets.zone"),
    ),
    # Detection
    Row(
        "detection without an operator",
        lambda: Saliency(boxes.detector())(X),
        ValueError,
        ("`operator`", "object_detection", "('N', 4, 8)"),
    ),
    Row("no boxes", detect(None), ValueError, ("`targets`", "(5, B, 8)", "None", "targets.boxes")),
    Row(
        "class in place of boxes",
        detect(2),
        ValueError,
        ("`targets`", "(5, 8)", "(5, B, 8)", "shape ()"),
    ),
    Row(
        "boxes without classes",
        detect(BOXES[..., :4]),
        ValueError,
        ("`targets`", "(5, B, 8)", "(5, 3, 4)"),
    ),
    Row(
        "boxes of one of five inputs",
        detect(BOXES[0]),
        ValueError,
        ("`targets`", "(5, 8)", "(3, 8)"),
    ),
    Row(
        "boxes of rank 4",
        detect(BOXES[None]),
        ValueError,
        ("`targets`", "(5, B, 8)", "(1, 5, 3, 8)"),
    ),
    Row(
        "width and height in place of corners",
        detect(changed([2, 3], 0.01)),
        ValueError,
        ("`targets`", "x1 < x2", "at (2, 0)", "convert_boxes", "xywh"),
    ),
    Row(
        "corners the other way round",
        detect(BOXES[..., [2, 3, 0, 1, 4, 5, 6, 7]]),
        ValueError,
        ("`targets`", "x1 < x2", "at (0, 0)", "14 more"),
    ),
    Row(
        "input without a box",
        detect(without(BOXES, 4)),
        ValueError,
        ("`targets`", "1 of 5 rows", "row 4", "padding"),
    ),
    Row(
        "box without a class",
        detect(changed([5, 6, 7], 0)),
        ValueError,
        ("`targets`", "class", "object_detection_box_proba"),
    ),
    Row("boxes of NaN", detect(changed([0], np.nan)), ValueError, ("`targets`", "finite")),
    Row(
        "softmax of boxes",
        detect(BOXES, output="softmax"),
        ValueError,
        ("`output`", '"raw"', "boxes", "'softmax'"),
    ),
    Row(
        "detection of a classifier",
        lambda: Occlusion(lambda x: x[:, :2], operator="object_detection")(TABLE, np.ones((3, 6))),
        ValueError,
        ("`operator`", "object_detection", "(N, P, 4 + 1 + K)", "('N', 2)"),
    ),
    Row(
        "classes of a detector without",
        lambda: Occlusion(lambda x: x[:, None, [0, 1, 2, 3, 0]], operator="object_detection")(
            TABLE, np.ones((3, 5))
        ),
        ValueError,
        ("`operator`", "object_detection", "('N', 1, 5)"),
    ),
    # Contrasts, embeddings, regressions
    Row(
        "regression of several columns",
        lambda: IntegratedGradients(tiny_models.model("table"), operator="regression")(TABLE),
        ValueError,
        ("`targets`", "3 columns", "None", "targets.contrast"),
    ),
    Row(
        "contrast of a class with itself",
        lambda: targets.contrast([0, 1], 1, columns=3),
        ValueError,
        ("`second`", "another class", "1 twice", "row 1"),
    ),
    Row(
        "contrast with a class too many",
        lambda: targets.contrast(0, 3, columns=3),
        ValueError,
        ("`second`", "0 to 2", "3"),
    ),
    Row(
        "contrast without columns",
        lambda: targets.contrast(0, 1),
        ValueError,
        ("`columns`", "None"),
    ),
    Row(
        "contrast of names without names",
        lambda: targets.contrast("cat", "dog", columns=3),
        ValueError,
        ("`first`", "names", "cat"),
    ),
    Row(
        "contrast of an unknown name",
        lambda: targets.contrast("cat", "dig", class_names=["cat", "dog"]),
        ValueError,
        ("`second`", "'dig'", "'dog'"),
    ),
    Row(
        "contrast of fractions",
        lambda: targets.contrast(0.5, 1, columns=3),
        TypeError,
        ("`first`", "0.5"),
    ),
    Row(
        "runner-up of one column",
        lambda: targets.runner_up(np.ones((3, 1))),
        ValueError,
        ("`outputs`", "two classes", "(3, 1)"),
    ),
    Row(
        "runner-up of NaN",
        lambda: targets.runner_up([[0.1, np.nan]]),
        ValueError,
        ("`outputs`", "finite"),
    ),
    Row("no embeddings", similar(None), ValueError, ("`targets`", "embeddings", "(3, 3)", "None")),
    Row(
        "embeddings of another width",
        similar(np.ones((3, 4))),
        ValueError,
        ("`targets`", "(3, 3)", "(3, 4)"),
    ),
    Row(
        "embedding of zero",
        similar(without(np.ones((3, 3)), 1)),
        ValueError,
        ("`targets`", "row 1", "no direction"),
    ),
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_wrong_targets(row):
    check(row)


def test_good_targets_beside_the_bad_ones():
    assert segment(ZONES.astype(bool))().values.shape == (5, 7, 10, 1)
    assert segment(ZONES.astype("int8"))().targets.dtype == np.float32
    assert detect(changed([5, 6, 7], 0), "object_detection_box_proba")().scores.all()
    assert similar(np.ones(3))().scores.shape == (3,)


def test_wrong_targets_cost_at_most_one_probe_row():
    rows = []

    def predict(x):
        rows.append(len(x))
        return boxes.detect(x)

    with pytest.raises(ValueError, match="`targets`"):
        Occlusion(predict, operator="object_detection")(X, BOXES[..., :4])
    assert sum(rows) <= 1


def test_names_of_classes_are_listed_up_to_ten():
    for count, said in ((3, "'c1', 'c2'. "), (12, "'c9' and 2 more. ")):
        names = [f"c{k}" for k in range(count)]
        with pytest.raises(ValueError, match=f"`targets` must be names of classes, 'c0', .*{said}"):
            targets.encode("maybe", 1, count, names)


def test_a_model_of_one_output_has_one_target():
    explainer = Occlusion(lambda x: x.sum(1), operator="regression")
    with pytest.raises(ValueError, match=r"must be 0 or left out .* one output\. Received: 3"):
        explainer(np.ones((2, 4)), 3)
