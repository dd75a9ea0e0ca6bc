"""One table of what users of the methods of random masks get wrong, parameter by parameter."""

import re

import numpy as np
import pandas
import pytest
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.neighbors import KNeighborsRegressor
from sklearn.tree import DecisionTreeRegressor

import tiny_models
from naming import shown
from tiny_models import KINDS
from xai_core.attributions import HSIC, LIME, RISE, KernelSHAP, Occlusion, ShapleySampling, Sobol

SAMPLED = [RISE, LIME, KernelSHAP, ShapleySampling, Sobol, HSIC]
WITH_ERRORS = [RISE, KernelSHAP, ShapleySampling, Sobol, HSIC]
MASK = np.zeros(3, int)
ROWS = np.zeros((2, 3))
NAN = float("nan")


def each(methods, *wrong):
    return [(method, *row) for method in methods for row in wrong]


def predict(x):
    return np.asarray(x).reshape(len(x), -1).sum(1)


def only_probed():
    """A function that is to see one row, for the shape of its output, and no other."""
    calls = []

    def predict(x):
        calls.append(x)
        if len(calls) > 1:
            raise RuntimeError("The model ran.")
        return np.zeros((len(next(iter(x.values()))) if isinstance(x, dict) else len(x), 2))

    return predict


# --- at construction ----------------------------------------------------------------------------

