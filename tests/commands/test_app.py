"""The commands as a whole: their options, their help, their exit status."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest
from typer.testing import CliRunner

import fanin
from fanin.commands.app import app, main
from fanin.commands.delivery import ReportFormat
from fanin.errors import ArgumentError
from fanin.report import FORMATS
from tools import reference_pages

_ENV = os.environ | {"PYTHONPATH": str(Path(fanin.__file__).parents[1])}
COMMANDS = reference_pages.commands()
MODEL = {"target", "--input"}
RECIPE = {"--recipe", "--option", "--seed", "--meta"}
OPTIONS = {
    "check": MODEL
    | {"--weights", "--select", "--ignore", "--fail-on", "--seeds", "--seed", "--predict", "--config", "--baseline"}
    | {"--format", "--out", "--optimizer", "--lr", "--trial", "--verbose", "--quiet", "--stats"},
    "plan": MODEL
    | RECIPE
    | {"--override", "--keep-unknown", "--frozen", "--trial", "--out", "--format"}
    | {"--tree", "--stats"},
    "init": MODEL | RECIPE | {"--override", "--keep-unknown", "--frozen", "--trial", "--out", "--stats"},
    "calibrate": MODEL
    | {"--strict", "--target", "--seed", "--out", "--format", "--weights", "--dry-run", "--only", "--plan-out"}
    | {"--statistic", "--plan", "--tolerance", "--center"},
    "verify": {"folder", "--plan", "--dtype", "--format"},
    "cert make": {"target", "--input", "--out"},
    "cert merge": {"parts", "--out"},
    "cert diff": {"left", "right", "--format"},
    "report": {"file", "--fail-on", "--config", "--format", "--out", "--verbose", "--quiet"},
    "explain": {"name", "--input"} | RECIPE,
    "diff": {"left", "right", "--input", "--format"},
    "graph": MODEL | {"--format", "--out", "--unfold", "--plan", "--recipe"},
    "theory": {"--phi", "--sigma-w2", "--sigma-b2", "--depth", "--width", "--law", "--c0", "--plot"}
    | {"--phase-diagram", "--grid"},
    "gain": {"phi", "--q", "--format"},
    "lab": {"name", "--out", "--full", "--seed", "--workers"},
    "playground": {"--out", "--open"},
    "demo": {"--out"},
    "mup check": {
        "build",
        "--widths",
        "--optimizer",
        "--lr",
        "--steps",
        "--seeds",
        "--start",
        "--groups",
        "--base",
        "--objective",
    }
    | {"--input", "--save", "--format"},
    "mup sweep": {"build", "--widths", "--rates", "--optimizer", "--steps", "--seeds", "--starts", "--batch-size"}
    | {"--base", "--input", "--out", "--workers", "--save", "--format"},
}
SHARED = ("target", "--input", "--seed", "--recipe", "--option", "--override", "--meta", "--keep-unknown", "--frozen")


def names(command) -> set[str]:
    return {p.opts[0] for p in command.params if p.name != "help"}


def test_commands_and_options_are_these():
    assert {name: names(command) for name, command in COMMANDS.items()} == OPTIONS


def helps(option: str) -> set[str]:
    return {p.help for c in COMMANDS.values() for p in c.params if p.opts[0] == option}


@pytest.mark.parametrize("option", SHARED)
def test_an_option_that_commands_share_has_one_help_text(option):
    assert len(helps(option)) == 1


def test_the_check_for_one_help_text_can_fail():
    assert len(helps("--out")) > 1


def test_the_formats_of_a_check_are_those_of_reports():
    assert set(get_args(ReportFormat)) == set(FORMATS)


def test_every_option_and_command_has_help():
    for command in COMMANDS.values():
        assert command.help
        assert all(p.help for p in command.params if p.name != "help")


def test_the_list_of_commands_cuts_no_sentence():
    shown = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "80"}).stdout
    assert "Plan a model, draw its weights, write them to a file." in shown
    assert "..." not in shown.partition("Commands:")[2]


def loaded_by(arguments: list[str]) -> set[str]:
    code = (
        "import sys\nfrom typer.testing import CliRunner\nfrom fanin.commands.app import app\n"
        f"CliRunner().invoke(app, {arguments!r})\nprint(' '.join(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, env=_ENV)
    return set(done.stdout.split())


HEAVY = {"torch", "numba", "matplotlib", "scipy", "numpy", "jinja2", "jax", "keras"}


def test_help_loads_nothing_heavy():
    assert not loaded_by(["--help"]) & HEAVY


def test_the_check_for_heavy_modules_can_fail():
    assert {"numpy", "scipy"} <= loaded_by(["gain", "tanh"])


def test_a_usage_error_is_status_2():
    run = CliRunner().invoke
    assert run(app, ["plan", "a.py:f", "--format", "yaml"]).exit_code == 2
    assert run(app, ["check", "a.py:f", "--format", "nonsense"]).exit_code == 2
    assert run(app, ["nonsense"]).exit_code == 2


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_ctrl_c_is_no_finding(tmp_path):
    path = tmp_path / "slow.py"
    path.write_text("import sys, time\n\ndef net():\n    print('ready', flush=True)\n    time.sleep(60)\n")
    command = [sys.executable, "-m", "fanin", "plan", f"{path}:net"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=_ENV) as process:
        assert any("ready" in line for line in process.stderr)
        process.send_signal(signal.SIGINT)
        said = process.stderr.read()
    assert process.returncode == 130
    assert "interrupted" in said
    assert "Traceback" not in said


def test_an_error_reaches_the_terminal_as_text(monkeypatch, capsys):
    def fails() -> None:
        raise ArgumentError("no parameter '\x1b[2Jred'\nsecond line")

    monkeypatch.setattr("fanin.commands.app.app", fails)
    with pytest.raises(SystemExit, match="2"):
        main()
    assert capsys.readouterr().err == "fanin: no parameter '\\x1b[2Jred'\nsecond line\n"
