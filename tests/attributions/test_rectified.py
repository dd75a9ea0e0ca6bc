"""What guided methods have in common: what they refuse, warn of and leave as it was."""

import warnings

import keras
import numpy as np
import pytest
from keras import layers, ops
from keras.src import backend

import rectifiers
import tiny_models
import xai_core as xai
from model_state import outputs, traces_left, weights
from oracles import assert_same
from rectifiers import X
from tiny_models import BACKEND
from xai_core.attributions import DeconvNet, GuidedBackprop, Saliency

METHODS = pytest.mark.parametrize("method", [GuidedBackprop, DeconvNet])


def with_activations(*names, last=None):
    hidden = [layers.Dense(3, activation=name) for name in names]
    made = keras.Sequential([keras.Input((2,)), *hidden, layers.Dense(2, activation=last)])
    tiny_models.randomize(made)
    return made


# --- refused ------------------------------------------------------------------------------------


@METHODS
def test_model_without_rectifier_is_refused(method):
    with pytest.raises(ValueError, match="rectifier") as error:
        method(with_activations("tanh", "gelu"))(X, 0)
    assert "tanh, gelu" in str(error.value)
    assert "Saliency and IntegratedGradients need none" in str(error.value)


@METHODS
def test_clip_that_is_no_rectifier_is_not_taken_for_one(method):
    with pytest.raises(ValueError, match="rectifier"):
        method(rectifiers.net(lambda: lambda h: ops.clip(h, -1, 1)))(X, 0)
    with pytest.raises(ValueError, match="rectifier"):
        method(rectifiers.net(lambda: lambda h: ops.maximum(h, 1)))(X, 0)


@METHODS
def test_models_that_hide_their_rectifiers_are_refused(method):
    flat = rectifiers.net(lambda: ops.relu)
    hidden = [lambda x: outputs(flat, x)]
    if BACKEND == "tensorflow":
        hidden.append(xai.wrappers.TensorFlowFunction(lambda x: flat(x)))
    if BACKEND != "torch" and tiny_models.TORCH:
        hidden.append(tiny_models.torch_twin("table"))
    for model in hidden:
        with pytest.raises((TypeError, ValueError), match="`model`"):
            method(model)


@pytest.mark.skipif(BACKEND != "jax", reason="functions of JAX")
@METHODS
def test_rectifier_written_with_where_is_refused_alone_and_left_as_it_is_beside_others(method):
    import jax
    import jax.numpy as jnp

    with pytest.raises(ValueError, match="rectifier"):
        method(rectifiers.jax_where())(X, 0)
    both = rectifiers.jax_net(lambda h: jnp.where(h > 0, jax.nn.relu(h), 0))
    with pytest.warns(xai.ExplanationWarning, match="where"):
        found = GuidedBackprop(both)(X, 0).values
    assert_same(found, rectifiers.rectified("GuidedBackprop", "plain")[0])
    beside = rectifiers.jax_net(lambda h: jnp.where(jax.nn.relu(h) > 0.1, jax.nn.relu(h), 0.1))
    inside = rectifiers.jax_net(jax.jit(lambda h: jnp.where(h > 0, jax.nn.relu(h), -1.0)))
    for model in (beside, inside):
        with pytest.warns(xai.ExplanationWarning, match="where"):
            method(model)(X, 0)


@pytest.mark.skipif(BACKEND != "jax", reason="functions of JAX")
@METHODS
def test_parameters_may_hold_more_than_arrays(method):
    import jax

    from xai_core.wrappers import JaxFunction

    def net(params, x):
        h = params["act"](x @ params["first"])
        return {"scores": h @ params["last"], "name": params["name"], "doubled": 2 * h}

    first, last = (np.float32(one) for one in (rectifiers.W, rectifiers.V))
    params = {"first": first, "last": last, "act": jax.nn.relu, "name": "net", "used": True}
    model = JaxFunction(net, params, select="scores")
    expected = rectifiers.rectified(method.__name__, "plain")[0]
    assert_same(method(model)(X, 0).values, expected)


