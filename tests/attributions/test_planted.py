"""Maps point at patterns that are planted in noise, for series, images and volumes."""

import keras
import numpy as np
import pytest

import xai_core as xai
from planted import KINDS, planted

NOISE = {"noise": 0.3, "noise_scale": "absolute", "n_samples": 5}
METHODS = {
    "Saliency": {},
    "GradientInput": {},
    "IntegratedGradients": {"steps": 16},
    "SmoothGrad": NOISE,
    "SquareGrad": NOISE,
    "VarGrad": NOISE,
    "ExpectedGradients": {"n_samples": 8},
    "GuidedBackprop": {},
    "DeepLIFT": {},
    "DeepSHAP": {},
    "GradCAM": {},
    "LayerCAM": {},
    "ScoreCAM": {},
}
AGAINST_ROWS = ("ExpectedGradients", "DeepSHAP")


# One test for each kind, for the network is trained first. Few steps may miss completeness.
@pytest.mark.filterwarnings("ignore::xai_core.ExplanationWarning")
@pytest.mark.parametrize("kind", KINDS)
def test_maps_are_three_times_as_dense_inside_the_pattern(kind):
    made = planted(kind)
    assert made.inside.mean() <= 0.08
    features = keras.Model(made.model.inputs, made.model.get_layer("second").output)
    assert min(features.output.shape[1:-1]) >= 8
    ratios = {}
    for method, fields in METHODS.items():
        more = {"background": made.background} if method in AGAINST_ROWS else {}
        explainer = getattr(xai.attributions, method)(made.model, batch_size=50, **fields, **more)
        maps = explainer(made.inputs, made.classes).values
        ratios[method] = made.ratio(np.broadcast_to(maps, made.inputs.shape))
    assert {method: ratio for method, ratio in ratios.items() if ratio < 3} == {}
