"""`Report`, reports read back from files, and what changed between two."""

from __future__ import annotations

import json

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

import fanin
from fanin.checking.baseline import read_baseline
from fanin.checking.compare import compare_reports, is_report
from fanin.checking.saved import read_report
from fanin.errors import ArgumentError, CheckFailedError


def net(std: float | None = None) -> nn.Sequential:
    model = nn.Sequential(*[m for _ in range(6) for m in (nn.Linear(32, 32, bias=False), nn.ReLU())])
    for layer in model[::2]:
        law = fanin.initializers.he_normal() if std is None else fanin.initializers.Normal(std=std)
        law.fill_(layer.weight, key=fanin.key(0, "w"))
    return model


@pytest.fixture(scope="module")
def reports() -> tuple[fanin.Report, fanin.Report]:
    torch.manual_seed(0)
    x = torch.randn(64, 32)
    return fanin.check(net(), x, predict=False), fanin.check(net(std=0.01), x, predict=False)


def test_a_test_suite_fails_on_findings_and_not_without(reports):
    good, bad = reports
    good.raise_for_findings()
    with pytest.raises(CheckFailedError, match=r"error(.|\n)*S201"):
        bad.raise_for_findings()


def test_the_severity_that_fails_can_be_raised():
    model = net()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.2)  # 0.8 of the weights' rms: a warning
    report = fanin.check(model, torch.randn(64, 32), optimizer=optimizer, predict=False)
    worst = {f.severity for f in report.findings}
    assert "warning" in worst
    assert "error" not in worst
    report.raise_for_findings("error")
    with pytest.raises(CheckFailedError):
        report.raise_for_findings("warning")


@pytest.mark.parametrize("name", ["r.json", "r.html"])
def test_a_report_is_read_back_from_json_and_from_a_page(reports, tmp_path, name):
    bad = reports[1]
    saved = read_report(bad.save(tmp_path / name))
    assert saved.verdict == bad.verdict
    assert {f.fingerprint for f in saved.findings} == {f.fingerprint for f in bad.findings}
    assert len(saved.statistics) == 2 * 6
    assert read_baseline(tmp_path / name) == {f.fingerprint for f in bad.findings}


def test_what_changed_is_told_in_both_directions(reports, tmp_path):
    old, new = (report.save(tmp_path / f"{i}.json") for i, report in enumerate(reports))
    there, back = compare_reports(old, new), compare_reports(new, old)
    assert there.worse
    assert not back.worse
    assert there.new == back.gone
    assert {m.operation for m in there.moved} == {m.operation for m in back.moved}
    assert json.loads(json.dumps(there.to_dict()))["worse"]
    assert "nothing changed" in str(compare_reports(old, old))


def test_no_string_of_a_report_acts_on_a_terminal(reports, tmp_path):
    text = reports[1].save(tmp_path / "r.json").read_text()
    enemy = tmp_path / "enemy.json"
    enemy.write_text(text.replace("forward-vanishing", "\\u001b[2J").replace('"verdict": "', '"verdict": "\\u009b31m'))
    shown = str(compare_reports(reports[0].save(tmp_path / "good.json"), enemy))
    assert all(line.isprintable() for line in shown.split("\n"))


FIELDS = ["verdict", "findings", "ignored", "measurements", "sites", "kind", "code", "severity", "paths", "forward"]
JSON = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=5),
    max_leaves=8,
)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    document=JSON,
    findings=st.none() | st.lists(JSON, max_size=2),
    sites=st.none() | st.lists(JSON, max_size=2),
)
def test_a_file_of_anything_is_a_report_or_refused(tmp_path, document, findings, sites):
    whole = {"verdict": "v", "findings": findings, "ignored": [], "measurements": {"sites": sites}}
    for made in (document, whole):
        path = tmp_path / "any.json"
        path.write_text(json.dumps(made))
        try:
            read_report(path)
        except ArgumentError as error:
            assert "is no report" in str(error)  # noqa: PT017


def test_files_that_are_no_text_are_refused(tmp_path):
    path = tmp_path / "r.json"
    path.write_bytes(b"\xff\xfe\x00")
    assert not is_report(path)
    assert not is_report(tmp_path)
    assert not is_report(tmp_path / "missing.json")
    path.write_text("[" * 100_000)
    with pytest.raises(ArgumentError, match="is no report"):
        read_report(path)
