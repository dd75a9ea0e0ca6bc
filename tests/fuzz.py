"""Every method on random small networks: no crash, nothing that is not finite, or a refusal.

Run it with the package installed, once for each backend; `nox -s fuzz` does::

    KERAS_BACKEND=jax python tests/fuzz.py --count 100

Each network is explained by every method. It must not change, maps must be finite, DeepLIFT and
FullGrad complete to 1e-3 where the network computes in float32 (of f(x) - f(baseline), or of a
tenth of the larger score where this is more), and what is refused must be what a method cannot
explain.
"""

from __future__ import annotations

import argparse
import multiprocessing
import re
import sys
import time
import traceback
import warnings
from collections import Counter

import numpy as np

COMPLETE = ("DeepLIFT", "DeepSHAP", "FullGrad")
GUIDED = ("GuidedBackprop", "DeconvNet", "GuidedGradCAM")
NORMALISING = {"layer_norm", "group_norm"}
"""Blocks for which DeepLIFT has no rule."""
WITHOUT_RULE = "must run operations with a rule of DeepLIFT"
WITHOUT_RECTIFIER = "must run a rectifier"
ROUGH = "complete"
"""What methods that are complete may say where numbers have few digits."""


def explain_all(seed: int, every: int = 1) -> dict[str, str]:
    """Explain one network by every method, or every third and so on; the outcome by its name."""
    import architectures
    import cases
    import xai_core as xai

    made = architectures.random_architecture(seed)
    before = [np.asarray(value) for value in made.model.get_weights()]
    outputs = np.asarray(made.model.predict(made.inputs, verbose=0))
    found = {}
    for case in cases.CASES[seed % every :: every]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", xai.ExplanationWarning)
            found[case.name] = _outcome(case, made)
    for one, other in zip(before, made.model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    again = np.asarray(made.model.predict(made.inputs, verbose=0))
    np.testing.assert_array_equal(outputs, again)
    return found


def _outcome(case, made) -> str:
    fields = {"background": made.inputs[:2]} if "background" in case.fields else {}
    try:
        explainer = case.build(made.model, output="logits", batch_size=4, **fields)
        explanation = explainer(made.inputs, [0, 1, 2])
    except ValueError as error:
        if any(re.search(reason, str(error)) for reason in _reasons(case.name, made)):
            return "refused"
        raise
    if not np.isfinite(explanation.values).all():
        raise AssertionError(f"{case.name}: the map is not finite.")
    if case.name in COMPLETE and made.policy == "float32":
        _check_complete(case.name, explanation)
    return "explained"


def _reasons(name: str, made) -> list[str]:
    """What a method may say of a network that it cannot explain."""
    found = [ROUGH] if name in COMPLETE and made.policy != "float32" else []
    if name in GUIDED and not made.rectified:
        found.append(WITHOUT_RECTIFIER)
    if name in ("DeepLIFT", "DeepSHAP") and NORMALISING.intersection(made.blocks):
        found.append(WITHOUT_RULE)
    return found


def _check_complete(name: str, explanation) -> None:
    base = 0 if explanation.base_values is None else explanation.base_values
    change = np.abs(explanation.scores - base)
    size = np.maximum(np.abs(explanation.scores), np.abs(base))
    if (np.abs(explanation.completeness_gap) > 1e-3 * np.maximum(change, 0.1 * size)).any():
        raise AssertionError(f"{name}: misses {explanation.completeness_gap} of {change}.")


def _tried(seed: int) -> tuple[int, dict[str, str] | str]:
    try:
        return seed, explain_all(seed)
    except Exception:
        return seed, traceback.format_exc()


def main() -> int:
    """Explain the networks of many seeds and print what came of it; return 1 if any failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=100, help="number of networks")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    seeds = range(options.first, options.first + options.count)
    outcomes: dict[str, Counter] = {}
    failed = []
    start = time.time()
    spawn = multiprocessing.get_context("spawn")
    # New processes now and then, for compiled steps of networks that are gone take memory.
    with spawn.Pool(options.processes, maxtasksperchild=10) as pool:
        for seed, result in pool.imap(_tried, seeds):
            if isinstance(result, str):
                failed.append(seed)
                print(
                    f"seed {seed} failed after {time.time() - start:.0f} s:\n{result}", flush=True
                )
                continue
            for name, outcome in result.items():
                outcomes.setdefault(name, Counter())[outcome] += 1
            print(f"seed {seed}: {len(result)} methods, {time.time() - start:.0f} s", flush=True)
    for name, counts in outcomes.items():
        print(f"{name:22s} explained {counts['explained']:4d}  refused {counts['refused']:4d}")
    print(f"{len(seeds)} networks, {len(failed)} failed {failed}, {time.time() - start:.0f} s")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
