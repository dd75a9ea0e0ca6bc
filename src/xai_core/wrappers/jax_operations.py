"""The activations of a function of JAX, found in its trace and run anew one by one."""

from __future__ import annotations

import functools
import numbers
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.extend import core

from xai_core.operations import RECTIFIER, Handler, Operation, is_zero

_CALLED = {
    **dict.fromkeys(("relu", "relu6", "leaky_relu"), RECTIFIER),
    **{name: name for name in ("sigmoid", "silu", "gelu", "elu", "selu", "celu", "softplus")},
    **{name: name for name in ("log_sigmoid", "squareplus", "hard_sigmoid", "hard_tanh", "mish")},
    "swish": "silu",
    "soft_sign": "softsign",
    "hard_silu": "hard_silu",
    "softmax": "softmax",
    "log_softmax": "log_softmax",
    "sparse_sigmoid": "sparse_sigmoid",
    "glu": "glu",
}
"""Functions that a trace knows by name."""

_PRIMITIVES = {
    "logistic": "sigmoid",
    **{name: name for name in ("tanh", "erf", "exp", "exp2", "expm1", "log", "log1p")},
    **{name: name for name in ("sin", "cos", "tan", "sinh", "cosh", "cbrt")},
    **{f"a{name}": f"arc{name}" for name in ("sin", "cos", "tan", "sinh", "cosh", "tanh")},
    "abs": "absolute",
    "sign": "sign",
}
"""Operations that are activations where no function with a name holds them.

Without roots and powers, of which normalisations are made.
"""
_CHOICES = ("where", "_where")
_NUMBERS = (float, np.floating, np.ndarray)
_OWN = str(Path(jax.__file__).parent)


def handled(handler: Handler, function: Callable[..., Any], *arguments: Any) -> Any:
    """``function(*arguments)``, whose activations give what ``handler`` makes of them."""
    given, outside = jax.tree.flatten(arguments)
    kept: list[Any] = []
    structure: Any = None

    def traced(values: list[Any]) -> list[Any]:
        nonlocal structure
        outputs = function(*jax.tree.unflatten(outside, _merged(given, values)))
        kept[:], structure = jax.tree.flatten(outputs)
        return [leaf for leaf in kept if is_value(leaf)]

    values = [leaf for leaf in given if is_value(leaf)]
    closed = jax.make_jaxpr(traced)(values)
    found = _run(handler, closed.jaxpr, closed.consts, values)
    return jax.tree.unflatten(structure, _merged(kept, found))


def is_value(leaf: Any) -> bool:
    """Whether this may be an argument of a compiled step; types have a dtype, too."""
    if isinstance(leaf, numbers.Number):
        return not isinstance(leaf, bool)
    return hasattr(leaf, "dtype") and not isinstance(leaf, type)


def _merged(leaves: list[Any], values: list[Any]) -> list[Any]:
    """The leaves, with other values in the place of those that are some."""
    left = iter(values)
    return [next(left) if is_value(leaf) else leaf for leaf in leaves]


def _run(handler: Handler, jaxpr: Any, consts: Sequence[Any], arguments: Sequence[Any]) -> Any:
    values = dict(zip(jaxpr.constvars, consts, strict=True))
    values.update(zip(jaxpr.invars, arguments, strict=True))

    def read(variable: Any) -> Any:
        return variable.val if _is_literal(variable) else values[variable]

    for equation in jaxpr.eqns:
        given = [read(variable) for variable in equation.invars]
        bound = functools.partial(_bound, jaxpr, equation)
        softens = equation.primitive.name == "exp" and _is_of_softmax(jaxpr, equation)
        name = "where" if _is_choice(jaxpr, equation) else None
        results = bound(given) if softens else _result(handler, equation, given, bound, name)
        values.update(zip(equation.outvars, results, strict=True))
    return [read(variable) for variable in jaxpr.outvars]


def _is_of_softmax(jaxpr: Any, equation: Any) -> bool:
    """Whether an exponential is a part of softmax: that of a difference from a fixed maximum."""
    made = {variable: one for one in jaxpr.eqns for variable in one.outvars}
    names = []
    for variable in getattr(made.get(equation.invars[0]), "invars", ()):
        source = None if _is_literal(variable) else made.get(variable)
        names.append(source and source.primitive.name)
    return "stop_gradient" in names


