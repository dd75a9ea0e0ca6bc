"""The shortest good PyTorch code by hand, for a Keras model on torch and for a native module."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from models import Case

Explain = Callable[[np.ndarray, np.ndarray], np.ndarray]


def saliency(case: Case) -> Explain:
    """Return a function (images, classes) -> largest absolute gradient of each pixel."""

    def explain(x, t):
        slopes = _gradient(case, torch.from_numpy(x), torch.from_numpy(t))
        return slopes.abs().amax(case.channel_axis).numpy()

    return explain


def integrated_gradients(case: Case, nodes: np.ndarray, weights: np.ndarray) -> Explain:
    """Return a function (images, classes) -> integrated gradients from 0, summed over colours."""
    positions, weighting = torch.from_numpy(nodes), torch.from_numpy(weights)

    def explain(x, t):
        x, t = torch.from_numpy(x), torch.from_numpy(t)
        per, total = case.batch_size // len(x), torch.zeros_like(x)
        for start in range(0, len(nodes), per):
            position = positions[start : start + per]
            rows = (position[:, None, None, None, None] * x).flatten(0, 1)
            slopes = _gradient(case, rows, t.repeat(len(position)))
            total += torch.tensordot(
                weighting[start : start + per], slopes.reshape(-1, *x.shape), 1
            )
        return (total * x).sum(case.channel_axis).numpy()

    return explain


def smooth_grad(case: Case, n_samples: int, noise: float) -> Explain:
    """Return a function (images, classes) -> mean gradient under noise, absolute, over colours."""

    def explain(x, t):
        x, t = torch.from_numpy(x), torch.from_numpy(t)
        spread = noise * (x.amax((1, 2, 3), True) - x.amin((1, 2, 3), True))
        per, total = case.batch_size // len(x), torch.zeros_like(x)
        for start in range(0, n_samples, per):
            count = min(per, n_samples - start)
            rows = x + spread * torch.randn(count, *x.shape)
            slopes = _gradient(case, rows.flatten(0, 1), t.repeat(count))
            total += slopes.reshape(rows.shape).sum(0)
        return (total / n_samples).abs().mean(case.channel_axis).numpy()

    return explain


def grad_cam(case: Case) -> Explain:
    """Return a function (images, classes) -> Grad-CAM at the case's layer, in the image's size."""
    space = case.spatial_axes
    return _cam(case, lambda activations, slopes: slopes.mean(space, keepdim=True))


def grad_cam_plus_plus(case: Case) -> Explain:
    """Return a function (images, classes) -> Grad-CAM++, likewise."""
    space = case.spatial_axes

    def weigh(activations, slopes):
        below = 2 * slopes**2 + activations.sum(space, keepdim=True) * slopes**3
        share = torch.where(below == 0, 0, slopes**2 / below)
        return (share * torch.relu(slopes)).sum(space, keepdim=True)

    return _cam(case, weigh)


def layer_cam(case: Case) -> Explain:
    """Return a function (images, classes) -> LayerCAM, likewise."""
    return _cam(case, lambda activations, slopes: torch.relu(slopes))


def hires_cam(case: Case) -> Explain:
    """Return a function (images, classes) -> HiResCAM, likewise."""
    return _cam(case, lambda activations, slopes: slopes)


def scores(case: Case) -> Explain:
    """Return a function (images, classes) -> the scores that are explained."""

    def explain(x, t):
        with torch.inference_mode():
            output = case(_laid_out(case, torch.from_numpy(x)))
            return output.gather(1, torch.from_numpy(t)[:, None])[:, 0].numpy()

    return explain


def forward(case: Case, rows: int) -> Callable[[], list[np.ndarray]]:
    """Return a function that calls the model on ``rows`` prepared rows, in full batches and one."""
    sizes = (case.batch_size, rows % case.batch_size)
    full, rest = (_laid_out(case, torch.from_numpy(case.rows(n))) for n in sizes)
    batches = [full] * (rows // case.batch_size) + [rest] * bool(len(rest))

    def call():
        with torch.inference_mode():
            return [y.numpy() for y in [case(batch) for batch in batches]]

    return call


def _cam(case: Case, weigh: Callable) -> Explain:
    def explain(x, t):
        size = [x.shape[axis] for axis in case.spatial_axes]
        with torch.no_grad():
            activations = case.features(_laid_out(case, torch.from_numpy(x)))
        activations.requires_grad_(True)
        slopes = _gradient_of(case.head(activations), activations, torch.from_numpy(t))
        activations = activations.detach()
        cam = torch.relu((activations * weigh(activations, slopes)).sum(case.channel_axis))
        return torch.nn.functional.interpolate(cam[:, None], size, mode="bilinear")[:, 0].numpy()

    return explain


def _gradient(case: Case, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    x = _laid_out(case, x).detach().requires_grad_(True)
    return _gradient_of(case(x), x, t)


def _gradient_of(output: torch.Tensor, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    return torch.autograd.grad(output.gather(1, t[:, None]).sum(), x)[0]


def _laid_out(case: Case, x: torch.Tensor) -> torch.Tensor:
    """Lay colours innermost in memory: a convolution on the CPU is fastest so."""
    if case.kind == "keras" or not case.channels_last_memory:
        return x
    return x.contiguous(memory_format=torch.channels_last)
