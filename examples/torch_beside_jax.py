"""Explain a torch module while Keras runs on JAX, and compare with torch's own gradients.

Both frameworks are installed, and KERAS_BACKEND is jax. Run it with
`python examples/torch_beside_jax.py`. It writes torch_beside_jax.png into the current folder.
"""

# %% Keras, and with it xai_core, runs on JAX; torch only holds the module
import os

os.environ["KERAS_BACKEND"] = "jax"

import numpy as np
import torch
from torch import nn

import xai_core as xai

data = xai.datasets.digits()

# %% A module, trained as always, on images with channels first
torch.manual_seed(0)
features = nn.Sequential(
    nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 48, 3, padding=1)
)
head = nn.Sequential(nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(48, 10))
module = nn.Sequential(features, head)
inputs = torch.from_numpy(data.train_inputs).permute(0, 3, 1, 2)
labels = torch.from_numpy(data.train_labels)
optimizer = torch.optim.Adam(module.parameters(), lr=5e-3)
for _ in range(6):
    for rows in torch.randperm(len(inputs)).split(64):
        loss = nn.functional.cross_entropy(module(inputs[rows]), labels[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
module.eval()

# %% The bridge takes the images as JAX has them, channels last
images = data.test_inputs[:4]
model = xai.wrappers.TorchWrapper(module, data_format="channels_last")
saliency = xai.attributions.Saliency(model)(images)
print(saliency)

# %% Its gradients are torch's
leaf = torch.from_numpy(images).permute(0, 3, 1, 2).requires_grad_(True)
scores = module(leaf).gather(1, torch.from_numpy(saliency.targets).long()[:, None])
(slope,) = torch.autograd.grad(scores.sum(), leaf)
gap = np.abs(saliency.values - slope.abs().permute(0, 2, 3, 1).numpy()).max()
print(f"The largest difference from torch.autograd is {gap:.0e}.")

# %% Layers are reached through two modules that make up the whole
gradcam = xai.attributions.GradCAM(model, layer=(features, head))(images)
occlusion = xai.attributions.Occlusion(model)(images)
figure = xai.plots.attributions(
    {"Saliency": saliency, "GradCAM": gradcam, "Occlusion": occlusion}, images
)
figure.savefig("torch_beside_jax.png")
print("The picture is in torch_beside_jax.png.")
