"""What is explained: tasks, custom operators, the output that they see, and warnings about it."""

import warnings

import keras
import numpy as np
import pytest
from keras import layers, ops

import oracles
import tiny_models
import xai_core as xai
from cases import TARGETS
from oracles import assert_same, differ
from tiny_models import KINDS
from xai_core import operators
from xai_core.attributions import GradCAM, GradientInput, IntegratedGradients, RandomMap, Saliency

X = KINDS["table"].inputs()


def host(tensor):
    return ops.convert_to_numpy(ops.stop_gradient(tensor))


# --- tasks --------------------------------------------------------------------------------------


def test_tasks_are_strings():
    assert {task.value for task in xai.Tasks} == {
        "classification",
        "regression",
        "semantic_segmentation",
        "object_detection",
        "object_detection_box_position",
        "object_detection_box_proba",
        "object_detection_box_class",
    }
    for task in xai.Tasks:
        assert operators.get(task) is getattr(operators, task.value)
        assert operators.get(task.value.replace("_", " ").title()) is operators.get(task)
    assert xai.Tasks.CLASSIFICATION == "classification"
    assert xai.Tasks("regression") is xai.Tasks.REGRESSION


@pytest.mark.parametrize(
    "name",
    [
        xai.Tasks.CLASSIFICATION,
        "classification",
        "Classification",
        "CLASSIFICATION",
        " classification ",
    ],
)
def test_task_in_any_case(name):
    assert operators.get(name) is operators.classification


def test_callable_is_taken_as_it_is():
    def operator(model, inputs, targets):
        return model(inputs)[:, 0]

    assert operators.get(operator) is operator
    assert operators.get(xai.Tasks.REGRESSION) is operators.regression


@pytest.mark.parametrize("given", ["clasification", "segment", "", 3, ["classification"]], ids=repr)
def test_unknown_operator_is_refused_when_the_explainer_is_made(given):
    with pytest.raises((TypeError, ValueError), match="`operator`"):
        Saliency(tiny_models.model("table", "operators"), operator=given)


def test_every_method_takes_a_task_by_name():
    for name in ("regression", xai.Tasks.REGRESSION, "Regression"):
        explanation = GradientInput(tiny_models.model("table", "operators"), operator=name)(
            X, TARGETS
        )
        assert_same(
            explanation.values,
            GradientInput(tiny_models.model("table", "operators"))(X, TARGETS).values,
        )


# --- custom operators ---------------------------------------------------------------------------


def squared(model, inputs, targets):
    return ops.sum(ops.square(model(inputs)), axis=-1)


def test_custom_operator_is_the_score():
    def scores(x):
        return (oracles.logits("table", x) ** 2).sum(-1)

    x = oracles.inputs("table")
    explanation = Saliency(
        tiny_models.model("table", "operators"), operator=squared, absolute=False
    )(X)
    assert_same(explanation.values, oracles.gradient(scores, x))
    assert_same(explanation.scores, scores(x.astype(float)))
    assert explanation.targets is None
    path = IntegratedGradients(
        tiny_models.model("table", "operators"), operator=squared, steps=9, rule="trapezoid"
    )(X)
    expected = oracles.integrated_gradients(scores, x, steps=9)
    assert_same(path.values, expected)
    assert_same(path.scores, scores(x.astype(float)))


def test_custom_operator_gets_targets_row_by_row():
    def weighted(model, inputs, targets):
        return ops.sum(model(inputs) * ops.cast(targets, "float32"), axis=-1)

    weights = np.random.default_rng(2).normal(size=(5, 3)).astype("float32")
    expected = GradientInput(tiny_models.model("table", "operators"))(X, weights)
    for size in (1, 3, 32):
        explainer = GradientInput(
            tiny_models.model("table", "operators"), operator=weighted, batch_size=size
        )
        assert_same(explainer(X, weights).values, expected.values)


def test_custom_operator_gets_none_where_no_targets_are_given():
    seen = []

    def first(model, inputs, targets):
        seen.append(targets)
        return model(inputs)[:, 0]

    explanation = Saliency(tiny_models.model("table", "operators"), operator=first)(X)
    assert set(map(type, seen)) == {type(None)}
    assert_same(explanation.values, Saliency(tiny_models.model("table", "operators"))(X, 0).values)


