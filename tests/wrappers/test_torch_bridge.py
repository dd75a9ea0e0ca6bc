"""Torch modules under JAX and TensorFlow: the numbers of torch itself, layouts, inputs, outputs."""

import copy
from collections import OrderedDict
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import pytest

import oracles
import tiny_models
from cases import BY_NAME, TARGETS
from oracles import assert_same
from tiny_models import BACKEND, KINDS

if BACKEND == "torch":
    pytest.skip("under the torch backend modules need no bridge", allow_module_level=True)
pytest.importorskip("torch", reason=f"torch is missing beside {BACKEND}: there is no bridge")

import torch
from torch import nn

import xai_core as xai
from bridged import Module, X, native_cam, native_gradient, seeded, twin, twin_halves
from xai_core import wrap
from xai_core.attributions import (
    FORGrad,
    GradCAM,
    GradCAMPlusPlus,
    GradientInput,
    IntegratedGradients,
    Occlusion,
    RandomMap,
    Saliency,
    SmoothGrad,
)
from xai_core.metrics import Deletion, Insertion
from xai_core.wrappers import TorchWrapper

IMAGE = oracles.inputs("image")
"""The inputs, channels last; `X` are the same, channels first."""


def explained(model, x=X, targets=TARGETS, **options):
    """The gradients by Saliency, nothing of them reduced."""
    fields = {"reducer": None} if x.ndim > 3 else {}
    return Saliency(TorchWrapper(model, **options), absolute=False, **fields)(x, targets)


def first(values):
    return np.moveaxis(values, -1, 1)


def last(values):
    return np.moveaxis(values, 1, -1)


# --- the numbers of torch -----------------------------------------------------------------------


def test_scores_and_gradients_are_those_of_torch():
    explanation = explained(twin())
    scores, gradient = native_gradient(twin(), X, TARGETS)
    assert_same(explanation.scores, scores)
    assert_same(explanation.values, gradient)
    assert explanation.values.dtype == np.float32
    assert (explanation.method, explanation.data_format) == ("Saliency", "channels_first")


def test_a_module_by_itself_is_wrapped():
    wrapped = wrap(twin(), class_names=["a", "b", "c"])
    assert isinstance(wrapped, TorchWrapper)
    assert wrapped.source is twin()
    explanation = Saliency(wrapped, absolute=False, reducer=None)(X, "b")
    assert_same(explanation.values, native_gradient(twin(), X, 1)[1])
    assert wrap(wrapped) is wrapped


def test_the_wrapped_model_gives_the_modules_outputs():
    with torch.no_grad():
        expected = twin()(torch.tensor(X)).numpy()
    outputs = TorchWrapper(twin())(keras.ops.convert_to_tensor(X))
    assert_same(keras.ops.convert_to_numpy(outputs), expected)


def test_predicted_classes_are_explained_where_no_targets_are_given():
    explanation = explained(twin(), targets=None)
    with torch.no_grad():
        classes = twin()(torch.tensor(X)).numpy().argmax(1)
    assert explanation.targets.tolist() == classes.tolist()
    assert_same(explanation.values, native_gradient(twin(), X, classes)[1])


def test_probabilities_and_weights_of_classes():
    explainer = Saliency(twin(), output="softmax", absolute=False, reducer=None)
    scores = oracles.score("image", TARGETS, oracles.softmax)
    assert_same(explainer(X, TARGETS).values, first(oracles.gradient(scores, IMAGE)))
    contrast = np.tile([1.0, -1.0, 0.5], (5, 1)).astype("float32")
    parts = [native_gradient(twin(), X, k)[1] for k in range(3)]
    together = parts[0] - parts[1] + 0.5 * parts[2]
    assert_same(explained(twin(), targets=contrast).values, together)


def test_module_that_ends_in_a_softmax():
    module = nn.Sequential(seeded(nn.Linear(4, 3)), nn.Softmax(1)).eval()
    x = KINDS["table"].inputs()
    explanation = Saliency(module, output="softmax", absolute=False)(x, 2)
    assert_same(explanation.values, native_gradient(module, x, 2)[1])
    with pytest.raises(ValueError, match='`output="logits"`'):
        Saliency(module, output="logits")(x, 2)


def test_every_class_from_one_call():
    explainer = Saliency(twin(), absolute=False, reducer=None)
    for k, explanation in enumerate(explainer.explain_each(X, "all")):
        assert_same(explanation.values, native_gradient(twin(), X, k)[1])
    for target, explanation in zip(
        (2, TARGETS), explainer.explain_each(X, [2, TARGETS]), strict=True
    ):
        assert_same(explanation.values, native_gradient(twin(), X, target)[1])


