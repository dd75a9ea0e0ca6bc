"""Reach inside a Keras model without changing it: find a layer, tap its output, read its facts."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import keras
from keras.src import backend
from keras.src.backend.common import remat

from xai_core import _checks
from xai_core.typing import Tensor

Hook = Callable[[Tensor], Tensor]

_LOCK = threading.RLock()


class Place(NamedTuple):
    """One layer or operation, by the path of names that leads to it from the user's model."""

    path: str
    layer: Any


def children(layer: Any) -> list[Any]:
    """The layers and, in a functional model, the operations directly inside ``layer``."""
    # A functional model also holds raw operations, which are no layers, all in call order.
    inside = list(getattr(layer, "operations", ())) if isinstance(layer, keras.Model) else []
    known = {id(operation) for operation in inside}
    return inside + [part for part in getattr(layer, "_layers", ()) if id(part) not in known]


def places(model: keras.Model) -> list[Place]:
    """Every layer and operation below ``model``, each once, outer ones before inner ones."""
    found: list[Place] = []
    seen = {id(model)}

    def walk(layer: Any, prefix: str) -> None:
        for child in children(layer):
            if id(child) not in seen:
                seen.add(id(child))
                found.append(Place(prefix + child.name, child))
                walk(child, f"{prefix}{child.name}/")

    walk(model, "")
    return found


def find(model: keras.Model, layer: Any) -> Place:
    """The place that a name, a path, an index into ``model.layers`` or a layer object means."""
    every = places(model)
    if isinstance(layer, int) and not isinstance(layer, bool):
        return _by_index(model, layer, every)
    if not isinstance(layer, str):
        return _by_object(layer, every)
    exact = [place for place in every if place.path == layer]
    named = exact or _by_path(model, layer, every)
    named = named or [place for place in every if place.layer.name == layer]
    if len(named) == 1:
        return named[0]
    if named:
        paths = ", ".join(repr(place.path) for place in named)
        raise ValueError(
            f"`layer` must name one layer. Received: {layer!r}, which is ambiguous. "
            f"Use a path: {paths}."
        )
    names = [place.path for place in every] + [place.layer.name for place in every]
    raise ValueError(
        f"`layer` must be a layer of the model. Received: {layer!r}."
        f"{_checks.near(layer, dict.fromkeys(names)) or _listed(every)}"
    )


def _by_index(model: keras.Model, index: int, every: list[Place]) -> Place:
    layers = model.layers
    if not -len(layers) <= index < len(layers):
        raise ValueError(
            f"`layer` must be an index into the model's {len(layers)} layers. Received: {index}."
        )
    return _by_object(layers[index], every)


def _by_object(layer: Any, every: list[Place]) -> Place:
    for place in every:
        if place.layer is layer:
            return place
    raise ValueError(
        "`layer` must be a name, a path, an index or a layer of this very model. "
        f"Received: {layer!r}."
    )


def _by_path(model: keras.Model, path: str, every: list[Place]) -> list[Place]:
    """The place at another of the paths that lead to a layer inside several models."""
    layer: Any = model
    for name in path.split("/"):
        layer = next((child for child in children(layer) if child.name == name), None)
    return [] if layer is None else [_by_object(layer, every)]


def _listed(every: list[Place]) -> str:
    paths = [place.path for place in every]
    return f" The model has {', '.join(map(repr, paths[-8:]))}." if paths else ""


@contextlib.contextmanager
def tap(place: Place, hook: Hook, call: int | None = None) -> Iterator[None]:
    """Within the block, the output of ``place`` at its ``call``-th call is ``hook(output)``.

    The model itself stays as it is: the layer's ``call`` is shadowed in the instance only, other
    threads pass through, and everything is undone at the end, also after an exception.
    """
    count = 0

    def counted(output: Any, index: int) -> Any:
        nonlocal count
        count = index + 1
        if index != (call or 0):
            return output
        return on_first_tensor(output, hook)

    with shadow({id(place.layer): place.layer}, lambda _, output, index: counted(output, index)):
        yield
    check_calls(place.path, count, call)


def check_calls(path: str, count: int, call: int | None) -> None:
    """Raise unless a layer called ``count`` times has the one call that is meant."""
    if count == 0:
        raise ValueError(
            f"`layer` must be called by the model. Received: {path!r}, whose output never "
            "passed by (quantized layers, cells of recurrent layers, unused layers and those "
            "behind a compiled call, such as `tf.function`, cannot be tapped). Name another layer."
        )
    if call is None and count > 1:
        raise ValueError(
            f"`call` must say which call of {path!r} is meant, for the model calls it {count} "
            f"times. Received: None. Pass a number from 0 to {count - 1}."
        )
    if call is not None and call >= count:
        raise ValueError(
            f"`call` must be less than {count}, the number of calls of {path!r}. Received: {call}."
        )


def on_first_tensor(output: Any, hook: Hook) -> Any:
    """``output`` with its first tensor replaced by ``hook`` of it; blocks may return tuples."""
    if isinstance(output, tuple | list):
        # Named tuples take their fields one by one.
        make = getattr(output, "_make", type(output))
        return make((hook(output[0]), *output[1:]))
    return hook(output)


def first_tensor(output: Any) -> Any:
    """The first tensor of what a layer returns."""
    return output[0] if isinstance(output, tuple | list) else output


def floats_of(arguments: Any) -> tuple[list[Tensor], Callable[[Sequence[Tensor]], Any]]:
    """The float tensors of a structure, and what puts others in their places."""
    flat = keras.tree.flatten(arguments)
    at = [k for k, leaf in enumerate(flat) if keras.ops.is_tensor(leaf) and _is_float(leaf)]

    def rebuilt(changed: Sequence[Tensor]) -> Any:
        placed = dict(zip(at, changed, strict=True))
        leaves = [placed.get(k, leaf) for k, leaf in enumerate(flat)]
        return keras.tree.pack_sequence_as(arguments, leaves)

    return [flat[k] for k in at], rebuilt


