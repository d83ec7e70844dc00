"""Models behind DDP and FSDP: the same names and bits, or one sentence that says where the tensors are whole."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import nn

import fanin
from fanin.errors import ArgumentError, FaninError, PlanError

pytestmark = [
    pytest.mark.skipif(not dist.is_available(), reason="torch without distributed"),
    pytest.mark.filterwarnings("ignore:.*:FutureWarning", "ignore:.*:UserWarning", "ignore:.*:DeprecationWarning"),
]
X = torch.randn(8, 16, generator=torch.Generator().manual_seed(0))


def mlp():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Sequential(nn.Linear(32, 32), nn.ReLU()), nn.Linear(32, 4))


def data_parallel(model):
    return nn.parallel.DistributedDataParallel(model)


def fsdp(model, *, nested=True, own_parameters=True):
    from torch.distributed.fsdp import FullyShardedDataParallel
    from torch.distributed.fsdp.wrap import ModuleWrapPolicy

    policy = ModuleWrapPolicy({nn.Sequential}) if nested else None
    cpu = torch.device("cpu")
    return FullyShardedDataParallel(model, device_id=cpu, use_orig_params=own_parameters, auto_wrap_policy=policy)


def fully_sharded(model):
    from torch.distributed.fsdp import fully_shard

    for layer in (model[2], model):
        fully_shard(layer)
    return model


@pytest.fixture
def process():
    dist.init_process_group("gloo", rank=0, world_size=1, store=dist.HashStore())
    yield
    dist.destroy_process_group()


WRAPPERS = {
    "DDP": data_parallel,
    "DDP inside": lambda m: nn.Sequential(*m[:2], data_parallel(m[2]), m[3]),
    "FSDP": lambda m: fsdp(m, nested=False),
    "FSDP, nested": fsdp,
    "fully_shard": fully_sharded,
}
RUNS = tuple(int(n) for n in torch.__version__.split(".")[:2]) >= (2, 7)  # before, fully_shard has no forward on a CPU


def needs_a_forward():
    if not RUNS:
        pytest.skip("this torch cannot run a fully sharded model on a CPU")


@pytest.mark.parametrize("name", WRAPPERS)
def test_a_wrapped_model_gets_the_same_plan_and_the_same_bits_and_still_runs(process, name):
    plain, model = mlp(), WRAPPERS[name](mlp())
    plan = fanin.init_(plain, X)
    kinds = [type(p) for p in model.parameters()]
    assert [(n, a.initializer) for n, a in fanin.plan(model, X).items()] == [
        (n, a.initializer) for n, a in plan.items()
    ]
    assert [type(p) for p in model.parameters()] == kinds
    assert not plan.verify(model).ok
    plan.apply_(model)
    assert plan.verify(model, bits=True).ok
    assert not plan.diff(model)
    assert fanin.plan(model, recipe="keep").verify(model).ok
    if name == "fully_shard":
        needs_a_forward()
    assert torch.allclose(model(X), plain(X), atol=1e-6)
    model(X).sum().backward()


def test_flat_parameters_are_not_read_but_a_plan_is_written_into_them_and_verified(process):
    from torch.distributed.fsdp import FullyShardedDataParallel

    model = fsdp(mlp(), own_parameters=False)
    plan = fanin.plan(mlp(), X)
    for verb in (
        lambda: fanin.plan(model, X),
        lambda: fanin.init_(model, recipe="torch"),
        lambda: fanin.check(model, X),
    ):
        with pytest.raises(PlanError, match=r"none of them is whole here.*summon_full_params\(model\)"):
            verb()
    assert not plan.verify(model).ok
    plan.apply_(model)
    assert plan.verify(model, bits=True).ok
    assert torch.allclose(model(X), plan.apply_(mlp())(X), atol=1e-6)
    with FullyShardedDataParallel.summon_full_params(model):
        assert plan.verify(model, bits=True).ok


def test_a_check_of_a_spread_model_is_refused_and_of_a_whole_one_is_not(process):
    needs_a_forward()
    model = fully_sharded(mlp())
    with pytest.raises(ArgumentError, match=r"spread over processes \(its parameter '0\.weight'\)"):
        fanin.check(model, X)
    model(X)  # now the root holds plain parameters, and gathers again at the next pass
    with pytest.raises(ArgumentError, match="spread over processes"):
        fanin.check(model, X)
    for wrap in (data_parallel, fsdp):
        report = fanin.check(wrap(mlp()), X, targets=torch.zeros(8, dtype=torch.long))
        assert [p.path for p in report.measurements.parameters] == [n for n, _ in mlp().named_parameters()]


PROGRAM = """
import json, sys, warnings
warnings.simplefilter("ignore")
import torch, torch.distributed as dist
sys.path.insert(0, sys.argv[3])
import test_sharding as t
import fanin
rank = int(sys.argv[1])
dist.init_process_group("gloo", rank=rank, world_size=2, store=dist.FileStore(sys.argv[2], 2))
plan = fanin.init_(t.mlp(), t.X)
sharded = t.fully_sharded(t.mlp())
found = {"plan": [str(a.initializer) for a in fanin.plan(sharded, t.X).values()] ==
         [str(a.initializer) for a in plan.values()]}
found["other"] = plan.verify(sharded).ok
plan.apply_(sharded)
found["same"] = plan.verify(sharded, bits=True).ok
want = plan.apply_(t.mlp())
found["forward"] = bool(torch.allclose(sharded(t.X), want(t.X), atol=1e-6))
found["keep"] = fanin.plan(sharded, recipe="keep").verify(sharded).ok
ddp = t.data_parallel(t.mlp())
found["ddp"] = fanin.init_(ddp, t.X).to_json() == plan.to_json() and plan.verify(ddp, bits=True).ok
old = t.fsdp(t.mlp())
found["refused"] = t.said(lambda: fanin.plan(old, t.X))
with torch.distributed.fsdp.FullyShardedDataParallel.summon_full_params(old):
    plan.apply_(old)
    found["summoned"] = plan.verify(old, bits=True).ok
found["summoned forward"] = bool(torch.allclose(old(t.X), want(t.X), atol=1e-6))
dist.barrier()
dist.destroy_process_group()
print(json.dumps(found))
"""


def said(run):
    try:
        run()
    except FaninError as error:
        return str(error)
    return ""


@pytest.mark.slow
def test_two_processes_hold_the_plan_between_them(tmp_path):
    needs_a_forward()
    import json

    here = Path(__file__).parent
    env = os.environ | {"PYTHONPATH": os.pathsep.join([str(Path(fanin.__file__).parents[1]), str(here.parents[1])])}
    ranks = [
        subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(rank), str(tmp_path / "store"), str(here)],
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    for out, err in [process.communicate(timeout=300) for process in ranks]:
        assert out, err
        found = json.loads(out.splitlines()[-1])
        assert "none of them is whole here" in found.pop("refused")
        assert found.pop("other") is False
        assert set(found.values()) == {True}, found
