"""The layer that class activation maps take by themselves: a matter of the model, not of rows."""

import functools
import warnings

import keras
import numpy as np
import pytest
from keras import layers

import tiny_models
from cams import METHODS, SMALLER
from oracles import assert_same
from tiny_models import BACKEND
from xai_core import ExplanationWarning, attributions, clear_cache, wrap
from xai_core.attributions import AblationCAM, EigenCAM, GradCAM, cam_layers
from xai_core.attributions.cam_layers import PROBED

POSITIVE = abs(np.random.default_rng(0).normal(size=(1, 6, 6, 1))).astype("float32") + 0.1
ROWS = np.concatenate([-POSITIVE, POSITIVE])


def dead():
    """Behind the layer ``b`` a rectifier is dead for negative inputs; ``a`` has a way around."""
    inside = keras.Input((6, 6, 1))
    a = layers.Conv2D(2, 1, use_bias=False, name="a")
    b = layers.Conv2D(2, 1, use_bias=False, name="b")
    pool, around = (layers.GlobalAveragePooling2D(name=name) for name in ("pool", "around"))
    dense = layers.Dense(2, use_bias=False)
    maps = a(inside)
    left = layers.ReLU(name="relu")(pool(b(maps)))
    model = keras.Model(inside, dense(layers.Add()([left, around(maps)])))
    a.set_weights([np.array([1.0, 0.5]).reshape(1, 1, 1, 2)])
    b.set_weights([np.array([[1.0, 2.0], [1.0, 1.0]]).reshape(1, 1, 2, 2)])
    dense.set_weights([np.array([[1.0, 0.5], [2.0, 1.0]])])
    return model


@functools.cache
def shared():
    return dead()


@pytest.mark.parametrize("name", METHODS)
def test_neighbours_and_order_change_no_map(name):
    explainer = getattr(attributions, name)(shared(), signed=True, **SMALLER.get(name, {}))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExplanationWarning)
        whole, turned = explainer(ROWS, 0), explainer(ROWS[::-1], 0)
        alone = [explainer(ROWS[k : k + 1], 0) for k in (0, 1)]
    assert {one.layer for one in (whole, turned, *alone)} == {"b"}
    assert_same(turned.values[::-1], whole.values)
    assert_same(np.concatenate([one.values for one in alone]), whole.values)


def test_that_no_row_has_a_gradient_there_is_told():
    with pytest.warns(ExplanationWarning, match="1 of 1 samples has no gradient at 'b'") as caught:
        explanation = GradCAM(shared())(ROWS[:1], 0)
    assert len(caught) == 1
    assert not explanation.values.any()
    with pytest.warns(ExplanationWarning, match="1 of 2 samples has no gradient at 'b'"):
        both = GradCAM(shared())(ROWS, 0).values
    assert not both[0].any()
    assert both[1].any()


def steps(monkeypatch):
    """The names of the compiled steps that are run from now on."""
    from xai_core import _execution

    seen = []
    original = _execution.Engine.step

    def step(self, score, function, *arguments, **static):
        seen.append((function.__name__, arguments[0][0].shape[0]))
        return original(self, score, function, *arguments, **static)

    monkeypatch.setattr(_execution.Engine, "step", step)
    return seen


@pytest.mark.parametrize("cls", [GradCAM, EigenCAM])
def test_rows_are_probed_once_for_each_target(cls, monkeypatch):
    model, seen = dead(), steps(monkeypatch)
    for target, count in ((0, 1), (0, 1), ([1, 0], 2), (1, 2), (None, 3), (None, 3)):
        cls(model)(np.concatenate([POSITIVE, POSITIVE]), target)
        probes = [rows for name, rows in seen if name == "_slope_step"]
        assert len(probes) == count
    assert probes == [PROBED] * 3


