"""Sobol indices: closed forms, slow formulas, designs row by row, and honest errors."""

import dataclasses
import itertools

import numpy as np
import pytest

import sixteen_inputs
from xai_core import designs, indices
from xai_core.sensitivity import SobolDesign

TOTAL, FIRST = tuple(indices.TOTAL_ESTIMATORS), tuple(indices.FIRST_ORDER_ESTIMATORS)


def run(design, model):
    """The estimate of a design for a model of masks (rows, d) -> (rows,) or (rows, M)."""
    scores = np.asarray(model(design.codes(0, design.total).astype(float)), float)
    scores = scores.reshape(design.total, -1)
    return design.estimate(scores, scores[0])


def slow_indices(a, b, mixed, estimator):
    """Each formula as it is written, one cell after the other."""
    n = len(a)
    middle = np.concatenate([a, b]).mean()
    variance = np.concatenate([a, b]).var(ddof=1)
    a, b = a - middle, b - middle
    found = []
    for c in (mixed - middle).T:
        if estimator == "jansen":
            one = sum((a[k] - c[k]) ** 2 for k in range(n)) / (2 * n * variance)
        elif estimator == "homma":
            one = (variance - sum(a[k] * c[k] for k in range(n)) / n) / variance
        elif estimator == "saltelli":
            one = 1 - sum(a[k] * c[k] for k in range(n)) / (n * variance)
        elif estimator == "janon":
            both = np.concatenate([a, c])
            one = 1 - (np.mean(a * c) - both.mean() ** 2) / both.var()
        elif estimator == "glen":
            one = 1 - np.corrcoef(a, c)[0, 1]
        elif estimator == "first saltelli":
            one = sum(b[k] * (c[k] - a[k]) for k in range(n)) / (n * variance)
        else:
            one = 1 - sum((b[k] - c[k]) ** 2 for k in range(n)) / (2 * n * variance)
        found.append(one)
    return np.array(found)


# --- closed forms -------------------------------------------------------------------------------


def ishigami(masks):
    x = np.pi * (2 * masks - 1)
    return np.sin(x[:, 0]) * (1 + 0.1 * x[:, 2] ** 4) + 7 * np.sin(x[:, 1]) ** 2


ISHIGAMI = (0.5575889, 0.4424111, 0.2436837), (0.3139052, 0.4424111, 0.0)


@pytest.mark.parametrize(
    ("sampler", "tolerance"), [("sobol", 0.01), ("halton", 0.01), ("lhs", 0.03), ("random", 0.04)]
)
def test_ishigami(sampler, tolerance):
    found = run(SobolDesign(3, n_design=8192, sampler=sampler), ishigami)
    assert np.abs(found.values - ISHIGAMI[0]).max() < tolerance
    assert np.abs(found.first_order - ISHIGAMI[1]).max() < 2 * tolerance


def test_ishigami_on_published_points():
    from scipy.stats import qmc

    a, b = np.split(qmc.Sobol(6, scramble=False).random(1024), 2, axis=1)
    mixed = [ishigami(np.where(np.arange(3) == i, b, a)) for i in range(3)]
    total, _ = indices.sobol_indices(ishigami(a), ishigami(b), np.stack(mixed, 1))
    assert np.round(total, 4).tolist() == [0.5579, 0.4431, 0.2420]


G = np.array([0, 1, 4.5, 9])
CLOSED_FORMS = {
    "additive": (lambda m: m @ [1, 2, 3], np.array([1, 4, 9]) / 14, np.array([1, 4, 9]) / 14),
    "product": (lambda m: m[:, 0] * m[:, 1], [4 / 7, 4 / 7], [3 / 7, 3 / 7]),
    "centred product": (lambda m: (m[:, 0] - 0.5) * (m[:, 1] - 0.5), [1, 1], [0, 0]),
    "g-function": (
        lambda m: np.prod((np.abs(4 * m - 2) + G) / (1 + G), axis=1),
        [0.7873697, 0.2422676, 0.0343267, 0.0104634],
        None,
    ),
}


@pytest.mark.parametrize("name", CLOSED_FORMS)
@pytest.mark.parametrize("estimator", TOTAL)
def test_closed_forms(name, estimator):
    model, total, first = CLOSED_FORMS[name]
    found = run(SobolDesign(len(total), 8192, sampler="sobol", estimator=estimator), model)
    assert np.abs(found.values - total).max() < 0.005
    if first is not None:
        assert np.abs(found.first_order - first).max() < 0.005


def test_exclusive_or_has_total_indices_of_one():
    either = run(SobolDesign(3, 4096, sampler="sobol"), lambda m: (m[:, 0] > 0.5) ^ (m[:, 1] > 0.5))
    assert np.abs(either.values - [1, 1, 0]).max() < 0.02
    assert np.abs(either.first_order).max() < 0.05


# --- the estimators -----------------------------------------------------------------------------


