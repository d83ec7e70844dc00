"""The GitHub action and the pre-commit hook name what exists, and the script does its work in a real shell."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / ".github" / "check.sh"
MODEL = """
import torch
from torch import nn

def build(scale):
    torch.manual_seed(0)
    layers = [layer for _ in range(6) for layer in (nn.Linear(32, 32), nn.ReLU())]
    model = nn.Sequential(*layers, nn.Linear(32, 4))
    with torch.no_grad():
        for p in model.parameters():
            p.mul_(scale) if p.ndim == 1 else p.normal_(0, scale * (2 / 32) ** 0.5)
    return model, torch.randn(64, 32), torch.randint(0, 4, (64,))

def right(): return build(1.0)
def broken(): return build(30.0)
def shapeless(): return build(1.0)[0]
"""

pytestmark = pytest.mark.skipif(shutil.which("bash") is None, reason="the action runs in bash")


def step(tmp_path: Path, target: str, **inputs: str) -> tuple[dict[str, str], str, str]:
    """The outputs of the action's check step, its log and the job's summary."""
    (tmp_path / "nets.py").write_text(MODEL)
    bin_folder = tmp_path / "bin"
    bin_folder.mkdir(exist_ok=True)
    (bin_folder / "fanin").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m fanin "$@"\n')
    (bin_folder / "fanin").chmod(0o755)
    env = {
        **os.environ,
        "PATH": f"{bin_folder}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": os.pathsep.join(p for p in sys.path if p),
        "RUNNER_TEMP": str(tmp_path),
        "GITHUB_STEP_SUMMARY": str(tmp_path / "summary.md"),
        "GITHUB_OUTPUT": str(tmp_path / "output"),
        "FANIN_TARGET": target,
        **inputs,
    }
    ran = subprocess.run(["bash", str(SCRIPT)], cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    outputs = dict(line.split("=", 1) for line in (tmp_path / "output").read_text().splitlines())
    summary = tmp_path / "summary.md"
    return outputs, ran.stdout, summary.read_text() if summary.exists() else ""


def test_findings_become_annotations_a_summary_and_sarif(tmp_path):
    outputs, log, summary = step(tmp_path, "nets.py:broken", FANIN_ARGUMENTS="--no-trial --no-predict")
    assert outputs["status"] == "1"
    assert "::error" in log or "::warning" in log
    assert summary
    found = json.loads(Path(outputs["sarif"]).read_text())
    assert found["runs"][0]["results"]


@pytest.mark.slow
def test_a_right_start_passes(tmp_path):
    outputs, log, summary = step(tmp_path, "nets.py:right", FANIN_FAIL_ON="warning")
    assert outputs["status"] == "0"
    assert "::error" not in log
    assert summary
    assert json.loads(Path(outputs["sarif"]).read_text())["runs"][0]["results"] == []


@pytest.mark.slow
def test_inputs_reach_the_command(tmp_path):
    outputs, _, _ = step(tmp_path, "nets.py:shapeless", FANIN_INPUT="16,32", FANIN_ARGUMENTS="--no-trial --seed 3")
    assert outputs["status"] in "01"
    assert "sarif" in outputs


@pytest.mark.slow
def test_a_check_that_cannot_run_has_status_two_and_no_sarif(tmp_path):
    outputs, _, summary = step(tmp_path, "nets.py:absent")
    assert outputs == {"status": "2"}
    assert summary == ""


def test_the_action_passes_every_input_to_its_script():
    action = yaml.safe_load((ROOT / "action.yml").read_text())
    given = {name for s in action["runs"]["steps"] for name in s.get("env", {})}
    read = {name for name in given if name in SCRIPT.read_text()} | {"FANIN_INSTALL", "STATUS"}
    assert given == read
    used = json.dumps(action["runs"])
    assert all(f"inputs.{name}" in used for name in action["inputs"])
    assert (ROOT / ".github" / "check.sh").exists()


def test_the_pre_commit_hook_names_a_command_that_exists():
    (hook,) = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())
    program, command = hook["entry"].split()
    ran = subprocess.run([sys.executable, "-m", program, command, "--help"], capture_output=True, check=False)
    assert ran.returncode == 0
    assert hook["pass_filenames"] is False
