"""Torch modules, and what torch by itself says of them; for runs where torch can be imported."""

import functools

import numpy as np
import torch
from torch import nn

import oracles
import tiny_models

X = tiny_models.KINDS["channels_first"].inputs()


@functools.cache
def twin():
    """The module of `oracles.logits` for images; tests that change it take a copy."""
    return tiny_models.torch_twin("image")


@functools.cache
def twin_halves():
    """The pair behind the second activation of `twin`."""
    return twin()[:5], twin()[5:]


class Module(nn.Module):
    """A module in evaluation mode whose forward is ``function(module, ...)``."""

    def __init__(self, function, **parts):
        super().__init__()
        self.function = function
        for name, part in parts.items():
            self.add_module(name, part)
        self.eval()

    def forward(self, *args, **kwargs):
        return self.function(self, *args, **kwargs)


def seeded(module, seed=3):
    """The module in evaluation mode, with weights that never change."""
    generator = np.random.default_rng(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.tensor(generator.normal(0.0, 0.5, tuple(parameter.shape))))
    return module.eval()


def native_gradient(module, x, targets):
    """Scores (N,) and their gradients by torch alone."""
    leaf = torch.tensor(x, requires_grad=True)
    scores = _column(module(leaf), targets)
    return scores.detach().numpy(), torch.autograd.grad(scores.sum(), leaf)[0].numpy()


def native_cam(features, head, x, targets):
    """Grad-CAM of a pair by torch alone, the resizing apart; channels first."""
    with torch.no_grad():
        maps = features(torch.tensor(x))
    leaf = maps.clone().requires_grad_(True)
    (slope,) = torch.autograd.grad(_column(head(leaf), targets).sum(), leaf)
    maps, slope = (np.moveaxis(one.numpy().astype(float), 1, -1) for one in (maps, slope))
    return np.moveaxis(oracles.grad_cam(maps, slope, x.shape[2:]), -1, 1)


def _column(outputs, targets):
    columns = torch.as_tensor(np.broadcast_to(targets, len(outputs)).copy())
    return outputs.gather(1, columns[:, None])[:, 0]
