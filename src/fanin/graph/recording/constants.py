"""Constants of a forward pass (position tables, masks, everything that depends on no parameter, buffer or input).

They are computed with real numbers inside a capture on fake tensors. So what a forward memoises of them is what it
would have memoised anyway, and a branch that asks for their numbers needs no guess.
"""

from __future__ import annotations

from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensor, unset_fake_temporarily

from fanin.model.operations import is_inplace
from fanin.model.trees import tensors_in

__all__ = ["Constants", "is_real"]

_LARGEST = 1 << 24  # elements of one constant, above which it is fake like everything else
_MOST = 1 << 26  # elements of all constants of one capture


def is_real(tensor: Any) -> bool:
    """Whether a tensor holds numbers: neither fake, nor on the meta device, nor inside a functorch transform."""
    return not (
        isinstance(tensor, FakeTensor) or tensor.is_meta or torch._C._functorch.is_functorch_wrapped_tensor(tensor)
    )


class Constants:
    """Runs operations for real, within a budget.

    Attributes:
        left: elements that may still be made.
    """

    def __init__(self) -> None:
        self.left: int = _MOST

    def stand_in(self, tensor: Any) -> Any | None:
        """A copy to compute with of a tensor that the model holds as a plain attribute; None where it must be fake.

        One that asks for a gradient is a parameter in all but name, and so no constant.
        """
        if not is_real(tensor) or tensor.requires_grad or type(tensor) is not torch.Tensor or not tensor.is_leaf:
            return None
        if tensor.layout is not torch.strided or not self._takes(tensor.numel()):
            return None
        with unset_fake_temporarily():
            return tensor.detach().clone()

    def run(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[bool, Any]:
        """(True, result) of an operation on constants alone; (False, None) where it must run on fake tensors."""
        given = list(tensors_in([args, kwargs]))
        if not all(map(is_real, given)) or torch._C._functorch.peek_interpreter_stack() is not None:
            return False, None
        if not is_inplace(func) and not self._fits(func, args, kwargs):
            return False, None
        try:
            with unset_fake_temporarily():
                result = func(*args, **kwargs)
        except Exception:  # a device that this machine lacks; what is truly wrong fails on fake tensors, too
            return False, None
        made = list(tensors_in(result))
        return (True, result) if all(map(is_real, made)) else (False, None)

    def _fits(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
        """Whether the results are small enough, which fake tensors tell without making them."""
        try:
            made = sum(t.numel() for t in tensors_in(func(*args, **kwargs)))
        except Exception:  # the shape depends on the numbers, so it is at most that of what is there
            made = sum(t.numel() for t in tensors_in([args, kwargs]))
        return self._takes(made)

    def _takes(self, count: int) -> bool:
        if count > min(_LARGEST, self.left):
            return False
        self.left -= count
        return True
