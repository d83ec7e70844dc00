"""Files of runs: an experiment that changed is refused, one process at a time, and a bad line costs only itself."""

from __future__ import annotations

import copy
import errno
import json
import os
import random
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import fanin
from fanin.errors import ArgumentError, FaninError, FaninWarning, OutputError
from fanin.lab.compare import Task, compare
from fanin.lab.runs import RunResult, RunSpec, RunStore


class Net(nn.Module):
    def __init__(self, width=8, act=torch.tanh, bias=True):
        super().__init__()
        self.one, self.two, self.act = nn.Linear(6, width, bias=bias), nn.Linear(width, 3), act

    def forward(self, x):
        return self.two(self.act(self.one(x)))


class Other(Net):
    pass


def batches(seed, shift=0.0, size=4):
    rng = np.random.default_rng(seed)
    while True:
        yield torch.tensor(rng.normal(shift, 1, (size, 6)), dtype=torch.float32), torch.tensor(rng.integers(0, 3, size))


def half_loss(output, targets):
    return nn.functional.cross_entropy(output, targets) / 2


def quarter(model, seed):
    for p in model.parameters():
        p.data.mul_(0.25)


def tenth(model, seed):
    for p in model.parameters():
        p.data.mul_(0.1)


def momentum(params, lr):
    return torch.optim.SGD(params, lr, momentum=0.5)


def no_momentum(params, lr):
    return torch.optim.SGD(params, lr)


no_momentum.__qualname__ = "momentum"  # the same name, other options


def run(out, *, model=Net, data=batches, loss=nn.functional.cross_entropy, score=None, inits=None, **changes):
    task = Task(name="t", model=model, batches=data, loss=loss, score=score)
    options = {"seeds": 2, "lrs": [1e-2], "steps": 3, "progress": False, "optimizer": momentum, **changes}
    return compare(tasks=[task], inits={"a": None, "b": quarter} if inits is None else inits, out=out, **options)


def losses(result):
    return {spec: r.losses for spec, r in result.runs.items()}


@pytest.fixture
def out(tmp_path):
    return tmp_path / "runs.jsonl"


# ------------------------------------------------------------------ another experiment
def law(std):
    return fanin.initializers.Normal(std=std)


CHANGED = {
    "width": ({"model": lambda: Net(9)}, "model of t, numbers was 83 and is 93"),
    "activation": ({"model": lambda: Net(act=torch.relu)}, "loss as constructed under seed 0 of t was"),
    "class": ({"model": Other}, "model of t, class was"),
    "bias": ({"model": lambda: Net(bias=False)}, "model of t, parameters was 4 and is 3"),
    "data": ({"data": lambda seed: batches(seed, 0.5)}, "first batch under seed 0 of t was"),
    "batch": ({"data": lambda seed: batches(seed, size=5)}, "first batch under seed 1 of t"),
    "loss": ({"loss": half_loss}, r"loss of t was 'torch.nn.functional.cross_entropy' and is '.*half_loss'"),
    "function": ({"inits": {"a": None, "b": tenth}}, "init b was '.*quarter' and is '.*tenth'"),
    "recipe": ({"inits": {"a": "torch", "b": quarter}}, "init a was None and is 'torch'"),
    "optimizer": ({"optimizer": "adam"}, "optimizer of t, class was"),
    "options": ({"optimizer": no_momentum}, "optimizer of t, options was"),
    "steps": ({"steps": 4}, "steps was 3 and is 4"),
    "score": ({"score": lambda model: 1.0}, None),
}


@pytest.mark.parametrize("what", CHANGED)
def test_an_experiment_that_changed_is_refused_with_what_changed(out, what):
    changes, words = CHANGED[what]
    run(out)
    before = out.read_bytes()
    if words is None:  # what was not asked before is added
        run(out, **changes)
        return
    with pytest.raises(ArgumentError, match=words):
        run(out, **changes)
    assert out.read_bytes() == before


def test_another_law_or_plan_under_the_same_name_is_refused(out):
    torch.manual_seed(0)
    plans = [fanin.plan(Net(), recipe="torch", seed=seed) for seed in (0, 1)]
    run(out, inits={"law": law(0.1), "plan": plans[0]})
    run(out, inits={"law": law(0.1), "plan": plans[0]})
    with pytest.raises(ArgumentError, match=r"init law, std was 0.1 and is 0.2"):
        run(out, inits={"law": law(0.2), "plan": plans[0]})
    with pytest.raises(ArgumentError, match=r"init plan, plan was"):
        run(out, inits={"law": law(0.1), "plan": plans[1]})


def test_the_same_experiment_goes_on_and_may_grow(out):
    first = run(out, seeds=1)
    size = len(out.read_bytes().splitlines())
    assert losses(run(out, seeds=1)) == losses(first)
    assert len(out.read_bytes().splitlines()) == size
    grown = run(out, seeds=3, inits={"a": None, "b": quarter, "c": tenth}, lrs=[1e-2, 1e-1])
    assert losses(grown) == losses(run(None, seeds=3, inits={"a": None, "b": quarter, "c": tenth}, lrs=[1e-2, 1e-1]))
    assert losses(first).items() <= losses(grown).items()
    with pytest.raises(ArgumentError, match="init c"):  # what was added later holds too
        run(out, inits={"c": quarter})


