"""The bridge to torch: compiled once, never stale, from any thread, nothing touched or kept."""

import copy
import gc
import pickle
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor

import keras
import numpy as np
import pytest

from cases import BY_NAME, TARGETS, tripled
from oracles import assert_same
from tiny_models import BACKEND, KINDS

if BACKEND == "torch":
    pytest.skip("under the torch backend modules need no bridge", allow_module_level=True)
pytest.importorskip("torch", reason=f"torch is missing beside {BACKEND}: there is no bridge")

import torch
from torch import nn

from bridged import Module, X, native_gradient, seeded, twin, twin_halves
from model_state import framework_state
from xai_core import wrap
from xai_core.attributions import (
    GradCAM,
    GradCAMPlusPlus,
    IntegratedGradients,
    Occlusion,
    Saliency,
    SmoothGrad,
)
from xai_core.wrappers import TorchWrapper

TABLE = KINDS["table"].inputs()
METHODS = ("Saliency", "IntegratedGradients", "SmoothGrad", "Occlusion", "RandomMap")


def dense(seed=3):
    return seeded(nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)), seed)


def explained(module, targets=1):
    return Saliency(module, absolute=False)(TABLE, targets).values


def assert_is_now(module, targets=1):
    """Whether the explained gradient is that of the module as it is now."""
    assert_same(explained(module, targets), native_gradient(module, TABLE, targets)[1])


class Counted(nn.Module):
    """Notes the number of rows of each forward call."""

    def __init__(self, inner):
        super().__init__()
        self.inner, self.rows = inner, []
        self.eval()

    def forward(self, x):
        self.rows.append(len(x))
        return self.inner(x)


# --- compiled once ------------------------------------------------------------------------------


def test_a_second_explainer_compiles_nothing():
    calls = []

    def operator(model, inputs, targets):
        calls.append(1)
        return tripled(model, inputs, targets)

    module = dense()
    for explain in (Saliency, IntegratedGradients):
        explain(module, operator=operator)(TABLE, TARGETS)
        before = len(calls)
        explain(module, operator=operator)(TABLE[::-1].copy(), TARGETS)
        assert len(calls) == before


def test_forward_calls_of_a_compiled_step():
    module = Counted(dense())
    explainer = Saliency(module, batch_size=5)
    explainer(TABLE, TARGETS)
    module.rows.clear()
    explainer(TABLE, TARGETS)
    assert module.rows == [5]
    module.rows.clear()
    explainer.explain_each(TABLE, "all")
    explainer.explain_each(TABLE, "all")
    assert module.rows.count(5) <= 4


@pytest.mark.parametrize("name", METHODS)
def test_the_module_never_sees_more_than_batch_size_rows(name):
    module = Counted(twin())
    BY_NAME[name].build(module, batch_size=3)(X, TARGETS)
    assert max(module.rows, default=0) <= 3


# --- never stale --------------------------------------------------------------------------------


def halved(module):
    with torch.no_grad():
        module[0].weight.mul_(0.5)


def loaded(module):
    module.load_state_dict(dense(7).state_dict())


def new_parameter(module):
    module[2].weight = nn.Parameter(module[2].weight.detach() * 3)


def new_layer(module):
    module[1] = nn.Softplus().eval()


def wider(module):
    module[0], module[2] = seeded(nn.Linear(4, 9)), seeded(nn.Linear(9, 3))


def hooked(module):
    module[1].register_forward_hook(lambda _m, _i, output: 2 * output)


@pytest.mark.parametrize(
    "change", [halved, loaded, new_parameter, new_layer, wider, hooked], ids=lambda f: f.__name__
)
def test_the_module_is_read_when_it_runs(change):
    module = dense()
    before = explained(module)
    change(module)
    assert_is_now(module)
    assert not np.allclose(explained(module), before, rtol=0.01)


def test_another_number_of_classes():
    module = dense()
    assert_is_now(module, 2)
    module[2] = seeded(nn.Linear(5, 6))
    assert_is_now(module, 5)
    module[2] = seeded(nn.Linear(5, 2))
    with pytest.raises(ValueError, match="`targets`"):
        explained(module, 5)