def test_probe_never_sends_more_rows_than_a_batch_has():
    model, sizes = tiny_models.batch_sizes(tiny_models.network("image"))
    explainer = EigenCAM(model, batch_size=3)
    explainer(tiny_models.KINDS["image"].inputs(), 0)
    assert max(sizes) <= 3


def test_that_there_is_no_gradient_is_not_remembered():
    model = dead()
    dense = model.layers[-1]
    kernel = dense.get_weights()
    dense.set_weights([0 * kernel[0]])
    with pytest.warns(ExplanationWarning, match="no gradient"):
        assert GradCAM(model)(POSITIVE, 0).layer == "b"  # the last one, for want of a better
    model.get_layer("b").set_weights([0 * model.get_layer("b").get_weights()[0] - 1])
    dense.set_weights(kernel)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExplanationWarning)
        assert EigenCAM(model)(POSITIVE, 0).layer == "b"


def test_layer_that_no_target_depends_on_is_passed_over():
    inside = keras.Input((6, 6, 1))
    one, two = (layers.Conv2D(2, 3, name=name) for name in ("one", "two"))
    pool = layers.GlobalAveragePooling2D()
    columns = [layers.Dense(1)(pool(one(inside))), layers.Dense(1)(pool(two(inside)))]
    model = keras.Model(inside, layers.Concatenate()(columns))
    x = np.concatenate([POSITIVE, -POSITIVE])
    for cls in (GradCAM, AblationCAM):
        clear_cache()
        assert [cls(model)(x, target).layer for target in (0, 1)] == ["one", "two"]
        # Neither is of both, so the last that is of any is taken.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExplanationWarning)
            taken = [cls(model)(x, every).layer for every in ([0, 1], [1, 0])]
        assert taken[0] == taken[1]
    with pytest.warns(ExplanationWarning, match="1 of 2 samples has no gradient at"):
        GradCAM(model)(x, [0, 1])


def test_layer_that_all_targets_depend_on_goes_before_a_later_one():
    inside = keras.Input((6, 6, 1))
    both, own = (layers.Conv2D(2, 3, name=name) for name in ("both", "own"))
    pool, maps = layers.GlobalAveragePooling2D(), both(inside)
    columns = [layers.Dense(1)(pool(maps)), layers.Dense(1)(pool(own(maps)))]
    model = keras.Model(inside, layers.Concatenate()(columns))
    assert GradCAM(model)(POSITIVE, 1).layer == "own"
    for targets in ([0, 1], [1, 0]):
        assert GradCAM(model)(np.concatenate([POSITIVE, POSITIVE]), targets).layer == "both"


def decoded(count):
    """A class of what an encoder gives, and a decoder behind it that no score depends on."""
    inside = keras.Input((6, 6, 1))
    maps = layers.Conv2D(2, 3, name="encoder")(inside)
    head, rest = layers.Dense(2)(layers.GlobalAveragePooling2D()(maps)), maps
    for k in range(count):
        rest = layers.Conv2D(2, 1, name=f"decoder{k}")(rest)
    model = keras.Model(inside, [head, rest])
    tiny_models.randomize(model)
    return wrap(model, select=0)


@pytest.mark.parametrize("cls", [GradCAM, EigenCAM])
def test_long_way_behind_the_layer_that_the_score_depends_on(cls):
    assert cls(decoded(12))(POSITIVE, 0).layer == "encoder"


@pytest.mark.parametrize("cls", [GradCAM, EigenCAM, AblationCAM])
def test_layer_without_any_gradient_is_doubted(cls, monkeypatch):
    monkeypatch.setattr(cam_layers, "TRIED", 2)
    with pytest.warns(ExplanationWarning, match="none of the last 2 layers") as caught:
        assert cls(decoded(3))(POSITIVE, 0).layer == "decoder2"
    assert len(caught) == 1


