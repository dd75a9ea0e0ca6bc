"""Functions and estimators: what reaches them, what they may return, and what is refused."""

import functools
import pickle
import re
from collections import namedtuple
from types import SimpleNamespace

import keras
import numpy as np
import pandas as pd
import pytest
from keras import layers, ops
from sklearn import (
    calibration,
    cluster,
    ensemble,
    linear_model,
    model_selection,
    multioutput,
    pipeline,
    preprocessing,
    svm,
)

import oracles
import tiny_models
import xai_core as xai
from oracles import assert_same
from tiny_models import BACKEND
from xai_core import attributions, wrap
from xai_core.attributions import GradCAM, Occlusion, RandomMap, Saliency, SmoothGrad
from xai_core.wrappers import BlackBox

GENERATOR = np.random.default_rng(2)
X = GENERATOR.normal(size=(40, 4))
CLASS = np.digitize(X @ [1.0, -2.0, 0.5, 0.0], [-1.0, 1.0])  # 0, 1 or 2
VALUE = X @ [1.0, -2.0, 0.5, 0.25] + 0.1 * GENERATOR.normal(size=40)
ROWS = X[:6]
WEIGHTS = np.array([[2.0, 1.0], [-3.0, 0.0], [0.5, -1.0], [1.0, 4.0]])


def linear(x):
    return x @ WEIGHTS


def column(x):
    return x @ WEIGHTS[:, 0]


def drops(predict, x=ROWS, target=0):
    """The oracle of Occlusion for one column of what ``predict`` returns."""

    def scores(rows):
        found = np.asarray(predict(rows))
        return found if found.ndim == 1 else found[np.arange(len(rows)), target]

    return oracles.occlusion(scores, x, (1,), (1,))[0]


def regression(model, **fields):
    return Occlusion(model, operator="regression", **fields)


# --- what is a black box ------------------------------------------------------------------------


class Scorer:
    """An object that is called, and has a method that may be passed as well."""

    def __init__(self, factor=1.0):
        self.factor = factor

    def __call__(self, x):
        return self.factor * linear(x)

    def scored(self, x):
        return self.factor * linear(x)


def scaled(factor, x):
    return factor * linear(x)


FUNCTIONS = {
    "function": linear,
    "lambda": lambda x: x @ WEIGHTS,
    "bound method": Scorer().scored,
    "partial": functools.partial(scaled, 1.0),
    "callable object": Scorer(),
    "NumPy's own": functools.partial(np.matmul, WEIGHTS.T[None]),
}


@pytest.mark.parametrize("function", list(FUNCTIONS.values())[:-1], ids=list(FUNCTIONS)[:-1])
@pytest.mark.parametrize("wrapped", [BlackBox, wrap, lambda f: f], ids=["BlackBox", "wrap", "bare"])
def test_everything_that_is_called(function, wrapped):
    explanation = Occlusion(wrapped(function))(ROWS, 0)
    assert_same(explanation.values, drops(linear))
    assert explanation.data_format == "channels_last"


def test_wrapping_a_black_box_again_changes_nothing_or_adds_names():
    model = BlackBox(linear)
    assert wrap(model) is model
    named = wrap(model, class_names=["a", "b"], feature_names=list("pqrs"))
    assert isinstance(named, BlackBox)
    explanation = Occlusion(named)(ROWS, "b")
    assert explanation.class_names == ("a", "b")
    assert explanation.feature_names == ("p", "q", "r", "s")
    assert_same(explanation.values, drops(linear, target=1))


def test_options_of_a_black_box_are_checked_when_it_is_made():
    assert BlackBox(linear, class_names=["a", "b"]).class_names == ("a", "b")
    assert BlackBox(linear, data_format=None).data_format == "channels_last"
    for options, error in (
        ({"data_format": "NHWC"}, ValueError),
        ({"select": 1.5}, TypeError),
        ({"class_names": "ab"}, TypeError),
        ({"feature_names": ["a", "a"]}, ValueError),
    ):
        with pytest.raises(error, match=f"`{next(iter(options))}`"):
            BlackBox(linear, **options)


@pytest.mark.parametrize(
    ("source", "says"),
    [(3, "int"), (None, "NoneType"), (X, "ndarray"), (Scorer, "the class Scorer")],
    ids=["number", "None", "array", "class"],
)
def test_source_must_be_callable(source, says):
    with pytest.raises(TypeError, match=f"`source` must be a function.*{says}"):
        BlackBox(source)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: layers.Dense(2), "`model` must be a keras.Model.*Dense"),
        (lambda: keras.Sequential, "`model` must be an instance.*Sequential"),
        (lambda: linear_model.LogisticRegression, "must be an instance.*LogisticRegression.*fit"),
        (lambda: Saliency, "must be an instance.*Saliency"),
        (lambda: keras.losses.MeanSquaredError(), "`model` must be one of"),
        (lambda: X, "`model` must be one of.*ndarray"),
    ],
    ids=["layer", "class of models", "class of estimators", "explainer class", "loss", "array"],
)
def test_what_is_no_black_box(make, says):
    with pytest.raises(TypeError, match=says):
        wrap(make())


def test_explainer_is_no_black_box():
    with pytest.raises(TypeError, match=r"`model` must be a model.*RandomMap"):
        Occlusion(RandomMap(linear))


if BACKEND != "torch":

    def test_torch_module_is_no_black_box():
        base = type("Module", (), {"__module__": "torch.nn.modules.module"})
        module = type("Net", (base,), {"__module__": "mine", "__call__": lambda self, x: x})()
        with pytest.raises(TypeError, match=r"torch module.*KERAS_BACKEND=torch"):
            Occlusion(module)
        assert_same(Occlusion(lambda x: module(x))(ROWS, 0).scores, ROWS[:, 0])


