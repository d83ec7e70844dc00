from __future__ import annotations

import io
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from rich.cells import cell_len
from rich.console import Console

from fanin.report.terminal import TerminalReport, show, to_text
from tests.report.samples import SAMPLES, hostile, mlp, vit
from tests.selection import few

SNAPSHOTS = Path(__file__).parent / "snapshots"


def assert_snapshot(name: str, text: str) -> None:
    """The text equals the reviewed file. To renew: FANIN_RENEW_SNAPSHOTS=1 pytest tests/report, then read the diff."""
    file = SNAPSHOTS / name
    if os.environ.get("FANIN_RENEW_SNAPSHOTS"):
        file.parent.mkdir(exist_ok=True)
        file.write_text(text, encoding="utf-8")
    assert text == file.read_text(encoding="utf-8")


def test_a_snapshot_can_fail(monkeypatch):
    monkeypatch.delenv("FANIN_RENEW_SNAPSHOTS", raising=False)
    with pytest.raises(AssertionError, match="other"):
        assert_snapshot("terminal-vit.txt", "other")


@pytest.mark.parametrize("name", SAMPLES)
def test_terminal_snapshots(name):
    assert_snapshot(f"terminal-{name}.txt", to_text(SAMPLES[name]()))


@pytest.mark.parametrize("name", SAMPLES)
@pytest.mark.parametrize("width", few([60, 80, 100, 200], 60, 200))
def test_no_line_is_wider_than_asked_nor_than_160_columns(name, width):
    lines = to_text(SAMPLES[name](), width=width).splitlines()
    assert max(cell_len(line) for line in lines) <= min(width, 160)


def test_hostile_names_reach_the_terminal_as_text_in_colour_too():
    console = Console(file=io.StringIO(), force_terminal=True, width=100, color_system="truecolor", _environ={})
    show(hostile(), console=console)
    written = console.file.getvalue()
    # All escape sequences are rich's own colours and styles: SGR, ending in m.
    assert re.sub(r"\x1b\[[0-9;]*m", "", written).isprintable() is False  # newlines
    assert "\x1b" not in re.sub(r"\x1b\[[0-9;]*m", "", written)
    assert "\x07" not in written
    assert "\u202e" not in written
    assert "\\x1b[31m" in written
    assert "[red]" in written
    assert "[bold]do[/bold]" in written


def test_plain_output_has_no_escape_and_only_newlines_as_control_characters():
    text = to_text(hostile())
    assert all(char == "\n" or char.isprintable() for char in text)


class AsciiFile(io.StringIO):
    encoding = "ascii"


def test_an_encoding_without_blocks_gets_ascii():
    file = AsciiFile()
    Console(file=file, width=100, _environ={}).print(TerminalReport(mlp()))
    assert file.getvalue().isascii()
    assert "x layers.{0..99}.fc" in file.getvalue()


def shown(environment: dict[str, str]) -> str:
    code = "from tests.report.samples import vit; from fanin.report.terminal import show; show(vit())"
    root = Path(__file__).parents[2]
    env = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "FORCE_COLOR", "TERM")}
    env |= {"PYTHONPATH": f"{root / 'src'}{os.pathsep}{root}", "PYTHONIOENCODING": "utf-8", "TERM": "xterm-256color"}
    done = subprocess.run([sys.executable, "-c", code], env=env | environment, capture_output=True, check=True)
    return done.stdout.decode()


@pytest.mark.parametrize(
    ("environment", "coloured"),
    [({}, False), ({"FORCE_COLOR": "1"}, True), ({"FORCE_COLOR": "1", "NO_COLOR": "1"}, False)],
)
def test_a_pipe_is_plain_and_the_colour_variables_are_heeded(environment, coloured):
    assert bool(re.search(r"\x1b\[[0-9;]*3\dm", shown(environment))) is coloured


def test_the_layer_table_keeps_flagged_layers_first():
    text = to_text(vit(40), max_layers=8)
    assert "head " in text
    assert "154 more layers" in text
    assert "more layers" not in to_text(vit(3), max_layers=None)
