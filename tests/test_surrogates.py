"""LIME: against the equations of weighted ridge regression, with regressors of scikit-learn."""

import numpy as np
import pytest
from sklearn import linear_model
from sklearn.ensemble import RandomForestRegressor
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.svm import SVR

from games import Polynomial, estimate, mixed
from xai_core.designs import bernoulli
from xai_core.surrogates import SurrogateDesign

LINEAR = Polynomial(3, {(0,): 2.0, (1,): -6.0, (2,): 2.0})


def close(found, expected, tolerance=1e-9):
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance)


def distance(kept):
    """The cosine distance of each row from the row of ones; 1 where a row is zero."""
    found = []
    for row in kept.astype(float):
        lengths = np.linalg.norm(row) * np.sqrt(len(row))
        found.append(1 - row.sum() / lengths if lengths else 1.0)
    return np.array(found)


def ridge(kept, scores, width, penalty):
    """Coefficients and free intercept, by the normal equations."""
    weights = np.sqrt(np.exp(-(distance(kept) ** 2) / width**2))
    columns = np.column_stack([kept, np.ones(len(kept))])
    matrix = (columns * weights[:, None]).T @ columns
    matrix[np.arange(kept.shape[1]), np.arange(kept.shape[1])] += penalty
    found = np.linalg.solve(matrix, (columns * weights[:, None]).T @ scores)
    return found[:-1], found[-1]


def rows(design, game, count=None):
    kept = np.vstack([np.ones((1, design.d), bool), design.codes(0, count or design.total)])
    return kept, game(kept)


# --- values -------------------------------------------------------------------------------------


def test_a_linear_score_without_ridge():
    """T01."""
    design = SurrogateDesign(3, regressor=linear_model.LinearRegression())
    found = estimate(design, lambda kept: LINEAR(kept) + 0.7)
    close(found.values[0], [2.0, -6.0, 2.0])
    close(found.base, [0.7])
    assert found.error is None


@pytest.mark.parametrize("width", [0.1, 0.25, 3.0])
@pytest.mark.parametrize("probability", [0.3, 0.5])
def test_the_default_is_a_weighted_ridge(width, probability):
    design = SurrogateDesign(16, 200, probability, width, seed=3)
    kept, scores = rows(design, mixed())
    values, base = ridge(kept, scores, width, 1.0)
    found = estimate(design, mixed())
    close(found.values[0], values)
    close(found.base[0], base)


def test_the_input_is_the_first_sample():
    design = SurrogateDesign(9, 2, regressor=linear_model.LinearRegression())
    assert design.total == 1
    found = design.estimate(np.array([[1.0]]), np.array([3.0]))
    kept = design.codes(0, 1)[0]
    close(found.base + found.values[0].sum(), 3.0)
    close(found.base + found.values[0] @ kept, 1.0)


def test_a_row_that_keeps_nothing_is_at_distance_one():
    design = SurrogateDesign(2, 60, kernel_width=0.5)
    kept, scores = rows(design, lambda kept: 1.0 + kept.all(1))
    assert (~kept.any(1)).any()
    close(
        estimate(design, lambda kept: 1.0 + kept.all(1)).values[0], ridge(kept, scores, 0.5, 1)[0]
    )


@pytest.mark.parametrize(
    "regressor",
    [
        None,
        linear_model.Ridge(alpha=0.1),
        linear_model.Lasso(alpha=0.01),
        linear_model.HuberRegressor(),
    ],
)
def test_targets_do_not_meet(regressor):
    design = SurrogateDesign(6, 100, regressor=regressor)
    several = [mixed(6, seed=seed) for seed in range(3)]
    together = estimate(design, several)
    assert together.values.shape == (3, 6)
    assert together.base.shape == (3,)
    for k, game in enumerate(several):
        alone = estimate(design, game)
        close(together.values[k], alone.values[0])
        close(together.base[k], alone.base[0])


def test_a_regressor_is_copied_and_never_fitted():
    regressor = linear_model.Ridge(alpha=2.0, fit_intercept=False)
    design = SurrogateDesign(16, 200, regressor=regressor)
    found = estimate(design, mixed())
    assert not hasattr(regressor, "coef_")
    assert found.base.tolist() == [0.0]
    kept, scores = rows(design, mixed())
    weights = np.sqrt(np.exp(-(distance(kept) ** 2) / 0.25**2))
    own = linear_model.Ridge(alpha=2.0, fit_intercept=False).fit(kept, scores, weights)
    close(found.values[0], own.coef_)


