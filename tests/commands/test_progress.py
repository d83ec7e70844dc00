"""Long work shows on a terminal what it does, and leaves pipes and files empty of it."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import threading

import pytest

from fanin.timing import following, part
from tests.selection import few

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="terminals of Unix")
SOURCE = """
import torch
from torch import nn

def build():
    torch.manual_seed(0)
    layers = [m for _ in range(30) for m in (nn.Linear(256, 256), nn.Tanh())]
    return nn.Sequential(*layers, nn.Linear(256, 10)), torch.randn(256, 256), torch.randint(0, 10, (256,))

if __name__ == "__main__":
    import fanin
    x = torch.randn(64, 8)
    make = lambda: nn.Sequential(nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 2))
    fanin.compare(make, (x, (x[:, 0] > 0).long()), inits={"a": None, "b": "auto"}, seeds=1, lrs=[1e-2], steps=30)
"""
# what is run -> words that a terminal shows meanwhile
FANIN = ["-m", "fanin"]
LINES = {
    "check": ([*FANIN, "check", "net.py:build"], ["checking net.py:build", "measure"]),
    "plan": ([*FANIN, "plan", "net.py:build"], ["planning net.py:build", "trial"]),
    "init, a file": ([*FANIN, "init", "net.py:build", "--out", "w.safetensors"], ["planning net.py:build", "writing"]),
    "init, a folder": ([*FANIN, "init", "net.py:build", "--out", "weights"], ["planning net.py:build", "writing"]),
    "compare": (["net.py"], ["comparing"]),
    "calibrate": ([*FANIN, "calibrate", "net.py:build"], ["measuring outputs"]),
}
SLOW = {"lab": ([*FANIN, "lab", "one-third", "--out", "figures"], ["one-third"])}
QUICK = ("calibrate",)
CASES = few((*LINES, *SLOW), *QUICK)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "net.py").write_text(SOURCE)
    return tmp_path


def environment():
    """As in a plain terminal: no variable that turns colours or terminals on or off."""
    told = ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "CI", "COLUMNS", "PYTEST_CURRENT_TEST")
    return {k: v for k, v in os.environ.items() if k not in told} | {"TERM": "xterm-256color"}


def in_terminal(line, folder):
    """Status and what a terminal on stderr was sent; stdout is a pipe."""
    ours, theirs = pty.openpty()
    told = bytearray()

    def read():
        while True:
            try:
                piece = os.read(ours, 65536)
            except OSError:  # Linux's end of a terminal
                return
            if not piece:
                return
            told.extend(piece)

    reader = threading.Thread(target=read)
    reader.start()
    command = [sys.executable, *line]
    done = subprocess.run(
        command, cwd=folder, env=environment(), stdout=subprocess.PIPE, stderr=theirs, timeout=280, check=False
    )
    os.close(theirs)
    reader.join()
    os.close(ours)
    return done, told.decode()


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_a_terminal_shows_what_is_done_and_a_pipe_gets_none_of_it(name, folder):
    line, words = {**LINES, **SLOW}[name]
    done, told = in_terminal(line, folder)
    assert done.returncode in (0, 1), told
    for word in words:
        assert word in told, told
    assert "\x1b[2K" in told  # the line is wiped when the work is done

    piped = subprocess.run(
        [sys.executable, *line], cwd=folder, env=environment(), capture_output=True, text=True, timeout=280, check=False
    )
    assert piped.returncode == done.returncode
    for word in words:
        assert word not in piped.stderr
    assert "\x1b" not in piped.stderr + piped.stdout


def test_a_follower_is_told_each_part_and_not_after():
    told = []
    with following(told.append), part("one"), part("two"):
        pass
    with part("three"):
        pass
    assert told == ["one", "two"]
