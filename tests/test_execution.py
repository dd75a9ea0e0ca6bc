"""Compile once per model and step, never stale, never keeping the model alive, from any thread."""

import functools
import gc
import threading
import warnings
import weakref
from concurrent.futures import ThreadPoolExecutor

import keras
import numpy as np
import pytest
from keras import ops

from xai_core import _backend, clear_cache
from xai_core.attributions import GradCAM, IntegratedGradients, RandomMap, Saliency

TRACES = []


class Counted(keras.layers.Layer):
    """Passes its input on, and counts how often Python runs it: once per trace."""

    def call(self, x):
        TRACES.append(tuple(x.shape))
        return x * 1.0


def network(activation="tanh", width=6):
    """A small convolutional network with seeded weights, on (N, 8, 6, 2)."""
    model = keras.Sequential(
        [
            keras.Input((8, 6, 2)),
            Counted(),
            keras.layers.Conv2D(4, 3, activation=activation, name="features"),
            keras.layers.LeakyReLU(negative_slope=0.1, name="leaky"),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(width, activation="tanh", name="hidden"),
            keras.layers.Dense(3, name="scores"),
        ]
    )
    numbers = np.random.default_rng(0)
    model.set_weights([0.3 * numbers.normal(size=w.shape) for w in model.get_weights()])
    return model


def images(rows=5):
    return np.random.default_rng(1).normal(size=(rows, 8, 6, 2)).astype("float32")


@pytest.fixture(scope="module")
def traced():
    """A model whose steps are compiled, with the number of traces that this took."""
    model = network()
    with warnings.catch_warnings(action="ignore"):
        IntegratedGradients(model, steps=5, batch_size=8)(images(), 0)
    Saliency(model, batch_size=4)(images(8), 0)
    GradCAM(model, batch_size=4)(images(8), 0)
    return model


@pytest.mark.skipif(_backend.EAGER, reason="nothing is compiled on this backend")
@pytest.mark.parametrize(
    "again",
    [
        lambda model: Saliency(model, batch_size=4)(images(8), 0),
        lambda model: Saliency(model, batch_size=4)(images(8), [0, 1, 2, 0, 1, 2, 0, 1]),
        lambda model: Saliency(model, batch_size=4)(images(7), 2),
        lambda model: GradCAM(model, batch_size=4)(images(6), 1),
        lambda model: IntegratedGradients(model, steps=5, batch_size=8)(images(), 1),
        lambda model: IntegratedGradients(model, steps=9, batch_size=8)(images(), 0),
        lambda model: IntegratedGradients(model, steps=5, batch_size=8, baseline=2.0)(images(), 0),
        lambda model: IntegratedGradients(model, steps=5, batch_size=8, baseline="mean")(
            images(), 0
        ),
        lambda model: IntegratedGradients(model, steps=5, rule="gauss_legendre", batch_size=8)(
            images(), 0
        ),
    ],
    ids=[
        "second explainer",
        "another target",
        "ragged last batch",
        "ragged last batch of a CAM",
        "target of a path",
        "steps",
        "baseline",
        "named baseline",
        "rule",
    ],
)
@pytest.mark.filterwarnings("ignore:The attributions .* miss completeness")
def test_nothing_is_compiled_again(traced, again):
    before = len(TRACES)
    again(traced)
    assert len(TRACES) == before


@pytest.mark.skipif(_backend.EAGER, reason="nothing is compiled on this backend")
def test_another_seed_compiles_nothing(traced):
    RandomMap(traced, seed=0)(images(), 0)
    before = len(TRACES)
    RandomMap(traced, seed=5)(images(), 0)
    assert len(TRACES) == before


@pytest.mark.skipif(_backend.EAGER, reason="nothing is compiled on this backend")
def test_clearing_the_cache_compiles_again(traced):
    before = len(TRACES)
    clear_cache()
    Saliency(traced, batch_size=4)(images(8), 0)
    assert len(TRACES) > before


def finite_difference(model, element, step=1e-2):
    """Slope of score 0 of the first image along one element, through the model itself."""
    shift = np.zeros((1, 8, 6, 2), "float32")
    shift[(0, *element)] = step
    both = np.concatenate([images(1) + shift, images(1) - shift])
    high, low = ops.convert_to_numpy(model(both, training=False))[:, 0]
    return (high - low) / (2 * step)


class Scaled(keras.Model):
    """A subclassed model with a plain number that its output depends on."""

    def __init__(self):
        super().__init__()
        self.inner = network()
        self.scale = 1.0

    def call(self, x):
        return self.inner(x) * self.scale


def changed_activation(model):
    model.get_layer("features").activation = keras.activations.linear


def changed_slope(model):
    model.get_layer("leaky").negative_slope = 0.9


def set_weights(model):
    model.set_weights([w * 1.5 for w in model.get_weights()])


