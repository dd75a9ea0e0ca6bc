"""Layers of native torch modules: naming them, tapping them, and the automatic choice."""

import threading
from collections import OrderedDict, namedtuple

import numpy as np
import pytest

import oracles
import tiny_models
from model_state import outputs, traces_left
from naming import shown
from oracles import assert_same
from tiny_models import BACKEND, KINDS

if BACKEND != "torch":
    pytest.skip("torch modules are explained under the torch backend", allow_module_level=True)

import torch
from torch import nn

from xai_core import wrap
from xai_core.attributions import GradCAM
from xai_core.wrappers.base import Output

IMAGES = KINDS["torch_image"].inputs(3)
TARGETS = np.array([2, 0, 1])


def image():
    return tiny_models.fresh("torch_image")


def moved(x):
    return np.moveaxis(x, 1, -1)


class Module(nn.Module):
    """A module in evaluation mode whose forward is ``function(module, ...)``."""

    def __init__(self, function, **parts):
        super().__init__()
        self.function = function
        for name, part in parts.items():
            self.add_module(name, part)
        self.eval()

    def forward(self, *args, **kwargs):
        return self.function(self, *args, **kwargs)


# --- naming a layer -----------------------------------------------------------------------------


def test_layer_is_found_by_dotted_name_and_object():
    module = nn.Sequential(OrderedDict(trunk=image()[:5], head=image()[5:])).eval()
    model = wrap(module)
    act = module.trunk.act2
    assert model.find("trunk.act2") == model.find(act) == ("trunk.act2", act)
    assert model.find("trunk")[1] is module.trunk


@pytest.mark.parametrize(
    ("wrong", "error", "says"),
    [
        ("conv3", ValueError, "'conv3'.*Did you mean.*'conv2'"),
        ("xyz", ValueError, "'xyz'.*The model has.*'logits'"),
        ("", ValueError, "''.*The model has"),
        (2, TypeError, "dotted name or a submodule.*2"),
        (None, TypeError, "dotted name or a submodule.*None"),
        (nn.Tanh(), ValueError, "submodule of this very model.*Tanh"),
    ],
    ids=shown,
)
def test_wrong_layer(wrong, error, says):
    with pytest.raises(error, match=f"`layer` must be.*{says}"):
        wrap(image()).find(wrong)


def test_module_under_two_names_is_found_by_both():
    act = nn.Tanh()
    model = wrap(nn.Sequential(OrderedDict(a=nn.Linear(4, 4), b=act, c=act)).eval())
    assert model.find("c") == model.find("b") == model.find(act) == ("b", act)


# --- tapping it ---------------------------------------------------------------------------------


def run(model, x=IMAGES):
    with torch.no_grad():
        return model(torch.tensor(x)).numpy()


def test_tap_records_and_replaces():
    model = wrap(image())
    before = run(model)
    seen = []
    with model.tap(model.find("act2"), lambda maps: seen.append(maps.clone()) or maps, None):
        assert_same(run(model), before, 0)
    assert_same(moved(seen[0].numpy()), oracles.activations("image", moved(IMAGES)))
    with model.tap(model.find("act2"), lambda maps: maps * 0, None):
        assert_same(run(model), np.tile(model.source.logits.bias.detach().numpy(), (3, 1)))
    assert_same(run(model), before, 0)


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_hooks_are_removed_after_an_exception(error):
    model = wrap(image())
    left, before = traces_left(model.source), outputs(model.source, IMAGES)

    def failing(*ignored):
        raise error

    with pytest.raises(error), model.tap(model.find("act2"), failing, None):
        run(model)
    assert traces_left(model.source) == left
    with pytest.raises(error):
        model.layer_outputs(failing)
    assert traces_left(model.source) == left
    assert_same(outputs(model.source, IMAGES), before, 0)


def test_hooks_of_the_user_stay_and_run():
    module = image()
    seen = []
    handle = module.act2.register_forward_hook(lambda *parts: seen.append(1))
    GradCAM(module)(IMAGES, TARGETS)
    assert seen
    assert list(module.act2._forward_hooks) == [handle.id]


def test_other_threads_pass_through():
    model = wrap(image())
    before, found = run(model), []
    with model.tap(model.find("logits"), lambda output: output + 1, None):
        thread = threading.Thread(target=lambda: found.append(run(model)))
        thread.start()
        thread.join()
        assert_same(run(model), before + 1, 1e-6)
    assert_same(found[0], before, 0)


