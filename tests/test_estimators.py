"""Numbers that reduce: against NumPy in float64, for every way to cut samples into batches."""

import functools

import numpy as np
import pytest
from keras import ops

from model_state import host
from oracles import assert_same
from tiny_models import BACKEND
from xai_core import _backend, estimators

GROUPS, SHAPE = 3, (2, 2)
SPLITS = {"at once": (24,), "halves": (12, 12), "one by one": (1,) * 24, "ragged": (12, 1, 11)}
ORDERED = np.repeat([2, 0, 1], [3, 17, 4])
SHUFFLED = np.random.default_rng(1).permutation(ORDERED)


@functools.cache
def compiled():
    # The rows of a batch and the groups may be unknown when a step is traced.
    return _backend.jit(lambda state, *arguments: estimators.add(*arguments))


def moments(samples, group, splits=(24,), order=4, weight=None, groups=GROUPS, dtype="float32"):
    """The moments of samples (r, ...) of some groups, batch by batch, on the host."""
    samples = np.asarray(samples, dtype)
    weight = np.ones(len(samples)) if weight is None else weight
    found = estimators.empty(groups, samples.shape[1:], order, dtype)
    for rows in np.split(np.arange(len(samples)), np.cumsum(splits)[:-1]):
        batch = samples[rows], np.asarray(group)[rows].astype("int32"), weight[rows].astype(dtype)
        found = compiled()([], found, *map(ops.convert_to_tensor, batch))
    return found


def normals(rows=24, shape=SHAPE, seed=0):
    return np.random.default_rng(seed).normal(2.0, 1.5, (rows, *shape)).astype("float32")


def expected_powers(samples, group, groups=GROUPS):
    """Means and sums of powers of deviations, by definition."""
    own = [np.asarray(samples, float)[np.asarray(group) == g] for g in range(groups)]
    means = np.stack([one.mean(0) for one in own])
    return means, [
        np.stack([((one - mean) ** power).sum(0) for one, mean in zip(own, means, strict=True)])
        for power in (2, 3, 4)
    ]


def assert_moments(found, samples, group, tolerance=1e-5):
    means, powers = expected_powers(samples, group)
    assert host(found.count).tolist() == [(np.asarray(group) == g).sum() for g in range(GROUPS)]
    assert_same(host(found.mean), means, tolerance)
    for power, wanted in zip(found.powers, powers, strict=False):
        assert_same(host(power), wanted, tolerance)


# --- moments ------------------------------------------------------------------------------------


@pytest.mark.parametrize("group", [ORDERED, SHUFFLED], ids=["ordered", "shuffled"])
@pytest.mark.parametrize("splits", SPLITS.values(), ids=SPLITS)
def test_moments_for_any_batches(splits, group):
    # Where they are ordered, most batches hold nothing of most groups.
    found = moments(normals(), group, splits)
    assert len(found.powers) == 3
    assert_moments(found, normals(), group)


def test_two_powers_are_enough_for_a_variance():
    found = moments(normals(), SHUFFLED, (12, 12), order=2)
    assert len(found.powers) == 1
    assert_moments(found, normals(), SHUFFLED)


def test_rows_of_weight_0_do_not_count():
    samples, padding = normals(12), 1e3 * normals(12, seed=1)
    group = np.concatenate([SHUFFLED[:12], [0] * 12])
    together = np.concatenate([samples, padding])
    weight = np.repeat([1.0, 0.0], 12)
    groups = len(set(SHUFFLED[:12]))
    assert groups == GROUPS
    order = np.random.default_rng(2).permutation(24)
    found = moments(together[order], group[order], (12, 12), weight=weight[order])
    assert_moments(found, samples, SHUFFLED[:12])


def test_a_large_mean_does_not_cancel():
    deviations = normals() - 2
    samples = (1e4 + deviations).astype("float32")
    squares = (samples**2).mean(0) - samples.mean(0) ** 2
    truth = samples.astype(float).var(0)
    assert np.abs(squares / truth - 1).max() > 0.1  # so it would be by E[x²] - E[x]²
    for splits in ((24,), (1,) * 24, (12, 12)):
        found = moments(samples, [0] * 24, splits)
        assert_same(host(found.powers[0])[0], 24 * truth, 1e-3)


@pytest.mark.parametrize("size", [1e12, 1e-7])
def test_a_group_that_gets_nothing_in_a_batch_stays_as_it_was(size):
    # The fourth power of the distance from an empty mean would overflow.
    samples = size * (1 + np.arange(6)[:, None] % 2 * 2.0**-20)
    found = moments(samples, [0, 0, 0, 1, 1, 1], (3, 3), groups=2)
    for power in (found.mean, *found.powers[:2]):
        assert np.isfinite(host(power)).all()
    again = moments(samples[3:], [0, 0, 0], (3,), groups=1)
    assert np.array_equal(host(found.mean)[1], host(again.mean)[0])
    assert np.array_equal(host(found.powers[0])[1], host(again.powers[0])[0])


def test_equal_samples_have_no_variance():
    found = moments(np.full((24, *SHAPE), 0.75), ORDERED, (12, 12))
    for of in (estimators.variance, estimators.mean_error, estimators.variance_error):
        assert not host(of(found)).any()


@pytest.mark.skipif(BACKEND == "jax", reason="JAX has float64 only where a user switches it on")
def test_float64_stays_float64():
    found = moments(normals(), SHUFFLED, (12, 12), dtype="float64")
    assert {host(part).dtype for part in (found.count, found.mean, *found.powers)} == {
        np.dtype("float64")
    }
    assert_moments(found, normals(), SHUFFLED)


# --- what is made of them -----------------------------------------------------------------------


def test_variance_and_errors_by_their_formulas():
    found = moments(normals(), [1] * 24, (12, 12))
    x = normals().astype(float)
    variance, fourth = x.var(0, ddof=1), ((x - x.mean(0)) ** 4).mean(0)
    assert_same(host(estimators.variance(found))[1], variance)
    assert_same(host(estimators.mean_error(found))[1], np.sqrt(variance / 24))
    error = np.sqrt((fourth - 21 / 23 * variance**2) / 24)
    assert_same(host(estimators.variance_error(found))[1], error)


def test_two_samples_are_enough():
    found = moments([[1.0], [3.0]], [0, 0], (2,), groups=1)
    assert host(estimators.variance(found)).tolist() == [[2.0]]
    assert host(estimators.mean_error(found)).tolist() == [[1.0]]
    assert_same(host(estimators.variance_error(found)), [[np.sqrt(2.5)]])


@pytest.mark.parametrize("law", ["normal", "uniform", "exponential"])
def test_errors_are_those_of_repeated_experiments(law):
    # Two hundred groups are as many experiments, of 400 samples each.
    draw = getattr(np.random.default_rng(4), law)
    samples = draw(size=(400, 200)).astype("float32")
    found = moments(samples, [0] * 400, (200, 200), groups=1)
    means, variances = host(found.mean)[0], host(estimators.variance(found))[0]
    pairs = [
        (means, host(estimators.mean_error(found))[0], draw(size=10**6).mean()),
        (variances, host(estimators.variance_error(found))[0], draw(size=10**6).var()),
    ]
    for estimate, error, truth in pairs:
        # A standard deviation of 200 values is known to 5 %; three times that.
        assert abs(error.mean() / estimate.std() - 1) < 0.17
        assert 0.89 < (np.abs(estimate - truth) < 1.96 * error).mean() <= 0.995
