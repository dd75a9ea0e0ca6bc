"""Explain a score of one's own, of a model with two inputs.

The model reads two digits and gives a logit for each sum from 0 to 18; explained is the expected
sum. Run it with `KERAS_BACKEND=jax python examples/own_operator.py` (or tensorflow, or torch: Keras
is imported first here, and does not look for what is installed). It writes own_operator.png.
"""

# %% Pairs of digits and their sum
import keras
import numpy as np
from keras import ops

import xai_core as xai

keras.utils.set_random_seed(0)
data = xai.datasets.digits(size=16)
generator = np.random.default_rng(0)


def pairs(images, labels, count):
    left, right = generator.integers(len(images), size=(2, count))
    return {"left": images[left], "right": images[right]}, labels[left], labels[right]


train_inputs, left, right = pairs(data.train_inputs, data.train_labels, 30_000)

# %% A model that takes a dict; the same layers read both images
shape = data.train_inputs.shape[1:]
reader = keras.Sequential(
    [
        keras.Input(shape),
        keras.layers.Conv2D(16, 3, strides=2, activation="relu"),
        keras.layers.Conv2D(32, 3, strides=2, activation="relu"),
        keras.layers.Flatten(),
        keras.layers.Dense(32, activation="relu"),
    ],
    name="reader",
)
inputs = {name: keras.Input(shape, name=name) for name in ("left", "right")}
both = keras.layers.concatenate([reader(inputs["left"]), reader(inputs["right"])])
hidden = keras.layers.Dense(64, activation="relu")(both)
model = keras.Model(inputs, keras.layers.Dense(19)(hidden))
loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
model.compile(keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(5e-3, 1400)), loss)
model.fit(train_inputs, left + right, batch_size=128, epochs=6, verbose=0)


# %% An operator maps (model, inputs, targets) to one score per row, in keras.ops
def expected_sum(model, inputs, targets):
    del targets  # None, as nothing is passed for them below
    probabilities = ops.softmax(model(inputs), axis=-1)
    return ops.sum(probabilities * ops.arange(19.0), axis=-1)


test_inputs, left, right = pairs(data.test_inputs, data.test_labels, 500)
correct = model.predict(test_inputs, verbose=0).argmax(axis=1) == left + right
print(f"{correct.mean():.1%} of {len(correct)} held-out pairs are added up correctly.")

# %% Several inputs give one Explanation each; the baseline is an average over one image per digit
inputs, left, right = pairs(data.test_inputs, data.test_labels, 6)
baseline = [data.train_inputs[data.train_labels == digit][0] for digit in range(10)]
explainer = xai.attributions.IntegratedGradients(
    model, operator=expected_sum, baseline=baseline, steps=300
)
explanations = explainer(inputs)

scores, base = explanations["left"].scores, explanations["left"].base_values
shares = {name: one.values.sum(axis=(1, 2, 3)) for name, one in explanations.items()}
print(f"Of two equal digits {base[0]:.2f} is expected on average. To this each image adds:")
titles = [f"{a} + {b}: {score:.2f}" for a, b, score in zip(left, right, scores, strict=True)]
for k, title in enumerate(titles):
    print(f"{title}  (left {shares['left'][k]:+.2f}, right {shares['right'][k]:+.2f})")

# %% Side by side, both maps of a pair have one colour scale, as parts of one sum should
maps = np.concatenate([explanations[name].values for name in inputs], axis=2)
pictures = np.concatenate([inputs[name] for name in inputs], axis=2)
figure = xai.plots.attributions(maps, pictures, titles=titles, columns=3)
figure.savefig("own_operator.png")
print("The picture is in own_operator.png.")
