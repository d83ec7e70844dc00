"""Whether the units of one map arrive in order at the map that reads them, where axes are turned between the two."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from fanin.graph.ir import Op
from fanin.graph.recording.replay import run
from fanin.graph.roles.data import ParameterRole
from fanin.model.operations import LEFT_PRODUCTS, POOLS, VIEWS
from fanin.recipes.engine.network import Network

if TYPE_CHECKING:
    import torch

__all__ = ["after", "in_order", "numbered", "units_of", "varies"]

_MOVES = VIEWS | POOLS | {"mean"}
_MOST = 1 << 24  # entries of a tensor of numbers


def in_order(network: Network, role: ParameterRole, reader: ParameterRole) -> bool:
    """Whether each input of the reader along its input axis belongs to one unit of the map, unit after unit.

    Every unit is numbered, and the numbers are sent through the operations between the two maps; what works entry by
    entry leaves them where they are.
    """
    first, last = (network.graph.ops[r.uses[0].op] for r in (role, reader))
    if any(op.name in LEFT_PRODUCTS and _weight_is_left(network, op) for op in (first, last)):
        return False
    numbers = {first.output: numbered(network.graph.values[first.output].shape, _axis(role))}
    if numbers[first.output] is None:
        return False
    for op in network.graph.ops[first.index + 1 : last.index]:
        known = next((numbers[i] for i in op.inputs if i in numbers), None)
        if known is not None:
            numbers[op.output] = after(network, op, known, op.output)
    arrived = next((numbers[i] for i in last.inputs if i in numbers), None)
    return arrived is not None and _is_ordered(arrived, _axis(reader), units_of(role))


def _axis(role: ParameterRole) -> int:
    """The axis of the units in a map's output, and of its inputs in what it reads."""
    return 1 if role.layout.tap_axes else -1


def units_of(role: ParameterRole) -> int:
    """Units of a map: the size of its output axes together."""
    return math.prod(role.shape[axis] for axis in role.layout.out_axes)


def _weight_is_left(network: Network, op: Op) -> bool:
    return bool(op.inputs) and op.inputs[0] in network.weight_only and op.name not in ("addmm", "baddbmm")


def numbered(shape: tuple[int, ...], axis: int) -> torch.Tensor | None:
    """A tensor of the numbers 0, 1, 2, ... along one axis; None where it is too large."""
    import torch

    size = torch.Size(shape)
    if size.numel() > _MOST:
        return None
    along = [1] * len(shape)
    along[axis] = shape[axis]
    return torch.arange(shape[axis], dtype=torch.float32, device="cpu").reshape(along).expand(size)


def after(network: Network, op: Op, numbers: torch.Tensor, output: int) -> torch.Tensor | None:
    """The numbers behind one operation, at one of its outputs; None where it mixes entries."""
    shape = network.graph.values[output].shape
    if op.name in _MOVES:
        try:
            moved: torch.Tensor = run(op, lambda index: numbers)[op.outputs.index(output)]
        except Exception:  # an operation that cannot be run again on numbers, or that moves them by an index
            return None
        return moved
    return numbers if tuple(numbers.shape) == shape else None


def varies(numbers: torch.Tensor, axis: int) -> bool:
    """Whether numbers that grow along the axes they follow do so along this one."""
    if not numbers.numel():
        return False
    last = [0] * numbers.dim()
    last[axis] = -1
    return bool(numbers[tuple(last)] != numbers[(0,) * numbers.dim()])


def _is_ordered(numbers: Any, axis: int, units: int) -> bool:
    import torch

    count, left = divmod(numbers.shape[axis], units)
    if left or count < 1:
        return False
    along = [1] * numbers.dim()
    along[axis] = numbers.shape[axis]
    wanted = torch.arange(units, dtype=torch.float32).repeat_interleave(count).reshape(along)
    return bool((numbers == wanted).all())
