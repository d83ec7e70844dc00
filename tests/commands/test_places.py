"""The line of a target, and the annotations that carry it."""

from __future__ import annotations

import sys

import pytest
import torch
from typer.testing import CliRunner

from fanin.commands.app import app
from fanin.commands.check import check_target
from fanin.commands.places import place_of
from fanin.commands.targets import load_object

SOURCE = """import torch
from torch import nn as layers

def other():
    return None

def build():
    torch.manual_seed(0)
    stack = [m for _ in range(12) for m in (layers.Linear(32, 32), layers.ReLU())]
    return layers.Sequential(*stack), torch.randn(16, 32)

class Own(layers.Module):
    def __init__(self):
        super().__init__()
        self.inner = build()[0]

    def forward(self, x):
        return self.inner(x)

def made():
    return Own(), torch.randn(16, 32)

stack, size = build()[0], 3
typed: object = None
build = build
"""


@pytest.fixture
def file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text(SOURCE)
    return "net.py"


@pytest.mark.parametrize(
    ("name", "line"),
    [("other", 4), ("Own", 12), ("Own.forward", 12), ("stack", 23), ("typed", 24), ("build", 25), ("layers", 2)],
)
def test_the_line_is_where_the_name_gets_its_value(file, name, line):
    assert place_of(f"{file}:{name}") == (str((file_path := __import__("pathlib").Path(file)).resolve()), line)
    assert file_path.exists()


@pytest.mark.parametrize("target", ["net.py:nothing", "gone.py:build", "timm:resnet18", "build", "torch:nn", "math:pi"])
def test_what_has_no_line_of_the_user_has_none(file, target):
    assert place_of(target) is None


def test_a_module_is_found_after_it_was_loaded(file, monkeypatch):
    monkeypatch.delitem(sys.modules, "net", raising=False)
    monkeypatch.syspath_prepend(".")
    load_object("net:other")
    assert place_of("net:other")[1] == 4
    monkeypatch.delitem(sys.modules, "net")


@pytest.mark.parametrize(("name", "line"), [("build", 25), ("made", 12)])
def test_an_annotation_carries_file_and_line(file, name, line):
    """The user's class where there is one around the finding, else the line that builds the model."""
    done = CliRunner().invoke(app, ["check", f"{file}:{name}", "--no-predict", "--no-trial", "--format", "github"])
    first = done.stdout.splitlines()[0]
    assert first.startswith(f"::error file=net.py,line={line},title=S203")


def test_a_baseline_leaves_out_a_root_cause_with_its_consequences(file, tmp_path):
    first = check_target(f"{file}:build", trial=False)
    assert first.findings
    assert first.consequences
    path = first.save(tmp_path / "known.json")
    again = check_target(f"{file}:build", trial=False, baseline=path)
    assert again.ok
    assert not again.findings
    assert not again.consequences
    named = {f.code for f in (*first.findings, *first.consequences)}
    assert {f.code for f in again.result.ignored} >= named
    with torch.random.fork_rng():
        other = check_target(f"{file}:made", trial=False, baseline=path)
    assert not other.ok  # the names differ, so nothing there is known
