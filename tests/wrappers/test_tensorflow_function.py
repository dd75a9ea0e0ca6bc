"""`TensorFlowFunction`: modules, compiled functions, saved models and their signatures."""

import gc
import weakref

import keras
import numpy as np
import pytest

import oracles
import tiny_models
from cases import BY_NAME, TARGETS
from oracles import assert_same
from tiny_models import BACKEND, KINDS

if BACKEND != "tensorflow":
    reason = f"functions of TensorFlow are explained under tensorflow, not {BACKEND}"
    pytest.skip(reason, allow_module_level=True)

import tensorflow as tf

from xai_core import wrap
from xai_core.attributions import GradCAM, IntegratedGradients, Occlusion, Saliency
from xai_core.metrics import Deletion
from xai_core.wrappers import TensorFlowFunction

X, IMAGES = KINDS["table"].inputs(), KINDS["image"].inputs()
W, V = (np.random.default_rng(0).normal(size=shape) for shape in ((4, 5), (5, 3)))


class Network(tf.Module):
    """A small network with tanh: a number, variables, and a module inside."""

    def __init__(self):
        super().__init__()
        self.w = tf.Variable(W, dtype=tf.float32)
        self.top = Top()
        self.scale = 1.0

    def __call__(self, x):
        self.seen()
        return self.scale * self.top(tf.tanh(x @ self.w))

    def seen(self):
        TRACES.append(1)

    def doubled(self, x):
        return 2.0 * self(x)


class Top(tf.Module):
    def __init__(self):
        super().__init__()
        self.v = tf.Variable(V, dtype=tf.float32)
        self.sign = 1.0

    def __call__(self, hidden):
        return self.sign * (hidden @ self.v)


TRACES = []


def slopes(model, targets=1, x=X):
    return Saliency(model, absolute=False)(x, targets).values


def expected(w=W, v=V, target=1):
    return (1 - np.tanh(X.astype(float) @ w) ** 2) * v[:, target] @ w.T


# --- modules and functions ----------------------------------------------------------------------


def test_a_module_is_wrapped_by_itself():
    network = Network()
    assert isinstance(wrap(network), TensorFlowFunction)
    assert_same(slopes(network), expected())
    assert_same(slopes(TensorFlowFunction(network.doubled)), 2 * expected())
    path = IntegratedGradients(network)(X, TARGETS)
    np.testing.assert_allclose(path.completeness_gap, 0, atol=1e-3)


def test_variables_are_never_stale_and_compile_nothing():
    network = Network()
    slopes(network)
    before = len(TRACES)
    network.w.assign(2 * network.w)
    network.top.v.assign(-network.top.v)
    assert_same(slopes(network), expected(2 * W, -V))
    assert len(TRACES) == before


def test_attributes_and_parts_of_a_module_are_never_stale():
    network = Network()
    assert_same(slopes(network), expected())
    network.scale = 3.0
    assert_same(slopes(network), 3 * expected())
    network.top.sign = -1.0
    assert_same(slopes(network), -3 * expected())
    network.top = Top()
    network.top.v.assign(2 * network.top.v)
    assert_same(slopes(network), 6 * expected())
    network.w = tf.Variable(W / 2, dtype=tf.float32)
    assert_same(slopes(network), 6 * expected(W / 2))
    assert_same(slopes(TensorFlowFunction(network.doubled)), 12 * expected(W / 2))
    network.scale = 1.0
    assert_same(slopes(TensorFlowFunction(network.doubled)), 4 * expected(W / 2))


def test_variables_that_a_function_closes_over_are_never_stale():
    weights = tf.Variable(W @ V, dtype=tf.float32)
    model = TensorFlowFunction(lambda x: tf.square(x) @ weights)
    assert_same(slopes(model), 2 * X * (W @ V)[:, 1])
    weights.assign(3 * weights)
    assert_same(slopes(model), 6 * X * (W @ V)[:, 1])


@pytest.mark.parametrize("signature", [None, [tf.TensorSpec((None, 4), tf.float32)]])
def test_compiled_functions_are_called_as_they_are(signature):
    network = Network()
    compiled = tf.function(lambda x: network(x), input_signature=signature)
    assert isinstance(wrap(compiled), TensorFlowFunction)
    assert_same(slopes(compiled), expected())
    network.w.assign(2 * network.w)
    assert_same(slopes(compiled), expected(2 * W))
    concrete = compiled.get_concrete_function(tf.TensorSpec((None, 4), tf.float32))
    assert_same(slopes(concrete), expected(2 * W))