def outputs(n=24, d=5, seed=0, offset=3.0):
    draws = np.random.default_rng(seed)
    a, b = draws.normal(offset, 2.0, (2, n))
    return a, b, 0.6 * a[:, None] + draws.normal(1.0, 1.0, (n, d))


@pytest.mark.parametrize("estimator", [*TOTAL, "first saltelli", "first jansen"])
def test_formulas_are_the_slow_ones(estimator):
    total, _, first = estimator.rpartition(" ") if " " in estimator else (estimator, "", "saltelli")
    settings = {
        "estimator": "jansen" if " " in estimator else total,
        "first_order_estimator": first,
    }
    found = indices.sobol_indices(*outputs(), **settings)[" " in estimator]
    np.testing.assert_allclose(found, slow_indices(*outputs(), estimator), rtol=1e-12)


def test_homma_and_saltelli_are_one():
    found = [indices.sobol_indices(*outputs(), name)[0] for name in ("homma", "saltelli")]
    assert np.array_equal(*found)


@pytest.mark.parametrize("estimator", TOTAL)
@pytest.mark.parametrize("first", FIRST)
def test_offset_and_unit_do_not_matter(estimator, first):
    found = indices.sobol_indices(*outputs(), estimator, first)
    moved = indices.sobol_indices(*(1e4 + 0.01 * one for one in outputs()), estimator, first)
    np.testing.assert_allclose(moved, found, atol=1e-8)


@pytest.mark.parametrize("estimator", TOTAL)
@pytest.mark.parametrize("value", [0.0, -7.25, 1e30])
def test_constant_outputs_give_zeros(estimator, value):
    design = SobolDesign(4, estimator=estimator)
    rounding = 1 + 1e-8 * np.random.default_rng(0).random((design.total, 2))
    for scores in (np.full((design.total, 2), value), value * rounding):
        found = design.estimate(scores, scores[0])
        assert not found.values.any()
        assert not found.first_order.any()
        assert not found.error.any()


@pytest.mark.parametrize("estimator", ["jansen", "janon", "glen"])
def test_a_cell_without_effect_has_index_and_error_zero(estimator):
    found = run(SobolDesign(3, estimator=estimator), lambda m: m[:, 0] + m[:, 1] ** 2)
    assert np.abs(found.values[0, 2]) < 1e-14
    assert found.error[0, 2] < 1e-14
    assert found.error[0, 0] > 0


def test_outputs_that_are_constant_in_part_give_numbers():
    # All of A is 0: nothing varies there, though it does over B.
    a, b = np.zeros(8), np.arange(8.0)
    for name in TOTAL:
        total, first = indices.sobol_indices(a, b, np.stack([a, b], 1), name)
        assert np.isfinite(total).all()
        assert np.isfinite(first).all()


# --- the design ---------------------------------------------------------------------------------


@pytest.mark.parametrize("sampler", designs.SAMPLERS)
def test_rows_are_a_and_b_and_a_with_one_cell_from_b(sampler):
    design = SobolDesign(3, n_design=4, n_blocks=2, sampler=sampler, seed=9)
    assert design.total == 2 * 4 * 5
    codes = design.codes(0, design.total)
    assert codes.dtype == np.float32
    assert codes.min() >= 0
    assert codes.max() <= 1
    for block in range(2):
        points = designs.uniform(sampler, 4, 6, 9, block).astype("float32")
        for k, rows in enumerate(codes.reshape(2, 4, 5, 3)[block]):
            a, b = points[k, :3], points[k, 3:]
            expected = [a, b, *(np.where(np.arange(3) == i, b, a) for i in range(3))]
            assert np.array_equal(rows, expected)


@pytest.mark.parametrize("cuts", [(0, 40), (0, 1, 7, 20, 21, 40), (0, 0, 39, 40)])
def test_rows_do_not_depend_on_how_they_are_cut(cuts):
    design = SobolDesign(3, n_design=4, n_blocks=2)
    parts = [design.codes(a, b) for a, b in itertools.pairwise(cuts)]
    assert np.array_equal(np.concatenate(parts), design.codes(0, 40))
    parts[-1][:] = 9
    assert design.codes(0, 40).max() <= 1


def test_after_each_block_there_is_the_estimate_of_so_many_blocks():
    design = SobolDesign(16, n_design=8, n_blocks=9, sampler="sobol", seed=3)
    assert design.checks() == [8 * 18 * k for k in range(1, 10)]
    scores = sixteen_inputs.score(design.codes(0, design.total))[:, None]
    for blocks in (1, 3, 8, 9):
        shorter = dataclasses.replace(design, n_blocks=blocks)
        found = design.estimate(scores[: shorter.total], scores[0])
        expected = run(shorter, sixteen_inputs.score)
        assert np.array_equal(found.values, expected.values)
        assert (found.error is None) == (blocks < 8)
        if blocks >= 8:
            assert np.array_equal(found.error, expected.error)


