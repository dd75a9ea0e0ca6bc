"""Shapley values from coalitions: known games, exactness, honest errors, the same rows always."""

import math
import zlib
from itertools import pairwise

import numpy as np
import pytest
from scipy import stats

import games
from games import Polynomial, Saturating, estimate, mixed
from xai_core import coalitions
from xai_core.coalitions import KernelDesign, PermutationDesign

LINEAR = Polynomial(3, {(0,): 2.0, (1,): -6.0, (2,): 2.0})  # T01: w * x
PRODUCT = Polynomial(3, {(0, 1, 2): 6.0})  # T04
TWO = Polynomial(3, {(0, 1): 6.0, (2,): 5.0})  # T05
THREE = Polynomial(4, {(0, 1, 2): 8.0, (3,): 1.0})  # T05
DESIGNS = {
    "kernel": KernelDesign(16, 700),
    "kernel without drawn pairs": KernelDesign(16, 34),
    "odd kernel": KernelDesign(16, 601),
    "kernel of many cells": KernelDesign(22, 601),
    "single of many cells": KernelDesign(22, 46),
    "exact kernel": KernelDesign(6, "exact"),
    "orders": PermutationDesign(16, 36),
    "single orders": PermutationDesign(16, 35, antithetic=False),
    "one cell": KernelDesign(1),
    "order of one cell": PermutationDesign(1),
    "order of two cells": PermutationDesign(2),
}
every_design = pytest.mark.parametrize("design", DESIGNS.values(), ids=DESIGNS)
sampled = pytest.mark.parametrize("design", [KernelDesign(16, 700), PermutationDesign(16, 36)])


def close(found, expected, tolerance=1e-9):
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance)


# --- the oracles --------------------------------------------------------------------------------


def test_closed_forms_are_the_values_of_all_subsets():
    for game in [mixed(7, null=2), THREE, Saturating(np.array([0.1, 2.0, 0.7, 0.0, 1.3]))]:
        close(games.shapley(game, game.d), game.shapley(), 1e-12)


@pytest.mark.parametrize("game", [PRODUCT, TWO, THREE, mixed(6, null=1)])
def test_the_constraint_makes_the_regression_of_all_coalitions_exact(game):
    proper = games.subsets(game.d)[1:-1]
    gain = float(game(np.ones((1, game.d), bool))[0])
    found = games.constrained_fit(proper, game(proper), games.kernel_weights(proper), 0.0, gain)
    close(found, game.shapley())


def test_without_the_constraint_the_product_gets_nothing():
    proper = games.subsets(3)[1:-1]
    close(games.free_fit(proper, PRODUCT(proper)), [0, 0, 0])
    assert abs(estimate(KernelDesign(3), PRODUCT).values).min() > 1.9


# --- known values -------------------------------------------------------------------------------


@pytest.mark.parametrize("game", [LINEAR, PRODUCT, TWO, THREE], ids=["T01", "T04", "T05a", "T05b"])
@pytest.mark.parametrize("n_samples", ["exact", 16, 2048])
def test_all_coalitions_give_the_values(game, n_samples):
    found = estimate(KernelDesign(game.d, n_samples), game)
    close(found.values[0], game.shapley())
    assert found.error.tolist() == [[0.0] * game.d]
    assert found.base.tolist() == [0.0]


@pytest.mark.parametrize("game", [LINEAR, TWO], ids=["T01", "T05a"])
def test_reversed_orders_are_exact_for_pairs(game):
    close(estimate(PermutationDesign(3, 2), game).values[0], game.shapley())


def test_orders_tend_to_the_values_of_triples():
    found = estimate(PermutationDesign(4, 4000), THREE)
    close(found.values[0], THREE.shapley(), 0.1)
    assert (abs(found.values[0] - THREE.shapley()) <= 3 * found.error[0] + 1e-9).all()


@pytest.mark.parametrize("d", range(1, 8))
def test_exact_values_of_several_targets_of_any_game(d):
    table = np.random.default_rng(d).normal(size=(2**d, 3))
    several = [lambda kept, k=k: table[kept @ (1 << np.arange(d)), k] for k in range(3)]
    found = estimate(KernelDesign(d, 2**d), several)
    assert found.values.shape == found.error.shape == (3, d)
    close(found.values, [games.shapley(one, d) for one in several])
    close(found.base, table[0])


@every_design
def test_a_sum_of_cells_is_exact_for_every_design(design):
    weights = np.random.default_rng(0).normal(size=design.d)
    found = estimate(design, lambda kept: 3.0 + kept @ weights)
    close(found.values[0], weights)
    close(found.base, [3.0])
    if found.error is not None:
        close(found.error[0], np.zeros(design.d))


