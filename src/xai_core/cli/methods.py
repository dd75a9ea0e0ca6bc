"""`xai-core methods`: what there is, and the options of one method."""

from __future__ import annotations

import argparse
import shutil
import textwrap
from collections.abc import Sequence

from xai_core import attributions
from xai_core.cli import options

_HEAD = ("method", "needs", "signed", "per class", "paper")
_NARROWEST = 30


def run(known: argparse.Namespace) -> int:
    """Print the table of methods, or the options of the one that is named."""
    if known.name is None:
        print_table([_HEAD, *map(_row, attributions.__all__)])
    else:
        _print_options(known.name)
    return 0


def print_table(rows: Sequence[Sequence[str]]) -> None:
    """Print columns; the last one is wrapped at the width of the terminal."""
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]) - 1)]
    left = sum(widths) + 2 * len(widths)
    room = max(_NARROWEST, shutil.get_terminal_size().columns - left - 1)
    for row in rows:
        start = "".join(f"{cell:<{width}}  " for cell, width in zip(row, widths, strict=False))
        parts = textwrap.wrap(row[-1], room, break_long_words=False, break_on_hyphens=False)
        print((start + (parts[0] if parts else "")).rstrip())
        for part in parts[1:]:
            print(" " * left + part)


def _row(name: str) -> tuple[str, ...]:
    method = getattr(attributions, name)
    signed, per_class = ("yes" if one else "no" for one in (method.signed, method.uses_targets))
    return name, method.requires, signed, per_class, method.source


def _print_options(name: str) -> None:
    method = options.method_named(name)
    summary = " ".join((method.__doc__ or "").partition("\n\n")[0].split())
    print(f"{method.__name__}: {summary}")
    print(f"Source: {method.source}\n")
    rows = [("option", "default", "")]
    for option, one in options.option_fields(method).items():
        typed = option.replace("--", "--[no-]", 1) if options.is_flag(one) else option
        rows.append((typed, options.shown_default(one), options.description(method, one.name)))
    print_table(rows)
