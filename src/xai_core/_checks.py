"""What every boundary says when an argument is wrong: name, rule, received value, fix."""

from __future__ import annotations

import difflib
import math
import numbers
import sys
import warnings
from collections.abc import Iterable
from typing import Any


class ExplanationWarning(UserWarning):
    """A result was computed, but it may mislead; the message says why and what to do."""


def warn(message: str) -> None:
    """Warn at the line of the user's code that called into the package."""
    level, frame = 1, sys._getframe()
    while frame is not None and frame.f_globals.get("__name__", "").split(".")[0] == "xai_core":
        frame, level = frame.f_back, level + 1
    warnings.warn(message, ExplanationWarning, stacklevel=level)


def integer(name: str, value: Any, minimum: int | None = None) -> int:
    """Return ``value`` as an int of at least ``minimum``; booleans are no integers."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise TypeError(f"`{name}` must be an integer. Received: {value!r}.")
    if minimum is not None and value < minimum:
        raise ValueError(f"`{name}` must be at least {minimum}. Received: {value}.")
    return int(value)


def number(
    name: str, value: Any, minimum: float | None = None, maximum: float | None = None
) -> float:
    """Return ``value`` as a finite float within [minimum, maximum]."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(f"`{name}` must be a number. Received: {value!r}.")
    low = minimum is not None and value < minimum
    high = maximum is not None and float(value) > maximum
    if low or high or not math.isfinite(value):
        rule = f"at least {minimum}" if maximum is None else f"within [{minimum}, {maximum}]"
        rule = rule if low or high else "finite"
        raise ValueError(f"`{name}` must be {rule}. Received: {value}.")
    return float(value)


def seed(value: Any) -> int:
    """Return ``value`` if it is the key of a random generator, from 0 to 2**64 - 1."""
    if integer("seed", value, minimum=0) >= 2**64:
        raise ValueError(f"`seed` must be less than 2**64. Received: {value}.")
    return value


def flag(name: str, value: Any) -> bool:
    """Return ``value`` if it is a bool."""
    if not isinstance(value, bool):
        raise TypeError(f"`{name}` must be True or False. Received: {value!r}.")
    return value


def choice(name: str, value: Any, options: Iterable[str]) -> str:
    """Return ``value`` if it is one of ``options``."""
    options = tuple(options)
    if value not in options:
        listed = ", ".join(repr(option) for option in options)
        raise ValueError(
            f"`{name}` must be one of {listed}. Received: {value!r}.{near(value, options)}"
        )
    return value


def near(value: Any, options: Iterable[str]) -> str:
    """A sentence that offers the options spelled most like ``value``, or nothing."""
    close = difflib.get_close_matches(str(value), [str(option) for option in options], n=3)
    return f" Did you mean {' or '.join(repr(name) for name in close)}?" if close else ""
