"""All methods side by side on the digits, with one colour scale.

Run it with `KERAS_BACKEND=jax python examples/gallery.py` (or tensorflow, or torch). It writes
gallery.png into the current folder.
"""

# %% The network of the demo
import keras
import numpy as np

import xai_core as xai

keras.utils.set_random_seed(0)
data = xai.datasets.digits()
network = xai.models.small_cnn(data.train_inputs.shape[1:], classes=10)
xai.models.fit_classifier(network, data.train_inputs, data.train_labels, noise=0.4)
rows = [int(np.flatnonzero(data.test_labels == digit)[0]) for digit in (0, 3, 8)]
images = data.test_inputs[rows]

# %% Each method with its own defaults; a wrapper takes the method that it wraps
SLOWER = {"RISE": {"n_samples": 2000}, "Sobol": {"n_design": 32}, "KernelSHAP": {"n_samples": 1000}}
maps = {}
for name in xai.attributions.__all__:
    method = getattr(xai.attributions, name)
    inner = xai.attributions.Saliency(network) if method.needs_explainer else network
    maps[name] = method(inner, **SLOWER.get(name, {}))(images)

# %% One picture; every map is shown in shares of its largest value, on one scale for all
shown = {}
for name, found in maps.items():
    shares = found.values / np.abs(found.values).max(axis=(1, 2, 3), keepdims=True)
    shown[name] = xai.Explanation(shares, name)
figure = xai.plots.attributions(shown, images, scale="shared", alpha=0.8)
figure.savefig("gallery.png", dpi=90)
deletion = xai.metrics.Deletion(network, steps=25, output="softmax")
areas = {name: float(deletion(found, images)) for name, found in maps.items()}
for name, area in sorted(areas.items(), key=lambda pair: pair[1]):
    print(f"{name:18s} deletion {area:.3f}")