def test_a_linear_machine_of_support_vectors_is_linear():
    found = estimate(SurrogateDesign(3, 200, regressor=SVR(kernel="linear", C=100.0)), LINEAR)
    close(found.values[0], [2.0, -6.0, 2.0], 0.3)


def test_a_constant_score_has_no_values():
    found = estimate(SurrogateDesign(9, 100), lambda kept: np.full(len(kept), 0.3))
    close(found.values, 0)
    close(found.base, [0.3])


def test_random_numbers_of_a_regressor_come_from_the_seed():
    regressor = linear_model.SGDRegressor(max_iter=5, tol=None)
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    found = [
        estimate(SurrogateDesign(6, 60, regressor=regressor, seed=2**63), mixed(6)).values
        for _ in range(2)
    ]
    assert (found[0] == found[1]).all()
    assert (np.random.get_state()[1] == before).all()  # noqa: NPY002
    assert regressor.random_state is None


# --- rows ---------------------------------------------------------------------------------------


def test_rows_are_the_same_however_they_are_cut():
    design = SurrogateDesign(49, 300, 0.3, seed=5)
    whole = design.codes(0, 299)
    assert whole.dtype == bool
    assert (whole == bernoulli(5, 0, 299, (49,), 0.3)).all()
    parts = [design.codes(k, min(k + 7, 299)) for k in range(0, 299, 7)]
    assert (np.concatenate(parts) == whole).all()
    assert abs(whole.mean() - 0.3) < 0.02


def test_an_estimate_so_far_is_that_of_a_shorter_design():
    design = SurrogateDesign(16, 1000)
    assert design.checks() == [256, 512, 999]
    found = estimate(design, mixed(), 256)
    expected = estimate(SurrogateDesign(16, 257), mixed())
    assert (found.values == expected.values).all()


# --- bad input ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"d": 0}, ValueError, "`d` must be at least 1. Received: 0."),
        ({"n_samples": 1}, ValueError, "`n_samples` must be at least 2. Received: 1."),
        ({"n_samples": 9.0}, TypeError, "`n_samples` must be an integer"),
        ({"seed": -1}, ValueError, "`seed` must be at least 0"),
        ({"keep_probability": 0.0}, ValueError, "`keep_probability` must be between 0 and 1"),
        ({"keep_probability": 1}, ValueError, "`keep_probability` must be between 0 and 1"),
        ({"keep_probability": float("nan")}, ValueError, "`keep_probability` must be finite"),
        ({"keep_probability": "half"}, TypeError, "`keep_probability` must be a number"),
        ({"kernel_width": 0.0}, ValueError, "`kernel_width` must be above 0. Received: 0.0."),
        ({"kernel_width": -1}, ValueError, "`kernel_width` must be above 0"),
        ({"kernel_width": True}, TypeError, "`kernel_width` must be a number"),
        ({"kernel_width": 0.01}, ValueError, "`kernel_width` must be wide enough"),
        ({"regressor": linear_model.Ridge}, TypeError, "Received: Ridge, a class."),
        ({"regressor": "ridge"}, TypeError, "`regressor` must be a regressor of scikit-learn"),
        ({"regressor": KNeighborsRegressor()}, TypeError, "`regressor` must take `sample_weight`"),
        (
            {"regressor": make_pipeline(linear_model.Ridge())},
            TypeError,
            "`regressor` must take `sample_weight`",
        ),
        ({"regressor": RandomForestRegressor(2)}, TypeError, "Received: RandomForestRegressor."),
        ({"regressor": linear_model.LogisticRegression()}, TypeError, "a linear model of numbers"),
        ({"regressor": SVR()}, TypeError, "with `coef_` after `fit`. Received: SVR."),
    ],
)
def test_bad_settings_are_refused(settings, error, message):
    with pytest.raises(error, match=message):
        SurrogateDesign(**{"d": 9, **settings})


def test_coefficients_of_another_number_are_refused():
    class Pairs(linear_model.LinearRegression):
        def fit(self, X, y, sample_weight=None):  # noqa: N803
            super().fit(X, y, sample_weight)
            self.coef_ = np.append(self.coef_, 0.0)
            return self

    with pytest.raises(ValueError, match=r"for each of 9 cells. Received: Pairs with 10\."):
        estimate(SurrogateDesign(9, 50, regressor=Pairs()), mixed(9))
