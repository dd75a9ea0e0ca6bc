"""Pairs (features, head) as a layer: of Keras models on every backend, and of native modules."""

import copy
import gc
import json
import pickle
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor

import keras
import numpy as np
import pytest
from keras import layers, ops

import oracles
import tiny_models
from cases import TARGETS
from naming import shown
from oracles import assert_same
from tiny_models import BACKEND, KINDS, PAIR
from xai_core import wrap
from xai_core.attributions import FORGrad, GradCAM, GradCAMPlusPlus, SmoothGrad

X = KINDS["image"].inputs()
OWNER = "pairs"


def flat():
    return tiny_models.model("image", OWNER)


@pytest.fixture(scope="module")
def halves():
    """The image network, cut behind its second convolution."""
    return tiny_models.cut(flat(), "conv2")


def expected(targets=TARGETS, signed=False):
    return oracles.grad_cam_of("image", oracles.inputs("image"), targets, signed)


def cam(model, layer, targets=TARGETS, **fields):
    return GradCAM(model, layer=layer, **fields)(X, targets)


# --- pairs of Keras models ----------------------------------------------------------------------


def test_a_pair_equals_the_layer_in_its_middle(halves):
    explanation = cam(flat(), halves)
    assert_same(explanation.values, expected())
    assert explanation.layer == PAIR
    assert explanation.notes == cam(flat(), "conv2").notes
    assert_same(cam(flat(), halves, signed=True).values, expected(signed=True))


def test_grad_cam_plus_plus_of_a_pair(halves):
    values = GradCAMPlusPlus(flat(), layer=halves)(X, TARGETS).values
    rule = oracles.grad_cam_plus_plus
    assert_same(values, oracles.cam_of("image", oracles.inputs("image"), TARGETS, rule))


def test_functions_that_call_the_models_own_layers():
    model = flat()

    def features(x):
        for name in ("conv1", "pool", "conv2"):
            x = model.get_layer(name)(x)
        return x

    def head(maps):
        return model.get_layer("logits")(ops.mean(maps, axis=(1, 2)))

    assert_same(cam(model, (features, head)).values, expected())


def test_layers_are_halves_too():
    model = tiny_models.two_maps("flat")
    pair = model.get_layer("maps"), tiny_models.cut(model, "maps")[1]
    x = X[:, :2, :2]
    values = GradCAM(model, layer=pair, signed=True)(x, None).values
    assert_same(values, GradCAM(model, layer="maps", signed=True)(x, None).values)


def test_middle_that_no_layer_has(halves):
    features, head = halves

    def shifted(x):
        return 2.0 * features(x, training=False)

    def back(maps):
        return head(maps / 2.0, training=False)

    # Twice the activation, half of the gradient.
    assert_same(cam(flat(), (shifted, back)).values, expected())


def test_channels_first_and_series():
    for name in ("channels_first", "series"):
        kind, model = KINDS[name], tiny_models.model(name, OWNER)
        explanation = GradCAM(model, layer=tiny_models.cut(model, "conv2"))(kind.inputs(), TARGETS)
        of_twin = oracles.grad_cam_of(kind.twin, oracles.inputs(kind.twin), TARGETS)
        assert_same(explanation.values, kind.layout(of_twin))


def test_each_class_and_batches(halves):
    for k, explanation in enumerate(GradCAM(flat(), layer=halves).explain_each(X, "all")):
        assert_same(explanation.values, expected(np.full(5, k)))
    assert_same(cam(flat(), halves, batch_size=3).values, expected())


def test_maps_of_a_pair_are_wrapped_like_others(halves):
    low = FORGrad(GradCAM(flat(), layer=halves), sigma=1.5)(X, TARGETS)
    assert_same(low.values, np.abs(oracles.low_pass(expected(), 1.5)))
    fields = {"n_samples": 4, "noise": 0.2, "reducer": None}
    noisy = [SmoothGrad(GradCAM(flat(), layer=layer), **fields) for layer in (halves, "conv2")]
    assert_same(noisy[0](X, TARGETS).values, noisy[1](X, TARGETS).values)


def test_selected_output_and_softmax(halves):
    model = tiny_models.residual()
    pair = tiny_models.cut(model, "sum")
    for select, count in ((0, 3), (1, 2)):
        wrapped = wrap(model, select=select)
        assert_same(cam(wrapped, pair, count - 1).values, cam(wrapped, "sum", count - 1).values)
    values = cam(flat(), halves, output="softmax").values
    assert_same(values, cam(flat(), "conv2", output="softmax").values)