def test_targets_do_not_see_each_other():
    design = SobolDesign(16, seed=2)
    models = sixteen_inputs.score, sixteen_inputs.saturated, lambda m: 0 * m[:, 0]
    both = run(design, lambda m: np.stack([model(m) for model in models], 1))
    assert both.values.shape == both.error.shape == both.first_order.shape == (3, 16)
    for k, model in enumerate(models):
        alone = run(design, model)
        for name in ("values", "error", "first_order"):
            np.testing.assert_allclose(getattr(both, name)[k], getattr(alone, name)[0], rtol=1e-12)


# --- errors -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "honest"),
    [
        ({}, True),
        ({"sampler": "random"}, True),
        ({"n_design": 8}, False),
        ({"n_design": 8, "n_blocks": 2}, True),
        ({"sampler": "sobol", "n_blocks": 7}, False),
        ({"sampler": "halton", "n_blocks": 7}, False),
        ({"sampler": "sobol", "n_blocks": 8}, True),
    ],
)
def test_errors_only_where_they_are_honest(settings, honest):
    found = run(SobolDesign(16, **settings), sixteen_inputs.score)
    assert (found.error is not None) == honest


def test_many_rows_have_the_errors_of_the_normal_law():
    made = [SobolDesign(16, 1024, sampler="random", seed=seed) for seed in range(40)]
    found = [run(design, sixteen_inputs.score) for design in made]
    spread = np.std([one.values[0] for one in found], axis=0)[:13]
    error = np.mean([one.error[0] for one in found], axis=0)[:13]
    assert 0.9 < np.median(error / spread) < 1.1


@pytest.mark.parametrize("sampler", ["lhs", "sobol", "halton"])
def test_eight_blocks_have_the_errors_of_the_t_interval(sampler):
    one = SobolDesign(16, sampler=sampler, n_blocks=8)
    scores = sixteen_inputs.score(one.codes(0, one.total)).reshape(8, 32, 18)
    left = [np.delete(scores, block, 0).reshape(-1, 18) for block in range(8)]
    without = [indices.sobol_indices(x[:, 0], x[:, 1], x[:, 2:])[0] for x in left]
    expected = np.sqrt(7 * np.var(without, axis=0)) * 2.364624 / 1.96
    found = run(one, sixteen_inputs.score)
    np.testing.assert_allclose(found.error[0], expected, rtol=1e-6, atol=1e-12)


DESIGNS = {
    "lhs": {},
    "random": {"sampler": "random"},
    "lhs, 8 blocks": {"n_blocks": 8},
    "random, 8 blocks": {"sampler": "random", "n_blocks": 8},
    "sobol, 8 blocks": {"sampler": "sobol", "n_blocks": 8},
    "halton, 8 blocks": {"sampler": "halton", "n_blocks": 8},
}


@pytest.mark.parametrize("name", DESIGNS)
def test_errors_cover_the_exact_indices(name):
    # 200 seeds gave 94 to 97 % over all cells, 91 to 100 % in each.
    exact = sixteen_inputs.sobol_indices()[0]
    runs = [run(SobolDesign(16, seed=s, **DESIGNS[name]), sixteen_inputs.score) for s in range(30)]
    values, errors = (
        np.concatenate([getattr(one, of) for one in runs]) for of in ("values", "error")
    )
    assert not errors[:, sixteen_inputs.NULL].any()
    covered = (np.abs(values - exact) <= 1.96 * errors).mean(0)[exact > 0]
    assert covered.mean() > 0.88
    assert covered.min() > 0.7
    # Wide errors would cover too.
    used = exact > 0
    assert np.median(np.median(errors, axis=0)[used] / values.std(0)[used]) < 2.2


# --- what is refused ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"d": 0}, ValueError, "`d` must be at least 1"),
        ({"d": 2.0}, TypeError, "`d` must be an integer"),
        ({"n_design": 1}, ValueError, "`n_design` must be at least 2"),
        ({"n_design": 48, "sampler": "sobol"}, ValueError, "`n_design` must be a power of two"),
        ({"n_blocks": 0}, ValueError, "`n_blocks` must be at least 1"),
        ({"sampler": "grid"}, ValueError, "`sampler` must be one of 'lhs', 'sobol'"),
        ({"sampler": "halton", "d": 600}, ValueError, "at most 1024 columns. Received: 1200"),
        ({"estimator": "jannon"}, ValueError, "Did you mean 'janon'"),
        ({"first_order_estimator": "homma"}, ValueError, "`first_order_estimator` must be one of"),
        ({"seed": -1}, ValueError, "`seed` must be at least 0"),
        ({"seed": 2**64}, ValueError, "`seed` must be less than"),
    ],
)
def test_wrong_settings_are_refused_at_once(settings, error, message):
    with pytest.raises(error, match=message):
        SobolDesign(**{"d": 3, **settings})


def test_wrong_estimators_of_outputs_are_refused():
    with pytest.raises(ValueError, match="`estimator` must be one of"):
        indices.sobol_indices(*outputs(), "sobol")