def test_framework_model_inside_a_function_is_a_black_box():
    model = tiny_models.network("table")
    x = tiny_models.KINDS["table"].inputs()
    bare = Occlusion(model)(x, 1)
    for function in (lambda rows: model(rows), lambda rows: ops.convert_to_numpy(model(rows))):
        explanation = Occlusion(function)(x, 1)
        assert_same(explanation.values, bare.values)
        assert_same(explanation.scores, bare.scores)


# --- gradients are refused ----------------------------------------------------------------------

GRADIENTS = [
    name
    for name in attributions.__all__
    if getattr(attributions, name).requires == "gradients" and name != "FORGrad"
]


@pytest.mark.parametrize("name", GRADIENTS)
def test_gradient_methods_name_those_that_work(name):
    explainer = getattr(attributions, name)
    for model in (linear, linear_model.LinearRegression().fit(X, VALUE), BlackBox(linear)):
        with pytest.raises(TypeError, match=f"`model` must have gradients for {name}.*Occlusion"):
            explainer(model)


def test_refusal_tells_what_was_given():
    with pytest.raises(TypeError, match=r"Received: LogisticRegression, a black box"):
        Saliency(linear_model.LogisticRegression().fit(X, CLASS))
    with pytest.raises(TypeError, match=r"Received: linear, a black box"):
        GradCAM(linear)


def test_noise_wraps_a_method_for_black_boxes():
    explainer = SmoothGrad(Occlusion(linear), n_samples=3, noise=0.1, noise_scale="absolute")
    noisy = explainer(ROWS, 0)
    assert noisy.values.shape == (6, 4)
    assert_same(noisy.scores, linear(ROWS)[:, 0])


# --- what reaches the function ------------------------------------------------------------------


@pytest.mark.parametrize("batch_size", [1, 3, 32])
@pytest.mark.parametrize("rows", [1, 5])
def test_never_more_rows_than_batch_size_and_never_a_padded_one(batch_size, rows):
    seen = []

    def counting(x):
        seen.append(x.copy())
        return linear(x)

    explainer = Occlusion(counting, batch_size=batch_size)
    assert_same(explainer(ROWS[:rows], 0).values, drops(linear, ROWS[:rows]))
    assert [len(x) for x in seen[:1]] == [1]
    assert sum(map(len, seen[1:])) == rows * 5
    assert max(map(len, seen)) <= batch_size
    # All that was seen are the inputs, or the inputs with one column gone.
    every = [ROWS[:rows], *(ROWS[:rows] * (np.arange(4) != k) for k in range(4))]
    found = np.unique(np.concatenate(seen[1:]), axis=0)
    np.testing.assert_array_equal(found, np.unique(np.concatenate(every), axis=0))


def test_double_precision_is_kept():
    seen = []

    def counting(x):
        seen.append(x.dtype)
        return column(x)

    x = ROWS / 3
    explanation = regression(counting)(x, 0)
    assert set(seen) == {np.dtype("float64")}
    assert explanation.scores.dtype == np.float64
    np.testing.assert_allclose(explanation.scores, column(x), rtol=1e-12, atol=0)
    assert explanation.values.dtype == np.float32
    # Drops of 1e-9 next to scores of 1 survive, which no float32 score could tell.
    small = regression(lambda rows: 1 + 1e-9 * column(rows))(x, 0)
    assert_same(small.values, 1e-9 * x * WEIGHTS[:, 0], 1e-6)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_floats_keep_their_type(dtype):
    seen = set()

    def typed(x):
        seen.add(x.dtype.name)
        return column(x.astype("float64"))

    regression(typed, baseline=[0.25, np.float64(1) / 3])(ROWS.astype(dtype), 0)
    assert seen == {dtype}


@pytest.mark.parametrize("dtype", ["int8", "int64", "uint8", "bool"])
@pytest.mark.parametrize(
    ("baseline", "promotes"),
    [(0, False), (1.0, False), (0.5, True), (np.array([0, 1, 0.5, 1]), True), (np.nan, True)],
    ids=["int", "whole float", "fraction", "array", "nan"],
)
def test_integers_keep_their_type_unless_the_baseline_is_fractional(dtype, baseline, promotes):
    seen = []

    def typed(x):
        seen.append(x.dtype.name)
        return np.nan_to_num(x.astype("float64"), nan=7.0) @ WEIGHTS[:, 0]

    x = np.arange(12).reshape(3, 4).astype(dtype)
    explanation = regression(typed, baseline=baseline)(x, 0)
    assert seen[:2] == [dtype, dtype]
    assert set(seen[2:]) == {"float64" if promotes else dtype}
    start = np.nan_to_num(np.asarray(baseline, float), nan=7.0)
    assert_same(explanation.values, (x.astype(float) - start) * WEIGHTS[:, 0])


@pytest.mark.parametrize("baseline", ["mean", "blur"])
def test_pixels_are_not_rounded(baseline):
    images = np.random.default_rng(0).integers(0, 255, (2, 6, 5, 3)).astype("uint8")

    def total(x):
        return x.astype("float64").sum(axis=(1, 2, 3))

    found = regression(total, baseline=baseline)(images, 0)
    same = regression(total, baseline=baseline)(images.astype("float64"), 0)
    np.testing.assert_array_equal(found.values, same.values)


