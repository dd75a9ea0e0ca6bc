"""Compare methods by what they should show: does the score fall where a map says it would?

Run it with `python examples/compare_methods.py`. It writes curves.png and flip.png into the current
folder.
"""

# %% A small network, trained on scikit-learn's digits in a few seconds
import numpy as np

import xai_core as xai

data = xai.datasets.digits()
network = xai.models.small_cnn((24, 24, 1), classes=10)
xai.models.fit_classifier(network, data.train_inputs, data.train_labels, noise=0.4)
images = data.test_inputs[:64]

# %% Each method explains the predicted class; random maps are the control
attributions = xai.attributions
explainers = {
    "Saliency": attributions.Saliency(network),
    "SmoothGrad": attributions.SmoothGrad(network),
    "IntegratedGradients": attributions.IntegratedGradients(network),
    "GradCAM": attributions.GradCAM(network),
    "FORGrad": attributions.FORGrad(attributions.Saliency(network)),
    "Occlusion": attributions.Occlusion(network),
    "random": attributions.RandomMap(network),
}
maps = {name: explainer(images) for name, explainer in explainers.items()}

# %% Deletion: low is good. Insertion: high is good. Probabilities make the areas comparable
deletion = xai.metrics.Deletion(network, output="softmax")
insertion = xai.metrics.Insertion(network, output="softmax")
deleted = {name: deletion(found, images) for name, found in maps.items()}
inserted = {name: insertion(found, images) for name, found in maps.items()}
for name in maps:
    print(f"{name:20s} deletion {float(deleted[name]):.3f}, insertion {float(inserted[name]):.3f}")

# %% Is that better than chance? The same images, so the differences are paired
generator = np.random.default_rng(0)
draws = generator.integers(len(images), size=(2000, len(images)))
for name in list(maps)[:-1]:
    gain = deleted["random"].scores - deleted[name].scores
    low, high = np.quantile(gain[draws].mean(axis=1), [0.025, 0.975])
    verdict = "better than chance" if low > 0 else "no better than chance"
    print(f"{name:20s} gains {gain.mean():+.3f} [{low:+.3f}, {high:+.3f}]: {verdict}")

# %% The curves, and how little of an image it takes to change the class
xai.plots.curves(deleted).savefig("curves.png")
best = min(explainers, key=lambda name: float(deleted[name]))
flipped = deleted[best]
print(
    f"{best} changes the class after {np.nanmedian(flipped.flip_share):.0%} of the pixels (median)."
)
shown = np.flatnonzero(np.isfinite(flipped.flip_share))[:4]
masked = deletion.masked(maps[best][shown], images[shown], flipped.flip_share[shown])
steps = np.searchsorted(flipped.shares, flipped.flip_share[shown])
new = flipped.predictions[shown, steps]
xai.plots.flip(images[shown], masked, flipped.predictions[shown, 0], new).savefig("flip.png")
print("The pictures are in curves.png and flip.png.")
