"""A model of 16 inputs with main effects, pairs and triples, and what methods should say of it."""

import functools
import itertools

import numpy as np

INPUTS = 16
NULL = slice(13, 16)
"""Inputs that the model does not read."""

MAIN = {0: 4.0, 1: -3.0, 2: 2.0, 3: 1.5, 4: 1.0, 5: 0.7}
PAIRS = {(0, 1): 2.0, (2, 6): 3.0, (7, 8): 4.0, (3, 9): -2.0}
TRIPLES = {(0, 4, 10): 4.0, (6, 7, 11): 5.0, (1, 2, 12): -3.0}
TERMS = {**{(i,): c for i, c in MAIN.items()}, **PAIRS, **TRIPLES}


def score(masks):
    """The sum of products of inputs, (rows,)."""
    masks = np.asarray(masks, float)
    return sum(c * masks[:, list(term)].prod(1) for term, c in TERMS.items())


def saturated(masks):
    """The same behind a sigmoid."""
    return 1 / (1 + np.exp(6 - score(masks)))


def centred_terms():
    """The coefficients of the products of m - 1/2."""
    found = {}
    for term, coefficient in TERMS.items():
        for size in range(len(term) + 1):
            for part in itertools.combinations(term, size):
                found[part] = found.get(part, 0) + coefficient * 0.5 ** (len(term) - size)
    return found


def sobol_indices():
    """Total and first-order indices for masks that are uniform over [0, 1], exactly."""
    shares = {term: c**2 / 12 ** len(term) for term, c in centred_terms().items() if term}
    variance = sum(shares.values())
    total = [sum(s for term, s in shares.items() if i in term) for i in range(INPUTS)]
    first = [shares.get((i,), 0.0) for i in range(INPUTS)]
    return np.array(total) / variance, np.array(first) / variance


@functools.cache
def hsic(model=score, bins=2000):
    """HSIC with random bits, from all 2**16 rows sorted into bins of outputs."""
    bits = np.array(list(itertools.product([False, True], repeat=INPUTS)))
    outputs = model(bits)
    drawn = np.random.default_rng(0).choice(outputs, 4000, replace=False)
    width = np.median(np.abs(drawn[:2000] - drawn[2000:]))
    edges = np.linspace(outputs.min(), outputs.max(), bins + 1)
    middle = (edges[1:] + edges[:-1]) / 2
    kernel = np.exp(-((middle[:, None] - middle) ** 2) / (2 * width**2))
    found = []
    for kept in bits.T:
        apart = np.histogram(outputs[kept], edges)[0] - np.histogram(outputs[~kept], edges)[0]
        apart = apart / (len(bits) / 2)
        found.append(apart @ kernel @ apart / 8)
    return np.array(found)
