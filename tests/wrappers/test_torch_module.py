"""Native torch modules: training mode, type, device, layout, inputs, and what they keep."""

import pickle
from collections import OrderedDict
from types import SimpleNamespace

import keras
import numpy as np
import pytest

import tiny_models
from naming import shown
from oracles import assert_same
from tiny_models import BACKEND, KINDS

if BACKEND != "torch":
    pytest.skip("torch modules are explained under the torch backend", allow_module_level=True)

import torch
from torch import nn

from xai_core import wrap
from xai_core.attributions import (
    GradCAM,
    GradientInput,
    IntegratedGradients,
    RandomMap,
    Saliency,
    SmoothGrad,
)
from xai_core.wrappers import TorchWrapper

TABLE = KINDS["torch_table"].inputs(3)
IMAGES = KINDS["torch_image"].inputs(3)
TARGETS = np.array([2, 0, 1])


def table():
    return tiny_models.fresh("torch_table")


def image():
    return tiny_models.fresh("torch_image")


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


# --- training mode ------------------------------------------------------------------------------


def test_module_in_training_mode_is_refused_and_stays_in_it():
    module = table().train()
    with pytest.raises(ValueError, match=r"`model` must be in evaluation.*module.eval\(\)"):
        wrap(module)
    assert module.training


def test_submodule_in_training_mode_is_named():
    module = image()
    module.pool.train()
    with pytest.raises(ValueError, match=r"1 submodules in training mode, among them 'pool'"):
        wrap(module)


def test_module_that_was_switched_to_training_later_is_refused_at_the_call():
    module = table()
    explainer = Saliency(module)
    module.train()
    with pytest.raises(ValueError, match=r"evaluation mode"):
        explainer(TABLE)
    module.eval()
    assert explainer(TABLE).values.shape == (3, 4)


def test_layers_of_keras_are_no_torch_modules():
    with pytest.raises(TypeError, match=r"`model` must be a keras.Model.*Put it into"):
        wrap(keras.layers.Dense(2))
    assert type(wrap(tiny_models.model("table"))).__name__ == "KerasModel"


# --- types and devices --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dtype", "tolerance"),
    [(torch.float64, 1e-6), (torch.float16, 0.02), (torch.bfloat16, 0.1)],
    ids=shown,
)
@pytest.mark.parametrize("method", [Saliency, GradientInput, IntegratedGradients])
def test_inputs_go_to_the_modules_type_and_maps_come_back_float32(dtype, tolerance, method):
    expected = method(tiny_models.model("torch_table"))(TABLE, TARGETS)
    module = table().to(dtype)
    for given in (TABLE, TABLE.astype("float64"), torch.tensor(TABLE, dtype=dtype)):
        explanation = method(module)(given, TARGETS)
        assert explanation.values.dtype == np.float32
        assert_same(explanation.values, expected.values, tolerance)
        assert_same(explanation.scores, expected.scores, tolerance)
    assert {parameter.dtype for parameter in module.parameters()} == {dtype}


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16], ids=shown)
def test_type_of_the_module_at_an_inner_layer(dtype):
    explanation = GradCAM(image().to(dtype), layer="act2", signed=True)(IMAGES, TARGETS)
    expected = GradCAM(tiny_models.model("torch_image"), layer="act2", signed=True)
    assert explanation.values.dtype == np.float32
    assert_same(explanation.values, expected(IMAGES, TARGETS).values, 0.1)


def test_doubles_keep_their_digits():
    x = TABLE.astype("float64") / 3
    seen = []

    def forward(module, given):
        seen.append(given.detach().numpy().copy())
        return module.dense(given)

    Saliency(Module(forward, dense=nn.Linear(4, 2).double()))(x, 0)
    np.testing.assert_array_equal(seen[-1], x)


def test_type_and_device_are_those_of_the_first_parameter():
    module = wrap(table().double())
    assert module.dtype == "float64"
    assert module.device == torch.device("cpu")
    empty = wrap(Module(lambda module, x: 2 * x))
    assert (empty.dtype, empty.device) == ("float32", torch.device("cpu"))
    assert wrap(nn.Embedding(3, 2).eval().half()).dtype == "float16"


def test_module_without_parameters_is_explained():
    explanation = Saliency(Module(lambda module, x: x * x), absolute=False)(TABLE, 1)
    assert_same(explanation.values, 2 * TABLE * np.eye(4)[1])


