"""The progress bar: when it shows, and that nothing of it stays."""

import io
import re
import sys
import threading
from types import SimpleNamespace

import pytest

from xai_core import _progress
from xai_core._progress import progress_bar

HIDDEN_CURSOR, SHOWN_CURSOR = "\x1b[?25l", "\x1b[?25h"


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def clock(monkeypatch):
    """A clock that the test moves."""
    now = SimpleNamespace(seconds=0.0)
    monkeypatch.setattr(_progress, "time", SimpleNamespace(monotonic=lambda: now.seconds))
    return now


@pytest.fixture
def terminal(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "stderr", Terminal())
    return sys.stderr


@pytest.fixture
def pipe(monkeypatch):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    return sys.stderr


def work(clock, enabled=None, rows=10, seconds_per_row=1.0, total=None):
    with progress_bar(enabled, rows if total is None else total, "Saliency") as advance:
        for _ in range(rows):
            clock.seconds += seconds_per_row
            advance(1)


def test_long_work_in_a_terminal_shows_a_bar(clock, terminal):
    work(clock)
    shown = re.sub(r"\x1b\[[\d;]*m", "", terminal.getvalue())
    assert "Saliency" in shown
    assert "10/10 rows" in shown


def test_short_work_shows_nothing(clock, terminal):
    work(clock, seconds_per_row=0.3)
    assert terminal.getvalue() == ""


def test_a_slow_first_row_is_no_reason_for_a_bar(clock, terminal):
    """The first call compiles: what matters is how long the rest takes at the pace so far."""
    with progress_bar(None, 2, "Saliency") as advance:
        clock.seconds += 3
        advance(2)
    assert terminal.getvalue() == ""


def test_nothing_is_written_where_stderr_is_no_terminal(clock, pipe):
    work(clock)
    assert pipe.getvalue() == ""


def test_no_stderr_at_all_is_no_terminal(clock, monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)
    work(clock)


def test_false_never_shows_a_bar(clock, terminal):
    work(clock, enabled=False)
    assert terminal.getvalue() == ""


def test_work_of_no_rows_shows_no_bar(clock, terminal):
    work(clock, enabled=True, total=0)
    assert terminal.getvalue() == ""


def test_true_shows_a_bar_at_once(clock, terminal):
    work(clock, enabled=True, seconds_per_row=0.0)
    assert "10/10" in re.sub(r"\x1b\[[\d;]*m", "", terminal.getvalue())


def test_true_writes_one_line_where_stderr_is_no_terminal(clock, pipe):
    work(clock, enabled=True)
    (line,) = pipe.getvalue().splitlines()
    assert line.startswith("Saliency")
    assert "10/10 rows" in line


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_an_interruption_passes_and_leaves_the_terminal_clean(clock, terminal, error):
    before = threading.active_count()
    with pytest.raises(error), progress_bar(True, 10, "Saliency") as advance:
        advance(1)
        raise error
    written = terminal.getvalue()
    assert written.count(HIDDEN_CURSOR) == written.count(SHOWN_CURSOR) == 1
    assert written.rstrip().endswith("\x1b[2K"), "The line is erased."
    assert threading.active_count() == before
    work(clock, enabled=True)
    assert terminal.getvalue() != written, "The next bar shows."


def test_the_streams_of_the_process_stay_what_they_are(clock, terminal):
    out, err = sys.stdout, sys.stderr
    with progress_bar(True, 10, "Saliency"):
        assert (sys.stdout, sys.stderr) == (out, err)


def test_inside_a_bar_and_in_other_threads_there_is_no_second_one(clock, terminal):
    with progress_bar(True, 2, "outer") as advance:
        work(clock, enabled=True)
        thread = threading.Thread(target=work, args=(clock, True))
        thread.start()
        thread.join()
        advance(2)
    assert "outer" in terminal.getvalue()
    assert "Saliency" not in terminal.getvalue()


def test_a_generator_that_is_left_takes_its_bar_along(clock, terminal):
    def rows():
        with progress_bar(True, 10, "Saliency") as advance:
            for row in range(10):
                yield row
                advance(1)

    generator = rows()
    next(generator)
    generator.close()
    assert terminal.getvalue().count(SHOWN_CURSOR) == 1


def test_a_label_is_no_markup(clock, terminal):
    with progress_bar(True, 1, "a [bold]label") as advance:
        advance(1)
    assert "a [bold]label" in terminal.getvalue()
