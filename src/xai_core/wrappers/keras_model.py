"""Keras models: functional, Sequential, subclassed, nested, on the backend that Keras runs on."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import keras

from xai_core import _arrays, layers, operations
from xai_core._inputs import are_tokens
from xai_core.operations import Operation
from xai_core.typing import Tensor
from xai_core.wrappers import identity, keras_layouts, leaf_calls
from xai_core.wrappers.base import AbstractModel, Output

_BOOKKEEPING = frozenset(
    (
        *("_called", "_lock", "_jax_state_synced", "_initial_epoch", "_trainable", "compiled"),
        *("built", "train_function", "test_function", "predict_function", "steps_per_execution"),
    )
)
_SKIPPED = (
    keras.layers.Dropout,
    keras.layers.SpatialDropout1D,
    keras.layers.SpatialDropout2D,
    keras.layers.SpatialDropout3D,
    keras.layers.Identity,
    keras.layers.InputLayer,
    keras.layers.Flatten,
    keras.layers.Reshape,
    keras.layers.Permute,
    keras.layers.RepeatVector,
)
_ATTENTION = (keras.layers.MultiHeadAttention, keras.layers.GroupQueryAttention)
"""Layers inside of which the axes are no longer those of an image."""
_HOMES = ("tensorflow", "jax", "torch", "flax", "equinox")
_HOLDERS = ("TorchModuleWrapper", "JaxLayer", "FlaxLayer", "NNXLayer", "TFSMLayer")
"""Layers of Keras that hold a model of a framework."""
_SKIPPED_HOMES = ("keras.src.layers.pooling", "keras.src.layers.reshaping.zero_padding")
_SKIPPED_OPERATIONS = frozenset(
    (
        *("MaxPool", "AveragePool", "AdaptiveMaxPool", "AdaptiveAveragePool", "Pad", "Reshape"),
        *("Transpose", "Identity", "Squeeze", "ExpandDims"),
    )
)


@dataclass(frozen=True, eq=False)
class KerasModel(AbstractModel):
    """A `keras.Model`; its layers are named as `xai_core.layers.find` says."""

    title: ClassVar[str] = "a built keras.Model"
    shows_final_calls: ClassVar[bool] = True
    shows_activations: ClassVar[bool] = True
    shows_products: ClassVar[bool] = True
    shape_errors: ClassVar[tuple[type[Exception], ...]] = (ValueError, TypeError)

    @classmethod
    def accepts(cls, model: Any) -> bool:
        """Whether this is a Keras model."""
        return isinstance(model, keras.Model)

    @classmethod
    def adapt(cls, model: keras.Model, data_format: str | None, **names: Any) -> KerasModel:
        """Check that the model can be called, and read the layout of its images."""
        if not model.built:
            raise ValueError(
                "`model` must be built, so that its weights exist. Received: an unbuilt "
                f"{type(model).__name__}. Call it once on a batch, or call model.build()."
            )
        return cls(model, data_format=data_format or keras_layouts.data_format(model), **names)

    def call(self, inputs: Any) -> Any:
        """All outputs for a batch, in inference mode."""
        # A scope of each call's own: what the model updates while it runs is dropped.
        pairs = [(variable, variable.value) for variable in self.source.variables]
        with keras.StatelessScope(state_mapping=pairs):
            return self.source(inputs, training=False)

    def state(self) -> list[Tensor]:
        """The values of all variables."""
        return [variable.value for variable in self.source.variables]

    @contextlib.contextmanager
    def with_state(self, state: list[Tensor]) -> Iterator[None]:
        """Compute with these values; updates of variables are dropped at the end."""
        pairs = list(zip(self.source.variables, state, strict=True)) if state else []
        with keras.StatelessScope(state_mapping=pairs):
            yield

    def fingerprint(self) -> identity.Fingerprint:
        """Every plain attribute, dtype policy and variable of every layer."""
        every = [self.source, *(place.layer for place in layers.places(self.source))]
        policies = [layer.dtype_policy for layer in every if hasattr(layer, "dtype_policy")]
        return identity.Fingerprint(every, _BOOKKEEPING, [*self.source.variables, *policies])

    def find_layer(self, layer: Any) -> tuple[str, Any]:
        """The path and the layer that a name, path, index or layer means."""
        place = layers.find(self.source, layer)
        return place.path, place.layer

    def tap_layer(
        self, found: tuple[str, Any], hook: Callable[[Tensor], Tensor], call: int | None
    ) -> contextlib.AbstractContextManager[Any]:
        """Within the block, a layer's output is ``hook(output)``."""
        return layers.tap(layers.Place(*found), hook, call)

    def embeds(self, layer: Any) -> bool:
        """Whether a layer is an embedding."""
        return isinstance(layer, keras.layers.Embedding)

    def check_part(self, part: Any) -> None:
        """Raise if a half has weights that are not the model's, which would not be followed."""
        own = {id(variable) for variable in self.source.variables}
        others = [v for v in getattr(part, "variables", ()) if id(v) not in own]
        if others:
            raise ValueError(
                "`layer` given as (features, head) must hold parts of this very model. Received: "
                f"{type(part).__name__} with {len(others)} weights of its own. Make them from the "
                "model's layers, such as keras.Model(model.inputs, layer.output)."
            )

    def part(self, function: Any, inputs: Any, first: bool = False) -> Any:
        """One half of a pair: layers and models in inference mode."""
        del first
        if isinstance(function, keras.Layer):
            return function(inputs, training=False)
        return function(inputs)

    def layer_outputs(self, run: Callable[[], Any]) -> list[Output]:
        """The outputs of all layers and operations in call order."""
        every = {id(place.layer): place for place in layers.places(self.source)}
        heads = [one.path for one in every.values() if isinstance(one.layer, _ATTENTION)]
        mixed = tuple(f"{path}/" for path in heads)
        seen: list[Output] = []
        called: list[Any] = []
        tensors: list[Any] = []

        def record(layer: Any, output: Any, call: int) -> Any:
            first: Any = output[0] if isinstance(output, list | tuple) and output else output
            shape = tuple(getattr(first, "shape", ()))
            other = "" if hasattr(first, "shape") else type(first).__name__
            # A container returns the very tensor of its last layer, a pass-through its input.
            skipped = _is_skipped(layer) or any(first is tensor for tensor in tensors)
            tensors.append(first)
            called.append(layer)
            path = every[id(layer)].path
            skipped |= path.startswith(mixed)
            seen.append(Output(path, call, shape, skipped, first is not output, "", other))
            return output

        with layers.shadow({key: place.layer for key, place in every.items()}, record):
            run()
        ranks = [len(one.shape) for one in seen]
        layouts = keras_layouts.layouts(called, ranks, self.data_format or self.feature_format)
        pairs = zip(seen, layouts, strict=True)
        return [one._replace(layout=layout) for one, layout in pairs]

    def layout_of(self, layer: Any) -> str:
        """That of the layer itself, else that of the model if all its layers agree."""
        formats = keras_layouts.formats(place.layer for place in layers.places(self.source))
        return keras_layouts.own_format(layer) or (self.feature_format if len(formats) < 2 else "")

    def final_calls(
        self, bypass: int | None = None
    ) -> contextlib.AbstractContextManager[list[Any]]:
        """Within the block, list the calls of softmax and sigmoid."""
        return layers.final_calls(bypass)

    @contextlib.contextmanager
    def behind_weights(self, change: Callable[[Tensor], Tensor]) -> Iterator[None]:
        """Change the results of softmax and sigmoid; let no gradient pass layers with weights."""
        own = [place.layer for place in layers.places(self.source) if _owns_weights(place.layer)]

        def cut(leaf: Any) -> Any:
            return keras.ops.stop_gradient(leaf) if keras.ops.is_tensor(leaf) else leaf

        def given(arguments: Any) -> Any:
            return keras.tree.map_structure(cut, arguments)

        with (
            layers.shadow({id(layer): layer for layer in own}, given=given),
            layers.final_calls(change=change),
        ):
            yield

    def leaf_calls(
        self, visit: Callable[[str, Callable[..., Any], list[Tensor], Tensor], Tensor]
    ) -> contextlib.AbstractContextManager[Any]:
        """Change what layers and operations without layers of their own give."""
        leaves = [one for one in layers.places(self.source) if not layers.children(one.layer)]
        return leaf_calls.visited(leaves, visit)

    @contextlib.contextmanager
    def operations(self, handler: Callable[[Operation], Tensor]) -> Iterator[None]:
        """Change what non-linear operations give, with the path of the layer that runs them."""
        every = {id(place.layer): place for place in layers.places(self.source)}
        inside: list[str] = []

        def entered(layer: Any) -> None:
            inside.append(every[id(layer)].path)

        def left(_layer: Any, output: Any, _call: int) -> Any:
            inside.pop()
            return output

        shadowed = {key: place.layer for key, place in every.items()}
        with (
            layers.without_remat(),
            layers.shadow(shadowed, left, before=entered),
            operations.handled(handler, lambda: inside[-1] if inside else ""),
        ):
            yield

    def unseen_parts(self) -> list[str]:
        """Layers whose activation is a framework's own, or that hold a model of one."""
        every = layers.places(self.source)
        return [f"{one.path} ({told})" for one in every if (told := _framework_in(one.layer))]

    def ends_quantized(self) -> bool:
        """Whether the last layer with weights computes in integers."""
        weighted = [p.layer for p in layers.places(self.source) if getattr(p.layer, "weights", ())]
        return bool(weighted) and getattr(weighted[-1], "quantization_mode", None) is not None

    def arranged(self, inputs: Any) -> Any:
        """A dict in the model's own order; one array for a model that takes a list of one."""
        declared = _declared(self.source)
        if isinstance(declared, dict) and isinstance(inputs, dict):
            if set(declared) == set(inputs):
                return type(declared)((key, inputs[key]) for key in declared)
        elif hasattr(declared, "shape") and isinstance(inputs, tuple | list) and len(inputs) == 1:
            return inputs[0]
        return inputs

    def check(self, inputs: Any) -> None:
        """Raise unless the structure and ranks are those of the model's inputs."""
        declared = _declared(self.source)
        if declared is None:
            return
        _check_structure(declared, inputs)
        wanted = keras.tree.flatten(declared)
        for spec, leaf in zip(wanted, keras.tree.flatten(inputs), strict=True):
            _check_shape(tuple(spec.shape), leaf.shape)

    @property
    def dtype(self) -> str:
        """The float type of the inputs: float32, which Keras casts, or float64."""
        return "float64" if self.source.variable_dtype == "float64" else "float32"

    @property
    def precision(self) -> str:
        """The float type that rounds most of those in which layers compute."""
        every = [self.source, *(place.layer for place in layers.places(self.source))]
        return _arrays.coarsest(str(getattr(one, "compute_dtype", "")) for one in every)

    @property
    def feature_format(self) -> str:
        """The layout of the feature maps, which a Permute may make another than the inputs'."""
        return keras_layouts.feature_format(self.source) or super().feature_format

    @property
    def several_inputs(self) -> bool:
        """Whether the model declares its inputs as a structure, such as a list of one."""
        declared: Any = getattr(self.source, "_inputs_struct", None)
        return isinstance(declared, list | tuple | dict)

    def takes_integers(self, leaves: list[Any]) -> list[bool]:
        """Which inputs the model declares as integers, or which hold them if it declares none."""
        declared = _declared(self.source)
        if declared is None:
            found = super().takes_integers(leaves)
            embeds = any(self.embeds(place.layer) for place in layers.places(self.source))
            return [are_tokens(leaves[0])] if len(leaves) == 1 and embeds else found
        return [
            not keras.backend.is_float_dtype(spec.dtype) for spec in keras.tree.flatten(declared)
        ]


