"""Numbers that perturb: published words, an oracle of the normals, and their statistics."""

import functools

import numpy as np
import pytest
from keras import ops
from scipy import stats

import oracles
from model_state import host
from oracles import assert_same
from xai_core import _backend, sampling

# (key, counters, words) of Threefry-2x32 with 20 rounds, from the authors' Random123.
PUBLISHED = [
    ((0, 0), (0, 0), (0x6B200159, 0x99BA4EFE)),
    ((0xFFFFFFFF, 0xFFFFFFFF), (0xFFFFFFFF, 0xFFFFFFFF), (0x1CB996FC, 0xBB002BE7)),
    ((0x13198A2E, 0x03707344), (0x243F6A88, 0x85A308D3), (0xC4923A9C, 0x483DF7A0)),
]
SEEDS = [0, 7, 2**32 - 1, 2**32, 2**32 + 7, 2**64 - 1]
MANY = 40_000


def int32(words):
    return ops.convert_to_tensor(np.array(words, "uint32").view("int32"))


@functools.cache
def compiled(size, first):
    return _backend.jit(lambda state, key, samples: sampling.normal(key, samples, size, first))


def normal(seed, samples, size, first=0):
    """The numbers as a compiled step draws them."""
    key = ops.convert_to_tensor(sampling.seed_words(seed))
    return host(compiled(size, first)([], key, ops.convert_to_tensor(np.array(samples, "int32"))))


# --- the words ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("key", "counters", "words"), PUBLISHED)
def test_words_are_the_published_ones(key, counters, words):
    found = sampling._threefry(int32(key), *(int32([counter]) for counter in counters))
    assert tuple(int(host(word).view("uint32")[0]) for word in found) == words
    assert tuple(int(word) for word in oracles.threefry(key, counters)) == words


def test_seeds_of_64_bits_become_two_words():
    pairs = {0: (0, 0), 2**31: (-(2**31), 0), 2**32 + 5: (5, 1), 2**64 - 1: (-1, -1)}
    for seed, words in pairs.items():
        found = sampling.seed_words(seed)
        assert found.dtype == np.int32
        assert tuple(found) == words


# --- the numbers --------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", SEEDS)
def test_normals_are_those_of_the_oracle(seed):
    samples = [0, 1, 50, 2**31 - 1]
    assert_same(normal(seed, samples, 64), oracles.normal(seed, samples, 64), 1e-6)


@pytest.mark.parametrize(("size", "first"), [(1, 0), (7, 0), (8, 2**31)])
def test_every_size_and_start_is_that_of_the_oracle(size, first):
    drawn = normal(5, [3, 4], size, first)
    assert drawn.shape == (2, size)
    assert drawn.dtype == np.float32
    assert_same(drawn, oracles.normal(5, [3, 4], size, first), 1e-6)


def test_a_sample_does_not_depend_on_the_others():
    # The words are equal; a sine may differ in its last bit where it is computed.
    whole = normal(9, range(4), 64)
    assert_same(normal(9, [7, 2, 9, 0], 64)[[1, 3]], whole[[2, 0]], 1e-6)
    assert_same(normal(9, [3], 64), whole[3:], 1e-6)


def test_starts_count_pairs():
    # Pairs 0 to 5, cosines and then sines, and pairs 4 and 5 alone.
    whole, later = normal(9, [3, 4], 12), normal(9, [3, 4], 4, 8)
    assert_same(later, whole[:, [4, 5, 10, 11]], 1e-6)


# --- their statistics ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def streams():
    """Long sequences that differ in seed, sample, or start."""
    drawn = {
        (seed, 0, k): row
        for seed in (0, 1, 2**32)
        for k, row in enumerate(normal(seed, [0, 1, 2, 1000], MANY))
    }
    return drawn | {(0, MANY, 0): normal(0, [0], MANY, MANY)[0]}


def test_numbers_are_normal(streams):
    every = np.concatenate(list(streams.values())).astype(float)
    error = 4 / np.sqrt(every.size)
    assert abs(every.mean()) < error
    assert abs(every.var() - 1) < np.sqrt(2) * error
    assert abs((every**3).mean()) < np.sqrt(15) * error
    assert abs((every**4).mean() - 3) < np.sqrt(96) * error
    assert stats.kstest(every, "norm").pvalue > 0.01
    for tail in (0.001, 0.01, 0.1, 0.5, 0.9, 0.99, 0.999):
        share = (every < stats.norm.ppf(tail)).mean()
        assert abs(share - tail) < np.sqrt(tail * (1 - tail)) * error
    assert 4 < np.abs(every).max() < 5.8  # 24 bits reach no further


@pytest.mark.parametrize("power", [1, 2])
def test_seeds_samples_and_starts_are_independent(streams, power):
    rows = np.stack(list(streams.values())).astype(float) ** power
    apart = np.corrcoef(rows)[np.triu_indices(len(rows), 1)]
    assert np.abs(apart).max() < 4.5 / np.sqrt(MANY)
    # Neighbours, and the cosine and the sine of a pair, which share a radius.
    for row in rows:
        halves = [(row[:-1], row[1:]), np.split(row, 2)]
        for one, other in halves:
            assert abs(np.corrcoef(one, other)[0, 1]) < 4.5 / np.sqrt(len(one))
