"""Every form of target, for a method of each kind: they become numbers in one place."""

import keras
import numpy as np
import pytest
from keras import ops

import oracles
import tiny_models
import xai_core as xai
from cases import BY_NAME, MODEL_BASED, TARGETS
from oracles import assert_same, differ
from tiny_models import KINDS

KINDS_OF_METHODS = ("Saliency", "GradCAM", "FORGrad", "SmoothGrad", "Occlusion", "KernelSHAP")
EACH = [pytest.param(BY_NAME[name], id=name) for name in KINDS_OF_METHODS]
LINEAR = [pytest.param(case, id=case.name) for case in MODEL_BASED if case.linear is not None]
X = KINDS["image"].inputs()
NAMES = ("cat", "dog", "bird")


def one_hot(targets):
    return np.eye(3, dtype="float32")[targets]


def raw():
    return oracles.logits("image", oracles.inputs("image"))


@pytest.mark.parametrize("case", EACH)
def test_one_class_holds_for_all_rows(case):
    explainer = case.on("image")
    each = explainer(X, np.full(5, 1))
    for same in (1, np.int64(1), np.array(1), [1] * 5, ops.convert_to_tensor([1] * 5)):
        explanation = explainer(X, same)
        assert_same(explanation.values, each.values)
        assert explanation.targets.tolist() == [1] * 5
    assert_same(each.scores, raw()[:, 1])


@pytest.mark.parametrize("dtype", ["uint8", "int16", "int64"])
def test_any_integer_type_picks_columns(dtype):
    explainer = xai.attributions.Saliency(tiny_models.model("image", "Saliency"))
    assert_same(
        explainer(X, TARGETS.astype(dtype)).values, explainer(X, TARGETS.astype("int32")).values
    )


@pytest.mark.parametrize("case", EACH)
def test_integers_are_rows_of_one_hot_weights(case):
    explainer = case.on("image")
    picked, weighted = explainer(X, TARGETS), explainer(X, one_hot(TARGETS))
    assert_same(weighted.values, picked.values)
    assert_same(weighted.scores, picked.scores)
    assert picked.targets.shape == (5,)
    assert weighted.targets.shape == (5, 3)


@pytest.mark.parametrize("case", LINEAR)
def test_contrast_is_the_difference_of_maps(case):
    explainer = case.on("image", **case.linear)
    other = (TARGETS + 1) % 3
    contrast = explainer(X, one_hot(TARGETS) - one_hot(other))
    apart = explainer(X, TARGETS).values - explainer(X, other).values
    assert_same(contrast.values, apart, case.tolerance)
    assert_same(contrast.scores, raw()[range(5), TARGETS] - raw()[range(5), other])


@pytest.mark.parametrize("case", LINEAR)
def test_weights_scale_and_add_maps(case):
    explainer = case.on("image", **case.linear)
    weights = np.random.default_rng(1).normal(size=(5, 3)).astype("float32")
    maps = np.stack([explainer(X, k).values for k in range(3)], axis=1)
    expected = (maps * weights.reshape(5, 3, *[1] * (maps.ndim - 2))).sum(1)
    explanation = explainer(X, weights)
    assert_same(explanation.values, expected, case.tolerance)
    assert_same(explanation.scores, (raw() * weights).sum(1))
    assert_same(explanation.targets, weights)


@pytest.mark.parametrize("case", EACH)
def test_none_is_the_predicted_class(case):
    explainer, x = case.on("image"), KINDS["image"].inputs(5)
    predicted = raw().argmax(1)
    assert len(set(predicted)) > 1
    explanation = explainer(x)
    assert explanation.targets.tolist() == predicted.tolist()
    assert_same(explanation.values, explainer(x, predicted).values)
    assert_same(explanation.scores, raw().max(1))


@pytest.mark.parametrize("case", EACH)
def test_class_name_is_its_column(case):
    model = xai.wrap(tiny_models.model("image", case.name), class_names=NAMES)
    explainer = case.build(model)
    expected = case.on("image")(X, 1)
    named = explainer(X, "dog")
    assert_same(named.values, expected.values)
    assert named.targets.tolist() == [1] * 5
    assert named.class_names == NAMES
    assert "dog" in repr(named)
    each = explainer.explain_each(X, ["dog", 2])
    assert_same(each[0].values, expected.values)


