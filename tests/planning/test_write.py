"""Folders of weights that are drawn slice by slice: the bits of the applied model, also after kills."""

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from torch import nn

import fanin
from fanin.errors import ArgumentError, OutputError, PlanError
from fanin.initializers import Centred, Normal, Orthogonal
from zoo import make_torchvision_importable


def build(width=24):
    return nn.Sequential(nn.Embedding(50, width, padding_idx=1), nn.Linear(width, width), nn.BatchNorm1d(width))


def planned(seed=0):
    return fanin.plan(build(), recipe="torch", seed=seed, overrides={"1.weight": Orthogonal()})


def loaded(folder):
    from safetensors.torch import load_file

    return {k: v for path in sorted(folder.glob("*.safetensors")) for k, v in load_file(path).items()}


@pytest.mark.parametrize("size", ["5GB", "3KB"])
@pytest.mark.parametrize("dtype", [None, "bfloat16", "float16"])
def test_the_folder_holds_the_bits_of_the_applied_model_and_verifies(tmp_path, size, dtype):
    plan, model = planned(), build()
    model = model if dtype is None else model.to(getattr(torch, dtype))
    done = plan.write(tmp_path, shard_size=size, dtype=dtype, model=build())
    found, want = loaded(tmp_path), plan.apply_(model).state_dict()
    assert found.keys() == want.keys()
    assert all(torch.equal(found[n], want[n].to(found[n].dtype)) for n in want)
    assert (tmp_path / "model.safetensors.index.json").exists() == (len(done.files) > 1) == (size == "3KB")
    held = plan.verify(tmp_path, dtype=dtype)
    assert held.ok, str(held)
    assert set(held.bits) == set(plan)
    assert not list(tmp_path.glob("*.partial"))


@pytest.mark.parametrize("law", [Orthogonal(), Normal(std=0.02), Centred(Normal(std=0.02))])
def test_blocks_and_slices_are_those_of_the_whole(tmp_path, monkeypatch, law):
    """Blocks of an odd size cut through numbers; groups of rows are drawn together."""
    monkeypatch.setattr("fanin.planning.slices.SLICE", 70)
    monkeypatch.setattr("fanin.text.block_file.BLOCK", 1021)
    monkeypatch.setattr("fanin.text.block_file._opened_direct", lambda path: None)
    plan = fanin.plan(build(), recipe="torch", overrides={"1.weight": law})
    plan.write(tmp_path, model=build())
    want = plan.apply_(build()).state_dict()
    assert all(torch.equal(t, want[n]) for n, t in loaded(tmp_path).items())
    assert plan.verify(tmp_path).ok


def test_parts_make_the_whole_without_communication(tmp_path):
    plan = planned()
    plan.write(tmp_path / "whole", shard_size="3KB")
    for rank in (2, 0, 1):
        plan.write(tmp_path / "parts", shard_size="3KB", part=(rank, 3))
    one, two = ({p.name: p.read_bytes() for p in (tmp_path / n).iterdir()} for n in ("whole", "parts"))
    assert one == two


def test_another_plan_is_never_written_over(tmp_path):
    planned().write(tmp_path)
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    for other in (lambda: planned(seed=1).write(tmp_path), lambda: planned().write(tmp_path, dtype="bfloat16")):
        with pytest.raises(OutputError, match="another plan, seed, dtype"):
            other()
    with pytest.raises(OutputError, match="exists already"):
        planned().write(tmp_path, resume=False)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before
    assert planned().write(tmp_path).kept == ("model.safetensors",)


def test_what_cannot_be_written_is_said_before_the_first_byte(tmp_path, monkeypatch):
    kept = fanin.plan(build(), recipe="torch", overrides={"1.weight": None})
    with pytest.raises(PlanError, match=r"1 parameter has no law of its own, .*1\.weight"):
        kept.write(tmp_path / "a")
    with pytest.raises(ArgumentError, match="'5 parsecs'"):
        planned().write(tmp_path / "a", shard_size="5 parsecs")
    with pytest.raises(ArgumentError, match="part is"):
        planned().write(tmp_path / "a", part=(3, 3))
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 10})())
    with pytest.raises(OutputError, match="are missing"):
        planned().write(tmp_path / "a")
    assert not list(tmp_path.glob("a/*"))


