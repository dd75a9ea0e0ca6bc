"""The options of a method, made from the fields of its class."""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import inspect
import re
from collections.abc import Callable, Sequence
from typing import Any

from xai_core import _checks, attributions

RENAMED = {"output": "model-output"}
"""Fields whose option has another name, since `explain` has an option of that name."""

_USUAL = "Saliency"
_PARAMETERS = re.compile(r"^Parameters\n-+\n(.*?)(?=^\S[^\n]*\n-{3,}$|\Z)", re.M | re.S)
_PARAMETER = re.compile(r"^(\S[^\n]*)\n((?: +\S[^\n]*\n?|\n)*)", re.M)
_TAKEN = "as for every explainer"


def method_named(name: str) -> Any:
    """Return the class of a method; its name may be in any case."""
    known = {one.lower(): one for one in attributions.__all__}
    if name.lower() not in known:
        listed = ", ".join(attributions.__all__)
        near = [known[one] for one in difflib.get_close_matches(name.lower(), known)]
        advice = f" Did you mean {' or '.join(near)}?" if near else ""
        raise ValueError(f"`--method` must be one of {listed}. Received: {name!r}.{advice}")
    return getattr(attributions, known[name.lower()])


def explainer(method: Any, model: Any, fields: dict[str, Any], inner: str | None) -> Any:
    """Return the method for a model, around another one if it wraps explainers.

    ``inner`` names the other one; where a method needs one and none is named, it is Saliency.
    The fields that all methods have then belong to the inner one.
    """
    if inner is not None and not method.wraps:
        raise ValueError(
            f"`--explainer` must be left out for {method.__name__}, which wraps no explainer. "
            f"Received: {inner!r}."
        )
    if inner is None and not method.needs_explainer:
        return method(model, **fields)
    shared = {name: fields[name] for name in _shared(method) & fields.keys()}
    own = {name: value for name, value in fields.items() if name not in shared}
    return method(method_named(inner or _USUAL)(model, **shared), **own)


def option_fields(method: Any) -> dict[str, dataclasses.Field]:
    """Return the fields that are options, by the option's name; those that all have come last."""
    shared = _shared(method)
    fields = [one for one in dataclasses.fields(method) if one.init and one.name != "model"]
    fields.sort(key=lambda one: one.name in shared)
    return {f"--{RENAMED.get(one.name, one.name).replace('_', '-')}": one for one in fields}


def is_flag(one: dataclasses.Field) -> bool:
    """Tell whether the option is switched, with a ``--no-`` form, instead of given a value."""
    return "bool" in _kinds(one)


def parse(method: Any, arguments: Sequence[str]) -> dict[str, Any]:
    """Return the fields that are given as options; others than the method's are refused."""
    known = option_fields(method)
    parser = _Parser(allow_abbrev=False, add_help=False, argument_default=argparse.SUPPRESS)
    for option, one in known.items():
        if is_flag(one):
            parser.add_argument(option, dest=one.name, action=argparse.BooleanOptionalAction)
        else:
            parser.add_argument(option, dest=one.name, type=_reader(one))
    found, unknown = parser.parse_known_args(arguments)
    if unknown:
        raise ValueError(_refusal(method, unknown[0].partition("=")[0], known))
    return vars(found)


def shown_default(one: dataclasses.Field) -> str:
    """Return the default of a field as it would be typed."""
    if one.default is dataclasses.MISSING:
        return "needed" if one.default_factory is dataclasses.MISSING else "see its class"
    if isinstance(one.default, bool):
        return "yes" if one.default else "no"
    return "none" if one.default is None else str(one.default)


def description(method: Any, name: str) -> str:
    """Return what the docstring of the class, or of a base, says of a field."""
    for cls in method.__mro__:
        text = _entry(inspect.cleandoc(cls.__doc__ or ""), name)
        if text and not text.lower().startswith(_TAKEN):
            return text
    return ""


def _entry(text: str, name: str) -> str:
    """Return the choices and the description of one parameter in a numpydoc docstring."""
    found = _PARAMETERS.search(text)
    for head, body in _PARAMETER.findall(found[1] if found else ""):
        names, _, kind = head.partition(" : ")
        if name in re.split(r",\s*", names):
            choices = re.match(r"\{(.*?)\}", kind)
            start = f"{choices[1]}. " if choices else ""
            return start.replace('"', "") + " ".join(body.replace("``", "").split())
    return ""


def _shared(method: Any) -> set[str]:
    """Return the names of the fields that all methods have."""
    root = [cls for cls in method.__mro__ if dataclasses.is_dataclass(cls)][-1]
    return {one.name for one in dataclasses.fields(root)}


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> Any:
        """Let the caller show the message like any other."""
        raise ValueError(f"{message[:1].upper()}{message[1:]}.")


def _kinds(one: dataclasses.Field) -> set[str]:
    """Return the names of the types in an annotation such as ``int | tuple[int, ...] | None``."""
    text = one.type if isinstance(one.type, str) else inspect.formatannotation(one.type)
    while "[" in text:
        text = re.sub(r"\[[^\[\]]*\]", "", text)
    return {part.strip() for part in text.split("|")}


def _reader(one: dataclasses.Field) -> Callable[[str], Any]:
    kinds = _kinds(one)

    def read(text: str) -> Any:
        if text.lower() == "none" and kinds & {"None", "Any"}:
            return None
        if "," in text and kinds & {"tuple", "list", "Any"}:
            parts = [read(part.strip()) for part in text.split(",")]
            return tuple(parts) if "tuple" in kinds else parts
        for kind in (int, float):
            if kinds & {kind.__name__, "Any"}:
                try:
                    return kind(text)
                except ValueError:
                    continue
        if kinds & {"str", "Any", "Literal"}:
            return text
        wanted = " or ".join(sorted(kinds & {"int", "float", "tuple", "None"}))
        raise argparse.ArgumentTypeError(f"must be {wanted}. Received: {text!r}")

    return read


def _refusal(method: Any, option: str, known: dict[str, Any]) -> str:
    option = re.sub("^--no-", "--", option)
    owners = [
        name
        for name in attributions.__all__
        if option in option_fields(getattr(attributions, name))
    ]
    text = f"{option} is not an option of {method.__name__}"
    if owners:
        return f"{text}, but of {', '.join(owners)}."
    return f"{text}, nor of `explain`.{_checks.near(option, known)} Its own: {', '.join(known)}."