def test_inside_of_attention_is_no_image():
    inside = keras.Input((6, 6, 1))
    maps = layers.Conv2D(4, 3, name="conv")(inside)
    tokens = layers.Reshape((16, 4))(maps)
    mixed = layers.MultiHeadAttention(2, 3, name="heads")(tokens, tokens)
    model = keras.Model(inside, layers.Dense(2)(layers.GlobalAveragePooling1D()(mixed)))
    assert GradCAM(model)(POSITIVE, 0).layer == "conv"


# --- parts of a torch module that run without gradients -----------------------------------------


@pytest.mark.skipif(BACKEND != "torch", reason="of native torch modules")
@pytest.mark.parametrize("layer", ["first", "last", None])
@pytest.mark.parametrize("name", METHODS)
def test_backbone_under_no_grad_is_the_twin_without(name, layer):
    import torch
    from torch import nn

    class Module(nn.Module):
        def __init__(self, recorded):
            super().__init__()
            self.recorded = recorded
            self.first, self.last = nn.Conv2d(1, 2, 3), nn.Conv2d(2, 2, 1)
            self.head = nn.Linear(2, 2)

        def forward(self, x):
            if self.recorded:
                h = self.last(torch.tanh(self.first(x)))
            else:
                with torch.no_grad():
                    h = self.last(torch.tanh(self.first(x)))
            return self.head(torch.tanh(h).mean((2, 3)))

    torch.manual_seed(0)
    made = [Module(recorded).eval() for recorded in (True, False)]
    made[1].load_state_dict(made[0].state_dict())
    x = np.random.default_rng(0).normal(size=(3, 1, 6, 6)).astype("float32")
    fields = {"layer": layer, "signed": True, **SMALLER.get(name, {})}
    maps = [getattr(attributions, name)(module, **fields)(x, [0, 1, 1]) for module in made]
    assert maps[0].layer == maps[1].layer
    assert maps[0].values.any()
    assert_same(maps[1].values, maps[0].values)
    assert not any(p.grad is not None for module in made for p in module.parameters())


# --- class dependence ---------------------------------------------------------------------------


@functools.cache
def trained():
    """A network that tells apart which of three corners of an image is bright."""
    generator = np.random.default_rng(0)
    x = generator.normal(0, 0.2, (192, 12, 12, 2)).astype("float32")
    y = np.arange(192) % 3
    for k, (row, column) in enumerate(((0, 0), (0, 8), (8, 0))):
        x[y == k, row : row + 4, column : column + 4] += 1.0
    keras.utils.set_random_seed(1)
    model = keras.Sequential(
        [
            keras.Input((12, 12, 2)),
            layers.Conv2D(6, 3, padding="same", activation="relu", name="maps"),
            layers.Conv2D(6, 3, padding="same", activation="relu", name="conv"),
            layers.AveragePooling2D(4),
            layers.Flatten(),
            layers.Dense(3, name="head"),
        ]
    )
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.optimizer.learning_rate = 0.01
    model.fit(x, y, batch_size=32, epochs=8, shuffle=False, verbose=0)
    assert (model.predict(x, verbose=0).argmax(1) == y).mean() > 0.95
    return model, x[:6]


def distance(one, other):
    return np.linalg.norm(one - other) / np.linalg.norm(other)


@pytest.mark.parametrize("name", METHODS)
def test_only_maps_without_gradients_ignore_the_class_and_the_head(name):
    model, x = trained()
    fields = SMALLER.get(name, {}) if name == "FinerCAM" else {}
    explainer = getattr(attributions, name)(model, layer="conv", signed=True, **fields)
    of_class, of_other = explainer(x, 0).values, explainer(x, 1).values
    head = model.get_layer("head")
    weights = head.get_weights()
    generator = np.random.default_rng(2)
    try:
        head.set_weights([generator.normal(0, 0.3, one.shape) for one in weights])
        of_random = explainer(x, 0).values
    finally:
        head.set_weights(weights)
    for changed in (of_other, of_random):
        if name in ("EigenCAM", "FEM"):
            assert np.array_equal(changed, of_class)
        else:
            assert distance(changed, of_class) > 0.01
