"""The derivation of a plan: every line that shows numbers computes to its value, from the lines above it."""

from __future__ import annotations

import math
import re

import pytest
import torch
from torch import nn
from typer.testing import CliRunner

import fanin
from fanin.commands.app import app
from fanin.recipes.auto.wording import LINES, Number, steps
from fanin.recipes.engine.origin import variance_words
from tests.selection import few

FUNCTIONS = {"sqrt": math.sqrt, "max": max, "min": min, "__builtins__": {}}
TOLERANCE = 2e-3  # six figures are shown, and a norm's eps counts as none


class Residual(nn.Module):
    def __init__(self, body):
        super().__init__()
        self.body = body

    def forward(self, x):
        return x + self.body(x)


class Sine(nn.Module):
    def forward(self, x):
        return torch.sin(30.0 * x)


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(50, 16)
        self.norm = nn.LayerNorm(16)

    def forward(self, ids):
        return nn.functional.linear(self.norm(self.table(ids)), self.table.weight)


def dense(activation, depth, width=16):
    body = [m for _ in range(depth) for m in (nn.Linear(width, width), activation())]
    return nn.Sequential(*body, nn.Linear(width, 4))


def normed(num):
    return [
        Residual(nn.Sequential(nn.LayerNorm(16), nn.Linear(16, 32), nn.GELU(), nn.Linear(32, 16))) for _ in range(num)
    ]


def plain(num):
    return [Residual(nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 16))) for _ in range(num)]


X = torch.randn(32, 16, generator=torch.Generator().manual_seed(0))
MODELS = {
    "relu, 2": lambda: (dense(nn.ReLU, 2), X),
    "large input": lambda: (dense(nn.ReLU, 2), 100.0 * X),
    "mirrored": lambda: (dense(nn.ReLU, 6), X),
    "centred": lambda: (dense(nn.Sigmoid, 4), X),
    "critical": lambda: (dense(nn.Tanh, 18), X),
    "normed branches": lambda: (nn.Sequential(nn.Linear(16, 16), *normed(3), nn.Linear(16, 4)), X),
    "branches": lambda: (nn.Sequential(nn.Linear(16, 16), *plain(3), nn.Linear(16, 4)), X),
    "sines": lambda: (nn.Sequential(nn.Linear(2, 32), Sine(), nn.Linear(32, 32), Sine(), nn.Linear(32, 3)), X[:, :2]),
    "tied table": lambda: (Tied(), torch.zeros(2, 7, dtype=torch.long)),
    "convolutions": lambda: (
        nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1)),
        torch.randn(2, 3, 8, 8),
    ),
    "transformer": lambda: (
        nn.TransformerEncoder(nn.TransformerEncoderLayer(16, 2, 32, batch_first=True), 2),
        torch.randn(2, 5, 16),
    ),
    "bag": lambda: (nn.EmbeddingBag(20, 8, mode="sum"), torch.zeros(3, 4, dtype=torch.long)),
}
CHOSEN = [(recipe, case) for recipe in ("auto", "classic") for case in MODELS]
LONG = (("classic", "transformer"), ("classic", "critical"))


def computed(words):
    return eval(words.replace("×", "*"), dict(FUNCTIONS))


def off(plan):
    """The lines of a plan whose numbers do not give their value."""
    lines = [(name, s) for name, a in plan.assignments.items() for s in a.steps if s.worked]
    return [(name, str(s)) for name, s in lines if not math.isclose(computed(s.worked), s.value, rel_tol=TOLERANCE)]


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(("recipe", "case"), few(CHOSEN, *(one for one in CHOSEN if one not in LONG)))
def test_the_numbers_of_every_line_give_its_value(case, recipe):
    torch.manual_seed(0)
    model, x = MODELS[case]()
    assert off(fanin.plan(model, x, recipe=recipe)) == []


def test_the_lines_of_a_variance_and_its_std_are_worked_out():
    """From the first number to the std without a gap: each number is given, measured, or computed from those above."""
    a = fanin.plan(dense(nn.ReLU, 2), X)["2.weight"]
    derived = [s for s in a.steps if s.quantity != "evidence"]
    assert [s.quantity for s in derived] == ["fan_in", "E z²", "E x²", "var", "std"]
    used = " ".join(s.worked for s in derived)
    for s in derived[:-1]:
        shown = re.escape(f"{s.value:.6g}")
        assert s.quantity == "E z²" or re.search(shown, used), s
    assert a.steps[-1].quantity == "evidence"


def test_a_changed_number_is_seen():
    wrong = steps((Number("second", 0.5), Number("var", 1.0, "plain")), fan_in=8.0, read="", reads="")[-1]
    assert not math.isclose(computed(wrong.worked), wrong.value, rel_tol=TOLERANCE)


def test_what_is_not_known_is_not_written():
    (line,) = steps((Number("std", 0.5, "sizeless"),), fan_in=None)
    assert line.worked == ""
    assert variance_words(None, 1.0, 1.0, 1.0) == ""


def test_without_inputs_the_derivation_says_what_was_assumed():
    given, made = (
        next(s for s in fanin.plan(dense(nn.ReLU, 2), x)["0.weight"].steps if s.quantity == "E x²") for x in (X, None)
    )
    assert "given input" in given.formula
    assert made.formula.startswith("no inputs were given")


def test_every_worked_template_names_numbers_that_some_rule_can_give():
    known = {key for key, _ in LINES} | {"fan_in", "fan_out", "used", "scale_of_input", "last"}
    words = {"slope", "count", "terms", "part", "bag", "offset", "q"}
    for line in LINES.values():
        assert set(re.findall(r"{(\w+)}", line.worked)) <= known | words


@pytest.mark.parametrize("width", [60, 80, 100, 120])
def test_the_evidence_is_a_table_below_the_derivation(width):
    from fanin.planning.explain import explain_text

    plan = fanin.plan(dense(nn.ReLU, 2), X)
    text = explain_text(plan, plan["2.weight"], width=width)
    assert all(len(line) <= width for line in text.splitlines())
    assert text.index("std    =") < text.index("what was measured for this choice") < text.index("other starts")
    assert "196-512-32-512-10" in text


def test_the_command_folds_a_derivation_to_the_width_of_its_terminal(tmp_path, monkeypatch):
    file = tmp_path / "net.py"
    file.write_text(
        "import torch\ndef build():\n    return torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.Linear(8, 2))\n"
    )
    for width in (60, 80, 140):
        monkeypatch.setenv("COLUMNS", str(width))
        done = CliRunner().invoke(app, ["explain", f"{file}:build::0.weight"])
        assert done.exit_code == 0
        longest = max(map(len, done.stdout.splitlines()))
        assert 0.6 * min(width, 100) < longest <= min(width, 100)