FIELDS = [
    *each(
        SAMPLED,
        ({"model": 3}, TypeError, "`model`"),
        ({"operator": "classed"}, ValueError, "`operator`.*classed"),
        ({"output": "logit"}, ValueError, "`output`.*'logit'"),
        ({"batch_size": 0}, ValueError, "`batch_size` must be at least 1.*0"),
        ({"progress": "yes"}, TypeError, "`progress`.*yes"),
        ({"grid_size": 0}, ValueError, "`grid_size` must be at least 1.*0"),
        ({"grid_size": 2.0}, TypeError, r"`grid_size` must be an integer.*2\.0"),
        ({"grid_size": (2, True)}, TypeError, "`grid_size` must be an integer.*True"),
        ({"feature_mask": np.zeros(3)}, TypeError, "`feature_mask` must hold integers.*float64"),
        ({"feature_mask": MASK, "grid_size": 2}, ValueError, "`grid_size` must be left out.*2"),
        ({"feature_mask": MASK, "per_channel": True}, ValueError, "`per_channel` must be left out"),
        ({"per_channel": 1}, TypeError, "`per_channel`.*1"),
        ({"seed": -1}, ValueError, "`seed` must be at least 0.*-1"),
        ({"seed": 0.5}, TypeError, r"`seed` must be an integer.*0\.5"),
        ({"seed": None}, TypeError, "`seed` must be an integer.*None"),
        ({"baseline": "median"}, ValueError, "`baseline`.*'median'"),
        ({"baseline": 0.0, "background": ROWS}, ValueError, "`baseline` must be left out beside"),
    ),
    *each([Occlusion], ({"baseline": 0.0, "background": ROWS}, ValueError, "`baseline`.*beside")),
    *each(
        WITH_ERRORS,
        ({"tolerance": -0.1}, ValueError, r"`tolerance` must be at least 0.*-0\.1"),
        ({"tolerance": "small"}, TypeError, "`tolerance`.*small"),
        ({"tolerance": NAN}, ValueError, "`tolerance` must be finite.*nan"),
    ),
    *each(
        [RISE],
        ({"n_samples": 0}, ValueError, "`n_samples` must be at least 32.*0"),
        ({"n_samples": 100, "keep_probability": 0.1}, ValueError, "at least 160.*every element"),
        ({"n_samples": 1e3}, TypeError, r"`n_samples` must be an integer.*1000\.0"),
        ({"keep_probability": 0}, ValueError, "`keep_probability`.*0"),
        ({"keep_probability": 1.0}, ValueError, r"`keep_probability`.*1\.0"),
        ({"keep_probability": "half"}, TypeError, "`keep_probability`.*half"),
        ({"normalization": "sum"}, ValueError, "`normalization` must be one of.*'sum'"),
    ),
    *each(
        [LIME],
        ({"n_samples": 1}, ValueError, "`n_samples` must be at least 2.*1"),
        ({"n_samples": 9.0}, TypeError, r"`n_samples` must be an integer.*9\.0"),
        ({"keep_probability": 0}, ValueError, "`keep_probability`.*0"),
        ({"keep_probability": 1.0}, ValueError, r"`keep_probability`.*1\.0"),
        ({"kernel_width": 0}, ValueError, "`kernel_width` must be above 0.*0"),
        ({"kernel_width": 0.01}, ValueError, r"`kernel_width` must be wide enough.*0\.01"),
        ({"kernel_width": "wide"}, TypeError, "`kernel_width`.*wide"),
        ({"regressor": Ridge}, TypeError, "`regressor`.*a class"),
        ({"regressor": "ridge"}, TypeError, "`regressor` must be a regressor of scikit-learn"),
        ({"regressor": KNeighborsRegressor()}, TypeError, "`regressor`.*sample_weight"),
        ({"regressor": DecisionTreeRegressor()}, TypeError, "`regressor`.*coef_"),
        ({"regressor": LogisticRegression()}, TypeError, "`regressor`.*a linear model of numbers"),
        ({"tolerance": 0.1}, ValueError, "`tolerance` needs standard errors"),
    ),
    *each(
        [KernelSHAP],
        ({"n_samples": 1}, ValueError, "`n_samples`.*1"),
        ({"n_samples": 2.5}, TypeError, r"`n_samples`.*2\.5"),
        ({"n_samples": "all"}, TypeError, "`n_samples` must be an integer or 'exact'.*'all'"),
        ({"link": "probit"}, ValueError, "`link`.*'probit'"),
    ),
    *each(
        [ShapleySampling],
        ({"n_permutations": 0}, ValueError, "`n_permutations` must be at least 1.*0"),
        ({"n_permutations": 1.5}, TypeError, r"`n_permutations` must be an integer.*1\.5"),
        ({"n_permutations": 7}, ValueError, "`n_permutations` must be even.*7"),
        ({"antithetic": 1}, TypeError, "`antithetic` must be True or False.*1"),
        ({"link": "probit"}, ValueError, "`link`.*'probit'"),
    ),
    *each(
        [Sobol],
        ({"n_design": 1}, ValueError, "`n_design` must be at least 2.*1"),
        ({"n_design": 32.0}, TypeError, r"`n_design` must be an integer.*32\.0"),
        ({"n_design": 20, "sampler": "sobol"}, ValueError, "`n_design`.*power of two.*20"),
        ({"n_blocks": 0}, ValueError, "`n_blocks` must be at least 1.*0"),
        ({"n_blocks": "two"}, TypeError, "`n_blocks` must be an integer.*two"),
        ({"sampler": "grid"}, ValueError, "`sampler` must be one of.*'grid'"),
        ({"estimator": "pearson"}, ValueError, "`estimator` must be one of.*'pearson'"),
        ({"first_order_estimator": "glen"}, ValueError, "`first_order_estimator`.*'glen'"),
        ({"perturbation": "noise"}, ValueError, "`perturbation` must be one of.*'noise'"),
        ({"sigma": 3}, ValueError, "`sigma` must be left out.*3"),
        ({"sigma": 1, "perturbation": "blurring"}, ValueError, "`sigma`.*1"),
        ({"sigma": 2.5, "perturbation": "blurring"}, TypeError, r"`sigma`.*2\.5"),
        ({"sigma": 0, "perturbation": "amplitude"}, ValueError, "`sigma` must be above 0.*0"),
        ({"baseline": 1.0, "perturbation": "blurring"}, ValueError, "`baseline` must be left"),
        ({"background": ROWS, "perturbation": "amplitude"}, ValueError, "`background` must be"),
        ({"tolerance": 0.1}, ValueError, "`tolerance` needs several blocks.*0.1 beside 1"),
        ({"tolerance": 0.1, "n_blocks": 3, "sampler": "halton"}, ValueError, "fewer than 8 blocks"),
        ({"tolerance": 0.1, "n_blocks": 2, "n_design": 4}, ValueError, "fewer than 16 rows"),
    ),
    *each(
        [HSIC],
        ({"n_samples": 3}, ValueError, "`n_samples` must be at least 4.*3"),
        ({"n_samples": 64.0}, TypeError, r"`n_samples` must be an integer.*64\.0"),
        ({"n_samples": 100, "sampler": "sobol"}, ValueError, "`n_samples`.*power of two.*100"),
        ({"sampler": "grid"}, ValueError, "`sampler` must be one of.*'grid'"),
        ({"masks": "real"}, ValueError, "`masks` must be one of.*'real'"),
        ({"kernel": "rbf"}, ValueError, "`kernel` must be None for binary masks.*'rbf'"),
        ({"kernel": "linear", "masks": "uniform"}, ValueError, "`kernel` must be one of.*'linear'"),
        ({"interactions": 1}, TypeError, "`interactions` must be True or False.*1"),
        ({"interactions": True, "sampler": "sobol"}, ValueError, "`interactions` needs.*'sobol'"),
        ({"p_value_permutations": -1}, ValueError, "`p_value_permutations` must be at least 0.*-1"),
        ({"p_value_permutations": 2.5}, TypeError, r"`p_value_permutations`.*2\.5"),
        (
            {"p_value_permutations": 9, "sampler": "halton"},
            ValueError,
            "`p_value_permutations` needs sampler 'lhs' or 'random'.*'halton'",
        ),
        ({"tolerance": 0.1, "sampler": "halton"}, ValueError, "`tolerance` needs standard errors"),
        ({"tolerance": 0.1, "n_samples": 100}, ValueError, "fewer than 128 masks"),
    ),
]


