"""The operations that a block sees of torch, under Keras's names, in place or not."""

import pytest

from tiny_models import BACKEND

if BACKEND != "torch":
    pytest.skip("native modules", allow_module_level=True)

import torch
from torch import nn
from torch.nn import functional

from xai_core.operations import RECTIFIER
from xai_core.wrappers.torch_operations import handled

X = torch.linspace(-2, 2, 8).reshape(2, 4)


def seen(function, *tensors):
    """Names of the operations that a function runs, and that its results are as before."""
    names = []

    def handler(operation):
        names.append(operation.name)
        return operation.result

    given = tensors or (X,)
    expected = function(*(one.clone() for one in given))
    with handled(handler, lambda: ""):
        found = function(*(one.clone() for one in given))
    expected, found = (one if isinstance(one, tuple) else (one,) for one in (expected, found))
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
    return names


@pytest.mark.parametrize(
    ("name", "function"),
    [
        (RECTIFIER, torch.relu),
        (RECTIFIER, nn.ReLU(inplace=True)),
        (RECTIFIER, lambda x: x.relu_()),
        (RECTIFIER, lambda x: x.clamp(min=0)),
        (RECTIFIER, lambda x: x.clamp_min(0)),
        (RECTIFIER, nn.Hardtanh(0, 6)),
        (RECTIFIER, nn.PReLU().requires_grad_(False)),
        (RECTIFIER, nn.Threshold(0, 0)),
        (RECTIFIER, lambda x: functional.threshold(x, 0.5, 0.0, inplace=True)),
        (RECTIFIER, lambda x: functional.threshold_(x, 0, 0)),
        ("threshold", nn.Threshold(0, 1)),
        (RECTIFIER, lambda x: torch.relu(input=x)),
        (RECTIFIER, lambda x: torch.clamp(input=x, min=0)),
        (RECTIFIER, torch.ops.aten.relu),
        (RECTIFIER, torch.ops.aten.relu.default),
        ("top_k", lambda x: tuple(x.topk(2, dim=1))),
        ("var", lambda x: torch.var_mean(x, dim=1)),
        ("clip", nn.Hardtanh()),
        ("clip", lambda x: x.clamp(-1, 1)),
        ("clip", lambda x: x.clamp_max(0)),
        ("tanh", lambda x: x.tanh_()),
        ("sigmoid", torch.special.expit),
        ("absolute", abs),
        ("power", lambda x: x**2),
        ("power", lambda x: 2**x),
        ("reciprocal", lambda x: 1 / (x + 3)),
        ("softmax", lambda x: functional.softmax(x, dim=1)),
        ("layer_normalization", nn.LayerNorm(4).requires_grad_(False)),
        ("max", lambda x: x.amax(dim=1)),
        ("max", lambda x: tuple(x.max(dim=1))),
        ("min", lambda x: torch.min(x)),
        ("silu", nn.SiLU(inplace=True)),
        ("hard_silu", nn.Hardswish()),
    ],
)
def test_functions_of_one_tensor(name, function):
    assert seen(function) == [name]


def written(a, b, sign):
    """The operators of Python that write into their first operand."""
    if sign == "*":
        a *= b
    elif sign == "/":
        a /= b
    else:
        a **= 2
    return a


@pytest.mark.parametrize(
    ("name", "function"),
    [
        ("multiply", lambda a, b: written(a, b, "*")),
        ("divide", lambda a, b: written(a, b, "/")),
        ("power", lambda a, b: written(a, b, "**")),
        ("multiply", lambda a, b: a * b),
        ("multiply", lambda a, b: a.mul_(b)),
        ("divide", lambda a, b: a / b),
        ("multiply", lambda a, b: torch.mul(input=a, other=b)),
        ("multiply", lambda a, b: torch.addcmul(a, a, b, value=2)),
        ("divide", lambda a, b: torch.addcdiv(a, a, b)),
        ("normalize", functional.cosine_similarity),
        ("matmul", lambda a, b: a @ b.T),
        ("matmul", lambda a, b: torch.bmm(a[None], b.T[None])),
        ("einsum", lambda a, b: torch.einsum("ij,kj->ik", a, b)),
        ("maximum", torch.maximum),
        ("maximum", torch.max),
        ("minimum", lambda a, b: torch.minimum(a, other=b)),
    ],
)
def test_operations_of_two_tensors(name, function):
    assert seen(function, X, X + 3) == [name]


@pytest.mark.parametrize(
    "function", [lambda x: 2 * x, lambda x: x / 2, lambda x: x + x, lambda x: x.mean(1)]
)
def test_what_is_linear_is_not_seen(function):
    assert seen(function) == []


def test_operations_in_place_keep_their_operand_for_the_handler():
    kept = []

    def handler(operation):
        kept.append(operation)
        return operation.result

    x = X.clone()
    with handled(handler, lambda: ""):
        given = x
        found = given.relu_()
    assert found is given
    assert torch.equal(x, X.relu())
    (one,) = kept
    assert torch.equal(one.tensors[0], X)
    assert torch.equal(one.result, X.relu())
    assert torch.equal(one.tensors[0], X)
