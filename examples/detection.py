"""Explain a detector: why is this box there, of this class?

Run it with `KERAS_BACKEND=jax python examples/detection.py` (or another); it writes detection.png.
"""

# %% Scenes of digits in some of four cells, with the box of each
import keras
import numpy as np
from keras import ops

import xai_core as xai

keras.utils.set_random_seed(0)
generator = np.random.default_rng(0)
data = xai.datasets.digits(size=12)
CORNERS = np.array([[0, 0], [16, 0], [0, 16], [16, 16]], "float32")  # x, y of each cell


def scenes(images, labels, count):
    scene = np.zeros((count, 32, 32, 1), "float32")
    boxes = np.zeros((count, 4, 4 + 1 + 10), "float32")
    for n in range(count):
        for cell in generator.choice(4, generator.integers(1, 4), replace=False):
            k = generator.integers(len(images))
            x, y = CORNERS[cell].astype(int) + generator.integers(0, 5, 2)
            scene[n, y : y + 12, x : x + 12] = images[k]
            boxes[n, cell, :5] = x, y, x + 12, y + 12, 1
            boxes[n, cell, 5 + labels[k]] = 1
    return scene, boxes


train, train_boxes = scenes(data.train_inputs, data.train_labels, 2500)
test, test_boxes = scenes(data.test_inputs, data.test_labels, 4)

# %% A detector: for each cell corners, objectness and class probabilities
x = inputs = keras.Input(train.shape[1:])
for filters in (12, 24, 32, 48):
    x = keras.layers.Conv2D(filters, 3, padding="same", activation="relu")(x)
    x = keras.layers.MaxPooling2D(2)(x)
x = keras.layers.Reshape((4, 48))(x)  # the 2 x 2 cells, row by row
shift = keras.layers.Dense(2, activation="sigmoid")(x) * 4
corner = shift + CORNERS
found = keras.layers.Dense(1, activation="sigmoid")(x)
classes = keras.layers.Dense(10, activation="softmax")(x)
detector = keras.Model(inputs, ops.concatenate([corner, corner + 12, found, classes], axis=-1))


def loss(truth, boxes):
    there, sure = truth[..., 4], ops.clip(boxes[..., 4], 1e-6, 1 - 1e-6)
    objects = -there * ops.log(sure) - (1 - there) * ops.log(1 - sure)
    place = ops.mean(ops.square(truth[..., :4] - boxes[..., :4]), axis=-1) / 16
    kinds = -ops.sum(truth[..., 5:] * ops.log(boxes[..., 5:] + 1e-6), axis=-1)
    return ops.mean(objects + there * (place + kinds))


detector.compile(keras.optimizers.Adam(3e-3), loss)
detector.fit(train, train_boxes, batch_size=50, epochs=8, verbose=0)

# %% The boxes that it predicts are the targets; the best one of each scene is explained
boxes = xai.targets.boxes(detector.predict(test, verbose=0), count=3)
best = boxes[:, 0]
print(f"Best boxes of classes {best[:, 5:].argmax(-1)} with objectness {best[:, 4].round(2)}.")
saliency = xai.attributions.Saliency(detector, operator=xai.Tasks.OBJECT_DETECTION)
occlusion = xai.attributions.Occlusion(detector, operator=xai.Tasks.OBJECT_DETECTION, patch_size=4)
place = xai.Tasks.OBJECT_DETECTION_BOX_POSITION
position = xai.attributions.Occlusion(detector, operator=place, patch_size=4)
maps = {
    "Saliency": saliency(test, best),
    "Occlusion": occlusion(test, best),
    "its position alone": position(test, best),
    "all boxes": occlusion(test, boxes),
}

rows = np.arange(32)  # how much of each map lies in its box?
across, down = [(rows >= best[:, [k]]) & (rows < best[:, [k + 2]]) for k in (0, 1)]
mask = down[:, :, None, None] & across[:, None, :, None]
for name, found in maps.items():
    print(f"{name}: {(np.abs(found.values) * mask).sum() / np.abs(found.values).sum():.0%} inside.")
xai.plots.attributions(maps, test).savefig("detection.png")
print("The picture is in detection.png.")
