"""Slow, obvious NumPy versions of the scores of detectors and segmenters, and tiny models of both.

The models share the convolutions of `oracles.activations`: a segmenter scores each of its 3x5
positions for 4 classes, a detector predicts 4 boxes with 3 classes from their mean.
"""

import functools

import keras
import numpy as np
from keras import layers, ops

import oracles
import tiny_models

BOXES, WIDTH, CLASSES = 4, 8, 4
X = oracles.inputs("image", 5)


# --- scores -------------------------------------------------------------------------------------


def iou(a, b):
    """Of two boxes x1, y1, x2, y2."""
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))

    def area(box):
        return max(0.0, box[2] - box[0]) * max(0.0, box[3] - box[1])

    union = area(a) + area(b) - width * height
    return width * height / union if union > 0 else 0.0


def cosine(a, b):
    length = np.linalg.norm(a) * np.linalg.norm(b)
    return float(a @ b) / length if length > 0 else 0.0


def detection(predicted, references, objectness=True, classes=True):
    """The mean over reference boxes of the best agreement, one input after another."""
    found = []
    for boxes, wanted in zip(predicted, references, strict=True):
        best = []
        for reference in wanted:
            if not reference.any():
                continue
            scores = [0.0]
            for box in boxes:
                score = iou(box, reference)
                score *= box[4] if objectness else 1
                score *= cosine(box[5:], reference[5:]) if classes else 1
                scores.append(score)
            best.append(max(scores))
        found.append(np.mean(best))
    return np.array(found)


FLAGS = {
    "object_detection": (True, True),
    "object_detection_box_position": (False, False),
    "object_detection_box_proba": (True, False),
    "object_detection_box_class": (False, True),
}


def segmentation(outputs, targets):
    rows = zip(np.asarray(outputs, float), np.asarray(targets, float), strict=True)
    return np.array([(one * t).sum() / (t != 0).sum() for one, t in rows])


# --- what the models return ---------------------------------------------------------------------


@functools.cache
def weights(name):
    generator = np.random.default_rng([7, len(name)])
    columns = BOXES * WIDTH if name == "boxes" else CLASSES
    kernel, bias = generator.normal(0, 1.2, (6, columns)), generator.normal(0, 1, columns)
    return kernel.astype("float32").astype(float), bias.astype("float32").astype(float)


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def detect(x):
    """Boxes (N, 4, 4 + 1 + 3) as shares of the image's sides, in float64."""
    kernel, bias = weights("boxes")
    codes = oracles.activations("image", np.asarray(x, float)).mean(axis=(1, 2)) @ kernel + bias
    codes = codes.reshape(-1, BOXES, WIDTH)
    centre, size = sigmoid(codes[..., :2]), 0.2 + 0.5 * sigmoid(codes[..., 2:4])
    return np.concatenate(
        [
            centre - size / 2,
            centre + size / 2,
            sigmoid(codes[..., 4:5]),
            oracles.softmax(codes[..., 5:]),
        ],
        axis=-1,
    )


def segment(x):
    """Logits (N, 3, 5, 4) in float64."""
    kernel, bias = weights("classes")
    return oracles.activations("image", np.asarray(x, float)) @ kernel + bias


def references():
    """Three boxes for each of the five inputs, near to predictions but none of them."""
    found, generator = detect(X)[:, :3].copy(), np.random.default_rng(4)
    shift = generator.uniform(0.02, 0.06, found[..., :4].shape)
    found[..., :4] += shift * generator.choice([-1, 1], shift.shape)
    found[..., 5:] = np.random.default_rng(5).uniform(0.1, 1, found[..., 5:].shape)
    return found.astype("float32")


def zones():
    """Masks (5, 3, 5, 4) with 1 and -1, another one for each input."""
    found = np.random.default_rng(6).choice([-1, 0, 0, 1], (5, 3, 5, CLASSES))
    return found.astype("float32")


# --- the models ---------------------------------------------------------------------------------


@functools.cache
def detector():
    trunk = tiny_models.network("image")
    dense = layers.Dense(BOXES * WIDTH, name="boxes")
    codes = layers.Reshape((BOXES, WIDTH))(dense(trunk.get_layer("gap").output))
    centre, size = ops.sigmoid(codes[..., :2]), 0.2 + 0.5 * ops.sigmoid(codes[..., 2:4])
    parts = [
        centre - size / 2,
        centre + size / 2,
        ops.sigmoid(codes[..., 4:5]),
        ops.softmax(codes[..., 5:]),
    ]
    made = keras.Model(trunk.inputs[0], ops.concatenate(parts, axis=-1))
    dense.set_weights(list(weights("boxes")))
    return made


@functools.cache
def segmenter(channels_first=False, activation=None):
    trunk = tiny_models.network("image", channels_first)
    layout = "channels_first" if channels_first else "channels_last"
    last = layers.Conv2D(CLASSES, 1, data_format=layout, name="classes")
    outputs = last(trunk.get_layer("conv2").output)
    if activation == "softmax":
        outputs = ops.softmax(outputs, axis=1 if channels_first else -1)
    made = keras.Model(trunk.inputs[0], outputs)
    kernel, bias = weights("classes")
    last.set_weights([kernel[None, None], bias])
    return made


@functools.cache
def torch_segmenter():
    """The same as a torch module: (N, 2, 7, 10) to (N, 4, 3, 5)."""
    from torch import nn

    kernel, bias = weights("classes")
    last = tiny_models.torch_part(nn.Conv2d(6, CLASSES, 1), kernel.T[:, :, None, None], bias)
    return nn.Sequential(*tiny_models.torch_twin("image")[:5], last).eval()
