"""What the loss of a training loop does to a model's outputs, seen in the first backward pass."""

from __future__ import annotations

import weakref
from typing import Any

import torch

from fanin.measure.quantities.loss import loss_record
from fanin.measure.quantities.read_loss import Looked, read_from
from fanin.measure.record import LossRecord

__all__ = ["FirstOutputs"]

_HALF = (torch.float16, torch.bfloat16)
_MADE_BY = {"SoftmaxBackward0": "softmax", "SigmoidBackward0": "sigmoid"}
_TYPES = (*_HALF, torch.float32, torch.float64)


class FirstOutputs:
    """The outputs of the first forward pass in training, and the gradient that reaches them.

    The values stay on their device until `record`.
    """

    def __init__(self) -> None:
        self._seen: Looked | None = None
        self._gradients: list[Looked] = []
        self._begun = False
        self._made_by = ""

    def look(self, output: Any) -> None:
        """Remember the first outputs, where they are one tensor, and ask for their gradient."""
        if self._begun:
            return
        self._begun = True
        if _is_plain(output):
            self._made_by = _MADE_BY.get(output.grad_fn.name(), "") if output.grad_fn is not None else ""
            self._seen = Looked.at(output.detach())
            output.register_hook(_Received(weakref.ref(self)))

    def receive(self, gradient: torch.Tensor) -> None:
        """Remember the gradient in the outputs."""
        self._gradients.append(Looked.at(gradient.detach()))

    def record(self, value: float | None) -> LossRecord | None:
        """The loss that has this gradient; None where it cannot be told.

        Args:
            value: the loss of the first step; None where it is not known.
        """
        seen, gradients = self._seen, self._gradients
        self._seen, self._gradients = None, []
        if seen is None or len(gradients) != 1:  # none, or several losses reach the outputs
            return None
        call = read_from(seen, gradients[0], made_by=self._made_by, value=value)
        if call is None or call.value is None:
            return None
        return loss_record(float(call.value) if value is None else value, "gradient", [call])


class _Received:
    """A hook of a tensor that tells of its gradient and changes nothing. It holds neither the model nor the watch."""

    __torch_unserializable__ = True  # a tensor is saved without it, and without a warning

    def __init__(self, owner: weakref.ref[FirstOutputs]) -> None:
        self._owner = owner

    def __call__(self, gradient: torch.Tensor) -> None:
        owner = self._owner()
        if owner is not None and not torch.compiler.is_compiling():
            owner.receive(gradient)


def _is_plain(output: Any) -> bool:
    return (
        type(output) is torch.Tensor
        and output.requires_grad
        and output.dtype in _TYPES
        and output.layout is torch.strided
        and output.dim() >= 1
        and output.numel() > 1
        and not output.is_meta
        and not torch._C._functorch.is_functorch_wrapped_tensor(output)
    )
