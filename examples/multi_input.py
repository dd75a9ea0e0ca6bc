"""Explain a model with two kinds of input: an image and the row of a table that goes with it.

Run it with `KERAS_BACKEND=jax python examples/multi_input.py` (or tensorflow, or torch). It writes
multi_input_image.png and multi_input_table.png into the current folder.
"""

# %% A digit, and a note beside it: whether it is turned upside down, and two columns of nonsense
import keras
import numpy as np

import xai_core as xai

keras.utils.set_random_seed(0)
generator = np.random.default_rng(0)
data = xai.datasets.digits(size=16)


def rows(images, labels, repeats):
    images, labels = np.tile(images, (repeats, 1, 1, 1)), np.tile(labels, repeats)
    turned = generator.integers(0, 2, len(images))
    images = np.where(turned[:, None, None, None] == 1, images[:, ::-1, ::-1], images)
    noise = generator.normal(size=(len(images), 2))
    table = np.column_stack([2.0 * turned - 1, noise]).astype("float32")
    chosen = np.isin(labels, (6, 9))  # a six that is turned resembles a nine
    return {"image": images[chosen], "table": table[chosen]}, (labels[chosen] == 9).astype(int)


train, labels = rows(data.train_inputs, data.train_labels, 8)
test, truth = rows(data.test_inputs, data.test_labels, 1)

# %% A model that takes a dict of both
inputs = {"image": keras.Input((16, 16, 1), name="image"), "table": keras.Input((3,), name="table")}
x = inputs["image"]
for filters in (16, 32):
    x = keras.layers.Conv2D(filters, 3, strides=2, activation="relu")(x)
x = keras.layers.concatenate([keras.layers.Flatten()(x), inputs["table"]])
x = keras.layers.Dense(32, activation="relu")(x)
network = keras.Model(inputs, keras.layers.Dense(2)(x))
loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
network.compile(keras.optimizers.Adam(2e-3), loss)
network.fit(train, labels, batch_size=64, epochs=8, verbose=0)
right = network.predict(test, verbose=0).argmax(axis=1) == truth
print(f"{right.mean():.1%} of {len(right)} held-out rows are classified rightly.")

# %% One call explains both inputs: a dict of Explanations, whose attributions add up together
names = ("turned", "noise 1", "noise 2")
model = xai.wrap(network, class_names=("six", "nine"), feature_names=names)
few = {name: leaf[:4] for name, leaf in test.items()}
found = xai.attributions.IntegratedGradients(model)(few)
image, table = found["image"], found["table"]
total = image.values.sum(axis=(1, 2, 3)) + table.values.sum(axis=1)
print(
    f"Both together: {total.round(2)}, f(x) - f(0): {(image.scores - image.base_values).round(2)}"
)
for k in range(4):
    columns = ", ".join(f"{n} {v:+.2f}" for n, v in zip(names, table.values[k], strict=True))
    print(f"{table.label(k)}: image {image.values[k].sum():+.2f}, {columns}")

# %% Draw each with its own input
xai.plots.attributions(image, few["image"]).savefig("multi_input_image.png")
xai.plots.attributions(table, few["table"]).savefig("multi_input_table.png")
print("The pictures are in multi_input_image.png and multi_input_table.png.")
