"""The package as a whole: what importing it costs, and what it says of itself."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import fanin
from fanin.commands.app import main

_ENV = os.environ | {"PYTHONPATH": str(Path(fanin.__file__).parents[1])}
HEAVY = ("torch", "numba", "matplotlib", "jax", "keras", "scipy", "mpmath", "rich", "typer")


def _modules_after(statement: str) -> set[str]:
    code = f"import sys\n{statement}\nprint(' '.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, env=_ENV)
    return set(done.stdout.split())


def test_importing_fanin_is_light():
    assert not _modules_after("import fanin") & set(HEAVY)


def test_the_import_check_can_fail():
    assert "scipy" in _modules_after("import fanin, scipy")


def test_every_public_name_resolves():
    for name in fanin.__all__:
        assert getattr(fanin, name) is not None


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(AttributeError, match=r"no attribute 'initialise'.*public names"):
        fanin.initialise  # noqa: B018


def test_the_command_of_this_very_python():
    done = subprocess.run([sys.executable, "-m", "fanin", "--version"], capture_output=True, text=True, env=_ENV)
    assert (done.returncode, done.stdout.strip()) == (0, f"fanin {fanin.__version__}")


def test_an_internal_error_is_not_a_finding(monkeypatch, capsys):
    def broken() -> None:
        raise ZeroDivisionError("of our own")

    monkeypatch.setattr("fanin.commands.app.app", broken)
    with pytest.raises(SystemExit, match="2"):
        main()
    assert "ZeroDivisionError: of our own\nfanin: internal error" in capsys.readouterr().err
