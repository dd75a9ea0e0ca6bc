"""A row of the tables of wrong input."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest


@dataclass(frozen=True)
class Row:
    """A call that must raise ``error`` with all ``says`` in its message (case does not matter)."""

    name: str
    call: Callable[[], Any]
    error: type[Exception] | tuple[type[Exception], ...]
    says: tuple[str, ...]


def check(row):
    with pytest.raises(row.error) as error:
        row.call()
    message = str(error.value).lower()
    missing = [part for part in row.says if part.lower() not in message]
    assert not missing, f"{missing} not in: {error.value}"
