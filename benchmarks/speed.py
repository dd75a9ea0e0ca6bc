"""How much CPU time an explainer takes over native code written by hand for the same map.

Run it with the package installed, once for each backend, on a quiet machine::

    KERAS_BACKEND=jax python benchmarks/speed.py
    KERAS_BACKEND=tensorflow python benchmarks/speed.py --size large
    KERAS_BACKEND=torch python benchmarks/speed.py --kind torch --methods Saliency,GradCAM

Both sides get the same model object, NumPy images and integer targets, and return NumPy maps. One
process, one compute thread, warm; baseline, explainer, baseline in turns. ``ratio`` is explainer
over baseline by the medians of process CPU time, ``A/A`` the baseline over itself. A row counts
when A/A is within 3 %; else it is measured again, and at last called noisy. It holds when the ratio
is at most the bar, or at most bar times A/A. ``faults`` are minor page faults of one call. The
error is the largest difference of the two maps over the baseline's largest value: on MobileNetV2
single pixels differ at the kinks of ReLU6, so there the cosine tells more.

Small: 32x32x3 CNN, batches of 64. Large: MobileNetV2 at 224x224x3 from the folder ``--data``,
batches of 8. A native torch module is compared with a baseline in ``channels_last`` memory; the
ratio to a baseline in plain NCHW stands beside it. The ratio beside IntegratedGradients is to a
baseline that also computes f(x) and f(0), which the explainer needs for the completeness gap and
which no node of a Gauss-Legendre rule gives.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import environment

if TYPE_CHECKING:
    from timing import Timing

    from models import Case

BARS = {"small": 1.15, "large": 1.10}
ROUNDS = {"small": 9, "large": 5}
PATH = {"small": (16, 50), "large": (1, 16)}
"""Images and steps of IntegratedGradients."""
METHODS = ("Saliency", "IntegratedGradients", "GradCAM")
HEADER = (
    f"{'method':20s} {'work':>9s} {'batch':>5s} {'baseline s':>10s} {'ratio':>6s} {'A/A':>6s} "
    f"{'faults':>13s} {'error':>8s} {'cosine':>9s} {'bar':>5s} holds"
)


def main() -> int:
    """Measure what the command line asks for; return 1 if a row that counts misses its bar."""
    options = _options()
    environment.require(environment.ONE_THREAD | environment.KEEP_MEMORY)
    import keras

    import models

    backend = keras.backend.backend()
    if options.kind == "torch" and backend != "torch":
        raise SystemExit(f"`--kind torch` needs KERAS_BACKEND=torch. Received: {backend}.")
    if options.size == "small":
        case = models.small(options.kind)
    else:
        case = models.large(options.kind, options.data)
    if options.batch_size is not None:
        case = dataclasses.replace(case, batch_size=options.batch_size)
    rounds = options.rounds or ROUNDS[options.size]
    print(f"{backend}, {options.kind} model, {options.size}, at least {rounds} rounds")
    print(HEADER, flush=True)
    missed = False
    for method in options.methods:
        missed |= _row(method, case, options, rounds)
    return int(missed)


def _row(method: str, case: Case, options: argparse.Namespace, rounds: int) -> bool:
    """Measure one method, print its row and return whether it misses its bar."""
    import timing

    import xai_core

    # Sixteen steps are too few for MobileNetV2, of which the explainer warns; both sides take them.
    warnings.simplefilter("ignore", xai_core.ExplanationWarning)

    images, steps = PATH[options.size] if method == "IntegratedGradients" else (None, None)
    x, t = case.inputs[:images], case.targets[:images]
    explain, baseline, beside = _sides(method, case, steps)
    error, cosine = _difference(explain(x, t).values, baseline(x, t))
    for attempt in range(options.attempts):
        measured = timing.compare(
            lambda: baseline(x, t),
            lambda: explain(x, t).values,
            rounds * (attempt + 1),
            {name: lambda call=call: call(x, t) for name, call in beside.items()},
        )
        if measured.quiet:
            break
    work = f"{len(x)} x {steps}" if steps else str(len(x))
    bar = BARS[options.size]
    verdict = ("yes" if measured.holds(bar) else "no") if measured.quiet else "noisy"
    print(
        f"{method:20s} {work:>9s} {case.batch_size:5d} {measured.seconds:10.4f} "
        f"{measured.ratio:6.3f} {measured.itself:6.3f} "
        f"{measured.faults[0]:6d} {measured.faults[1]:6d} "
        f"{error:8.1e} {cosine:9.7f} {bar:5.2f} {verdict}{_remarks(measured)}",
        flush=True,
    )
    return verdict == "no"


def _sides(
    method: str, case: Case, steps: int | None
) -> tuple[Callable[..., Any], Callable[..., Any], dict[str, Callable[..., Any]]]:
    """Return the explainer, the native baseline and the baselines that stand beside it."""
    import keras

    from xai_core import attributions

    native = importlib.import_module(f"native_{keras.backend.backend()}")
    fields: dict[str, Any] = {"batch_size": case.batch_size, "progress": False}
    if steps is not None:
        fields["steps"] = steps
    if method == "GradCAM":
        fields["layer"] = case.layer
    explainer = getattr(attributions, method)(case.model, **fields)

    def by_hand(case: Case) -> Callable[..., Any]:
        if method == "Saliency":
            return native.saliency(case)
        if method == "GradCAM":
            return native.grad_cam(case)
        return native.integrated_gradients(case, *nodes(explainer.rule, explainer.steps))

    baseline, beside = by_hand(case), {}
    if case.kind == "torch":
        beside["NCHW"] = by_hand(dataclasses.replace(case, channels_last_memory=False))
    if method == "IntegratedGradients":
        beside["native with scores"] = _with_scores(baseline, native.scores(case))
    return explainer, baseline, beside


def _with_scores(baseline: Callable[..., Any], scores: Callable[..., Any]) -> Callable[..., Any]:
    """Return the baseline that also tells f(x) and f(0), as the explainer does."""
    import numpy as np

    def explain(x: Any, t: Any) -> tuple[Any, Any]:
        both = np.concatenate([x, np.zeros_like(x)])
        return baseline(x, t), scores(both, np.concatenate([t, t]))

    return explain


def nodes(rule: str, steps: int) -> tuple[Any, Any]:
    """Return positions on [0, 1] and weights of a rule for an integral, both (steps,)."""
    import numpy as np

    if rule == "gauss_legendre":
        positions, weights = np.polynomial.legendre.leggauss(steps)
        positions, weights = (positions + 1.0) / 2.0, weights / 2.0
    else:
        positions = np.linspace(0.0, 1.0, steps)
        weights = np.full(steps, 1.0 / (steps - 1))
        weights[[0, -1]] /= 2.0
    return positions.astype("float32"), weights.astype("float32")


def _difference(ours: Any, theirs: Any) -> tuple[float, float]:
    """Return the largest difference over the largest value, and the cosine."""
    import numpy as np

    ours, theirs = ours.reshape(theirs.shape).astype("float64"), theirs.astype("float64")
    cosine = (ours * theirs).sum() / (np.linalg.norm(ours) * np.linalg.norm(theirs))
    return float(np.abs(ours - theirs).max() / np.abs(theirs).max()), float(cosine)


def _remarks(measured: Timing) -> str:
    remarks = [f"over {name} {ratio:.3f}" for name, ratio in measured.beside.items()]
    if measured.threads > 1.1:
        remarks.append(f"{measured.threads:.1f} threads computed: the row says little")
    return "".join(f" | {remark}" for remark in remarks)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=sorted(BARS), default="small")
    parser.add_argument("--kind", choices=("keras", "torch"), default="keras")
    parser.add_argument("--methods", type=_methods, default=METHODS, help=",".join(METHODS))
    data = Path(__file__).resolve().parents[2] / "shared" / "data"
    parser.add_argument("--data", type=Path, default=data, help="folder of the large model")
    parser.add_argument("--batch-size", type=int, help="rows per call, by default 64 or 8")
    parser.add_argument("--rounds", type=int, help="by default 9 small and 5 large")
    parser.add_argument("--attempts", type=int, default=3, help="while A/A is not within 3 %%")
    return parser.parse_args()


def _methods(text: str) -> tuple[str, ...]:
    names = tuple(text.split(","))
    unknown = [name for name in names if name not in METHODS]
    if unknown:
        listed = ", ".join(METHODS)
        raise argparse.ArgumentTypeError(f"must be of {listed}. Received: {', '.join(unknown)}.")
    return names


if __name__ == "__main__":
    sys.exit(main())