def _is_choice(jaxpr: Any, equation: Any) -> bool:
    """Whether this is ``where`` by the size of float arrays, such as a rectifier written out."""
    if equation.primitive.name != "select_n" and equation.params.get("name") not in _CHOICES:
        return False
    asked = equation.invars[0]
    made = {variable: one for one in jaxpr.eqns for variable in one.outvars}
    source = None if _is_literal(asked) else made.get(asked)
    if source is None or source.primitive.name not in ("gt", "ge", "lt", "le"):
        return False
    compared = [one.aval for one in source.invars]
    return any(one.shape and jnp.issubdtype(one.dtype, jnp.floating) for one in compared)


def _is_literal(variable: Any) -> bool:
    return isinstance(variable, core.Literal)


def _result(
    handler: Handler,
    equation: Any,
    given: list[Any],
    bound: Callable[[list[Any]], list[Any]],
    name: str | None,
) -> list[Any]:
    if equation.primitive.name == "convert_element_type" and _is_known(given[0]):
        # A zero that somebody closed over stays one, whatever is compiled around it.
        with jax.ensure_compile_time_eval():
            return bound(given)
    name = name or _name(equation, given)
    if name is not None:
        places = [k for k, value in enumerate(given) if np.ndim(value)]

        def call(*tensors: Any) -> Any:
            placed = dict(zip(places, tensors, strict=True))
            return bound([placed.get(k, value) for k, value in enumerate(given)])[0]

        return [handler(Operation(name, call, tuple(given[k] for k in places), ""))]
    enter = _INSIDE.get(equation.primitive.name)
    if enter is None or not _shows(equation, given):
        return bound(given)
    return enter(handler, equation.params, given)


def _name(equation: Any, given: list[Any]) -> str | None:
    """The activation that an equation is, with one float array in and out; two for pairs."""
    primitive, params = equation.primitive.name, equation.params
    arrays = [value for value in given if np.ndim(value)]
    if len(equation.outvars) != 1 or not all(jnp.issubdtype(x.dtype, jnp.floating) for x in arrays):
        return None
    if primitive in ("max", "min") and len(arrays) == 2:
        return f"{primitive}imum"
    # Softmax takes the larger of a maximum and minus infinity.
    if len(arrays) != 1 or any(map(_is_endless, given)):
        return None
    if primitive in ("max", "min", "clamp"):
        # The lower bound comes first in `clamp`; of `max` either operand may be it.
        lower = {"max": given, "clamp": given[:1]}.get(primitive, [])
        return RECTIFIER if any(map(_is_zero, lower)) else "clip"
    if primitive in ("jit", "pjit"):
        return _called(params, given)
    if primitive == "custom_jvp_call":
        inside = params["call_jaxpr"].jaxpr.eqns
        return _called(inside[0].params, given) if len(inside) == 1 else None
    return _PRIMITIVES.get(primitive)


def _called(params: dict[str, Any], given: list[Any]) -> str | None:
    """The activation of JAX that a function called inside is, whatever others have its name."""
    debug = getattr(getattr(params.get("jaxpr"), "jaxpr", None), "debug_info", None)
    if debug is None or _OWN not in debug.func_src_info:
        return None
    if params["name"] != "clip":
        return _CALLED.get(params["name"])
    # Given by name, bounds come in the order of the alphabet.
    lower = [one for key, one in zip(debug.arg_names, given, strict=False) if key.endswith("min")]
    return RECTIFIER if any(map(_is_zero, lower)) else "clip"


def _is_zero(value: Any) -> bool:
    """Whether an operand is the number 0, be it one that a function closes over."""
    return is_zero(np.asarray(value)) if _is_known(value) else is_zero(value)


def _is_known(value: Any) -> bool:
    known = isinstance(value, jax.Array) and not isinstance(value, Tracer)
    return known and value.ndim == 0


def _is_endless(value: Any) -> bool:
    return isinstance(value, _NUMBERS) and np.ndim(value) == 0 and float(value) == -np.inf


