"""What DeepLIFT and DeepSHAP share: values that must not change, rounding, and what is refused."""

from types import SimpleNamespace

import keras
import numpy as np
import pytest
from keras import layers, ops

import oracles
import tiny_models
from cases import TARGETS
from oracles import assert_same
from tiny_models import BACKEND
from xai_core import propagation
from xai_core.attributions import (
    DeepLIFT,
    DeepSHAP,
    FullGrad,
    GuidedBackprop,
    IntegratedGradients,
    differences,
)

TABLE = oracles.inputs("table")
TORCH = pytest.mark.skipif(BACKEND != "torch", reason="torch modules")
ANY_WARNING = pytest.mark.filterwarnings("ignore::xai_core.ExplanationWarning")


# --- rules that change what the model computes --------------------------------------------------


@TORCH
@pytest.mark.parametrize("rounding", [None, "floor", "trunc"])
def test_division_is_the_one_of_the_module(rounding):
    import torch

    made = tiny_models.torch_closed_form(
        lambda m, x: torch.div(x[:, :1], x[:, 1:], rounding_mode=rounding)
    )
    x = np.array([[7.0, 2.0], [-5.0, 2.0]], "float32")
    explanation = DeepLIFT(made, operator="regression", baseline=1.0)(x, 0)
    cut = {None: np.asarray, "floor": np.floor, "trunc": np.trunc}[rounding]
    np.testing.assert_allclose(explanation.scores, cut([3.5, -2.5]), rtol=1e-6)
    np.testing.assert_allclose(explanation.values.sum(1), explanation.scores - 1, rtol=1e-5)


def doubled(function, inputs, baselines, baseline_output):
    return 2 * propagation.rescale(function, inputs, baselines, baseline_output)


def undefined(function, inputs, baselines, baseline_output):
    return propagation.rescale(function, inputs, baselines, baseline_output) * float("nan")


def composed(function, inputs, baselines, baseline_output):
    """What is equal but for rounding."""
    return 3 * (propagation.rescale(function, inputs, baselines, baseline_output) / 3)


@pytest.mark.parametrize("checked", [True, False])
@pytest.mark.parametrize("rule", [doubled, undefined])
def test_registered_rule_that_changes_values_is_refused(rule, checked):
    model = tiny_models.model("table", "rules")
    expected = DeepLIFT(model)(TABLE, TARGETS).values
    explainer = DeepLIFT(model, check_completeness=checked)
    propagation.register_rule("tanh", rule)
    try:
        with pytest.raises(ValueError, match=r"`rule` must return .*tanh in 'hidden'"):
            explainer(TABLE, TARGETS)
        with pytest.raises(ValueError, match=r"`rule` must return .*tanh in 'hidden'"):
            DeepSHAP(model, background=TABLE[:2], layer="logits")(TABLE, TARGETS)
        propagation.register_rule("tanh", composed)
        assert_same(explainer(TABLE, TARGETS).values, expected, 1e-4)
    finally:
        propagation.unregister_rule("tanh")


# --- rounding -----------------------------------------------------------------------------------


def complete(precision, gap, difference=1.0, base=0.0, size=1.0):
    model = SimpleNamespace(precision=precision, unseen="operations")
    rows = (np.array([[float(one)]]) for one in (base + difference, base, gap, size))
    differences.check_complete(model, *rows)


@pytest.mark.parametrize(
    ("precision", "fields", "limit"),
    [
        ("float32", {}, 0.01),
        ("float64", {}, 0.01),
        # Of a small difference 1 % of the scores counts instead.
        ("float32", {"difference": 1e-6, "base": 1.0}, 1e-4),
        ("float16", {}, 16 / 1024),
        ("bfloat16", {}, 16 / 128),
        ("bfloat16", {"size": 4.0}, 4 * 16 / 128),
        ("bfloat16", {"difference": 0.0, "base": -3.0}, 3 * 16 / 128),
        # Attributions that cancel are no excuse in float32.
        ("float32", {"size": 100.0}, 0.01),
    ],
)
def test_limit_follows_the_precision(precision, fields, limit):
    complete(precision, 0.99 * limit, **fields)
    with pytest.raises(ValueError, match="operations that are seen"):
        complete(precision, -1.02 * limit, **fields)


def typed_images(hidden=None):
    """A network of images whose layers compute in bfloat16, but for the last."""
    kind = {"dtype": "mixed_bfloat16"}
    inside = keras.Input((8, 6, 2))
    x = layers.Conv2D(4, 3, activation="relu", **kind)(inside)
    x = layers.BatchNormalization(**kind)(x)
    x = layers.MaxPooling2D(2, **kind)(x)
    x = layers.SeparableConv2D(6, 2, activation="tanh", **kind)(x)
    x = x if hidden is None else hidden(x)
    made = keras.Model(inside, layers.Dense(3)(layers.Flatten(**kind)(x)))
    tiny_models.randomize(made)
    for layer in made.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.set_weights([np.abs(w) + 0.5 for w in layer.get_weights()])
    return made


PHOTOS = np.random.default_rng(7).normal(size=(5, 8, 6, 2)).astype("float32")


@ANY_WARNING
def test_rounding_of_bfloat16_is_no_gap():
    model = typed_images()
    found = [
        FullGrad(model)(PHOTOS, TARGETS),
        DeepLIFT(model)(PHOTOS, TARGETS),
        DeepLIFT(model, baseline=PHOTOS[0] + 0.05)(PHOTOS, TARGETS),
    ]
    # More than what float32 is allowed, or this test shows nothing.
    wide = [np.abs(one.completeness_gap) > 0.01 * np.abs(one.scores) for one in found]
    assert np.any(wide)
    assert all(np.isfinite(one.values).all() for one in found)


