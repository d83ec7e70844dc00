"""Channel means that go into the bias: what `center=True` adds to a pass."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from fanin.calibration.operand import WeightedCall
from fanin.tensors.values import wide_enough

__all__ = ["Centred", "centred"]

_STEPS = 1 << 8  # grid of a bias, over the size of the output: no thread count or order of the batch changes it
_ALIKE = 2.0  # steps of the grid that a mean may be off without being taken off again


@dataclass(frozen=True, slots=True, kw_only=True)
class Centred:
    """One bias that takes the mean of each channel off.

    Attributes:
        bias: its name.
        module: path of the module that runs the operation.
        op: the operation.
        values: the bias, float64 on the device of the output.
        before: root mean square over channels of the means that the output had with the bias as it was.
        samples: what the means are over: rows of the output.
    """

    bias: str
    module: str
    op: str
    values: torch.Tensor
    before: float
    samples: int


def centred(found: WeightedCall, bias: str, product: torch.Tensor, module: str) -> Centred | None:
    """The bias that takes the mean of each channel off; None where the mean is zero already.

    Args:
        found: the call; it adds a bias of one number a channel.
        bias: name of that parameter.
        product: what the call multiplies to, times its factor.
        module: path of the module that runs it.
    """
    assert found.added is not None, "only a call that adds a bias is centred"  # noqa: S101 our own bug
    others = [d for d in range(product.dim()) if d != found.channel % product.dim()]
    wide = wide_enough(product)
    means = wide.double().mean(others) if others else wide.double()
    now = found.added.detach().double().flatten()
    size = float(torch.linalg.vector_norm(wide, dtype=torch.float64)) / math.sqrt(max(product.numel(), 1))
    step = 2.0 ** math.floor(math.log2(size)) / _STEPS if 0.0 < size < math.inf else 1.0
    off = means + now
    if float(off.abs().max()) <= _ALIKE * step:
        return None
    return Centred(
        bias=bias,
        module=module,
        op=found.op,
        values=torch.round(-means / step) * step,
        before=float(off.square().mean().sqrt()),
        samples=product.numel() // max(means.numel(), 1),
    )