def test_attribute_of_a_module():
    module = Module(lambda m, x: m.scale * x)
    for module.scale in (2.0, -3.0):
        assert_same(explained(module), np.tile(module.scale * np.eye(4)[1], (5, 1)))


def test_precision_that_changes_in_place():
    module = dense()
    expected = explained(module)
    seen = []
    module[0].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].dtype))
    for change in (module.double, module.half, module.float):
        change()
        seen.clear()
        assert_same(explained(module), expected, 0.02)
        assert set(seen) == {module[0].weight.dtype}


def test_half_of_a_pair_that_changes():
    module = copy.deepcopy(twin())
    halves = module[:5], module[5:]
    before = GradCAM(module, layer=halves, signed=True)(X, TARGETS).values
    with torch.no_grad():
        module[-1].weight.mul_(2.0)
    assert_same(GradCAM(module, layer=halves, signed=True)(X, TARGETS).values, 2 * before)
    with torch.no_grad():
        halves[0][0].weight.mul_(0.0)
    flat = GradCAM(module, layer=halves, signed=True)(X, TARGETS).values
    assert np.abs(flat - 2 * before).max() > 0.01


# --- from any thread ----------------------------------------------------------------------------


def in_threads(work, count=8):
    start = threading.Barrier(count)

    def one(k):
        start.wait()
        return work(k)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(one, range(count)))


def test_eight_threads_give_the_numbers_of_torch():
    halves = twin_halves()
    cams = [GradCAM(twin(), layer=halves, batch_size=3)(X, k).values for k in range(3)]

    def work(k):
        own = k % 3
        values = Saliency(twin(), batch_size=3, absolute=False, reducer=None)(X, own).values
        return own, values, GradCAM(twin(), layer=halves, batch_size=3)(X, own).values

    for own, values, cam in in_threads(work):
        assert_same(values, native_gradient(twin(), X, own)[1])
        assert_same(cam, cams[own])


def test_eight_threads_with_large_images():
    # Copies of large arrays are the work of threads that the calls of the module block.
    module = seeded(nn.Sequential(nn.Conv2d(3, 2, 3, stride=4), nn.Flatten(), nn.Linear(2048, 3)))
    x = np.random.default_rng(0).normal(size=(8, 3, 128, 128)).astype("float32")
    explainers = [Saliency(module, absolute=False, reducer=None, progress=False) for _ in range(8)]

    def work(k):
        return [explainers[k](x, k % 3).values for _ in range(3)]

    expected = [native_gradient(module, x, k)[1] for k in range(3)]
    for k, found in enumerate(in_threads(work)):
        for values in found:
            assert_same(values, expected[k % 3])


# --- nothing is touched -------------------------------------------------------------------------


def traces(module):
    """Weights, gradients, modes and hooks of a module."""
    state = [(name, values.clone()) for name, values in module.state_dict().items()]
    parts = [
        (m.training, len(m._forward_hooks), len(m._forward_pre_hooks)) for m in module.modules()
    ]
    grads = [(p.grad is None, p.requires_grad) for p in module.parameters()]
    return state, (parts, grads)


def assert_untouched(module, before):
    now = traces(module)
    assert now[1] == before[1]
    for (name, new), (same, old) in zip(now[0], before[0], strict=True):
        assert name == same
        assert torch.equal(new, old)


def noted():
    """A module with batch statistics, dropout, work in place and a frozen layer."""
    module = nn.Sequential(
        *(nn.ReLU(inplace=True), nn.Linear(4, 6), nn.BatchNorm1d(6)),
        *(nn.Dropout(0.5), nn.ReLU(inplace=True), nn.Linear(6, 3)),
    )
    module[1].requires_grad_(False)
    return seeded(module)


def torch_state():
    return torch.is_grad_enabled(), torch.is_inference_mode_enabled(), torch.get_default_dtype()


@pytest.mark.parametrize("name", METHODS)
def test_module_inputs_and_configuration_are_untouched(name):
    module, x = noted(), TABLE.copy()
    before, config = traces(module), (framework_state(), torch_state())
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first, second = (BY_NAME[name].build(module)(x, TARGETS).values for _ in range(2))
    assert torch.equal(torch.rand(3), expected)
    assert np.array_equal(first, second)
    assert np.array_equal(x, TABLE)
    assert (framework_state(), torch_state()) == config
    assert_untouched(module, before)