class Cubed(layers.Layer):
    """Multiplies by an operator of Python, which Keras does not see."""

    def call(self, x):
        return x * x * x


def test_hidden_operation_is_found_in_bfloat16_too():
    model = typed_images(Cubed(dtype="mixed_bfloat16"))
    with pytest.raises(ValueError, match=r"operations that are seen.*keras\.ops"):
        DeepLIFT(model, baseline=1.0)(PHOTOS, TARGETS)


@TORCH
@ANY_WARNING
@pytest.mark.parametrize("name", ["bfloat16", "float16"])
def test_modules_of_other_types(name):
    import torch

    made = tiny_models.torch_twin("image", rectified=True).to(getattr(torch, name))
    x = tiny_models.KINDS["torch_image"].inputs(8)
    for explainer in (DeepLIFT(made), DeepLIFT(made, baseline=0.7), FullGrad(made)):
        for target in range(3):
            assert np.isfinite(explainer(x, target).values).all()


@TORCH
def test_what_a_module_may_hide_is_told():
    import torch
    from torch import nn

    class Cube(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x**3

        @staticmethod
        def backward(ctx, upstream):
            return 3 * ctx.saved_tensors[0] ** 2 * upstream

    made = tiny_models.torch_closed_form(lambda m, x: m.out(Cube.apply(x)), out=nn.Linear(4, 3))
    with pytest.raises(ValueError, match="functions with a gradient of their own") as error:
        DeepLIFT(made)(TABLE, TARGETS)
    assert "keras" not in str(error.value)


# --- operations that keep their tensors to themselves -------------------------------------------

HIDING = {
    "ops.cond": lambda h: ops.cond(ops.sum(h) > -99.0, lambda: ops.tanh(h), lambda: h),
    "ops.map": lambda h: ops.map(ops.tanh, h),
    "ops.scan": lambda h: ops.scan(lambda c, _: (ops.tanh(c), c), h, length=2)[0],
    "ops.fori_loop": lambda h: ops.fori_loop(0, 2, lambda _, c: ops.tanh(c), h),
    "ops.while_loop": lambda h: ops.while_loop(
        lambda k, _: k < 2, lambda k, c: (k + 1, ops.tanh(c)), (0, h)
    )[1],
    "ops.vectorized_map": lambda h: ops.vectorized_map(ops.tanh, h),
}
WORK = {
    "torch": set(HIDING),
    "tensorflow": set(),
    "jax": set(HIDING) - {"ops.cond", "ops.while_loop"},
}[BACKEND]


def with_inside(function):
    first, last = layers.Dense(5, name="first"), layers.Dense(3)
    made = tiny_models.Formula(lambda x: last(function(first(x))), [first, last])
    made(TABLE)
    tiny_models.randomize(made)
    return made


@pytest.mark.parametrize("construct", HIDING)
def test_branches_and_loops_are_named_or_complete(construct):
    explainer = DeepLIFT(with_inside(HIDING[construct]), baseline=0.5)
    if construct in WORK:
        explanation = explainer(TABLE, TARGETS)
        np.testing.assert_allclose(explanation.completeness_gap, 0, atol=1e-5)
        return
    with pytest.raises(ValueError, match=rf"tanh, inside of {construct}, ") as error:
        explainer(TABLE, TARGETS)
    assert "keras.ops.where" in str(error.value)


def test_linear_branches_are_no_hindrance():
    def chosen(h):
        return ops.cond(ops.sum(h) > -99.0, lambda: 2.0 * h, lambda: h)

    explanation = DeepLIFT(with_inside(lambda h: ops.tanh(chosen(h))))(TABLE, TARGETS)
    np.testing.assert_allclose(explanation.completeness_gap, 0, atol=1e-5)


@pytest.mark.skipif(BACKEND == "tensorflow", reason="Keras cannot trace such models there")
def test_rematerialised_layers_are_explained():
    plain = tiny_models.network("table", inner="relu")
    with keras.RematScope(mode="full"):
        again = tiny_models.network("table", inner="relu")
    for explainer in (DeepLIFT(plain), GuidedBackprop(plain)):
        expected = explainer(TABLE, TARGETS).values
        assert_same(explainer.with_model(again)(TABLE, TARGETS).values, expected)


@pytest.mark.skipif(BACKEND == "tensorflow", reason="Keras cannot trace such models there")
def test_rematerialised_function_is_refused():
    model = with_inside(keras.remat(lambda h: ops.tanh(h)))
    with pytest.raises(ValueError, match="remat"):
        DeepLIFT(model)(TABLE, TARGETS)


# --- baselines without a score ------------------------------------------------------------------


def masked():
    """The mean over tokens that are not 0, which is NaN where all are."""
    inside = keras.Input((5,), dtype="int32")
    mean = layers.GlobalAveragePooling1D()(layers.Embedding(10, 4, mask_zero=True)(inside))
    made = keras.Model(inside, layers.Dense(2)(layers.Dense(4, activation="relu")(mean)))
    tiny_models.randomize(made)
    return made


@pytest.mark.parametrize(
    ("cls", "fields"),
    [
        (IntegratedGradients, {"baseline": 0, "steps": 3}),
        (DeepLIFT, {"baseline": 0}),
        (DeepLIFT, {"baseline": [1, 0], "check_completeness": False}),
        (DeepSHAP, {"background": np.zeros((2, 5), "int32")}),
    ],
)
def test_baseline_whose_score_is_no_number_is_named(cls, fields):
    tokens = np.array([[1, 2, 3, 0, 0], [4, 5, 6, 7, 8]], "int32")
    model = masked()
    assert np.isnan(ops.convert_to_numpy(model(0 * tokens))).all()
    for targets in (0, None):
        with pytest.raises(ValueError, match="finite scores of the baseline"):
            cls(model, **fields)(tokens, targets)
