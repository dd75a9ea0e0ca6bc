"""Estimators of scikit-learn and its like: classifiers, regressors, names of classes."""

import keras
import numpy as np
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

from black_boxes import CLASS, ROWS, VALUE, X, column, drops, regression
from oracles import assert_same
from xai_core import wrap
from xai_core.attributions import Occlusion, RandomMap
from xai_core.wrappers import BlackBox


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
    def build(X, y):  # noqa: N803, the names that it is called by
        made = keras.Sequential([keras.Input((4,)), layers.Dense(1)])
        made.compile(loss="mse", optimizer="sgd")
        return made

    estimator = keras.wrappers.SKLearnRegressor(build)
    estimator.fit(X.astype("float32"), VALUE.astype("float32"), epochs=1, verbose=0)
    explanation = Occlusion(estimator)(ROWS[:2].astype("float32"))
    weights = np.asarray(ops.convert_to_numpy(estimator.model_.weights[0]))[:, 0]
    assert_same(explanation.values, ROWS[:2] * weights, 1e-4)


def test_all_targets_of_classes_that_do_not_count_from_zero():
    labels = np.arange(len(X)) % 3
    first, shifted = (
        linear_model.LogisticRegression().fit(X, labels + offset) for offset in (0, 3)
    )
    each = Occlusion(shifted).explain_each(X, "all")
    assert [one.label(0).split()[0] for one in each] == ["3", "4", "5"]
    for one, same in zip(each, Occlusion(first).explain_each(X, "all"), strict=True):
        assert_same(one.values, same.values)
    with pytest.raises(ValueError, match="such as 'a'"):
        RandomMap(wrap(shifted, class_names=["a", "b", "c"]))(X, 4)


def test_output_is_computed_in_the_precision_of_the_black_box():
    weights = np.random.default_rng(0).normal(size=(X.shape[1], 3))
    z = X.astype("float64") @ weights
    model = BlackBox(lambda x: x @ weights)
    wanted = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    found = RandomMap(model, output="softmax")(X.astype("float64"), 1).scores
    np.testing.assert_allclose(found, wanted[:, 1], rtol=1e-14)
    found = RandomMap(model, output="sigmoid")(X.astype("float64"), 1).scores
    np.testing.assert_allclose(found, 1 / (1 + np.exp(-z[:, 1])), rtol=1e-14)
