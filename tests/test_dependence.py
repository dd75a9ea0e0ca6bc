"""HSIC: exact values, dense formulas, tests of independence, pairs, and honest errors."""

import itertools

import numpy as np
import pytest

import sixteen_inputs
from xai_core import criterion, designs, kernels
from xai_core.dependence import HsicDesign

FACTORIAL = np.array(list(itertools.product([False, True], repeat=3)))


def run(design, model, rows=None):
    """The estimate of a design for a model of masks (rows, d) -> (rows,) or (rows, M)."""
    codes = design.codes(0, rows or design.total)
    scores = np.asarray(model(codes), float).reshape(len(codes), -1)
    return design.estimate(scores, scores[0])


def mask_kernel(name, x):
    """A kernel matrix (p, p) as it is written, not centred."""
    one, other = x[:, None].astype(float), x[None, :].astype(float)
    if name == "binary":
        return 0.5 - (one - other) ** 2
    if name == "rbf":
        return np.exp(-((one - other) ** 2) / (2 * 0.5**2))
    b2 = np.abs(one - other) ** 2 - np.abs(one - other) + 1 / 6
    return (one - 0.5) * (other - 0.5) + b2 / 2


def output_kernel(y, width):
    y = np.asarray(y, float)
    return np.exp(-((y[:, None] - y[None, :]) ** 2) / (2 * width**2))


def dense_hsic(k, y, width):
    p = len(y)
    h = np.eye(p) - np.ones((p, p)) / p
    return np.trace(k @ h @ output_kernel(y, width) @ h) / (p - 1) ** 2


def signs(kept):
    return 2.0 * kept - 1


# --- exact values -------------------------------------------------------------------------------


def test_one_bit_of_a_full_factorial():
    found = criterion.binary_hsic(FACTORIAL, FACTORIAL[:, 0], 1.0).values
    exact = (8 / 7) ** 2 * (1 - np.exp(-0.5)) / 4
    np.testing.assert_allclose(found, [exact, 0, 0], atol=1e-15)
    np.testing.assert_allclose(exact, 0.128479785, rtol=1e-8)
    np.testing.assert_allclose(found[0] * 7**2 / 8, 0.786938681, rtol=1e-8)


def test_a_sum_of_bits_of_a_full_factorial():
    found = criterion.binary_hsic(FACTORIAL, FACTORIAL @ [1, 2, 4], 1.0).values
    np.testing.assert_allclose(found, [0.01045067, 0.07723991, 0.1487931], rtol=1e-6)


def test_exclusive_or_shows_in_the_pair_only():
    either = FACTORIAL[:, 0] ^ FACTORIAL[:, 1]
    assert np.abs(criterion.binary_hsic(FACTORIAL, either, 1.0).values).max() < 1e-15
    pairs = criterion.pair_hsic(FACTORIAL, either, 1.0, "binary")
    np.testing.assert_allclose(pairs[0, 1], 0.064239892, rtol=1e-8)
    np.testing.assert_allclose(pairs[0, 1], (8 / 7) ** 2 * (1 - np.exp(-0.5)) / 8, rtol=1e-12)
    assert np.abs(pairs[[0, 1], [2, 2]]).max() < 1e-15


def test_hsic_is_the_distance_of_outputs_with_and_without_the_cell():
    kept = designs.bits("lhs", 40, 5, 0)
    y = np.random.default_rng(0).normal(size=40)
    kernel, found = output_kernel(y, 0.7), criterion.binary_hsic(kept, y, 0.7).values
    for i, column in enumerate(kept.T):
        apart = kernel[np.ix_(column, column)].mean() + kernel[np.ix_(~column, ~column)].mean()
        apart -= 2 * kernel[np.ix_(column, ~column)].mean()
        np.testing.assert_allclose(found[i], (40 / 39) ** 2 * apart / 8, rtol=1e-12)


def test_independent_outputs_have_the_mean_of_the_null():
    kept = designs.bits("lhs", 1500, 49, 0)
    y = np.random.default_rng(0).normal(size=1500)
    found = criterion.binary_hsic(kept, y, 1.0)
    exact = (1 - 1 / np.sqrt(3)) / 3000
    assert exact / 2 < found.values.mean() < 2 * exact
    assert (found.p_values < 0.05).mean() < 0.15