def test_missing_and_infinite_numbers_pass():
    x = ROWS.copy()
    x[1, 2], x[3, 0], x[4, 1] = np.nan, np.inf, -np.inf
    forest = ensemble.HistGradientBoostingRegressor(max_iter=5, min_samples_leaf=2).fit(X, VALUE)
    explanation = Occlusion(forest, baseline=np.nan)(x, 0)
    np.testing.assert_array_equal(explanation.scores, forest.predict(x))
    assert explanation.values[1, 2] == 0
    without = x.copy()
    without[:, 1] = np.nan
    assert_same(explanation.values[:, 1], forest.predict(x) - forest.predict(without))


def missing(x):
    filled = x.copy()
    filled[:, 1] = np.nan
    return filled


def test_baseline_function_of_a_black_box_may_return_nan():
    forest = ensemble.HistGradientBoostingRegressor(max_iter=5, min_samples_leaf=2).fit(X, VALUE)
    explanation = Occlusion(forest, baseline=missing, batch_size=4)(ROWS, 0)
    assert_same(explanation.values[:, 1], forest.predict(ROWS) - forest.predict(missing(ROWS)))
    assert not explanation.values[:, [0, 2, 3]].any()


WORDS = np.array([["red", 1.5, "abc"], ["blue", 2.0, "a"], ["green", 0.25, "ab"]], dtype=object)


def lengths(x):
    assert x.dtype == object
    assert all(isinstance(word, str) for word in x[:, 0])
    return np.array([len(a) + b + 10 * len(c) for a, b, c in x])


def test_objects_reach_the_function_as_they_are():
    baseline = np.array(["no", 0.5, ""], dtype=object)
    explanation = regression(lengths, baseline=baseline)(WORDS, 0)
    expected = [[1, 1, 30], [2, 1.5, 10], [3, -0.25, 20]]
    np.testing.assert_array_equal(explanation.values, expected)
    assert explanation.fingerprints is None
    np.testing.assert_array_equal(explanation.inputs, WORDS)
    swapped = regression(lengths, baseline=lambda x: x[::-1])(WORDS, 0)
    np.testing.assert_array_equal(swapped.values[0], [3 - 5, 1.5 - 0.25, 30 - 20])


def test_strings_may_be_longer_in_the_baseline():
    x = np.array([["a", "bb"], ["ccc", "d"]])

    def total(rows):
        return np.array([sum(map(len, row)) for row in rows], float)

    explanation = regression(total, baseline=np.array(["longer", ""], object))(x, 0)
    np.testing.assert_array_equal(explanation.values, [[-5, 2], [-3, 1]])


def test_function_that_writes_into_its_rows_changes_nothing_else():
    x = ROWS.copy()

    def careless(rows):
        rows *= 2
        return column(rows)

    explanation = regression(careless)(x, 0)
    np.testing.assert_array_equal(x, ROWS)
    assert_same(explanation.values, 2 * ROWS * WEIGHTS[:, 0])
    again = RandomMap(careless, operator="regression")(x, 0)
    np.testing.assert_array_equal(x, ROWS)
    assert_same(again.scores, 2 * column(ROWS))


@pytest.mark.parametrize("as_given", [list, ops.convert_to_tensor, lambda x: x.tolist()], ids=str)
def test_lists_and_tensors_reach_the_function_as_arrays(as_given):
    x = ROWS.astype("float32")

    def checked(rows):
        assert type(rows) is np.ndarray
        return column(rows)

    assert_same(regression(checked)(as_given(x), 0).values, drops(column, x))


def test_dict_and_tuple_inputs_come_as_they_were():
    given = {"b": ROWS, "a": np.arange(12).reshape(6, 2)}

    def of_dict(x):
        assert list(x) == ["b", "a"]
        assert x["a"].dtype.kind == "i"
        return column(x["b"]) + x["a"] @ [10.0, 100.0]

    found = regression(of_dict)(given, 0)
    assert_same(found["b"].values, drops(column))
    assert_same(found["a"].values, given["a"] * [10.0, 100.0])
    pair = regression(lambda x: of_dict({"b": x[0], "a": x[1]}))((ROWS, given["a"]), 0)
    assert type(pair) is tuple
    assert_same(pair[1].values, found["a"].values)


@pytest.mark.parametrize("layout", ["channels_last", "channels_first"])
def test_layout_of_images_can_be_told(layout):
    x = np.random.default_rng(0).normal(size=(2, 6, 5, 4))
    model = wrap(lambda rows: rows.sum(axis=(1, 2, 3)), data_format=layout)
    explanation = regression(model, patch_size=2)(x, 0)
    assert explanation.data_format == layout
    first = layout == "channels_first"
    assert explanation.values.shape == ((2, 1, 5, 4) if first else (2, 6, 5, 1))


# --- scikit-learn -------------------------------------------------------------------------------


def fitted(estimator, labels=CLASS):
    return estimator.fit(X, labels)


CLASSIFIERS = {
    "logistic": lambda labels: fitted(linear_model.LogisticRegression(), labels),
    "forest": lambda labels: fitted(
        ensemble.RandomForestClassifier(n_estimators=5, random_state=0), labels
    ),
    "pipeline": lambda labels: fitted(
        pipeline.make_pipeline(preprocessing.StandardScaler(), linear_model.LogisticRegression()),
        labels,
    ),
    "grid search": lambda labels: fitted(
        model_selection.GridSearchCV(linear_model.LogisticRegression(), {"C": [0.1, 1]}, cv=2),
        labels,
    ),
    "calibrated": lambda labels: fitted(
        calibration.CalibratedClassifierCV(svm.LinearSVC(), cv=2), labels
    ),
}