# --- the layout of the inputs -------------------------------------------------------------------


def moved(x):
    return np.moveaxis(x, 1, -1)


@pytest.mark.parametrize("method", [Saliency, GradientInput, IntegratedGradients, GradCAM])
def test_channels_last_inputs_are_transposed_on_the_way(method):
    expected = method(tiny_models.model("torch_image"))(IMAGES, TARGETS)
    assert expected.data_format == "channels_first"
    assert expected.values.shape == (3, 1, 7, 10)
    model = wrap(tiny_models.model("torch_image"), data_format="channels_last")
    explanation = method(model)(moved(IMAGES), TARGETS)
    assert explanation.data_format == "channels_last"
    assert explanation.layer == expected.layer
    assert_same(explanation.values, moved(expected.values), 1e-6)
    assert_same(explanation.scores, expected.scores, 1e-6)


def test_unreduced_map_has_the_layout_of_the_inputs():
    model = wrap(tiny_models.model("torch_image"), data_format="channels_last")
    assert Saliency(model, reducer=None)(moved(IMAGES), 0).values.shape == (3, 7, 10, 2)
    assert tuple(Saliency(model).attribute(moved(IMAGES), 0).shape) == (3, 7, 10, 2)


def series():
    torch.manual_seed(0)
    return nn.Sequential(
        OrderedDict(
            conv=nn.Conv1d(2, 4, 3), act=nn.Tanh(), pool=nn.AdaptiveAvgPool1d(1), flat=nn.Flatten()
        )
    ).eval()


def test_series_need_a_layout_only_where_the_time_axis_matters():
    module = series()
    x = np.random.default_rng(0).normal(size=(3, 2, 9)).astype("float32")
    for method in (Saliency, GradientInput, IntegratedGradients):
        assert method(module)(x, 0).values.shape == (3, 2, 9)
    with pytest.raises(ValueError, match=r"`data_format` must be given for series"):
        GradCAM(module)(x, 0)
    with pytest.raises(ValueError, match=r"`data_format` must be given for series"):
        IntegratedGradients(module, baseline="mean")(x, 0)
    first = GradCAM(wrap(module, data_format="channels_first"), layer="act")(x, 0)
    last = GradCAM(wrap(module, data_format="channels_last"), layer="act")(moved(x), 0)
    assert first.values.shape == (3, 1, 9)
    assert_same(last.values, moved(first.values), 1e-6)


# --- inputs of several tensors ------------------------------------------------------------------


def mixed(module, series, table, word):
    return module.out(torch.cat([series.flatten(1), table, module.word(word).flatten(1)], 1))


def mixed_module():
    torch.manual_seed(1)
    return Module(mixed, out=nn.Linear(10 + 4 + 6, 3), word=nn.Embedding(6, 3))


def test_dict_and_tuple_inputs_are_the_arguments_of_forward():
    module = mixed_module()
    rows = tiny_models.several_input_rows(3)
    rows["word"] = rows["word"].astype("int64")
    by_name = Saliency(module, absolute=False)(rows, TARGETS)
    by_place = Saliency(module, absolute=False)(
        (rows["series"], rows["table"], rows["word"]), TARGETS
    )
    weight = module.out.weight.detach().numpy()[TARGETS]
    assert set(by_name) == set(rows)
    assert by_name["word"] is by_place[2] is None
    for found in (by_name["series"], by_place[0]):
        assert_same(found.values, weight[:, :10].reshape(3, 5, 2))
    for found in (by_name["table"], by_place[1]):
        assert_same(found.values, weight[:, 10:14])
    assert by_name["table"].fingerprints.tolist() != by_name["series"].fingerprints.tolist()


def test_pixels_among_several_inputs_are_explained():
    module = Module(lambda module, pixels, table: pixels.flatten(1).sum(1, keepdim=True) + table)
    pixels = np.arange(12, dtype="uint8").reshape(3, 2, 2)
    first, second = Saliency(module)((pixels, TABLE), 0)
    assert_same(first.values, np.ones((3, 2, 2)))
    assert_same(second.values, np.tile(np.eye(4)[0], (3, 1)))


def test_integers_alone_are_refused():
    module = Module(lambda module, first, second: first.float())
    tokens = np.ones((2, 3), "int64")
    with pytest.raises(ValueError, match=r"`layer` must name the embedding.*a model with none"):
        Saliency(module)((tokens, tokens))
    with pytest.raises(ValueError, match=r"`inputs` must hold an array of floats"):
        SmoothGrad(Saliency(module))((tokens, tokens))


