"""Explain a Keras classifier with every method; this script makes the picture of the README.

Run it with `python examples/keras_classifier.py`. It writes digits.png into the current folder.
"""

# %% A small network, trained on scikit-learn's digits in a few seconds
import dataclasses

from matplotlib.figure import Figure

import xai_core as xai

NAMES = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]

data = xai.datasets.digits()
network = xai.models.small_cnn((24, 24, 1), classes=10)
xai.models.fit_classifier(network, data.train_inputs, data.train_labels, noise=0.4)
logits = network.predict(data.test_inputs, verbose=0)
right = logits.argmax(axis=1) == data.test_labels
print(f"{right.mean():.1%} of {len(right)} held-out digits are recognised.")

# %% Explain three images; `wrap` gives the classes their names
rows = logits[:, [3, 5, 8]].argmax(axis=0)  # the clearest 3, 5 and 8
images = data.test_inputs[rows]
model = xai.wrap(network, class_names=NAMES)

explainers = [
    xai.attributions.Saliency(model),
    xai.attributions.GradientInput(model),
    xai.attributions.IntegratedGradients(model),
    xai.attributions.GradCAM(model),
    xai.attributions.RandomMap(model),
]
explanations = [explainer(images) for explainer in explainers]
for explanation in explanations:
    print(explanation)

# %% Contributions add up: integrated gradients explain the score less that of an empty image
integrated = explanations[2]
sums = integrated.values.sum(axis=(1, 2, 3))
for k, label in enumerate(map(integrated.label, range(len(images)))):
    print(
        f"{label}: the pixels add {sums[k]:+.3f} to {integrated.base_values[k]:.3f}, "
        f"the score of an empty image (gap {integrated.completeness_gap[k]:+.0e})"
    )

# %% Grad-CAM says which layer it took, and any other can be named
print(f"Grad-CAM took {explanations[3].layer!r}. {' '.join(explanations[3].notes)}")
finer = xai.attributions.GradCAM(model, layer="re_lu_1")(images)
print(f"At {finer.layer!r} its map is made of 12 x 12 instead of 6 x 6 cells.")

# %% Draw: the images in the first column, then one column per method with its own colour scale
figure = Figure(figsize=(9.6, 4.1), layout="constrained")
axes = figure.subplots(len(images), 1 + len(explanations))
for k, ax in enumerate(axes[:, 0]):
    ax.imshow(images[k, ..., 0], cmap="gray_r")
    ax.set_title(integrated.label(k), fontsize="small")
    ax.set_axis_off()
for column, explanation in zip(axes.T[1:], explanations, strict=True):
    # The maps are drawn on dark ink on white paper: on purpose other pixels than were explained.
    unchecked = dataclasses.replace(explanation, fingerprints=None)
    xai.plots.attributions(
        unchecked,
        1 - images,
        titles=[explanation.method, "", ""],
        cmap="RdBu_r" if explanation.values.min() < 0 else "Reds",
        alpha=0.65,
        scale="shared",
        ax=column,
    )
figure.savefig("digits.png", dpi=170)
print("The picture is in digits.png.")