def _framework_in(layer: Any) -> str:
    """What a layer runs past the operations of Keras, empty where nothing is known."""
    if type(layer).__name__ in _HOLDERS:
        return type(layer).__name__
    activation = getattr(layer, "activation", None)
    home = str(getattr(activation, "__module__", "")).partition(".")[0]
    return getattr(activation, "__name__", type(activation).__name__) if home in _HOMES else ""


def _owns_weights(layer: Any) -> bool:
    return bool(getattr(layer, "weights", ())) and not any(
        getattr(child, "weights", ()) for child in layers.children(layer)
    )


def _is_skipped(layer: Any) -> bool:
    if isinstance(layer, keras.Layer):
        return isinstance(layer, _SKIPPED) or type(layer).__module__.startswith(_SKIPPED_HOMES)
    return type(layer).__name__ in _SKIPPED_OPERATIONS


def _declared(model: keras.Model) -> Any:
    """The structure of symbolic inputs of a functional or Sequential model."""
    if isinstance(model, keras.Sequential):
        functional: Any = getattr(model, "_functional", None)
        return functional.inputs[0] if functional else None
    declared: Any = getattr(model, "_inputs_struct", None)
    one = isinstance(declared, list | tuple) and len(declared) == 1
    return declared[0] if one else declared


def _check_structure(declared: Any, inputs: Any) -> None:
    same = type(declared) is type(inputs) or (
        isinstance(declared, list | tuple) and isinstance(inputs, list | tuple)
    )
    if not same and hasattr(declared, "shape"):
        same = hasattr(inputs, "shape")
    count = len(keras.tree.flatten(declared))
    if isinstance(declared, dict) and isinstance(inputs, dict):
        same = set(declared) == set(inputs)
    if not same or count != len(keras.tree.flatten(inputs)):
        raise ValueError(
            f"`inputs` must have the structure of the model's inputs: {_outline(declared)}. "
            f"Received: {_outline(inputs)}."
        )


def _outline(structure: Any) -> str:
    if isinstance(structure, dict):
        return "a dict of " + ", ".join(map(repr, sorted(structure)))
    if isinstance(structure, list | tuple):
        return f"a {type(structure).__name__} of {len(structure)} arrays"
    return "one array"


def _check_shape(wanted: tuple[Any, ...], received: tuple[int, ...]) -> None:
    pairs = zip(wanted[1:], received[1:], strict=False)
    if len(wanted) != len(received) or any(w not in (None, r) for w, r in pairs):
        batch = ("batch", *wanted[1:])
        row = len(received) == len(wanted) - 1 and all(
            w in (None, r) for w, r in zip(wanted[1:], received, strict=True)
        )
        raise ValueError(
            f"`inputs` must have the shape ({', '.join(map(str, batch))}). "
            f"Received: {received}.{' Add the batch axis: inputs[None].' if row else ''}"
        )
