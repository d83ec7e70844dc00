"""Targets and the commands behind the command line."""

import json
import math

import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

import fanin
from fanin.commands.app import app
from fanin.commands.diff import difference
from fanin.commands.explain import page
from fanin.commands.init import write_weights
from fanin.commands.plan import parse_pairs, planned
from fanin.commands.targets import load_target, parse_input
from fanin.errors import ArgumentError, TargetError, UnknownNameError

SOURCE = """
import torch
from torch import nn

print("talkative")

def net():
    return nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 4)), torch.ones(2, 8)

def alone():
    return nn.Linear(8, 4)

def mapping():
    return {"model": nn.Linear(8, 4), "inputs": torch.ones(2, 8), "targets": torch.zeros(2)}

def with_loss():
    return nn.Linear(8, 4), torch.ones(2, 8), lambda out: out.sum()

def asks():
    input("who are you?")

def wrong():
    return 3

def needs(x):
    return x

class_level = nn.Linear(2, 2)
"""


@pytest.fixture
def target(tmp_path):
    path = tmp_path / "nets.py"
    path.write_text(SOURCE)
    return lambda name: f"{path}:{name}"


def test_what_a_target_may_give(target, capsys):
    assert tuple(load_target(target("net")).inputs.shape) == (2, 8)
    assert load_target(target("alone")).inputs is None
    assert load_target(target("mapping")).targets is not None
    assert callable(load_target(target("with_loss")).loss)
    assert load_target(target("class_level")).inputs is None
    assert tuple(load_target(target("net"), input_shape="5,8").inputs.shape) == (5, 8)
    assert load_target(target("alone"), meta=True).model.weight.device.type == "meta"
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nope", "has no 'nope'"),
        ("wrong", "gave int, not a torch.nn.Module"),
        ("needs", "takes arguments"),
        ("asks", "EOFError"),
    ],
)
def test_bad_callables_are_named(target, name, message):
    with pytest.raises(TargetError, match=message):
        load_target(target(name))


@pytest.mark.parametrize("text", ["nothing", "a.py:", ":x", "missing.py:net", "no.such.module:net"])
def test_bad_targets_are_named(text):
    with pytest.raises(TargetError):
        load_target(text)


def test_a_file_that_is_no_python_is_not_run(tmp_path):
    path = tmp_path / "weights.pt"
    path.write_bytes(b"\x80\x04")
    with pytest.raises(TargetError, match="no Python file"):
        load_target(f"{path}:net")


def test_a_target_that_exits_does_not_take_us_along(tmp_path):
    path = tmp_path / "leaves.py"
    path.write_text("raise SystemExit(3)")
    with pytest.raises(TargetError, match="SystemExit"):
        load_target(f"{path}:net")


@pytest.mark.parametrize("text", ["", "a,b", "0,3", "-1"])
def test_shapes_are_checked(text):
    with pytest.raises(TargetError, match="--input"):
        parse_input(text)


def aligned(x, w):
    """Correlation of two tensors number by number, in standard errors of independent ones."""
    n = min(x.numel(), w.numel())
    one, other = x.flatten()[:n], w.flatten()[:n]
    return abs(float(torch.corrcoef(torch.stack([one, other]))[0, 1])) * n**0.5


def test_a_random_input_is_independent_of_weights_of_the_same_seed():
    torch.manual_seed(0)
    weight = torch.randn(64, 128)
    torch.manual_seed(0)
    assert aligned(torch.randn(64, 128), weight) > 50  # what an input from the seed of the weights would be
    assert aligned(parse_input("64,128"), weight) < 5
    ids = torch.randint(0, 50, (64, 128), generator=torch.Generator().manual_seed(0)).double()
    assert aligned(parse_input("64,128:long<50").double(), ids) < 5


def test_the_seed_changes_the_random_input_and_torchs_generator_stays():
    before = torch.get_rng_state()
    one, same, other = (parse_input("4,8", seed=seed) for seed in (0, 0, 1))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert torch.equal(torch.get_rng_state(), before)


