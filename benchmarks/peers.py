"""How far white-box attributions agree with Captum and pytorch-grad-cam, on one torch module.

Run it on the torch backend, in an environment of its own to which the peers are added; they are no
dependency of the package. It takes some twenty minutes on one core::

    pip install captum grad-cam
    KERAS_BACKEND=torch python benchmarks/peers.py
    KERAS_BACKEND=torch python benchmarks/peers.py --methods Saliency,GradCAM --photos 2

The module is the MobileNetV2 of the folder ``--data`` in float64, for at the kinks of ReLU6 single
pixels of float32 gradients differ by a tenth of the maximum, of one library from itself too. All
sides get the same photos in ``channels_last`` memory, which the package gives a module, and explain
the logit of the photo's own class. The difference is the largest of a photo's map, over the largest
absolute value of the peer's, in the worst photo; a row holds when it is at most the bar. Beside it
is the number of photos whose map is not zero: nothing may be left of one that is negative.

Captum's guided rules know nn.ReLU alone and let gradients pass ReLU6 unchanged; its DeepLIFT has no
rule for it either. All are compared on a copy with ReLU; and on the module itself, of which Captum
then gets a copy whose ReLU6 goes by the name of an nn.ReLU.

Maps of layers are compared at the layer's resolution, after ReLU and min-max. The explainer runs as
for a user and gives a map in the size of the input. Of what map that is the linear interpolation
(torch's own, with half-pixel centres) is solved for; nothing is compared unless it is one, so the
resizing is tested with the rest. The peer runs whole too, told that inputs are as small as the
layer, so that its own resizing changes nothing. Behind the last layer stands a pooled linear head,
where Grad-CAM and HiResCAM are one; a rectifier in the middle tells the methods apart. Those that
send a row through the model for each channel are compared at an early one that has few.
AblationCAM of pytorch-grad-cam sets a channel to zero, as the paper does, only where no activation
of the layer is negative.

Three methods differ from pytorch-grad-cam by a constant of the latter. Beside the difference, which
has no bar, stand two rows: the formula in NumPy with the peer's constant against the peer, and with
the paper's against the package.

- GradCAM++ adds 1e-6 to the denominator, which is as large as the squared gradients of the last
  layer. The paper adds nothing.
- EigenCAM centres the activations of each channel, and leaves the sign to LAPACK. The paper takes
  the singular vectors of the activations as they are; it says nothing of the sign, of which the
  package makes the largest absolute value positive.
- ScoreCAM enlarges channels with aligned corners. The paper only says that they are enlarged, and
  its authors' code does so with half-pixel centres. The peer's 1e-8 beside the span of a channel
  and its scores in float32 change less than 1e-6 of the maximum.
"""

from __future__ import annotations

import argparse
import copy
import importlib.metadata
import json
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import environment
import numpy as np

if TYPE_CHECKING:
    import torch

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
BAR, DEEP_LIFT_BAR = 1e-4, 1e-3
BATCH = 10
"""Model rows at once, on either side."""
LAST, MIDDLE, THIN = "features.21", "features.6.conv.4", "features.2"
"""Rectifiers of 1280 channels of 7x7, 144 of 28x28, and 32 of 112x112."""
EACH_CHANNEL = ("AblationCAM", "ScoreCAM")
GRADIENTS = ("Saliency", "IntegratedGradients")
GUIDED = ("GuidedBackprop", "DeconvNet")
CAMS = ("GradCAM", "LayerCAM", "HiResCAM", "XGradCAM")
CONSTANTS = {
    "GradCAMPlusPlus": ("+ 1e-6", "none"),
    "EigenCAM": ("centred", "not centred"),
    "ScoreCAM": ("corners aligned", "half-pixel"),
}
"""Of pytorch-grad-cam, and of the paper or its authors' code."""
METHODS = (*GRADIENTS, *GUIDED, "DeepLIFT", *CAMS, "AblationCAM", *CONSTANTS)
HEADER = (
    f"{'method':20s} {'compared':32s} {'on':18s} {'photos':>6s} {'difference':>10s} "
    f"{'bar':>7s} holds"
)


class Row(NamedTuple):
    """One comparison: maps (N, ...) of two sides, and the bar, None where they differ."""

    compared: str
    on: str
    ours: Any
    theirs: Any
    bar: float | None


class Case(NamedTuple):
    """The module, the photos (N, 3, H, W), their classes, and steps of integrated gradients."""

    module: Any
    inputs: torch.Tensor
    targets: list[int]
    steps: int


