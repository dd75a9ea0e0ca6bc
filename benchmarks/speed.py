"""How much CPU time an explainer takes over native code written by hand for the same work.

Run it with the package installed, once for each backend, on a quiet machine::

    KERAS_BACKEND=jax python benchmarks/speed.py
    KERAS_BACKEND=tensorflow python benchmarks/speed.py --size large
    KERAS_BACKEND=torch python benchmarks/speed.py --kind torch --methods Saliency,GradCAM
    KERAS_BACKEND=jax python benchmarks/speed.py --kind bridge --size large

Both sides get the same model object, NumPy images and integer targets, and return NumPy arrays. One
process, one compute thread, warm; baseline, explainer, baseline in turns. ``ratio`` is explainer
over baseline by the medians of process CPU time, ``A/A`` the baseline over itself. A row counts
when A/A is within 3 %; else it is measured again, and at last called noisy. It holds when the ratio
is at most the bar, or at most bar times A/A. ``faults`` are minor page faults of one call. The
error is the largest difference of the two maps over the baseline's largest value: on MobileNetV2
single pixels differ at the kinks of ReLU6, so there the cosine tells more. The two sides of
SmoothGrad draw other noise, so their maps only resemble each other.

The baseline of GuidedBackprop is the plain gradient, that of ExpectedGradients as many gradients,
that of DeepLIFT two gradients; there are no maps to compare.

The baseline of a method of forward calls (Occlusion, Deletion, Insertion) is the bare compiled
model on as many full batches, prepared before, and there is no map to compare. On JAX, where both
sides then compute the same padded rows, the share of padding stands beside it; other baselines
have no padding.

Small: 32x32x3 CNN, batches of 64. Large: MobileNetV2 at 224x224x3 from the folder ``--data``,
batches of 8, of 32 for forward calls. A native torch module is compared with a baseline in
``channels_last`` memory; the ratio to a baseline in plain NCHW stands beside it. The ratio beside
IntegratedGradients and SmoothGrad is to a baseline that also computes what the explainer tells:
f(x), and for the completeness gap f(0), which no node of a Gauss-Legendre rule gives.

A bridge is the torch module explained under jax or tensorflow, beside which torch is installed; its
baseline is the same module by native torch code in the same process.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import environment

if TYPE_CHECKING:
    from sides import Work
    from timing import Timing

    from models import Case

BARS = {"small": 1.15, "large": 1.10}
BRIDGE_BAR = 1.3
DEEP_LIFT_BARS = {"small": 1.5, "large": 1.3}
"""Over two gradients."""
BRIDGED = ("Saliency", "IntegratedGradients", "SmoothGrad", "Occlusion", "Deletion", "Insertion")
"""The methods without a layer."""
ROUNDS = {"small": 9, "large": 5}
HEADER = (
    f"{'method':20s} {'work':>9s} {'batch':>5s} {'baseline s':>10s} {'ratio':>6s} {'A/A':>6s} "
    f"{'faults':>13s} {'error':>8s} {'cosine':>9s} {'bar':>5s} holds"
)


def main() -> int:
    """Measure what the command line asks for; return 1 if a row that counts misses its bar."""
    environment.require(environment.ONE_THREAD | environment.KEEP_MEMORY)
    import keras
    import sides

    import models
    import xai_core

    options = _options(tuple(sides.WORK))
    backend = keras.backend.backend()
    _check_kind(options, backend)
    kind = "keras" if options.kind == "keras" else "torch"
    case = models.small(kind) if options.size == "small" else models.large(kind, options.data)
    # Sixteen steps are too few for MobileNetV2, of which the explainer warns; both sides take them.
    warnings.simplefilter("ignore", xai_core.ExplanationWarning)
    options.rounds = options.rounds or ROUNDS[options.size]
    print(f"{backend}, {options.kind} model, {options.size}, at least {options.rounds} rounds")
    print(HEADER, flush=True)
    missed = False
    sized = tuple(method for method, sizes in sides.WORK.items() if options.size in sizes)
    for method in options.methods or sized:
        if method not in sized:
            raise SystemExit(f"{method} is not measured on the {options.size} model.")
        work = sides.WORK[method][options.size]
        if options.batch_size is not None:
            work = work._replace(batch_size=options.batch_size)
        missed |= _row(method, work, case, options)
    return int(missed)


def _row(method: str, work: Work, case: Case, options: argparse.Namespace) -> bool:
    """Measure one method, print its row and return whether it misses its bar."""
    import sides
    import timing

    both = sides.of(method, work, case)
    differences = both.differences()
    for attempt in range(options.attempts):
        rounds = options.rounds * (attempt + 1)
        measured = timing.compare(both.baseline, both.method, rounds, both.beside)
        if measured.quiet:
            break
    error = f"{differences['error']:8.1e}" if "error" in differences else "-"
    cosine = f"{differences['cosine']:9.7f}" if "cosine" in differences else "-"
    bars = DEEP_LIFT_BARS if method == "DeepLIFT" else BARS
    bar = BRIDGE_BAR if options.kind == "bridge" else bars[options.size]
    verdict = ("yes" if measured.holds(bar) else "no") if measured.quiet else "noisy"
    print(
        f"{method:20s} {work!s:>9s} {work.batch_size:5d} {measured.seconds:10.4f} "
        f"{measured.ratio:6.3f} {measured.itself:6.3f} "
        f"{measured.faults[0]:6d} {measured.faults[1]:6d} "
        f"{error:>8s} {cosine:>9s} {bar:5.2f} {verdict}{_remarks(measured, work)}",
        flush=True,
    )
    return verdict == "no"


def _check_kind(options: argparse.Namespace, backend: str) -> None:
    if (options.kind == "torch") != (backend == "torch") and options.kind != "keras":
        wanted = "torch" if options.kind == "torch" else "jax or KERAS_BACKEND=tensorflow"
        raise SystemExit(
            f"`--kind {options.kind}` needs KERAS_BACKEND={wanted}. Received: {backend}."
        )
    if options.kind == "bridge":
        options.methods = options.methods or ("Saliency",)
        if layered := sorted(set(options.methods) - set(BRIDGED)):
            raise SystemExit(f"`--kind bridge` measures {', '.join(BRIDGED)}, not {layered}.")


def _remarks(measured: Timing, work: Work) -> str:
    import keras

    remarks = [f"over {name} {ratio:.3f}" for name, ratio in measured.beside.items()]
    if keras.backend.backend() == "jax" and work.padding:
        remarks.append(f"{work.padding:.1%} padding")
    if measured.threads > 1.1:
        remarks.append(f"{measured.threads:.1f} threads computed: the row says little")
    return "".join(f" | {remark}" for remark in remarks)


def _options(methods: tuple[str, ...]) -> argparse.Namespace:
    def chosen(text: str) -> tuple[str, ...]:
        names = tuple(text.split(","))
        unknown = [name for name in names if name not in methods]
        if unknown:
            listed = ", ".join(methods)
            given = ", ".join(unknown)
            raise argparse.ArgumentTypeError(f"must be of {listed}. Received: {given}.")
        return names

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=sorted(BARS), default="small")
    parser.add_argument("--kind", choices=("keras", "torch", "bridge"), default="keras")
    parser.add_argument("--methods", type=chosen, help=",".join(methods))
    data = Path(__file__).resolve().parents[2] / "shared" / "data"
    parser.add_argument("--data", type=Path, default=data, help="folder of the large model")
    parser.add_argument("--batch-size", type=int, help="rows per call, by default 64, 8 or 32")
    parser.add_argument("--rounds", type=int, help="by default 9 small and 5 large")
    parser.add_argument("--attempts", type=int, default=3, help="while A/A is not within 3 %%")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
