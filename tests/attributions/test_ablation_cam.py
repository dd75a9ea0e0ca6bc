"""AblationCAM: closed form, oracle, scores of zero, and batches."""

import keras
import numpy as np
import pytest
from keras import layers

import cam_oracles
import cams
import tiny_models
from cams import SPATIAL
from oracles import assert_same
from tiny_models import AT_MAPS, KINDS
from xai_core.attributions import AblationCAM

IMAGES = KINDS["image"].inputs()


@pytest.mark.parametrize(("form", "layer"), AT_MAPS)
def test_two_maps_under_a_pooled_linear_head(form, layer):
    cams.check_two_maps("AblationCAM", form, layer, [[0, 10 / 3], [5, 20 / 3]])
    cams.check_two_maps("AblationCAM", form, layer, [[-1, 10 / 3], [5, 20 / 3]], signed=True)


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("kind", SPATIAL, ids=lambda kind: kind.name)
def test_equals_the_oracle(kind, signed):
    cams.check_oracle("AblationCAM", kind, cam_oracles.ablation_cam(signed), signed=signed)


def test_full_batches_of_as_many_rows_as_there_are_channels():
    cams.check_rows(AblationCAM, 7)


def test_negative_score_does_not_turn_the_map_around():
    x = abs(cams.random_case(3, rows=2)[0])
    weights = -np.ones((1, *x.shape[1:]))
    explanation = AblationCAM(cams.weighted(weights), layer="maps", signed=True)(x)
    assert (explanation.scores < 0).all()
    assert (explanation.values <= 0).all()


def test_score_of_zero_divides_nothing():
    x = np.array([[1.0, 2.0], [-1.0, -2.0]], "float32").reshape(1, 2, 2, 1)
    x = np.concatenate([x, 2 * x], axis=-1)
    weights = np.stack([np.ones((2, 2)), [[1, 0], [0, 0]]], axis=-1)[None]
    x[0, 0, 0, 1] = 0
    explanation = AblationCAM(cams.weighted(weights), layer="maps", signed=True)(x)
    assert explanation.scores[0] == 0
    # Without each channel the score stays 0: both have the weight 0.
    assert not explanation.values.any()
    weights = np.stack([np.eye(2), -np.eye(2)], axis=-1)[None]
    x = np.ones((1, 2, 2, 2), "float32")
    explanation = AblationCAM(cams.weighted(weights), layer="maps", signed=True)(x)
    assert explanation.scores[0] == 0
    assert not explanation.values.any()  # weights 2 and -2 of equal maps
    x[..., 1] = [[1, 5], [5, 1]]
    explanation = AblationCAM(cams.weighted(weights), layer="maps", signed=True)(x)
    assert_same(explanation.values[..., 0], 2 - 2 * x[..., 1])


def test_one_of_several_calls_of_a_layer():
    model = tiny_models.model("shared", "AblationCAM")
    maps = [AblationCAM(model, layer="shared", call=k, signed=True)(IMAGES, 1) for k in (0, 1)]
    assert maps[0].values.shape == maps[1].values.shape
    assert maps[0].layer == "shared"
    assert maps[1].layer == "shared (call 1)"
    assert abs(maps[0].values - maps[1].values).max() > 1e-3


def test_layer_in_half_precision():
    inside = keras.Input((7, 10, 2))
    maps = layers.Conv2D(3, 3, activation="tanh", name="maps", dtype="mixed_bfloat16")(inside)
    pooled = layers.GlobalAveragePooling2D(dtype="mixed_bfloat16")(maps)
    model = keras.Model(inside, layers.Dense(2, dtype="float32")(pooled))
    tiny_models.randomize(model)
    explanation = AblationCAM(model, layer="maps", signed=True)(IMAGES, 0)
    assert explanation.values.dtype == np.float32
    assert explanation.values.any()


def test_module_that_works_in_place():
    if tiny_models.BACKEND != "torch":
        pytest.skip("of native torch modules")
    import torch
    from torch import nn

    torch.manual_seed(0)
    parts = nn.Conv2d(2, 3, 3), nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    model = nn.Sequential(*parts, nn.Linear(3, 2)).eval()
    pure = nn.Sequential(parts[0], nn.ReLU(), *parts[2:], model[-1]).eval()
    x = KINDS["channels_first"].inputs()
    for layer in ("0", "1"):
        maps = [AblationCAM(one, layer=layer, signed=True)(x, 0).values for one in (model, pure)]
        assert_same(*maps)
