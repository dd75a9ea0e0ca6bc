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


def grad_cam(case: Case) -> Explain:
    """Return a function (images, classes) -> Grad-CAM at the case's layer, in the image's size."""
    space = case.spatial_axes

    def explain(x, t):
        size = [x.shape[axis] for axis in space]
        with torch.no_grad():
            activations = case.features(_laid_out(case, torch.from_numpy(x)))
        activations.requires_grad_(True)
        slopes = _gradient_of(case.head(activations), activations, torch.from_numpy(t))
        weighted = activations.detach() * slopes.mean(space, keepdim=True)
        cam = torch.relu(weighted.sum(case.channel_axis))
        return torch.nn.functional.interpolate(cam[:, None], size, mode="bilinear")[:, 0].numpy()

    return explain


def scores(case: Case) -> Explain:
    """Return a function (images, classes) -> the scores that are explained."""

    def explain(x, t):
        with torch.inference_mode():
            output = case(_laid_out(case, torch.from_numpy(x)))
            return output.gather(1, torch.from_numpy(t)[:, None])[:, 0].numpy()

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
