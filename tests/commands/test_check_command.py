"""`fanin check`, `explain` and `diff` from the outside: exit status, streams, hostile targets."""

from __future__ import annotations

import json
import sys

import pytest
import torch
from torch import nn
from typer.testing import CliRunner

import fanin
from fanin.checking.compare import compare_reports
from fanin.commands.app import app, main
from fanin.commands.check import check_target
from fanin.commands.explain import page
from fanin.errors import ArgumentError, CaptureError, TargetError, UnknownNameError
from fanin.rules.table import RULES
from tests.selection import few

SOURCE = """
import time, torch
from torch import nn

def good():
    print("noise")
    return nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 10)), torch.randn(16, 32)

def bad():
    layers = [m for _ in range(6) for m in (nn.Linear(32, 32, bias=False), nn.ReLU())]
    for m in layers[::2]:
        nn.init.normal_(m.weight, std=0.01)
    return nn.Sequential(*layers), torch.randn(16, 32)

def bare():
    return nn.Linear(8, 4)

class Asks(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(8, 4)
    def forward(self, x):
        return self.layer(x) * float(input("scale? "))

def asks():
    return Asks(), torch.randn(8, 8)

def raises():
    raise RuntimeError("no model today")
"""


@pytest.fixture
def target(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nets.py").write_text(SOURCE)
    return lambda name: f"nets.py:{name}"


def run(*arguments):
    return CliRunner().invoke(app, list(arguments))


def test_healthy_is_status_0_and_results_alone_are_on_stdout(target):
    result = run("check", target("good"), "--format", "json")
    assert result.exit_code == 0
    assert json.loads(result.stdout)["ok"] is True
    assert "noise" in result.stderr


def test_findings_are_status_1(target, tmp_path):
    assert run("check", target("bad"), "--out", str(tmp_path / "r.json")).exit_code == 1
    assert run("check", target("bad"), "--select", "D").exit_code == 0
    assert run("check", target("bad"), "--baseline", str(tmp_path / "r.json")).exit_code == 0


def test_seeds_count_in_how_many_draws_it_holds(target):
    report = check_target(target("bad"), seeds=3, select=["S201"])
    assert report.findings[0].seeds == (3, 3)
    assert report.result.header.seeds == (0, 1, 2)


@pytest.mark.parametrize(
    ("name", "kind", "words"),
    [
        ("asks", CaptureError, "EOFError"),
        ("raises", TargetError, "no model today"),
        ("bare", TargetError, "--input 8,3,224,224"),
        ("nothing", TargetError, "has no 'nothing'"),
    ],
)
def test_hostile_targets_are_a_clear_error(target, name, kind, words):
    stdin = sys.stdin
    with pytest.raises(kind, match=words):
        check_target(target(name))
    assert sys.stdin is stdin


@pytest.mark.parametrize("place", ["weights.pt:model", "/etc/hostname:x", "nets.py", "missing.py:x"])
def test_what_is_no_python_is_refused_with_status_2(target, place, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["fanin", "check", place])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 2
    assert capsys.readouterr().err.startswith("fanin: ")


def test_a_shape_stands_in_for_inputs(target):
    assert check_target(target("bare"), input_shape="8,8").ok


def test_weights_come_from_safetensors_alone(target, tmp_path):
    from safetensors.torch import save_file

    model = nn.Linear(8, 4)
    with torch.no_grad():
        model.weight.fill_(float("nan"))
    save_file(model.state_dict(), tmp_path / "w.safetensors")
    report = check_target(target("bare"), input_shape="8,8", weights=tmp_path / "w.safetensors")
    assert report.findings[0].code == "P504"
    torch.save(model.state_dict(), tmp_path / "w.pt")
    with pytest.raises(TargetError, match="never unpickled"):
        check_target(target("bare"), input_shape="8,8", weights=tmp_path / "w.pt")
    (tmp_path / "bad.safetensors").write_bytes(b"\x00" * 20)
    with pytest.raises(TargetError, match="cannot be loaded"):
        check_target(target("bare"), input_shape="8,8", weights=tmp_path / "bad.safetensors")


def test_diff_says_what_came_and_went(target, tmp_path):
    old, new = tmp_path / "old.json", tmp_path / "new.json"
    check_target(target("good")).save(old)
    check_target(target("bad")).save(new)
    found = compare_reports(old, new)
    assert found.worse
    assert any(entry.code == "S201" for entry in found.new)
    assert any(moved.statistic == "rms" for moved in found.moved)
    assert not compare_reports(new, old).worse
    assert "nothing changed" in str(compare_reports(old, old))
    assert run("diff", str(old), str(new)).exit_code == 1
    old.write_text("[]")
    with pytest.raises(ArgumentError, match="is no report"):
        compare_reports(old, new)


@pytest.mark.parametrize(
    ("before", "after"), few([("html", "html"), ("json", "html"), ("html", "json")], ("html", "html"))
)
def test_pages_are_compared_like_json(tmp_path, before, after):
    torch.manual_seed(0)
    healthy = torch.nn.Sequential(torch.nn.Linear(16, 64), torch.nn.ReLU(), torch.nn.Linear(64, 3))
    x, y = torch.randn(32, 16), torch.randint(0, 3, (32,))
    old = fanin.check(healthy, x, targets=y).save(tmp_path / f"old.{before}")
    with torch.no_grad():
        healthy[0].weight.fill_(0.1)
    new = fanin.check(healthy, x, targets=y).save(tmp_path / f"new.{after}")
    found = compare_reports(old, new)
    assert found.worse
    assert any(entry.code == "P501" for entry in found.new)
    assert {moved.statistic for moved in found.moved} <= {"rms", "gradient"}
    assert not compare_reports(old, old).worse


def test_a_page_of_something_else_is_refused(tmp_path):
    page = tmp_path / "page.html"
    page.write_text("<!doctype html><p>nothing")
    with pytest.raises(ArgumentError, match="is no report"):
        compare_reports(page, page)


@pytest.mark.parametrize("rule", RULES, ids=lambda r: r.code)
def test_every_rule_is_explained_by_code_and_name(rule):
    assert page(rule.code) == page(rule.name)
    assert rule.source in page(rule.code)


def test_explain_reaches_rules_and_the_rest():
    assert "sample-collapse" in run("explain", "S205").stdout
    assert run("explain", "he_normal").exit_code == 0


def test_names_with_markup_and_escapes_are_text(target):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.add_module("<script>alert(1)</script>", nn.Linear(8, 4))
            self.add_module("\x1b[31m[bold]red", nn.Linear(4, 4))

        def forward(self, x):
            for m in self.children():
                x = m(x)
            return x * 1e30

    import fanin

    report = fanin.check(Net(), 1e4 * torch.randn(8, 8))
    assert "\x1b" not in str(report)
    assert "<script>alert" not in report._repr_html_()


@pytest.mark.slow
def test_ten_thousand_modules():
    import fanin

    model = nn.Sequential(*[nn.Sequential(nn.Linear(4, 4)) for _ in range(3334)], *[nn.Identity() for _ in range(3333)])
    assert fanin.check(model, torch.randn(8, 4)).result.header.num_modules > 10_000


def test_empty_parameters_are_no_error():
    import fanin

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.empty, self.layer = nn.Parameter(torch.zeros(0, 4)), nn.Linear(4, 4)

        def forward(self, x):
            return self.layer(x) + self.empty.sum()

    assert fanin.check(Net(), torch.randn(8, 4)).ok


def test_the_optimizer_reaches_the_rules_on_steps(target):
    def found(*options):
        result = run("check", target("good"), "--format", "json", "--no-predict", *options)
        return result.exit_code, json.loads(result.stdout)

    status, report = found("--optimizer", "adamw", "--lr", "1")
    assert (status, report["findings"][0]["code"]) == (1, "O901")
    assert "AdamW" in report["findings"][0]["message"]
    status, report = found("--optimizer", "AdamW", "--lr", "1e-3")
    assert status == 0
    assert "O901" in report["checked"]
    assert "O901" not in found()[1]["checked"]


@pytest.mark.parametrize(
    ("options", "kind", "words"),
    [
        (("--optimizer", "adamm"), UnknownNameError, "did you mean 'adam"),
        (("--lr", "0.1"), ArgumentError, "needs --optimizer"),
        (("--optimizer", "sgd", "--lr", "-1"), ArgumentError, "learning rate"),
    ],
)
def test_an_optimizer_that_does_not_exist_is_refused(target, options, kind, words):
    result = run("check", target("good"), *options)
    assert isinstance(result.exception, kind)
    assert words in str(result.exception)