@pytest.mark.parametrize(("method", "fields", "error", "says"), FIELDS, ids=shown)
def test_wrong_fields_are_refused(method, fields, error, says):
    with pytest.raises(error, match=says):
        method(**{"model": only_probed(), **fields})


# --- at the call, before the model runs ---------------------------------------------------------

IMAGE, TABLE = (2, 8, 8, 1), (2, 3)
CALLS = [
    *each(
        SAMPLED,
        ({"grid_size": 9}, IMAGE, ValueError, "`grid_size` must be at most the input's side, 8.*9"),
        ({"grid_size": (2, 2, 2)}, IMAGE, ValueError, "`grid_size` must be one number, or one for"),
        ({"grid_size": 2}, TABLE, ValueError, "`grid_size` must be left out for a table.*2"),
        ({"baseline": np.zeros(5)}, TABLE, ValueError, r"`baseline`.*\(3,\).*\(5,\)"),
        ({"background": np.zeros((0, 3))}, TABLE, ValueError, "`background` must hold at least"),
        ({"background": np.zeros((2, 4))}, TABLE, ValueError, r"`background` must hold rows.*\(4,"),
        (
            {"background": {"a": ROWS, "b": ROWS}},
            TABLE,
            ValueError,
            "`background` must have the structure of the inputs, 1 arrays. Received: 2",
        ),
    ),
    *each(
        SAMPLED,
        ({"per_channel": True}, TABLE, ValueError, "`per_channel` must be left out for a table"),
        ({"feature_mask": np.zeros((3, 3), int)}, IMAGE, ValueError, r"`feature_mask`.*\(3, 3\)"),
        (
            {"feature_mask": np.zeros((4, 8, 8, 1), int)},
            IMAGE,
            ValueError,
            r"`feature_mask`.*\(4, 8, 8, 1\)",
        ),
    ),
    *each(
        [KernelSHAP, ShapleySampling, Occlusion],
        ({"background": np.zeros((101, 3))}, TABLE, ValueError, "at most 100 rows.*101.*KMeans"),
    ),
    (KernelSHAP, {"n_samples": 300, "tolerance": 0.1}, (2, 9), ValueError, "fewer than 512 rows"),
    (KernelSHAP, {"n_samples": 600, "tolerance": 0.1}, (2, 90), ValueError, "so few rows of so"),
    (ShapleySampling, {"n_permutations": 4, "tolerance": 0.1}, (2, 9), ValueError, "than 512 rows"),
    (ShapleySampling, {"n_permutations": 8, "tolerance": 0.1}, (2, 99), ValueError, "independent"),
    (KernelSHAP, {"n_samples": "exact"}, (2, 17), ValueError, "`n_samples`.*16 cells.*17"),
    (KernelSHAP, {"n_samples": 20}, (2, 30), ValueError, "`n_samples` must be at least 62.*20"),
    (Sobol, {"perturbation": "blurring"}, TABLE, ValueError, "blurring.* needs inputs with space"),
    (
        HSIC,
        {"n_samples": 64, "sampler": "sobol", "grid_size": 7},
        (1, 14, 14, 1),
        ValueError,
        "`n_samples` must be at least 256 for 49 columns.*64",
    ),
]


@pytest.mark.parametrize(("method", "fields", "shape", "error", "says"), CALLS, ids=shown)
def test_what_does_not_fit_is_refused_before_the_model_runs(method, fields, shape, error, says):
    explainer = method(only_probed(), **fields)
    with pytest.raises(error, match=says):
        explainer(np.ones(shape), 0)


@pytest.mark.parametrize("method", SAMPLED)
def test_refinement_refuses_as_a_call_does(method):
    x, model = KINDS["table"].inputs(), tiny_models.model("table")
    for inputs, targets, says in (
        (x * NAN, 0, "`inputs`.*finite"),
        (x, 9, "`targets`.*9"),
        (x[:0], 0, "`inputs`"),
    ):
        with pytest.raises(ValueError, match=says):
            next(iter(method(model).refine(inputs, targets)))


# --- what only scores can tell, and models ------------------------------------------------------


@pytest.mark.parametrize("method", [KernelSHAP, ShapleySampling])
def test_log_odds_of_what_is_no_probability_are_refused(method):
    with pytest.raises(ValueError, match="`link` 'logit' needs scores between 0 and 1"):
        method(predict, operator="regression", link="logit")(np.ones((2, 4)), 0)