@pytest.mark.parametrize("name", CLASSIFIERS)
@pytest.mark.parametrize("classes", [2, 3])
def test_classifier(name, classes):
    estimator = CLASSIFIERS[name](np.minimum(CLASS, classes - 1))
    explanation = Occlusion(estimator)(ROWS)
    predicted = estimator.predict(ROWS)
    assert explanation.targets.tolist() == predicted.tolist()
    assert explanation.class_names == tuple(map(str, range(classes)))
    probabilities = estimator.predict_proba(ROWS)
    np.testing.assert_allclose(explanation.scores, probabilities.max(axis=1), rtol=1e-12)
    assert_same(explanation.values, drops(estimator.predict_proba, target=predicted), 1e-6)
    assert explanation.config["operator"] == "classification"
    each = Occlusion(estimator).explain_each(ROWS, "all")
    assert len(each) == classes
    assert_same(each[1].values, drops(estimator.predict_proba, target=1), 1e-6)


@pytest.mark.parametrize("make", [BlackBox, wrap], ids=["BlackBox", "wrap"])
def test_names_of_classes_are_targets(make):
    names = np.array(["setosa", "virginica", "versicolor"])
    estimator = fitted(linear_model.LogisticRegression(), names[CLASS])
    assert estimator.classes_.tolist() == ["setosa", "versicolor", "virginica"]
    explanation = Occlusion(make(estimator))(ROWS, "virginica")
    assert explanation.targets.tolist() == [2] * 6
    assert explanation.label(0).startswith("virginica")
    assert_same(explanation.values, drops(estimator.predict_proba, target=2), 1e-6)
    by_index = Occlusion(estimator)(ROWS, 2)
    np.testing.assert_array_equal(by_index.values, explanation.values)
    own = Occlusion(make(estimator, class_names=["a", "b", "c"]))(ROWS, "c")
    np.testing.assert_array_equal(own.values, explanation.values)
    with pytest.raises(ValueError, match=r"`targets`.*'virginia'.*Did you mean 'virginica'"):
        Occlusion(estimator)(ROWS, "virginia")


@pytest.mark.parametrize("labels", [[3, 5, 9], [1, 2, 3], [-1, 0, 1], [1.0, 2.0, 3.5]], ids=str)
def test_integers_could_mean_labels_or_columns_and_are_refused(labels):
    estimator = fitted(
        linear_model.LogisticRegression(), preprocessing.LabelEncoder().fit_transform(CLASS)
    )
    estimator.classes_ = np.array(labels)
    explainer = Occlusion(estimator)
    for targets in (1, [0, 1, 2, 0, 1, 2]):
        with pytest.raises(ValueError, match=rf"`targets` must be names.*'{labels[0]}'"):
            explainer(ROWS, targets)
    expected = drops(estimator.predict_proba, target=1)
    assert_same(explainer(ROWS, str(labels[1])).values, expected, 1e-6)
    weights = np.tile([0.0, 1.0, 0.0], (6, 1))
    assert_same(explainer(ROWS, weights).values, expected, 1e-6)
    assert explainer(ROWS).targets.max() <= 2


def test_booleans_are_the_classes_0_and_1():
    estimator = fitted(linear_model.LogisticRegression(), CLASS > 0)
    explanation = Occlusion(estimator)(ROWS, 1)
    assert explanation.class_names == ("False", "True")
    assert_same(explanation.values, drops(estimator.predict_proba, target=1), 1e-6)


REGRESSORS = {
    "linear": lambda: fitted(linear_model.LinearRegression(), VALUE),
    "pipeline": lambda: fitted(
        pipeline.make_pipeline(preprocessing.StandardScaler(), linear_model.Ridge()), VALUE
    ),
    "boosted": lambda: fitted(
        ensemble.HistGradientBoostingRegressor(max_iter=5, min_samples_leaf=2), VALUE
    ),
}


@pytest.mark.parametrize("name", REGRESSORS)
def test_regressor(name):
    estimator = REGRESSORS[name]()
    for explanation in (Occlusion(estimator)(ROWS), Occlusion(estimator)(ROWS, 0)):
        np.testing.assert_allclose(explanation.scores, estimator.predict(ROWS), rtol=1e-12)
        assert_same(explanation.values, drops(estimator.predict), 1e-6)
        assert explanation.config["operator"] == "regression"


def test_linear_regression_has_its_closed_form():
    estimator = REGRESSORS["linear"]()
    assert_same(Occlusion(estimator)(ROWS).values, ROWS * estimator.coef_, 1e-6)


def test_regressor_of_several_columns_needs_a_target():
    estimator = fitted(linear_model.LinearRegression(), np.stack([VALUE, -VALUE], axis=1))
    with pytest.raises(ValueError, match=r"`targets` must say which of the 2 columns"):
        Occlusion(estimator)(ROWS)
    assert_same(Occlusion(estimator)(ROWS, 1).values, -ROWS * estimator.coef_[0], 1e-6)


def test_classifier_of_several_outputs_needs_select():
    estimator = fitted(
        multioutput.MultiOutputClassifier(linear_model.LogisticRegression()),
        np.stack([CLASS, CLASS > 0], axis=1),
    )
    with pytest.raises(ValueError, match=r"`select` must say which of the model's 2 outputs"):
        Occlusion(estimator)(ROWS)
    explanation = Occlusion(wrap(estimator, select=1))(ROWS, 1)
    expected = drops(lambda x: estimator.predict_proba(x)[1], target=1)
    assert_same(explanation.values, expected, 1e-6)


