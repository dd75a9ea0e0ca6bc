"""What the explanations of a real ImageNet model are worth, on real photos.

Run it with the package installed; torch is the fastest backend for this model::

    KERAS_BACKEND=torch python benchmarks/photos.py curves --output maps
    KERAS_BACKEND=torch python benchmarks/photos.py dependence --methods GradCAM,Saliency
    KERAS_BACKEND=torch python benchmarks/photos.py agreement --photos 3

``curves``: the areas under deletion and insertion of each method, as probabilities, beside random
maps, with the interval of 95 % (paired bootstrap over photos) of the difference to the random map
in blocks; with ``--output`` also one picture of all methods per photo. ``dependence``: how much a
map changes when another class is explained, and when the last layer has new random weights; only
EigenCAM and FEM may keep theirs. ``agreement``: Spearman's correlation of maps of few rows with the
method's own map of many. On one core the three take about 50, 25 and 30 minutes.
"""

from __future__ import annotations

import argparse
import copy
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import environment
import numpy as np

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
SAME = ("EigenCAM", "FEM")
"""Maps of the activations alone."""
REPORTED = ("GuidedBackprop", "DeconvNet")
"""Methods that are known to keep much of their map when the last layer changes."""
SETTINGS: dict[str, dict[str, Any]] = {
    "RISE": {"n_samples": 1024},
    "LIME": {"n_samples": 1024},
    "KernelSHAP": {"n_samples": 1024},
    "ShapleySampling": {"n_permutations": 22},
    "Sobol": {"n_design": 16, "grid_size": 7},
    "HSIC": {"n_samples": 1024, "grid_size": 7},
    "Occlusion": {"patch_size": 32, "patch_stride": 16},
    "Conductance": {"layer": "features.2"},
}
FEWER: dict[str, dict[str, Any]] = {
    **{name: {"n_samples": 256} for name in ("RISE", "LIME", "KernelSHAP")},
    "HSIC": {"n_samples": 256, "grid_size": 7},
    "ShapleySampling": {"n_permutations": 6},
    "Sobol": {"n_design": 4, "grid_size": 7},
    **{name: {"layer": "features.17"} for name in ("ScoreCAM", "AblationCAM")},
}
"""Masks are the same for every class and head, so that few of them tell what depends on these."""
GROWING = {
    "HSIC": [{"n_samples": n, "grid_size": 7} for n in (4096, 256, 512, 1024, 2048)],
    "RISE": [{"n_samples": n} for n in (4096, 256, 512, 1024, 2048)],
    "Sobol": [{"n_design": n, "grid_size": 7} for n in (64, 8, 16, 32)],
}
"""The reference first."""


def main() -> int:
    """Print a row for each method; return 1 if one does not depend on what it should."""
    environment.require(environment.ONE_THREAD)
    import models
    import xai_core

    options = _options(xai_core.attributions.__all__)
    if not (options.data / "load_mobilenetv2_torch.py").exists():
        raise SystemExit(f"Nothing was run: {options.data} holds no model. Name it with --data.")
    warnings.simplefilter("ignore", xai_core.ExplanationWarning)
    case = models.large("torch", options.data)
    photos, targets, names = models.photographs(options.data, options.photos)
    inputs = np.ascontiguousarray(np.moveaxis(photos / 127.5 - 1, -1, 1).astype("float32"))
    work = {"curves": _curves, "dependence": _dependence, "agreement": _agreement}
    return int(not work[options.work](case.model, inputs, targets, names, options))


def _explain(method: str, model: Any, inputs: np.ndarray, targets: Any, **fields: Any) -> Any:
    from xai_core import attributions

    cls = getattr(attributions, method)
    fields = {**SETTINGS.get(method, {}), **fields}
    if method in ("DeepSHAP", "ExpectedGradients"):
        # Of the photos themselves, as there are no others.
        fields["background"] = inputs[: 5 if method == "DeepSHAP" else None]
    if cls.requires == "predictions":
        fields.setdefault("output", "softmax")
    if cls.needs_explainer:
        model = attributions.Saliency(model, batch_size=32)
    else:
        fields["batch_size"] = 32
    return cls(model, **fields)(inputs, targets)


def _curves(model: Any, inputs: Any, targets: Any, names: list[str], options: Any) -> bool:
    from xai_core import metrics

    measures = [
        kind(model, steps=56, output="softmax") for kind in (metrics.Deletion, metrics.Insertion)
    ]
    print(f"{'method':20s} deletion insertion   deletion - random   insertion - random", flush=True)
    random, maps = None, {}
    for method, found in _maps(model, inputs, targets, options):
        maps[method] = found
        if found.values.shape[2:] != inputs.shape[2:]:
            print(f"{method:20s} has the shape of a layer, {found.values.shape[1:]}", flush=True)
            continue
        scores = np.array([measure(found, inputs).scores for measure in measures])
        random = scores if random is None else random
        line = f"{method:20s} {scores[0].mean():8.3f} {scores[1].mean():9.3f}"
        for low, high in (
            _interval(one - other) for one, other in zip(scores, random, strict=True)
        ):
            line += f"   [{low:+.3f}, {high:+.3f}]"
        print(line, flush=True)
    if options.output:
        _draw(maps, inputs, names, options.output)
    return True


