"""Every benchmark starts from a fresh clone: `python -m benchmarks...` needs neither PYTHONPATH nor the tests."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.selection import few

ROOT = Path(__file__).parents[2]
FILES = {".".join(f.relative_to(ROOT).with_suffix("").parts): f for f in sorted((ROOT / "benchmarks").rglob("*.py"))}
PROGRAMS = sorted(name for name, file in FILES.items() if '__name__ == "__main__"' in file.read_text(encoding="utf-8"))
# Each program in a copy of a process that has imported torch, so that none profits from what another has imported.
HELP_OF_ALL = """
import contextlib, io, os, runpy, sys, torch

def helps(name):
    said, sys.argv = io.StringIO(), [name, "--help"]
    with contextlib.redirect_stdout(said):
        try:
            runpy.run_module(name, run_name="__main__", alter_sys=True)
            return "goes on"
        except SystemExit as end:
            return f"{end.code or 0} {'usage:' in said.getvalue()} {'tests' in sys.modules}"

for name in sys.argv[1:]:
    if not os.fork():
        print(name, helps(name), flush=True)
        os._exit(0)
    os.wait()
"""


def started(*arguments: str) -> subprocess.CompletedProcess[str]:
    """A process in the repository's root, with fanin as it is installed and nothing else on its path."""
    path = {"PYTHONPATH": str(ROOT / "src")}  # what `make test` has installed into .venv
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, cwd=ROOT, env=os.environ | path)


def test_there_are_programs():
    assert {"benchmarks.speed.fill", "benchmarks.speed.check_cost", "benchmarks.accuracy.graph_zoo"} <= set(PROGRAMS)


@pytest.mark.parametrize("names", few([["benchmarks.speed.fill"], PROGRAMS], every=2), ids=["one", "all"])
def test_every_program_prints_its_help(names):
    done = started("-c", HELP_OF_ALL, *names)
    assert done.stdout.splitlines() == [f"{name} 0 True False" for name in names], done.stderr[-2000:]


@pytest.mark.slow
@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_prints_its_help_in_a_process_of_its_own(name):
    done = started("-m", name, "--help")
    assert (done.returncode, "usage:" in done.stdout) == (0, True), done.stderr[-2000:]


@pytest.mark.slow
def test_a_program_that_does_not_start_is_found():
    done = started("-c", HELP_OF_ALL, "benchmarks.no_such_program")
    assert "No module named" in done.stderr
    assert not done.stdout


def imports_of(text: str) -> set[str]:
    """First parts of the names of all modules that a file imports."""
    nodes = list(ast.walk(ast.parse(text)))
    plain = {alias.name.split(".")[0] for n in nodes if isinstance(n, ast.Import) for alias in n.names}
    return plain | {(n.module or "").split(".")[0] for n in nodes if isinstance(n, ast.ImportFrom)}


@pytest.mark.parametrize("folder", ["benchmarks", "zoo", "tools", "src"])
def test_only_tests_import_tests(folder):
    texts = {f: f.read_text(encoding="utf-8") for f in (ROOT / folder).rglob("*.py")}
    wrong = [f for f, text in texts.items() if "tests" in text and "tests" in imports_of(text)]
    assert not wrong


def test_an_import_of_the_tests_is_found():
    assert "tests" in imports_of("def f():\n    from tests.graph.test_zoo import LABELS")


@pytest.mark.parametrize("name", PROGRAMS)
def test_every_result_has_the_one_header(name):
    text = FILES[name].read_text(encoding="utf-8")
    assert "header()" in text
    assert not {"platform", "datetime"} & imports_of(text), "the header is benchmarks.common's"
