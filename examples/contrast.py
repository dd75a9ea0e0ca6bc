"""Ask why one class rather than another, and ask for all classes at once.

Run it with `python examples/contrast.py`. It writes contrast.png and classes.png into the current
folder.
"""

# %% A small network, trained on scikit-learn's digits in a few seconds
import numpy as np
from matplotlib.figure import Figure

import xai_core as xai

data = xai.datasets.digits()
network = xai.models.small_cnn((24, 24, 1), classes=10)
xai.models.fit_classifier(network, data.train_inputs, data.train_labels, noise=0.4)
images = data.test_inputs[data.test_labels == 3][:4]
explainer = xai.attributions.IntegratedGradients(network)

# %% A target is a class, or a weight for every class; the score is the weighted sum of the outputs
contrast = xai.targets.contrast(3, 8, columns=10)  # 1 for the three, -1 for the eight
rather = explainer(images, contrast)
print(rather)

# %% The gradient of a sum is the sum of the gradients: so the contrast is a difference of two maps
why_three, why_eight = explainer.explain_each(images, [3, 8])
difference = np.abs(rather.values - (why_three.values - why_eight.values)).max()
print(f"3 rather than 8 is the map of 3 less the map of 8, up to {difference:.0e}.")

# %% Where a 3 would have to have ink to be an 8: those empty pixels cannot count with baseline 0
white = xai.attributions.IntegratedGradients(network, baseline=1.0)(images, contrast)
open_side = images < 0.1
share = white.values[open_side].sum() / white.values.sum()
print(f"From a baseline of ink everywhere, the paper contributes {share:.0%} of 3 rather than 8.")
figure = xai.plots.attributions(
    {"3": why_three, "8": why_eight, "3 rather than 8": rather, "the same, from ink": white}, images
)
figure.savefig("contrast.png")

# %% All classes at once share the forward pass, which is cheaper than ten calls
gradcam = xai.attributions.GradCAM(network, signed=True)
maps = gradcam.explain_each(images, "all")
print(f"{len(maps)} Explanations of {len(images)} images, one per class.")
for explanation in maps[:3]:
    print(explanation)

# %% Each row has the score of its own class; the largest is the prediction
scores = np.stack([explanation.scores for explanation in maps], axis=1)
print(f"Largest scores: {scores.argmax(axis=1)}, predicted: {gradcam(images).targets}")
figure = Figure(figsize=(10, 4.4), layout="constrained")
first = [explanation[0] for explanation in maps]
xai.plots.attributions(first, images[:1], scale="shared", ax=figure.subplots(2, 5))
figure.savefig("classes.png")
print("The pictures are in contrast.png and classes.png.")