def test_class_agnostic_method_takes_targets_and_says_that_it_ignores_them():
    explainer = xai.attributions.RandomMap(tiny_models.model("image", "RandomMap"))
    first, second = explainer(X, 0), explainer(X, TARGETS)
    assert np.array_equal(first.values, second.values)
    assert not first.targets_used
    assert second.targets.tolist() == TARGETS.tolist()


# --- several targets at once --------------------------------------------------------------------


@pytest.mark.parametrize("case", EACH)
def test_explain_each_mixes_forms_of_targets(case):
    explainer = case.on("image")
    weights = one_hot(TARGETS) - one_hot((TARGETS + 1) % 3)
    given = [1, TARGETS, weights]
    together = explainer.explain_each(X, given)
    assert len(together) == 3
    for one, targets in zip(together, given, strict=True):
        single = explainer(X, targets)
        assert_same(one.values, single.values)
        assert_same(one.scores, single.scores)


def test_explain_each_needs_no_more_model_rows_for_more_targets():
    calls = []

    def counted(model, inputs, targets):
        calls.append(1)
        return xai.operators.classification(model, inputs, targets)

    seen_of = []
    for targets in ([0], [0, 1, 2]):
        model, seen = tiny_models.batch_sizes(tiny_models.network("image"))
        xai.attributions.Saliency(model, operator=counted).explain_each(X, targets)
        seen_of.append(sum(seen))
    assert seen_of[0] == seen_of[1]


def test_many_targets_give_one_warning_and_their_own_maps():
    x = KINDS["table"].inputs()
    explainer = xai.attributions.IntegratedGradients(
        tiny_models.model("table", "IntegratedGradients"), steps=2, rule="trapezoid"
    )
    weights = np.random.default_rng(3).normal(size=(20, 5, 3)).astype("float32")
    with pytest.warns(xai.ExplanationWarning, match="steps") as caught:
        together = explainer.explain_each(x, list(weights))
    assert len(caught) == 1
    assert len(together) == 20
    with pytest.warns(xai.ExplanationWarning):
        last = explainer(x, weights[-1])
    assert_same(together[-1].values, last.values)
    assert_same(together[-1].completeness_gap, last.completeness_gap)


@pytest.mark.parametrize("targets", [[], 3, None, "dog"], ids=repr)
def test_explain_each_refuses_what_is_no_list_of_targets(targets):
    explainer = xai.attributions.Saliency(tiny_models.model("image", "Saliency"))
    with pytest.raises((TypeError, ValueError), match="`targets`"):
        explainer.explain_each(X, targets)


def test_all_classes_of_several_batches():
    x = KINDS["table"].inputs(5)
    explainer = xai.attributions.Saliency(tiny_models.model("table", "Saliency"), batch_size=2)
    together = explainer.explain_each(x, "all")
    assert [one.targets.tolist() for one in together] == [[k] * 5 for k in range(3)]
    for k, one in enumerate(together):
        assert_same(one.values, explainer(x, k).values)


# --- streams ------------------------------------------------------------------------------------


def test_labels_of_a_stream_are_its_targets_if_asked_for():
    explainer = xai.attributions.Saliency(tiny_models.model("image", "Saliency"))
    batches = [(X, TARGETS), (X, TARGETS[::-1], np.ones(5))]
    first, second = explainer.stream(batches, targets="labels")
    assert_same(first.values, explainer(X, TARGETS).values)
    assert second.targets.tolist() == TARGETS[::-1].tolist()
    third, _ = explainer.stream(batches, targets=1)
    assert third.targets.tolist() == [1] * 5
    predicted, _ = explainer.stream(batches)
    assert predicted.targets.tolist() == raw().argmax(1).tolist()
    with pytest.raises(ValueError, match="labels"):
        list(explainer.stream([X], targets="labels"))


# --- contrasts ----------------------------------------------------------------------------------