@pytest.mark.parametrize(
    ("make", "error", "says"),
    [
        (linear_model.LogisticRegression, ValueError, "must be fitted.*LogisticRegression.*`fit`"),
        (linear_model.LinearRegression, ValueError, "must be fitted.*LinearRegression"),
        (
            lambda: pipeline.make_pipeline(
                preprocessing.StandardScaler(), linear_model.LogisticRegression()
            ),
            ValueError,
            "must be fitted.*Pipeline",
        ),
        (
            lambda: fitted(svm.LinearSVC()),
            ValueError,
            "must have `predict_proba`.*LinearSVC.*CalibratedClassifierCV.*decision_function",
        ),
        (
            lambda: fitted(pipeline.make_pipeline(svm.LinearSVC())),
            ValueError,
            "must have `predict_proba`.*Pipeline",
        ),
        (
            lambda: cluster.KMeans(2, n_init=1, random_state=0).fit(X),
            ValueError,
            "must be a classifier or a regressor.*KMeans.*function",
        ),
        (
            lambda: ensemble.IsolationForest(n_estimators=2).fit(X),
            ValueError,
            "must be a classifier or a regressor.*IsolationForest.*score_samples",
        ),
        (preprocessing.StandardScaler, TypeError, "must be one of.*StandardScaler"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
@pytest.mark.parametrize("explainer", [Occlusion, RandomMap])
def test_estimator_that_cannot_be_explained(make, error, says, explainer):
    with pytest.raises(error, match=f"`model` {says}"):
        explainer(make())


def test_method_of_an_estimator_is_a_function():
    machine = fitted(svm.LinearSVC())
    explanation = Occlusion(machine.decision_function)(ROWS, 1)
    assert_same(explanation.values, drops(machine.decision_function, target=1), 1e-6)
    forest = ensemble.IsolationForest(n_estimators=2, random_state=0).fit(X)
    found = regression(forest.score_samples)(ROWS)
    assert_same(found.values, drops(forest.score_samples), 1e-6)


class Foreign:
    """An estimator of a package that knows nothing of scikit-learn's tags."""

    _estimator_type = "classifier"
    classes_ = np.array(["no", "yes"])

    def get_params(self, deep=True):
        return {}

    def predict(self, x):
        return self.classes_[(column(x) > 0).astype(int)]

    def predict_proba(self, x):
        p = 1 / (1 + np.exp(-column(x)))
        return np.stack([1 - p, p], axis=1)


def test_estimators_of_other_packages():
    explanation = Occlusion(Foreign())(ROWS, "yes")
    assert_same(explanation.values, drops(Foreign().predict_proba, target=1), 1e-6)
    regressor = type("Other", (Foreign,), {"_estimator_type": "regressor", "predict": column})
    regressor.predict = lambda self, x: column(x)
    assert_same(Occlusion(regressor())(ROWS).values, drops(column), 1e-6)
    unknown = type("Unknown", (Foreign,), {"_estimator_type": None})
    with pytest.raises(ValueError, match=r"`model` must be a classifier or a regressor.*Unknown"):
        Occlusion(unknown())


@pytest.mark.filterwarnings("ignore")
def test_keras_model_behind_scikit_learns_interface():
    def build(x, y, loss):
        made = keras.Sequential([keras.Input((4,)), layers.Dense(1)])
        made.compile(loss=loss, optimizer="sgd")
        return made

    estimator = keras.wrappers.SKLearnRegressor(build, model_kwargs={"loss": "mse"})
    estimator.fit(X.astype("float32"), VALUE.astype("float32"), epochs=1, verbose=0)
    explanation = Occlusion(estimator)(ROWS[:2].astype("float32"))
    weights = np.asarray(ops.convert_to_numpy(estimator.model_.weights[0]))[:, 0]
    assert_same(explanation.values, ROWS[:2] * weights, 1e-4)


# --- DataFrames ---------------------------------------------------------------------------------


def frame():
    return pd.DataFrame(
        {
            "age": pd.Series([30, 41, 2**60 + 1], dtype="int64"),
            "height": pd.Series([1.5, np.nan, 1.75], dtype="float64"),
            "colour": pd.Series(["red", "blue", "red"], dtype="category"),
            "smokes": pd.Series([True, False, True], dtype="bool"),
            "name": pd.Series(["ann", None, "cy"], dtype="str"),
            "count": pd.Series([1, pd.NA, 3], dtype="Int64"),
            "short": pd.Series([1.25, 2.5, 3.75], dtype="float32"),
            "when": pd.to_datetime(["2020-01-01", "2021-06-01", "2022-12-31"]),
            "thing": pd.Series([None, "b", 3], dtype="object"),
        },
        index=[10, 20, 30],
    )


def test_dataframes_come_back_with_their_columns_and_types():
    given, seen = frame(), []

    def predict(x):
        seen.append(x)
        return np.zeros(len(x)) + x["age"].isna()

    explanation = regression(predict, baseline=lambda x: x, batch_size=4)(given, 0)
    whole = given.reset_index(drop=True)
    for x in seen:
        assert type(x) is pd.DataFrame
        assert list(x.columns) == list(given.columns)
        assert x.dtypes.tolist() == given.dtypes.tolist()
    pd.testing.assert_frame_equal(seen[1], whole)
    rows = np.arange(len(given)).tolist() * 9
    masked = pd.concat(seen[2:], ignore_index=True)
    pd.testing.assert_frame_equal(masked, whole.iloc[rows].reset_index(drop=True))
    assert explanation.feature_names == tuple(given.columns)
    pd.testing.assert_frame_equal(given, frame())


def test_masked_cells_of_a_dataframe():
    given, seen = frame()[["age", "height", "colour", "smokes", "name"]], []

    def predict(x):
        seen.append(x)
        return np.arange(len(x), dtype=float)

    blank = np.array([7, 0.5, "blue", False, "nobody"], dtype=object)
    regression(predict, baseline=blank)(given.iloc[:1], 0)
    masked = seen[2]
    assert masked.dtypes.tolist() == given.dtypes.tolist()
    expected = pd.concat([given.iloc[:1]] * 5, ignore_index=True)
    for k, name in enumerate(given.columns):
        expected.loc[k, name] = blank[k]
    pd.testing.assert_frame_equal(masked, expected)


@pytest.mark.parametrize(
    ("baseline", "types"),
    [
        (0.5, ["float64", "float64", "bool"]),
        (np.nan, ["float64", "float64", "object"]),
        (np.array([2, 0, True], object), ["int64", "float64", "bool"]),
    ],
    ids=["fraction", "missing", "whole"],
)
def test_columns_that_cannot_hold_the_baseline_are_promoted(baseline, types):
    given = pd.DataFrame({"i": [1, 2], "f": [0.25, 0.5], "b": [True, False]})
    seen = []

    def predict(x):
        seen.append(x)
        return np.zeros(len(x))

    regression(predict, baseline=baseline)(given, 0)
    found = [str(dtype) for dtype in seen[2].dtypes]
    assert found[:2] == types[:2]
    if types[2] != "bool":
        found[2] = str(seen[2]["b"].dtype)
    assert found[2] == (types[2] if baseline is not 0.5 else found[2])
    start = np.broadcast_to(np.asarray(baseline, object), (3,))
    for k, name in enumerate(given.columns):
        cells = seen[2][name].tolist()
        assert cells[2 * k] == cells[2 * k + 1] or start[k] != start[k]
        assert [cell for j, cell in enumerate(cells) if j // 2 != k] == given[name].tolist() * 2


def test_dataframe_of_one_type_is_an_array_with_names():
    given = pd.DataFrame(ROWS, columns=list("pqrs"))
    estimator = linear_model.LinearRegression().fit(pd.DataFrame(X, columns=list("pqrs")), VALUE)
    explanation = Occlusion(estimator)(given)  # other names would be a warning, thus an error
    assert_same(explanation.values, ROWS * estimator.coef_, 1e-6)
    assert explanation.feature_names == ("p", "q", "r", "s")
    assert explanation.inputs.dtype == np.float64
    assert explanation.fingerprints is not None
    own = Occlusion(wrap(estimator, feature_names=list("abcd")))(given)
    assert own.feature_names == ("a", "b", "c", "d")


def test_numbers_of_several_types_are_numbers():
    given = pd.DataFrame({"i": [1, 2], "f": [0.25, 0.5], "b": [True, False]})
    explanation = regression(lambda x: x["i"] + 10.0 * x["b"])(given, 0)
    assert explanation.inputs.dtype == np.float64
    np.testing.assert_array_equal(explanation.values, [[1, 0, 10], [2, 0, 0]])
    assert RandomMap(lambda x: x.to_numpy(float))(given).values.shape == (2, 3)


def test_pipeline_over_the_columns_of_a_dataframe():
    from sklearn import compose

    given = frame()[["age", "height", "colour", "smokes"]].assign(age=[30, 41, 25])
    given = pd.concat([given] * 4, ignore_index=True)
    columns = compose.make_column_transformer(
        (preprocessing.OneHotEncoder(handle_unknown="ignore"), ["colour"]),
        (preprocessing.StandardScaler(), ["age"]),
        ("passthrough", ["smokes"]),
    )
    estimator = pipeline.make_pipeline(columns, linear_model.LogisticRegression())
    estimator.fit(given, np.array(["no", "yes", "no"] * 4))
    blank = np.array([30, 0.0, "green", False], dtype=object)
    explanation = Occlusion(estimator, baseline=blank)(given.iloc[:3], "yes")
    whole = estimator.predict_proba(given.iloc[:3])[:, 1]
    np.testing.assert_allclose(explanation.scores, whole, rtol=1e-12)
    grey = given.iloc[:3].assign(colour=["green"] * 3)
    drop = whole - estimator.predict_proba(grey)[:, 1]
    assert_same(explanation.values[:, 2], drop, 1e-6)
    assert not explanation.values[:, 1].any()


def test_names_of_columns_need_not_be_strings_nor_differ():
    given = pd.DataFrame(np.eye(3), columns=[1, "a", "a"])

    def predict(x):
        assert x.columns.tolist() == [1, "a", "a"]
        return x.to_numpy() @ [1.0, 2.0, 3.0]

    explanation = regression(predict)(given, 0)
    assert explanation.feature_names == ("1", "a", "a")
    np.testing.assert_array_equal(explanation.values, np.diag([1.0, 2.0, 3.0]))


def test_dataframe_for_a_keras_model_is_an_array_with_names():
    x = tiny_models.KINDS["table"].inputs()
    explainer = Occlusion(tiny_models.model("table"))
    explanation = explainer(pd.DataFrame(x, columns=list("abcd")), 0)
    assert_same(explanation.values, explainer(x, 0).values)
    assert explanation.feature_names == ("a", "b", "c", "d")


def test_dataframes_are_streamed():
    given = pd.DataFrame(ROWS, columns=list("pqrs"))
    found = list(regression(lambda x: x["p"]).stream([given[:4], given[4:]], 0))
    assert [len(part) for part in found] == [4, 2]
    assert found[1].feature_names == ("p", "q", "r", "s")


# --- what a function returns --------------------------------------------------------------------

Pair = namedtuple("Pair", ["first", "second"])
RETURNED = {
    "list of rows": lambda x: [row for row in linear(x)],
    "list of lists": lambda x: linear(x).tolist(),
    "float32": lambda x: linear(x).astype("float32"),
    "float16": lambda x: linear(x).astype("float16"),
    "long double": lambda x: linear(x).astype("longdouble"),
    "tensor": lambda x: ops.convert_to_tensor(linear(x)),
    "list of tensors": lambda x: [ops.convert_to_tensor(row) for row in linear(x)],
    "objects": lambda x: linear(x).astype(object),
    "frame": lambda x: pd.DataFrame(linear(x)),
    "logits": lambda x: SimpleNamespace(logits=linear(x), hidden=x),
    "one of one": lambda x: (linear(x),),
}


@pytest.mark.parametrize("name", RETURNED)
@pytest.mark.parametrize("rows", [1, 6])
def test_what_may_be_returned(name, rows):
    found = Occlusion(RETURNED[name])(ROWS[:rows], 1)
    tolerance = {"float16": 5e-3}.get(name, 1e-6)
    assert_same(found.values, drops(linear, ROWS[:rows], 1), tolerance)
    assert found.scores.dtype in (np.float32, np.float64)


def test_half_precision_tensors_of_the_framework():
    found = Occlusion(lambda x: ops.cast(ops.convert_to_tensor(linear(x)), "bfloat16"))(ROWS, 1)
    assert_same(found.values, drops(linear, target=1), 5e-2)


@pytest.mark.parametrize("rows", [1, 2, 6])
@pytest.mark.parametrize(
    "returned",
    [
        column,
        lambda x: list(column(x)),
        lambda x: column(x)[:, None],
        lambda x: pd.Series(column(x)),
    ],
    ids=["array", "list", "one column", "series"],
)
def test_one_number_per_row(returned, rows):
    x = ROWS[:rows]
    assert_same(regression(returned)(x).values, drops(column, x))
    # A classifier of one column has the classes 1, the column, and 0, its opposite.
    assert_same(Occlusion(returned)(x).values, drops(column, x))
    assert_same(Occlusion(returned)(x, 0).values, -drops(column, x))


@pytest.mark.parametrize("kind", [int, bool])
def test_integers_and_booleans_become_floats(kind):
    found = Occlusion(lambda x: (linear(x) > 0).astype(kind))(ROWS, 0)
    assert found.scores.dtype == np.float64
    assert_same(found.values, drops(lambda x: (linear(x) > 0).astype(float)))


@pytest.mark.parametrize(
    ("returned", "select"),
    [
        (lambda x: (x, linear(x)), 1),
        (lambda x: [x, linear(x)], -1),
        (lambda x: {"a": x, "b": linear(x)}, "b"),
        (lambda x: Pair(x, linear(x)), "second"),
        (lambda x: Pair(x, linear(x)), 1),
        (lambda x: SimpleNamespace(deep=linear(x)), "deep"),
        (lambda x: SimpleNamespace(deep=[linear(x)]), lambda output: output.deep[0]),
        (lambda x: (x, ops.convert_to_tensor(linear(x))), 1),
        (lambda x: (np.zeros(3), linear(x)), 1),
        (lambda x: linear(x), lambda output: output[:, :2]),
    ],
    ids=[
        "tuple",
        "list",
        "dict",
        "name",
        "index",
        "attribute",
        "callable",
        "tensor",
        "other",
        "all",
    ],
)
def test_select_picks_one_of_several_outputs(returned, select):
    found = Occlusion(wrap(returned, select=select))(ROWS, 0)
    assert_same(found.values, drops(linear), 1e-6)


def test_several_outputs_need_select():
    with pytest.raises(ValueError, match=r"`select` must say which of the model's 2 outputs.*0, 1"):
        Occlusion(lambda x: (x, linear(x)))(ROWS, 0)
    with pytest.raises(ValueError, match=r"`select` must name one output.*3.*2 outputs"):
        Occlusion(wrap(lambda x: (x, linear(x)), select=3))(ROWS, 0)


@pytest.mark.parametrize(
    ("returned", "error", "says"),
    [
        (lambda x: None, TypeError, "`model` must return a tensor.*NoneType"),
        (lambda x: "cat", TypeError, "`model` must return a tensor.*str"),
        (lambda x: np.full(len(x), "cat"), TypeError, "`model` must return numbers.*<U3"),
        (lambda x: ["cat"] * len(x), TypeError, "`model` must return numbers.*<U3"),
        (lambda x: np.full(len(x), None), TypeError, "`model` must return numbers.*object"),
        (lambda x: linear(x) * 1j, TypeError, "`model` must return numbers.*complex128"),
        (lambda x: 1.0, ValueError, r"`model` must return one row for each.*1.*\(\)"),
        (lambda x: linear(x)[0], ValueError, r"`model` must return one row for each.*1.*\(2,\)"),
        (lambda x: np.ones((3, 2)), ValueError, r"`model` must return one row for.*1.*\(3, 2\)"),
        (lambda x: np.ones((1, 2)), ValueError, r"`model` must return one row for.*6.*\(1, 2\)"),
        (lambda x: [column(x), column(x)], ValueError, r"`model` must return one row.*\(2, 1\)"),
        (lambda x: [[1.0], [1.0, 2.0]], ValueError, "`output of the model` must be an array"),
        (lambda x: x[:, :, None], ValueError, "`operator` must say how outputs of more than two"),
        (lambda x: linear(x) * np.nan, ValueError, "`operator` must give finite scores of the in"),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else None,
)
def test_what_may_not_be_returned(returned, error, says):
    with pytest.raises(error, match=says):
        Occlusion(returned)(ROWS, 0)


class OwnError(Exception):
    """An error that only this function raises."""


@pytest.mark.parametrize("at", [1, 2, 3])
@pytest.mark.parametrize("error", [OwnError, ValueError, TypeError, KeyboardInterrupt])
def test_errors_of_the_function_pass_unchanged(error, at):
    raised, calls = error("of my own"), []

    def failing(x):
        calls.append(len(x))
        if len(calls) == at:
            raise raised
        return linear(x)

    explainer = Occlusion(failing, batch_size=8)
    with pytest.raises(error) as caught:
        explainer(ROWS, 0)
    assert caught.value is raised
    assert_same(explainer(ROWS, 0).values, drops(linear))


# --- the score ----------------------------------------------------------------------------------


def softmax(x):
    return oracles.softmax(linear(x))


def sigmoid(x):
    return 1 / (1 + np.exp(-column(x)))


@pytest.mark.parametrize(
    ("output", "model", "expected"),
    [
        ("raw", linear, linear),
        ("logits", linear, linear),
        ("softmax", linear, softmax),
        ("softmax", softmax, softmax),
        ("sigmoid", column, sigmoid),
    ],
    ids=["raw", "logits", "softmax", "softmax of one", "sigmoid"],
)
def test_output_is_what_the_function_returns_or_what_is_added(output, model, expected):
    target = 1 if expected is sigmoid else 0
    explanation = Occlusion(model, output=output)(ROWS, target)
    scores = expected(ROWS)
    assert_same(explanation.scores, scores if scores.ndim == 1 else scores[:, 0], 1e-6)
    assert_same(explanation.values, drops(expected))


@pytest.mark.parametrize(
    ("output", "model", "says"),
    [
        ("logits", softmax, "logits.*probabilities"),
        ("sigmoid", softmax, "sigmoid.*ends in softmax"),
        ("softmax", column, "softmax.*two output columns"),
    ],
)
def test_output_that_the_function_cannot_give(output, model, says):
    with pytest.raises(ValueError, match=f"(?i)`output=.*{says}"):
        Occlusion(model, output=output)(ROWS, 0)


def test_custom_operator_receives_numpy_arrays():
    seen = []

    def margin(model, inputs, targets):
        outputs = model(inputs)
        seen.extend(type(one) for one in (inputs, outputs, targets["weight"]))
        return (outputs[:, 0] - outputs[:, 1]) * targets["weight"]

    weight = np.arange(1.0, 7.0)
    explanation = Occlusion(linear, operator=margin)(ROWS, {"weight": weight})
    assert set(seen) == {np.ndarray}
    expected = ROWS * (WEIGHTS[:, 0] - WEIGHTS[:, 1]) * weight[:, None]
    assert_same(explanation.values, expected)
    plain = Occlusion(linear, operator=lambda model, inputs, targets: model(inputs)[:, 1])(ROWS)
    assert plain.targets is None
    assert_same(plain.values, drops(linear, target=1))


@pytest.mark.parametrize(
    ("returned", "says"),
    [
        (lambda out: out, r"one score per row.*\(1, 2\)"),
        (lambda out: out[:, 0].tolist(), "one score per row.*list"),
        (lambda out: out.argmax(axis=1), "floats.*int64"),
        (lambda out: out.sum(), r"one score per row.*\(\)"),
    ],
    ids=["columns", "list", "integers", "number"],
)
def test_custom_operator_that_gives_no_scores(returned, says):
    explainer = Occlusion(linear, operator=lambda model, x, targets: returned(model(x)))
    with pytest.raises(ValueError, match=f"`operator` must return {says}"):
        explainer(ROWS)


def test_several_targets_share_the_rows():
    seen = []

    def counting(x):
        seen.append(len(x))
        return linear(x)

    first, second = Occlusion(counting).explain_each(ROWS, [0, 1])
    assert sum(seen) == 1 + 6 * 5
    assert_same(first.values, drops(linear))
    assert_same(second.values, drops(linear, target=1))


# --- explainers ---------------------------------------------------------------------------------


def test_random_map_of_a_black_box_has_its_scores():
    explanation = RandomMap(linear, batch_size=4)(ROWS, 1)
    np.testing.assert_array_equal(explanation.values, RandomMap()(ROWS).values)
    np.testing.assert_allclose(explanation.scores, linear(ROWS)[:, 1], rtol=1e-12)
    with pytest.raises(TypeError, match=r"`inputs` must be numbers.*objects"):
        RandomMap(lengths)(WORDS, 0)


def test_attribute_gives_tensors_of_the_backend():
    tensor = Occlusion(linear).attribute(ROWS, 0)
    assert ops.is_tensor(tensor)
    assert_same(ops.convert_to_numpy(tensor), drops(linear))


def test_explainer_of_an_estimator_survives_pickling():
    explainer = Occlusion(CLASSIFIERS["logistic"](CLASS), batch_size=7)
    loaded = pickle.loads(pickle.dumps(explainer))
    np.testing.assert_array_equal(loaded(ROWS).values, explainer(ROWS).values)
    assert loaded.batch_size == 7


def test_refitted_estimator_is_explained_as_it_is_now():
    estimator = linear_model.LinearRegression().fit(X, VALUE)
    explainer = Occlusion(estimator)
    before = explainer(ROWS).values
    estimator.fit(X, -VALUE)
    assert_same(explainer(ROWS).values, -before, 1e-6)


def test_with_model_goes_from_one_kind_of_model_to_another():
    x = tiny_models.KINDS["table"].inputs()
    explainer = Occlusion(linear, batch_size=5)
    moved = explainer.with_model(tiny_models.model("table"))
    assert moved.batch_size == 5
    assert_same(moved(x, 0).values, Occlusion(tiny_models.model("table"))(x, 0).values)
    assert_same(moved.with_model(linear)(ROWS, 0).values, drops(linear))


def test_package_names_the_wrappers():
    assert xai.wrappers.BlackBox is BlackBox
    assert xai.wrappers.wrap is xai.wrap
    assert re.search("black box", xai.wrap.__doc__)
