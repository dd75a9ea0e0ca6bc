"""What the bridge to torch refuses, and how it says so."""

import copy

import keras
import pytest

from tiny_models import BACKEND, KINDS

if BACKEND == "torch":
    pytest.skip("under the torch backend modules need no bridge", allow_module_level=True)
pytest.importorskip("torch", reason=f"torch is missing beside {BACKEND}: there is no bridge")

import torch
from torch import nn

from bridged import Module, X, seeded, twin, twin_halves
from xai_core import wrap
from xai_core.attributions import GradCAM, Occlusion, RandomMap, Saliency
from xai_core.wrappers import TorchWrapper

TABLE = KINDS["table"].inputs()


def dense():
    return seeded(nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)))


def refused(call, error, *says):
    with pytest.raises(error) as found:
        call()
    message = str(found.value)
    assert not [part for part in says if part not in message], message


def test_layers_by_name_are_refused_with_advice():
    says = ("`layer`", "pair of modules (features, head)", BACKEND, "KERAS_BACKEND=torch")
    refused(lambda: GradCAM(twin(), layer="act2"), ValueError, *says, "'act2'")
    refused(lambda: GradCAM(twin(), layer=twin()[4]), ValueError, *says)
    refused(lambda: GradCAM(twin())(X), ValueError, "`layer`", "pair (features, head)", "None")


def test_training_mode_is_refused():
    module = dense().train()
    refused(lambda: Saliency(module), ValueError, "`model`", "evaluation mode", "module.eval()")
    assert module.training
    module.eval()
    explainer = Saliency(module)
    module[1].train()
    refused(lambda: explainer(TABLE), ValueError, "evaluation mode", "'1'")
    halves = copy.deepcopy(twin())[:5], copy.deepcopy(twin())[5:]
    halves[1][0].train()
    refused(lambda: GradCAM(twin(), layer=halves), ValueError, "`layer`", "evaluation mode")


@pytest.mark.parametrize("module", [dense(), Module(lambda m, x: x)], ids=["dense", "no weights"])
@pytest.mark.parametrize("device", ["gpu", "cuda:x", 3.5])
def test_wrong_devices_are_refused(module, device):
    refused(lambda: TorchWrapper(module, device), ValueError, "`device`", repr(device))


def test_another_device_than_the_modules_is_refused():
    refused(lambda: TorchWrapper(dense(), "meta"), ValueError, "`device`", "cpu", "meta", "moved")


@pytest.mark.parametrize("device", [None, "cpu", torch.device("cpu"), "cpu:0"])
def test_the_modules_own_device_is_accepted(device):
    assert TorchWrapper(dense(), device).source


def test_pairs_that_do_not_fit_are_refused():
    features, head = twin_halves()
    squashed = nn.Sequential(*head, nn.Tanh()).eval()
    refused(lambda: GradCAM(twin(), layer=(features, squashed))(X), ValueError, "head(features(x))")
    wider = nn.Sequential(*head, nn.Linear(3, 4)).eval()
    refused(lambda: GradCAM(twin(), layer=(features, wider))(X), ValueError, "(1, 4)", "(1, 3)")
    refused(lambda: GradCAM(twin(), layer=(features, features))(X), ValueError, "`layer`")
    flat = nn.Sequential(*twin()[:7]), twin()[7:]
    refused(lambda: GradCAM(twin(), layer=flat)(X), ValueError, "`layer`", "spatial map")
    function = (lambda x: x, head)
    refused(lambda: GradCAM(twin(), layer=function), TypeError, "`layer`", "torch modules")
    refused(lambda: GradCAM(twin(), layer=(features,)), TypeError, "`layer`", "(features, head)")


def test_features_of_several_outputs_are_refused():
    features = Module(lambda m, x: (m.conv(x), x), conv=seeded(nn.Conv2d(2, 4, 3)))
    head = Module(lambda m, a, x: m.out(a.mean((2, 3)) + x.mean()), out=seeded(nn.Linear(4, 3)))
    module = Module(lambda m, x: m.head(*m.features(x)), features=features, head=head)
    refused(
        lambda: GradCAM(module, layer=(features, head))(X),
        ValueError,
        "features that return one tensor",
    )


@pytest.mark.parametrize(
    "model", [3, nn.Linear, keras.layers.Dense(2)], ids=["3", "class", "keras"]
)
def test_what_is_no_module_is_refused(model):
    refused(lambda: TorchWrapper(model), TypeError, "`module`", "torch.nn.Module")


def test_wrong_options_are_refused():
    refused(lambda: TorchWrapper(dense(), data_format="NCHW"), ValueError, "`data_format`", "NCHW")
    refused(lambda: TorchWrapper(dense(), select=1.5), TypeError, "`select`", "1.5")
    refused(lambda: TorchWrapper(dense(), class_names="ab"), TypeError, "`class_names`")


def test_outputs_without_a_choice_are_refused():
    module = Module(lambda m, x: {"a": x, "b": x})
    refused(lambda: Saliency(module)(TABLE, 0), ValueError, "`select`", "'a'", "'b'")
    refused(lambda: Saliency(wrap(module, select="c"))(TABLE, 0), ValueError, "`select`", "'c'")
    module = Module(lambda m, x: [x, x])
    refused(lambda: Saliency(wrap(module, select=2))(TABLE, 0), ValueError, "`select`", "2 outputs")


def test_inputs_of_another_shape_are_refused():
    refused(lambda: Saliency(dense())(TABLE[:, :3], 0), ValueError, "`inputs`", "(5, 3)")
    refused(lambda: Saliency(twin())(X[:, :1], 0), ValueError, "`inputs`", "(5, 1, 7, 10)")
    assert RandomMap(dense())(TABLE, 0).values.shape == (5, 4)


@pytest.mark.parametrize(
    ("forward", "says"),
    [
        (lambda m, x: x.mean(), "one row for each row"),
        (lambda m, x: x.mean(0, keepdim=True), "one row for each row"),
        (lambda m, x: x[:, : 1 + int(x.abs().max() > 0)], "rows of one shape"),
        (lambda m, x: x.numpy(force=True), "`model` must return a tensor"),
        (lambda m, x: "text", "`model` must return a tensor"),
        (lambda m, x: None, "`model` must return a tensor"),
    ],
    ids=["number", "mean", "shape", "array", "text", "nothing"],
)
def test_outputs_that_are_no_rows_are_refused(forward, says):
    with pytest.raises(Exception, match=says):
        Occlusion(Module(forward))(TABLE, 0)