# --- dense formulas -----------------------------------------------------------------------------


@pytest.mark.parametrize("p", [9, 50, 700])
@pytest.mark.parametrize("sampler", ["lhs", "random"])
def test_the_closed_form_for_bits_is_the_dense_one(p, sampler):
    # 700 rows are two blocks, the last one ragged.
    kept = designs.bits(sampler, p, 3, 1)
    y = signs(kept) @ [1.0, 0.3, 0.0] + np.random.default_rng(1).normal(size=p)
    found = criterion.binary_hsic(kept, y, 0.8).values
    expected = [dense_hsic(mask_kernel("binary", column), y, 0.8) for column in kept.T]
    np.testing.assert_allclose(found, expected, rtol=1e-9)


@pytest.mark.parametrize("kernel", kernels.KERNELS)
@pytest.mark.parametrize("p", [9, 600])
def test_uniform_masks_by_blocks_are_the_dense_ones(kernel, p):
    masks = designs.uniform("lhs", p, 3, 1)
    y = masks @ [1.0, 0.3, 0.0] + np.random.default_rng(1).normal(size=p)
    found = criterion.uniform_hsic(masks, y, 0.8, kernel).values
    expected = [dense_hsic(mask_kernel(kernel, column), y, 0.8) for column in masks.T]
    np.testing.assert_allclose(found, expected, rtol=1e-9)


@pytest.mark.parametrize("kernel", kernels.KERNELS)
def test_kernels_have_mean_zero(kernel):
    u = (np.arange(4000) + 0.5) / 4000
    assert np.abs(kernels.KERNELS[kernel](u[:40, None], u[None, :]).mean(1)).max() < 1e-7


@pytest.mark.parametrize("kernel", ["binary", *kernels.KERNELS])
def test_pairs_are_the_products_of_kernels(kernel):
    draw = designs.bits if kernel == "binary" else designs.uniform
    codes = draw("random", 60, 4, 3)
    y = codes @ [1.0, 2.0, 0.5, 0.0] + codes[:, 1] * codes[:, 3]
    found = criterion.pair_hsic(codes, y, 0.6, kernel)
    assert np.isnan(np.diag(found)).all()
    assert np.array_equal(found, found.T, equal_nan=True)
    if kernel == "binary":
        each = [mask_kernel("binary", column) for column in codes.T]
    else:
        each = [kernels.KERNELS[kernel](c[:, None], c[None, :]) for c in codes.T]
    for i, j in itertools.combinations(range(4), 2):
        np.testing.assert_allclose(found[i, j], dense_hsic(each[i] * each[j], y, 0.6), rtol=1e-9)


def test_many_pairs_are_computed_in_parts():
    kept = designs.bits("lhs", 40, 40, 0)
    y = np.random.default_rng(0).normal(size=40)
    found = criterion.pair_hsic(kept, y, 1.0, "binary")
    for i, j in [(0, 1), (13, 26), (38, 39)]:
        both = mask_kernel("binary", kept[:, i]) * mask_kernel("binary", kept[:, j])
        np.testing.assert_allclose(found[i, j], dense_hsic(both, y, 1.0), rtol=1e-9)


# --- the width ----------------------------------------------------------------------------------