def test_no_slope_where_the_output_does_not_depend_on_the_input():
    constant = Module(lambda m, x: m.out(torch.zeros_like(x)), out=seeded(nn.Linear(4, 3)))
    for module in (constant, Module(lambda m, x: (x > 0).float())):
        with pytest.warns(xai.ExplanationWarning, match="zero everywhere.*no gradient"):
            assert not explained(module, KINDS["table"].inputs(), 0).values.any()


# --- every method -------------------------------------------------------------------------------

METHODS = (
    "Saliency",
    "GradientInput",
    "IntegratedGradients",
    "SmoothGrad",
    "SquareGrad",
    "VarGrad",
)
METHODS = (*METHODS, "FORGrad", "Occlusion", "RandomMap")


@pytest.mark.parametrize("name", METHODS)
def test_equals_the_map_of_the_keras_twin(name):
    case = BY_NAME[name]
    expected = case.on("channels_first")(X, TARGETS)
    explanation = case.build(twin())(X, TARGETS)
    assert_same(explanation.values, expected.values)
    assert_same(explanation.scores, expected.scores)
    assert explanation.values.any()


@pytest.mark.parametrize("name", ["GradCAM", "GradCAMPlusPlus"])
def test_activation_maps_of_a_pair_equal_the_oracle(name):
    cls, rule = {
        "GradCAM": (GradCAM, oracles.grad_cam),
        "GradCAMPlusPlus": (GradCAMPlusPlus, oracles.grad_cam_plus_plus),
    }[name]
    for signed_map in (False, True):
        explanation = cls(twin(), layer=twin_halves(), signed=signed_map)(X, TARGETS)
        expected = oracles.cam_of("image", IMAGE, TARGETS, rule, signed_map)
        assert_same(explanation.values, first(expected))
        assert explanation.layer == "(features, head)"


def test_activation_maps_of_a_pair_equal_torch():
    explanation = GradCAM(twin(), layer=twin_halves())(X, TARGETS)
    assert_same(explanation.values, native_cam(*twin_halves(), X, TARGETS))


def test_gradients_and_paths_equal_the_oracle():
    scores = oracles.score("image", TARGETS)
    gradient = oracles.gradient(scores, IMAGE)
    product = GradientInput(twin())(X, TARGETS)
    assert_same(product.values, first((gradient * IMAGE).sum(-1, keepdims=True)))
    path = IntegratedGradients(twin(), steps=12, rule="trapezoid")(X, TARGETS)
    expected = oracles.integrated_gradients(scores, IMAGE, steps=12, rule="trapezoid")
    assert_same(path.values, first(expected.sum(-1, keepdims=True)))
    low = FORGrad(GradientInput(twin()), sigma=2, signed=True)(X, TARGETS)
    product = (gradient * IMAGE).sum(-1, keepdims=True)
    assert_same(low.values, first(oracles.low_pass(product, 2)))


def test_occlusion_and_noise_equal_the_oracle():
    scores = oracles.score("image", TARGETS)
    explanation = Occlusion(twin(), patch_size=3, patch_stride=2)(X, TARGETS)
    expected, drops = oracles.occlusion(scores, IMAGE, (3, 3), (2, 2))
    assert_same(explanation.values, first(expected))
    assert_same(explanation.features, drops)
    fields = {"n_samples": 4, "noise": 0.2, "noise_scale": "absolute", "reducer": None}
    maps = oracles.noisy_maps(lambda z: oracles.gradient(scores, z), IMAGE, 0.2, 4)
    # The noise is drawn in the order of the elements, which is another one for channels first.
    wrapped = TorchWrapper(twin(), data_format="channels_last")
    explanation = SmoothGrad(wrapped, **fields)(IMAGE, TARGETS)
    assert_same(explanation.values, maps.mean(0))


@pytest.mark.parametrize("cls", [Deletion, Insertion])
def test_metrics_equal_the_oracle(cls):
    maps = RandomMap(twin())(X, TARGETS)
    result = cls(twin(), steps=7, output="softmax")(maps, X, TARGETS)
    counts = oracles.step_counts(70, 7)
    rows = oracles.changed_rows(IMAGE, last(maps.values), 0.0, counts, insert=cls is Insertion)
    logits = oracles.logits("image", rows.reshape(-1, *IMAGE.shape[1:])).reshape(5, 8, 3)
    assert_same(result.curves, oracles.softmax(logits)[np.arange(5), :, TARGETS])
    assert_same(result.scores, oracles.area(result.curves, counts))