def test_custom_operator_may_use_the_inputs():
    def penalized(model, inputs, targets):
        return model(inputs)[:, 0] - ops.sum(ops.square(inputs), axis=-1)

    explanation = Saliency(
        tiny_models.model("table", "operators"), operator=penalized, absolute=False
    )(X)
    plain = Saliency(tiny_models.model("table", "operators"), absolute=False)(X, 0)
    assert_same(explanation.values, plain.values - 2 * X)


def test_custom_operator_sees_the_output_that_was_asked_for():
    def first(model, inputs, targets):
        return model(inputs)[:, 0]

    explanation = Saliency(
        tiny_models.model("table", "operators"), operator=first, output="softmax"
    )(X)
    assert_same(explanation.scores, oracles.softmax(oracles.logits("table", X))[:, 0])


def test_two_operators_do_not_share_a_compiled_step():
    def make(scale):
        return lambda model, inputs, targets: scale * model(inputs)[:, 0]

    maps = [
        Saliency(tiny_models.model("table", "operators"), operator=make(scale))(X).values
        for scale in (1.0, 2.0)
    ]
    assert_same(maps[1], 2 * maps[0])


def test_operator_that_does_not_ask_the_model_gives_the_gradient_of_the_input():
    def norm(model, inputs, targets):
        return ops.sum(ops.square(inputs), axis=-1)

    explanation = Saliency(tiny_models.model("table", "operators"), operator=norm, absolute=False)(
        X
    )
    assert_same(explanation.values, 2 * X)


# --- the output that is explained ---------------------------------------------------------------


def ends(name):
    """Table networks with the oracle's weights that end in a softmax, built in several ways."""
    if name == "activation":
        return tiny_models.network("table", activation="softmax")
    flat = tiny_models.network("table")
    stack = {
        "layer": [layers.Softmax()],
        "activation layer": [layers.Activation("softmax")],
        "dropout behind": [layers.Softmax(), layers.Dropout(0.5)],
        "identity behind": [layers.Softmax(), layers.Identity()],
    }
    if name in stack:
        return keras.Sequential([keras.Input((4,)), *flat.layers, *stack[name]])
    inside = keras.Input((4,))
    if name == "operation":
        return keras.Model(inside, ops.softmax(flat(inside)))
    if name == "nested":
        return keras.Sequential(
            [keras.Input((4,)), tiny_models.network("table", activation="softmax")]
        )
    made = tiny_models.Formula(lambda x: ops.softmax(flat(x)), [flat])
    made(X)
    return made


ENDS = [
    "activation",
    "layer",
    "activation layer",
    "dropout behind",
    "identity behind",
    "operation",
    "nested",
    "subclassed",
]


@pytest.mark.parametrize("name", ENDS)
def test_logits_of_a_model_that_ends_in_a_softmax(name):
    expected = GradientInput(tiny_models.model("table", "operators"))(X, TARGETS)
    explanation = GradientInput(ends(name), output="logits")(X, TARGETS)
    assert_same(explanation.values, expected.values)
    assert_same(explanation.scores, expected.scores)


@pytest.mark.parametrize("name", ENDS)
@pytest.mark.parametrize("output", ["raw", "softmax"])
def test_softmax_of_a_model_that_ends_there_changes_nothing(name, output):
    scores = oracles.score("table", TARGETS, oracles.softmax)
    expected = oracles.gradient(scores, X) * X
    assert_same(GradientInput(ends(name), output=output)(X, TARGETS).values, expected)


def test_softmax_and_sigmoid_of_a_model_that_ends_in_logits():
    def sigmoid(z):
        return 1 / (1 + np.exp(-z))

    for output, function in (("softmax", oracles.softmax), ("sigmoid", sigmoid)):
        scores = oracles.score("table", TARGETS, function)
        explanation = GradientInput(tiny_models.model("table", "operators"), output=output)(
            X, TARGETS
        )
        assert_same(explanation.values, oracles.gradient(scores, X) * X)
        assert_same(explanation.scores, scores(X.astype(float)))


