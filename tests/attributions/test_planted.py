"""Maps point at patterns that are planted in noise, for series, images and volumes."""

import keras
import numpy as np
import pytest

import xai_core as xai
from planted import KINDS, planted

NOISE = {"noise": 0.3, "noise_scale": "absolute", "n_samples": 10}
METHODS = {
    "Saliency": {},
    "GradientInput": {},
    "IntegratedGradients": {"steps": 16},
    "SmoothGrad": NOISE,
    "SquareGrad": NOISE,
    "VarGrad": NOISE,
    "ExpectedGradients": {"n_samples": 20},
    "GuidedBackprop": {},
    "DeepLIFT": {},
    "DeepSHAP": {},
    "GradCAM": {},
    "LayerCAM": {},
    "ScoreCAM": {},
}


@pytest.mark.parametrize("kind", KINDS)
def test_the_pattern_covers_little_and_feature_maps_are_fine(kind):
    made = planted(kind)
    assert made.inside.mean() <= 0.08
    features = keras.Model(made.model.inputs, made.model.get_layer("second").output)
    assert min(features.output.shape[1:-1]) >= 8


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("method", METHODS)
def test_the_map_is_three_times_as_dense_inside_the_pattern(kind, method):
    made, fields = planted(kind), dict(METHODS[method])
    if method in ("ExpectedGradients", "DeepSHAP"):
        fields["background"] = made.background[: 5 if method == "DeepSHAP" else 20]
    explainer = getattr(xai.attributions, method)(made.model, batch_size=50, **fields)
    maps = explainer(made.inputs, made.classes).values
    assert made.ratio(np.broadcast_to(maps, made.inputs.shape)) >= 3