def test_methods_that_are_compiled():
    class Compiled(Network):
        @tf.function(input_signature=[tf.TensorSpec((None, 4), tf.float32)])
        def __call__(self, x):
            return super().__call__(x)

    network = Compiled()
    assert_same(slopes(network), expected())
    assert_same(slopes(network.__call__), expected())
    network.w.assign(network.w / 2)
    assert_same(slopes(network.__call__), expected(W / 2))


def test_control_flow_of_a_compiled_function():
    @tf.function
    def f(x):
        total = tf.zeros_like(x)
        for k in tf.range(3):
            total += tf.cast(k, tf.float32) * x * x
        if tf.reduce_sum(x) > -1e9:
            total = 2.0 * total
        return total

    assert_same(slopes(f), 12 * X * np.eye(4)[1])


# --- saved models -------------------------------------------------------------------------------


class Two(tf.Module):
    """Takes a series and a table by name, and returns two outputs by name."""

    def __init__(self):
        super().__init__()
        self.w = tf.Variable(W, dtype=tf.float32)

    @tf.function(
        input_signature=[
            tf.TensorSpec((None, 5, 2), tf.float32, name="series"),
            tf.TensorSpec((None, 4), tf.float32, name="table"),
        ]
    )
    def serve(self, series, table):
        total = tf.reduce_sum(tf.square(series), (1, 2))[:, None]
        return {"classes": table @ self.w + total, "other": total}


