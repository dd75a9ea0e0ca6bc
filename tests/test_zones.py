"""Targets of a segmentation: zones of a class, connected ones, and their borders."""

import numpy as np
import pytest
from keras import ops

import boxes
from boxes import X
from oracles import assert_same
from xai_core import targets
from xai_core.attributions import Saliency

MAP = np.array(
    [
        [1, 1, 0, 0, 2],
        [1, 0, 0, 0, 2],
        [0, 0, 1, 1, 2],
    ]
)
"""The predicted class of each position."""


def outputs(classes, count=3, axis=-1):
    """Logits whose highest is that of these classes (N, H, W)."""
    found = np.eye(count)[np.asarray(classes)] + np.random.default_rng(1).uniform(
        0, 0.4, (*np.shape(classes), count)
    )
    return np.moveaxis(found, -1, axis).astype("float32")


def in_column(inside, column, count=3):
    found = np.zeros((*np.shape(inside), count))
    found[..., column] = inside
    return found


BATCH = np.stack([MAP, MAP[::-1]])


# --- zones --------------------------------------------------------------------------------------


def test_zone_of_a_class():
    found = targets.zone(outputs(BATCH), 1)
    assert found.dtype == np.float32
    assert_same(found, in_column(BATCH == 1, 1))
    each = targets.zone(outputs(BATCH), [1, 2])
    assert_same(each[0], in_column(MAP == 1, 1))
    assert_same(each[1], in_column(MAP[::-1] == 2, 2))
    first = targets.zone(outputs(BATCH, axis=1), 1, data_format="channels_first")
    assert_same(np.moveaxis(first, 1, -1), found)
    tensor = targets.zone(ops.convert_to_tensor(outputs(BATCH)), 1)
    assert_same(tensor, found)


def test_connected_zone_around_a_position():
    """Positions connect by their sides, not by their corners."""
    found = targets.zone(outputs(BATCH), at=(0, 1))
    corner = np.zeros_like(MAP)
    corner[:2, 0] = corner[0, 1] = 1
    assert_same(found[0], in_column(corner, 1))
    assert_same(found[1], in_column(MAP[::-1] == 0, 0))
    each = targets.zone(outputs(BATCH), at=[[2, 2], [0, 4]])
    right = np.zeros_like(MAP)
    right[2, 2:4] = 1
    assert_same(each[0], in_column(right, 1))
    assert_same(each[1], in_column(MAP[::-1] == 2, 2))


def test_connected_zones_come_by_size():
    found = targets.zones(outputs(BATCH), 1)
    assert [one.shape for one in found] == [(2, 1, 3, 5, 3)] * 2
    assert found[0].sum(axis=(1, 2, 3, 4)).tolist() == [3, 2]
    assert_same(found[0].sum(axis=0)[0], targets.zone(outputs(BATCH), 1)[0])
    large = targets.zones(outputs(BATCH), 1, minimum_size=3)
    assert [len(one) for one in large] == [1, 1]
    assert_same(large[1][0, 0], in_column(MAP[::-1] == 1, 1) * large[1][0, 0])
    first = targets.zones(outputs(BATCH, axis=1), 1, data_format="channels_first")
    assert_same(np.moveaxis(first[1], 2, -1), found[1])


def test_zones_of_series_and_volumes():
    series = targets.zone(outputs(MAP), 1)
    assert_same(series, in_column(MAP == 1, 1))
    volume = targets.zones(outputs(np.stack([MAP, MAP])[None]), 1)
    assert volume[0].shape == (2, 1, 2, 3, 5, 3)
    assert volume[0].sum(axis=(1, 2, 3, 4, 5)).tolist() == [6, 4]


def test_every_zone_is_explained_from_one_set_of_rows():
    model = boxes.segmenter()
    found = targets.zones(boxes.segment(X[:1]), boxes.segment(X)[0, 0, 0].argmax())[0]
    explainer = Saliency(model, operator="semantic_segmentation")
    each = explainer.explain_each(X[:1], list(found))
    assert len(each) == len(found)
    for one, mask in zip(each, found, strict=True):
        assert_same(one.scores, boxes.segmentation(boxes.segment(X[:1]), mask))


# --- borders ------------------------------------------------------------------------------------


def slow_border(inside, outside):
    """1 inside next to outside, -1 outside next to inside, corner by corner."""
    found = np.zeros(inside.shape)
    height, width = inside.shape
    for y, x in np.ndindex(height, width):
        around = [
            (v, u)
            for v in range(max(0, y - 1), min(height, y + 2))
            for u in range(max(0, x - 1), min(width, x + 2))
        ]
        if inside[y, x] and any(outside[one] for one in around):
            found[y, x] = 1
        if outside[y, x] and any(inside[one] for one in around):
            found[y, x] = -1
    return found


