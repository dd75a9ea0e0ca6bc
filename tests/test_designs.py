"""Points, bits and integers: their laws, their independence, and that they stay what they are."""

import itertools
import zlib

import numpy as np
import pytest
from scipy import stats
from scipy.stats import qmc

from xai_core import designs, indices

SEED = 11


def rank_agreement(a, b):
    return stats.spearmanr(a, b).statistic


def total_of_linear(points, coefficients):
    """Total indices of a linear model from a replicated design, columns A and B."""
    a, b = np.split(points, 2, axis=1)
    mixed = (a @ coefficients)[:, None] + coefficients * (b - a)
    return indices.sobol_indices(a @ coefficients, b @ coefficients, mixed)[0]


# --- points -------------------------------------------------------------------------------------


@pytest.mark.parametrize("sampler", designs.SAMPLERS)
@pytest.mark.parametrize("n", [1, 2, 32])
def test_points_lie_in_the_cube_and_belong_to_their_seed(sampler, n):
    np.random.seed(3)  # noqa: NPY002
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    found = designs.uniform(sampler, n, 7, SEED)
    assert found.shape == (n, 7)
    assert found.dtype == np.float64
    assert found.min() >= 0
    assert found.max() < 1
    assert np.array_equal(found, designs.uniform(sampler, n, 7, SEED))
    others = [designs.uniform(sampler, n, 7, SEED + 1), designs.uniform(sampler, n, 7, SEED, 1)]
    assert not any(np.array_equal(found, other) for other in others)
    assert np.array_equal(np.random.get_state()[1], before)  # noqa: NPY002


@pytest.mark.parametrize("sampler", ["lhs", "sobol"])
def test_each_stratum_of_each_column_holds_one_point(sampler):
    for seed in (0, 2**64 - 1):
        strata = np.floor(64 * designs.uniform(sampler, 64, 9, seed)).astype(int)
        assert (np.sort(strata, axis=0) == np.arange(64)[:, None]).all()


@pytest.mark.parametrize("sampler", designs.SAMPLERS)
def test_columns_and_blocks_are_uniform_and_do_not_go_together(sampler):
    blocks = [designs.uniform(sampler, 32, 4, 5, block) for block in range(100)]
    assert stats.kstest(np.concatenate(blocks)[::4].ravel(), "uniform").pvalue > 0.001
    # Rows of a sequence go together in one pair of blocks, but not in the mean over pairs.
    pairs = [np.corrcoef(np.hstack(pair).T) for pair in itertools.pairwise(blocks)]
    apart = np.array(pairs)[:, *np.triu_indices(8, 1)]
    assert np.abs(apart.mean(0) / apart.std(0)).max() < 4.5 / np.sqrt(len(apart))


def test_a_hypercube_is_uniform_within_its_strata():
    points = np.concatenate([designs.uniform("lhs", 16, 3, seed) for seed in range(200)])
    assert stats.kstest((16 * points % 1).ravel(), "uniform").pvalue > 0.001


def gate(draw):
    """T08: scale and smallest cell of equal weights; ranks of random weights, d = 25 and 121."""
    equal = np.mean([total_of_linear(draw(32, 128, seed), np.ones(64)) for seed in range(20)], 0)
    ranks = []
    for d in (25, 121):
        weights = np.random.default_rng(d).normal(size=(20, d))
        found = [total_of_linear(draw(32, 2 * d, seed), c) for seed, c in enumerate(weights)]
        ranks.append(
            np.mean([rank_agreement(f, c**2) for f, c in zip(found, weights, strict=True)])
        )
    return 64 * equal.mean(), 64 * equal.min(), ranks


@pytest.mark.parametrize("sampler", designs.SAMPLERS)
def test_every_sampler_passes_the_gate(sampler):
    scale, least, ranks = gate(lambda n, d, seed: designs.uniform(sampler, n, d, seed))
    assert 0.5 < scale < 1.5
    assert least > 0.1
    assert min(ranks) > 0.95


def test_the_gate_is_closed_for_sequences_that_are_not_scrambled():
    scale, _, _ = gate(lambda n, d, seed: qmc.Sobol(d, scramble=False).random(n))
    assert scale < 0.5
    _, _, ranks = gate(lambda n, d, seed: qmc.Halton(d, scramble=False).random(n))
    assert min(ranks) < 0.8


# --- bits ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("sampler", designs.SAMPLERS)
def test_bits_are_fair_and_belong_to_their_seed(sampler):
    found = designs.bits(sampler, 1024, 16, SEED)
    assert found.dtype == bool
    assert found.shape == (1024, 16)
    assert np.array_equal(found, designs.bits(sampler, 1024, 16, SEED))
    assert not np.array_equal(found, designs.bits(sampler, 1024, 16, SEED + 1))
    assert not np.array_equal(found, designs.bits(sampler, 1024, 16, SEED, 1))
    assert abs(found.mean() - 0.5) < 4 * 0.5 / np.sqrt(found.size)