# --- axioms -------------------------------------------------------------------------------------


@every_design
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_values_add_up_to_the_gain(design, scale):
    draws = np.random.default_rng(1)
    slopes = draws.normal(0, 2, design.d)
    several = [lambda kept, b=b: scale * (np.tanh(kept @ slopes - b) + 5) for b in (0.0, 2.0)]
    found = estimate(design, several)
    full, empty = np.ones((1, design.d), bool), np.zeros((1, design.d), bool)
    ends = [[float(one(rows)[0]) for one in several] for rows in (full, empty)]
    close(found.values.sum(1), np.subtract(*ends), 1e-9 * 6 * scale)


def test_symmetric_and_idle_cells():
    game = Polynomial(9, {(0, 1, 2): 2.0, (3, 4): 1.0, (5,): -1.0, (3, 4, 6): 0.5})
    values = estimate(KernelDesign(9), game).values[0]
    close(values[0], values[1:3])
    close(values[3], values[4])
    close(values[7:], 0)


@sampled
def test_a_constant_score_has_no_values(design):
    found = estimate(design, lambda kept: np.full(len(kept), 0.3))
    close(found.values, 0)
    close(found.error, 0)


# --- the regression -----------------------------------------------------------------------------


def pair_weights(kept):
    """The kernel's weight of a size, shared by its pairs, or of many cells by all drawn ones."""
    d, size = kept.shape[1], kept.sum(1)
    size = np.minimum(size, d - size)
    law = np.where(2 * size == d, 1, 2) / (size * (d - size))
    if d <= 18:
        return law / np.bincount(size)[size]
    inner = np.arange(2, d - 1)
    return np.where(size == 1, law / d, (1 / (inner * (d - inner))).sum() / (size > 1).sum())


@pytest.mark.parametrize(
    ("d", "n_samples", "slopes"),
    [(12, 160, False), (12, 211, False), (12, 260, True), (24, 300, False), (24, 500, True)],
)
def test_the_sampled_regression_is_that_of_dense_algebra(d, n_samples, slopes):
    design, game = KernelDesign(d, n_samples), mixed(d, seed=4)
    firsts = design.codes(0, design.total)[1:-1:2]
    kept = np.concatenate([firsts, ~firsts])
    weights = np.tile(pair_weights(firsts), 2)
    size = kept.sum(1)
    lean = 2 * size / d - 1
    further = [lean - lean**3, lean**3 - lean**5]
    if slopes:
        even = (2 * np.arange(1, d) / d - 1) ** 2
        further += list(((kept - size[:, None] / d) * (lean**2 / even.mean() - 1)[:, None]).T)
    gain = float(game(np.ones((1, d), bool))[0])
    expected = games.constrained_fit(kept, game(kept), weights, 0.0, gain, np.column_stack(further))
    close(estimate(design, game).values[0], expected)


def test_further_terms_leave_all_coalitions_as_they_are():
    """Over all coalitions of a sampled design they are uncorrelated with the cells."""
    kept, game = games.subsets(7)[1:-1], mixed(7, null=0)
    size = kept.sum(1, keepdims=True)
    lean = 2 * size / 7 - 1
    even = np.mean((2 * np.arange(1, 7) / 7 - 1) ** 2)
    further = [lean - lean**3, lean**3 - lean**5, (kept - size / 7) * (lean**2 / even - 1)]
    gain = float(game(np.ones((1, 7), bool))[0])
    weights = games.kernel_weights(kept)
    found = games.constrained_fit(kept, game(kept), weights, 0.0, gain, np.hstack(further))
    close(found, game.shapley())


@pytest.mark.parametrize("d", [16, 24])
def test_a_score_that_saturates_takes_few_rows(d):
    game = Saturating(np.exp(np.random.default_rng(3).normal(-1.5, 1.0, d)))
    gain = float(game(np.ones((1, d)))[0])
    errors = []
    for seed in range(8):
        design = KernelDesign(d, 512, seed=seed)
        kept = design.codes(1, 511)
        weights = np.repeat(pair_weights(kept[::2]), 2)
        plain = games.constrained_fit(kept, game(kept), weights, 0.0, gain)
        found = estimate(design, game).values[0]
        errors.append([np.linalg.norm(values - game.shapley()) for values in (found, plain)])
    own, plain = np.median(errors, axis=0)
    assert own < plain / 2.5


