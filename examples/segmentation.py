"""Explain a segmentation: which pixels make a zone what it is, and what makes its border.

Run it with `KERAS_BACKEND=jax python examples/segmentation.py` (or tensorflow, or torch). It writes
segmentation.png into the current folder.
"""

# %% Scenes of two digits; each pixel of ink is a zero, a one, or neither is there
import keras
import numpy as np

import xai_core as xai

keras.utils.set_random_seed(0)
generator = np.random.default_rng(0)
data = xai.datasets.digits(size=12)


def scenes(images, labels, count):
    shown = np.flatnonzero(labels < 2)
    scene, classes = np.zeros((count, 28, 28, 1), "float32"), np.zeros((count, 28, 28), "int32")
    for left in (0, 14):
        for n, k in enumerate(generator.choice(shown, count)):
            row, column = generator.integers(0, 16), left + generator.integers(0, 3)
            place = n, slice(row, row + 12), slice(column, column + 12)
            scene[place] = images[k]
            classes[place] = (images[k, ..., 0] > 0.3) * (1 + labels[k])
    return scene, classes


train, classes = scenes(data.train_inputs, data.train_labels, 1500)
test, truth = scenes(data.test_inputs, data.test_labels, 4)

# %% A network that gives every pixel a column for each class
layers = [keras.Input(train.shape[1:])]
layers += [
    keras.layers.Conv2D(24, 3, padding="same", dilation_rate=rate, activation="relu")
    for rate in (1, 2, 4, 1)
]
model = keras.Sequential([*layers, keras.layers.Conv2D(3, 1)])
loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
model.compile(keras.optimizers.Adam(5e-3), loss)
model.fit(train, classes, batch_size=50, epochs=6, verbose=0)
outputs = model.predict(test, verbose=0)
ink = truth > 0
print(f"{(outputs.argmax(-1) == truth)[ink].mean():.1%} of the pixels of ink have the right class.")

# %% The zone of the digit on the left: wherever its class is predicted, connected
rows, columns = np.where(ink[:, :, :14].any(2), 1, 0).argmax(1), []
for n, row in enumerate(rows):
    columns.append(np.flatnonzero(ink[n, row, :14])[0])
digit = xai.targets.zone(outputs, at=np.stack([rows, columns], axis=1))
print(f"The zones hold {digit.sum(axis=(1, 2, 3)).astype(int)} pixels.")

# %% Why that class, there? And what makes its border be where it is?
settings = {"operator": xai.Tasks.SEMANTIC_SEGMENTATION, "output": "softmax"}
names = [layer.name for layer in model.layers]
maps = {
    "Saliency": xai.attributions.Saliency(model, **settings)(test, digit),
    "IntegratedGradients": xai.attributions.IntegratedGradients(model, **settings)(test, digit),
    "GradCAM": xai.attributions.GradCAM(model, layer=names[-3], **settings)(test, digit),
    "Occlusion": xai.attributions.Occlusion(model, patch_size=4, **settings)(test, digit),
}
border = xai.attributions.IntegratedGradients(model, **settings)(test, xai.targets.border(digit))
for name, found in maps.items():
    left = np.abs(found.values[:, :, :14]).sum() / np.abs(found.values).sum()
    print(f"{name}: {left:.0%} of the map is in the left half, where the zone is.")
figure = xai.plots.attributions({**maps, "its border": border}, test)
figure.savefig("segmentation.png")
print("The picture is in segmentation.png.")
