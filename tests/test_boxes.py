"""Boxes of a detector's predictions, and the formats that boxes come in."""

import numpy as np
import pytest
from keras import ops

import boxes
from boxes import X
from oracles import assert_same
from xai_core import targets
from xai_core.attributions import Occlusion

GENERATOR = np.random.default_rng(3)


def predictions(rows=4, count=30, classes=3):
    corners = np.sort(GENERATOR.uniform(0, 9, (rows, count, 2, 2)), axis=2).reshape(rows, count, 4)
    return np.concatenate([corners, GENERATOR.uniform(0, 1, (rows, count, 1 + classes))], axis=-1)


def slow_best(row, threshold, limit):
    """Boxes by objectness, each compared with all that were kept."""
    kept = []
    for k in sorted(range(len(row)), key=lambda k: -row[k, 4]):
        box = row[k]
        clash = [
            other
            for other in kept
            if other[5:].argmax() == box[5:].argmax() and boxes.iou(other, box) > limit
        ]
        if box[4] >= threshold and not clash:
            kept.append(box)
    return np.array(kept)


# --- boxes of predictions -----------------------------------------------------------------------


@pytest.mark.parametrize("limit", [0.0, 0.3, 1.0])
def test_best_boxes_without_those_that_overlap(limit):
    outputs = predictions().astype("float32")
    found = targets.boxes(outputs, threshold=0.2, max_overlap=limit)
    assert found.dtype == np.float32
    expected = [slow_best(row, 0.2, limit) for row in outputs]
    assert found.shape == (4, max(map(len, expected)), 8)
    for one, wanted in zip(found, expected, strict=True):
        assert_same(one[: len(wanted)], wanted)
        assert not one[len(wanted) :].any()


def test_boxes_of_one_class_and_at_most_so_many():
    outputs = predictions()
    found = targets.boxes(outputs, count=2, threshold=0.1, max_overlap=None, class_index=1)
    assert found.shape == (4, 2, 8)
    for one, row in zip(found, outputs, strict=True):
        of_class = row[(row[:, 5:].argmax(1) == 1) & (row[:, 4] >= 0.1)]
        assert_same(one, of_class[np.argsort(-of_class[:, 4])][:2], 1e-6)
    assert_same(
        targets.boxes(ops.convert_to_tensor(outputs[:, :3]), threshold=0),
        (targets.boxes(outputs[:, :3], threshold=0)),
    )


def test_boxes_are_targets_of_one_map_and_of_one_map_each():
    found = targets.boxes(boxes.detect(X), count=2, threshold=0.0, max_overlap=None)
    explainer = Occlusion(boxes.detect, operator="object_detection", patch_size=5)
    together = explainer(X, found)
    each = explainer.explain_each(X, list(found.swapaxes(0, 1)))
    assert_same(together.values, (each[0].values + each[1].values) / 2)
    assert_same(each[0].scores, boxes.detect(X)[:, :, 4].max(axis=1))


# --- formats ------------------------------------------------------------------------------------

FORMATS = {
    "xyxy": [[10, 20, 40, 60], [0, 0, 1, 3]],
    "xywh": [[10, 20, 30, 40], [0, 0, 1, 3]],
    "cxcywh": [[25, 40, 30, 40], [0.5, 1.5, 1, 3]],
}


@pytest.mark.parametrize("source", FORMATS)
@pytest.mark.parametrize("target", FORMATS)
def test_formats(source, target):
    more = np.array([[0.9, 1.0], [0.8, 0.0]])
    given = np.concatenate([FORMATS[source], more], axis=1)[None]
    given = np.concatenate([given, np.zeros((1, 1, 6))], axis=1)  # padding
    found = targets.convert_boxes(given, source, target)
    assert found.dtype == np.float32
    assert_same(found[0, :2], np.concatenate([FORMATS[target], more], axis=1))
    assert not found[0, 2].any()