def test_blocks_of_rows_change_nothing(monkeypatch):
    design = KernelDesign(16, 1000, seed=5)
    orders = PermutationDesign(16, 36, seed=5)
    at_once = estimate(design, mixed()), estimate(orders, mixed())
    monkeypatch.setattr("xai_core._coalition_regression._NUMBERS", 34 * 100)
    monkeypatch.setattr("xai_core.coalitions._NUMBERS", 200)
    coalitions._regression.cache_clear()
    in_blocks = estimate(design, mixed()), estimate(orders, mixed())
    for found, expected in zip(in_blocks, at_once, strict=True):
        close(found.values, expected.values, 1e-12)
        close(found.error, expected.error, 1e-12)
    coalitions._regression.cache_clear()


@every_design
def test_targets_do_not_meet(design):
    several = [lambda kept, k=k: np.cos(kept @ np.arange(design.d) + k) for k in range(3)]
    together = estimate(design, several)
    for k, one in enumerate(several):
        alone = estimate(design, one)
        close(together.values[k], alone.values[0], 1e-12)
        close(together.base[k], alone.base[0], 1e-12)
        if alone.error is not None:
            close(together.error[k], alone.error[0], 1e-12)


# --- convergence and errors ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("few", "many"),
    [
        (KernelDesign(24, 512), KernelDesign(24, 16_384)),
        (PermutationDesign(16, 36), PermutationDesign(16, 1152)),
        (PermutationDesign(16, 36, antithetic=False), PermutationDesign(16, 1152, False)),
    ],
)
def test_values_converge_and_errors_tell_how_far(few, many):
    game = mixed(few.d)
    first, last, truth = estimate(few, game), estimate(many, game), game.shapley()
    assert (abs(last.values - truth) <= 4 * last.error + 1e-9).all()
    ratio = np.sqrt((last.error**2).mean() / (first.error**2).mean())
    assert 0.12 < ratio < 0.24  # 1 / sqrt(32) = 0.18
    assert np.linalg.norm(last.values - truth) < np.linalg.norm(first.values - truth) / 2.5


@pytest.mark.parametrize(
    ("d", "make"),
    [
        (16, lambda seed: KernelDesign(16, 512, seed=seed)),
        (16, lambda seed: KernelDesign(16, 1024, seed=seed)),
        (12, lambda seed: KernelDesign(12, 2048, seed=seed)),
        (24, lambda seed: KernelDesign(24, 600, seed=seed)),
        (16, lambda seed: PermutationDesign(16, 36, seed=seed)),
        (16, lambda seed: PermutationDesign(16, 36, antithetic=False, seed=seed)),
    ],
    ids=["kernel 512", "kernel 1024", "half of all", "many cells", "orders", "single orders"],
)
def test_intervals_of_95_percent_hold_the_truth(d, make):
    # All cells but the last three have effects. The benchmarks decide, with 200 seeds.
    found = games.coverage(make, mixed(d), 30)[: d - 3]
    assert 0.9 <= found.mean() <= 0.985
    assert found.min() >= 0.8


def test_errors_are_given_where_they_are_honest():
    kept = {
        "kernel": KernelDesign(16, 512),
        "few": KernelDesign(16, 511),
        "d": KernelDesign(80, 512),
    }
    found = {name: estimate(design, mixed(design.d)).error for name, design in kept.items()}
    assert found["few"] is None
    assert found["d"] is None
    assert (found["kernel"] > 0).all()
    assert estimate(PermutationDesign(16, 34), mixed()).error is not None  # 512 rows, 17 pairs
    assert estimate(PermutationDesign(16, 32), mixed()).error is None  # 482 rows
    assert estimate(PermutationDesign(60, 14), mixed(60)).error is None  # 7 pairs
    assert estimate(PermutationDesign(2), TWO._replace(d=2, terms={(0, 1): 1.0})).error.max() == 0


# --- rows ---------------------------------------------------------------------------------------


@every_design
def test_rows_are_the_same_however_they_are_cut(design):
    whole = design.codes(0, design.total)
    assert whole.shape == (design.total, design.d)
    assert whole.dtype == bool
    assert not whole[0].any()
    for size in (1, 7, 64):
        starts = range(0, design.total, size)
        parts = [design.codes(k, min(k + size, design.total)) for k in starts]
        assert (np.concatenate(parts) == whole).all()
    assert design.codes(3, 3).shape == (0, design.d)


@pytest.mark.parametrize(
    ("design", "rows", "printed"),
    [
        (KernelDesign(16, 1000, seed=7), slice(0, 999), 3838212131),
        (KernelDesign(49, 1000, seed=7), slice(0, 999), 2938010503),
        (PermutationDesign(49, 20, seed=7), slice(0, 900), 3264870273),
    ],
    ids=["few cells", "many cells", "orders"],
)
def test_rows_are_those_of_every_machine(design, rows, printed):
    found = design.codes(rows.start, rows.stop)
    assert zlib.crc32(np.packbits(found).tobytes()) == printed