def test_border_of_a_zone():
    classes = np.random.default_rng(5).integers(0, 3, (4, 9, 8))
    classes[:, 2:7, 2:6] = 1
    zone = targets.zone(outputs(classes), 1)
    found = targets.border(zone)
    expected = np.stack([slow_border(one == 1, one != 1) for one in classes])
    assert_same(found, in_column(expected, 1))
    first = targets.border(np.moveaxis(zone, -1, 1), data_format="channels_first")
    assert_same(np.moveaxis(first, 1, -1), found)
    assert not found[:, 4, 4].any()


def test_border_between_two_zones():
    one, two = (targets.zone(outputs(BATCH), k) for k in (0, 2))
    found = targets.border(one, towards=two)
    expected = np.stack([slow_border(row == 0, row == 2) for row in BATCH])
    assert_same(found, in_column(expected, 0))


def test_edge_of_the_image_is_no_border():
    inside = np.zeros((1, 4, 5, 2))
    inside[0, :, :3, 0] = 1
    found = targets.border(inside)[0, :, :, 0]
    assert found.tolist() == [[0, 0, 1, -1, 0]] * 4


WRONG = {
    "class that is absent": (
        lambda: targets.zone(outputs([MAP, MAP * 0]), 2),
        ("`class_index`", "2, absent from row 1", "[0]"),
    ),
    "connected zones of an absent class": (
        lambda: targets.zones(outputs([MAP * 0]), 1),
        ("`class_index`", "1, absent from row 0"),
    ),
    "class that does not exist": (
        lambda: targets.zone(outputs(BATCH), 3),
        ("`class_index`", "0 to 2", "3", "`data_format`"),
    ),
    "fractional class": (lambda: targets.zone(outputs(BATCH), 0.5), ("`class_index`", "0.5")),
    "classes of two of three": (
        lambda: targets.zone(outputs(BATCH), [0, 1, 1]),
        ("`class_index`", "(2,)", "(3,)"),
    ),
    "neither class nor place": (lambda: targets.zone(outputs(BATCH)), ("`class_index` or `at`",)),
    "place outside": (
        lambda: targets.zone(outputs(BATCH), at=(3, 0)),
        ("`at`", "(3, 5)", "(3, 0)"),
    ),
    "place of three axes": (
        lambda: targets.zone(outputs(BATCH), at=(0, 0, 0)),
        ("`at`", "2 integers", "(0, 0, 0)"),
    ),
    "outputs of a classifier": (
        lambda: targets.zone(np.ones((2, 3)), 0),
        ("`outputs`", "positions", "(2, 3)"),
    ),
    "one column": (
        lambda: targets.zone(np.ones((2, 3, 5, 1)), 0),
        ("`outputs`", "two classes", "(2, 3, 5, 1)", "threshold"),
    ),
    "outputs that are not finite": (
        lambda: targets.zone(outputs(BATCH) * np.nan, 0),
        ("`outputs`", "finite"),
    ),
    "words": (lambda: targets.zone(np.array([["a"]]), 0), ("`outputs`", "numbers")),
    "layout": (
        lambda: targets.zone(outputs(BATCH), 0, data_format="NHWC"),
        ("`data_format`", "'NHWC'"),
    ),
    "zones too small": (
        lambda: targets.zones(outputs(BATCH), 1, minimum_size=4),
        ("`minimum_size`", "4", "3 positions"),
    ),
    "no size": (
        lambda: targets.zones(outputs(BATCH), 1, minimum_size=0),
        ("`minimum_size`", "at least 1"),
    ),
    "border of probabilities": (
        lambda: targets.border(outputs(BATCH)),
        ("`zone`", "0 and 1 only"),
    ),
    "border of everything": (
        lambda: targets.border(np.ones((1, 3, 3, 1))),
        ("`zone`", "has no border in row 0"),
    ),
    "border towards a zone elsewhere": (
        lambda: targets.border(np.eye(5)[None, ..., None] * [1, 0], towards=np.zeros((1, 5, 5, 2))),
        ("`zone`", "does not touch `towards` in row 0"),
    ),
    "border towards another shape": (
        lambda: targets.border(np.ones((1, 3, 3, 1)), towards=np.ones((1, 3, 4, 1))),
        ("`towards`", "(1, 3, 3, 1)", "(1, 3, 4, 1)"),
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_zone(name):
    call, says = WRONG[name]
    with pytest.raises((TypeError, ValueError)) as error:
        call()
    assert all(part in str(error.value) for part in says), error.value