def main() -> int:
    """Print a row for each comparison; return 1 if one misses its bar or a method is missing."""
    environment.require(environment.ONE_THREAD | {"TQDM_DISABLE": "1"})
    from xai_core import attributions

    options = _options()
    # Captum tells that it sets hooks, the package that few steps miss completeness.
    warnings.simplefilter("ignore")
    case = _case(options)
    packages = ("torch", "captum", "grad-cam", "keras", "numpy")
    print(", ".join(f"{name} {importlib.metadata.version(name)}" for name in packages))
    print(HEADER, flush=True)
    held = []
    for method in options.methods:
        if hasattr(attributions, method):
            held.extend(_printed(method, row) for row in _rows(method, case))
        else:
            print(f"{method:20s} missing", flush=True)
            held.append(False)
    return int(not all(held))


def _printed(method: str, row: Row) -> bool:
    found, photos = difference(row.ours, row.theirs)
    holds = row.bar is None or found <= row.bar
    bar, verdict = ("-", "differs") if row.bar is None else (f"{row.bar:.0e}", _yes(holds))
    shown = f"{method:20s} {row.compared:32s} {row.on:18s} {photos:6d} {found:10.1e} {bar:>7s}"
    print(f"{shown} {verdict}", flush=True)
    return holds


def _yes(holds: bool) -> str:
    return "yes" if holds else "NO"


def difference(ours: Any, theirs: Any) -> tuple[float, int]:
    """The largest over all photos, and the number of photos whose map is not zero."""
    ours, theirs = (np.asarray(maps, dtype=float) for maps in (ours, theirs))
    if ours.shape != theirs.shape:
        raise SystemExit(f"The maps have the shapes {ours.shape} and {theirs.shape}.")
    axes = tuple(range(1, ours.ndim))
    size = np.abs(theirs).max(axes)
    each = np.abs(ours - theirs).max(axes) / np.where(size > 0, size, 1)
    return float(each.max()), int(np.count_nonzero(size))


def _rows(method: str, case: Case) -> Iterator[Row]:
    if method in GRADIENTS:
        return _gradient_rows(method, case)
    if method in GUIDED:
        return _guided_rows(method, case)
    if method == "DeepLIFT":
        return _deep_lift_rows(case)
    if method in CONSTANTS:
        return _constant_rows(method, case)
    return _cam_rows(method, case)


def _explained(method: str, module: Any, case: Case, **fields: Any) -> Any:
    """The package's maps, unreduced, in full precision."""
    import xai_core
    from xai_core import attributions

    model = xai_core.wrap(module, data_format="channels_first")
    explainer = getattr(attributions, method)(model, batch_size=BATCH, progress=False, **fields)
    return explainer.attribute(case.inputs.numpy(), np.array(case.targets)).detach().numpy()


# --- Captum -------------------------------------------------------------------------------------


def _gradient_rows(method: str, case: Case) -> Iterator[Row]:
    from captum import attr

    fields: dict[str, Any] = {}
    settings: dict[str, Any] = {}
    if method == "IntegratedGradients":
        fields = {"steps": case.steps}
        settings = {"n_steps": case.steps, "internal_batch_size": BATCH}
    ours = _explained(method, case.module, case, reducer=None, **fields)
    theirs = _captum(getattr(attr, method)(case.module), case, **settings)
    yield Row("Captum", "module", ours, theirs, BAR)


def _guided_rows(method: str, case: Case) -> Iterator[Row]:
    from captum import attr

    peer = {"GuidedBackprop": attr.GuidedBackprop, "DeconvNet": attr.Deconvolution}[method]
    for module, copied, name in _rectified(case):
        ours = _explained(method, module, case, reducer=None)
        yield Row(name, _on(module, case), ours, _captum(peer(copied), case), BAR)


def _deep_lift_rows(case: Case) -> Iterator[Row]:
    from captum import attr
    from captum.attr._core.deep_lift import SUPPORTED_NON_LINEAR as RULES
    from torch import nn

    for module, copied, name in _rectified(case):
        for kind in {type(part) for part in copied.modules() if isinstance(part, nn.ReLU)}:
            RULES.setdefault(kind, RULES[nn.ReLU])
        ours = _explained("DeepLIFT", module, case, reducer=None)
        theirs = _captum(attr.DeepLift(copied), case)
        yield Row(name, _on(module, case), ours, theirs, DEEP_LIFT_BAR)