def with_functions_of_the_framework():
    """A layer whose activation Keras knows nothing of, and its name."""
    if BACKEND == "tensorflow":
        import tensorflow

        return layers.Dense(3, activation=tensorflow.nn.relu, name="own"), "relu"
    if BACKEND == "jax":
        import jax

        return layers.Dense(3, activation=jax.nn.relu, name="own"), "relu"
    import torch

    return layers.TorchModuleWrapper(torch.nn.ReLU(), name="own"), "TorchModuleWrapper"


@METHODS
def test_layers_with_functions_of_the_framework_are_named(method):
    layer, told = with_functions_of_the_framework()
    alone = keras.Sequential([keras.Input((2,)), layers.Dense(2), layer, layers.Dense(2)])
    with pytest.raises(ValueError, match=f"must run a rectifier.*own \\({told}"):
        method(alone)(X, 0)
    after = [layers.Dense(2, activation="relu"), layers.Dense(2)]
    beside = keras.Sequential([keras.Input((2,)), layers.Dense(2), layer, *after])
    with pytest.warns(xai.ExplanationWarning, match=f"out of reach, in own \\({told}"):
        method(beside)(X, 0)


@pytest.mark.skipif(BACKEND != "tensorflow", reason="AutoGraph")
@METHODS
def test_decision_by_autograph_is_refused(method):
    import tensorflow

    class Deciding(keras.Model):
        def __init__(self):
            super().__init__()
            self.first, self.last = layers.Dense(3, activation="relu"), layers.Dense(2)

        @tensorflow.function
        def call(self, x):
            h = self.first(x)
            if tensorflow.reduce_mean(h) > 0:
                h = 2 * h
            return self.last(h)

    model = Deciding()
    model(X)
    Saliency(model)(X, 0)
    with pytest.raises(ValueError, match=r"decide nothing in Python.*keras\.ops\.where"):
        method(model)(X, 0)


@pytest.mark.skipif(BACKEND != "torch", reason="torch modules")
@METHODS
def test_zero_in_a_tensor_makes_a_rectifier(method):
    import torch

    model = rectifiers.torch_net(lambda h: torch.maximum(h, torch.tensor(0.0)))
    expected = rectifiers.rectified(method.__name__, "plain")[0]
    assert_same(method(model)(X, 0).values, expected)


@METHODS
@pytest.mark.parametrize("form", ["nested", "subclassed"])
@pytest.mark.parametrize("name", ["ReLU, capped", "leaky"])
def test_capped_and_leaky_in_other_structures(method, form, name):
    make = {"ReLU, capped": lambda: layers.ReLU(max_value=6.0)}.get(
        name, lambda: layers.LeakyReLU(0.25)
    )
    found = method(rectifiers.net(make, form))(X, 0).values
    assert_same(found, method(rectifiers.net(make))(X, 0).values)


# --- warned of ----------------------------------------------------------------------------------


@METHODS
def test_other_activations_are_named_in_one_warning(method):
    model = with_activations("relu", "gelu", "tanh", last="softmax")
    with pytest.warns(xai.ExplanationWarning, match="gelu, tanh") as caught:
        method(model, batch_size=2)(X, 0)
    assert len(caught) == 1
    assert "softmax" not in str(caught[0].message)
    assert caught[0].filename == __file__


@METHODS
def test_activation_of_the_output_alone_is_silent(method):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        method(with_activations("relu", last="softmax"), output="softmax")(0.01 * X, 0)


def zeros_like_pair(h):
    return ops.maximum(ops.relu(h), ops.zeros_like(h))


@METHODS
def test_larger_of_two_tensors_is_named(method):
    with pytest.warns(xai.ExplanationWarning, match="maximum"):
        method(rectifiers.net(lambda: zeros_like_pair))(X, 0)


def out_of_reach():
    """What hides a rectifier of its framework, and how it is named."""
    if BACKEND == "torch":
        import torch

        class Own(torch.autograd.Function):
            @staticmethod
            def forward(ctx, h):
                ctx.save_for_backward(h)
                return h.clamp(min=0)

            @staticmethod
            def backward(ctx, upstream):
                return upstream * (ctx.saved_tensors[0] > 0)

        net, own = rectifiers.torch_net, Own.apply
        yield "gradient of their own", net(own), net(lambda h: torch.relu(own(h)))
        scripted = torch.jit.script(torch.nn.ReLU())
        yield "torch.jit", net(scripted), net(torch.nn.Sequential(scripted, torch.nn.ReLU()))
    if BACKEND == "tensorflow":
        net, own = rectifiers.net, keras.remat(ops.relu)
        alone, beside = (
            net(lambda: own, "subclassed"),
            net(lambda: lambda h: ops.relu(own(h)), "subclassed"),
        )
        yield "gradient of their own", alone, beside