@pytest.mark.parametrize("p", [2, 3, 64, 501, 2048])
def test_the_width_is_the_median_distance(p):
    y = np.random.default_rng(p).exponential(size=p)
    distances = np.sort(np.abs(y[:, None] - y)[np.triu_indices(p, 1)])
    np.testing.assert_allclose(
        kernels.median_distance(y), distances[(len(distances) - 1) // 2], rtol=1e-12
    )


def test_of_many_outputs_some_are_drawn():
    y = np.random.default_rng(0).normal(size=20_000)
    found = [kernels.median_distance(y, seed) for seed in (0, 0, 1)]
    assert found[0] == found[1] != found[2]
    np.testing.assert_allclose(found, 0.6745 * np.sqrt(2), rtol=0.05)


def test_outputs_that_are_mostly_equal_have_the_width_of_the_others():
    y = np.zeros(100)
    y[:10] = np.arange(10)
    distances = np.abs(y[:, None] - y)[np.triu_indices(100, 1)]
    np.testing.assert_allclose(kernels.median_distance(y), np.median(distances[distances > 0]))
    # Not one of the outputs drawn differs.
    rare = np.zeros(100_000)
    rare[-1] = 3.0
    assert kernels.median_distance(rare) == 3.0


def test_offset_and_unit_of_scores_do_not_matter():
    design = HsicDesign(16, 256)
    found = run(design, sixteen_inputs.score).values
    moved = run(design, lambda m: 1e3 - 1e-3 * sixteen_inputs.score(m)).values
    np.testing.assert_allclose(moved, found, rtol=1e-6)


# --- the design ---------------------------------------------------------------------------------


@pytest.mark.parametrize("masks", ["binary", "uniform"])
@pytest.mark.parametrize("sampler", designs.SAMPLERS)
def test_rows_are_those_of_the_sampler(masks, sampler):
    design = HsicDesign(9, 1024, sampler=sampler, masks=masks, seed=4)
    assert design.total == 1024
    assert design.checks() == [256, 512, 1024]
    codes = design.codes(0, 1024).copy()
    draw = designs.bits if masks == "binary" else designs.uniform
    assert codes.dtype == ("bool" if masks == "binary" else "float32")
    assert np.array_equal(codes, draw(sampler, 1024, 9, 4).astype(codes.dtype))
    parts = [design.codes(a, b) for a, b in [(0, 1), (1, 300), (300, 300), (300, 1024)]]
    assert np.array_equal(np.concatenate(parts), codes)
    parts[1][:] = 0  # what is done to a chunk stays there
    assert np.array_equal(design.codes(0, 1024), codes)


@pytest.mark.parametrize(
    ("settings", "checks"),
    [
        ({"d": 9, "n_samples": 100}, [100]),
        ({"d": 9, "n_samples": 256}, [256]),
        ({"d": 9, "n_samples": 1500}, [256, 512, 1024, 1500]),
        ({"d": 121, "n_samples": 2048, "sampler": "sobol"}, [512, 1024, 2048]),
    ],
)
def test_estimates_make_sense_after_twice_as_many_rows_each(settings, checks):
    assert HsicDesign(**settings).checks() == checks


def test_a_check_is_the_estimate_from_so_many_rows():
    design = HsicDesign(16, 1024, seed=1)
    found = run(design, sixteen_inputs.score, rows=512)
    kept = design.codes(0, 512)
    y = sixteen_inputs.score(kept)
    expected = criterion.binary_hsic(kept, y, kernels.median_distance(y, 1))
    for name in ("values", "error", "p_values"):
        np.testing.assert_array_equal(getattr(found, name)[0], getattr(expected, name))


def test_targets_do_not_see_each_other():
    design = HsicDesign(16, 256, interactions=True, seed=2)
    models = sixteen_inputs.score, lambda m: 0.0 * m[:, 0], sixteen_inputs.saturated
    both = run(design, lambda m: np.stack([model(m) for model in models], 1))
    assert both.values.shape == both.error.shape == both.p_values.shape == (3, 16)
    assert both.interactions.shape == (3, 16, 16)
    assert both.first_order is both.base is None
    for k, model in enumerate(models):
        alone = run(design, model)
        for name in ("values", "error", "p_values", "interactions"):
            np.testing.assert_array_equal(getattr(both, name)[k], getattr(alone, name)[0])


@pytest.mark.parametrize("masks", ["binary", "uniform"])
@pytest.mark.parametrize("value", [0.0, -7.25, 1e30])
def test_constant_scores_depend_on_nothing(masks, value):
    design = HsicDesign(4, 128, masks=masks, interactions=True, p_value_permutations=9)
    noise = 1 + 1e-8 * np.random.default_rng(0).random(128)
    for scores in (np.full((128, 1), value), value * noise[:, None]):
        found = design.estimate(scores, scores[0])
        assert not found.values.any()
        assert not found.error.any()
        assert (found.p_values == 1).all()
        assert not found.interactions[0][~np.eye(4, dtype=bool)].any()


def test_a_product_of_two_cells_is_found_among_all_pairs():
    design = HsicDesign(49, 1024, interactions=True)
    found = run(design, lambda kept: signs(kept[:, 0]) * signs(kept[:, 1]))
    pairs = found.interactions[0][np.triu_indices(49, 1)]
    assert pairs.argmax() == 0
    assert pairs[0] >= 3 * np.sort(pairs)[-2]
    # Neither cell alone tells anything.
    assert found.values[0].max() < pairs[0] / 3


@pytest.mark.parametrize("kernel", kernels.KERNELS)
def test_uniform_masks_find_what_a_score_depends_on(kernel):
    design = HsicDesign(5, 512, masks="uniform", kernel=kernel, interactions=True)
    found = run(design, lambda m: np.abs(m[:, 0] - 0.5) + (m[:, 1] > 0.5) * (m[:, 2] > 0.5))
    assert set(np.argsort(found.values[0])[2:]) == {0, 1, 2}
    assert np.nanargmax(found.interactions[0]) in (5 + 2, 2 * 5 + 1)


# --- errors and p-values ------------------------------------------------------------------------


@pytest.mark.parametrize("sampler", ["sobol", "halton"])
@pytest.mark.parametrize("masks", ["binary", "uniform"])
def test_sequences_give_no_errors_and_no_p_values(sampler, masks):
    found = run(HsicDesign(16, 256, sampler=sampler, masks=masks), sixteen_inputs.score)
    assert found.error is None
    assert found.p_values is None


def test_few_rows_give_no_errors():
    assert run(HsicDesign(16, 127), sixteen_inputs.score).error is None
    assert run(HsicDesign(16, 128), sixteen_inputs.score).error is not None


def test_errors_are_those_without_one_row_each():
    # The jackknife with the width kept, up to terms of higher order.
    kept = designs.bits("random", 300, 16, 0)
    y = sixteen_inputs.score(kept)
    found = criterion.binary_hsic(kept, y, 4.0)
    rows = np.arange(300)
    left = [criterion.binary_hsic(kept[rows != k], y[rows != k], 4.0).values for k in rows]
    jackknife = np.sqrt(299 * np.var(left, axis=0))
    large = found.values > 5 / 300
    assert large.any()
    np.testing.assert_allclose(found.error[large], jackknife[large], rtol=0.05)


@pytest.mark.parametrize("sampler", ["lhs", "random"])
def test_errors_cover_the_limit_and_nothing_is_found_where_nothing_is(sampler):
    # 200 seeds gave 94 to 95 % over all cells, 90 to 98 % in each, and p < .05 in 3 to 8 %.
    limit = sixteen_inputs.hsic(sixteen_inputs.saturated)
    runs = [
        run(HsicDesign(16, 512, sampler=sampler, seed=s), sixteen_inputs.saturated)
        for s in range(30)
    ]
    values, errors, p_values = (
        np.concatenate([getattr(one, name) for one in runs])
        for name in ("values", "error", "p_values")
    )
    large = limit >= 5 / 512
    assert large.sum() == 4
    covered = (np.abs(values - limit) <= 1.96 * errors)[:, large].mean(0)
    assert covered.mean() > 0.88
    assert covered.min() > 0.75
    assert 0.8 < np.median((errors.mean(0) / values.std(0))[large]) < 1.3
    assert (p_values[:, sixteen_inputs.NULL] < 0.05).mean() < 0.12
    assert (p_values[:, large] < 0.001).mean() > 0.95


@pytest.mark.parametrize("kernel", ["binary", *kernels.KERNELS])
def test_the_gamma_law_has_the_moments_of_all_orders_of_the_outputs(kernel):
    draws = np.random.default_rng(5)
    codes = draws.random((6, 1)) if kernel != "binary" else (np.arange(6) < 2)[:, None]
    y = draws.normal(size=6)
    k = mask_kernel(kernel, codes[:, 0])
    every = [25 * dense_hsic(k, y[list(o)], 0.9) for o in itertools.permutations(range(6))]
    h = np.eye(6) - 1 / 6
    mine, theirs = (
        criterion.Trace(np.trace(m), np.trace(m @ m), (np.diag(m) ** 2).sum())
        for m in (h @ k @ h, h @ output_kernel(y, 0.9) @ h)
    )
    mean, variance = criterion.moments_over_orders(6, mine, theirs)
    np.testing.assert_allclose([mean, variance], [np.mean(every), np.var(every)], rtol=1e-10)


def test_p_values_of_independent_scores_are_uniform():
    y = np.random.default_rng(0).exponential(size=(200, 3))
    found = [
        HsicDesign(40, 200, sampler=sampler, masks=masks).estimate(y, y[0]).p_values.ravel()
        for sampler in ("lhs", "random")
        for masks in ("binary", "uniform")
    ]
    for p_values in found:
        for level in (0.05, 0.2, 0.5):
            error = np.sqrt(level * (1 - level) / len(p_values))
            assert abs((p_values < level).mean() - level) < 4.5 * error


@pytest.mark.parametrize("masks", ["binary", "uniform"])
def test_counted_p_values_are_near_those_of_the_gamma_law(masks):
    settings = {"d": 16, "n_samples": 128, "masks": masks, "seed": 3}
    gamma = run(HsicDesign(**settings), sixteen_inputs.score).p_values
    counted = run(HsicDesign(**settings, p_value_permutations=300), sixteen_inputs.score).p_values
    assert counted.min() >= 1 / 301
    np.testing.assert_allclose(counted, gamma, atol=0.1)
    assert not np.array_equal(counted, gamma)


def test_columns_that_p_values_are_counted_from_are_not_those_of_the_cells():
    # As many columns as cells: were they the same, the first cell would reach itself.
    for masks in ("binary", "uniform"):
        design = HsicDesign(16, 128, masks=masks, p_value_permutations=16)
        assert run(design, lambda m: 1.0 * m[:, 0]).p_values[0, 0] == 1 / 17


def test_some_sobol_bits_are_products_of_three_others():
    # Why that sampler has no p-values: cell l depends on nothing, and looks as if it did.
    bits = signs(designs.bits("sobol", 256, 49, 0))
    products = bits[:, 0] * bits[:, 1] * bits[:, 2:].T
    alike = np.argwhere(np.abs(products @ bits) == 256)
    third, alone = next((k + 2, cell) for k, cell in alike if cell not in (0, 1, k + 2))
    design = HsicDesign(49, 256, sampler="sobol")
    found = run(design, lambda m: signs(m[:, 0]) * signs(m[:, 1]) * signs(m[:, third]))
    assert found.values[0].argmax() == alone


# --- what is refused ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"d": 0}, ValueError, "`d` must be at least 1"),
        ({"n_samples": 3}, ValueError, "`n_samples` must be at least 4"),
        ({"n_samples": 64.0}, TypeError, "`n_samples` must be an integer"),
        ({"n_samples": 1000, "sampler": "sobol"}, ValueError, "`n_samples` must be a power of two"),
        (
            {"d": 64, "n_samples": 128, "sampler": "sobol"},
            ValueError,
            "`n_samples` must be at least 256 for 64 columns of Sobol' bits",
        ),
        ({"sampler": "latin"}, ValueError, "`sampler` must be one of"),
        ({"masks": "bits"}, ValueError, "`masks` must be one of 'binary', 'uniform'"),
        ({"kernel": "rbf"}, ValueError, "`kernel` must be None for binary masks"),
        ({"kernel": "laplace", "masks": "uniform"}, ValueError, "`kernel` must be one of"),
        ({"interactions": 1}, TypeError, "`interactions` must be True or False"),
        (
            {"interactions": True, "sampler": "sobol"},
            ValueError,
            "`interactions` needs sampler 'lhs' or 'random'. Received: 'sobol'",
        ),
        ({"p_value_permutations": -1}, ValueError, "`p_value_permutations` must be at least 0"),
        (
            {"p_value_permutations": 9, "sampler": "halton"},
            ValueError,
            "`p_value_permutations` needs sampler 'lhs' or 'random'",
        ),
        ({"seed": 0.5}, TypeError, "`seed` must be an integer"),
    ],
)
def test_wrong_settings_are_refused_at_once(settings, error, message):
    with pytest.raises(error, match=message):
        HsicDesign(**{"d": 3, **settings})


def test_uniform_masks_of_a_sequence_may_be_few():
    assert HsicDesign(64, 128, sampler="sobol", masks="uniform").total == 128
