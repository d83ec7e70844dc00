from __future__ import annotations

import io

import pytest
from rich.cells import cell_len
from rich.console import Console

from fanin.errors import PlanError
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
    made.append(Assignment(name="head.weight", role="weight", shape=(10, 192), dtype="float32", action="keep"))
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
    assert max(cell_len(line.rstrip()) for line in lines) <= width
    assert all(line.isprintable() for line in lines)


def test_print_gives_the_same_table_as_the_terminal():
    file = Written("utf-8")
    Console(file=file, width=100, color_system=None, _environ={}).print(PlanView(plan()))
    assert str(plan()).splitlines() == [line.rstrip() for line in file.getvalue().rstrip("\n").splitlines()]


def saved_by_an_enemy(text: str, **changes: str) -> Plan:
    """A plan read from a file in which every string is `text`, but the role, of which a plan takes known ones only."""
    data = {"schema": "fanin-plan/1", "recipe": text, "seed": 0, "model": text, "warnings": [text], "extras": {}}
    step = {"quantity": text, "value": text, "formula": text, "source": text}
    words = dict.fromkeys(("name", "key", "dtype", "through", "rule", "reason"), text) | {"role": "weight"} | changes
    made = {**words, "shape": [2], "action": "keep", "aliases": [text + "2"], "warnings": [text], "steps": [step]}
    return Plan.from_dict({**data, "options": {text: text}, "assignments": [made]})


def test_no_string_of_a_file_reaches_the_terminal_as_an_instruction():
    text = "\x1b[2J\x07\u202ered\r\n\x9b31m"
    loaded, other = saved_by_an_enemy(text), saved_by_an_enemy(text + "x")
    shown = [str(loaded), loaded.explain(text), str(loaded.diff(other)), str(loaded.diff(loaded))]
    for part in shown:
        assert "red" in part
        assert all(line.isprintable() for line in part.split("\n"))


def test_a_role_of_a_file_is_refused_without_acting_on_the_terminal():
    with pytest.raises(PlanError) as raised:
        saved_by_an_enemy("w", role="\x1b[2J")
    assert str(raised.value).isprintable()


def test_the_check_for_instructions_can_fail():
    assert not "\x1b[2J".isprintable()
    assert not "\u202e".isprintable()


def test_an_encoding_without_lines_gets_ascii():
    file = Written("ascii")
    Console(file=file, width=100, _environ={}).print(PlanView(plan()))
    assert file.getvalue().isascii()


def test_a_plan_of_nothing_is_a_header():
    file = Written("utf-8")
    empty = Plan(recipe="torch", seed=0, model="Identity", assignments={})
    Console(file=file, width=100, color_system=None, _environ={}).print(PlanView(empty))
    assert "parameters 0" in file.getvalue()