def test_contrast_of_two_classes():
    assert xai.targets.contrast(2, 0, columns=4).tolist() == [[-1, 0, 1, 0]]
    each = xai.targets.contrast([2, 0], 1, columns=3)
    assert each.tolist() == [[0, -1, 1], [1, -1, 0]]
    assert each.dtype == np.float32
    named = xai.targets.contrast("dog", ["cat", "bird"], class_names=NAMES)
    assert named.tolist() == [[-1, 1, 0], [0, 1, -1]]
    explainer = xai.attributions.GradientInput(tiny_models.model("image", "GradientInput"))
    found = explainer(X, xai.targets.contrast(1, 0, columns=3))
    assert_same(found.values, explainer(X, 1).values - explainer(X, 0).values)
    assert found.targets.shape == (5, 3)
    assert found.label(0).startswith("class 1 - class 0 ")


def test_runner_up_is_the_second_class():
    weights = xai.targets.runner_up(raw())
    order = np.argsort(raw(), axis=1)
    assert_same(weights, one_hot(order[:, -1]) - one_hot(order[:, -2]))
    assert xai.targets.runner_up(ops.convert_to_tensor([[2.0, 2.0, 1.0]])).tolist() == [[1, -1, 0]]
    explainer = xai.attributions.Saliency(tiny_models.model("image", "Saliency"))
    found = explainer(X, weights)
    ranked = np.sort(raw(), axis=1)
    assert_same(found.scores, ranked[:, -1] - ranked[:, -2])


# --- one output column --------------------------------------------------------------------------


def column(activation=None):
    model = tiny_models.one_column(activation)
    x = KINDS["table"].inputs(4)
    return model, x, ops.convert_to_numpy(ops.stop_gradient(model(x, training=False)))[:, 0]


def test_one_column_that_is_no_probability():
    model, x, output = column()
    explainer = xai.attributions.GradientInput(model)
    default, one, zero = explainer(x), explainer(x, 1), explainer(x, 0)
    assert_same(default.scores, output)
    assert_same(one.values, default.values)
    assert_same(zero.scores, -output)
    assert_same(zero.values, -default.values)


def test_one_column_that_is_a_probability():
    model, x, output = column("sigmoid")
    explainer = xai.attributions.GradientInput(model)
    default, one, zero = explainer(x), explainer(x, 1), explainer(x, 0)
    assert_same(default.scores, output)
    assert_same(one.values, default.values)
    assert_same(zero.scores, 1 - output)
    assert_same(zero.values, -default.values)


def test_one_column_turned_into_a_probability_and_back():
    model, x, output = column()
    probability = 1 / (1 + np.exp(-output))
    known = xai.attributions.GradientInput(model, output="sigmoid")
    assert_same(known(x, 0).scores, 1 - probability)
    other, x, _ = column("sigmoid")
    logit = xai.attributions.GradientInput(other, output="logits")
    assert_same(logit(x, 0).scores, -output)


def test_one_column_explained_for_both_classes():
    model, x, _ = column()
    both = xai.attributions.GradientInput(model).explain_each(x, [0, 1])
    assert_same(both[0].values, -both[1].values)


def test_output_without_a_column_axis_is_one_column():
    inside = keras.Input((4,))
    dense = keras.layers.Dense(1)
    flat = keras.Model(inside, ops.squeeze(dense(inside), axis=-1))
    tiny_models.randomize(flat)
    x = KINDS["table"].inputs(4)
    explanation = xai.attributions.Saliency(flat, absolute=False)(x)
    weight = ops.convert_to_numpy(dense.kernel.value)[:, 0]
    assert_same(explanation.values, np.tile(weight, (4, 1)))


# --- regression ---------------------------------------------------------------------------------


def test_regression_of_one_column_needs_no_target():
    model, x, output = column()
    explanation = xai.attributions.GradientInput(model, operator="regression")(x)
    assert_same(explanation.scores, output)
    assert_same(explanation.values, xai.attributions.GradientInput(model)(x).values)
    zero = xai.attributions.GradientInput(model, operator="regression")(x, 0)
    assert_same(zero.values, explanation.values)


def test_regression_of_several_columns_takes_a_column_or_weights():
    explainer = xai.attributions.GradientInput(
        tiny_models.model("image", "GradientInput"), operator="regression"
    )
    assert_same(explainer(X, TARGETS).scores, raw()[range(5), TARGETS])
    assert differ(explainer(X, 0).values, explainer(X, 1).values)
    with pytest.raises(ValueError, match="`targets`"):
        explainer(X)
