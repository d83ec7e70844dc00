"""fanin as `pip install fanin` leaves it: no torch, no numba, no matplotlib. What needs one of them names its extra."""

from __future__ import annotations

import subprocess
import sys

import pytest

import fanin

BLOCKED = """
import sys
for name in ("torch", "numba", "matplotlib", "jax", "keras"):
    sys.modules[name] = None
"""
COMMAND = BLOCKED + "from fanin.commands.app import main\nsys.argv[0] = 'fanin'\nmain()\n"


def slow(*cases):
    """Cases like those beside them, each in a Python of its own."""
    return [pytest.param(*case, marks=pytest.mark.slow) for case in cases]


def run(program: str, *words: str, cwd=None) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", program, *words], capture_output=True, text=True, check=False, cwd=cwd)


@pytest.mark.parametrize(
    "words",
    [
        ("theory", "--phi", "tanh", "--depth", "5"),
        ("explain", "S203"),
        *slow(
            (("gain", "gelu"),),
            (("theory", "--phi", "relu", "--phase-diagram"),),
            (("explain", "he_normal"),),
            (("explain", "auto"),),
            (("lab", "list"),),
        ),
    ],
)
def test_commands_of_theory_and_words_need_no_extra(words):
    ran = run(COMMAND, *words)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout


@pytest.mark.parametrize(
    ("words", "extra"),
    [
        (("check", "model.py:build"), "torch"),
        (("demo",), "lab"),
        (("theory", "--phi", "tanh", "--plot", "t.png"), "plots"),
        *slow(
            (("plan", "model.py:build"), "torch"),
            (("init", "model.py:build", "--out", "w.safetensors"), "torch"),
            (("graph", "model.py:build"), "torch"),
            (("lab", "one-third"), "lab"),
        ),
    ],
)
def test_a_command_names_the_extra_that_it_needs(words, extra, tmp_path):
    (tmp_path / "model.py").write_text("import torch\ndef build(): return torch.nn.Linear(2, 2)\n")
    ran = run(COMMAND, *words, cwd=tmp_path)
    assert ran.returncode == 2
    assert f"fanin[{extra}]" in ran.stderr
    assert "Traceback" not in ran.stderr
    assert [p.name for p in tmp_path.iterdir() if p.name != "__pycache__"] == ["model.py"]


def test_a_missing_module_of_nobody_stays_as_it_is():
    from fanin.errors import MissingDependencyError

    error = ModuleNotFoundError("no module named 'wheels'", name="wheels")
    assert MissingDependencyError.instead_of(error, needed_for="this") is error
    named = ModuleNotFoundError("no module named 'torch.nn'", name="torch.nn")
    assert "fanin[torch]" in str(MissingDependencyError.instead_of(named, needed_for="this"))


@pytest.mark.parametrize(
    "verb", ["check", *slow(*((verb,) for verb in ("plan", "init_", "calibrate", "watch", "compare")))]
)
def test_a_verb_that_is_called_says_the_extra(verb):
    program = (
        f"import fanin\ntry:\n    fanin.{verb}(object(), object())\nexcept ImportError as error:\n    print(error)\n"
    )
    assert "fanin[torch]" in run(BLOCKED + program).stdout


def test_public_names_say_the_extra_and_laws_work():
    program = (
        BLOCKED
        + """
import fanin
said = {}
for name in fanin.__all__:
    try:
        getattr(fanin, name)
    except ImportError as error:
        said[name] = "fanin[torch]" in str(error)
assert all(said.values()), said
for name in ("gain", "key", "fans", "initializers", "Layout"):
    assert name not in said, name
print(fanin.initializers.he_normal().sample((4, 3), key=fanin.key(0, "w")).tobytes().hex(), fanin.gain("gelu"))
"""
    )
    without = run(program)
    assert without.returncode == 0, without.stderr
    law = fanin.initializers.he_normal().sample((4, 3), key=fanin.key(0, "w"))  # in this process nothing is missing
    assert without.stdout == f"{law.tobytes().hex()} {fanin.gain('gelu')}\n"