def reused():
    torch.manual_seed(2)
    return Module(
        lambda m, x: m.out(m.conv(m.pool(torch.tanh(m.conv(x)))).mean((2, 3))),
        conv=nn.Conv2d(2, 2, 3, padding=1),
        pool=nn.AvgPool2d(2),
        out=nn.Linear(2, 3),
    )


def test_call_says_which_of_several_calls():
    module = reused()
    with pytest.raises(ValueError, match=r"`call` must say which call of 'conv'.*2 times"):
        GradCAM(module, layer="conv")(IMAGES, TARGETS)
    with pytest.raises(ValueError, match=r"`call` must be less than 2.*Received: 2"):
        GradCAM(module, layer="conv", call=2)(IMAGES, TARGETS)
    model = wrap(module)
    shapes = []
    for call in (0, 1):
        record = lambda maps: shapes.append(tuple(maps.shape)) or maps  # noqa: E731
        with model.tap(model.find("conv"), record, call):
            run(model)
    assert shapes == [(3, 2, 7, 10), (3, 2, 3, 5)]
    first, second = (
        GradCAM(module, layer="conv", call=call, signed=True)(IMAGES, TARGETS) for call in (0, 1)
    )
    weight = module.out.weight.detach().numpy()[TARGETS]
    with torch.no_grad():
        inner = module.pool(torch.tanh(module.conv(torch.tensor(IMAGES))))
        maps = module.conv(inner).numpy().astype(float)
    coarse = np.einsum("nc,nchw->nhw", weight.astype(float) / 15, maps)
    assert_same(second.values[:, 0], oracles.resize(coarse, (7, 10)))
    assert oracles.differ(first.values, second.values)


def test_module_that_is_never_called_is_refused():
    module = Module(lambda m, x: m.a(x).mean((2, 3)), a=nn.Conv2d(2, 3, 1), b=nn.Conv2d(2, 3, 1))
    with pytest.raises(ValueError, match=r"`layer` must be called by the model. Received: 'b'"):
        GradCAM(module, layer="b")(IMAGES, 0)


def test_tuples_and_named_tuples_give_their_first_tensor():
    pair = namedtuple("pair", "maps rest")
    for make in (lambda a, b: (a, b), lambda a, b: [a, b], pair):
        block = Module(lambda m, x, make=make: make(m.conv(x), 1), conv=nn.Conv2d(2, 3, 1))
        module = Module(lambda m, x: m.block(x)[0].mean((2, 3)), block=block)
        at_block = GradCAM(module, layer="block", signed=True)(IMAGES, TARGETS)
        at_conv = GradCAM(module, layer="block.conv", signed=True)(IMAGES, TARGETS)
        assert "first" in " ".join(at_block.notes)
        assert at_conv.notes == ()
        assert_same(at_block.values, at_conv.values, 0)


# --- the automatic layer ------------------------------------------------------------------------


def test_layer_outputs_in_call_order():
    model = wrap(nn.Sequential(OrderedDict(trunk=image()[:5], head=image()[5:])).eval())
    seen = {one.path: one for one in model.layer_outputs(lambda: run(model))}
    assert list(seen)[:2] == ["trunk.conv1", "trunk.act1"]
    skipped = {name for name, one in seen.items() if one.skipped}
    assert skipped >= {"trunk", "head", "trunk.pool", "head.gap", "head.flat"}
    assert not skipped & {"trunk.conv1", "trunk.act2", "head.logits"}
    assert tuple(seen["trunk.act2"][:3]) == ("trunk.act2", 0, (3, 6, 3, 5))
    assert isinstance(seen["trunk"], Output)


def test_rectifier_in_place_is_chosen_after_its_convolution():
    torch.manual_seed(0)
    parts = [nn.Conv2d(2, 4, 3), nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    module = nn.Sequential(*parts, nn.Linear(4, 3)).eval()
    explanation = GradCAM(module)(IMAGES, TARGETS)
    assert explanation.layer == "1"
    # Tapped before the rectifier, the map is that of the activations before it.
    with torch.no_grad():
        before = module[0](torch.tensor(IMAGES))
        weight = module[4].weight.numpy()[TARGETS].astype(float) / (5 * 8)
    after = np.einsum("nc,nchw->nhw", weight, before.clamp(min=0).numpy().astype(float))
    expected = oracles.resize(np.maximum(after, 0), (7, 10))
    assert_same(explanation.values[:, 0], expected)
    slope = (before > 0).double().mean((2, 3)).numpy() * weight
    raw = np.einsum("nc,nchw->nhw", slope, before.numpy().astype(float))
    at_conv = GradCAM(module, layer="0", signed=True)(IMAGES, TARGETS)
    assert_same(at_conv.values[:, 0], oracles.resize(raw, (7, 10)))