# --- layouts ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["Saliency", "IntegratedGradients", "FORGrad", "Occlusion"])
def test_inputs_given_as_channels_last_are_transposed_on_the_way(name):
    case = BY_NAME[name]
    wrapped = TorchWrapper(twin(), None, "channels_last")
    explanation = case.build(wrapped)(IMAGE, TARGETS)
    assert explanation.data_format == "channels_last"
    assert_same(explanation.values, last(case.build(twin())(X, TARGETS).values))


def test_activation_maps_lie_as_the_inputs_do():
    wrapped = wrap(twin(), data_format="channels_last")
    explanation = GradCAM(wrapped, layer=twin_halves())(IMAGE, TARGETS)
    assert_same(explanation.values, last(GradCAM(twin(), layer=twin_halves())(X, TARGETS).values))


def series_module():
    parts = {"conv": nn.Conv1d(3, 4, 3), "act": nn.Tanh(), "pool": nn.AdaptiveAvgPool1d(1)}
    return seeded(nn.Sequential(OrderedDict(parts, flat=nn.Flatten(), out=nn.Linear(4, 3))))


def test_series_need_a_layout_only_where_the_time_axis_matters():
    module, x = series_module(), KINDS["series_first"].inputs()
    assert_same(explained(module, x, 1).values, native_gradient(module, x, 1)[1])
    halves = module[:2], module[2:]
    with pytest.raises(ValueError, match=r"`data_format` must be given for series"):
        GradCAM(module, layer=halves)(x, 1)
    along_time = GradCAM(wrap(module, data_format="channels_first"), layer=halves)(x, 1)
    assert_same(along_time.values, native_cam(*halves, x, 1))
    behind = GradCAM(wrap(module, data_format="channels_last"), layer=halves)(last(x), 1)
    assert_same(behind.values, last(along_time.values))


# --- several inputs -----------------------------------------------------------------------------


def mixed(m, series, table, word):
    return m.out(torch.cat([series.flatten(1).tanh(), table * table, m.word(word).flatten(1)], 1))


def mixed_module():
    return seeded(Module(mixed, out=nn.Linear(10 + 4 + 6, 3), word=nn.Embedding(6, 3)))


@pytest.mark.parametrize("structure", ["dict", "tuple"])
@pytest.mark.parametrize("dtype", ["int32", "int64"])
def test_several_inputs_with_indices(structure, dtype):
    module, rows = mixed_module(), tiny_models.several_input_rows(3)
    rows["word"] = rows["word"].astype(dtype)
    names = ("series", "table", "word")
    given = rows if structure == "dict" else tuple(rows[name] for name in names)
    keys = dict(zip(names, names if structure == "dict" else range(3), strict=True))
    found = Saliency(module, absolute=False)(given, TARGETS[:3])
    assert type(found) is type(given)
    assert found[keys["word"]] is None
    leaves = {name: torch.tensor(rows[name]) for name in names}
    floats = [leaves[name].requires_grad_() for name in ("series", "table")]
    scores = module(**leaves)[torch.arange(3), torch.tensor(TARGETS[:3])]
    expected = torch.autograd.grad(scores.sum(), floats)
    for name, gradient in zip(("series", "table"), expected, strict=True):
        assert_same(found[keys[name]].values, gradient.numpy())
    assert_same(found[keys["table"]].scores, scores.detach().numpy())


def test_indices_are_of_64_bits_as_torch_wants_them():
    def forward(m, x, places):
        return x * torch.nn.functional.one_hot(places, 4)

    x, places = KINDS["table"].inputs(3), np.array([3, 0, 1])
    explanation = Saliency(Module(forward))((x, places), places)
    assert_same(explanation.values, np.eye(4)[places])
    with pytest.warns(xai.ExplanationWarning, match="zero everywhere"):
        assert not Saliency(Module(forward))((x, places), 2).values.any()


# --- several outputs ----------------------------------------------------------------------------


@dataclass
class Answer:
    """Like the outputs of language models: fields of which some are None."""

    loss: Any = None
    logits: Any = None
    hidden: Any = None


OUTPUTS = {
    "index": (lambda y: (y + 1, 2 * y), 1),
    "negative index": (lambda y: [y + 1, 2 * y], -1),
    "key": (lambda y: {"a": y, "b": 2 * y}, "b"),
    "attribute": (lambda y: Answer(logits=y, hidden=2 * y), "hidden"),
    "callable": (lambda y: {"deep": [y, 2 * y]}, lambda output: output["deep"][1]),
    "logits": (lambda y: Answer(logits=2 * y, hidden=y), None),
    "single field": (lambda y: Answer(hidden=2 * y), None),
    "single key": (lambda y: {"only": 2 * y}, None),
    "single entry": (lambda y: (2 * y,), None),
}