def test_pairs():
    assert parse_pairs(["*.a=zeros"], "--override") == {"*.a": "zeros"}
    with pytest.raises(ArgumentError, match="NAME=VALUE"):
        parse_pairs(["zeros"], "--override")


def test_weights_are_written_whole(target, tmp_path):
    model, plan = planned(target("net"), options=["head=calm"], overrides=["2.bias=ones"])
    assert plan.options["head"] == "calm"
    out = tmp_path / "w.safetensors"
    assert "4 of 4 parameters drawn" in write_weights(plan, model, out)
    weights = load_file(out)
    assert torch.equal(weights["2.bias"], torch.ones(4))
    assert plan.verify(model).ok
    with pytest.raises(ArgumentError, match="never pickled"):
        write_weights(plan, model, tmp_path / "w.pt")
    assert sorted(p.name for p in tmp_path.iterdir() if p.name.startswith(".fanin")) == []


def test_difference(target, tmp_path):
    _, plan = planned(target("net"))
    plan.save(tmp_path / "a.json")
    assert not difference(str(tmp_path / "a.json"), str(tmp_path / "a.json"))
    assert difference(str(tmp_path / "a.json"), target("net"))
    with pytest.raises(TargetError, match="no file"):
        difference("nowhere.json", target("net"))
    (tmp_path / "notes.txt").write_text("not Python")
    with pytest.raises(TargetError, match="is no Python file"):
        difference(str(tmp_path / "a.json"), f"{tmp_path / 'notes.txt'}:net")


def test_explain_names():
    assert "auto" in page("recipes")
    assert "on evidence" in page("auto")
    assert "fan_in" in page("he_normal")
    with pytest.raises(UnknownNameError, match="did you mean"):
        page("he_norml")


def test_the_commands(target, tmp_path):
    run = CliRunner().invoke
    shown = run(app, ["plan", target("net"), "--out", str(tmp_path / "p.json")])
    assert shown.exit_code == 0
    assert "0.weight" in shown.stdout
    assert "talkative" not in shown.stdout
    assert fanin.Plan.load(tmp_path / "p.json").recipe == "auto"
    as_json = run(app, ["plan", target("net"), "--format", "json"])
    assert json.loads(as_json.stdout)["recipe"] == "auto"
    told = run(app, ["explain", target("net") + "::2.weight"])
    assert "E x²" in told.stdout
    made = run(app, ["init", target("net"), "--out", str(tmp_path / "w.safetensors"), "--seed", "3"])
    assert made.exit_code == 0
    assert (tmp_path / "w.safetensors").exists()
    assert run(app, ["diff", str(tmp_path / "p.json"), str(tmp_path / "p.json")]).exit_code == 0
    assert run(app, ["diff", str(tmp_path / "p.json"), target("net")]).exit_code == 1
    assert run(app, ["diff", target("net"), target("net")]).exit_code == 0
    assert max(map(len, shown.stdout.splitlines())) <= 100
    assert math.isclose(fanin.Plan.load(tmp_path / "p.json")["2.weight"].fan_in, 16.0)


def test_a_parameter_that_no_rule_places_is_kept_only_where_that_is_asked_for(tmp_path):
    file = tmp_path / "raw.py"
    file.write_text(
        "import torch\nfrom torch import nn\n\n"
        "class Raw(nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.gate = nn.Parameter(torch.ones(4, 4))\n"
        "    def forward(self, x):\n"
        "        return x @ self.gate\n\n"
        "def net():\n    return Raw(), torch.ones(2, 4)\n"
    )
    with pytest.raises(fanin.errors.CoverageError, match="gate: Raw is not a torch module"):
        planned(f"{file}:net", recipe="torch")
    assert planned(f"{file}:net", recipe="torch", keep_unknown=True)[1]["gate"].action == "keep"