def test_output_object_with_logits():
    torch.manual_seed(0)
    module = Module(
        lambda module, x: SimpleNamespace(logits=module.dense(x), hidden=x), dense=nn.Linear(4, 3)
    )
    weight = module.dense.weight.detach().numpy()
    explanation = Saliency(module, absolute=False)(TABLE, TARGETS)
    assert_same(explanation.values, weight[TARGETS])
    assert "logits" in " ".join(explanation.notes)
    hidden = Saliency(wrap(module, select="hidden"))(TABLE, 1)
    assert hidden.notes == ()
    assert_same(hidden.values, np.tile(np.eye(4)[1], (3, 1)))


# --- what stays as it was -----------------------------------------------------------------------


@pytest.mark.parametrize("tensor", [False, True], ids=["array", "tensor"])
@pytest.mark.parametrize("method", [Saliency, GradientInput, IntegratedGradients, RandomMap])
def test_rectifier_in_place_at_the_input_does_not_touch_it(method, tensor):
    module = nn.Sequential(nn.ReLU(inplace=True), nn.Linear(4, 3)).eval()
    x = torch.tensor(TABLE) if tensor else TABLE.copy()
    explanation = method(module)(x, TARGETS)
    np.testing.assert_array_equal(np.asarray(x), TABLE)
    if method is GradientInput:
        weight = module[1].weight.detach().numpy()[TARGETS]
        assert_same(explanation.values, weight * np.maximum(TABLE, 0))


@pytest.mark.parametrize("method", [Saliency, IntegratedGradients, GradCAM])
def test_parameters_keep_requires_grad_and_get_no_gradient(method):
    module = image()
    for name, parameter in module.named_parameters():
        parameter.requires_grad_("conv1" not in name)
    kept = [parameter.requires_grad for parameter in module.parameters()]
    expected = method(tiny_models.model("torch_image"))(IMAGES, TARGETS)
    assert_same(method(module)(IMAGES, TARGETS).values, expected.values, 1e-6)
    assert [parameter.requires_grad for parameter in module.parameters()] == kept
    assert all(parameter.grad is None for parameter in module.parameters())


def test_batch_statistics_are_not_updated():
    module = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Dropout(0.5)).eval()
    before = {name: values.clone() for name, values in module.state_dict().items()}
    first, second = (Saliency(module)(TABLE, 0).values for _ in range(2))
    assert_same(first, second, 0)
    for name, values in module.state_dict().items():
        assert torch.equal(values, before[name])


def test_input_that_requires_a_gradient_gets_none():
    x = torch.tensor(TABLE, requires_grad=True)
    assert_same(Saliency(table())(x, 0).values, Saliency(table())(TABLE, 0).values, 0)
    assert x.grad is None


# --- wrapped by name ----------------------------------------------------------------------------


def test_a_wrapped_module_is_explained_as_the_module():
    module = tiny_models.model("torch_image")
    expected = Saliency(module)(IMAGES, TARGETS)
    for device in (None, "cpu", "cpu:0", torch.device("cpu")):
        assert_same(Saliency(TorchWrapper(module, device))(IMAGES, TARGETS).values, expected.values)
    behind = TorchWrapper(module, data_format="channels_last", class_names=["a", "b", "c"])
    explanation = Saliency(behind)(moved(IMAGES), ["c", "a", "b"])
    assert_same(explanation.values, moved(expected.values))
    assert type(wrap(module)) is TorchWrapper


def test_names_of_the_classes_in_a_configuration():
    module = Module(lambda module, x: x * x)
    module.config = SimpleNamespace(id2label={0: "cat", 1: "dog", 2: "owl", 3: "ox"})
    for model in (module, TorchWrapper(module), wrap(TorchWrapper(module))):
        values = Saliency(model, absolute=False)(TABLE, "dog").values
        assert_same(values, 2 * TABLE * np.eye(4)[1])
    assert TorchWrapper(module, class_names=list("abcd")).class_names == ("a", "b", "c", "d")


def test_wrapped_modules_are_pickled():
    explainer = Saliency(TorchWrapper(tiny_models.fresh("torch_table")))
    copied = pickle.loads(pickle.dumps(explainer))
    assert_same(copied(TABLE, 1).values, explainer(TABLE, 1).values)
