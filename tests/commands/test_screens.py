"""What a terminal of 80 columns shows: nothing is longer, nothing is cut, and every spelling is found."""

from __future__ import annotations

import io
import itertools
import sys

import pytest
import torch
from rich.cells import cell_len
from torch import nn
from typer.testing import CliRunner

import fanin
from fanin import initializers
from fanin.commands.app import app
from fanin.commands.examples import EXAMPLES
from fanin.commands.explain import page
from fanin.commands.not_commands import HINTS, hint
from fanin.errors import ArgumentError, FaninError, UnknownNameError
from fanin.initializers.dialects import FRAMEWORKS
from fanin.initializers.registry import NAMES
from fanin.planning.trial_table import LOSS_LIMIT, trial_text
from fanin.recipes.table import RECIPES, recipe
from fanin.rules.table import RULES
from fanin.text.console import prose_width
from fanin.text.reflow import reflow

PAGES = (*(rule.code for rule in RULES), *RECIPES, *NAMES, "rules", "recipes", "initializers", "S2")
SPELLINGS = sorted({entry.spelling for table in FRAMEWORKS.values() for entry in table.values()})


def widest(text: str) -> int:
    return max(map(cell_len, text.splitlines()))


@pytest.fixture(scope="module")
def planned():
    model = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))
    inputs = torch.ones(4, 64)
    return fanin.plan(model, inputs), fanin.check(model, inputs, targets=torch.zeros(4, dtype=torch.long))


@pytest.mark.parametrize("columns", [60, 80])
def test_what_print_shows_fits_the_terminal(planned, monkeypatch, columns):
    plan, report = planned
    monkeypatch.delenv("COLUMNS", raising=False)
    whole = widest(str(plan))
    monkeypatch.setenv("COLUMNS", str(columns))
    texts = (str(plan), str(report), str(plan.diff(plan)), str(initializers.differences("he_normal")))
    assert max(map(widest, texts)) <= columns < whole <= 100


def test_a_derivation_fits_80_columns(planned, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert widest(planned[0].explain("2.weight")) <= 80


def test_show_prints_the_plan(planned, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    planned[0].show()
    assert [line.rstrip() for line in capsys.readouterr().out.rstrip().splitlines()] == str(planned[0]).splitlines()


def test_an_output_that_is_closed_or_only_writes_is_no_terminal(planned, monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    closed = io.StringIO()
    closed.close()
    for file in (closed, type("Log", (), {"write": lambda self, text: len(text), "flush": lambda self: None})()):
        with monkeypatch.context() as there:
            there.setattr(sys, "stdout", file)
            width, text = prose_width(), str(planned[0])
        assert width == 100
        assert text.startswith("plan for")


def squeezed(text: str) -> str:
    return "".join(text.replace("``", "`").replace("... ", "").split())


@pytest.mark.parametrize("columns", [80, 100])
def test_every_page_of_explain_fits_and_loses_no_word(monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", "100")
    with monkeypatch.context() as unfolded:
        unfolded.setattr("fanin.text.reflow.reflow", lambda text, width: text)
        sources = {name: page(name) for name in PAGES}
    assert max(map(widest, sources.values())) > 100  # without folding the test would fail
    monkeypatch.setenv("COLUMNS", str(columns))
    for name in PAGES:
        shown = page(name)
        assert widest(shown) <= columns, name
        assert squeezed(shown) == squeezed(sources[name]), name
        assert "``" not in shown
        assert name not in RECIPES or "Attributes:" not in shown


def test_a_broken_command_of_an_example_is_still_python():
    command = "values = [max(first, second) for first, second in zip([1, 2], [3, 0], strict=True)]"
    lines = reflow(f">>> {command}", 40).splitlines()
    found: dict[str, object] = {}
    exec("\n".join(line[4:] for line in lines), found)
    assert len(lines) > 1
    assert found["values"] == [3, 2]


def test_rules_are_listed_by_family_and_code():
    codes = [line.split()[0] for line in page("rules").splitlines() if line.startswith("  ") and line[2] != " "]
    assert set(codes) == {rule.code for rule in RULES}
    assert all(a < b for a, b in itertools.pairwise(codes) if a[0] == b[0])
    assert len([1 for a, b in itertools.pairwise(codes) if a[0] != b[0]]) == len({c[0] for c in codes}) - 1


@pytest.mark.parametrize("name", [*SPELLINGS, "kaiming_normal", "HeNormal", "xavier_uniform_", "Orthogonal"])
def test_explain_knows_every_spelling_that_get_knows(name):
    try:
        known = initializers.registry.canonical(name)
    except FaninError:
        with pytest.raises(UnknownNameError):
            page(name)
        return
    assert name in RECIPES or f"initializer {known}\n" in page(name)


@pytest.mark.parametrize("name", ["kaiming_normal", "he_normal", "XavierUniform", "kaiming", "normal(std=0.02)"])
def test_a_law_in_place_of_a_recipe_is_told(name):
    with pytest.raises(UnknownNameError, match="overrides="):
        recipe(name)


def test_other_wrong_recipes_are_told_as_before():
    with pytest.raises(UnknownNameError, match="no recipe is called"):
        recipe("klassic")
    for name in (3, ["auto"]):
        with pytest.raises(ArgumentError, match="recipe is a name"):
            recipe(name)


@pytest.mark.parametrize("verb", ["compare", "watch", "fingerprint", "param-groups", "init_"])
def test_a_verb_of_python_is_no_command_and_says_so(verb):
    done = CliRunner().invoke(app, [verb, "model.py:build"])
    assert done.exit_code == 2
    assert "call of Python" in done.output
    assert "call of Python" not in CliRunner().invoke(app, ["frobnicate"]).output


def test_hints_are_about_public_names_that_are_no_commands():
    assert set(HINTS) <= set(fanin.__all__)
    assert all(hint(name) for name in HINTS)
    commands = {command.callback.__name__ for command in app.registered_commands}
    assert not commands & set(HINTS)


def test_no_example_and_no_short_help_is_cut_at_80_columns():
    assert max(len(line) for lines in EXAMPLES.values() for line in lines) <= 76
    for group in ("cert", "mup"):
        shown = CliRunner().invoke(app, [group, "--help"], env={"COLUMNS": "80"}).stdout
        assert "..." not in shown.partition("Commands:")[2]


def test_the_trial_says_what_its_columns_mean_and_why_the_loss_is_higher():
    found, planned = {"loss": 2.3, "output_rms": 0.1, "chi": 0.01}, {"loss": 2.7, "output_rms": 1.0, "chi": 1.0}
    told = trial_text({"ran": True, "found": found, "planned": planned})
    assert "chi: how much" in told
    assert "likeness:" not in told
    assert "found + ln 2" in told
    for loss in (2.2, 2.3 + LOSS_LIMIT + 0.1):  # lower, or worse: nothing to excuse
        assert "ln 2" not in trial_text({"ran": True, "found": found, "planned": {**planned, "loss": loss}})