def test_late_rows_cost_no_more_than_early_ones():
    last = 2**40
    for design in (KernelDesign(49, last), PermutationDesign(49, last)):
        stop = design.total
        late = design.codes(stop - 100, stop)
        assert (late[40:60] == design.codes(stop - 60, stop - 40)).all()
        assert late.any(1).all()


@pytest.mark.parametrize("design", [KernelDesign(49, 1500), PermutationDesign(49, 32)])
def test_seeds_give_other_rows(design):
    other = type(design)(**{**vars(design), "seed": 1})
    assert (design.codes(0, 900) != other.codes(0, 900)).any()
    top = type(design)(**{**vars(design), "seed": 2**64 - 1})
    assert (top.codes(0, 900) != other.codes(0, 900)).any()


@pytest.mark.parametrize(
    ("short", "long"),
    [
        (KernelDesign(49, 513), KernelDesign(49, 2048)),
        (KernelDesign(49, 1025), KernelDesign(49, 2048)),
        (PermutationDesign(49, 6), PermutationDesign(49, 32)),
        (PermutationDesign(49, 12), PermutationDesign(49, 32)),
    ],
)
def test_an_estimate_so_far_is_that_of_a_shorter_design(short, long):
    assert short.total in long.checks()
    found, expected = estimate(long, mixed(49), short.total), estimate(short, mixed(49))
    assert (found.values == expected.values).all()
    assert (found.error is None) == (expected.error is None)
    assert found.error is None or (found.error == expected.error).all()


def test_checks_are_numbers_of_rows_with_an_estimate():
    assert KernelDesign(49, 2048).checks() == [256, 512, 1024, 2047]
    assert KernelDesign(49, 250).checks() == [249]
    assert KernelDesign(100, 2048).checks() == [512, 1024, 2047]
    assert KernelDesign(11, 2048).checks() == [256, 512, 1024, 2047]
    assert KernelDesign(16, "exact").checks() == [*(2**k for k in range(8, 16)), 65_535]
    # The first whole pairs of orders at or after 256, 512 and 1,024 rows.
    assert PermutationDesign(49).checks() == [289, 577, 1057, 1537]
    assert PermutationDesign(200).checks() == [399, 797, 1195, 2389, 4379, 6369]
    assert PermutationDesign(1).checks() == [1]
    assert PermutationDesign(2, 1000, antithetic=False).checks() == [256, 512, 1001]


@pytest.mark.parametrize("d", [13, 24])
def test_single_cells_and_their_complements_come_first(d):
    kept = KernelDesign(d, 300).codes(0, 299)
    singles = kept[1 : 2 * d + 1 : 2]
    assert (singles.sum(0) == 1).all()
    assert (singles.sum(1) == 1).all()
    assert (kept[1::2] == ~kept[2::2]).all()
    size = kept[2 * d + 1 :].sum(1)
    assert size.min() == 2
    assert size.max() == d - 2


@pytest.mark.parametrize("d", [4, 5, 12, 18])
def test_no_coalition_of_few_cells_comes_twice(d):
    kept = KernelDesign(d, min(2**d, 3000)).codes(0, min(2**d, 3000) - 2)
    assert len(np.unique(kept, axis=0)) == len(kept)


def test_sizes_of_few_cells_have_their_weight_until_they_are_complete():
    rows = KernelDesign(13, 2048).codes(1, 2047)[::2]
    for count in (200, 400, 1023):
        found = np.bincount(rows[13:count].sum(1), minlength=7)[2:]
        size = np.arange(2, 7)
        law = 1 / (size * (13 - size))
        most = np.array([math.comb(13, k) for k in size])
        expected = np.zeros(5)
        while expected.sum() < count - 13 - 1e-9:  # what is beyond the complete ones
            left = expected < most
            expected += np.where(left, law / law[left].sum(), 0) * (count - 13 - expected.sum())
            expected = np.minimum(expected, most)
        assert abs(found - expected).max() <= 1


def test_sizes_are_drawn_by_their_weight_and_cells_alike():
    kept = KernelDesign(40, 40_000).codes(81, 39_999)[::2]
    size = kept.sum(1)
    inner = np.arange(2, 39)
    law = 1 / (inner * (40 - inner))
    counts = np.bincount(size, minlength=39)[2:]
    assert stats.chisquare(counts, law / law.sum() * counts.sum()).pvalue > 0.01
    assert stats.chisquare(kept[size == 2].sum(0)).pvalue > 0.01


