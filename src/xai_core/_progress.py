"""A progress bar on stderr for work that takes more than a few seconds."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

__all__ = ["progress_bar"]

_LONG = 4.0
"""Seconds: work that is expected to take less gets no bar by itself."""

_WAIT = 1.0
"""Seconds before the time that the work will take is estimated."""

# A terminal has room for one bar: calls inside a call and in other threads show none.
_shown = threading.Lock()


@contextlib.contextmanager
def progress_bar(enabled: bool | None, total: int, label: str) -> Iterator[Callable[[int], None]]:
    """Show how far some work is, within a ``with`` block.

    The bar goes away at the end of the block, also after an exception or Ctrl-C. Where stderr is
    no terminal and the bar is asked for, one line with the final state is written.

    Parameters
    ----------
    enabled : bool or None
        True shows the bar at once, False never. None shows it if stderr is a terminal and the
        work is expected to take more than a few seconds.
    total : int
        Number of rows of the whole work; nothing is shown for 0.
    label : str
        What the bar is called.

    Yields
    ------
    callable
        ``advance(rows)``: call it after ``rows`` further rows are done.

    Examples
    --------
    >>> with progress_bar(None, total=10, label="Saliency") as advance:
    ...     advance(10)
    """
    wanted = _on_terminal() if enabled is None else enabled
    if not wanted or total < 1:
        yield _ignored
        return
    bar = _Bar(total, label)
    try:
        if enabled:
            bar.show()
        yield bar.advance
    finally:
        bar.close()


def _ignored(rows: int) -> None:
    del rows


def _on_terminal() -> bool:
    return sys.stderr is not None and sys.stderr.isatty()


class _Bar:
    """Counts rows, and decides when they are worth a bar."""

    def __init__(self, total: int, label: str) -> None:
        self._total = total
        self._label = label
        self._done = 0
        self._start = time.monotonic()
        self._progress: Any = None
        self._task: Any = None

    def advance(self, rows: int) -> None:
        """Count ``rows`` further rows."""
        self._done += rows
        if self._progress is not None:
            self._progress.update(self._task, completed=self._done)
        elif self._is_long():
            self.show()

    def show(self) -> None:
        """Draw the bar, unless another one is on the screen."""
        if _shown.locked():
            return
        progress = _rich_progress()
        self._task = progress.add_task(self._label, total=self._total, completed=self._done)
        if _shown.acquire(blocking=False):
            self._progress = progress
            progress.start()

    def close(self) -> None:
        """Take the bar off the screen."""
        if self._progress is None:
            return
        try:
            self._progress.stop()
        finally:
            self._progress = None
            _shown.release()

    def _is_long(self) -> bool:
        """Tell whether the whole work, at the pace so far, takes more than a few seconds."""
        elapsed = time.monotonic() - self._start
        expected = elapsed * self._total / self._done if self._done else 0.0
        return elapsed > _WAIT and max(elapsed, expected) > _LONG and self._done < self._total


def _rich_progress() -> Any:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("rows,"),
        TimeRemainingColumn(),
        TextColumn("left"),
    )
    # The user's own prints and warnings go where they would go without the bar.
    return Progress(
        *columns,
        console=console,
        transient=console.is_terminal,
        refresh_per_second=5,
        redirect_stdout=False,
        redirect_stderr=False,
    )
