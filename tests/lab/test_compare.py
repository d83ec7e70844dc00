"""Comparisons are paired, resumable after any kill, and the same wherever they run."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import fanin
from fanin.errors import ArgumentError, UnknownNameError
from fanin.lab.compare import Task, compare
from fanin.lab.data import load
from fanin.lab.models import mlp
from fanin.lab.runs import RunResult, RunSpec, RunStore
from fanin.lab.workers import carry_out


def small():
    return mlp([64, 16, 10])


def zeros(model, seed):
    for p in model.parameters():
        nn.init.zeros_(p)


def normal(model, seed):
    generator = torch.Generator().manual_seed(seed)
    for p in model.parameters():
        nn.init.normal_(p, std=0.1, generator=generator)


def losses(result):
    return {spec: run.losses for spec, run in result.runs.items()}


OPTIONS = {
    "inits": {"normal": normal, "zeros": zeros},
    "seeds": 2,
    "lrs": [1e-2, 3e-2],
    "steps": 6,
    "progress": False,
}


@pytest.fixture(scope="module")
def reference():
    return compare(small, load("digits"), **OPTIONS)


def test_every_combination_is_run_once(reference):
    assert len(reference.runs) == 2 * 2 * 2
    assert all(len(r.losses) == 6 for r in reference.runs.values())


def test_batches_are_paired_over_inits():
    seen = {}

    def stream(seed):
        rng = np.random.default_rng(seed)
        while True:
            x = torch.tensor(rng.standard_normal((4, 64)), dtype=torch.float32)
            seen.setdefault(seed, []).append(float(x.sum()))
            yield x, torch.zeros(4, dtype=torch.long)

    compare(tasks=[Task(name="t", model=small, batches=stream)], **{**OPTIONS, "lrs": [1e-2]})
    assert seen[0].pop(0) == seen[0][0]  # one batch is tried before anything is trained
    for batches in seen.values():
        first, second = batches[: len(batches) // 2], batches[len(batches) // 2 :]
        assert first == second


def test_a_data_loader_gives_the_same_batches_to_every_init():
    x = torch.randn(40, 64, generator=torch.Generator().manual_seed(0))
    loader = torch.utils.data.DataLoader(
        torch.utils.data.TensorDataset(x, torch.arange(40) % 10), batch_size=8, shuffle=True
    )
    options = {**OPTIONS, "inits": {"a": normal, "b": normal}, "steps": 12}
    before = torch.random.get_rng_state()
    result = compare(small, loader, **options)
    assert torch.equal(torch.random.get_rng_state(), before)
    for seed in range(2):
        assert losses(result)[RunSpec("task", "a", seed, 1e-2)] == losses(result)[RunSpec("task", "b", seed, 1e-2)]


def test_the_better_start_is_named(reference):
    assert reference.best("normal").final_loss < reference.best("zeros").final_loss
    assert reference.verdicts[0].init == "normal"
    assert reference.best("zeros").difference > 0


def test_joblib_gives_the_same_losses(reference):
    assert losses(compare(small, load("digits"), on="joblib", workers=2, **OPTIONS)) == losses(reference)


def test_a_file_of_runs_is_resumed_without_repeating(tmp_path, reference):
    path = tmp_path / "runs.jsonl"
    compare(small, load("digits"), out=path, **{**OPTIONS, "lrs": [1e-2]})
    kept = path.read_bytes()
    result = compare(small, load("digits"), out=path, **OPTIONS)
    assert path.read_bytes().startswith(kept)
    assert len(path.read_text().splitlines()) == 1 + 8
    assert losses(result) == losses(reference)


def test_a_torn_line_is_cut_off_and_its_run_done_again(tmp_path, reference):
    path = tmp_path / "runs.jsonl"
    compare(small, load("digits"), out=path, **OPTIONS)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) - 25])
    assert losses(compare(small, load("digits"), out=path, **OPTIONS)) == losses(reference)
    assert len({json.dumps(json.loads(line).get("run")) for line in path.read_text().splitlines()}) == 9


def test_runs_of_other_settings_are_refused(tmp_path):
    path = tmp_path / "runs.jsonl"
    compare(small, load("digits"), out=path, **{**OPTIONS, "seeds": 1, "lrs": [1e-2]})
    with pytest.raises(ArgumentError, match=r"other settings \(steps differ\).*steps was 6 and is 7"):
        compare(small, load("digits"), out=path, **{**OPTIONS, "steps": 7})


def test_a_file_that_is_something_else_is_refused(tmp_path):
    path = tmp_path / "runs.jsonl"
    path.write_text('{"hello": 1}\n')
    with pytest.raises(ArgumentError, match="does not begin like a file of runs"):
        RunStore(path, {})
    path.write_text("not json\n")
    with pytest.raises(ArgumentError, match=r"line 1 of .* is not JSON"):
        RunStore(path, {})


def test_a_run_is_never_counted_twice():
    store = RunStore(None, {})
    store.add(RunSpec("t", "a", 0, 0.1), RunResult(losses=(1.0,), diverged=False, score=None))
    with pytest.raises(ArgumentError, match="never repeated"):
        store.add(RunSpec("t", "a", 0, 0.1), RunResult(losses=(1.0,), diverged=False, score=None))


def test_divergence_survives_the_file(tmp_path):
    def exploding(model, seed):
        for p in model.parameters():
            nn.init.constant_(p, 1e30)

    path = tmp_path / "runs.jsonl"
    options = {**OPTIONS, "inits": {"exploding": exploding}, "seeds": 1, "lrs": [1e-2]}
    first = compare(small, load("digits"), out=path, **options)
    again = compare(small, load("digits"), out=path, **options)
    assert first.best("exploding").diverged == again.best("exploding").diverged == 1
    assert again.to_dict()["verdicts"][0]["final_loss"] is None


def test_pretraining_is_taken_from_the_budget():
    def pretrained(model, seed):
        return 4

    result = compare(small, load("digits"), **{**OPTIONS, "inits": {"pre": pretrained}})
    assert all(len(r.losses) == 2 and r.setup_steps == 4 for r in result.runs.values())


def test_bad_questions_are_refused():
    with pytest.raises(ArgumentError, match="at least one task"):
        compare(small, load("digits"), **{**OPTIONS, "inits": {}})
    with pytest.raises(ArgumentError, match="callable that builds a fresh model"):
        compare(small(), load("digits"), **OPTIONS)
    with pytest.raises(ArgumentError, match="a learning rate is a finite number > 0"):
        compare(small, load("digits"), **{**OPTIONS, "lrs": [0.0]})
    with pytest.raises(UnknownNameError, match="no place 'clster'"):
        list(carry_out(abs, [1], on="clster"))


SCRIPT = """
import sys
from fanin.lab.compare import compare
from fanin.lab.data import load
sys.path.insert(0, sys.argv[2])
import test_compare_body as body
compare(body.small, load("digits"), out=sys.argv[1], **body.OPTIONS)
"""

BODY = """
import torch
from torch import nn
from fanin.lab.models import mlp
def small():
    return mlp([64, 16, 10])
