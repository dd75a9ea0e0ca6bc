"""What the tests of class activation maps share: the models that all are tried on."""

import functools

import keras
import numpy as np
from keras import layers

import oracles
import tiny_models
from cases import TARGETS
from oracles import assert_same
from tiny_models import KINDS, PAIR
from xai_core import attributions

METHODS = [
    name
    for name in attributions.__all__
    if any(base.__name__ == "AbstractCAM" for base in getattr(attributions, name).__mro__)
]
SMALLER = {"FinerCAM": {"n_similar": 1}, "FEM": {"kappa": 1.0}}
"""Fields with which a method explains models of a few classes and channels."""

SPATIAL = [kind for kind in KINDS.values() if kind.rank > 2 and kind.name != "shared"]
MAPS = np.stack([[[1.0, 2], [3, 4]], [[4, 0], [0, 0]]], axis=-1)[None].astype("float32")
ROOT = np.sqrt(65.0)
COMPONENT = np.array([[1 + ROOT - 7, 2], [3, 4]]) * 4 / np.hypot(4, ROOT - 7)
"""T12: (4, sqrt(65) - 7) is the first right singular vector of the two maps, up to its length."""


def explain_two_maps(name, form, layer, **fields):
    """The map of T12 on its 2x2 grid, for a form of the model and a layer given or found."""
    x = MAPS.transpose(0, 3, 1, 2) if form == "torch" else MAPS
    layer = tiny_models.maps_layer(form) if layer == "given" else None
    explainer = getattr(attributions, name)(tiny_models.two_maps(form), layer=layer, **fields)
    explanation = explainer(x)
    np.testing.assert_allclose(explanation.scores, [1.5], rtol=1e-6)
    assert explanation.layer.split("/")[-1] == (PAIR if isinstance(layer, tuple) else "maps")
    return explanation.values.reshape(2, 2)


def check_two_maps(name, form, layer, expected, **fields):
    found = explain_two_maps(name, form, layer, **fields)
    np.testing.assert_allclose(found, expected, rtol=2e-6, atol=1e-6)


def check_oracle(name, kind, expected, tolerance=1e-5, **fields):
    """The map at ``conv2`` of a kind equals ``expected(twin, x, targets)``."""
    layer = "act2" if kind.native else "conv2"
    model = tiny_models.model(kind.name, name)
    explanation = getattr(attributions, name)(model, layer=layer, **fields)(kind.inputs(), TARGETS)
    x = oracles.inputs(kind.twin)
    assert_same(explanation.values, kind.layout(expected(kind.twin, x, TARGETS)), tolerance)
    assert explanation.layer == layer


CONVOLUTIONS = {3: layers.Conv1D, 4: layers.Conv2D, 5: layers.Conv3D}


@functools.cache
def _identity(shape, outputs):
    rank = len(shape) + 1
    maps = CONVOLUTIONS[rank](shape[-1], 1, use_bias=False, name="maps")
    dense = layers.Dense(outputs, use_bias=False, name="out")
    model = keras.Sequential([keras.Input(shape), maps, layers.Flatten(), dense])
    eye = np.eye(shape[-1])
    maps.set_weights([eye.reshape([1] * (rank - 2) + [*eye.shape])])
    return model


def weighted(weights):
    """A network whose layer ``maps`` returns its input x; f_c = sum of ``weights[c]`` times x."""
    weights = np.asarray(weights, "float32")
    model = _identity(weights.shape[1:], len(weights))
    model.get_layer("out").set_weights([weights.reshape(len(weights), -1).T])
    return model


def random_case(seed, shape=(5, 4, 3), classes=1, rows=4):
    """Activations, and the weights of a linear head on them."""
    generator = np.random.default_rng(seed)
    x = generator.normal(0.3, 1.0, (rows, *shape)).astype("float32")
    return x, generator.normal(size=(classes, *shape)).astype("float32")


def explained(kind, *classes, **fields):
    """The maps of several methods at ``conv2``."""
    model = tiny_models.model(kind, classes[0].__name__)
    x = KINDS[kind].inputs()
    return [cls(model, layer="conv2", **fields)(x, TARGETS).values for cls in classes]


def check_class_agnostic(cls, **fields):
    """Targets are accepted and ignored, and a named layer needs no gradient."""
    model, x = tiny_models.model("image", cls.__name__), KINDS["image"].inputs()
    explainer = cls(model, layer="conv2", **fields)
    first, second = explainer(x, 0), explainer(x, 1)
    assert np.array_equal(first.values, second.values)
    assert not first.targets_used
    assert oracles.differ(first.scores, second.scores)

    def flat(model, inputs, targets):
        return keras.ops.stop_gradient(keras.ops.sum(model(inputs), axis=1))

    assert np.array_equal(
        cls(model, layer="conv2", operator=flat, **fields)(x).values, first.values
    )


def check_rows(cls, rows, **fields):
    """Full batches over inputs and channels, ``rows`` model rows of each input in all."""
    model, seen = tiny_models.batch_sizes(tiny_models.network("image"))
    x = KINDS["image"].inputs()
    whole = cls(model, layer="conv2", **fields)(x, TARGETS)
    for size in (1, 7, 64):
        parts = cls(model, layer="conv2", batch_size=size, **fields)(x, TARGETS)
        assert_same(parts.values, whole.values)
    explainer = cls(model, layer="conv2", batch_size=4, **fields)
    assert explainer.rows(x.shape[1:]) == rows
    seen.clear()
    explanation = explainer(x, TARGETS)
    assert explanation.rows.tolist() == [rows] * 5
    assert max(seen, default=0) <= 4
    if tiny_models.BACKEND != "jax":  # where only traces are noted
        # Groups of 4 inputs and 1: each a batch of its own, and full batches of its channels.
        batches = 2 + (rows - 1) + -(-(rows - 1) // 4)
        assert (sum(seen), len(seen)) == (5 * rows, batches)
