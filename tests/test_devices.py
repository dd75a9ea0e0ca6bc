"""Where the numbers are: no batch is copied to the host, and a GPU gives the maps of the CPU."""

import keras
import numpy as np
import pytest

import tiny_models
from cases import EACH, TARGETS
from oracles import assert_same
from tiny_models import BACKEND, KINDS
from xai_core import _backend, _execution, attributions, metrics

GPUS = [name for name in _backend.devices() if "cpu" not in name.lower()]
ON_GPU = pytest.mark.skipif(not GPUS, reason=f"{BACKEND} finds no GPU.")
IMAGE = KINDS["image"]


def noisy(model):
    return attributions.SmoothGrad(model, n_samples=8, batch_size=5)


def path(model):
    return attributions.IntegratedGradients(model, steps=8, batch_size=5)


def patches(model):
    return attributions.Occlusion(model, batch_size=5)


def curve(model):
    return lambda x, targets: metrics.Deletion(model, steps=7, batch_size=5)(x, x, targets)


# --- copies -------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [noisy, path, patches, curve])
def test_no_batch_is_copied_to_the_host(make, monkeypatch):
    events = []
    step, to_host = _execution.Engine.step, _backend.to_host

    def noted_step(self, score, function, *arguments, **static):
        events.append("step")
        return step(self, score, function, *arguments, **static)

    def noted_copy(tensor):
        events.append("copy")
        return to_host(tensor)

    explainer = make(tiny_models.model("image", "SmoothGrad"))
    explainer(IMAGE.inputs(), TARGETS)  # probes are remembered
    monkeypatch.setattr(_execution.Engine, "step", noted_step)
    monkeypatch.setattr(_backend, "to_host", noted_copy)
    explainer(IMAGE.inputs(), TARGETS)
    last = len(events) - events[::-1].index("step")
    assert events.count("step") > 5
    # At most the scores of the inputs themselves, once for each group of them.
    assert events[:last].count("copy") <= 1


# --- GPU ----------------------------------------------------------------------------------------


@ON_GPU
@pytest.mark.parametrize("case", EACH)
def test_gpu_gives_the_maps_of_the_cpu(case):
    x = IMAGE.inputs()
    found = case.build(case.fresh("image"))(x, TARGETS)
    with keras.device("cpu:0"):
        expected = case.build(case.fresh("image"))(x, TARGETS)
    assert_same(found.values, expected.values)
    assert_same(found.scores, expected.scores)


@ON_GPU
@pytest.mark.skipif(BACKEND != "torch", reason="Native modules are for torch.")
@pytest.mark.parametrize("case", EACH)
def test_native_module_on_the_gpu_stays_there(case):
    x = KINDS["torch_image"].inputs()
    module = case.fresh("torch_image").to(GPUS[0])
    found = case.build(module)(x, TARGETS)
    expected = case.build(case.fresh("torch_image"))(x, TARGETS)
    assert_same(found.values, expected.values)
    assert {str(p.device) for p in module.parameters()} == {GPUS[0]}
    assert np.isfinite(found.scores).all()
