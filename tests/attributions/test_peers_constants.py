"""Where pytorch-grad-cam differs by a constant: its numbers by that, and the paper's by ours.

The numbers are those of pytorch-grad-cam 1.5.7, whose maps have the size of the layer here and lie
in [0, 1]. `benchmarks/peers.py` compares photos.
"""

import keras
import numpy as np
import pytest
from keras import layers

import cams
import oracles
from oracles import assert_same
from xai_core import attributions

MAPS = np.array([[[1.0, 0], [2, 1], [3, 0]], [[0, 4], [1, 2], [2, 3]]])
SLOPES = 1e-3 * np.array([[[1.0, 2], [-1, 1], [2, -1]], [[3, 1], [1, -2], [1, 3]]])
IMAGE = np.array([[3.0, 1, 0, 2, 1, 0], [0, 2, 1, 0, 3, 1], [1, 0, 4, 1, 0, 2], [2, 1, 0, 3, 1, 1]])
FILTERS = np.array([[[0.5, -0.25], [0.25, 0.5]], [[0.25, 0.5], [-0.25, 0.25]]])
WEIGHTS = np.array([[[0.5, -0.3], [0.2, 0.4], [-0.1, 0.3]], [[0.3, 0.1], [-0.2, 0.6], [0.4, -0.5]]])

PEERS = {
    "GradCAMPlusPlus": [[0.0, 0.5138302, 0.541491], [0.7015937, 0.4861696, 1.0]],
    "EigenCAM": [[0.0, 0.0, 0.0], [1.0, 0.1882679, 0.3557271]],
    "ScoreCAM": [[0.3752363, 0.4642181, 1.0], [0.0, 0.9110181, 0.1605454]],
}


def grad_cam_plus_plus(peers):
    """The peer adds 1e-6 to the denominator, the paper nothing."""
    below = 2 * SLOPES**2 + MAPS.sum((0, 1)) * SLOPES**3 + (1e-6 if peers else 0)
    return MAPS @ (SLOPES**2 / below * np.maximum(SLOPES, 0)).sum((0, 1))


def eigen_cam(peers):
    """The peer centres each channel, the paper none. The sign, which LAPACK chooses, is ours."""
    matrix = MAPS.reshape(-1, 2)
    matrix = matrix - matrix.mean(0) if peers else matrix
    found = (matrix @ np.linalg.svd(matrix)[2][0]).reshape(2, 3)
    return found if found.max() >= -found.min() else -found


def score_cam(peers):
    """The peer aligns corners and adds 1e-8 to the span; the authors' code does neither."""
    found = layer(IMAGE)
    large = enlarged(found, IMAGE.shape, peers)
    low, high = large.min((0, 1)), large.max((0, 1))
    masks = (large - low) / (high - low + (1e-8 if peers else 0))
    scores = [(layer(IMAGE * masks[..., k]) * WEIGHTS).sum() for k in range(2)]
    return found @ oracles.softmax(np.array(scores))


def layer(image):
    """The filters at every other place."""
    patches = image.reshape(2, 2, 3, 2).transpose(0, 2, 1, 3)
    return np.einsum("yxab,abk->yxk", patches, FILTERS)


def enlarged(maps, size, aligned):
    for axis, (length, new) in enumerate(zip(maps.shape, size, strict=False)):
        place = np.linspace(0, length - 1, new)
        if not aligned:
            place = (np.arange(new) + 0.5) * length / new - 0.5
        matrix = np.stack([np.interp(place, np.arange(length), one) for one in np.eye(length)], 1)
        maps = np.moveaxis(np.tensordot(matrix, maps, (1, axis)), 0, axis)
    return maps


def scored():
    """A model whose layer ``maps`` is `layer`."""
    maps = layers.Conv2D(2, 2, strides=2, use_bias=False, name="maps")
    dense = layers.Dense(1, use_bias=False)
    model = keras.Sequential([keras.Input((4, 6, 1)), maps, layers.Flatten(), dense])
    maps.set_weights([FILTERS[:, :, None]])
    dense.set_weights([WEIGHTS.reshape(-1, 1)])
    return model


FORMULAS = {
    "GradCAMPlusPlus": grad_cam_plus_plus,
    "EigenCAM": eigen_cam,
    "ScoreCAM": score_cam,
}


def unit(maps):
    maps = np.maximum(maps, 0)
    return (maps - maps.min()) / (maps.max() - maps.min())


@pytest.mark.parametrize("method", FORMULAS)
def test_the_peers_number_has_its_constant(method):
    np.testing.assert_allclose(unit(FORMULAS[method](True)), PEERS[method], atol=2e-6)


@pytest.mark.parametrize("method", FORMULAS)
def test_ours_is_the_papers(method):
    if method == "ScoreCAM":
        model, x = scored(), IMAGE[..., None]
        size = IMAGE.shape
    else:
        model, x = cams.weighted(SLOPES[None]), MAPS
        size = MAPS.shape[:2]
    explanation = getattr(attributions, method)(model, layer="maps")(x[None].astype("float32"))
    expected = FORMULAS[method](False)
    large = enlarged(np.maximum(expected, 0), size, False)
    assert_same(explanation.values[0, ..., 0], large)
    assert abs(unit(expected) - PEERS[method]).max() > 0.01
