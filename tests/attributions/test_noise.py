"""What SmoothGrad, SquareGrad and VarGrad share: how much noise, batches, compiled steps."""

import contextlib
import gc
import weakref

import numpy as np
import pytest
from keras import ops

import oracles
import tiny_models
from cases import TARGETS
from naming import shown
from noisy import IMAGES, X, explainer, model, smooth
from oracles import assert_same, differ
from tiny_models import BACKEND, KINDS
from xai_core import _execution
from xai_core.attributions import (
    IntegratedGradients,
    Saliency,
    SmoothGrad,
    SquareGrad,
    VarGrad,
    running,
    shared_steps,
)

COMPILED = pytest.mark.skipif(BACKEND == "torch", reason="nothing is compiled on this backend")

# --- how much noise -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["series", "series_first", "image", "channels_first"])
def test_range_is_that_of_each_sample_and_of_each_feature_of_a_series(name):
    kind = KINDS[name]
    # Samples and features of very different ranges, far from 0.
    x = oracles.inputs(kind.twin) * np.logspace(-2, 0, 5).reshape(5, *[1] * (kind.rank - 1))
    x = (1 + x * np.linspace(0.2, 1, x.shape[-1])).astype("float32")
    smoothed = explainer(name, noise=0.4, noise_scale="range")
    explanation = smoothed(np.ascontiguousarray(kind.layout(x)), TARGETS)
    assert_same(explanation.values, kind.layout(smooth(name, x, 0.4, scale="range")))


SHAPES = {"table": [(4,), ()], "series": [(3,), (9, 1)], "image": [(2,), (7, 10, 2), (10, 1)]}


@pytest.mark.parametrize(
    ("name", "shape"), [(name, shape) for name, shapes in SHAPES.items() for shape in shapes]
)
def test_absolute_noise_broadcasts_against_a_sample(name, shape):
    noise = np.random.default_rng(2).uniform(0, 0.5, shape)
    explanation = explainer(name, noise=noise)(KINDS[name].inputs(), TARGETS)
    assert_same(explanation.values, smooth(name, KINDS[name].inputs(), noise))


@pytest.mark.parametrize("form", [np.float32, list, ops.convert_to_tensor])
@pytest.mark.parametrize("numbers", [[0.1, 0.2, 0.3, 0.0], [0.3]], ids=shown)
def test_noise_is_any_array(form, numbers):
    explanation = explainer("table", noise=form(numbers))(X, TARGETS)
    assert_same(explanation.values, smooth("table", X, np.array(numbers)))


def test_share_may_be_a_tensor():
    share = ops.convert_to_tensor(0.4)
    explanation = explainer(noise=share, noise_scale="range")(IMAGES, TARGETS)
    assert_same(explanation.values, smooth("image", IMAGES, 0.4, scale="range"))


@pytest.mark.parametrize("cls", [SmoothGrad, SquareGrad, VarGrad])
def test_without_noise_every_sample_is_the_map_itself(cls):
    base = Saliency(model(), absolute=False, reducer=None)(IMAGES, TARGETS).values
    explanation = explainer(cls=cls, noise=0)(IMAGES, TARGETS)
    if cls is VarGrad:
        assert np.abs(explanation.values).max() < 1e-12
    else:
        assert_same(explanation.values, base if cls is SmoothGrad else base**2)
    assert np.abs(explanation.standard_error).max() < 1e-6


def test_constant_image_has_no_range_and_so_no_noise():
    x = np.full((5, 7, 10, 2), 0.3, "float32")
    explanation = explainer(noise=0.4, noise_scale="range")(x, TARGETS)
    assert_same(explanation.values, smooth("image", x, 0.0))


def test_noise_comes_from_the_seed():
    seeds = 3, 2**32 + 3, 2**64 - 1
    maps = [explainer("table", noise=0.3, seed=seed)(X, TARGETS).values for seed in seeds]
    for seed, found in zip(seeds, maps, strict=True):
        assert_same(found, smooth("table", X, 0.3, seed=seed))
    assert differ(maps[0], maps[1])


# --- batches ------------------------------------------------------------------------------------


def test_alone_and_among_seven_others_in_small_batches():
    x, targets = KINDS["table"].inputs(8), np.resize(TARGETS, 8)
    scores = oracles.score("table", targets)
    maps = oracles.noisy_maps(lambda z: oracles.gradient(scores, z), x, 0.3, 9)
    own = explainer("table", VarGrad, noise=0.3, n_samples=9, batch_size=7)
    whole = own(x, targets)
    assert_same(whole.values, oracles.STATISTICS["VarGrad"](maps))
    alone = own(x[2:3], targets[2:3])
    assert_same(alone.values, whole.values[2:3])
    assert_same(alone.standard_error, whole.standard_error[2:3])


COSTS = {
    "gradients": (lambda: model("table"), 1 + 4),
    "paths": (lambda: IntegratedGradients(model("table"), steps=3), 1 + 4 * (2 + 3)),
}


@pytest.mark.parametrize("name", COSTS)
def test_rows_that_a_call_costs(monkeypatch, name):
    seen = []

    @contextlib.contextmanager
    def recorded(enabled, total, label):
        seen.extend([total, 0])

        def advance(rows):
            seen[1] += rows

        yield advance

    monkeypatch.setattr(running, "progress_bar", recorded)
    build, rows = COSTS[name]
    explanation = explainer("table", base=build())(X, TARGETS)
    assert explanation.rows.tolist() == [rows] * 5
    assert seen == [5 * rows, 5 * rows]


@pytest.fixture
def collected():
    """What exists is left out of garbage collections, which are fast then."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


def test_no_sample_is_kept(monkeypatch, collected):
    original = Saliency._maps
    inside, alive = [], []

    def watched(self, group, reduced):
        maps = original(self, group, reduced)
        inside.extend(map(weakref.ref, (*group.inputs()[0], *maps.values)))
        gc.collect()  # Keras makes cycles of tensors on torch
        alive.append(sum(one() is not None for one in inside))
        return maps

    monkeypatch.setattr(Saliency, "_maps", watched)
    explainer("table", n_samples=128)(X, TARGETS)
    # The noisy rows of a batch and their map, and those of the batch before.
    assert len(alive) == 20
    assert alive[-1] <= max(alive[:3]) <= 4


# --- compiled steps -----------------------------------------------------------------------------


def signatures(of):
    """How often steps of a model were compiled."""
    parts = _execution._MEMORIES[id(of)].parts.values()
    return sum(len(part.traced) for part in parts if isinstance(part, _execution._Compiled))


@COMPILED
@pytest.mark.parametrize(
    "fields",
    [{"seed": 5}, {"noise": 0.4}, {"n_samples": 40}, {"noise_scale": "range", "noise": 0.1}],
    ids=shown,
)
def test_another_setting_compiles_nothing_of_the_model(fields):
    explainer()(IMAGES, TARGETS)
    before = signatures(model())
    explainer(**fields)(IMAGES, TARGETS)
    assert signatures(model()) == before


@COMPILED
def test_methods_share_the_steps_of_the_model():
    explainer()(IMAGES, TARGETS)
    before = signatures(model())
    for cls in (SquareGrad, VarGrad):
        explainer(cls=cls)(IMAGES, TARGETS)
    assert signatures(model()) == before


@COMPILED
def test_noise_and_moments_are_compiled_once_for_all_models():
    explainer("table")(X, TARGETS)
    before = shared_steps._compiled.cache_info().misses
    explainer("table", base=tiny_models.network("table"))(X, TARGETS)
    assert shared_steps._compiled.cache_info().misses == before
