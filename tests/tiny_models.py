"""Tiny models: smooth networks with the oracles' weights, and models explained in closed form.

Models that many tests use are made once (`model`), so that they are compiled once.
"""

import functools
import importlib.util
from collections import OrderedDict
from dataclasses import dataclass

import keras
import numpy as np
from keras import layers, ops

import oracles

BACKEND = keras.backend.backend()
TORCH = ("torch",) if importlib.util.find_spec("torch") else ()
NAMED = ("flat", "nested", "subclassed", *(TORCH if BACKEND == "torch" else ()))
"""The forms of a model whose layers have names."""
FORMS = (*NAMED, *(("function", *TORCH) if BACKEND != "torch" else ()))
"""All forms; beside another framework, where torch is there too, a module goes over a bridge."""
PAIR = "(features, head)"
AT_MAPS = [*((form, "given") for form in (*FORMS, "pair")), *((form, "found") for form in NAMED)]
"""The forms of `two_maps`, and whether its layer is given or found."""


@dataclass(frozen=True)
class Kind:
    """One kind of model: which twin holds its numbers, and how its tensors are laid out."""

    name: str
    twin: str
    channels_first: bool = False
    native: bool = False

    @property
    def rank(self):
        return len(oracles.SHAPES[self.twin]) + 1

    def layout(self, values):
        """Channels-last values in the layout of this kind."""
        return np.moveaxis(values, -1, 1) if self.channels_first else values

    def inputs(self, rows=5, seed=0):
        return np.ascontiguousarray(self.layout(oracles.inputs(self.twin, rows, seed)))


KINDS = {
    kind.name: kind
    for kind in (
        Kind("table", "table"),
        Kind("series", "series"),
        Kind("image", "image"),
        Kind("gray", "gray"),
        Kind("channels_first", "image", channels_first=True),
        Kind("series_first", "series", channels_first=True),
        Kind("volume", "volume"),
        Kind("shared", "image"),
    )
}
if BACKEND == "torch":
    KINDS["torch_table"] = Kind("torch_table", "table", native=True)
    for twin in ("image", "volume"):
        KINDS[f"torch_{twin}"] = Kind(f"torch_{twin}", twin, channels_first=True, native=True)


@functools.cache
def model(name, owner="", rectified=False):
    """The shared model of a kind; tests that change a model take a `fresh` one.

    Each owner has a copy: the package keeps 32 compiled steps per model, and all the steps that
    these tests ask for would drive each other out.
    """
    del owner
    return fresh(name, rectified)


def fresh(name, rectified=False):
    """A model of a kind; a ``rectified`` one has no other activations than ReLU."""
    kind = KINDS[name]
    acts = {"trunk": "relu", "inner": "relu"} if rectified else {}
    if name == "shared":
        return shared_layer(acts.get("inner", "tanh"))
    if kind.native:
        return torch_twin(kind.twin, rectified)
    return network(kind.twin, kind.channels_first, **acts)


# --- smooth networks ----------------------------------------------------------------------------


def network(twin, channels_first=False, extra=(), activation=None, trunk="softplus", inner="tanh"):
    """The Keras twin of `oracles.logits`; ``extra`` layers come first.

    Where the width of an activation equals its number of filters, Keras adds a channels-first bias
    along the width on TensorFlow; these shapes avoid that.
    """
    shape = oracles.SHAPES[twin]
    if twin == "table":
        stack = [layers.Dense(5, activation=inner, name="hidden")]
    else:
        kwargs = {"data_format": "channels_first" if channels_first else "channels_last"}
        conv, pool, mean = {
            2: (layers.Conv1D, layers.AveragePooling1D, layers.GlobalAveragePooling1D),
            3: (layers.Conv2D, layers.AveragePooling2D, layers.GlobalAveragePooling2D),
            4: (layers.Conv3D, layers.AveragePooling3D, layers.GlobalAveragePooling3D),
        }[len(shape)]
        stack = [
            conv(4, 3, padding="same", activation=trunk, name="conv1", **kwargs),
            pool(2, name="pool", **kwargs),
            conv(6, 3, padding="same", activation=inner, name="conv2", **kwargs),
            mean(name="gap", **kwargs),
        ]
    if channels_first:
        shape = (shape[-1], *shape[:-1])
    last = layers.Dense(oracles.CLASSES, activation=activation, name="logits")
    made = keras.Sequential([keras.Input(shape), *extra, *stack, last])
    load(made, twin)
    return made