# TensorFlow and torch deprecate what hides them here.
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@METHODS
def test_rectifiers_out_of_reach_are_named_and_do_not_count(method):
    for words, alone, beside in out_of_reach():
        with pytest.raises(ValueError, match="must run a rectifier") as error:
            method(alone)(X, 0)
        assert words in str(error.value)
        with pytest.warns(xai.ExplanationWarning, match=words):
            method(beside)(X, 0)


@pytest.mark.skipif(BACKEND != "jax", reason="functions of JAX")
@METHODS
def test_hidden_operations_of_functions_are_named(method):
    import jax
    import jax.numpy as jnp

    def act(h):
        return jnp.exp(jnp.maximum(jnp.sin(jax.nn.relu(h)), jnp.zeros_like(h)))

    with pytest.warns(xai.ExplanationWarning, match="sin, maximum, exp"):
        method(rectifiers.jax_net(act))(X, 0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        method(rectifiers.jax_net(lambda h: jax.nn.softmax(jax.nn.relu(h))))(X, 0)


@pytest.mark.skipif(BACKEND != "jax", reason="functions of JAX")
@METHODS
def test_functions_that_only_have_the_name_of_a_rectifier_are_none(method):
    import jax
    import jax.numpy as jnp

    def relu(h):
        return jnp.tanh(h)

    for act in (jax.jit(relu), lambda h: jnp.clip(h, max=0.0), lambda h: jnp.clip(h, -6, 0)):
        with pytest.raises(ValueError, match="rectifier"):
            method(rectifiers.jax_net(act))(X, 0)


# --- left as it was -----------------------------------------------------------------------------


def functions():
    """The functions of Keras's backend that are exchanged while a model runs."""
    return (
        backend.nn.relu,
        backend.nn.relu6,
        backend.numpy.maximum,
        backend.numpy.clip,
        backend.nn.tanh,
        backend.numpy.multiply,
        vars(layers.PReLU)["call"],
        layers.ReLU.call,
        keras.src.activations.activations.ReLU.static_call,
    )


@METHODS
@pytest.mark.parametrize("fails", [False, True], ids=["returns", "raises"])
def test_model_and_backend_are_as_before(method, fails):
    def broken(model, inputs, targets):
        model(inputs)
        raise RuntimeError

    model = rectifiers.net(layers.PReLU)
    before = weights(model), outputs(model, X), traces_left(model), functions()
    gradients = Saliency(model, absolute=False)(X, 0).values
    if fails:
        with pytest.raises(RuntimeError):
            method(model, operator=broken)(X, 0)
    else:
        method(model)(X, 0)
    assert all(a is b for a, b in zip(functions(), before[3], strict=True))
    assert traces_left(model) == before[2]
    assert outputs(model, X).tobytes() == before[1].tobytes()
    assert [w.tobytes() for w in weights(model)] == [w.tobytes() for w in before[0]]
    assert np.array_equal(Saliency(model, absolute=False)(X, 0).values, gradients)


@pytest.mark.skipif(BACKEND != "torch", reason="torch modules")
@METHODS
@pytest.mark.parametrize("name", ["nn.ReLU in place", "x.relu_", "nn.Hardtanh"])
def test_module_is_as_before(method, name):
    import torch

    model = rectifiers.torch_net(rectifiers.TORCH[name][0])
    before = weights(model), outputs(model, X), traces_left(model)
    method(model)(X, 0)
    assert outputs(model, X).tobytes() == before[1].tobytes()
    assert [w.tobytes() for w in weights(model)] == [w.tobytes() for w in before[0]]
    assert traces_left(model) == before[2]
    if isinstance(rectifiers.TORCH[name][0], torch.nn.ReLU):
        assert model.act.inplace


@METHODS
def test_a_gradient_between_two_calls_is_not_changed(method):
    model = rectifiers.net(lambda: ops.relu)

    def maps(explainer):
        return [one.values.tolist() for one in explainer.explain_each(X, [0, 1])]

    first = maps(Saliency(model, absolute=False))
    assert maps(method(model)) != first
    assert maps(Saliency(model, absolute=False)) == first


@METHODS
def test_inside_noise(method):
    model = rectifiers.net(lambda: ops.relu)
    smooth = xai.attributions.SmoothGrad(
        method(model), noise=1e-4, noise_scale="absolute", n_samples=3
    )
    assert_same(smooth(X, 1).values, method(model)(X, 1).values)


# --- functions that are compiled inside the model -----------------------------------------------

POINT = np.array([[2, 1]] * 3, "float32")
"""Where v = (-1, 1) has the gradient (-1, 1), the guided one (0, 0), that of a DeconvNet (-1, 1).

The ReLU in front then passes (0, 1) of the last.
"""
AT_POINT = {"Saliency": [-1, 1], "GuidedBackprop": [0, 0], "DeconvNet": [0, 1]}


def own_gradient(model):
    """The user's gradient of the second output."""
    if BACKEND == "jax":
        import jax

        return np.asarray(jax.grad(lambda x: model(x)[:, 1].sum())(POINT))
    if BACKEND == "tensorflow":
        import tensorflow

        x = tensorflow.constant(POINT)
        with tensorflow.GradientTape() as tape:
            tape.watch(x)
            score = model(x)[:, 1]
        return tape.gradient(score, x).numpy()
    import torch

    x = torch.tensor(POINT, requires_grad=True)
    return torch.autograd.grad(model(x)[:, 1].sum(), x)[0].numpy()


ORDERS = [
    ["GuidedBackprop", "Saliency", "DeconvNet", "GuidedBackprop"],
    ["Saliency", "DeconvNet", "GuidedBackprop", "Saliency"],
    ["DeconvNet", "GuidedBackprop", "Saliency"],
]


def helpers():
    yield "compiled", lambda: rectifiers.compiled(lambda h: ops.relu(h))
    if BACKEND == "jax":
        import jax

        yield "checkpoint", lambda: jax.checkpoint(lambda h: ops.relu(h))
        yield "compiled twice", lambda: jax.jit(jax.jit(lambda h: ops.relu(h)))


# Torch looks at every attribute of what it compiles, deprecated ones too.
QUIET = pytest.mark.filterwarnings("ignore")


@QUIET
@pytest.mark.parametrize("order", ORDERS, ids=["-".join(order) for order in ORDERS])
@pytest.mark.parametrize("helper", [pytest.param(make, id=name) for name, make in helpers()])
def test_functions_compiled_inside_the_model_keep_their_own_traces(helper, order):
    model = rectifiers.with_helper(helper())
    for name in order:
        explainer = getattr(xai.attributions, name)
        options = {"absolute": False} if name == "Saliency" else {}
        found = explainer(model, **options)(POINT, 1).values
        assert found.tolist() == [AT_POINT[name]] * 3
        assert own_gradient(model).tolist() == [AT_POINT["Saliency"]] * 3


@QUIET
def test_differences_pass_functions_compiled_inside_the_model():
    # From (0, 1) to (2, 1) the pre-activation (-1, 1) becomes (1, -1): slopes 1/2, scores 1 and -1.
    model = rectifiers.with_helper(rectifiers.compiled(lambda h: ops.relu(h)))
    for _ in range(2):
        found = xai.attributions.DeepLIFT(model, baseline=np.array([0, 1], "float32"))(POINT, 1)
        assert_same(found.values, [[-2, 0]] * 3)
        assert own_gradient(model).tolist() == [AT_POINT["Saliency"]] * 3


@pytest.mark.skipif(BACKEND != "tensorflow", reason="functions of TensorFlow")
@METHODS
def test_call_that_is_compiled_shows_its_rectifiers(method):
    import tensorflow

    class Whole(rectifiers.Compiled):
        call = tensorflow.function(rectifiers.Compiled.call)

    model = Whole(ops.relu)
    model(X)
    model.set_weights([rectifiers.W, rectifiers.V])
    assert method(model)(POINT, 1).values.tolist() == [AT_POINT[method.__name__]] * 3
    assert own_gradient(model).tolist() == [AT_POINT["Saliency"]] * 3