def test_features_of_several_outputs_give_the_first_and_say_so():
    model = tiny_models.network("image")
    middle, below = model.get_layer("conv2").output, model.get_layer("conv1").output
    features = keras.Model(model.inputs, [middle, below])
    rest = tiny_models.cut(model, "conv2")[1]
    explanation = cam(model, (features, lambda both: rest(both[0]) + 0 * ops.mean(both[1])))
    assert_same(explanation.values, expected())
    assert any("first of several" in note for note in explanation.notes)


# --- weights and structure ----------------------------------------------------------------------


def test_weights_that_change_are_seen():
    model = tiny_models.fresh("image")
    pair = tiny_models.cut(model, "conv2")
    assert_same(cam(model, pair).values, expected())
    kernel = model.get_layer("logits").kernel
    kernel.assign(-2.0 * kernel)
    assert_same(cam(model, pair, signed=True).values, -2 * expected(signed=True))
    model.get_layer("conv1").kernel.assign(0 * model.get_layer("conv1").kernel)
    assert_same(cam(model, pair, signed=True).values, cam(model, "conv2", signed=True).values)


def test_activation_that_changes_is_seen():
    model = tiny_models.fresh("image")
    pair = tiny_models.cut(model, "conv2")
    before = cam(model, pair).values
    model.get_layer("conv1").activation = keras.activations.sigmoid
    after = cam(model, pair).values
    assert oracles.differ(after, before)
    assert_same(after, cam(model, "conv2").values)


def test_halves_run_in_inference_mode_and_update_nothing():
    inside = keras.Input((7, 10, 2))
    maps = layers.Conv2D(4, 3, padding="same", activation="tanh", name="conv")(inside)
    normal = layers.BatchNormalization(name="normal")(maps)
    dropped = layers.Dropout(0.5)(normal)
    model = keras.Model(inside, layers.Dense(3)(layers.GlobalAveragePooling2D()(dropped)))
    tiny_models.randomize(model)
    model.get_layer("normal").moving_variance.assign(np.full(4, 0.7))
    before = [np.array(values) for values in model.get_weights()]
    explanation = cam(model, tiny_models.cut(model, "conv"))
    assert_same(explanation.values, cam(model, "conv").values)
    for old, new in zip(before, model.get_weights(), strict=True):
        assert np.array_equal(old, new)


# --- threads, copies, memory --------------------------------------------------------------------


def test_threads_with_other_pairs_of_one_model(halves):
    lower = tiny_models.cut(flat(), "conv1")
    start = threading.Barrier(8)

    def work(k):
        start.wait()
        layer = (halves, lower, "conv2", "conv1")[k % 4]
        return GradCAM(flat(), layer=layer, batch_size=3)(X, TARGETS).values

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(work, range(8)))
    for k, values in enumerate(found):
        assert_same(values, expected() if k % 2 == 0 else found[3])
    assert oracles.differ(found[3], expected())


def test_the_configuration_is_told_in_json(halves):
    explanation = cam(flat(), halves)
    assert json.loads(json.dumps(explanation.config)) == explanation.config
    assert "layer" in explanation.config


def test_another_model_does_not_fit_the_pair(halves):
    explainer = GradCAM(flat(), layer=halves)
    with pytest.raises(ValueError, match=r"`layer`.*parts of this very model"):
        explainer.with_model(tiny_models.fresh("image"))(X, TARGETS)


def test_explainers_with_a_pair_are_pickled(halves):
    copied = pickle.loads(pickle.dumps(GradCAM(flat(), layer=halves)))
    # The copied parts belong to the copied model only if its weights are shared with them.
    with pytest.raises(ValueError, match=r"parts of this very model"):
        copied(X, TARGETS)


def explained_and_dropped():
    model = tiny_models.fresh("image")
    pair = tiny_models.cut(model, "conv2")

    def features(x):
        return pair[0](x, training=False)

    cam(model, pair)
    cam(model, (features, pair[1]))
    return weakref.ref(model), weakref.ref(pair[0]), weakref.ref(features)


def test_nothing_is_kept_alive():
    references = explained_and_dropped()
    gc.collect()
    assert [reference() for reference in references] == [None] * 3


# --- what is refused ----------------------------------------------------------------------------


def test_halves_that_do_not_compose_are_refused(halves):
    features, head = halves
    for pair, says in (
        ((features, lambda maps: head(maps) + 1.0), "differ by"),
        ((features, lambda maps: head(maps)[:, :2]), r"shape \(1, 2\) and \(1, 3\)"),
        ((features, lambda maps: head(maps) * np.nan), "differ by nan"),
        ((features, features), "Error"),
        ((head, features), "Error"),
    ):
        with pytest.raises(ValueError, match=rf"head\(features\(x\)\) = f\(x\).*{says}"):
            cam(flat(), pair)


