"""Whether the memory of IntegratedGradients grows with its steps.

Run it with the package installed, once for each backend::

    KERAS_BACKEND=jax python benchmarks/memory.py
    KERAS_BACKEND=torch python benchmarks/memory.py --kind torch

Each run is a process of its own: it explains 16 images once with 50 steps to load and compile
everything, then explains them again, and its growth is the peak of its resident memory during that
second call over the level before it. It holds when the growth with 500 steps is above the growth
with 50 by at most a tenth of the latter, or 20 MB. Needs Linux, which can forget a peak.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import environment

STEPS = (50, 500)
IMAGES = 16
SLACK_MB = 20.0
SLACK_SHARE = 0.1


def main() -> int:
    """Measure both numbers of steps and print them; return 1 if memory grows with them."""
    options = _options()
    if options.steps is not None:
        print(f"{_growth(options.kind, options.steps):.3f}")
        return 0
    few, many = (_run(options.kind, steps) for steps in STEPS)
    allowed = max(SLACK_SHARE * few, SLACK_MB)
    holds = many - few <= allowed
    print(
        f"IntegratedGradients, {options.kind} model, {IMAGES} images: "
        f"{few:.1f} MB at {STEPS[0]} steps, {many:.1f} MB at {STEPS[1]}, "
        f"{many - few:+.1f} MB of {allowed:.1f} allowed: holds {'yes' if holds else 'no'}"
    )
    return int(not holds)


def _growth(kind: str, steps: int) -> float:
    """Return the growth of the peak in MB over the level after one warm-up call."""
    environment.require(environment.ONE_THREAD | environment.GIVE_BACK)
    import models
    from xai_core import attributions

    case = models.small(kind)
    x, t = case.inputs[:IMAGES], case.targets[:IMAGES]
    fields = {"batch_size": case.batch_size, "progress": False}
    attributions.IntegratedGradients(case.model, steps=STEPS[0], **fields)(x, t)
    explainer = attributions.IntegratedGradients(case.model, steps=steps, **fields)
    environment.forget_peak()
    before = environment.resident("VmRSS")
    explainer(x, t)
    return environment.resident("VmHWM") - before


def _run(kind: str, steps: int) -> float:
    command = [sys.executable, str(Path(__file__)), "--kind", kind, "--steps", str(steps)]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return float(output.split()[-1])


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kind", choices=("keras", "torch"), default="keras")
    parser.add_argument("--steps", type=int, help="measure these steps in this process only")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