def test_orders_let_cells_come_back_one_by_one():
    kept = PermutationDesign(9, 6, seed=2).codes(0, 49)[1:].reshape(6, 8, 9)
    assert (kept.sum(2) == np.arange(1, 9)).all()
    for order in kept:
        assert all((after | ~before).all() for before, after in pairwise(order))
    assert (kept[0::2] == ~kept[1::2, ::-1]).all()
    firsts = {order[0].tobytes() for order in kept[0::2]}
    assert len(firsts) > 1
    single = PermutationDesign(5, 2000, antithetic=False).codes(1, 8001).reshape(2000, 4, 5)
    assert stats.chisquare(single[:, 0].sum(0)).pvalue > 0.01


def test_numbers_of_rows():
    assert KernelDesign(49).total == 2047
    assert KernelDesign(11).total == KernelDesign(11, "exact").total == 2**11 - 1
    assert KernelDesign(12).total == 2047
    assert KernelDesign(1, 2).total == 1
    assert PermutationDesign(49).total == 32 * 48 + 1
    assert PermutationDesign(1).total == 1


def test_global_random_numbers_stay_as_they_are():
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    for design in DESIGNS.values():
        estimate(design, lambda kept: kept.sum(1))
    assert (np.random.get_state()[1] == before).all()  # noqa: NPY002


# --- links --------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [KernelDesign, PermutationDesign])
def test_log_odds_add_up(make):
    weights = np.array([2.0, -6.0, 2.0])

    def chance(kept):
        return 1 / (1 + np.exp(-(kept @ weights) + 0.5))

    found = estimate(make(3, link="logit"), chance)
    close(found.values[0], weights)
    close(found.base, [-0.5])


@pytest.mark.parametrize("bad", [0.0, 1.0, -0.1, 1.5, math.nan])
@pytest.mark.parametrize("where", ["rows", "whole"])
def test_log_odds_take_scores_within_0_and_1(bad, where):
    design = KernelDesign(3, link="logit")
    scores, whole = np.full((7, 1), 0.5), np.array([0.5])
    (scores[3:4, 0] if where == "rows" else whole)[:] = bad
    with pytest.raises(ValueError, match=r"`link` 'logit' needs scores between 0 and 1"):
        design.estimate(scores, whole)


# --- bad input ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: KernelDesign(0), ValueError, "`d` must be at least 1. Received: 0."),
        (lambda: KernelDesign(2.0), TypeError, "`d` must be an integer. Received: 2.0."),
        (lambda: KernelDesign(49, 99), ValueError, "`n_samples` must be at least 100 for 49 cells"),
        (lambda: KernelDesign(3, 7), ValueError, "`n_samples` must be at least 8 for 3 cells"),
        (lambda: KernelDesign(2, 3), ValueError, "`n_samples` must be at least 4 for 2 cells"),
        (lambda: KernelDesign(1, 1), ValueError, "`n_samples` must be at least 2. Received: 1."),
        (lambda: KernelDesign(9, True), TypeError, "`n_samples` must be an integer"),
        (lambda: KernelDesign(9, 512.0), TypeError, "`n_samples` must be an integer"),
        (lambda: KernelDesign(9, "all"), TypeError, "an integer or 'exact'. Received: 'all'."),
        (lambda: KernelDesign(17, "exact"), ValueError, "Received: 'exact' for 17 cells. Use a"),
        (lambda: KernelDesign(9, link="log"), ValueError, "`link` must be one of 'identity'"),
        (lambda: KernelDesign(9, seed=-1), ValueError, "`seed` must be at least 0"),
        (lambda: KernelDesign(9, seed=2**64), ValueError, "`seed` must be less than 2"),
        (lambda: KernelDesign(9, seed=None), TypeError, "`seed` must be an integer"),
        (lambda: PermutationDesign(0), ValueError, "`d` must be at least 1. Received: 0."),
        (lambda: PermutationDesign(9, 0), ValueError, "`n_permutations` must be at least 1"),
        (lambda: PermutationDesign(9, 3), ValueError, "`n_permutations` must be even where"),
        (lambda: PermutationDesign(9, 2.0), TypeError, "`n_permutations` must be an integer"),
        (lambda: PermutationDesign(9, 2, 1), TypeError, "`antithetic` must be True or False"),
        (lambda: PermutationDesign(9, link=None), ValueError, "`link` must be one of"),
        (lambda: PermutationDesign(9, seed=0.5), TypeError, "`seed` must be an integer"),
    ],
)
def test_bad_settings_are_refused(make, error, message):
    with pytest.raises(error, match=message.replace("(", r"\(")):
        make()
