"""Totals per module: they add up, equal blocks are one row, and the command prints them."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from typer.testing import CliRunner

import fanin
from fanin.commands.app import app
from fanin.initializers import Normal
from fanin.planning.assignment import Assignment
from fanin.planning.plan import Plan
from fanin.planning.totals import module_totals
from fanin.planning.view import PlanView
from fanin.text.console import plain_text

PATHS = st.lists(st.sampled_from(["a", "b", "0", "1", "2", "weight"]), min_size=1, max_size=5).map(".".join)


def plan_of(shapes: dict[str, tuple[int, ...]]) -> Plan:
    law = Normal(std=0.02)
    made = {
        name: Assignment(name=name, role="weight", shape=shape, dtype="float32", initializer=law)
        for name, shape in shapes.items()
    }
    return Plan(recipe="torch", seed=0, model="Net", assignments=made)


@given(st.dictionaries(PATHS, st.tuples(st.integers(1, 4), st.integers(1, 4)), min_size=1, max_size=12))
def test_the_rows_of_each_depth_add_up_to_what_lies_in_modules_there(shapes):
    """A row holds all that is inside: the sum over all rows is each number times the modules around it."""
    totals = module_totals(plan_of(shapes))
    assert totals[0].numel == sum(a * b for a, b in shapes.values())
    assert totals[0].parameters == len(shapes)
    first = [t for t in totals if t.depth == 1]
    assert sum(t.numel for t in first) == sum(a * b for name, (a, b) in shapes.items() if "." in name)
    assert all(t.numel % t.modules == 0 and t.parameters % t.modules == 0 for t in totals)


def test_equal_blocks_are_one_row_and_an_unlike_one_has_its_own():
    shapes = {f"blocks.{i}.fc.weight": (4, 4) for i in range(5)} | {"blocks.5.fc.weight": (4, 8), "head.weight": (2, 4)}
    found = [(t.pattern, t.depth, t.modules, t.numel) for t in module_totals(plan_of(shapes))]
    assert found == [
        ("", 0, 1, 120),
        ("blocks", 1, 1, 112),
        ("{0..4}.fc", 2, 5, 80),
        ("5.fc", 2, 1, 32),
        ("head", 1, 1, 8),
    ]


def test_what_is_kept_is_counted():
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2))
    model[0].requires_grad_(False)
    whole, first, second = module_totals(fanin.plan(model, torch.randn(2, 4)))
    assert (whole.kept, first.kept, second.kept) == (20, 20, 0)
    assert "kept" in plain_text(PlanView(fanin.plan(model, torch.randn(2, 4)), tree=True))


@pytest.mark.parametrize("width", [60, 80, 100, 120])
def test_no_number_of_the_tree_is_cut(width):
    shapes = {f"encoder.layer.{i}.attention.self.query.weight": (768, 768) for i in range(12)}
    text = plain_text(PlanView(plan_of({**shapes, "embeddings.word.weight": (30522, 768)}), tree=True), width=width)
    assert all(len(line) <= width for line in text.splitlines())
    assert "7.08 M (12 of 589,824)" in text
    assert "23.44 M" in text


def test_the_command_prints_the_tree_and_refuses_it_as_data(tmp_path):
    file = tmp_path / "net.py"
    file.write_text(
        "import torch\ndef build():\n    return torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Linear(8, 2))\n"
    )
    done = CliRunner().invoke(app, ["plan", f"{file}:build", "--tree"])
    assert done.exit_code == 0
    assert "module" in done.stdout
    assert "58" in done.stdout
    refused = CliRunner().invoke(app, ["plan", f"{file}:build", "--tree", "--format", "json"])
    assert refused.exit_code != 0
    assert "--tree is a table" in str(refused.exception)
