"""Whether standard errors are honest: how often the interval of 95 % holds what is estimated.

Run it with the package installed; it takes some minutes::

    KERAS_BACKEND=torch python benchmarks/errors.py
    KERAS_BACKEND=torch python benchmarks/errors.py --methods RISE,HSIC --seeds 50

The model is a function of 16 columns with effects alone, of pairs and of a triple. What is
estimated is the limit of many masks: from all 65,536 of them, for shifted ones from 262,144, for
Sobol from 131,072 points, for HSIC from 8 times 8,192. A row holds when the mean coverage of the
cells that matter is within 92 to 98 % and that of each within 88 to 100 %; HSIC's other cells must
have p < .05 in at most 8 % of the runs.
"""

from __future__ import annotations

import argparse
import itertools
import math
import sys
from typing import Any, NamedTuple

import numpy as np

CELLS = 16
EXACT = 1e-6
"""Cells of smaller errors are exact but for rounding, such as those that act alone."""
NULLS = 16
"""A cell of HSIC matters from here times the estimate of one that plays no part on."""
MEAN, CELL, FALSE = (0.92, 0.98), (0.88, 1.0), 0.08


class Setting(NamedTuple):
    """A method and its fields."""

    method: str
    fields: dict[str, Any]

    def __str__(self) -> str:
        """The method and its fields."""
        return f"{self.method} {', '.join(f'{k} {v}' for k, v in self.fields.items())}"


SETTINGS = [
    Setting("RISE", {"n_samples": 1024}),
    Setting("RISE", {"n_samples": 1024, "normalization": "expected"}),
    Setting("RISE", {"n_samples": 1024, "keep_probability": 0.3}),
    *(
        Setting("RISE", {"n_samples": 1024, "grid_size": 5, "normalization": one})
        for one in ("coverage", "expected")
    ),
    *(Setting("KernelSHAP", {"n_samples": rows}) for rows in (512, 1024, 2048)),
    Setting("ShapleySampling", {"n_permutations": 64}),
    Setting("ShapleySampling", {"n_permutations": 64, "antithetic": False}),
    *(
        Setting("Sobol", {"n_design": 64, "sampler": sampler, "estimator": estimator})
        for sampler in ("lhs", "random")
        for estimator in ("jansen", "homma", "janon", "saltelli", "glen")
    ),
    *(
        Setting("Sobol", {"n_design": 32, "n_blocks": blocks, "sampler": sampler})
        for sampler in ("sobol", "halton", "lhs")
        for blocks in (8, 16)
    ),
    Setting("Sobol", {"n_design": 32, "n_blocks": 2}),
    Setting("Sobol", {"n_design": 32, "n_blocks": 2, "sampler": "random"}),
    *(
        Setting("HSIC", {"n_samples": 1024, "sampler": sampler, "masks": masks})
        for sampler in ("lhs", "random")
        for masks in ("binary", "uniform")
    ),
    Setting("HSIC", {"n_samples": 1024, "masks": "uniform", "kernel": "rbf"}),
]


def model(x: np.ndarray) -> np.ndarray:
    """Effects of ten columns alone, of three pairs and of a triple; the last four have none."""
    main = x[:, :10] @ np.linspace(0.3, 2, 10)
    pairs = 1.5 * x[:, 0] * x[:, 5] - 2 * x[:, 2] * x[:, 9] + x[:, 10] * x[:, 3]
    return main + pairs + 2 * x[:, 1] * x[:, 7] * x[:, 11]


def main() -> int:
    """Print the coverage of each setting; return 1 if one does not hold."""
    from xai_core import attributions

    options = _options()
    held = []
    print(f"{'setting':62s} {'mean':>6s} {'least':>6s} {'most':>6s} {'p < .05':>8s} holds")
    for setting in SETTINGS:
        if options.methods is None or setting.method in options.methods:
            method = getattr(attributions, setting.method)
            held.append(_row(method, setting, options.seeds))
    return int(not all(held))