def test_each_kind_of_damage_is_named(tmp_path):
    plan = planned()
    plan.write(tmp_path)
    file = tmp_path / "model.safetensors"
    whole = file.read_bytes()
    start = 8 + int.from_bytes(whole[:8], "little")
    places = json.loads(whole[8:start])
    rng = random.Random(0)
    for _ in range(50):
        at = rng.randrange(start, len(whole))
        bad = bytearray(whole)
        bad[at] ^= 1 << rng.randrange(8)
        file.write_bytes(bad)
        hit = next(
            n for n, p in places.items() if "shape" in p and p["data_offsets"][0] <= at - start < p["data_offsets"][1]
        )
        (said,) = plan.verify(tmp_path).departures
        place = (at - start - places[hit]["data_offsets"][0]) // 4
        assert said.startswith(f"{hit}: 1 of ")
        assert said.endswith(f"first at {place}")
    file.write_bytes(whole[:-20])
    assert any("bytes, its header says" in d for d in plan.verify(tmp_path).departures)
    one, two = (places[n]["data_offsets"] for n in ("2.weight", "2.bias"))
    bad = bytearray(whole)
    (bad[start + one[0] : start + one[1]], bad[start + two[0] : start + two[1]]) = (
        whole[start + two[0] : start + two[1]],
        whole[start + one[0] : start + one[1]],
    )
    file.write_bytes(bad)
    assert {d.split(":")[0] for d in plan.verify(tmp_path).departures} == {"2.weight", "2.bias"}
    file.write_bytes(whole.replace(b'"2.bias"', b'"2.tias"'))
    assert [d.split(",")[0] for d in plan.verify(tmp_path).departures] == ["2.bias: missing", "2.tias: extra"]


@pytest.mark.filterwarnings("ignore:torch.distributed is disabled")
def test_transformers_loads_the_folder_and_its_own_folder_verifies(tmp_path):
    make_torchvision_importable()
    transformers = pytest.importorskip("transformers")
    config = transformers.LlamaConfig(
        hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4, vocab_size=64
    )
    with torch.device("meta"):
        meta = transformers.LlamaForCausalLM(config)
    plan = fanin.plan(meta, recipe="torch", overrides={"*": Normal(std=0.02)})
    plan.write(tmp_path / "ours", shard_size="20KB", model=meta)
    model, info = transformers.LlamaForCausalLM.from_pretrained(tmp_path / "ours", output_loading_info=True)
    assert not any(info[k] for k in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert plan.verify(model, bits=True).ok
    model.save_pretrained(tmp_path / "theirs")
    assert plan.verify(tmp_path / "theirs").ok
    from torch.distributed.checkpoint import HuggingFaceStorageReader, load

    state = {n: torch.zeros_like(t) for n, t in model.state_dict().items()}
    load(state, storage_reader=HuggingFaceStorageReader(str(tmp_path / "ours")), no_dist=True)
    assert all(torch.equal(state[n], t) for n, t in model.state_dict().items())


PROGRAM = """
import os, sys, torch, fanin, fanin.planning.write, fanin.streams.numba_kernels, fanin.tensors.fill
plan = fanin.Plan.load(sys.argv[1])
for line in sys.stdin:  # for each line one process that writes; what it needs is loaded once
    child = os.fork()
    if not child:
        plan.write(sys.argv[2], shard_size="110MB")
        os._exit(0)
    print(child, flush=True)
    print(os.waitpid(child, 0)[1], flush=True)
"""


def write_killed_after(parent, seconds):
    """Let a process write, and kill it after so many seconds (None: never); its status."""
    parent.stdin.write("\n")
    parent.stdin.flush()
    child = int(parent.stdout.readline())
    if seconds is not None:
        time.sleep(seconds)
        with contextlib.suppress(ProcessLookupError):  # it was done before
            os.kill(child, signal.SIGKILL)
    return int(parent.stdout.readline())


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked")
def test_twenty_kills_at_random_times_give_the_bytes_of_an_uninterrupted_run(tmp_path):
    with torch.device("meta"):
        plan = fanin.plan(nn.Sequential(*(nn.Linear(3000, 3000) for _ in range(6))), recipe="torch")
    plan.save(tmp_path / "plan.json")
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    begun = time.monotonic()
    plan.write(whole, shard_size="110MB")
    longest, rng, kills = time.monotonic() - begun, random.Random(0), 0
    env = os.environ | {"PYTHONPATH": str(Path(fanin.__file__).parents[1])}
    words = [sys.executable, "-c", PROGRAM, str(tmp_path / "plan.json"), str(killed)]
    with subprocess.Popen(words, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as parent:
        while kills < 20:
            status = write_killed_after(parent, rng.uniform(0, longest / 4))
            kills += os.WIFSIGNALED(status)
            if not os.WIFSIGNALED(status):  # it was done before
                shutil.rmtree(killed)
        assert write_killed_after(parent, None) == 0
        parent.stdin.close()
    one, two = ({p.name: p.read_bytes() for p in folder.iterdir()} for folder in (whole, killed))
    assert one.keys() == two.keys()
    assert all(one[n] == two[n] for n in one)


def test_a_dry_run_says_the_files_and_writes_nothing(tmp_path):
    plan = fanin.plan(nn.Sequential(nn.Linear(64, 64), nn.Linear(64, 64)), recipe="torch")
    said = plan.write(tmp_path / "out", shard_size="20KB", dry_run=True)
    assert list(tmp_path.iterdir()) == []
    assert str(said).startswith("0 files written")
    done = plan.write(tmp_path / "out", shard_size="20KB")
    assert (said.files, said.num_bytes) == (done.files, done.num_bytes)
    assert set(said.left_out) == set(said.files)
