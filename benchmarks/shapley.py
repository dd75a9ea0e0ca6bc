"""Whether KernelSHAP errs less than shap's KernelExplainer with as many rows of a real model.

Run it on the torch backend, in an environment of its own to which shap is added; it is no
dependency of the package. It takes some ten minutes for each photo on one core::

    pip install shap
    KERAS_BACKEND=torch python benchmarks/shapley.py --photos 0,1

Both explain the logit of the class of a photo by 49 cells against a grey picture (0, the middle of
the range), with 1,000 rows. The error is the distance to the values of 20,000 rows of another seed,
in shares of their length: the median over 5 seeds. It holds at 1.05 times that of shap.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import environment
import numpy as np

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
SIDE = 7
ROWS, SEEDS, REFERENCE = 1000, 5, 20_000
BAR = 1.05


def main() -> int:
    """Print a row for each photo; return 1 if one misses the bar."""
    environment.require(environment.ONE_THREAD | {"TQDM_DISABLE": "1"})
    import models

    options = _options()
    if not (options.data / "load_mobilenetv2_torch.py").exists():
        raise SystemExit(f"Nothing was run: {options.data} holds no model. Name it with --data.")
    model = models.large("torch", options.data).model
    photos, targets, names = models.photographs(options.data, 5)
    inputs = np.ascontiguousarray(np.moveaxis(photos / 127.5 - 1, -1, 1).astype("float32"))
    print(f"{'photo':30s} {'ours':>7s} {'shap':>7s} {'ratio':>6s} holds", flush=True)
    held = []
    for index in options.photos:
        ours, theirs = _errors(model, inputs[index], int(targets[index]))
        held.append(ours <= BAR * theirs)
        told = "yes" if held[-1] else "NO"
        print(
            f"{names[index]:30s} {ours:7.4f} {theirs:7.4f} {ours / theirs:6.3f} {told}", flush=True
        )
    return int(not all(held))


def _errors(model: Any, photo: np.ndarray, target: int) -> tuple[float, float]:
    reference = _ours(model, photo, target, REFERENCE, SEEDS)

    def error(values: np.ndarray) -> float:
        return float(np.linalg.norm(values - reference) / np.linalg.norm(reference))

    seeds = range(SEEDS)
    ours = [error(_ours(model, photo, target, ROWS, seed)) for seed in seeds]
    theirs = [error(_theirs(model, photo, target, seed)) for seed in seeds]
    return float(np.median(ours)), float(np.median(theirs))


def _ours(model: Any, photo: np.ndarray, target: int, rows: int, seed: int) -> np.ndarray:
    from xai_core import attributions

    explainer = attributions.KernelSHAP(model, n_samples=rows, seed=seed, grid_size=SIDE)
    return explainer(photo[None], target).features[0]


def _theirs(model: Any, photo: np.ndarray, target: int, seed: int) -> np.ndarray:
    import shap
    import torch

    cell = photo.shape[-1] // SIDE

    def predict(codes: np.ndarray) -> np.ndarray:
        scores = []
        for part in np.array_split(codes, -(-len(codes) // 32)):
            masks = part.reshape(-1, 1, SIDE, SIDE).repeat(cell, 2).repeat(cell, 3)
            with torch.no_grad():
                scores.append(model(torch.tensor(photo * masks, dtype=torch.float32))[:, target])
        return torch.cat(scores).double().numpy()

    np.random.seed(seed)  # noqa: NPY002, shap draws from the global generator
    explainer = shap.KernelExplainer(predict, np.zeros((1, SIDE**2)))
    return explainer.shap_values(np.ones(SIDE**2), nsamples=ROWS, l1_reg=False, silent=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=_numbers, default=range(5), help="0 to 4; all by default")
    parser.add_argument("--data", type=Path, default=DATA, help="folder of the model and photos")
    return parser.parse_args()


def _numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


if __name__ == "__main__":
    sys.exit(main())
