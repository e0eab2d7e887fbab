"""Progress bars: on a terminal, after two seconds, and never in the way."""

import io
import time

import pytest
from rich.console import Console

from evalkit import progress


@pytest.fixture
def terminal(monkeypatch):
    console = Console(file=io.StringIO(), force_terminal=True, width=100)
    monkeypatch.setattr(progress, "stderr", console)
    monkeypatch.setattr(progress, "PATIENCE_S", 0.05)
    return console.file


def test_a_long_first_item_is_shown_while_it_lasts(terminal):
    for _ in progress.track(range(2), "Encoding", 600, 512):
        time.sleep(0.3)
        assert "Encoding" in terminal.getvalue()
    assert "512/600" in terminal.getvalue()
    assert "1024" not in terminal.getvalue()


def test_quick_steps_draw_nothing(terminal):
    assert list(progress.track([1, 2, 3], "Quick", 3)) == [1, 2, 3]
    assert terminal.getvalue() == ""


def test_nothing_is_drawn_off_a_terminal(monkeypatch):
    console = Console(file=io.StringIO(), force_terminal=False)
    monkeypatch.setattr(progress, "stderr", console)
    monkeypatch.setattr(progress, "PATIENCE_S", 0.0)
    for _ in progress.track(range(2), "Encoding", 2):
        time.sleep(0.05)
    assert console.file.getvalue() == ""


def test_bars_within_bars_and_early_exits_leave_the_terminal_whole(terminal):
    for _ in progress.track(range(2), "Outer", 2):
        for _ in progress.track(range(5), "Inner", 5):
            # The bar is drawn by a thread, whose turn a busy machine puts off.
            end = time.monotonic() + 10
            while "Inner" not in terminal.getvalue() and time.monotonic() < end:
                time.sleep(0.02)
            break
        time.sleep(0.1)
    assert "Inner" in terminal.getvalue()