def load(made, twin):
    """Put the oracle's weights into the layers that bear their names."""
    for name, pair in oracles.weights(twin).items():
        made.get_layer(name).set_weights(list(pair))


def constant(twin, inner="tanh"):
    """A network whose hidden activations are 0 whatever comes in."""
    made = network(twin, trunk="linear", inner=inner)
    for name, (kernel, bias) in oracles.weights(twin).items():
        if name != "logits":
            made.get_layer(name).set_weights([0 * kernel, 0 * bias])
    return made


def torch_twin(twin, rectified=False):
    """The native torch module with the same numbers; images and volumes are channels first."""
    import torch
    from torch import nn

    shape = oracles.SHAPES[twin]
    softplus, tanh = (nn.ReLU, nn.ReLU) if rectified else (nn.Softplus, nn.Tanh)
    if twin == "table":
        parts = [("hidden", nn.Linear(shape[0], 5)), ("act", tanh())]
    else:
        conv, pool, mean = {
            3: (nn.Conv2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d),
            4: (nn.Conv3d, nn.AvgPool3d, nn.AdaptiveAvgPool3d),
        }[len(shape)]
        parts = [
            ("conv1", conv(shape[-1], 4, 3, padding=1)),
            ("act1", softplus()),
            ("pool", pool(2)),
            ("conv2", conv(4, 6, 3, padding=1)),
            ("act2", tanh()),
            ("gap", mean(1)),
            ("flat", nn.Flatten()),
        ]
    last = nn.Linear(*oracles.weights(twin)["logits"][0].shape)
    made = nn.Sequential(OrderedDict([*parts, ("logits", last)]))
    with torch.no_grad():
        for name, (kernel, bias) in oracles.weights(twin).items():
            rank = kernel.ndim
            part = made.get_submodule(name)
            order = (rank - 1, rank - 2, *range(rank - 2))
            part.weight.copy_(torch.tensor(kernel.transpose(order).copy()))
            part.bias.copy_(torch.tensor(bias))
    return made.eval()


# --- closed forms (methods.md T01 to T04, T12) --------------------------------------------------


class Formula(keras.Model):
    """A subclassed model that calls a function and owns the layers used by it."""

    def __init__(self, function, parts):
        super().__init__()
        self.function = function
        self.parts = list(parts)

    def call(self, x):
        return self.function(x)


def closed_form(form, shape, function, parts=()):
    """A function of Keras operations as a flat, nested or subclassed model."""
    if form == "subclassed":
        made = Formula(function, parts)
        made(np.zeros((1, *shape), "float32"))
        return made
    inside = keras.Input(shape)
    made = keras.Model(inside, function(inside))
    return keras.Sequential([keras.Input(shape), made]) if form == "nested" else made


def as_function(model):
    """A Keras model as a function of the backend's tensors, on JAX also of its parameters."""
    from xai_core import wrappers

    if BACKEND == "tensorflow":
        return wrappers.TensorFlowFunction(lambda x: model(x, training=False))
    values = [variable.value for variable in model.variables]
    if not values:
        return wrappers.JaxFunction(lambda x: model(x, training=False))
    return wrappers.JaxFunction(with_parameters(model, model), values)


def with_parameters(model, part):
    """``f(params, x)``: a part of a Keras model with the values of the model's variables."""

    def call(params, x):
        with keras.StatelessScope(state_mapping=list(zip(model.variables, params, strict=True))):
            return part(x, training=False)

    return call


def in_forms(make):
    """``make(form)``, made once; as a function what the flat Keras model is."""

    @functools.cache
    @functools.wraps(make)
    def made(form):
        if form == "function":
            return as_function(made("flat"))
        return made("flat") if form == "pair" else make(form)

    return made


def torch_closed_form(function, **parts):
    """The same as a torch module: ``function(module, x)`` with ``parts`` as submodules."""
    from torch import nn

    class Module(nn.Module):
        def __init__(self):
            super().__init__()
            for name, part in parts.items():
                self.add_module(name, part)

        def forward(self, x):
            return function(self, x)

    return Module().eval()


def torch_part(part, *arrays):
    """A torch layer with the given weight (and bias)."""
    import torch

    with torch.no_grad():
        for parameter, values in zip(part.parameters(), arrays, strict=True):
            parameter.copy_(torch.tensor(np.asarray(values, "float32")).reshape(parameter.shape))
    return part