def test_logits_of_a_model_that_ends_in_logits_change_nothing():
    expected = GradientInput(tiny_models.model("table", "operators"))(X, TARGETS)
    explanation = GradientInput(tiny_models.model("table", "operators"), output="logits")(
        X, TARGETS
    )
    assert_same(explanation.values, expected.values)


def test_logits_at_an_inner_layer():
    twin = tiny_models.network("image", activation="softmax")
    x = KINDS["image"].inputs()
    explanation = GradCAM(twin, output="logits")(x, 1)
    assert_same(explanation.values, GradCAM(tiny_models.model("image", "operators"))(x, 1).values)
    assert differ(explanation.values, GradCAM(twin)(x, 1).values)


def test_inner_softmax_does_not_count_as_the_end():
    model = keras.Sequential(
        [
            keras.Input((4,)),
            layers.Dense(5, activation="softmax"),
            layers.Dense(3),
        ]
    )
    tiny_models.randomize(model)
    expected = GradientInput(model)(X, TARGETS).values
    assert_same(GradientInput(model, output="logits")(X, TARGETS).values, expected)
    assert differ(GradientInput(model, output="softmax")(X, TARGETS).values, expected)


def probabilities_without_softmax():
    """Rows that sum to 1 without any call of softmax."""
    inside = keras.Input((4,))
    positive = layers.Dense(3, activation="softplus")(inside)
    model = keras.Model(inside, positive / ops.sum(positive, axis=-1, keepdims=True))
    tiny_models.randomize(model)
    return model


def softmax_then_more():
    inside = keras.Input((4,))
    model = keras.Model(inside, layers.Dense(3)(layers.Dense(3, activation="softmax")(inside)))
    tiny_models.randomize(model)
    return keras.Sequential([keras.Input((4,)), model, layers.Softmax(), layers.Rescaling(1.0)])


@pytest.mark.parametrize("make", [probabilities_without_softmax, softmax_then_more])
def test_logits_that_cannot_be_had_are_refused(make):
    with pytest.raises(ValueError, match="`output") as error:
        GradientInput(make(), output="logits")(X, TARGETS)
    assert "logits" in str(error.value)


# --- saturation ---------------------------------------------------------------------------------


def confident(scale, activation="softmax"):
    """Two classes; the first row is sure (margin ``scale``), the second undecided."""
    model = keras.Sequential([keras.Input((2,)), layers.Dense(2, activation=activation)])
    model.set_weights([np.eye(2) * scale, np.zeros(2)])
    return model, np.array([[1.0, 0.0], [0.5, 0.5], [1.0, 0.2]], "float32")


@pytest.mark.parametrize("method", [Saliency, GradientInput])
def test_saturated_probabilities_are_counted_in_one_warning(method):
    model, x = confident(12.0)
    with pytest.warns(xai.ExplanationWarning, match="logits") as caught:
        method(model, batch_size=1)(x)
    assert len(caught) == 1
    assert "2" in str(caught[0].message)
    assert "3" in str(caught[0].message)
    assert caught[0].filename == __file__


@pytest.mark.parametrize(
    ("scale", "activation", "fields"),
    [(12.0, "softmax", {"output": "logits"}), (12.0, None, {}), (2.0, "softmax", {})],
    ids=["logits asked for", "raw logits", "not saturated"],
)
def test_no_warning_without_saturated_probabilities(scale, activation, fields):
    model, x = confident(scale, activation)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Saliency(model, **fields)(x)


def test_softmax_that_was_asked_for_counts_as_a_known_probability():
    model, x = confident(12.0, None)
    with pytest.warns(xai.ExplanationWarning, match="2"):
        Saliency(model, output="softmax")(x)


def test_method_without_gradients_does_not_warn_of_saturation():
    model, x = confident(12.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        RandomMap(model)(x)


def test_warning_comes_once_per_call_not_once_per_target():
    model, x = confident(12.0)
    with pytest.warns(xai.ExplanationWarning) as caught:
        Saliency(model).explain_each(x, [0, 1])
    assert len(caught) == 1


def test_one_call_gives_one_warning():
    # With this margin the probability is exactly 1 and its gradient exactly 0.
    model, x = confident(400.0)
    with pytest.warns(xai.ExplanationWarning, match="logits") as caught:
        Saliency(model)(x[:1])
    assert len(caught) == 1
