"""`python -m tools.new`: files that the linters accept, and tests that fail until they are written."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from fanin.initializers.base import Initializer
from fanin.recipes.base import Recipe
from fanin.rules.base import Rule
from tools.new import ROOT, files, main, steps

GIVEN = {"rule": ["dead-heads", "--code", "T799"], "law": ["laplace"], "recipe": ["mega_net"]}


def loaded(file: Path):
    spec = importlib.util.spec_from_file_location(f"new_{file.stem}", file)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # a dataclass looks its module up
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("kind", GIVEN)
def test_the_files_are_made_and_can_be_imported(kind, tmp_path, capsys):
    main([kind, *GIVEN[kind]], root=tmp_path)
    source, test = (tmp_path / path for path in files(kind, GIVEN[kind][0], GIVEN[kind][-1] if kind == "rule" else ""))
    module = loaded(source)
    made = getattr(module, module.__all__[0])
    if kind == "rule":
        assert issubclass(made, Rule)
        assert (made.code, made.name) == ("T799", "dead-heads")
        assert "What is measured" in made().page()
    elif kind == "law":
        assert made(std=0.5).std == 0.5
        assert issubclass(made, Initializer)
    else:
        assert isinstance(made, Recipe)
        assert made.name == "mega_net"
    assert "table" in capsys.readouterr().out or kind == "law"
    tests = [value for name, value in vars(loaded(test)).items() if name.startswith("test_")]
    with pytest.raises(pytest.fail.Exception):
        tests[0]("a model") if kind != "recipe" else tests[0]()


def test_the_linters_accept_them(tmp_path):
    for kind, arguments in GIVEN.items():
        main([kind, *arguments], root=tmp_path)
    ours = "lint.isort.known-first-party = ['fanin']"  # most of the package is not in this folder
    settings = ["--config", str(ROOT / "pyproject.toml"), "--config", ours, "--no-cache"]
    for command in (["check", "--ignore", "INP001"], ["format", "--check"]):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *command, *settings, "."], cwd=tmp_path, capture_output=True
        )
        assert done.returncode == 0, done.stdout.decode()


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["rule", "dead-heads"], "needs --code"),
        (["rule", "dead-heads", "--code", "S201"], "a rule with the code S201"),
        (["rule", "forward-vanishing", "--code", "S299"], "a rule called 'forward-vanishing'"),
        (["law", "he_normal"], "a law called 'he_normal'"),
        (["recipe", "../etc"], "words of small letters"),
    ],
)
def test_what_cannot_be_made_is_said(arguments, why, tmp_path, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(arguments, root=tmp_path)
    assert why in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_nothing_is_overwritten(tmp_path, capsys):
    main(["law", "laplace"], root=tmp_path)
    test = tmp_path / "tests/initializers/test_laplace.py"
    (tmp_path / "src/fanin/initializers/catalogue/laplace.py").unlink()
    test.write_text("mine", encoding="utf-8")
    with pytest.raises(SystemExit, match="2"):
        main(["law", "laplace"], root=tmp_path)
    assert test.read_text(encoding="utf-8") == "mine"
    assert not (tmp_path / "src/fanin/initializers/catalogue/laplace.py").exists()


@pytest.mark.parametrize("kind", GIVEN)
def test_the_steps_name_files_that_are_there(kind):
    told = steps(kind, GIVEN[kind][0], "T799" if kind == "rule" else "")
    for step in told:
        place = step.partition(":")[0]
        assert place.startswith("python -m tools.") or (ROOT / place).is_file(), step