def _is_float(tensor: Any) -> bool:
    return backend.is_float_dtype(backend.standardize_dtype(tensor.dtype))


@contextlib.contextmanager
def shadow(
    layers: dict[int, Any],
    hook: Callable[[Any, Any, int], Any] = lambda layer, output, index: output,
    given: Callable[[Any], Any] = lambda arguments: arguments,
    before: Callable[[Any], None] = lambda layer: None,
) -> Iterator[None]:
    """Within the block, each layer's output becomes ``hook(layer, output, index of the call)``.

    Its arguments ``(args, kwargs)`` become ``given(arguments)``, after ``before(layer)``.
    """
    owner = threading.get_ident()
    shadowed: list[tuple[Any, Any]] = []

    def shadowing(layer: Any, original: Callable[..., Any]) -> Callable[..., Any]:
        index = -1

        def call(*args: Any, **kwargs: Any) -> Any:
            nonlocal index
            if threading.get_ident() != owner:
                return original(*args, **kwargs)
            before(layer)
            args, kwargs = given((args, kwargs))
            output = original(*args, **kwargs)
            index += 1
            return hook(layer, output, index)

        vars(call)["is_tap"] = True  # so that fingerprints of other threads leave it out
        return call

    with _LOCK:
        try:
            for layer in layers.values():
                shadowed.append((layer, layer.__dict__.get("call")))
                # Past `Layer.__setattr__`, which would track the function as part of the model.
                layer.__dict__["call"] = shadowing(layer, _call_of(layer))
            yield
        finally:
            for layer, own in reversed(shadowed):
                if own is None:
                    layer.__dict__.pop("call", None)
                else:
                    layer.__dict__["call"] = own


@contextlib.contextmanager
def with_activation(layer: Any, activation: Callable[..., Any]) -> Iterator[None]:
    """Within the block, what a layer holds as ``activation`` is another function."""
    if not callable(getattr(layer, "activation", None)):
        yield
        return
    own = layer.__dict__["activation"]
    try:
        # Past `Layer.__setattr__`, as in `shadow`.
        layer.__dict__["activation"] = activation
        yield
    finally:
        layer.__dict__["activation"] = own


@contextlib.contextmanager
def without_remat() -> Iterator[None]:
    """Within the block, layers of a `keras.RematScope` compute once, where they can be seen.

    Their values are the same; only this thread pays with memory.
    """
    owner, original = threading.get_ident(), remat.remat

    def kept(function: Callable[..., Any]) -> Callable[..., Any]:
        return function if threading.get_ident() == owner else original(function)

    with _LOCK:
        remat.remat = kept
        try:
            yield
        finally:
            remat.remat = original


def _call_of(layer: Any) -> Callable[..., Any]:
    """What a layer computes; that of its class is looked up when it is called.

    Only so does `operations.handled` reach it in a block inside this one.
    """
    own = layer.__dict__.get("call")
    return own or (lambda *args, **kwargs: type(layer).call(layer, *args, **kwargs))


class FinalCall(NamedTuple):
    """A call of softmax or sigmoid: which of the two, and what went in and came out."""

    kind: str
    before: Tensor
    after: Tensor


_LISTS: list[list[FinalCall]] = []
"""Those of the blocks of `final_calls` that run now, of the thread that has the lock."""


def listed() -> list[int]:
    """How many calls each block of `final_calls` has seen so far."""
    return [len(calls) for calls in _LISTS]


@contextlib.contextmanager
def again(counts: list[int]) -> Iterator[None]:
    """Within the block, calls are the same ones as after so many, made once more."""
    later = [calls[count:] for calls, count in zip(_LISTS, counts, strict=True)]
    try:
        for calls, count in zip(_LISTS, counts, strict=True):
            del calls[count:]
        yield
    finally:
        for calls, count, kept in zip(_LISTS, counts, later, strict=True):
            calls[count:] = kept


@contextlib.contextmanager
def final_calls(
    bypass: int | None = None, change: Hook = lambda result: result
) -> Iterator[list[FinalCall]]:
    """Within the block, list this thread's calls of softmax and sigmoid in order.

    Every way to write them in Keras ends in the same two functions of the backend. The call of
    index ``bypass`` returns what went in, the others ``change(result)``.
    """
    owner = threading.get_ident()
    calls: list[FinalCall] = []

    def listing(kind: str, original: Callable[..., Any]) -> Callable[..., Any]:
        def call(x: Any, *args: Any, **kwargs: Any) -> Any:
            if threading.get_ident() != owner:
                return original(x, *args, **kwargs)
            index = len(calls)
            calls.append(FinalCall(kind, x, x))
            if index != bypass:
                calls[index] = FinalCall(kind, x, change(original(x, *args, **kwargs)))
            return calls[index].after

        return call

    functions = backend.nn
    with _LOCK:
        originals = {kind: getattr(functions, kind) for kind in ("softmax", "sigmoid")}
        _LISTS.append(calls)
        try:
            for kind, original in originals.items():
                setattr(functions, kind, listing(kind, original))
            yield calls
            if bypass is not None and bypass >= len(calls):
                raise ValueError(
                    '`output="logits"` needs the call of softmax or sigmoid that ends the model. '
                    f"Received: a model that made {len(calls)} such calls instead of "
                    f"{bypass + 1} when it ran. Give a model that ends in logits."
                )
        finally:
            _LISTS.pop()
            for kind, original in originals.items():
                setattr(functions, kind, original)
