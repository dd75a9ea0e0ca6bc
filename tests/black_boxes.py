"""Functions that only predict, the data that they are tried on, and what Occlusion finds there."""

import numpy as np

import oracles
from xai_core.attributions import Occlusion

GENERATOR = np.random.default_rng(2)
X = GENERATOR.normal(size=(40, 4))
CLASS = np.digitize(X @ [1.0, -2.0, 0.5, 0.0], [-1.0, 1.0])  # 0, 1 or 2
VALUE = X @ [1.0, -2.0, 0.5, 0.25] + 0.1 * GENERATOR.normal(size=40)
ROWS = X[:6]
WEIGHTS = np.array([[2.0, 1.0], [-3.0, 0.0], [0.5, -1.0], [1.0, 4.0]])


def linear(x):
    return x @ WEIGHTS


def column(x):
    return x @ WEIGHTS[:, 0]


def drops(predict, x=ROWS, target=0):
    """The oracle of Occlusion for one column of what ``predict`` returns."""

    def scores(rows):
        found = np.asarray(predict(rows))
        return found if found.ndim == 1 else found[np.arange(len(rows)), target]

    return oracles.occlusion(scores, x, (1,), (1,))[0]


def regression(model, **fields):
    return Occlusion(model, operator="regression", **fields)
