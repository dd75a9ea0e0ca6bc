"""Whether the memory of a method grows with its samples, steps or patches.

Run it with the package installed, once for each backend::

    KERAS_BACKEND=jax python benchmarks/memory.py
    KERAS_BACKEND=torch python benchmarks/memory.py --kind torch --methods Occlusion

Each run is a process of its own: it explains once with the few to load and compile everything,
then again with the few or the many, and its growth is the peak of its resident memory during that
second call over the level before it. It holds when the growth with the many is above the growth
with the few by at most a tenth of the latter, or 20 MB. Needs Linux, which can forget a peak.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import environment

SLACK_MB = 20.0
SLACK_SHARE = 0.1


class Run(NamedTuple):
    """Two settings of a method, and what they explain."""

    images: int
    size: tuple[int, int]
    what: str
    few: dict[str, Any]
    many: dict[str, Any]


RUNS = {
    "IntegratedGradients": Run(16, (32, 32), "50 or 500 steps", {"steps": 50}, {"steps": 500}),
    "SmoothGrad": Run(16, (32, 32), "20 or 200 samples", {"n_samples": 20}, {"n_samples": 200}),
    "ExpectedGradients": Run(
        16,
        (32, 32),
        "20 or 200 draws",
        {"n_samples": 20},
        {"n_samples": 200},
    ),
    "Occlusion": Run(
        2,
        (50, 80),
        "400 or 4,000 patches",
        {"patch_size": (12, 4), "patch_stride": (2, 4)},
        {"patch_size": 1, "patch_stride": 1},
    ),
    **{
        method: Run(
            *(2, (32, 32), "1,000 or 16,000 rows"),
            {name: few, **fields},
            {name: many, **fields},
        )
        for method, name, few, many, fields in (
            ("RISE", "n_samples", 1000, 16000, {}),
            ("LIME", "n_samples", 1000, 16000, {}),
            ("KernelSHAP", "n_samples", 1000, 16000, {}),
            ("Sobol", "n_design", 16, 248, {}),
            ("HSIC", "n_samples", 1000, 16000, {}),
        )
    },
}


def main() -> int:
    """Measure each method with few and many and print both; return 1 if memory grows with them."""
    options = _options()
    if options.setting is not None:
        print(f"{_growth(options.methods[0], options.setting, options.kind):.3f}")
        return 0
    held = [_row(method, options.kind) for method in options.methods]
    return int(not all(held))


def _row(method: str, kind: str) -> bool:
    """Measure one method, print its row and return whether its memory stays."""
    run = RUNS[method]
    few, many = (_measured(method, setting, kind) for setting in ("few", "many"))
    allowed = max(SLACK_SHARE * few, SLACK_MB)
    holds = many - few <= allowed
    print(
        f"{method}, {kind} model, {run.images} images of {run.size[0]}x{run.size[1]}, {run.what}: "
        f"{few:.1f} or {many:.1f} MB, {many - few:+.1f} MB of {allowed:.1f} allowed: "
        f"holds {'yes' if holds else 'no'}",
        flush=True,
    )
    return holds


def _growth(method: str, setting: str, kind: str) -> float:
    """Return the growth of the peak in MB over the level after one warm-up call."""
    environment.require(environment.ONE_THREAD | environment.GIVE_BACK)
    import models
    from xai_core import attributions

    run = RUNS[method]
    case = models.small(kind, run.size)
    x, t = case.inputs[: run.images], case.targets[: run.images]
    fields = {"batch_size": case.batch_size, "progress": False}
    if method == "ExpectedGradients":
        fields["background"] = case.inputs[run.images : 2 * run.images]
    getattr(attributions, method)(case.model, **run.few, **fields)(x, t)
    explainer = getattr(attributions, method)(case.model, **getattr(run, setting), **fields)
    environment.forget_peak()
    before = environment.resident("VmRSS")
    explainer(x, t)
    return environment.resident("VmHWM") - before


def _measured(method: str, setting: str, kind: str) -> float:
    command = [sys.executable, str(Path(__file__)), "--kind", kind]
    command += ["--methods", method, "--setting", setting]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return float(output.split()[-1])


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kind", choices=("keras", "torch"), default="keras")
    parser.add_argument("--methods", type=_methods, default=tuple(RUNS), help=",".join(RUNS))
    parser.add_argument("--setting", choices=("few", "many"), help="only that, in this process")
    return parser.parse_args()


def _methods(text: str) -> tuple[str, ...]:
    names = tuple(text.split(","))
    unknown = [name for name in names if name not in RUNS]
    if unknown:
        listed, given = ", ".join(RUNS), ", ".join(unknown)
        raise argparse.ArgumentTypeError(f"must be of {listed}. Received: {given}.")
    return names


if __name__ == "__main__":
    sys.exit(main())