def test_the_refusal_is_needed(out, monkeypatch):
    """The twin: without what tells experiments apart the old results are returned for a new question."""
    from fanin.lab import compare as module

    monkeypatch.setattr(module, "identity", lambda *args, **options: {})
    old = run(out)
    assert losses(run(out, model=lambda: Net(9))) == losses(old) != losses(run(None, model=lambda: Net(9)))


def test_batches_that_differ_each_time_are_no_reason_to_refuse(out):
    def noisy(seed):
        while True:
            yield (
                torch.from_numpy(np.random.default_rng().normal(size=(4, 6)).astype(np.float32)),
                torch.zeros(4).long(),
            )

    run(out, data=noisy)
    assert len(run(out, data=noisy).runs) == 4


def test_the_question_changes_no_random_state(out):
    before = torch.random.get_rng_state()
    run(out)
    assert torch.equal(torch.random.get_rng_state(), before)


# ------------------------------------------------------------------ where it cannot be
def test_a_place_that_cannot_be_written_is_refused_before_any_work(tmp_path):
    def model():
        raise AssertionError("work has begun")

    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "file").write_text("x")
    for place, words in {"": "it is a folder", "missing/runs": "there is no folder", "file/runs": "is a file"}.items():
        with pytest.raises(OutputError, match=words):
            run(tmp_path / place, model=model)


def test_a_pipe_is_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ArgumentError, match="regular file"):
        RunStore(tmp_path / "pipe", {})


@pytest.mark.parametrize("text", ["my notes\nand more", "my notes", '{"a": 1}', "\n", "x" * 10_000, "[]\n", "3\n"])
def test_a_file_of_somebody_else_is_left_as_it_is(out, text):
    out.write_text(text)
    with pytest.raises(ArgumentError, match=r"line 1 of|does not begin like"):
        run(out)
    assert out.read_text() == text


def test_a_full_disk_keeps_the_runs_that_were_there(out, monkeypatch):
    run(out, seeds=1)
    before, real = out.read_bytes(), os.write

    def full(handle, data):
        if real(handle, data[:20]):
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OutputError, match="is full"):
        run(out)
    monkeypatch.setattr(os, "write", real)
    assert out.read_bytes() == before
    assert losses(run(out)) == losses(run(None))