@pytest.mark.parametrize("method", SAMPLED)
def test_scores_that_are_not_finite_are_refused(method):
    def inverse(x):
        with np.errstate(divide="ignore"):
            return 1 / (np.asarray(x) == 1).all(1)

    with pytest.raises(ValueError, match="`operator` must give finite scores of masked"):
        method(inverse, operator="regression")(np.ones((1, 4)), 0)


@pytest.mark.parametrize("method", SAMPLED)
def test_background_must_be_finite_numbers_for_a_network(method):
    x, model = KINDS["table"].inputs(), tiny_models.model("table", method.__name__)
    with pytest.raises(ValueError, match="`background` must be finite"):
        method(model, background=np.full_like(x, NAN))(x, 0)
    with pytest.raises(TypeError, match="`background` must be numbers"):
        method(model, background=x.astype(object))(x, 0)
    with pytest.raises(ValueError, match="`baseline` must be finite"):
        method(model, baseline=NAN)


@pytest.mark.parametrize("method", [*SAMPLED, Occlusion])
def test_backgrounds_of_several_inputs_and_of_frames_fit_them(method):
    two = {"a": ROWS, "b": ROWS}
    with pytest.raises(ValueError, match="`background` must hold at least one row, the same numb"):
        method(only_probed(), background={"a": ROWS, "b": ROWS[:1]})(two, 0)
    with pytest.raises(ValueError, match="`background` must hold rows, with a batch axis first"):
        method(only_probed(), background=3.0)(ROWS, 0)
    frame = pandas.DataFrame(ROWS, columns=["a", "b", "c"])
    with pytest.raises(ValueError, match="`background` must have the columns of the inputs"):
        method(only_probed(), background=frame.rename(columns={"c": "d"}))(frame, 0)


@pytest.mark.parametrize("method", SAMPLED)
def test_groups_of_several_inputs_are_refused(method):
    two = {"a": ROWS, "b": ROWS}
    with pytest.raises(ValueError, match=r"`feature_mask` needs a model of one input.*2 inputs"):
        method(only_probed(), feature_mask=MASK)(two, 0)


def test_pairs_of_several_inputs_are_refused():
    two = {"a": ROWS, "b": ROWS}
    with pytest.raises(ValueError, match=r"`interactions` needs a model of one input.*2 inputs"):
        HSIC(only_probed(), interactions=True)(two, 0)


WORDS = np.array([["red", 1.0], ["blue", 2.0]], object)

WAYS_OUT = [
    (LIME, {"tolerance": 0.05}, "Leave it out, or take KernelSHAP or ShapleySampling"),
    (Sobol, {"tolerance": 0.05}, "beside 1 in `n_blocks`. Raise `n_blocks`, to 16 for example"),
    (Sobol, {"tolerance": 0.05, "n_blocks": 2, "sampler": "sobol"}, "Raise `n_blocks`, to 16"),
    (HSIC, {"tolerance": 0.05, "sampler": "sobol"}, "128 masks or more, by sampler 'lhs' or"),
    (KernelSHAP, {"tolerance": 0.05, "n_samples": 50}, "Received: 0.05. Raise `n_samples`."),
    (ShapleySampling, {"tolerance": 0.05, "n_permutations": 8}, "Raise `n_permutations`."),
]


@pytest.mark.parametrize(("method", "fields", "advice"), WAYS_OUT)
def test_a_tolerance_that_is_refused_comes_with_a_way_out(method, fields, advice):
    with pytest.raises(ValueError, match=re.escape(advice)):
        method(only_probed(), **fields)(np.ones((1, 9)), 0)


@pytest.mark.parametrize("fields", [{"n_blocks": 16}, {"n_blocks": 16, "sampler": "sobol"}])
def test_the_blocks_that_are_advised_will_do(fields):
    found = Sobol(lambda x: x @ np.ones(2), tolerance=0.5, **fields)(np.ones((1, 2)), 0)
    assert found.converged.shape == (1,)


def test_methods_for_words_are_named_where_words_are_refused():
    with pytest.raises(TypeError, match="KernelSHAP, ShapleySampling and LIME take them"):
        Sobol(only_probed())(WORDS, 0)


@pytest.mark.parametrize("background", ["mean", 3.0])
def test_a_background_without_rows_is_shown(background):
    message = f"`background` must hold rows, with a batch axis first. Received: {background!r}."
    with pytest.raises(ValueError, match=re.escape(message)):
        KernelSHAP(only_probed(), background=background)(ROWS, 0)


def test_one_target_is_no_list_of_targets():
    explainer = Occlusion(only_probed())
    with pytest.raises(TypeError, match=r"Received: 1\. For one target pass \[1\]\."):
        explainer.explain_each(ROWS, 1)
    with pytest.raises(TypeError, match=r"Received: 'al'\. For one target pass \['al'\]\."):
        explainer.explain_each(ROWS, "al")
