from __future__ import annotations

import io

import pytest
from rich.cells import cell_len
from rich.console import Console

from fanin.initializers import Normal, Zeros
from fanin.planning.assignment import Assignment
from fanin.planning.plan import Plan
from fanin.planning.view import PlanView
from tests.report.samples import HOSTILE
from tests.report.test_terminal import assert_snapshot


def plan(num_blocks: int = 12, name: str = "blocks") -> Plan:
    made = [
        Assignment(
            name=f"{name}.{i}.mlp.fc{j}.{part}",
            role="weight" if part == "weight" else "bias",
            shape=(768, 192) if part == "weight" else (768,),
            dtype="float32",
            initializer=Normal(std=0.02 / j) if part == "weight" else Zeros(),
            std=0.02 / j if part == "weight" else 0.0,
            reason=f"reason of fc{j} {part}" if part == "weight" else "biases start at zero",
        )
        for i in range(num_blocks)
        for j in (1, 2)
        for part in ("weight", "bias")
    ]
    made.append(Assignment(name="head.weight", role="head", shape=(10, 192), dtype="float32", action="keep"))
    return Plan(
        recipe="torch",
        seed=0,
        model="VisionTransformer",
        assignments={a.name: a for a in made},
        warnings=("the input of head.weight has no known scale",),
    )


class Written(io.StringIO):
    def __init__(self, encoding: str):
        super().__init__()
        self._encoding = encoding

    @property
    def encoding(self) -> str:
        return self._encoding


def test_the_table_says_what_repeats_once():
    file = Written("utf-8")
    Console(file=file, width=100, color_system=None, _environ={}).print(PlanView(plan()))
    text = "".join(line.rstrip() + "\n" for line in file.getvalue().splitlines())
    assert "blocks.{0..11}.mlp.fc1.weight" in text
    assert_snapshot("plan.txt", text)


@pytest.mark.parametrize("width", [70, 100, 160])
@pytest.mark.parametrize("name", ["blocks", HOSTILE])
def test_lines_fit_and_names_are_text(width, name):
    file = Written("utf-8")
    Console(file=file, width=width, color_system=None, _environ={}).print(PlanView(plan(name=name)))
    lines = file.getvalue().splitlines()
    assert max(cell_len(line.rstrip()) for line in lines) <= min(width, 100)
    assert all(line.isprintable() for line in lines)


def test_an_encoding_without_lines_gets_ascii():
    file = Written("ascii")
    Console(file=file, width=100, _environ={}).print(PlanView(plan()))
    assert file.getvalue().isascii()


def test_a_plan_of_nothing_is_a_header():
    file = Written("utf-8")
    empty = Plan(recipe="torch", seed=0, model="Identity", assignments={})
    Console(file=file, width=100, color_system=None, _environ={}).print(PlanView(empty))
    assert "parameters 0" in file.getvalue()