def _rectified(case: Case) -> Iterator[tuple[Any, Any, str]]:
    """The modules that the package and Captum explain, and what is compared."""
    from torch import nn

    class Capped(nn.ReLU):
        """ReLU6 by a name that Captum knows."""

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return nn.functional.relu6(x)

    without = _copied(case.module, nn.ReLU)
    yield without, without, "Captum"
    yield case.module, _copied(case.module, Capped), "Captum told of ReLU6"


def _on(module: Any, case: Case) -> str:
    return "module" if module is case.module else "copy with ReLU"


def _copied(module: Any, rectifier: Any) -> Any:
    """A copy with another class of rectifiers than ReLU6."""
    from torch import nn

    module = copy.deepcopy(module)
    for parent in list(module.modules()):
        for name, part in parent.named_children():
            if isinstance(part, nn.ReLU6):
                setattr(parent, name, rectifier())
    return module.eval()


def _captum(explainer: Any, case: Case, **settings: Any) -> Any:
    inputs = case.inputs.clone().requires_grad_()
    return explainer.attribute(inputs, target=case.targets, **settings).detach().numpy()


# --- pytorch-grad-cam ---------------------------------------------------------------------------


def _cam_rows(method: str, case: Case) -> Iterator[Row]:
    for layer in _layers(method):
        theirs = _grad_cam(method, case, layer)
        ours = _ours(method, case, layer, theirs.shape[1:])
        yield Row("pytorch-grad-cam", layer, ours, theirs, BAR)
        if method == "GradCAM":
            yield Row("Captum LayerGradCam", layer, ours, _layer_grad_cam(case, layer), BAR)


def _constant_rows(method: str, case: Case) -> Iterator[Row]:
    formula, constants = FORMULAS[method], CONSTANTS[method]
    for layer in _layers(method):
        theirs = _grad_cam(method, case, layer)
        ours = _ours(method, case, layer, theirs.shape[1:])
        yield Row("pytorch-grad-cam", layer, ours, theirs, None)
        peers, papers = (unit(formula(case, layer, flag)) for flag in (True, False))
        yield Row(f"formula ({constants[0]}), peer", layer, peers, theirs, BAR)
        yield Row(f"formula ({constants[1]}), package", layer, papers, ours, BAR)


def _layers(method: str) -> tuple[str, ...]:
    return (THIN,) if method in EACH_CHANNEL else (LAST, MIDDLE)


def _grad_cam(method: str, case: Case, layer: str) -> Any:
    """The peer's whole run, which scales to [0, 1] in float32, in the size of the layer."""
    import pytorch_grad_cam
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    targets = [ClassifierOutputTarget(target) for target in case.targets]
    one = case._replace(inputs=case.inputs[:1], targets=case.targets[:1])
    shape = _activations(one, layer)[0].shape
    where = [case.module.get_submodule(layer)]
    with getattr(pytorch_grad_cam, method)(model=case.module, target_layers=where) as peer:
        peer.batch_size = BATCH
        peer.get_target_width_height = lambda _: (shape[3], shape[2])
        return peer(case.inputs.clone().requires_grad_(), targets)


def _layer_grad_cam(case: Case, layer: str) -> Any:
    from captum import attr

    peer = attr.LayerGradCam(case.module, case.module.get_submodule(layer))
    return unit(_captum(peer, case, relu_attributions=True)[:, 0])


def _ours(method: str, case: Case, layer: str, size: tuple[int, int]) -> Any:
    """The package's maps in the size of the layer, scaled to [0, 1]."""
    large = _explained(method, case.module, case, layer=layer)[:, 0]
    return unit(shrunk(large, size))


def unit(maps: Any) -> Any:
    """Rectified maps (N, h, w), scaled to [0, 1]."""
    maps = np.maximum(maps, 0)
    low, high = (pick(maps, axis=(1, 2), keepdims=True) for pick in (np.min, np.max))
    return (maps - low) / np.where(high > low, high - low, 1)


def shrunk(maps: Any, size: tuple[int, int]) -> Any:
    """The maps of ``size`` of which these (N, H, W) are the linear interpolation."""
    down, across = (_interpolation(n, large) for n, large in zip(size, maps.shape[1:], strict=True))
    small = np.linalg.pinv(down) @ maps @ np.linalg.pinv(across).T
    rest = np.abs(down @ small @ across.T - maps).max()
    if rest > 8 * np.finfo(maps.dtype).eps * np.abs(maps).max():
        raise SystemExit(f"The maps are no linear interpolation: {rest:.1e} is left.")
    return small


