"""One calibration for all processes of a data-parallel model: each sees a batch of its own, and all get one factor."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, TypeVar

import torch

from fanin.calibration.statistic import Size
from fanin.planning.data import PlanData

__all__ = ["agreed_size", "group_of", "plan_of_first"]

P = TypeVar("P", bound=PlanData)


def group_of(model: Any) -> Any:
    """The processes that hold copies of a model which DistributedDataParallel trains; None where it is alone.

    Example:
        >>> group_of(torch.nn.Linear(2, 2)) is None
        True
    """
    if not isinstance(model, torch.nn.parallel.DistributedDataParallel):
        return None
    group = model.process_group
    return group if torch.distributed.get_world_size(group) > 1 else None


def agreed_size(size: Size, group: Any, device: torch.device) -> Size:
    """The size over the batches of all processes: the mean of their mean squares, each batch counting the same."""
    if group is None:
        return size
    own = [size.value**2, size.rms**2, size.dead_share, float(size.samples)]
    total = torch.tensor(own, dtype=torch.float64, device=device)
    torch.distributed.all_reduce(total, group=group)
    count = torch.distributed.get_world_size(group)
    square, plain, dead, samples = (float(n) for n in total)
    return replace(
        size,
        value=math.sqrt(square / count),
        rms=math.sqrt(plain / count),
        dead_share=dead / count,
        samples=int(samples),
    )


def plan_of_first(plan: P, group: Any) -> P:
    """The plan that the first process of a group has made: inputs of another size would give another one."""
    if group is None:
        return plan
    sent: list[Any] = [plan.to_dict()]
    torch.distributed.broadcast_object_list(sent, group=group, group_src=0)
    return type(plan).from_dict(sent[0])
