"""The plugin, as a project would use it."""

from __future__ import annotations

import types
from importlib.metadata import entry_points
from pathlib import Path

import pytest

import fanin
from fanin.integrations.pytest import _fail

pytest_plugins = ["pytester"]

TEST = """
import pytest, torch
from torch import nn

def model(std):
    layers = [m for _ in range(6) for m in (nn.Linear(32, 32, bias=False), nn.ReLU())]
    for m in layers[::2]:
        nn.init.normal_(m.weight, std=std)
    return nn.Sequential(*layers, nn.Linear(32, 10))

X = torch.randn(32, 32)

def test_healthy(fanin_check):
    assert fanin_check(model(0.25), X).ok

def test_broken(fanin_check):
    fanin_check(model(0.01), X)

@pytest.mark.fanin(select=["P"])
def test_broken_but_not_asked(fanin_check):
    fanin_check(model(0.01), X)

@pytest.mark.fanin(select=["P"])
def test_the_call_wins(fanin_check):
    fanin_check(model(0.01), X, select=["S201"])
"""


@pytest.fixture
def project(pytester, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(Path(fanin.__file__).parents[1]))
    pytester.makepyfile(TEST)
    return pytester


def run(project, *options):
    installed = any(entry.name == "fanin" for entry in entry_points(group="pytest11"))
    plugin = [] if installed else ["-p", "fanin.integrations.pytest"]  # an installed package brings it itself
    return project.runpytest_subprocess(*plugin, "-p", "no:cacheprovider", "-p", "no:randomly", *options)


def outcome(result):
    return {
        line.split("::")[-1] for line in result.outlines if line.startswith("FAILED") for line in [line.split(" - ")[0]]
    }


@pytest.mark.slow
def test_findings_fail_the_test_and_name_their_rules(project):
    result = run(project, "--fanin-html", "pages")
    assert outcome(result) == {"test_broken", "test_the_call_wins"}
    result.stdout.fnmatch_lines(["*S201 forward-vanishing ?error?*"])
    assert len(list((project.path / "pages").glob("*.html"))) == 4


@pytest.mark.slow
def test_the_projects_settings_count(project):
    project.makepyprojecttoml('[tool.fanin]\nignore = ["S", "A"]\n')
    result = run(project)
    assert outcome(result) == {"test_the_call_wins"}  # of its one rule the settings leave nothing to judge by
    result.stdout.fnmatch_lines(["*nothing was checked: no rule is selected*"])


@pytest.mark.slow
def test_fail_on_is_an_option(project):
    result = run(project, "--fanin-fail-on", "error", "-k", "broken")
    assert outcome(result) == {"test_broken"}


class Answer:
    """A report with a given verdict."""

    def __init__(self, ok, failing=(), consequences=()):
        self.ok, self.result = ok, types.SimpleNamespace(failing=failing, failing_consequences=consequences)

    def __str__(self):
        return "the whole report"


FINDING = types.SimpleNamespace(code="S201", name="x", severity="error", pattern="0", message="y")


@pytest.mark.parametrize("kind", ["failing", "consequences", "no rule ran"])
def test_a_report_that_is_not_ok_fails_the_test(kind):
    class Request:
        def getfixturevalue(self, name):
            raise pytest.FixtureLookupError.__new__(pytest.FixtureLookupError)  # its own __init__ needs a real request

    given = {} if kind == "no rule ran" else {kind: (FINDING,)}
    with pytest.raises(pytest.fail.Exception, match="the whole report"):
        _fail(Request(), Answer(False, **given))
    assert _fail(Request(), Answer(True)) is None