# ------------------------------------------------------------------ two at a time
HOLD = """
import sys, time
from pathlib import Path
from fanin.lab.runs import RunStore
with RunStore(Path(sys.argv[1]), {}):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_process_is_refused_and_one_after_it_goes_on(out):
    env = os.environ | {"PYTHONPATH": str(Path(fanin.__file__).parents[1])}
    with subprocess.Popen([sys.executable, "-c", HOLD, str(out)], env=env, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(ArgumentError, match="another comparison is writing to"):
            RunStore(out, {})
        other.kill()  # a lock ends with the process that has it
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            RunStore(out, {}).close()
            break
        except ArgumentError:
            time.sleep(0.05)
    RunStore(out, {}).close()


def test_two_in_one_process_are_kept_apart_too(out):
    with RunStore(out, {}), pytest.raises(ArgumentError, match="another comparison"):
        RunStore(out, {})
    RunStore(out, {}).close()


# ------------------------------------------------------------------ bad lines
@pytest.fixture(scope="module")
def good(tmp_path_factory):
    path = tmp_path_factory.mktemp("good") / "runs.jsonl"
    result = run(path, seeds=3)
    return path.read_bytes(), result


def spoiled(good, number, line):
    lines = good[0].splitlines(keepends=True)
    lines[number - 1] = line
    return b"".join(lines)


def line_of(**changes):
    """The line of a run, with changes to the run or its result."""
    made = {
        "run": {"task": "t", "init": "a", "seed": 0, "lr": 0.01},
        "result": {"losses": [1.0], "diverged": False, "score": None},
    }
    for where, entries in changes.items():
        made[where] |= entries
    return json.dumps(made).encode() + b"\n"


BAD_LINES = [
    *(b"3\n", b"null\n", b"{}\n", b"[]\n", b"\xff\xfe\n", b"{\n", b"[" * 5000 + b"\n", b"1" * 5000 + b"\n"),
    *(b'{"run": {}, "result": {}}\n', b'{"run": 1, "result": 2}\n'),
    *(line_of(result={"losses": wrong}) for wrong in (["x"], [], "x", [None], [True], ["nan"], [float("nan"), 1.0])),
    *(line_of(result=wrong) for wrong in ({"diverged": True}, {"more": 1}, {"setup_steps": -1}, {"score": "x"})),
    *(line_of(run=wrong) for wrong in ({"seed": "0"}, {"lr": -1}, {"lr": float("nan")}, {"task": None}, {"more": 1})),
]


@pytest.mark.parametrize("line", BAD_LINES, ids=range(len(BAD_LINES)))
def test_a_bad_line_is_named_and_costs_only_itself(good, out, line):
    out.write_bytes(spoiled(good, 3, line))
    with pytest.warns(FaninWarning, match=r"1 line of '.*runs.jsonl' holds no run") as seen:
        result = run(out, seeds=3)
    assert "line 3: " in str(seen[0].message)
    assert losses(result) == losses(good[1])
    assert out.read_bytes().startswith(spoiled(good, 3, line))  # nothing is taken away
    assert len(out.read_bytes().splitlines()) == len(good[0].splitlines()) + 1  # one run was done again


@pytest.mark.parametrize("end", [b"\r\n", b"\n\n", b" \n"])
def test_other_line_ends_make_no_difference(good, out, end):
    out.write_bytes(good[0].replace(b"\n", end))
    assert losses(run(out, seeds=3)) == losses(good[1])
    assert len(out.read_bytes().splitlines()) == len(good[0].replace(b"\n", end).splitlines())


def test_a_last_line_without_its_end_is_kept_where_it_is_whole(good, out):
    out.write_bytes(good[0][:-1])
    assert losses(run(out, seeds=3)) == losses(good[1])
    assert out.read_bytes() == good[0]


def test_a_file_cut_anywhere_ends_as_if_it_had_never_been_cut(good, out):
    whole, result = good
    settings = json.loads(whole.splitlines()[0])["settings"]
    for cut in range(0, len(whole), 13):
        out.write_bytes(whole[:cut])
        with RunStore(out, settings) as store:
            assert store.runs.items() <= result.runs.items()
            assert len(store.runs) == max(0, whole[: cut + 1].count(b"\n") - 1)  # a line is whole without its end too
        assert json.loads(out.read_bytes().splitlines()[0])["settings"] == settings
    out.write_bytes(whole[: len(whole) // 2])
    assert losses(run(out, seeds=3)) == losses(result)


def mutated(rng, data):
    """A results file with one to three changes: of values, of lines, of bytes."""
    lines = [json.loads(line) for line in data.splitlines()]
    values = [None, True, 0, -1, 1.5, 1e308, 10**30, "", "nan", "t", [], [1], ["x"], {}, {"a": 1}, "\x1b[31m"]
    for _ in range(rng.choice([1, 1, 2, 3])):
        owner, key = lines, rng.randrange(len(lines))
        while isinstance(owner[key], dict | list) and owner[key] and rng.random() < 0.8:
            owner = owner[key]
            key = rng.choice(list(owner)) if isinstance(owner, dict) else rng.randrange(len(owner))
        change = rng.choice(["value", "delete", "double"])
        if change == "delete" and len(lines) > 1:
            del owner[key]
        elif change == "double" and isinstance(owner, list):
            owner.append(copy.deepcopy(owner[key]))
        else:
            owner[key] = copy.deepcopy(rng.choice(values))
    raw = "".join(json.dumps(line) + "\n" for line in lines).encode()
    if rng.random() < 0.3:
        spot = rng.randrange(len(raw))
        raw = raw[:spot] + rng.choice([b"", b"\xff", b"}", b"\n", b"NaN", b"\r", b"1" * 5000]) + raw[spot + 1 :]
    return raw


def campaign(good, out, count, seed):
    """(read, refused) over so many mutated files; any foreign exception ends it."""
    rng, read, refused = random.Random(seed), 0, 0
    settings = json.loads(good[0].splitlines()[0])["settings"]
    for _ in range(count):
        raw = mutated(rng, good[0])
        out.write_bytes(raw)
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            try:
                with RunStore(out, settings) as store:
                    runs = store.runs
            except FaninError:
                refused += 1
                assert out.read_bytes() == raw
                continue
        read += 1
        assert all(issubclass(w.category, FaninWarning) and str(out) in str(w.message) for w in seen)
        assert all(isinstance(s, RunSpec) and isinstance(r, RunResult) for s, r in runs.items())
        assert all(np.isfinite(r.final_loss()) or r.diverged for r in runs.values())
    return read, refused


def test_mutated_files_give_our_errors_or_runs(good, out):
    assert min(campaign(good, out, 150, seed=0)) > 10


@pytest.mark.slow
def test_five_hundred_mutated_files_give_our_errors_or_runs(good, out):
    assert min(campaign(good, out, 500, seed=1)) > 50


def test_the_campaign_sees_a_foreign_error(good, out, monkeypatch):
    """The twin: a reader that checks no types lets foreign errors through."""
    from fanin.lab import runs

    monkeypatch.setattr(runs, "read_fields", lambda cls, data: dict(data))
    with pytest.raises((TypeError, KeyError, ValueError, AttributeError, AssertionError)):
        campaign(good, out, 150, seed=0)
