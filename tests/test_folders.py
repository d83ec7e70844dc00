"""The folders of the tests are those of the package: where code is, its tests are found."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "fanin"


def without_tests(rooms: Iterable[str], tests: Path) -> list[str]:
    """Rooms of the package for which there is neither a folder with a test file nor a test file of that name."""
    return [r for r in rooms if not list((tests / r).rglob("test_*.py")) and not (tests / f"test_{r}.py").exists()]


def test_every_package_has_a_folder_of_tests():
    packages = [p.parent.name for p in PACKAGE.glob("*/__init__.py")]
    assert len(packages) > 10
    assert not without_tests(packages, ROOT / "tests")


def test_every_folder_of_tests_is_that_of_something():
    rooms = {p.stem for p in (*PACKAGE.iterdir(), *ROOT.iterdir())}
    shared = {"reference", "bugs"}  # slow twins that several folders use; what once went wrong
    with_tests = {f.parent.name for f in (ROOT / "tests").glob("*/test_*.py")}
    assert not with_tests - rooms - shared


def test_a_package_without_tests_is_found(tmp_path):
    (tmp_path / "graph").mkdir()
    (tmp_path / "graph" / "notes.py").touch()
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "test_names.py").touch()
    (tmp_path / "test_memory.py").touch()
    assert without_tests(["graph", "text", "memory", "moments"], tmp_path) == ["graph", "moments"]