@pytest.mark.parametrize("name", OUTPUTS)
def test_one_of_several_outputs_is_explained(name):
    packed, select = OUTPUTS[name]
    module = Module(lambda m, x: packed(m.out(x)), out=seeded(nn.Linear(4, 3)))
    explanation = explained(module, KINDS["table"].inputs(), 1, select=select)
    weight = module.out.weight.detach().numpy()
    assert_same(explanation.values, np.tile(2 * weight[1], (5, 1)))
    noted = [note for note in explanation.notes if ".logits" in note]
    assert len(noted) == (name == "logits")


def test_selections_of_one_module_do_not_share_a_step():
    module = Module(lambda m, x: (x, 2 * x, 3 * x))
    x = KINDS["table"].inputs(3)
    for select, factor in ((0, 1), (1, 2), (lambda output: output[2], 3), (0, 1)):
        assert_same(explained(module, x, 1, select=select).scores, factor * x[:, 1])


def test_pairs_give_the_selected_output():
    conv, out = seeded(nn.Conv2d(2, 4, 3)), seeded(nn.Linear(4, 3))
    head = Module(lambda m, a: {"main": m.out(a.mean((2, 3))), "other": a}, out=out)
    module = nn.Sequential(conv, head).eval()
    explanation = GradCAM(wrap(module, select="main"), layer=(conv, head))(X, 1)
    only = Module(lambda m, a: m.out(a.mean((2, 3))), out=out)
    assert_same(explanation.values, native_cam(conv, only, X, 1))


# --- precision ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dtype", "tolerance"),
    [(torch.float64, 1e-5), (torch.float16, 0.02), (torch.bfloat16, 0.1)],
    ids=repr,
)
def test_the_module_computes_in_its_own_precision(dtype, tolerance):
    module = copy.deepcopy(twin()).to(dtype)
    seen = []
    module[0].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].dtype))
    explanation = explained(module)
    _, gradient = native_gradient(twin(), X, TARGETS)
    assert_same(explanation.values, gradient, tolerance)
    assert explanation.values.dtype == explanation.scores.dtype == np.float32
    assert set(seen) == {dtype}
    halves = module[:5], module[5:]
    cam = GradCAM(module, layer=halves, signed=True)(X, TARGETS)
    assert_same(
        cam.values, GradCAM(twin(), layer=twin_halves(), signed=True)(X, TARGETS).values, 0.1
    )


@pytest.mark.parametrize("dtype", ["float64", "float16", "uint8"])
def test_inputs_of_other_types_are_the_same_numbers(dtype):
    x = np.round(9 * np.abs(X)).astype(dtype)
    assert_same(explained(twin(), x).values, explained(twin(), x.astype("float32")).values)


def test_module_without_parameters():
    module = Module(lambda m, x: x * x)
    x = KINDS["table"].inputs()
    assert_same(explained(module, x, 1).values, 2 * x * np.eye(4)[1])


# --- models of other makes ----------------------------------------------------------------------


def test_volumes():
    kind, module = KINDS["volume"], tiny_models.torch_twin("volume")
    x, scores = kind.inputs(), oracles.score("volume", TARGETS)
    wrapped = wrap(module, data_format="channels_last")
    values = Saliency(wrapped, absolute=False, reducer=None)(x, TARGETS).values
    assert_same(values, oracles.gradient(scores, x))
    values = GradCAM(wrapped, layer=(module[:5], module[5:]))(x, TARGETS).values
    assert_same(values, oracles.grad_cam_of("volume", x, TARGETS))
    assert_same(
        GradCAM(module, layer=(module[:5], module[5:]))(first(x), TARGETS).values, first(values)
    )


@pytest.mark.filterwarnings("ignore:`torch.jit.*is deprecated:DeprecationWarning")
def test_traced_modules():
    traced = torch.jit.trace(twin(), torch.tensor(X))
    assert_same(explained(traced).values, native_gradient(twin(), X, TARGETS)[1])


def test_names_of_the_classes_in_a_configuration():
    module = Module(lambda m, x: x * x)
    module.config = SimpleNamespace(id2label={0: "cat", 1: "dog", 2: "owl", 3: "ox"})
    x = KINDS["table"].inputs()
    for model in (module, TorchWrapper(module)):
        explanation = Saliency(model, absolute=False)(x, "dog")
        assert_same(explanation.values, 2 * x * np.eye(4)[1])
        assert explanation.class_names == ("cat", "dog", "owl", "ox")
    assert TorchWrapper(module, class_names=["a", "b", "c", "d"]).class_names[0] == "a"
