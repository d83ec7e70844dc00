"""Select, ignore, thresholds, per module, unused ignores, baseline, causes."""

from __future__ import annotations

import json

import pytest
import torch
from torch import nn

import fanin
from fanin.errors import ArgumentError, UnknownNameError
from fanin.rules.causes import split_consequences
from fanin.rules.config import Config, load_config, selected
from fanin.rules.finding import Finding, Fix
from fanin.rules.table import get_rule


def broken():
    torch.manual_seed(0)
    layers = [m for _ in range(8) for m in (nn.Linear(32, 32, bias=False), nn.ReLU())]
    for m in layers[::2]:
        nn.init.normal_(m.weight, std=0.01)
    return nn.Sequential(*layers, nn.Linear(32, 10, bias=False))


BATCH = {"inputs": torch.randn(64, 32), "targets": torch.randint(0, 10, (64,))}


def found(**more):
    report = fanin.check(broken(), **BATCH, trial=False, **more)
    return [f.code for f in report.findings], report


def test_select_takes_codes_prefixes_and_names():
    assert found(select=["S203"])[0] == ["S203"]
    assert found(select=["forward-vanishing"])[0] == ["S201"]
    assert "S201" in found(select=["S2"])[0]


def test_an_ignored_cause_lets_its_consequence_through():
    codes, report = found()
    assert codes[0] == "S201"
    assert "S203" in [f.code for f in report.consequences]
    assert "S203" in found(ignore=["S201"])[0]


def test_unused_ignores_are_named():
    _, report = found(ignore=["S201", "T701"])
    assert report.result.unused_ignores == ("T701",)
    _, report = found(per_module_ignores={"nowhere.*": ["S201"]})
    assert report.result.unused_ignores == ("nowhere.*: S201",)


def test_per_module_ignores_take_paths_away():
    _, report = found(select=["S201"], per_module_ignores={"*": ["S201"]})
    assert report.ok
    assert [f.code for f in report.result.ignored] == ["S201"]
    _, report = found(select=["S201"], per_module_ignores={"0": ["S201"]})
    assert "0" not in report.findings[0].paths


def test_a_module_can_carry_its_own_ignores():
    model = broken()
    model._fanin_ignore = {"S"}
    assert not [f for f in fanin.check(model, **BATCH).findings if f.code.startswith("S")]


def test_thresholds_change_what_fires():
    assert found(select=["S201"], thresholds={"S201": {"warning": 1e30}})[0] == []


def test_unknown_names_are_refused_with_the_closest():
    with pytest.raises(UnknownNameError, match="S201"):
        found(select=["S2O1"])
    with pytest.raises(UnknownNameError, match="it has: warning"):
        found(thresholds={"S201": {"warn": 1}})
    with pytest.raises(ArgumentError, match="fail_on"):
        Config(fail_on="fatal")
    with pytest.raises(UnknownNameError, match="sample-collapse"):
        get_rule("sample-colapse")


def test_pyproject_is_read_and_overridden(tmp_path):
    file = tmp_path / "pyproject.toml"
    file.write_text(
        '[tool.fanin]\nselect = ["S"]\nignore = ["S206"]\nfail-on = "error"\n'
        '[tool.fanin.per-module-ignores]\n"head.*" = ["S201"]\n[tool.fanin.thresholds.S201]\nwarning = 10\n'
    )
    (tmp_path / "deeper").mkdir()
    config = load_config(tmp_path / "deeper")
    assert config == load_config(file)
    assert config.fail_on == "error"
    assert config.thresholds == {"S201": {"warning": 10}}
    assert "S206" not in [r.code for r in selected(config)]
    assert load_config(file, select=["G"]).select == ("G",)
    file.write_text("[tool.fanin]\nselct = []\n")
    with pytest.raises(ArgumentError, match="did you mean 'select'"):
        load_config(file)
    file.write_text("[tool.fanin\n")
    with pytest.raises(ArgumentError, match="cannot be read as TOML"):
        load_config(file)


def test_a_baseline_leaves_known_findings_out(tmp_path):
    _, report = found()
    path = tmp_path / "old.json"
    path.write_text(json.dumps(report.to_dict()))
    codes, again = found(baseline=path)
    assert codes == []
    assert "S201" in {f.code for f in again.result.ignored}
    path.write_text("{}")
    with pytest.raises(ArgumentError, match="baseline"):
        found(baseline=path)


def make(code, severity="warning", path="p"):
    return Finding(
        code=code, name=get_rule(code).name, severity=severity, paths=(path,), message="m.", fix=Fix(text="f")
    )


def test_causes_step_in_front_and_take_the_severity():
    roots, rest = split_consequences([make("L801", "error"), make("D101", "warning")])
    assert [(f.code, f.severity) for f in roots] == [("D101", "error")]
    assert [(f.code, f.because_of) for f in rest] == [("L801", ("D101",))]


def test_a_note_explains_nothing():
    roots, rest = split_consequences([make("L801", "error"), make("D101", "note")])
    assert [f.code for f in roots] == ["L801", "D101"]
    assert rest == ()


def test_of_two_faces_the_worse_leads():
    roots, _ = split_consequences([make("S203", "warning"), make("S205", "error")])
    assert [f.code for f in roots] == ["S205"]
    roots, _ = split_consequences([make("S203", "error"), make("S205", "error")])
    assert [f.code for f in roots] == ["S203"]