def test_gradients_that_the_user_collected_stay():
    module = dense()
    module(torch.tensor(TABLE)).sum().backward()
    before = [parameter.grad.clone() for parameter in module.parameters()]
    Saliency(module)(TABLE, TARGETS)
    for parameter, grad in zip(module.parameters(), before, strict=True):
        assert torch.equal(parameter.grad, grad)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode], ids=lambda m: m.__name__)
def test_where_gradients_are_switched_off(mode):
    module = dense()
    with mode():
        values = explained(module)
    assert_same(values, native_gradient(module, TABLE, 1)[1])


class Failing(nn.Module):
    """Fails on rows that are large."""

    def __init__(self):
        super().__init__()
        self.inner = dense()
        self.eval()

    def forward(self, x):
        if x.abs().max() > 1e3:
            raise ArithmeticError("rows larger than a thousand")
        return self.inner(x)


@pytest.mark.parametrize("method", [Saliency, Occlusion])
def test_exception_inside_the_module_is_told_and_leaves_all_as_it_was(method):
    module = Failing()
    expected = method(module)(TABLE, TARGETS).values
    before, config = traces(module), (framework_state(), torch_state())
    with pytest.raises(Exception, match="rows larger than a thousand"):
        method(module)(TABLE * 1e6, TARGETS)
    assert_untouched(module, before)
    assert (framework_state(), torch_state()) == config
    assert np.array_equal(method(module)(TABLE, TARGETS).values, expected)


def test_exception_of_an_operator_leaves_all_as_it_was():
    module = dense()
    before = traces(module)

    def operator(model, inputs, targets):
        model(inputs)
        raise ArithmeticError("of the operator")

    with pytest.raises(ArithmeticError, match="of the operator"):
        Saliency(module, operator=operator)(TABLE)
    assert_untouched(module, before)


# --- nothing is kept ----------------------------------------------------------------------------


def test_the_cache_keeps_no_module_alive():
    module = copy.deepcopy(twin())
    halves = module[:5], module[5:]
    kept = weakref.ref(module), weakref.ref(module[0]), weakref.ref(halves[0])
    weight = weakref.ref(module[0].weight)
    for explainer in (
        *(Saliency(module), SmoothGrad(module, n_samples=4), Occlusion(module, patch_size=4)),
        *(GradCAM(module, layer=halves), GradCAMPlusPlus(module, layer=halves)),
    ):
        explainer(X, TARGETS)
    selected = wrap(module, select=lambda output: output)
    Saliency(selected)(X, TARGETS)
    del module, halves, explainer, selected
    gc.collect()
    assert [reference() for reference in (*kept, weight)] == [None] * 4


def test_graphs_of_a_step_do_not_outlive_it():
    made = []

    def forward(m, x):
        output = m.out(x)
        made.append(weakref.ref(output))
        return output

    module = Module(forward, out=seeded(nn.Linear(4, 3)))
    Saliency(module)(TABLE, TARGETS)
    Saliency(module).explain_each(TABLE, "all")
    gc.collect()
    assert made
    assert not any(reference() is not None for reference in made)


def test_passes_whose_gradient_is_never_asked_for_do_not_pile_up():
    made = []

    def forward(m, x):
        output = m.out(x)
        made.append(weakref.ref(output))
        return output

    def operator(model, inputs, targets):
        return keras.ops.stop_gradient(model(inputs))[:, 0] + keras.ops.sum(inputs, axis=1)

    module = Module(forward, out=seeded(nn.Linear(4, 3)))
    for _ in range(12):
        values = Saliency(module, operator=operator)(TABLE).values
    assert_same(values, np.ones((5, 4)))
    gc.collect()
    assert sum(reference() is not None for reference in made) <= 8


def test_explainers_are_pickled():
    explainer = Saliency(TorchWrapper(dense(), class_names=["a", "b", "c"]), absolute=False)
    copied = pickle.loads(pickle.dumps(explainer))
    assert_same(copied(TABLE, "b").values, explainer(TABLE, 1).values)
