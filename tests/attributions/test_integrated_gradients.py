"""IntegratedGradients: both rules, every form of baseline, and how it tells that steps lack."""

import warnings

import numpy as np
import pytest

import oracles
import tiny_models
import xai_core as xai
from cases import TARGETS
from oracles import assert_same, differ
from tiny_models import FORMS, KINDS
from xai_core.attributions import IntegratedGradients

SMOOTH = [kind for kind in KINDS.values() if kind.name != "shared"]
RULES = ("trapezoid", "gauss_legendre")
# Few steps on purpose: what the warning says has tests of its own below.
SILENT = pytest.mark.filterwarnings("ignore::xai_core.ExplanationWarning")


def logit(kind, x):
    return oracles.logits(kind.twin, x)[np.arange(len(x)), TARGETS]


# --- closed forms -------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("steps", [2, 3, 50])
@pytest.mark.parametrize("form", FORMS)
def test_linear_model_for_any_number_of_steps(form, steps, rule):
    explainer = IntegratedGradients(tiny_models.linear(form), steps=steps, rule=rule)
    explanation = explainer(np.array([[1.0, 2.0, 4.0]], "float32"))
    np.testing.assert_allclose(explanation.values, [[2, -6, 2]], rtol=1e-6)
    np.testing.assert_allclose(explanation.scores, [-1.3], rtol=1e-6)
    np.testing.assert_allclose(explanation.base_values, [0.7], rtol=1e-6)
    np.testing.assert_allclose(explanation.completeness_gap, [0], atol=2e-6)


@pytest.mark.parametrize("steps", [2, 50])
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("form", FORMS)
def test_quadratic_model_is_complete(form, rule, steps):
    explainer = IntegratedGradients(tiny_models.quadratic(form), steps=steps, rule=rule)
    explanation = explainer(np.array([[1.0, -2.0, 3.0]], "float32"))
    np.testing.assert_allclose(explanation.values, [[1, 8, 4.5]], rtol=1e-6)
    np.testing.assert_allclose(explanation.values.sum(), 13.5, rtol=1e-6)


@pytest.mark.parametrize(
    ("rule", "steps", "expected"),
    [("trapezoid", 50, 1 + 1 / (2 * 49**2)), ("gauss_legendre", 2, 1), ("gauss_legendre", 50, 1)],
)
@pytest.mark.parametrize("form", FORMS)
def test_cubic_model_tells_the_rules_apart(form, rule, steps, expected):
    explainer = IntegratedGradients(tiny_models.cubic(form), steps=steps, rule=rule)
    values = explainer(np.array([[1.0]], "float32")).values
    np.testing.assert_allclose(values, [[expected]], rtol=1e-6)


@pytest.mark.parametrize(
    ("rule", "expected"), [("trapezoid", 2.000416493), ("gauss_legendre", 2.0)]
)
@pytest.mark.parametrize("form", FORMS)
def test_product_model(form, rule, expected):
    explainer = IntegratedGradients(tiny_models.product(form), steps=50, rule=rule)
    values = explainer(np.array([[1.0, 2.0, 3.0]], "float32")).values
    np.testing.assert_allclose(values, [[expected] * 3], rtol=1e-6)


# --- the oracle ---------------------------------------------------------------------------------


@SILENT
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("kind", SMOOTH, ids=lambda kind: kind.name)
def test_equals_the_dense_sum(kind, rule):
    x = oracles.inputs(kind.twin)
    expected = oracles.integrated_gradients(
        oracles.score(kind.twin, TARGETS), x, baseline=0.25, steps=7, rule=rule
    )
    explainer = IntegratedGradients(
        tiny_models.model(kind.name, "IntegratedGradients"),
        steps=7,
        rule=rule,
        baseline=0.25,
        batch_size=5,
    )
    explanation = explainer(kind.inputs(), TARGETS)
    assert_same(explanation.values, kind.layout(oracles.reduce(expected, "sum")))
    start = logit(kind, np.full_like(x, 0.25))
    assert_same(explanation.scores, logit(kind, x))
    assert_same(explanation.base_values, start)
    gap = expected.reshape(5, -1).sum(1) - (logit(kind, x) - start)
    np.testing.assert_allclose(explanation.completeness_gap, gap, atol=3e-6)


