"""Messages break between words in a terminal, and are one line each in a pipe."""

from __future__ import annotations

import io
import re
import sys

import pytest

from fanin.commands.app import main

LINES = {  # a wrong line whose message is longer than any terminal below
    "of fanin": "explain model.py:build::0.weight --recipe he_normal",
    "of the parser": "check model.py:build --format xml",
    "of a missing file": "check model.py:build --weights weights.safetensors --input 4,8",
}


class Terminal(io.StringIO):
    def isatty(self):
        return True


def said(line, err, monkeypatch):
    """The lines of the message, without what is printed before it."""
    monkeypatch.setattr(sys, "argv", ["fanin", *line.split()])
    monkeypatch.setattr(sys, "stderr", err)
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    lines = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|\r", "", err.getvalue()).splitlines()
    return lines[next(place for place, text in enumerate(lines) if text.startswith(("fanin: ", "Error: "))) :]


@pytest.mark.parametrize("name", LINES)
@pytest.mark.parametrize("width", [60, 80])
def test_a_terminal_gets_whole_words_and_a_pipe_one_line(name, width, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    (tmp_path / "model.py").write_text("from torch import nn\ndef build(): return nn.Sequential(nn.Linear(8, 4))\n")
    monkeypatch.setenv("COLUMNS", str(width))
    (piped,) = said(LINES[name], io.StringIO(), monkeypatch)
    shown = said(LINES[name], Terminal(), monkeypatch)
    assert len(piped) > width >= max(len(text) for text in shown if " " in text)
    assert " ".join(shown).split() == piped.split()


def test_a_path_that_is_longer_than_a_line_stays_whole(monkeypatch):
    path = "/".join(["a-folder"] * 12) + "/plan.json"
    monkeypatch.setenv("COLUMNS", "60")
    assert f"'{path}'" in said(f"diff {path} {path}", Terminal(), monkeypatch)
