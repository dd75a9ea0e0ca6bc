"""Explain a PyTorch module, taken as it is: nothing is converted, and its gradients are torch's.

Run it with `python examples/torch_module.py`. It writes torch_module.png into the current folder.
"""

# %% A torch module is explained while Keras runs on torch; say so before the first import
import os

os.environ["KERAS_BACKEND"] = "torch"

import torch
from torch import nn

import xai_core as xai

data = xai.datasets.digits()
# Channels first, as torch has it.
train_images = torch.from_numpy(data.train_inputs).permute(0, 3, 1, 2)
train_labels = torch.from_numpy(data.train_labels)
test_images = torch.from_numpy(data.test_inputs).permute(0, 3, 1, 2)
test_labels = torch.from_numpy(data.test_labels)

# %% Train it as always
torch.manual_seed(0)
features = nn.Sequential()
for before, after in ((1, 16), (16, 32), (32, 64)):
    if before > 1:
        features.append(nn.MaxPool2d(2))
    features.extend([nn.Conv2d(before, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU()])
head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))
module = nn.Sequential()
module.add_module("features", features)
module.add_module("head", head)

optimizer = torch.optim.Adam(module.parameters(), lr=5e-3)
decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 10)
for _ in range(10):
    for rows in torch.randperm(len(train_images)).split(64):
        noise = torch.rand(len(rows), 1, 1, 1) * torch.randn(len(rows), 1, 24, 24)
        logits = module(train_images[rows] + 0.3 * noise)
        loss = nn.functional.cross_entropy(logits, train_labels[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    decay.step()

# %% A module in training mode is refused: dropout and batch normalisation would disturb the map
try:
    xai.attributions.Saliency(module)
except ValueError as error:
    print(f"In training mode: {error}")
module.eval()
with torch.no_grad():
    right = module(test_images).argmax(dim=1) == test_labels
print(f"{right.float().mean():.1%} of {len(right)} held-out digits are recognised.")

# %% Explain tensors; layers are named as torch names them
images = test_images[:4]
integrated = xai.attributions.IntegratedGradients(module)(images)
print(integrated)
print(f"The module's images are {integrated.data_format}, and so are the maps.")
gradcam = xai.attributions.GradCAM(module, layer="features.10")(images)
print(gradcam)

# %% Softmax instead of the logits that the module returns
probable = xai.attributions.Saliency(module, output="softmax")(images)
print(f"Probabilities of the predicted classes: {', '.join(map('{:.3f}'.format, probable.scores))}")

# %% `attribute` gives tensors, on the module's device and before channels are reduced
tensors = xai.attributions.Saliency(module, absolute=False).attribute(images, targets=3)
print(f"Gradients of class 3: {type(tensors).__name__} {tuple(tensors.shape)}")

# %% Images given channels last are transposed on the way
last = xai.wrap(module, data_format="channels_last")
print(xai.attributions.GradCAM(last)(images.permute(0, 2, 3, 1)))

xai.plots.attributions([integrated, gradcam], images).savefig("torch_module.png")
print("The picture is in torch_module.png.")