def _row(method: Any, setting: Setting, seeds: int) -> bool:
    limit = _limit(method, setting)
    inside, errors, false, null = [], [], [], []
    for seed in range(seeds):
        found = _explained(method, setting.fields | {"seed": seed})
        values, error = found.values.ravel(), found.standard_error.ravel()
        inside.append(np.abs(values - limit) <= 1.96 * error)
        errors.append(error)
        null.append(values[-4:])
        if found.p_values is not None:
            false.append(found.p_values[0, -4:] < 0.05)
    matters = np.mean(errors, axis=0) > EXACT
    if setting.method == "HSIC":  # whose estimates of what plays no part are above 0
        matters &= limit > NULLS * np.mean(null)
    each = np.mean(inside, axis=0)[matters]
    share = float(np.mean(false)) if false else 0.0
    holds = MEAN[0] <= each.mean() <= MEAN[1] and CELL[0] <= each.min() and share <= FALSE
    shown = f"{share:8.3f}" if false else f"{'-':>8s}"
    print(
        f"{setting!s:62s} {each.mean():6.3f} {each.min():6.3f} {each.max():6.3f} {shown} "
        f"{'yes' if holds else 'no'}",
        flush=True,
    )
    return holds


def _explained(method: Any, fields: dict[str, Any]) -> Any:
    """Columns of a table, or steps of a series under masks that are shifted along it."""
    shape = (1, CELLS, 1) if "grid_size" in fields else (1, CELLS)
    explainer = method(
        lambda x: model(x.reshape(-1, CELLS)), operator="regression", batch_size=2**14, **fields
    )
    return explainer(np.ones(shape), 0)


def _limit(method: Any, setting: Setting) -> np.ndarray:
    """What the estimates approach with more and more masks."""
    bits = np.array(list(itertools.product([0.0, 1.0], repeat=CELLS)))
    if "grid_size" in setting.fields:
        return _shifted_limit(method, setting)
    if setting.method == "RISE":
        p = setting.fields.get("keep_probability", 0.5)
        weight = np.prod(np.where(bits == 1, p, 1 - p), axis=1)
        scores = model(bits)
        return (weight * scores) @ bits / (weight @ bits)
    if setting.method in ("KernelSHAP", "ShapleySampling"):
        return _shapley(model(bits).reshape([2] * CELLS))
    many = {"Sobol": _sobol_limit, "HSIC": _hsic_limit}[setting.method]
    return many(method, setting)


def _shapley(scores: np.ndarray) -> np.ndarray:
    """Shapley values of a game whose scores stand at its coalitions' bits."""
    sizes = np.indices(scores.shape).sum(0)
    found = []
    for cell in range(CELLS):
        gains = np.diff(scores, axis=cell).squeeze(cell)
        rest = np.take(sizes, 0, axis=cell)
        chances = 1 / (CELLS * np.array([math.comb(CELLS - 1, k) for k in range(CELLS)]))
        found.append((gains * chances[rest]).sum())
    return np.array(found)


def _shifted_limit(method: Any, setting: Setting) -> np.ndarray:
    """From 256 times the masks, whose error is a sixteenth."""
    fields = setting.fields | {"n_samples": 256 * setting.fields["n_samples"], "seed": 2**32}
    return _explained(method, fields).values.ravel().astype(float)


def _sobol_limit(method: Any, setting: Setting) -> np.ndarray:
    del setting
    fields = {"n_design": 2**17, "sampler": "sobol", "estimator": "jansen"}
    return _explained(method, fields).values.ravel().astype(float)


def _hsic_limit(method: Any, setting: Setting) -> np.ndarray:
    """The mean of estimates from eight times the masks, whose bias is an eighth."""
    fields = setting.fields | {"n_samples": 8 * setting.fields["n_samples"]}

    seeds = range(2**32, 2**32 + 8)
    each = [_explained(method, fields | {"seed": seed}).values.ravel() for seed in seeds]
    return np.mean(each, axis=0, dtype=float)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=200, help="runs of each setting")
    parser.add_argument("--methods", type=lambda text: text.split(","), help="all by default")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
