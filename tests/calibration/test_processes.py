"""A data-parallel model: each process has a batch of its own, and all calibrate to the same weights."""

from __future__ import annotations

import pytest
import torch
import torch.distributed as dist
from torch import nn

import fanin
from fanin.calibration import agreed

WORLD = 2


def net(scale):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 8))
    with torch.no_grad():
        model[2].weight.mul_(scale)
    return model


def one_process(rank, store, alone):
    dist.init_process_group("gloo", rank=rank, world_size=WORLD, store=dist.FileStore(store, WORLD))
    x = (1.0 + 2.0 * rank) * torch.randn(64, 32, generator=torch.Generator().manual_seed(rank))
    model = nn.parallel.DistributedDataParallel(net(5.0))
    if alone:
        agreed.torch.distributed.get_world_size = lambda group=None: 1
    found = fanin.calibrate(model, x)
    assert "2.weight" in found.changed
    mine = torch.cat([p.detach().reshape(-1) for p in model.parameters()])
    both = [torch.empty_like(mine) for _ in range(WORLD)]
    dist.all_gather(both, mine)
    assert torch.equal(*both) is not alone
    dist.destroy_process_group()


@pytest.mark.slow
@pytest.mark.parametrize("alone", [False, True])
def test_all_processes_get_the_same_weights(tmp_path, alone):
    """The twin, without agreement, gives each process weights of its own."""
    torch.multiprocessing.spawn(one_process, (str(tmp_path / "store"), alone), nprocs=WORLD)


def test_a_model_of_one_process_asks_nobody():
    size = agreed.Size(value=2.0, rms=2.0, samples=8, robust=False, dead_share=0.0)
    assert agreed.agreed_size(size, agreed.group_of(net(1.0)), torch.device("cpu")) is size
    assert agreed.plan_of_first("plan", None) == "plan"
