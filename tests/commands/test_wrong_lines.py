"""Wrong command lines: each ends with status 2 and one message that names the cure, without a traceback or a file."""

from __future__ import annotations

import shutil
import sys

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import fanin
from fanin.commands.app import main
from tests.selection import few

SOURCE = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.out = nn.Linear(width, 4)

def build(): return nn.Sequential(nn.Linear(8, 4)), torch.randn(6, 8)
def bare(): return nn.Linear(8, 4)
def ids(): return nn.Sequential(nn.Embedding(10, 8), nn.Flatten(), nn.Linear(16, 4))
def raises(): raise KeyError("width")
def needs(width): return nn.Linear(width, 4)
def four(): return nn.Linear(8, 4), 1, 2, 3
def mapping(): return {"net": nn.Linear(8, 4)}
def number(): return 3
def pair(): return nn.Linear(8, 4), (torch.randn(6, 8), torch.arange(6) % 4)
def doubles(): return nn.Linear(8, 4), torch.randn(6, 8).double()
def wide(width=8): return nn.Sequential(nn.Linear(8, width), nn.ReLU(), nn.Linear(width, 4))
def array(): return nn.Linear(8, 4), torch.randn(6, 8).numpy()
weights = nn.Linear(8, 4).state_dict()
async def later(): return nn.Linear(8, 4)
def exits(): raise SystemExit(3)
def hollow(): return nn.ModuleList([nn.Linear(8, 4)]), torch.randn(6, 8)
def unmade(): return nn.Linear(8, 4, device="meta"), torch.randn(6, 8)
"""
FILES = {
    "model.py": SOURCE,
    "notes.txt": "not Python",
    "notes.json": "{",
    "list.json": "[]",
    "empty.py": "",
    "raising.py": "1 / 0",
    "bad.safetensors": "no weights",
    "folder/plan.json": "{}",
}
LINES = {  # command line -> the cure
    "nonsense": "No such command",
    "check": "Missing argument",
    "check model.py": "as in model.py:build",
    "check model.py:": "file.py:name",
    "check model.py:biuld": "did you mean 'build'",
    "check modle.py:build": "looked from",
    "check no.such.package:build": "importing no.such.package failed",
    "check notes.txt:build": "no Python file",
    "check model.py:bare": "--input 8,3,224,224",
    "check model.py:bare --input 8,x": "sizes >= 1",
    "check model.py:bare --input 0,8": "sizes >= 1",
    "check model.py:ids --input 4,2": "8,16:long<10",
    "check model.py:ids --input 4,2:long": "8,16:long<1000",
    "check model.py:ids --input 4,2:lon<10": "is no dtype",
    "check model.py:ids --input 4,2:float32<10": "only whole numbers",
    "check model.py:ids --input 4,2:long<99": "from 0 to 9",
    "check model.py:raises": "calling model.py:raises failed",
    "check model.py:needs": "a function build()",
    "check model.py:Net": "a function build()",
    "check model.py:four": "(model, inputs, targets or loss)",
    "check model.py:mapping": "it needs model",
    "check model.py:number": "Return the model",
    "check model.py:weights": "load_state_dict",
    "check model.py:pair": "inputs=x and targets=y",
    "check model.py:array": "torch.as_tensor",
    "check model.py:build --format xml": "'sarif'",
    "check model.py:build --out report.xyz": ".html",
    "check model.py:build --out nowhere/report.html": "Make the folder",
    "check model.py:build --select S999": "S201",
    "check model.py:build --optimizer admw": "did you mean 'adam",
    "check model.py:build --lr 0.1": "--optimizer",
    "check model.py:build --weights w.pt": "never unpickled",
    "check model.py:build --weights w.safetensors": "there is no file",
    "check model.py:build --baseline nowhere.json": "nowhere.json",
    "check model.py:build -v -q": "leave one of them out",
    "check model.py:build --seeds zero": "valid int",
    "plan model.py:build --recipe Auto2": "did you mean 'auto'",
    "plan model.py:build --seed -1": "0 <= seed",
    "plan model.py:build --option head": "NAME=VALUE",
    "plan model.py:build --option head=nope": "'unit', 'calm', 'zero'",
    "plan model.py:build --override zeros": "NAME=VALUE",
    "plan model.py:build --override head.*=zeros": "matches no parameter",
    "plan model.py:build --override *=normal(std": "normal(std=0.02)",
    "plan model.py:build --out nowhere/plan.json": "Make the folder",
    "init model.py:build --out weights.pt": "never pickled",
    "init model.py:build": "Missing option",
    "explain S299": "S201",
    "explain he_norml": "did you mean 'he_normal'",
    "explain model.py:build::0.wieght": "did you mean '0.weight'",
    "diff nowhere.json model.py:build": "no file",
    "graph model.py:build --out nowhere/model.svg": "folder",
    "gain nonsense": "A function of your own",
    "theory --phi nonsense": "A function of your own",
    "theory --depth 0": "depth",
    "theory --plot figure.xyz": ".png",
    "lab nonsense": "known: batchnorm",
    "timm:resnet50": "No such command",
    "check hf:nowhere/config.json": "config.json",
    "check .:build": "file.py:name",
    "check empty.py:build": "it defines nothing",
    "plan model.py:doubles": "inputs.to(torch.float32)",
    "plan model.py:build --override head*=zeros": "Patterns are globs",
    "graph model.py:build --out model.exe": ".svg",
    "graph model.py:build --format xml": "'mermaid'",
    "lab three-scales --out figure.png": "name of a folder",
    "demo --out demo.html": "name of a folder",
    "diff notes.json model.py:build": "plan.save(path)",
    "calibrate model.py:bare": "--input 8,3,224,224",
    "calibrate model.py:build --target one": "plan, unit or a number",
    "calibrate model.py:build --plan notes.json": "plan.save(path)",
    "calibrate model.py:build --out w.pt": "never pickled",
    "calibrate model.py:build --dry-run --out w.safetensors": "leave one of them out",
    "mup check model.py:build": "def build(width)",
    "mup check model.py:wide --widths 32": "two or more whole numbers",
    "mup check model.py:wide --widths 8,16 --input 4,8 --optimizer admw": "did you mean 'adamw' or 'adam'? Each",
    "mup sweep model.py:wide --widths 8,16 --input 4,8": "targets or loss",
    "cert make model.py:build --out nowhere/c.json": "Make the folder",
    "cert merge a.json b.json": "looked from",
    "cert diff notes.json notes.json": "make it anew",
    "verify nowhere": "--plan",
    "playground --out page.exe": "NAME.html",
    "playground --out nowhere/page.html": "Make the folder",
    "report notes.json": "fanin.watch(",
    "report nowhere.jsonl": "looked from",
    "check w.pt": "never unpickled",
    "cert make w.safetensors": "name the code that builds it",
    "check model.py:later": "with def and not async def",
    "check model.py:exits": "calling model.py:exits failed",
    "check model.py:hollow": "torch.nn.Sequential",
    "check model.py:unmade": "plan.materialize(model)",
    "check raising.py:build": "division by zero",
    "check timm:": "timm:resnet50",
    "check hf:": "config.json",
    "check model.py:build --seed -1": "0 <= seed",
    "check model.py:build --seed 99999999999999999999999": "0 <= seed",
    "check model.py:build --input 8,8:": "is no dtype",
    "check model.py:build --optimizer sgd --lr nan": "a finite number",
    "check model.py:build --config nowhere": "correct its name",
    "check model.py:build --baseline folder": "fanin check TARGET --out report.json",
    "check model.py:build --baseline list.json": "JSON of another kind",
    "check model.py:build --weights other.safetensors": "it lacks 0.bias, 0.weight; the model lacks bias, weight",
    "check model.py:build --weights wide.safetensors": "has the shape (4, 9) there, and (4, 8)",
    "check model.py:build --out model.py/report.html": "'model.py' is a file",
    "check model.py:build --select ''": "is empty",
    "init model.py:build --out ''": "is empty",
    "init model.py:build --out model.py/folder": "'model.py' is a file",
    "init model.py:build --out folder": "not written over",
    "verify checkpoint --plan notes.json": "plan.save(path)",
    "verify checkpoint --plan nowhere.json": "looked from",
    "verify checkpoint --plan own.json --dtype float99": "dtype must be one of",
    "calibrate model.py:unmade": "plan.materialize(model)",
    "calibrate model.py:build --target nan": "a number above 0",
    "theory --plot nowhere/figure.png": "Make the folder",
    "gain ''": "is empty",
    "explain model.py:build::": "known: 0.bias, 0.weight",
    "diff own.json w.pt": "never unpickled",
    "diff bad.safetensors other.safetensors": "Write it again",
    "diff other.safetensors own.json": "a plan, or a target to plan, comes first",
    "cert diff notes.txt binary.json": "no certificate",
    "cert merge own.json": "no certificate",
    "report list.json": "fanin.watch(",
    "mup check model.py:wide --widths 8,8 --input 4,8": "two or more whole numbers",
    "mup check model.py:wide --widths 8,16 --input 4,8 --lr -1": "a finite number > 0",
    "mup check model.py:wide --widths 8,16 --input 4,8 --steps 0": "a whole number >= 1",
    "mup sweep model.py:wide --widths 8,16 --input 4,8 --rates 0,1": "rates > 0",
    "S203": "fanin explain S203",
    "model.py:build": "fanin check model.py:build",
    "sweep model.py:wide": "fanin mup sweep",
    "help": "fanin -h",
}


def refused(line: str, cure: str, capsys, monkeypatch) -> None:
    monkeypatch.setattr(sys, "argv", ["fanin", *(word.strip("'") for word in line.split())])
    with pytest.raises(SystemExit) as ended:
        main()
    said = capsys.readouterr().err
    assert ended.value.code == 2, said
    assert cure in " ".join(said.replace("│", " ").split()), said
    assert "Traceback" not in said


@pytest.mark.parametrize("line", few(LINES, every=3))
def test_a_wrong_line_ends_with_status_2_and_its_cure(line, files, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    shutil.copytree(files, tmp_path, dirs_exist_ok=True)
    before = held(tmp_path)
    refused(line, LINES[line], capsys, monkeypatch)
    assert held(tmp_path) == before


def held(folder):
    return {str(p): p.read_bytes() if p.is_file() else None for p in folder.rglob("*")}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A folder with what the lines name."""
    folder = tmp_path_factory.mktemp("files")
    for name, text in FILES.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    (folder / "binary.json").write_bytes(bytes(range(256)))
    model = nn.Sequential(nn.Linear(8, 4))
    fanin.plan(model, torch.ones(2, 8)).save(folder / "own.json")
    (folder / "checkpoint").mkdir()
    save_file(model.state_dict(), folder / "checkpoint" / "model.safetensors")
    save_file(nn.Linear(3, 3).state_dict(), folder / "other.safetensors")
    save_file(nn.Sequential(nn.Linear(9, 4)).state_dict(), folder / "wide.safetensors")
    return folder


def test_the_check_for_a_cure_can_fail(tmp_path, capsys, monkeypatch):
    with pytest.raises(AssertionError):
        refused("explain S299", "another cure", capsys, monkeypatch)