class Served(Network):
    """A network that can be saved."""

    @tf.function(input_signature=[tf.TensorSpec((None, 4), tf.float32, name="x")])
    def __call__(self, x):
        return super().__call__(x)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Folders of saved models, by kind."""
    folder = tmp_path_factory.mktemp("saved")
    network, two, flat = Served(), Two(), tiny_models.network("image")
    tf.saved_model.save(network, str(folder / "network"), signatures=network.__call__)
    tf.saved_model.save(two, str(folder / "two"), signatures=two.serve)
    flat.export(str(folder / "keras"), verbose=False)
    return folder


def test_saved_models_and_their_signatures(saved):
    loaded = tf.saved_model.load(str(saved / "network"))
    assert isinstance(wrap(loaded), TensorFlowFunction)
    assert_same(slopes(loaded), expected())
    assert_same(slopes(loaded.signatures["serving_default"]), expected())
    loaded.w.assign(2 * loaded.w)
    assert_same(slopes(loaded), expected(2 * W))
    assert_same(slopes(loaded.signatures["serving_default"]), expected(2 * W))


def test_what_keras_exports(saved):
    loaded = tf.saved_model.load(str(saved / "keras"))
    gradient = oracles.gradient(oracles.score("image", TARGETS), IMAGES)
    for model in (loaded, loaded.serve, loaded.signatures["serving_default"]):
        explanation = Saliency(model, absolute=False, reducer=None)(IMAGES, TARGETS)
        assert_same(explanation.values, gradient)
    expected = BY_NAME["Occlusion"].on("image")(IMAGES, TARGETS)
    assert_same(BY_NAME["Occlusion"].build(loaded)(IMAGES, TARGETS).values, expected.values)
    maps = Occlusion(loaded, patch_size=2)(IMAGES, TARGETS)
    metric = Deletion(loaded, steps=7, output="softmax")
    flat = Deletion(tiny_models.model("image", "metrics"), steps=7, output="softmax")
    assert_same(metric(maps, IMAGES).curves, flat(maps, IMAGES).curves)


def test_signature_of_several_inputs_and_outputs(saved):
    loaded = tf.saved_model.load(str(saved / "two"))
    series = np.random.default_rng(1).normal(size=(5, 5, 2)).astype("float32")
    by_name = {"series": series, "table": X}
    with pytest.raises(ValueError, match=r"`select`.*2 outputs.*'classes'"):
        Saliency(loaded)(by_name, 1)
    model = wrap(loaded, select="classes")
    found = Saliency(model, absolute=False)(by_name, 1)
    assert_same(found["series"].values, 2 * series)
    assert_same(found["table"].values, np.tile(W[:, 1], (5, 1)))
    # The order of the inputs is lost when a model is saved.
    for given in ((series, X), (X, series)):
        with pytest.raises(ValueError, match=r"dict of 'series', 'table'.*by name.*tuple"):
            Saliency(model)(given, 1)
    signature = wrap(loaded.signatures["serving_default"], select="other")
    assert_same(Saliency(signature, absolute=False)(by_name, None)["series"].values, 2 * series)


def test_inputs_by_position_where_a_signature_says_so(saved):
    two = Two()
    series = np.random.default_rng(1).normal(size=(5, 5, 2)).astype("float32")
    loaded = tf.saved_model.load(str(saved / "two"))
    for serve in (two.serve, two.serve.get_concrete_function(), loaded.serve):
        model = TensorFlowFunction(serve, select="classes")
        found = Saliency(model, absolute=False)((series, X), 1)
        assert_same(found[0].values, 2 * series)
        assert_same(found[1].values, np.tile(W[:, 1], (5, 1)))


def test_wrong_inputs_of_a_signature_are_refused(saved):
    model = wrap(tf.saved_model.load(str(saved / "two")), select="classes")
    says = "`inputs` must be what the model takes"
    series = np.ones((5, 5, 2), "float32")
    for given in (X, (series,), (series, X, X), {"series": series, "other": X}, {"series": series}):
        with pytest.raises(ValueError, match=says):
            Saliency(model)(given, 1)


def test_a_saved_model_without_its_signature_is_refused(tmp_path):
    class Plain(tf.Module):
        def __init__(self):
            super().__init__()
            self.w = tf.Variable(1.0)

    tf.saved_model.save(Plain(), str(tmp_path))
    with pytest.raises(TypeError, match=r"`source`.*'serving_default'"):
        wrap(tf.saved_model.load(str(tmp_path)))


# --- pairs --------------------------------------------------------------------------------------


class Convolution(tf.Module):
    def __init__(self):
        super().__init__()
        rng = np.random.default_rng(3)
        self.kernel = tf.Variable(rng.normal(size=(3, 3, 2, 4)), dtype=tf.float32)
        self.out = tf.Variable(rng.normal(size=(4, 3)), dtype=tf.float32)
        self.scale = 1.0

    def features(self, x):
        return tf.tanh(tf.nn.conv2d(x, self.kernel, 1, "SAME"))

    def head(self, maps):
        return self.scale * tf.reduce_mean(maps, (1, 2)) @ self.out

    def __call__(self, x):
        return self.head(self.features(x))


def cam_of(module, target):
    kernel, out = (one.numpy().astype(float) for one in (module.kernel, module.out))
    maps = np.tanh(oracles.convolve(IMAGES.astype(float), kernel, 0.0))
    grad = np.broadcast_to(module.scale * out[:, target] / 70, maps.shape)
    return oracles.grad_cam(maps, grad, (7, 10))


def test_methods_of_a_module_are_a_pair_that_is_never_stale():
    module = Convolution()

    def cam(target):
        return GradCAM(module, layer=(module.features, module.head))(IMAGES, target).values

    assert_same(cam(1), cam_of(module, 1))
    module.kernel.assign(-module.kernel)
    module.scale = 2.0
    assert_same(cam(2), cam_of(module, 2))


def test_features_of_several_outputs_give_the_first():
    module = Convolution()
    halves = (
        lambda x: (module.features(x), tf.reduce_sum(x)),
        lambda both: module.head(both[0]) + 0.0 * both[1],
    )
    assert_same(GradCAM(module, layer=halves)(IMAGES, 1).values, cam_of(module, 1))


def test_the_cache_keeps_no_module_alive(saved):
    module, loaded = Convolution(), tf.saved_model.load(str(saved / "network"))
    for explainer in (
        *(Saliency(module), Occlusion(module, patch_size=4)),
        GradCAM(module, layer=(module.features, module.head)),
    ):
        explainer(IMAGES, 1)
    Saliency(loaded)(X, 1)
    references = weakref.ref(module), weakref.ref(module.kernel), weakref.ref(loaded)
    del module, loaded, explainer
    gc.collect()
    assert [reference() for reference in references] == [None] * 3


# --- what is refused ----------------------------------------------------------------------------


def test_inputs_of_another_shape_are_refused():
    for model in (Network(), Served(), tf.function(Network())):
        with pytest.raises(ValueError, match=r"`inputs` must be what the model takes.*\(5, 3\)"):
            slopes(model, x=X[:, :3])


def test_keras_models_and_layers_are_not_functions():
    assert not isinstance(wrap(tiny_models.model("table")), TensorFlowFunction)
    with pytest.raises(TypeError, match=r"`model` must be a keras.Model"):
        wrap(keras.layers.Dense(2))
    with pytest.raises(TypeError, match=r"`model` must be an instance"):
        wrap(Network)
