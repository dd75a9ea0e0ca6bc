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
FIELDS = {
    "RISE": {"n_samples": 2000},
    "KernelSHAP": {"n_samples": 1000},
    "ExpectedGradients": {"background": data.train_inputs[:100]},
    "DeepSHAP": {"background": data.train_inputs[:10]},
    "Conductance": {"layer": 3},  # behind the first convolution, where maps have full size
}
maps = {}
for name in xai.attributions.__all__:
    method = getattr(xai.attributions, name)
    inner = xai.attributions.Saliency(network) if method.needs_explainer else network
    maps[name] = method(inner, **FIELDS.get(name, {}))(images)

# %% One picture of one digit, on one scale: each map in shares of its largest value
shown = []
for name, found in maps.items():
    values = found.values[1]
    if not getattr(xai.attributions, name).signed:
        values = values - values.min()  # such as those of RISE, a level of the score
    shown.append(values / np.abs(values).max())
figure = xai.plots.attributions(
    xai.Explanation(np.stack(shown), "all methods"),
    np.repeat(images[1:2], len(shown), axis=0),
    titles=list(maps),
    scale="shared",
    columns=8,
)
figure.savefig("gallery.png", dpi=100)

# %% How soon the probability falls when what they mark is deleted
deletion = xai.metrics.Deletion(network, steps=25, output="softmax")
areas = {name: float(deletion(found, images)) for name, found in maps.items()}
for name, area in sorted(areas.items(), key=lambda pair: pair[1]):
    print(f"{name:20s} deletion {area:.3f}")
