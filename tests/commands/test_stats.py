"""``--stats``: where the time of a command goes, on stderr, without a change of what it prints."""

from __future__ import annotations

import re
import time

import pytest
from typer.testing import CliRunner

from fanin.commands.app import app
from fanin.timing import measured, part

SOURCE = """
import torch
from torch import nn
def build():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4)), torch.randn(4, 8)
"""


@pytest.mark.parametrize(
    ("line", "parts"),
    [
        (["check", "net.py:build"], ["load the model", "measure", "judge", "trial", "report"]),
        (["plan", "net.py:build"], ["load the model", "plan", "trial", "print"]),
        (["init", "net.py:build", "--out", "w.safetensors"], ["load the model", "plan", "trial", "write"]),
    ],
)
def test_the_parts_of_a_command_are_timed(tmp_path, monkeypatch, line, parts):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text(SOURCE)
    plain, timed = CliRunner().invoke(app, line), CliRunner().invoke(app, [*line, "--stats"])
    assert (plain.exit_code, timed.exit_code) == (0, 0)
    assert "everything else" not in plain.stderr
    for name in [*parts, "everything else", "total"]:
        assert re.search(rf"^{name} .*\d m?s|^{name} .*min", timed.stderr, re.MULTILINE), name
    if line[0] == "plan":
        assert timed.stdout == plain.stdout


def test_a_part_inside_counts_alone():
    with measured() as seconds, part("outer"):
        time.sleep(0.02)
        for _ in range(2):
            with part("inner"):
                time.sleep(0.05)
    assert seconds["inner"] >= 0.1
    assert 0.02 <= seconds["outer"] < seconds["inner"]


def test_nothing_is_kept_where_nobody_asks():
    with part("alone"):
        pass
    with measured() as seconds:
        pass
    assert seconds == {}


def test_the_table_is_printed_after_an_error_too(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text("def build():\n    raise ValueError('no')\n")
    assert "load the model" in CliRunner().invoke(app, ["plan", "net.py:build", "--stats"]).stderr
