"""Native torch modules; `conftest` gives this file to pytest on the torch backend only."""

from collections import OrderedDict

import numpy as np
import pytest
import torch
from torch import nn

import oracles
import tiny_models
from cases import EACH, MODEL_BASED, TARGETS
from oracles import assert_same
from tiny_models import KINDS
from xai_core import wrap
from xai_core.attributions import GradCAM, GradientInput, RandomMap, Saliency

X = KINDS["torch_image"].inputs()
NATIVE = [pytest.param(case, id=case.name) for case in MODEL_BASED]


def expected_cam():
    maps = oracles.grad_cam_of("image", oracles.inputs("image"), TARGETS)
    return np.moveaxis(maps, -1, 1)


@pytest.mark.parametrize("case", EACH)
@pytest.mark.parametrize("name", ["image", "torch_image"])
@pytest.mark.parametrize("mode", ["no_grad", "inference_mode"])
def test_works_where_gradients_are_switched_off(case, name, mode):
    x = KINDS[name].inputs()
    expected = case.on(name)(x, TARGETS).values
    with getattr(torch, mode)():
        given = torch.tensor(x)
        assert_same(case.on(name)(x, TARGETS).values, expected)
        assert_same(case.on(name)(given, TARGETS).values, expected)
    assert_same(case.on(name)(given, TARGETS).values, expected)


@pytest.mark.parametrize("case", NATIVE)
def test_tensor_of_a_graph_is_explained_and_stays_as_it_is(case):
    leaf = torch.tensor(X, requires_grad=True)
    given = leaf * 1.0
    assert_same(
        case.on("torch_image")(given, TARGETS).values, case.on("torch_image")(X, TARGETS).values
    )
    assert leaf.grad is None
    given.sum().backward()
    assert torch.equal(leaf.grad, torch.ones_like(leaf))


@pytest.mark.parametrize("case", NATIVE)
def test_frozen_parameters_do_not_change_the_map(case):
    module = case.fresh("torch_image").requires_grad_(False)
    assert_same(
        case.build(module)(X, TARGETS).values,
        case.on("torch_image")(X, TARGETS).values,
        case.tolerance,
    )
    assert not any(parameter.requires_grad for parameter in module.parameters())


@pytest.mark.parametrize("case", NATIVE)
def test_gradients_that_the_user_collected_stay(case):
    module = case.fresh("torch_image")
    module(torch.tensor(X)).sum().backward()
    before = [parameter.grad.clone() for parameter in module.parameters()]
    case.build(module)(X, TARGETS)
    for parameter, grad in zip(module.parameters(), before, strict=True):
        assert torch.equal(parameter.grad, grad)


@pytest.mark.parametrize("case", NATIVE)
def test_double_module_gets_double_inputs_and_gives_float32_maps(case):
    module = case.fresh("torch_image").double()
    explanation = case.build(module)(X, TARGETS)
    assert explanation.values.dtype == np.float32
    assert_same(explanation.values, case.on("torch_image")(X, TARGETS).values, case.tolerance)
    assert next(module.parameters()).dtype == torch.float64


@pytest.mark.parametrize("case", NATIVE)
def test_channels_last_inputs_are_transposed_on_the_way(case):
    wrapped = wrap(case.model("torch_image"), data_format="channels_last")
    explanation = case.build(wrapped)(KINDS["image"].inputs(), TARGETS)
    # Only the inputs are transposed, not what is inside the module.
    inside = "channels_first" if case.at_layer else "channels_last"
    assert explanation.data_format == inside
    if not case.at_layer:
        assert_same(explanation.values, case.on("image")(KINDS["image"].inputs(), TARGETS).values)


def test_random_map_of_the_same_bytes_is_that_of_the_keras_model():
    values = RandomMap(tiny_models.model("torch_image"))(X).values
    assert np.array_equal(values, RandomMap(tiny_models.model("channels_first"))(X).values)


def test_softmax_of_a_module_that_ends_in_logits():
    x, targets = oracles.inputs("table"), TARGETS
    scores = oracles.score("table", targets, oracles.softmax)
    explanation = GradientInput(tiny_models.model("torch_table"), output="softmax")(x, targets)
    assert_same(explanation.values, oracles.gradient(scores, x) * x)


# --- layers of GradCAM --------------------------------------------------------------------------


@pytest.mark.parametrize("by", ["name", "module"])
def test_layer_by_dotted_name_and_module(by):
    flat = tiny_models.fresh("torch_image")
    module = nn.Sequential(OrderedDict(trunk=flat[:5], head=flat[5:])).eval()
    layer = "trunk.act2" if by == "name" else module.trunk.act2
    explanation = GradCAM(module, layer=layer)(X, TARGETS)
    assert explanation.layer == "trunk.act2"
    assert_same(explanation.values, expected_cam())


def benchmark_module():
    parts, channels = [], 3
    for block in (("a", "b"), ("c", "last")):
        for conv in block:
            parts.append((conv, nn.Conv2d(channels, 8, 3, padding=1)))
            parts.append((f"{conv}_relu", nn.ReLU(inplace=True)))
            channels = 8
        parts.append((f"pool_{block[0]}", nn.MaxPool2d(2)))
    parts += [("gap", nn.AdaptiveAvgPool2d(1)), ("flat", nn.Flatten()), ("out", nn.Linear(8, 10))]
    return nn.Sequential(OrderedDict(parts)).eval()


def test_automatic_layer_of_the_benchmark_network_is_after_its_activation():
    torch.manual_seed(0)
    module = benchmark_module()
    x = np.random.default_rng(0).normal(size=(2, 3, 32, 32)).astype("float32")
    explanation = GradCAM(module)(x, 1)
    assert explanation.layer == "last_relu"
    with torch.no_grad():
        maps = module[:9](torch.tensor(x)).numpy().astype(float)
    weight = module.out.weight.detach().numpy()[1] / (16 * 16)
    coarse = np.maximum(np.einsum("nchw,c->nhw", maps, weight), 0)
    assert_same(explanation.values, oracles.resize(coarse, (32, 32))[:, None])


def test_layer_before_an_activation_in_place_is_read_before_it():
    torch.manual_seed(0)
    module = benchmark_module()
    x = np.random.default_rng(0).normal(size=(2, 3, 32, 32)).astype("float32")
    in_place = GradCAM(module, layer="last", signed=True)(x, 1)
    for part in module:
        if isinstance(part, nn.ReLU):
            part.inplace = False
    assert_same(in_place.values, GradCAM(module, layer="last", signed=True)(x, 1).values)


class Recorder(nn.Module):
    """An identity that notes its backward pass."""

    def __init__(self, seen):
        super().__init__()
        self.seen = seen

    def forward(self, x):
        return Noted.apply(x, self.seen)


class Noted(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, seen):
        ctx.seen = seen
        return x.clone()

    @staticmethod
    def backward(ctx, upstream):
        ctx.seen.append("below")
        return upstream, None


def test_backward_pass_ends_at_the_layer():
    seen = []
    parts = [("below", Recorder(seen)), *tiny_models.fresh("torch_image").named_children()]
    module = nn.Sequential(OrderedDict(parts)).eval()
    explanation = GradCAM(module, layer="act2")(X, TARGETS)
    assert seen == []
    assert_same(explanation.values, expected_cam())
    Saliency(module)(X, TARGETS)
    assert seen