@in_forms
def linear(form):
    """T01: f = (2, -3, .5) · x + .7."""
    weight, bias = np.array([2.0, -3.0, 0.5]), np.array([0.7])
    if form == "torch":
        from torch import nn

        part = torch_part(nn.Linear(3, 1), weight, bias)
        return torch_closed_form(lambda m, x: m.out(x), out=part)
    dense = layers.Dense(1, name="out")
    made = closed_form(form, (3,), dense, [dense])
    dense.set_weights([weight[:, None], bias])
    return made


@in_forms
def quadratic(form):
    """T02: f = x_1² + 2 x_2² + .5 x_3²."""
    weight = np.array([1.0, 2.0, 0.5])
    if form == "torch":
        from torch import nn

        part = torch_part(nn.Linear(3, 1, bias=False), weight)
        return torch_closed_form(lambda m, x: m.out(x * x), out=part)
    dense = layers.Dense(1, use_bias=False, name="out")
    made = closed_form(form, (3,), lambda x: dense(ops.square(x)), [dense])
    dense.set_weights([weight[:, None]])
    return made


@functools.cache
def squares():
    """f = x_1² + ... + x_100²: a hundred independent draws in one call."""
    return closed_form("flat", (100,), lambda x: ops.sum(ops.square(x), axis=1, keepdims=True))


@in_forms
def cubic(form):
    """T03: f = x³."""
    if form == "torch":
        return torch_closed_form(lambda m, x: x * x * x)
    return closed_form(form, (1,), lambda x: x * x * x)


@in_forms
def product(form):
    """T04: f = x_1 x_2 x_3."""
    if form == "torch":
        return torch_closed_form(lambda m, x: x[:, 0:1] * x[:, 1:2] * x[:, 2:3])
    return closed_form(form, (3,), lambda x: x[:, 0:1] * x[:, 1:2] * x[:, 2:3])


@in_forms
def two_maps(form):
    """T12: the layer ``maps`` returns the two channels of the input; f = GAP · (1, -1)."""
    weight = np.array([1.0, -1.0])
    if form == "torch":
        from torch import nn

        maps = torch_part(nn.Conv2d(2, 2, 1, bias=False), np.eye(2))
        out = torch_part(nn.Linear(2, 1, bias=False), weight)
        return torch_closed_form(lambda m, x: m.out(m.maps(x).mean((2, 3))), maps=maps, out=out)
    maps = layers.Conv2D(2, 1, use_bias=False, name="maps")
    pool = layers.GlobalAveragePooling2D(name="gap")
    dense = layers.Dense(1, use_bias=False, name="out")
    made = closed_form(form, (2, 2, 2), lambda x: dense(pool(maps(x))), [maps, pool, dense])
    maps.set_weights([np.eye(2)[None, None]])
    dense.set_weights([weight[:, None]])
    return made


@functools.cache
def maps_layer(form):
    """The layer ``maps`` of `two_maps`: its name, or a pair where layers have no names."""
    if form in NAMED:
        return "maps"
    if form == "torch":
        module = two_maps(form)
        return module.maps, torch_closed_form(lambda m, x: m.out(x.mean((2, 3))), out=module.out)
    flat = two_maps("flat")
    halves = cut(flat, "maps")
    if form == "pair":
        return halves
    if BACKEND == "tensorflow":
        return tuple((lambda x, part=part: part(x, training=False)) for part in halves)
    return tuple(with_parameters(flat, part) for part in halves)


def cut(model, name):
    """The pair (features, head) of a functional or Sequential model, cut behind a layer."""
    middle = model.get_layer(name).output
    return keras.Model(model.inputs, middle), keras.Model(middle, model.outputs)


# --- models of special structure ----------------------------------------------------------------


def nested_image(name="trunk"):
    """The image network with its convolutions in a model of their own, inside a Sequential."""
    flat = network("image")
    inside = keras.Input(oracles.SHAPES["image"])
    trunk = keras.Model(
        inside,
        flat.get_layer("conv2")(flat.get_layer("pool")(flat.get_layer("conv1")(inside))),
        name=name,
    )
    return keras.Sequential(
        [
            keras.Input(oracles.SHAPES["image"]),
            trunk,
            flat.get_layer("gap"),
            flat.get_layer("logits"),
        ]
    )


def copied(flat, form):
    """A Sequential model's own layers as a nested or a subclassed model."""

    def run(x):
        return functools.reduce(lambda h, layer: layer(h), flat.layers, x)

    return closed_form(form, flat.input_shape[1:], run, flat.layers)


