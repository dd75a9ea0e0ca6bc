"""The progress bar: when it shows, and that nothing of it stays."""

import contextlib
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
    return Terminal()


@contextlib.contextmanager
def bar_on(stream, enabled, total, label="Saliency"):
    with contextlib.redirect_stderr(stream), progress_bar(enabled, total, label) as advance:
        yield advance


def work(clock, stream, enabled=None, total=10, seconds_per_row=1.0):
    with bar_on(stream, enabled, total) as advance:
        for _ in range(10):
            clock.seconds += seconds_per_row
            advance(1)


def text(stream):
    return re.sub(r"\x1b\[[\d;]*m", "", stream.getvalue())


def test_long_work_in_a_terminal_shows_a_bar(clock, terminal):
    work(clock, terminal)
    assert "Saliency" in text(terminal)
    assert "10/10 rows" in text(terminal)


def test_short_work_shows_nothing(clock, terminal):
    work(clock, terminal, seconds_per_row=0.3)
    assert terminal.getvalue() == ""


def test_work_that_is_done_shows_nothing(clock, terminal):
    with bar_on(terminal, None, 2) as advance:
        clock.seconds += 60
        advance(2)
    assert terminal.getvalue() == ""


def test_nothing_is_written_where_stderr_is_no_terminal(clock):
    pipe = io.StringIO()
    work(clock, pipe)
    assert pipe.getvalue() == ""


def test_no_stderr_at_all_is_no_terminal(clock):
    work(clock, None)


def test_false_never_shows_a_bar(clock, terminal):
    work(clock, terminal, enabled=False)
    assert terminal.getvalue() == ""


def test_work_of_no_rows_shows_no_bar(clock, terminal):
    work(clock, terminal, enabled=True, total=0)
    assert terminal.getvalue() == ""


def test_true_shows_a_bar_at_once(clock, terminal):
    work(clock, terminal, enabled=True, seconds_per_row=0.0)
    assert "10/10 rows" in text(terminal)


def test_true_writes_one_line_where_stderr_is_no_terminal(clock):
    pipe = io.StringIO()
    work(clock, pipe, enabled=True)
    (line,) = pipe.getvalue().splitlines()
    assert line.startswith("Saliency")
    assert "10/10 rows" in line


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_an_interruption_passes_and_leaves_the_terminal_clean(clock, terminal, error):
    before = set(threading.enumerate())

    def fail():
        with bar_on(terminal, True, 10) as advance:
            advance(1)
            raise error

    with pytest.raises(error):
        fail()
    written = terminal.getvalue()
    assert written.count(HIDDEN_CURSOR) == written.count(SHOWN_CURSOR) == 1
    assert written.rstrip().endswith("\x1b[2K"), "The line is erased."
    for thread in set(threading.enumerate()) - before:
        thread.join(timeout=10)
        assert not thread.is_alive()
    assert terminal.getvalue() == written, "Nothing comes after the end."
    work(clock, terminal, enabled=True)
    assert terminal.getvalue() != written, "The next bar shows."


def test_the_streams_of_the_process_stay_what_they_are(terminal):
    with contextlib.redirect_stderr(terminal):
        before = sys.stdout, sys.stderr
        with progress_bar(True, 10, "Saliency"):
            assert (sys.stdout, sys.stderr) == before


def test_inside_a_bar_and_in_other_threads_there_is_no_second_one(clock, terminal):
    with bar_on(terminal, True, 2, "outer") as advance:
        work(clock, terminal, enabled=True)
        thread = threading.Thread(target=work, args=(clock, terminal, True))
        thread.start()
        thread.join()
        advance(2)
    assert "outer" in text(terminal)
    assert "Saliency" not in text(terminal)


def test_a_generator_that_is_left_takes_its_bar_along(terminal):
    def rows():
        with progress_bar(True, 10, "Saliency") as advance:
            for row in range(10):
                yield row
                advance(1)

    with contextlib.redirect_stderr(terminal):
        generator = rows()
        next(generator)
        generator.close()
    assert terminal.getvalue().count(SHOWN_CURSOR) == 1


def test_a_label_is_no_markup(terminal):
    with bar_on(terminal, True, 1, "a [bold]label") as advance:
        advance(1)
    assert "a [bold]label" in text(terminal)
