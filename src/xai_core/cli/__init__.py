"""The command line: `xai-core demo | explain | methods | doctor`."""

from __future__ import annotations

import importlib
import os
import sys
import warnings
from collections.abc import Sequence
from typing import Any

from xai_core._checks import ExplanationWarning
from xai_core.cli.arguments import NAME, command_line

__all__ = ["main"]

_WRONG_USE = 2
_INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return the exit status.

    Parameters
    ----------
    arguments : sequence of str, optional
        By default those of the process.

    Returns
    -------
    int
        0 after success, 1 if the demo fell short, 2 after wrong use, 130 after Ctrl-C.

    Raises
    ------
    SystemExit
        After ``--help``, ``--version``, and arguments that cannot be parsed.

    Examples
    --------
    >>> main(["methods", "GradCAM"])  # doctest: +ELLIPSIS
    GradCAM: Activations of a layer, ...
    0
    """
    parser = command_line()
    known, unknown = parser.parse_known_args(arguments)
    if known.command is None:
        parser.print_help()
        return 0
    if unknown and not known.takes_more:
        parser.error(f"unrecognized arguments: {' '.join(unknown)}")
    with warnings.catch_warnings():
        warnings.showwarning = _shown(warnings.showwarning)
        return _status(known, unknown)


def _status(known: Any, unknown: list[str]) -> int:
    """Run the command; what the user can mend is one line on stderr."""
    try:
        command = importlib.import_module(f"{__name__}.{known.command}")
        status = command.run(known, unknown) if known.takes_more else command.run(known)
        sys.stdout.flush()
        return status
    except KeyboardInterrupt:
        return _INTERRUPTED
    except BrokenPipeError:
        # The reader has gone (`xai-core methods | head`), which is no mistake; Python would
        # complain when it flushes stdout at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (ImportError, OSError, TypeError, ValueError) as error:
        print(f"{NAME}: error: {' '.join(str(error).split())}", file=sys.stderr)
        return _WRONG_USE


def _shown(usual: Any) -> Any:
    """Return how warnings are shown: ours in one line, others as before."""

    def show(message: Any, category: Any, *where: Any, **more: Any) -> None:
        if issubclass(category, ExplanationWarning):
            print(f"{NAME}: warning: {message}", file=sys.stderr)
        else:
            usual(message, category, *where, **more)

    return show