def shared_layer(activation="tanh"):
    """The layer ``shared`` is called twice, on 7x10 and then on 3x5 positions."""
    inside = keras.Input(oracles.SHAPES["image"])
    shared = layers.Conv2D(2, 3, padding="same", activation=activation, name="shared")
    once = shared(inside)
    twice = shared(layers.AveragePooling2D(2)(once))
    made = keras.Model(inside, layers.Dense(3)(layers.GlobalAveragePooling2D()(twice)))
    randomize(made)
    return made


def residual():
    """Two branches met by the merge ``sum``, then an ``auxiliary`` head beside the main one."""
    inside = keras.Input(oracles.SHAPES["image"])
    left = layers.Conv2D(4, 3, padding="same", activation="softplus", name="left")(inside)
    right = layers.Conv2D(4, 3, padding="same", activation="tanh", name="right")(left)
    merged = layers.Add(name="sum")([left, right])
    main = layers.Dense(3, name="main")(layers.GlobalAveragePooling2D()(merged))
    branch = layers.Conv2D(4, 3, activation="tanh", name="auxiliary")(merged)
    other = layers.Dense(2, name="other")(layers.GlobalAveragePooling2D()(branch))
    made = keras.Model(inside, [main, other])
    randomize(made)
    return made


def several_inputs(structure="dict"):
    """Two float inputs of different ranks and an integer one (an embedding)."""
    table, series = keras.Input((4,), name="table"), keras.Input((5, 2), name="series")
    word = keras.Input((2,), dtype="int32", name="word")
    parts = [table, layers.Flatten()(series), layers.Flatten()(layers.Embedding(6, 3)(word))]
    hidden = layers.Dense(5, activation="tanh")(layers.Concatenate()(parts))
    given = {"table": table, "series": series, "word": word}
    given = given if structure == "dict" else tuple(given.values())
    made = keras.Model(given, layers.Dense(3)(hidden))
    randomize(made)
    return made


def several_input_rows(rows=5, structure="dict"):
    generator = np.random.default_rng(11)
    given = {
        "table": generator.normal(size=(rows, 4)).astype("float32"),
        "series": generator.normal(size=(rows, 5, 2)).astype("float32"),
        "word": generator.integers(0, 6, (rows, 2)).astype("int32"),
    }
    return given if structure == "dict" else tuple(given.values())


def one_column(activation=None):
    """A table classifier with one output column."""
    made = keras.Sequential(
        [
            keras.Input((4,)),
            layers.Dense(5, activation="tanh"),
            layers.Dense(1, activation=activation),
        ]
    )
    randomize(made)
    return made


def benchmark_network():
    """The small network of the speed measurements, without its 32 to 64 filters."""

    def conv(name):
        return layers.Conv2D(8, 3, padding="same", activation="relu", name=name)

    return keras.Sequential(
        [
            keras.Input((32, 32, 3)),
            conv("a"),
            conv("b"),
            layers.MaxPooling2D(),
            conv("c"),
            conv("last"),
            layers.MaxPooling2D(),
            layers.GlobalAveragePooling2D(),
            layers.Dense(10),
        ]
    )


def randomize(made, seed=3):
    """Give a model weights that are the same numbers on every backend."""
    generator = np.random.default_rng(seed)

    def values(shape):
        scale = 1.5 / np.sqrt(np.prod(shape[:-1])) if len(shape) > 1 else 0.3
        return generator.normal(0.0, scale, shape).astype("float32")

    made.set_weights([values(weight.shape) for weight in made.weights])


def batch_sizes(inner):
    """``inner`` behind a layer that notes how many rows it sees, and the list of these numbers."""
    seen = []

    class Rows(layers.Layer):
        def call(self, x):
            if BACKEND == "tensorflow":
                import tensorflow as tf

                # Shapes are not known in a trace there, so the note is an operation of the graph.
                note = tf.py_function(lambda n: seen.append(int(n)), [tf.shape(x)[0]], [])
                with tf.control_dependencies([note]):
                    return tf.identity(x)
            if isinstance(x.shape[0], int):
                seen.append(int(x.shape[0]))
            return x

    made = keras.Sequential([keras.Input(inner.input_shape[1:]), Rows(), *inner.layers])
    made(np.zeros((1, *inner.input_shape[1:]), "float32"))
    seen.clear()
    return made, seen
