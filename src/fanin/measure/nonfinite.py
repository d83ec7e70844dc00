"""Which operation made the first NaN or infinity."""

from __future__ import annotations

import torch

from fanin.measure.calls import Call
from fanin.model.operations import DROPOUT, FACTORIES, MASKING, VIEWS
from fanin.model.trees import tensors_in

__all__ = ["makes_nonfinite"]

# What passes values on or writes constants over them: never where a NaN or infinity came from.
_NO_SOURCE = VIEWS | DROPOUT | MASKING | FACTORIES


def makes_nonfinite(call: Call, output: torch.Tensor) -> bool:
    """Whether an operation made NaN or infinity, rather than handing on what it was given (as the -inf of a mask)."""
    if call.op in _NO_SOURCE or bool(torch.isfinite(torch.linalg.vector_norm(output))):
        return False
    given = [t.detach() for t in tensors_in(call.args) if t.is_floating_point()]
    if bool(torch.isnan(output).any()):
        return not any(bool(torch.isnan(t).any()) for t in given)
    return bool(torch.isinf(output).any()) and not any(bool(torch.isinf(t).any()) for t in given)
