"""The twin of each rule's example, which its page names, and on which the rule is silent."""

from __future__ import annotations

import doctest

import pytest
import torch

import fanin
from fanin.rules.table import RULES
from tools.twins import TWINS, Twin, example, source

RULE = {rule.code: rule for rule in RULES}


def found(session: str, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Codes in the last report of a session; its own last line may ask for a finding that is not there."""
    reports, real = [], fanin.check
    monkeypatch.setattr(fanin, "check", lambda *args, **more: reports.append(real(*args, **more)) or reports[-1])
    names: dict = {}
    for one in doctest.DocTestParser().get_examples(session):
        try:
            exec(compile(one.source, "twin", "single"), names)
        except IndexError:
            assert "findings[0]" in one.source
    report = names["watched"].report if "watched" in names else reports[-1]
    return [f.code for f in (*report.findings, *report.consequences)]


def test_every_rule_has_a_twin_that_fits_its_example():
    assert set(TWINS) == set(RULE)
    assert all(source(rule) != example(rule) for rule in RULES)


def test_a_twin_that_fits_no_example_is_found(monkeypatch):
    monkeypatch.setitem(TWINS, "S203", Twin("nn.Sigmoida()", "nn.Tanh()"))
    with pytest.raises(ValueError, match="S203 has 0 times"):
        source(RULE["S203"])


@pytest.mark.slow
@pytest.mark.parametrize("code", sorted(TWINS))
def test_the_rule_fires_on_its_example_and_is_silent_on_the_twin(code, monkeypatch):
    torch.manual_seed(0)
    assert code in found(example(RULE[code]), monkeypatch)
    assert code not in found(source(RULE[code]), monkeypatch)