def _interpolation(length: int, new: int) -> Any:
    """The matrix (new, length) of torch's linear interpolation."""
    import torch

    eye = torch.eye(length, dtype=torch.float64)[None]
    settings = {"size": new, "mode": "linear", "align_corners": False}
    return torch.nn.functional.interpolate(eye, **settings)[0].numpy().T


# --- formulas with a constant, True for the peer's ----------------------------------------------


def _grad_cam_plus_plus(case: Case, layer: str, peers: bool) -> Any:
    activations, gradients = _activations(case, layer)
    total = activations.sum((2, 3), keepdims=True)
    below = 2 * gradients**2 + total * gradients**3 + (1e-6 if peers else 0)
    share = np.divide(gradients**2, below, out=np.zeros_like(below), where=gradients != 0)
    weights = (share * np.maximum(gradients, 0)).sum((2, 3), keepdims=True)
    return (weights * activations).sum(1)


def _eigen_cam(case: Case, layer: str, peers: bool) -> Any:
    found = []
    for one in _activations(case, layer)[0]:
        matrix = one.reshape(len(one), -1).T
        matrix = matrix - matrix.mean(0) if peers else matrix
        projected = matrix @ np.linalg.svd(matrix)[2][0]
        turned = not peers and abs(projected.min()) > abs(projected.max())
        found.append((-projected if turned else projected).reshape(one.shape[1:]))
    return np.stack(found)


def _score_cam(case: Case, layer: str, peers: bool) -> Any:
    import torch
    from scipy.special import softmax
    from torch.nn.functional import interpolate

    activations = _activations(case, layer)[0]
    found = []
    for x, target, channels in zip(case.inputs, case.targets, activations, strict=True):
        scores: list[float] = []
        for start in range(0, len(channels), BATCH):
            maps = torch.from_numpy(channels[start : start + BATCH])[:, None]
            large = interpolate(maps, x.shape[1:], mode="bilinear", align_corners=peers)
            low, high = large.amin((2, 3), keepdim=True), large.amax((2, 3), keepdim=True)
            span = high - low + 1e-8 if peers else torch.where(high > low, high - low, 1.0)
            with torch.inference_mode():
                scores.extend(case.module((large - low) / span * x)[:, target].tolist())
        found.append(np.tensordot(softmax(scores), channels, 1))
    return np.stack(found)


FORMULAS: dict[str, Callable[[Case, str, bool], Any]] = {
    "GradCAMPlusPlus": _grad_cam_plus_plus,
    "EigenCAM": _eigen_cam,
    "ScoreCAM": _score_cam,
}


def _activations(case: Case, layer: str) -> tuple[Any, Any]:
    """Activations of a layer, and the gradients of the scores there, by plain torch."""
    import torch

    seen: list[torch.Tensor] = []
    hook = case.module.get_submodule(layer).register_forward_hook(
        lambda _module, _inputs, output: seen.append(output)
    )
    scores = case.module(case.inputs.clone().requires_grad_())
    hook.remove()
    total = scores[range(len(scores)), case.targets].sum()
    gradients = torch.autograd.grad(total, seen[0])[0]
    return seen[0].detach().numpy(), gradients.numpy()


# --- what is explained --------------------------------------------------------------------------


def _case(options: argparse.Namespace) -> Case:
    import torch

    if not (options.data / "load_mobilenetv2_torch.py").exists():
        raise SystemExit(f"Nothing was run: {options.data} holds no model. Name it with --data.")
    sys.path.insert(0, str(options.data))
    from load_mobilenetv2 import load_image
    from load_mobilenetv2_torch import load_mobilenetv2_torch, preprocess

    folder = options.data / "imagenet_samples"
    labels = json.loads((folder / "labels.json").read_text())
    files = sorted(labels)[:: len(labels) // options.photos][: options.photos]
    photos = preprocess(np.stack([load_image(folder / file) for file in files])).double()
    return Case(
        load_mobilenetv2_torch().double(),
        photos.contiguous(memory_format=torch.channels_last),
        [labels[file][0] for file in files],
        options.steps,
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--methods", type=_methods, default=METHODS, help="all by default")
    parser.add_argument("--photos", type=int, default=10)
    parser.add_argument("--steps", type=int, default=20, help="of IntegratedGradients")
    parser.add_argument("--data", type=Path, default=DATA, help="folder of the model and photos")
    return parser.parse_args()


def _methods(text: str) -> list[str]:
    unknown = set(text.split(",")) - set(METHODS)
    if unknown:
        raise argparse.ArgumentTypeError(f"unknown: {', '.join(sorted(unknown))}")
    return text.split(",")


if __name__ == "__main__":
    sys.exit(main())
