"""Generated faults and what must stay silent: a fixed part in every run, all of them in the slow run."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import fanin
from tests.selection import few
from zoo.health.verdict_cases import CASES, FAMILIES, Case, checked, judged

# one of each kind that public reports showed, with its fixed twin
SHOWN = (
    "relu 2 x30", "cnn 6 x0.0333", "relu three x200", "blocks embedding 50.0", "blocks branches x20",
    "(in, out) (1024, 256, 64, 16, 10) True", "(in, out) (1024, 256, 64, 16, 10) False", "graph attention with 3e30",
    "graph attention", "rotary nan", "rotary 0.0", "masks and extremes", "rows 200:211 x50 tied", "tied table",
    "relu frozen 2", "relu only the head", "relu with adapters", "relu tied ('2', '6')", "lost tie",
    "equilibrium of 12 steps", "alibi 64 tokens, 8 samples", "alibi 64 tokens, 1 samples",
    "alibi and large queries, 8 samples", "time steps from 0.001", "softplus at -6", "siren 5", "prior of 0.01",
    "no prior for 0.01", "queries 0.01 apart", "policy False", "relu of one sample", "field 8",
    "next blocks, far of zeros", "healthy next blocks", "healthy controlled", "residual, statistics of other data",
    "generated kernels, make x30", "healthy generated kernels", "healthy stock field", "narrow, maps.1 / 300",
)  # fmt: skip
LONG = ("blocks embedding 50.0", "equilibrium of 12 steps")


def assert_right(name: str) -> None:
    report = checked(CASES[name])
    assert judged(CASES[name], report), f"{name}: wanted {CASES[name].codes or 'silence'}\n{report}"


@pytest.mark.parametrize("name", few(SHOWN, *(n for n in SHOWN if n not in LONG)))
def test_the_shown_cases_and_their_twins(name):
    assert_right(name)


@pytest.mark.parametrize("name", few([n for n in SHOWN if n.startswith(("(in, out)", "graph attention"))], every=2))
def test_the_graph_leads_to_the_same_verdict_on_bare_parameters(name):
    report = checked(CASES[name], predict=None)
    assert judged(CASES[name], report), str(report)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Using a target size:UserWarning")  # the loss of a case whose fault this is
@pytest.mark.parametrize("name", [n for n in CASES if n not in SHOWN])
def test_all_others(name):
    assert_right(name)


def test_a_right_case_can_be_judged_wrong():
    torch.manual_seed(0)
    report = fanin.check(**CASES["relu 2 x30"].make(), predict=False, trial=False)
    make = CASES["relu"].make
    assert not judged(Case(kind="", make=make, codes=("P502",), path="6"), report)
    assert not judged(Case(kind="", make=make, codes=("L801",), path="2"), report)
    assert not judged(Case(kind="", make=make), report)


def test_there_are_enough_of_them():
    assert len(CASES) >= 150


def test_no_case_hides_another_of_its_name():
    names = [name for family in FAMILIES for name, _ in family()]
    assert len(names) == len(set(names)) == len(CASES)


def test_the_prior_of_rare_labels_is_named_in_a_note():
    torch.manual_seed(0)
    report = fanin.check(**CASES["no prior for 0.01"].make(), predict=False)
    (found,) = (f for f in report.findings if f.code == "L801")
    assert found.severity == "note"
    assert "ln(p / (1 - p)) = -4.57" in found.fix.text


def test_a_mask_is_not_where_the_first_infinity_came_from():
    torch.manual_seed(0)
    report = fanin.check(**CASES["masks and extremes"].make(), predict=False)
    assert report.measurements.first_nonfinite is None
    log = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.ReLU())
    case = {"inputs": torch.randn(8, 8), "loss": lambda y: y.log().sum()}
    assert fanin.check(log, **case, predict=False).measurements.first_nonfinite == ("", "log")


def test_the_output_sigmoid_of_a_field_is_no_culprit():
    from zoo.health.verdict_cases import Field, vectors

    torch.manual_seed(0)
    model = Field(10)
    for layer in model.layers:
        layer.reset_parameters()  # torch's default, under which ten layers collapse
    report = fanin.check(**{**vectors(model), "targets": torch.rand(64, 4)}, predict=False, trial=False)
    assert not report.ok
    assert "sigmoid" not in " ".join(f.fix.text + f.message for f in report.findings)


class BareAttention(torch.nn.Module):
    """Attention whose maps are bare parameters, used as x @ W."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.key, self.value = (torch.nn.Parameter(torch.randn(64, 64) / 8) for _ in range(3))
        self.head = torch.nn.Linear(64, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        scores = x @ self.query @ (x @ self.key).transpose(1, 2) / 8
        return self.head((scores.softmax(-1) @ (x @ self.value)).mean(1))


@pytest.mark.parametrize("predict", [None, False])
def test_condensed_attention_names_the_parameter_that_is_too_large(predict):
    torch.manual_seed(0)
    model = BareAttention()
    with torch.no_grad():
        model.key.mul_(12)
    case = {"inputs": torch.randn(8, 16, 64), "targets": torch.randint(0, 10, (8,))}
    report = fanin.check(model, **case, predict=predict, trial=False, select=["T701"])
    assert report.findings[0].paths == ("key",)


@pytest.mark.parametrize("predict", [None, False])
def test_a_steep_jacobian_names_the_bare_parameters_behind_it(predict):
    torch.manual_seed(0)
    model = BareAttention()
    with torch.no_grad():
        model.value.mul_(1e5)
    case = {"inputs": torch.randn(8, 16, 64), "targets": torch.randint(0, 10, (8,))}
    report = fanin.check(model, **case, predict=predict, trial=False, select=["S206"])
    assert report.findings[0].paths == ("value",)


class Positions(nn.Module):
    """Tokens and a table that is looked up by position, whatever the input is."""

    def __init__(self, std: float) -> None:
        super().__init__()
        self.tokens, self.positions = nn.Embedding(100, 64), nn.Embedding(32, 64)
        nn.init.normal_(self.tokens.weight, std=0.02)
        nn.init.normal_(self.positions.weight, std=std)
        self.map, self.head = nn.Linear(64, 64), nn.Linear(64, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.tokens(x) + self.positions(torch.arange(x.shape[1]))
        return self.head(torch.relu(self.map(h)).mean(1))


@pytest.mark.parametrize("predict", [True, False])
def test_a_table_that_outweighs_what_it_is_added_to_is_named(predict):
    torch.manual_seed(0)
    batch, targets = torch.randint(0, 100, (16, 32)), torch.randint(0, 10, (16,))
    found = fanin.check(Positions(0.8), batch, targets=targets, predict=predict, trial=False).findings
    assert [f.paths for f in found if f.code == "P502"] == [("positions.weight",)]
    assert "40" in found[0].message or "39" in found[0].message
    near = fanin.check(Positions(0.1), batch, targets=targets, predict=predict, trial=False).findings
    assert not [f for f in near if f.code == "P502"]


class Scaled(nn.Module):
    """Tokens times a number, and positions that are looked up."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor, self.tokens, self.positions = factor, nn.Embedding(100, 64), nn.Embedding(32, 64)
        nn.init.normal_(self.tokens.weight, std=0.02)
        nn.init.normal_(self.positions.weight, std=0.7)
        self.map, self.head = nn.Linear(64, 64), nn.Linear(64, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.tokens(x) * self.factor + self.positions(torch.arange(x.shape[1]))
        return self.head(torch.relu(self.map(h)).mean(1))


@pytest.mark.parametrize(("factor", "named"), [(8.0, []), (1.0, [("positions.weight",)])])
def test_tokens_that_are_scaled_before_positions_are_added_count_as_scaled(factor, named):
    torch.manual_seed(0)
    batch, targets = torch.randint(0, 100, (16, 32)), torch.randint(0, 10, (16,))
    found = fanin.check(Scaled(factor), batch, targets=targets, predict=False, trial=False).findings
    assert [f.paths for f in found if f.code == "P502"] == named