def _shows(equation: Any, given: list[Any]) -> bool:
    """Whether there is a rectifier inside, or, where no derivative is lost, any activation.

    What is entered loses derivatives that somebody defined.
    """
    every = not equation.primitive.name.startswith("custom")
    for inner, consts in _inner(equation.params):
        # The index of a branch stands in front; what is computed inside is not known.
        known = dict(zip(reversed(inner.invars), reversed(given), strict=False))
        known |= dict(zip(inner.constvars, consts, strict=True))
        for one in inner.eqns:
            like = [_like(variable, known) for variable in one.invars]
            name = _name(one, like)
            if name == RECTIFIER or (every and (name or _is_choice(inner, one))):
                return True
            if _shows(one, like):
                return True
    return False


def _like(variable: Any, known: dict[Any, Any]) -> Any:
    """What a variable holds, or an array that is like it but for its numbers."""
    if _is_literal(variable):
        return variable.val
    found = known.get(variable)
    fits = found is not None and np.shape(found) == variable.aval.shape
    return found if fits else jax.ShapeDtypeStruct(variable.aval.shape, variable.aval.dtype)


def _inner(params: dict[str, Any]) -> list[tuple[Any, Any]]:
    """What is inside an equation, with its constants."""
    found = [params.get(key) for key in ("jaxpr", "call_jaxpr", "fun_jaxpr")]
    found += list(params.get("branches", ()))
    whole = [one for one in found if one is not None]
    return [(getattr(one, "jaxpr", one), getattr(one, "consts", ())) for one in whole]


def _call(handler: Handler, params: dict[str, Any], given: list[Any]) -> list[Any]:
    """A function inside: compiled, or with derivatives of its own."""
    inner = next(params[key] for key in ("jaxpr", "call_jaxpr", "fun_jaxpr") if key in params)
    return _run(handler, getattr(inner, "jaxpr", inner), getattr(inner, "consts", ()), given)


def _checkpoint(handler: Handler, params: dict[str, Any], given: list[Any]) -> list[Any]:
    """A function whose values are computed again for gradients."""
    run = functools.partial(_run, handler, params["jaxpr"], ())
    kept = jax.checkpoint(
        lambda *own: run(own), prevent_cse=params["prevent_cse"], policy=params["policy"]
    )
    return kept(*given)


def _scan(handler: Handler, params: dict[str, Any], given: list[Any]) -> list[Any]:
    """A loop over the leading axis."""
    closed, consts, carried = params["jaxpr"], params["num_consts"], params["num_carry"]
    fixed, first = given[:consts], given[consts : consts + carried]

    def body(carry: Any, row: Any) -> Any:
        found = _run(handler, closed.jaxpr, closed.consts, [*fixed, *carry, *row])
        return found[:carried], found[carried:]

    last, stacked = jax.lax.scan(
        body,
        first,
        given[consts + carried :],
        length=params["length"],
        reverse=params["reverse"],
        unroll=params["unroll"],
    )
    return [*last, *stacked]


def _cond(handler: Handler, params: dict[str, Any], given: list[Any]) -> list[Any]:
    """One of several functions."""
    index, *own = given
    every = [
        functools.partial(_branch, handler, branch.jaxpr, branch.consts)
        for branch in params["branches"]
    ]
    return list(jax.lax.switch(index, every, *own))


def _branch(handler: Handler, jaxpr: Any, consts: Any, *given: Any) -> list[Any]:
    return _run(handler, jaxpr, consts, given)


_INSIDE: dict[str, Callable[..., list[Any]]] = {
    **dict.fromkeys(("jit", "pjit", "closed_call", "core_call"), _call),
    **dict.fromkeys(("custom_jvp_call", "custom_vjp_call", "custom_vjp_call_jaxpr"), _call),
    **dict.fromkeys(("checkpoint", "remat", "remat2"), _checkpoint),
    "scan": _scan,
    "cond": _cond,
}


def _bound(jaxpr: Any, equation: Any, given: list[Any]) -> list[Any]:
    """One equation of a trace as it is, as a trace of its own."""
    own = {v: x for v, x in zip(equation.invars, given, strict=True) if not _is_literal(v)}
    alone = jaxpr.replace(
        constvars=[],
        invars=list(own),
        outvars=equation.outvars,
        eqns=[equation],
        effects=equation.effects,
    )
    return core.jaxpr_as_fun(core.ClosedJaxpr(alone, ()))(*own.values())