def assigned(model):
    model.get_layer("hidden").kernel.assign(model.get_layer("hidden").kernel * -2.0)


def low_rank(model):
    layer = model.get_layer("hidden")
    layer.enable_lora(2)
    layer.lora_kernel_b.assign(np.ones(layer.lora_kernel_b.shape))


def scale(model):
    model.scale = 3.0


CHANGES = [changed_activation, changed_slope, set_weights, assigned, low_rank]


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_after_a_change_the_map_is_the_new_models(change):
    model = network()
    explainer = Saliency(model, reducer=None, absolute=False)
    old = explainer(images(1), 0).values
    change(model)
    new = explainer(images(1), 0).values
    assert not np.allclose(old, new)
    for element in [(3, 3, 0), (5, 2, 1)]:
        expected = finite_difference(model, element)
        np.testing.assert_allclose(new[(0, *element)], expected, rtol=0.05, atol=2e-3)


def test_after_a_scalar_attribute_changes_the_map_is_the_new_models():
    model = Scaled()
    model(images(1))
    explainer = Saliency(model)
    old = explainer(images(1), 0).values
    scale(model)
    np.testing.assert_allclose(explainer(images(1), 0).values, 3 * old, rtol=1e-5)


@pytest.mark.filterwarnings("ignore:Layer .* does not have a `quantize` method")
def test_after_quantization_the_scores_are_the_new_models():
    model = network()
    explainer = Saliency(model)
    explainer(images(2), 0)
    model.quantize("int8")
    quantized = ops.convert_to_numpy(model(images(2), training=False))[:, 0]
    np.testing.assert_allclose(explainer(images(2), 0).scores, quantized, rtol=1e-4, atol=1e-6)


def gone(make):
    """Whether a model is collected once the only reference to it is deleted."""
    model, explain = make()
    explain()
    reference = weakref.ref(model)
    del model, explain
    gc.collect()
    return reference() is None


def plain_case():
    model = network()
    return model, lambda: [E(model)(images(2), 0) for E in (Saliency, GradCAM)]


def closing_operator_case():
    model = network()

    def operator(_, inputs, targets):
        return ops.sum(model(inputs), axis=-1)

    return model, lambda: Saliency(model, operator=operator)(images(2))


class OwnActivation(keras.Model):
    """A model whose layer has one of its bound methods as activation."""

    def __init__(self):
        super().__init__()
        self.dense = keras.layers.Dense(3)
        self.dense.activation = self.squared
        self.flatten = keras.layers.Flatten()

    def squared(self, x):
        return x * x

    def call(self, x):
        return self.dense(self.flatten(x))


def bound_activation_case():
    model = OwnActivation()
    model(images(1))
    return model, lambda: Saliency(model)(images(2), 0)


@pytest.mark.parametrize("case", [plain_case, closing_operator_case, bound_activation_case])
def test_the_cache_keeps_no_model_alive(case):
    assert gone(case)


def in_threads(explain, count=8):
    """The results of the same work from several threads at once."""
    start = threading.Barrier(count)

    def work(_):
        start.wait()
        return explain()

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(work, range(count)))


def native_twin():
    import torch

    torch_model = torch.nn.Sequential(
        torch.nn.Conv2d(2, 4, 3),
        torch.nn.Tanh(),
        torch.nn.AdaptiveAvgPool2d(1),
        torch.nn.Flatten(),
        torch.nn.Linear(4, 3),
    ).eval()
    return torch_model, images().transpose(0, 3, 1, 2)


MODELS = {"keras": lambda: (network(), images())}
if _backend.EAGER:
    MODELS["torch module"] = native_twin


@pytest.mark.parametrize("kind", MODELS)
def test_eight_threads_give_the_single_thread_numbers(kind):
    model, x = MODELS[kind]()

    def explain():
        return [E(model, batch_size=3)(x, 1).values for E in (Saliency, GradCAM)]

    threaded = in_threads(explain)
    single = explain()
    for result in threaded:
        for found, expected in zip(result, single, strict=True):
            np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-7)


@functools.cache
def many():
    return network()


def test_at_most_32_steps_are_kept():
    from xai_core import _execution

    model = many()
    explainers = [
        Saliency(model, operator=lambda m, x, t, k=k: m(x)[:, 0] * k) for k in range(1, 20)
    ]
    for explainer in explainers:
        explainer(images(1))
    assert len(_execution._MEMORIES[id(model)].parts) <= _execution.STEPS_PER_MODEL


if _backend.EAGER:

    def test_a_new_parameter_of_a_module_is_read_at_once():
        import torch

        module, x = native_twin()
        explainer = Saliency(module)
        old = explainer(x, 0).values
        module[-1].weight = torch.nn.Parameter(module[-1].weight * 3)
        np.testing.assert_allclose(explainer(x, 0).values, 3 * old, rtol=1e-4)
