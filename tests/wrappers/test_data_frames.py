"""DataFrames for black boxes: the same columns and types, and names of features."""

import numpy as np
import pandas as pd
import pytest
from sklearn import compose, linear_model, pipeline, preprocessing

import tiny_models
from black_boxes import ROWS, VALUE, X, regression
from oracles import assert_same
from xai_core import attributions, wrap
from xai_core.attributions import IntegratedGradients, Occlusion, RandomMap, SmoothGrad
from xai_core.metrics import Deletion


def frame():
    made = pd.DataFrame(
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
            "note": pd.Series([None, "b", "c"], dtype="object"),
        }
    )
    return made.set_axis([10, 20, 30])


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
    rows = np.arange(len(given)).tolist() * 10
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
        (0, ["int64", "float64", "bool"]),
        (np.array([2, 0.75, True], object), ["int64", "float64", "bool"]),
        (0.5, ["float64", "float64", "float64"]),
        (np.nan, ["float64", "float64", "float64"]),
    ],
    ids=["zero", "own", "fraction", "missing"],
)
def test_columns_that_cannot_hold_the_baseline_are_promoted(baseline, types):
    given = pd.DataFrame({"i": [1, 2], "f": [0.25, 0.5], "b": [True, False]})
    seen = []

    def predict(x):
        seen.append(x)
        return np.zeros(len(x))

    regression(predict, baseline=baseline)(given, 0)
    masked = seen[2]
    assert [str(dtype) for dtype in masked.dtypes] == types
    start = np.broadcast_to(np.asarray(baseline, float), (3,))
    for k, name in enumerate(given.columns):
        expected = np.tile(given[name].to_numpy(float), 3)
        expected[2 * k : 2 * k + 2] = start[k]
        np.testing.assert_array_equal(masked[name].to_numpy(float), expected)


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


# --- baselines with names, and beside words -----------------------------------------------------

NAMED = pd.DataFrame(ROWS, columns=list("pqrs"))
OTHER = r"`baseline` must have the columns of the inputs, \('p', 'q', 'r', 's'\)\. Received: "


def other_columns():
    mean = NAMED.mean()
    return {
        "order": (mean[::-1], r"\('s', 'r', 'q', 'p'\)\. Order it.*baseline\[list"),
        "name": (mean.rename({"p": "z"}), r"\('z', 'q', 'r', 's'\)\.$"),
        "fewer": (mean[:2], r"\('p', 'q'\)"),
        "frame": (NAMED[list("srqp")], r"\('s', 'r', 'q', 'p'\)"),
        "list": ([0.0, mean[::-1]], r"\('s', 'r', 'q', 'p'\)"),
    }


@pytest.mark.parametrize("case", other_columns())
@pytest.mark.parametrize("name", ["Occlusion", "LIME", "KernelSHAP", "ShapleySampling", "RISE"])
def test_a_baseline_of_other_columns_is_refused(name, case):
    baseline, received = other_columns()[case]
    with pytest.raises(ValueError, match=OTHER + received):
        getattr(attributions, name)(lambda x: x["p"], baseline=baseline)(NAMED, 0)
    with pytest.raises(ValueError, match=OTHER + received):
        Deletion(lambda x: x["p"], baseline=baseline)(ROWS, NAMED)


@pytest.mark.parametrize("case", other_columns())
@pytest.mark.parametrize("name", ["IntegratedGradients", "DeepLIFT", "LIME", "Occlusion"])
def test_a_baseline_of_other_columns_is_refused_for_a_network(name, case):
    baseline, received = other_columns()[case]
    explainer = getattr(attributions, name)(tiny_models.model("table"), baseline=baseline)
    with pytest.raises(ValueError, match=OTHER + received):
        explainer(NAMED, 0)


def test_a_baseline_of_other_columns_is_refused_below_a_wrapper():
    inner = IntegratedGradients(tiny_models.model("table"), baseline=NAMED.mean()[::-1])
    with pytest.raises(ValueError, match=OTHER):
        SmoothGrad(inner, noise=0.1, noise_scale="absolute")(NAMED, 0)


def test_a_baseline_with_the_names_of_the_columns():
    weights = [1.0, 2.0, 3.0, 4.0]
    explainer = regression(lambda x: x.to_numpy() @ weights, baseline=NAMED.mean())
    assert_same(explainer(NAMED, 0).values, (ROWS - ROWS.mean(axis=0)) * weights, 1e-6)
    one = NAMED[:1]
    assert not regression(lambda x: x["p"], baseline=one)(one, 0).values.any()


def test_without_names_positions_count():
    weights = [1.0, 2.0, 3.0, 4.0]
    explainer = regression(lambda x: x @ weights, baseline=NAMED.mean().rename({"p": "z"}))
    assert_same(explainer(ROWS, 0).values, (ROWS - ROWS.mean(axis=0)) * weights, 1e-6)


WORDS = pd.DataFrame({"age": [30, 41, 25], "colour": ["red", "blue", "red"]})


@pytest.mark.parametrize(
    "name", ["Occlusion", "LIME", "KernelSHAP", "ShapleySampling", "RISE", "HSIC"]
)
@pytest.mark.parametrize(
    ("given", "column"), [(WORDS, "'colour'"), (WORDS.to_numpy(), "1")], ids=["frame", "array"]
)
def test_a_number_does_not_stand_for_words(name, given, column):
    method = getattr(attributions, name)
    model = wrap(lambda x: np.zeros(len(x)))
    with pytest.raises(ValueError, match=rf"Received: 0\.0, while column {column} holds words"):
        method(model)(given, 0)
    with pytest.raises(ValueError, match=r"Received: 7.*`background=`, or one value per column"):
        method(model, baseline=7)(given, 0)
    assert method(model, background=given)(given, 0).values.shape == (3, 2)
    assert method(model, baseline=np.array([0, "red"], object))(given, 0).values.shape == (3, 2)


def test_names_of_a_model_tell_which_column_holds_words():
    model = wrap(lambda x: np.zeros(len(x)), feature_names=["years", "paint"])
    with pytest.raises(ValueError, match="column 'paint' holds words"):
        Occlusion(model)(WORDS, 0)


def test_a_number_does_not_stand_for_words_in_a_metric():
    model = wrap(lambda x: np.zeros(len(x)))
    with pytest.raises(
        ValueError, match=r"column 'colour' holds words\. Pass one value per column"
    ):
        Deletion(model)(np.zeros((3, 2)), WORDS)


def test_what_is_missing_may_stand_for_words():
    found = regression(lambda x: 1.0 * x["colour"].isna(), baseline=np.nan)(WORDS, 0)
    np.testing.assert_array_equal(found.values, [[0, -1]] * 3)