def _maps(model: Any, inputs: Any, targets: Any, options: Any) -> Iterator[tuple[str, Any]]:
    yield "random 7 x 7", _explain("RandomMap", model, inputs, targets, grid_size=7)
    yield "random", _explain("RandomMap", model, inputs, targets)
    for method in options.methods:
        if method != "RandomMap":
            yield method, _explain(method, model, inputs, targets)


def _interval(differences: np.ndarray) -> tuple[float, float]:
    rows = np.random.default_rng(0).integers(0, len(differences), (10_000, len(differences)))
    low, high = np.quantile(differences[rows].mean(axis=1), [0.025, 0.975])
    return float(low), float(high)


def _draw(maps: dict[str, Any], inputs: Any, names: list[str], folder: Path) -> None:
    """Write a picture per photo, in which each map has a scale of its own."""
    import xai_core

    folder.mkdir(parents=True, exist_ok=True)
    whole = {name: one for name, one in maps.items() if one.values.shape[2:] == inputs.shape[2:]}
    for row, name in enumerate(names):
        values = [found.values[row].sum(axis=0, keepdims=True) for found in whole.values()]
        figure = xai_core.plots.attributions(
            xai_core.Explanation(np.stack(values), "all", data_format="channels_first"),
            np.repeat(inputs[row : row + 1], len(values), axis=0),
            titles=list(whole),
            clip=1,
            columns=9,
        )
        figure.savefig(folder / f"{row}_{name.replace(' ', '_').replace('/', '_')}.png", dpi=60)


def _dependence(model: Any, inputs: Any, targets: Any, names: list[str], options: Any) -> bool:
    import torch

    del names
    other = copy.deepcopy(model)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weights in other.classifier.parameters():
            weights.normal_(std=float(weights.std()), generator=generator)
    classes = np.random.default_rng(0).permutation(targets)
    while (classes == targets).any():
        classes = np.roll(classes, 1)
    print("median over photos    another class      another last layer", flush=True)
    print(f"{'method':20s}  Spearman rel. L2   Spearman rel. L2   depends", flush=True)
    held = []
    for method in options.methods:
        if method == "RandomMap":
            continue
        own, by_class, by_head = (
            _explain(method, one, inputs, wanted, **FEWER.get(method, {})).values
            for one, wanted in ((model, targets), (model, classes), (other, targets))
        )
        rows = [_difference(own, by_class), _difference(own, by_head)]
        changed = [rank < 0.99 or length > 0.01 for rank, length in rows]
        held.append(changed == [method not in SAME] * 2 or method in REPORTED)
        numbers = "  ".join(f"{rank:9.3f} {length:7.3f}" for rank, length in rows)
        told = " and ".join("yes" if one else "no" for one in changed)
        print(f"{method:20s} {numbers}   {told}{'' if held[-1] else '  MISSED'}", flush=True)
    return all(held)


def _difference(first: np.ndarray, second: np.ndarray) -> tuple[float, float]:
    """Median Spearman correlation and median relative L2 distance of maps."""
    from scipy.stats import spearmanr

    pairs = [(one.ravel(), other.ravel()) for one, other in zip(first, second, strict=True)]
    ranks = [spearmanr(one, other).statistic for one, other in pairs]
    lengths = [np.linalg.norm(a - b) / max(np.linalg.norm(a), 1e-30) for a, b in pairs]
    return float(np.median(ranks)), float(np.median(lengths))


def _agreement(model: Any, inputs: Any, targets: Any, names: list[str], options: Any) -> bool:
    print(
        "Spearman's correlation with the method's own map of the most rows, per photo", flush=True
    )
    del names
    for method in [one for one in GROWING if one in options.methods]:
        most, *fewer = GROWING[method]
        reference = _explain(method, model, inputs, targets, **most).values
        print(f"{method} against {most}", flush=True)
        for fields in fewer:
            found = _explain(method, model, inputs, targets, **fields).values
            ranks = [
                _difference(a[None], b[None])[0] for a, b in zip(found, reference, strict=True)
            ]
            print(f"  {fields!s:40s} {' '.join(f'{rank:.2f}' for rank in ranks)}", flush=True)
    return True


def _options(methods: list[str]) -> argparse.Namespace:
    def chosen(text: str) -> list[str]:
        if unknown := set(text.split(",")) - set(methods):
            raise argparse.ArgumentTypeError(f"unknown: {', '.join(sorted(unknown))}")
        return text.split(",")

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("work", choices=("curves", "dependence", "agreement"))
    parser.add_argument("--methods", type=chosen, default=methods, help="all by default")
    parser.add_argument("--photos", type=int, default=10)
    parser.add_argument("--output", type=Path, help="folder for pictures of the maps")
    parser.add_argument("--data", type=Path, default=DATA, help="folder of the model and photos")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
