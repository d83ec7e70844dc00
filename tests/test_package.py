"""The package as a whole: what importing it costs, and what it says of itself."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import fanin

HEAVY = ("torch", "numba", "matplotlib", "jax", "keras", "scipy", "mpmath", "rich", "typer")


def _modules_after(statement: str) -> set[str]:
    code = f"import sys\n{statement}\nprint(' '.join(sys.modules))"
    env = os.environ | {"PYTHONPATH": str(Path(fanin.__file__).parents[1])}
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, env=env)
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
