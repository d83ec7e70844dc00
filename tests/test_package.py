"""The package as a whole: what importing it costs, and what it says of itself."""

from __future__ import annotations

import os
import re
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


_STATES = """
import random, numpy, torch
def states():
    return random.getstate(), numpy.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
torch.manual_seed(0)
model, x = torch.nn.Sequential(torch.nn.Linear(16, 32), torch.nn.ReLU(), torch.nn.Linear(32, 4)), torch.randn(32, 16)
before = states()
"""


@pytest.mark.parametrize(
    "verb",
    [
        "fanin.init_(model, x, targets=torch.arange(32) % 4)",
        "str(fanin.check(model, x)), fanin.plan(model, x).explain('0.weight'), str(fanin.calibrate(model, x))",
    ],
)
def test_the_first_call_in_a_process_moves_no_generator(verb):
    code = f"import fanin\n{_STATES}\n{verb}\nassert states() == before"
    subprocess.run([sys.executable, "-c", code], check=True, env=_ENV)


def test_that_a_generator_moves_can_be_seen():
    code = f"{_STATES}\nimport rich.style\nassert states() == before"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=_ENV)
    assert "AssertionError" in done.stderr


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


# ---------------------------------------------------------------------- versions and what is shipped
ROOT = Path(__file__).parents[1]


def named_versions(root: Path) -> dict[str, str]:
    """The version as each file of the project names it."""
    citation = re.search(r"^version: (\S+)$", (root / "CITATION.cff").read_text(encoding="utf-8"), re.MULTILINE)
    released = [name for name in headings(root / "CHANGELOG.md") if name != "Unreleased"]
    return {"CITATION.cff": citation[1], "CHANGELOG.md": released[0], "fanin.__version__": fanin.__version__}


def headings(changelog: Path) -> list[str]:
    """The versions of a changelog, the newest first."""
    return re.findall(r"^## (\S+)", changelog.read_text(encoding="utf-8"), re.MULTILINE)


def test_the_changelog_goes_from_unreleased_down_through_the_versions():
    first, *versions = headings(ROOT / "CHANGELOG.md")
    assert first == "Unreleased"
    numbers = [tuple(map(int, version.split("."))) for version in versions]
    assert numbers == sorted(set(numbers), reverse=True)
    kinds = re.findall(r"^### (.+)$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert set(kinds) <= {"Added", "Changed", "Numbers changed", "Deprecated", "Removed", "Fixed", "Security"}


def test_every_file_names_the_same_version(tmp_path):
    assert len(set(named_versions(ROOT).values())) == 1, named_versions(ROOT)
    (tmp_path / "CITATION.cff").write_text("version: 9.9.9\n")
    (tmp_path / "CHANGELOG.md").write_text("# Changelog\n\n## 9.9.8 (2030-01-01)\n")
    assert set(named_versions(tmp_path).values()) == {"9.9.9", "9.9.8", fanin.__version__}


def test_the_sdist_ships_all_that_tests_and_commands_read():
    """Every file at the root that is no tool's own is in the list of what the source distribution holds."""
    if sys.version_info < (3, 11):
        pytest.skip("tomllib is Python 3.11's")
    import tomllib

    told = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    shipped = {*told["tool"]["hatch"]["build"]["targets"]["sdist"]["include"], "pyproject.toml", ".gitignore"}
    assert {"src", "tests", "zoo", "tools", "benchmarks", "docs", ".github", "action.yml"} <= shipped
    assert all((ROOT / name).exists() for name in shipped - {".gitignore"})
    ours = {p.name for p in ROOT.iterdir() if p.is_file() and not p.name.startswith(".") and p.suffix != ".db"}
    assert ours <= shipped | {"PKG-INFO"}
