"""Causes and consequences over any set of findings, and verdicts that follow from them."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import fanin
from fanin.errors import CheckFailedError
from fanin.rules import causes
from fanin.rules.causes import CAUSES, split_consequences
from fanin.rules.finding import SEVERITIES, Finding, Fix
from fanin.rules.table import RULES, get_rule
from tests.selection import few

CODES = [r.code for r in RULES]


def make(code, severity):
    return Finding(
        code=code, name=get_rule(code).name, severity=severity, paths=("p",), message="m.", fix=Fix(text="f")
    )


found = st.lists(st.builds(make, st.sampled_from(CODES), st.sampled_from(SEVERITIES)), max_size=12)


def reaches_root(finding, roots, rest):
    seen, todo = set(), list(finding.because_of)
    while todo:
        code = todo.pop()
        if code in {f.code for f in roots}:
            return True
        if code not in seen:
            seen.add(code)
            todo += [c for f in rest if f.code == code for c in f.because_of]
    return False


def worst(findings):
    return max((SEVERITIES.index(f.severity) for f in findings), default=-1)


def assert_sound(findings, split=split_consequences):
    roots, rest = split(findings)
    assert len(roots) + len(rest) == len(findings)
    assert all(reaches_root(f, roots, rest) for f in rest)
    assert worst(roots) == worst((*roots, *rest)) == worst(findings)


@settings(deadline=None)
@given(found)
def test_every_consequence_has_a_root_and_the_worst_root_is_the_worst_finding(findings):
    assert_sound(findings)


@settings(deadline=None)
@given(found, st.data())
def test_a_table_that_runs_in_circles_still_leaves_the_worst_finding(findings, data):
    """Whatever somebody writes into the table of causes."""
    codes = st.frozensets(st.sampled_from(CODES), max_size=8)
    wild = data.draw(st.dictionaries(st.sampled_from(CODES), codes, max_size=12))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(causes, "CAUSES", wild)
        assert_sound(findings)


def both_step_aside(findings):
    """As two that explain each other once did."""
    return (), tuple(replace(f, because_of=("S202",)) for f in findings)


def test_the_property_can_fail():
    with pytest.raises(AssertionError):
        assert_sound([make("S202", "error"), make("S207", "error")], both_step_aside)


def test_the_table_names_rules_and_nothing_explains_itself():
    assert set(CAUSES) | set().union(*CAUSES.values()) <= set(CODES)
    assert not [code for code, by in CAUSES.items() if code in by]


def test_the_growth_of_a_signal_leads_its_overflow():
    roots, rest = split_consequences([make("S207", "error"), make("S202", "error")])
    assert [f.code for f in roots] == ["S202"]
    assert [(f.code, f.because_of) for f in rest] == [("S207", ("S202",))]


def regression(scale, hidden):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(20, 64), nn.ReLU(), nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, 1))
    for layer in model[::2]:
        nn.init.kaiming_normal_(layer.weight)
        nn.init.zeros_(layer.bias)
    with torch.no_grad():
        model[2].weight.mul_(hidden)
    return {"model": model, "inputs": torch.randn(64, 20), "targets": scale * torch.randn(64, 1)}


@pytest.mark.parametrize(
    ("scale", "hidden", "roots"),
    [(2.0, 1.0, set()), (2.0, 1e-3, {"P502"}), (2000.0, 1.0, {"D104"}), (2000.0, 1e-3, {"D104", "P502"})],
)
def test_small_predictions_are_not_laid_to_targets_of_ordinary_size(scale, hidden, roots):
    report = fanin.check(**regression(scale, hidden), predict=False, trial=False)
    assert {f.code for f in report.findings if f.severity != "note"} == roots
    told = {f.code for f in (*report.findings, *report.consequences)}
    assert ("D104" in told) == bool(roots)


def exploding(depth, block):
    torch.manual_seed(0)
    layers = [block() for _ in range(depth)]
    return {
        "model": nn.Sequential(*layers, nn.Linear(128, 10)),
        "inputs": torch.randn(16, 128),
        "targets": torch.randint(0, 10, (16,)),
    }


class Plain(nn.Module):
    def __init__(self, std=1.0):
        super().__init__()
        self.map = nn.Linear(128, 128)
        nn.init.normal_(self.map.weight, std=std)

    def forward(self, x):
        return self.map(x).relu()


class Residual(Plain):
    def __init__(self):
        super().__init__(1.0)
        self.back = nn.Linear(128, 128)
        nn.init.normal_(self.back.weight)

    def forward(self, x):
        return x + self.back(self.map(x).relu())


@pytest.mark.parametrize(("depth", "block"), few([(30, Plain), (60, Plain), (40, Residual)], every=3))
def test_a_network_that_overflows_or_is_about_to_is_never_healthy(depth, block):
    report = fanin.check(**exploding(depth, block), predict=False, trial=False)
    assert not report.ok
    assert report.findings[0].code == "S202"
    assert report.findings[0].severity == "error"
    with pytest.raises(CheckFailedError):
        report.raise_for_findings()


def test_its_twin_at_the_right_std_passes():
    report = fanin.check(**exploding(60, lambda: Plain((2 / 128) ** 0.5)), predict=False)
    assert "S202" not in [f.code for f in report.findings]
    assert "S207" not in [f.code for f in (*report.findings, *report.consequences)]


def test_no_rule_run_is_no_verdict():
    report = fanin.check(nn.Linear(8, 4), torch.randn(8, 8), select=["T701"])
    assert not report.ok
    assert report.verdict.startswith("nothing was checked: no attention")
    with pytest.raises(CheckFailedError, match="nothing was checked"):
        report.raise_for_findings()


@pytest.mark.slow
def test_what_a_known_finding_explains_is_known_as_well(tmp_path):
    case = exploding(30, Plain)
    path = fanin.check(**case, predict=False).save(tmp_path / "known.json")
    report = fanin.check(**case, predict=False, baseline=path)
    assert report.ok
    assert report.consequences == ()
    assert {"S202"} <= {f.code for f in report.result.ignored}