def test_fifty_steps_and_baseline_zero_are_the_defaults():
    explainer = IntegratedGradients(tiny_models.model("table", "IntegratedGradients"))
    assert (explainer.steps, explainer.baseline, explainer.reducer) == (50, 0.0, "sum")
    assert explainer.rule in RULES
    x = oracles.inputs("table")
    expected = oracles.integrated_gradients(
        oracles.score("table", TARGETS), x, steps=50, rule=explainer.rule
    )
    assert_same(explainer(x, TARGETS).values, expected)


def test_several_inputs_are_complete_together():
    given = tiny_models.several_input_rows()
    explanations = IntegratedGradients(tiny_models.several_inputs(), rule="gauss_legendre")(
        given, TARGETS
    )
    table, series = explanations["table"], explanations["series"]
    total = table.values.sum(1) + series.values.sum((1, 2))
    np.testing.assert_allclose(total, table.scores - table.base_values, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(table.completeness_gap, series.completeness_gap, atol=1e-7)
    np.testing.assert_allclose(table.completeness_gap, 0, atol=1e-4)


def test_predicted_class_is_that_of_the_input_not_of_the_path():
    x = oracles.inputs("table")
    explainer = IntegratedGradients(
        tiny_models.model("table", "IntegratedGradients"), baseline=-x, steps=8
    )
    explanation = explainer(x)
    predicted = oracles.logits("table", x).argmax(1)
    assert (oracles.logits("table", -x).argmax(1) != predicted).any()
    assert explanation.targets.tolist() == predicted.tolist()
    expected = oracles.integrated_gradients(
        oracles.score("table", predicted), x, baseline=-x, steps=8, rule=explainer.rule
    )
    assert_same(explanation.values, expected)


# --- baselines ----------------------------------------------------------------------------------


def explained(kind, baseline):
    explainer = IntegratedGradients(
        tiny_models.model(kind.name, "IntegratedGradients"),
        baseline=baseline,
        steps=6,
        rule="gauss_legendre",
    )
    return explainer(kind.inputs(), TARGETS)


def dense(kind, baseline):
    """The oracle for a baseline given as a channels-last array or number."""
    x = oracles.inputs(kind.twin)
    scores = oracles.score(kind.twin, TARGETS)
    path = oracles.integrated_gradients(scores, x, baseline, steps=6, rule="gauss_legendre")
    return oracles.reduce(path, "sum")


def assert_baseline(kind, given, meant):
    explanation = explained(kind, given)
    assert_same(explanation.values, kind.layout(dense(kind, meant)))
    full = np.broadcast_to(meant, oracles.inputs(kind.twin).shape)
    assert_same(explanation.base_values, logit(kind, full))


ARRAYS = [
    kind
    for kind in SMOOTH
    if kind.name in ("table", "series", "image", "channels_first", "torch_image")
]


@pytest.mark.parametrize("kind", ARRAYS, ids=lambda kind: kind.name)
def test_baseline_of_one_sample_is_shared(kind):
    one = oracles.inputs(kind.twin, 1, seed=9)
    assert_baseline(kind, kind.layout(one)[0], one)


@pytest.mark.parametrize("kind", ARRAYS, ids=lambda kind: kind.name)
def test_baseline_with_batch_axis_belongs_to_the_samples(kind):
    each = oracles.inputs(kind.twin, 5, seed=9)
    assert_baseline(kind, kind.layout(each), each)


@pytest.mark.parametrize("kind", ARRAYS, ids=lambda kind: kind.name)
def test_callable_baseline_gets_the_inputs(kind):
    assert_baseline(kind, lambda x: -0.5 * x, -0.5 * oracles.inputs(kind.twin).astype(float))


@pytest.mark.parametrize(
    "kind", [kind for kind in ARRAYS if kind.rank > 2], ids=lambda kind: kind.name
)
def test_mean_baseline_is_per_sample_and_channel_over_positions(kind):
    x = oracles.inputs(kind.twin).astype(float)
    assert_baseline(kind, "mean", x.mean(axis=tuple(range(1, x.ndim - 1)), keepdims=True))


@SILENT
@pytest.mark.parametrize(
    "kind", [kind for kind in ARRAYS if kind.rank == 4], ids=lambda kind: kind.name
)
def test_blur_baseline_keeps_flat_images_and_smooths_others(kind):
    flat = kind.layout(np.full((5, 7, 10, 2), 0.7, "float32"))
    explainer = IntegratedGradients(
        tiny_models.model(kind.name, "IntegratedGradients"), baseline="blur", steps=6
    )
    same = explainer(flat, TARGETS)
    np.testing.assert_allclose(same.values, 0, atol=1e-6)
    assert_same(same.base_values, same.scores)
    explanation = explainer(kind.inputs(), TARGETS)
    assert differ(explanation.values, explained(kind, 0.0).values)
    total = explanation.values.reshape(5, -1).sum(1)
    np.testing.assert_allclose(
        total - explanation.completeness_gap,
        explanation.scores - explanation.base_values,
        atol=2e-6,
    )


def test_blur_baseline_does_not_mix_channels():
    x = np.zeros((5, 7, 10, 2), "float32")
    x[:, 3, 5, 0] = 1.0
    explainer = IntegratedGradients(
        tiny_models.model("image", "IntegratedGradients"), baseline="blur", steps=6, reducer=None
    )
    values = explainer(x, TARGETS).values
    assert np.abs(values[..., 0]).max() > 0
    np.testing.assert_allclose(values[..., 1], 0, atol=1e-7)


@pytest.mark.parametrize("kind", ARRAYS, ids=lambda kind: kind.name)
def test_list_of_baselines_is_averaged(kind):
    one = oracles.inputs(kind.twin, 1, seed=9)
    explanation = explained(kind, [0.0, 0.5, kind.layout(one)[0], lambda x: 0 * x - 1])
    parts = [dense(kind, meant) for meant in (0.0, 0.5, one, -1.0)]
    assert_same(explanation.values, kind.layout(np.mean(parts, axis=0)))
    x = oracles.inputs(kind.twin)
    starts = [logit(kind, np.broadcast_to(meant, x.shape)) for meant in (0.0, 0.5, one, -1.0)]
    assert_same(explanation.base_values, np.mean(starts, axis=0))
    gap = kind.layout(explanation.values).reshape(5, -1).sum(1) - (
        logit(kind, x) - np.mean(starts, axis=0)
    )
    np.testing.assert_allclose(explanation.completeness_gap, gap, atol=3e-6)


def test_baseline_may_be_a_tensor():
    from keras import ops

    one = oracles.inputs("table", 1, seed=9)
    assert_baseline(KINDS["table"], ops.convert_to_tensor(one[0]), one)


def test_baseline_array_is_not_changed():
    one = oracles.inputs("table", 1, seed=9)[0]
    before = one.tobytes()
    explained(KINDS["table"], one)
    assert one.tobytes() == before


# --- the warning --------------------------------------------------------------------------------


def test_incomplete_samples_are_counted_in_one_warning():
    explainer = IntegratedGradients(
        tiny_models.cubic("flat"), steps=2, rule="trapezoid", batch_size=1
    )
    # With two points x³ gives 1.5 x³; at 0 there is nothing to explain.
    x = np.array([[1.0], [2.0], [0.0], [-1.0]], "float32")
    with pytest.warns(xai.ExplanationWarning, match="steps") as caught:
        explanation = explainer(x)
    assert len(caught) == 1
    message = str(caught[0].message)
    assert "3" in message
    assert "4" in message
    assert caught[0].filename == __file__
    np.testing.assert_allclose(explanation.completeness_gap, [0.5, 4.0, 0.0, -0.5], rtol=1e-6)


def test_gap_below_five_percent_is_silent():
    # n points leave a gap of 1 / (2 (n - 1)²) of f: 12.5 % with 3 points, 3.1 % with 5.
    x = np.array([[1.0]], "float32")
    model = tiny_models.cubic("flat")
    with pytest.warns(xai.ExplanationWarning):
        IntegratedGradients(model, steps=3, rule="trapezoid")(x)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        IntegratedGradients(model, steps=5, rule="trapezoid")(x)


def test_difference_lost_in_rounding_is_silent():
    import keras

    # f = 1000 + x³: the difference is below a thousandth of the scores, whatever the gap.
    inside = keras.Input((1,))
    model = keras.Model(inside, inside * inside * inside + 1000.0)
    explanation = IntegratedGradients(model, steps=2, rule="trapezoid")(
        np.array([[0.9]], "float32")
    )
    assert abs(explanation.completeness_gap[0]) > 0.05 * 0.9**3