@pytest.mark.parametrize("n", [2, 7, 100, 1001])
def test_columns_of_a_hypercube_are_balanced_in_an_order_of_their_own(n):
    found = designs.bits("lhs", n, 50, SEED)
    counts = found.sum(0)
    assert set(counts) <= {n // 2, n - n // 2}
    if n % 2:
        assert len(set(counts)) == 2
    if n > 100:
        signs = 2.0 * found - 1
        apart = np.abs(signs.T @ signs / n)[np.triu_indices(50, 1)]
        assert 0 < apart.max() < 5 / np.sqrt(n)
        assert np.abs((2.0 * found[: n // 2] - 1).mean(0)).max() < 5 / np.sqrt(n)


def alike(d, p):
    """Number of pairs of equal or complementary columns among the first bits themselves."""
    signs = np.where(qmc.Sobol(d, scramble=True, seed=0).random(p) >= 0.5, 1, -1)
    return (np.abs(signs.T @ signs) == p)[np.triu_indices(d, 1)].sum()


@pytest.mark.parametrize("d", [1, 2, 9, 49, 64, 121, 144])
def test_columns_of_sobol_bits_differ_from_the_smallest_number_of_rows_on(d):
    least = designs.smallest_bits(d)
    assert not alike(d, least)
    if least > 2:
        assert alike(d, least // 2)
        with pytest.raises(ValueError, match=rf"`n` must be at least {least} for {d} columns"):
            designs.bits("sobol", least // 2, d, 0)
    signs = 2 * designs.bits("sobol", least, d, 3).astype(int) - 1
    assert (signs.T @ signs == least * np.eye(d)).all()


def test_pairs_of_sobol_bits_that_repeat():
    found = {(d, p): alike(d, p) for d, p in [(49, 128), (64, 128), (121, 256), (121, 512)]}
    assert list(found.values()) == [1, 9, 4, 0]


# --- numbers by sample --------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [0, 7, 2**64 - 1])
@pytest.mark.parametrize("shape", [(), (1,), (7, 7), (65,)])
def test_numbers_do_not_depend_on_how_samples_are_cut(seed, shape):
    whole = designs.bernoulli(seed, 0, 30, shape, 0.3)
    assert whole.shape == (30, *shape)
    assert whole.dtype == bool
    parts = [
        designs.bernoulli(seed, a, b, shape, 0.3) for a, b in [(0, 1), (1, 8), (8, 8), (8, 30)]
    ]
    assert np.array_equal(np.concatenate(parts), whole)
    highs = (5, 31, 224)
    whole = designs.shifts(seed, 0, 30, highs)
    assert whole.dtype == np.int32
    assert np.array_equal(designs.shifts(seed, 11, 13, highs), whole[11:13])
    rows = designs.background_rows(seed, 0, 30, 9)
    assert np.array_equal(designs.background_rows(seed, 29, 30, 9), rows[29:])


def test_numbers_are_the_same_on_every_machine():
    bits = designs.bernoulli(2**40, 100, 200, (7, 7), 0.5)
    assert zlib.crc32(np.packbits(bits).tobytes()) == 2503544088
    assert designs.shifts(3, 10, 12, (32, 9)).tolist() == [[27, 5], [10, 6]]
    assert designs.background_rows(3, 10, 15, 1000).tolist() == [373, 224, 256, 937, 509]


def test_late_samples_cost_no_more_than_early_ones():
    assert designs.bernoulli(0, 10**15, 10**15 + 2, (8, 8), 0.5).shape == (2, 8, 8)
    assert designs.shifts(0, 10**15, 10**15 + 2, (8,)).shape == (2, 1)


@pytest.mark.parametrize("probability", [1e-3, 0.1, 0.5, 0.9])
def test_bits_by_sample_have_their_probability(probability):
    found = designs.bernoulli(4, 0, 4000, (7, 7), probability)
    error = np.sqrt(probability * (1 - probability))
    assert abs(found.mean() - probability) < 4 * error / np.sqrt(found.size)
    assert np.abs(found.mean(0) - probability).max() < 4.5 * error / np.sqrt(4000)


def test_integers_by_sample_are_uniform():
    found = designs.shifts(4, 0, 40_000, (2, 7, 224, 2**31 - 1))
    for column, high in zip(found.T, (2, 7, 224), strict=False):
        counts = np.bincount(column, minlength=high)
        assert len(counts) == high
        assert stats.chisquare(counts).pvalue > 0.001
    assert stats.kstest(found[:, 3] / (2**31 - 1), "uniform").pvalue > 0.001
    assert stats.chisquare(np.bincount(designs.background_rows(4, 0, 40_000, 50))).pvalue > 0.001


def test_streams_seeds_columns_and_samples_are_independent():
    many = 20_000
    columns = [
        *designs.bernoulli(0, 0, many, (4,), 0.5).T,
        *designs.bernoulli(1, 0, many, (4,), 0.5).T,
        *designs.shifts(0, 0, many, (32, 32)).T,
        *designs.shifts(1, 0, many, (32,)).T,
        designs.background_rows(0, 0, many, 32),
        *designs.bits("random", many, 2, 0).T,
    ]
    drawn = np.array(columns, float)
    together = np.concatenate([drawn[:, 1:], drawn[:, :-1]])
    apart = np.corrcoef(together)[np.triu_indices(len(together), 1)]
    # Column k of the shifted ones is column k of the others, one sample later.
    assert np.abs(apart).max() < 4.5 / np.sqrt(many)


# --- what is refused ----------------------------------------------------------------------------


@pytest.mark.parametrize("draw", [designs.uniform, designs.bits], ids=["uniform", "bits"])
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (("sobel", 32, 4), "Did you mean 'sobol'"),
        (("sobol", 48, 4), r"power of two for sampler 'sobol'. Received: 48. Use 32 or 64"),
        (("sobol", 64, 30_000), "has at most .* columns. Received: 30000"),
        (("halton", 64, 1025), "has at most 1024 columns. Received: 1025"),
    ],
)
def test_designs_that_do_not_exist_are_refused(draw, settings, message):
    with pytest.raises(ValueError, match=message):
        draw(*settings, seed=0)
