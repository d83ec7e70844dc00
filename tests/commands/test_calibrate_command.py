"""``fanin calibrate``: files, exit statuses, errors."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file

import fanin
from fanin.commands.app import main

NETS = """
import torch
from torch import nn


def build():
    torch.manual_seed(0)
    layers = (nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    return nn.Sequential(*layers), torch.randn(256, 64)


def alone():
    return build()[0]


def broken():
    model, x = build()
    return model, x[:, :3]
"""


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    (tmp_path / "nets.py").write_text(NETS)
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        monkeypatch.setattr("sys.argv", ["fanin", "calibrate", *arguments])
        with pytest.raises(SystemExit) as done:
            main()
        shown = capsys.readouterr()
        return done.value.code, shown.out, shown.err

    return call


def test_status_one_where_something_was_corrected_and_zero_where_nothing_is_left(run, tmp_path):
    status, out, err = run("nets.py:build", "--out", "w.safetensors", "--plan-out", "p.json")
    assert status == 1
    assert "3 corrected" in out
    assert "wrote w.safetensors" in err
    assert set(load_file(tmp_path / "w.safetensors")) == {f"{i}.{n}" for i in (0, 2, 4) for n in ("weight", "bias")}
    assert fanin.Plan.load(tmp_path / "p.json")["0.weight"].factor > 1.0
    status, out, _ = run("nets.py:build", "--weights", "w.safetensors")
    assert status == 0
    assert "3 in tolerance" in out


def test_json_and_a_dry_run(run, tmp_path):
    status, out, _ = run("nets.py:build", "--dry-run", "--format", "json", "--target", "unit", "--only", "2.*")
    assert status == 1
    data = json.loads(out)
    assert data["changed"] == ["2.weight"]
    assert not data["written"]
    assert {r["target"] for r in data["rows"]} == {1.0}
    assert sorted(p.name for p in tmp_path.glob("*.*")) == ["nets.py"]


def test_a_plan_says_what_outputs_should_measure(run, tmp_path):
    namespace: dict = {}
    exec((tmp_path / "nets.py").read_text(), namespace)
    model, x = namespace["build"]()
    fanin.plan(model, x, overrides={"*.weight": fanin.initializers.Normal(std=0.01)}).save(tmp_path / "p.json")
    _, out, _ = run("nets.py:build", "--plan", "p.json", "--format", "json", "--dry-run")
    assert json.loads(out)["rows"][0]["target"] == pytest.approx(0.08, rel=0.05)
    assert torch.is_grad_enabled()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("nets.py:alone",), "gave no inputs"),
        (("nets.py:broken",), "the forward pass of Sequential fails"),
        (("nets.py:build", "--target", "half"), "--target is plan, unit or a number; got 'half'"),
        (("nets.py:build", "--only", "fc*"), "matches no parameter"),
        (("nets.py:build", "--out", "w.pt"), "written as .safetensors"),
        (("nets.py:build", "--dry-run", "--out", "w.safetensors"), "--dry-run writes nothing"),
        (("nets.py:build", "--plan", "none.json"), "there is no file"),
    ],
)
def test_status_two_where_it_cannot_be_done(run, arguments, words):
    status, out, err = run(*arguments)
    assert status == 2
    assert words in err
    assert not out