def test_middle_without_space_is_refused():
    pair = tiny_models.cut(flat(), "gap")
    with pytest.raises(ValueError, match=r"`layer`.*spatial map of 4 axes in the middle.*'N', 6"):
        cam(flat(), pair)


def test_weights_that_are_not_the_models_are_refused(halves):
    other = tiny_models.cut(tiny_models.fresh("image"), "conv2")
    for pair in (other, (halves[0], other[1]), (other[0], halves[1])):
        with pytest.raises(ValueError, match=r"`layer`.*parts of this very model.*weights of its"):
            GradCAM(flat(), layer=pair)


@pytest.mark.parametrize("call", [0, 1])
def test_the_middle_of_a_pair_is_called_once(halves, call):
    if call == 0:
        assert_same(cam(flat(), halves, call=call).values, expected())
        return
    with pytest.raises(ValueError, match=r"`call` must be less than 1"):
        cam(flat(), halves, call=call)


@pytest.mark.parametrize("layer", [(), ("conv1", "conv2"), (None, None), (1, 2, 3)], ids=shown)
def test_what_is_no_pair_is_refused(layer):
    with pytest.raises(TypeError, match=r"`layer` must be a layer or a pair \(features, head\)"):
        GradCAM(flat(), layer=layer)


# --- pairs of native modules --------------------------------------------------------------------

if BACKEND == "torch":
    import torch
    from torch import nn

    FIRST = KINDS["torch_image"].inputs()

    @pytest.fixture(scope="module")
    def module():
        return tiny_models.model("torch_image", OWNER)

    def native(model, layer, targets=TARGETS, **fields):
        return GradCAM(model, layer=layer, **fields)(FIRST, targets)

    def first(values):
        return np.moveaxis(values, -1, 1)

    def test_slices_of_a_module_equal_the_layer_between(module):
        explanation = native(module, (module[:5], module[5:]))
        assert_same(explanation.values, first(expected()))
        assert explanation.layer == PAIR
        values = GradCAMPlusPlus(module, layer=(module[:5], module[5:]))(FIRST, TARGETS).values
        of_layer = GradCAMPlusPlus(module, layer="act2")(FIRST, TARGETS).values
        assert_same(values, of_layer)

    def test_functions_of_torch_tensors(module):
        def features(x):
            return torch.tanh(module.conv2(module.pool(module.act1(module.conv1(x)))))

        def head(maps):
            return module.logits(maps.mean((2, 3)))

        assert_same(native(module, (features, head)).values, first(expected()))
        last = wrap(module, data_format="channels_last")
        assert_same(GradCAM(last, layer=(features, head))(X, TARGETS).values, expected())

    def test_features_of_several_outputs_reach_the_head_as_they_are(module):
        def features(x):
            maps = module[:5](x)
            return maps, maps.shape[2:], x

        def head(several):
            maps, size, x = several
            assert tuple(size) == tuple(maps.shape[2:])
            return module[5:](maps) + 0 * x.sum()

        explanation = native(module, (features, head))
        assert_same(explanation.values, first(expected()))

    def test_weights_of_a_module_that_change_are_seen():
        module = copy.deepcopy(tiny_models.fresh("torch_image"))
        pair = module[:5], module[5:]
        before = native(module, pair, signed=True).values
        with torch.no_grad():
            module.logits.weight.mul_(3)
        assert_same(native(module, pair, signed=True).values, 3 * before)

    def test_modes_gradients_and_switched_off_gradients(module):
        pair = module[:5], module[5:]
        for mode in (torch.no_grad, torch.inference_mode):
            with mode():
                assert_same(native(module, pair).values, first(expected()))
        assert all(parameter.grad is None for parameter in module.parameters())
        assert not any(part.training for part in module.modules())

    def test_wrong_pairs_of_modules_are_refused(module):
        features, head = module[:5], module[5:]
        squashed = nn.Sequential(head, nn.Tanh().eval())
        for pair, says in (
            ((features, squashed), "differ by"),
            ((features, head[:-1]), "shape"),
            ((features, features), "RuntimeError"),
        ):
            with pytest.raises(ValueError, match=rf"head\(features\(x\)\) = f\(x\).*{says}"):
                native(module, pair)
        with pytest.raises(ValueError, match="`layer` must be in evaluation mode"):
            native(module, (features, nn.Sequential(head, nn.Dropout())))
        with pytest.raises(ValueError, match="spatial map of 4 axes in the middle"):
            native(module, (module[:7], module[7:]))