def normal(model, seed):
    generator = torch.Generator().manual_seed(seed)
    for p in model.parameters():
        nn.init.normal_(p, std=0.1, generator=generator)
OPTIONS = dict(inits={"a": normal, "b": normal}, seeds=10, lrs=[1e-2], steps=30, progress=False)
"""


def _kill_and_resume(tmp_path, kills):
    """Start the comparison `kills` times, killing each after a random share of a run; then let one finish."""
    (tmp_path / "test_compare_body.py").write_text(BODY)
    path = tmp_path / "runs.jsonl"
    env = os.environ | {"PYTHONPATH": str(Path(fanin.__file__).parents[1])}
    command = [sys.executable, "-c", SCRIPT, str(path), str(tmp_path)]
    rng = random.Random(0)
    for _ in range(kills):
        process = subprocess.Popen(command, env=env)
        size = path.stat().st_size if path.exists() else 0
        deadline = time.monotonic() + 60
        while process.poll() is None and time.monotonic() < deadline:
            if path.exists() and path.stat().st_size > size:  # it is writing: kill it within the next few milliseconds
                time.sleep(rng.random() * 0.02)
                break
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        process.wait()
    subprocess.run(command, env=env, check=True)
    return path


def _runs(path):
    lines = [json.loads(line) for line in path.read_text().splitlines()[1:]]
    keys = [json.dumps(line["run"], sort_keys=True) for line in lines]
    assert len(keys) == len(set(keys)) == 20, "a run was lost or counted twice"
    return {k: line["result"]["losses"] for k, line in zip(keys, lines, strict=True)}


@pytest.mark.slow
def test_a_killed_comparison_ends_as_if_it_had_never_been_killed(tmp_path):
    (tmp_path / "killed").mkdir()
    (tmp_path / "whole").mkdir()
    assert _runs(_kill_and_resume(tmp_path / "killed", 1)) == _runs(_kill_and_resume(tmp_path / "whole", 0))


@pytest.mark.slow
def test_twenty_kills(tmp_path):
    (tmp_path / "killed").mkdir()
    (tmp_path / "whole").mkdir()
    assert _runs(_kill_and_resume(tmp_path / "killed", 20)) == _runs(_kill_and_resume(tmp_path / "whole", 0))