def test_pixels_and_shares():
    pixels = np.array([[10.0, 20, 40, 60, 0.7], [0, 0, 100, 200, 1], [0, 0, 0, 0, 0]])
    shares = targets.normalize_boxes(pixels, width=100, height=200)
    assert_same(shares, [[0.1, 0.1, 0.4, 0.3, 0.7], [0, 0, 1, 1, 1], [0] * 5])
    assert_same(targets.denormalize_boxes(shares, width=100, height=200), pixels)
    # A prediction may reach over the edge of the image.
    over = targets.denormalize_boxes([[-0.1, 0.2, 1.2, 0.9]], width=10, height=10)
    assert_same(over, [[-1, 2, 12, 9]])


PIXELS = [[10, 20, 40, 60]]

WRONG = {
    "width and height for corners": (
        lambda: targets.convert_boxes([[1, 2, 3, 4], [50, 60, 30, 40]], "xyxy", "xywh"),
        ("`boxes`", "x1 < x2", "(50, 60, 30, 40) at (1,)", "xywh"),
    ),
    "no width": (lambda: targets.convert_boxes([[1, 2, 0, 4]], "xywh"), ("`boxes`", "positive")),
    "unknown format": (
        lambda: targets.convert_boxes(PIXELS, "xyhw"),
        ("`source`", "'xyhw'", "xywh"),
    ),
    "three columns": (lambda: targets.convert_boxes([[1, 2, 3]], "xyxy"), ("(1, 3)", "four")),
    "infinite": (lambda: targets.convert_boxes([[0, 0, 1, np.inf]], "xyxy"), ("`boxes`", "finite")),
    "shares for pixels": (
        lambda: targets.normalize_boxes([[0.1, 0.2, 0.5, 0.9]], width=100, height=50),
        ("`boxes`", "pixels", "(0.1, 0.2, 0.5, 0.9)", "normalised already"),
    ),
    "pixels for shares": (
        lambda: targets.denormalize_boxes(PIXELS, width=100, height=50),
        ("`boxes`", "0 and 1", "(10, 20, 40, 60)"),
    ),
    "pixels outside": (
        lambda: targets.normalize_boxes(PIXELS, width=100, height=30),
        ("`boxes`", "inside the image", "(10, 20, 40, 60)"),
    ),
    "corners the other way round": (
        lambda: targets.normalize_boxes([[40, 60, 10, 20]], width=100, height=100),
        ("`boxes`", "x1 < x2"),
    ),
    "no sides": (
        lambda: targets.normalize_boxes(PIXELS, width=0, height=50),
        ("`width`", "positive"),
    ),
    "outputs of a classifier": (
        lambda: targets.boxes(np.ones((2, 7))),
        ("`outputs`", "(N, P, 4 + 1 + K)", "(2, 7)"),
    ),
    "no box above the threshold": (
        lambda: targets.boxes(predictions() * [[[1] * 4 + [0.5] + [1] * 3]], threshold=0.6),
        ("`threshold`", "0.6", "row 0", "highest objectness"),
    ),
    "no box of a class": (
        lambda: targets.boxes(np.array([[[0, 0, 1, 1, 1.0, 1.0, 0.0]]]), class_index=1),
        ("`threshold`", "of class 1"),
    ),
    "class that does not exist": (
        lambda: targets.boxes(predictions(), class_index=3),
        ("`class_index`", "0 to 2", "3"),
    ),
    "predictions that are no corners": (
        lambda: targets.boxes(np.array([[[5, 5, 2, 3, 0.9, 1.0]]])),
        ("`outputs`", "x1 < x2", "(5, 5, 2, 3)", "convert_boxes"),
    ),
    "overlap above 1": (
        lambda: targets.boxes(predictions(), max_overlap=1.5),
        ("`max_overlap`", "[0.0, 1.0]", "1.5"),
    ),
    "count of 0": (lambda: targets.boxes(predictions(), count=0), ("`count`", "at least 1")),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_boxes(name):
    call, says = WRONG[name]
    with pytest.raises((TypeError, ValueError)) as error:
        call()
    assert all(part in str(error.value) for part in says), error.value
