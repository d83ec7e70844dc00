"""What a watch puts on a model and on its optimizers. No hook holds the watch or the model."""

from __future__ import annotations

import weakref
from abc import ABC, abstractmethod
from typing import Any

import torch

from fanin.model.untouched import working
from fanin.model.wrappers import wraps
from fanin.watching.gone import NoCopy

__all__ = ["LossHook", "StepHook", "is_compiled", "rate_of"]


class _Hook(NoCopy, ABC):
    """A hook that is put on and taken off; it keeps alive neither what it is on nor the watch that it tells."""

    def __init__(self, on: Any, owner: weakref.ref[Any]) -> None:
        self._on, self._owner = weakref.ref(on), owner
        self._handle: Any = None

    @abstractmethod
    def _put(self, on: Any) -> Any:
        """Put the hook on; what torch gives to take it off."""

    @property
    def is_open(self) -> bool:
        """Whether the hook is on."""
        return self._handle is not None

    def open(self) -> None:
        """Put the hook on."""
        on = self._on()
        if on is not None:
            self._handle = self._put(on)

    def close(self) -> None:
        """Take the hook off."""
        if self._handle is not None:
            self._handle.remove()
            self._handle = None


class StepHook(_Hook):
    """A hook of an optimizer that tells a watch, while there is one, of each step: before it or after it."""

    def __init__(self, optimizer: Any, owner: weakref.ref[Any], place: int, *, before: bool) -> None:
        super().__init__(optimizer, owner)
        self._place, self._before = place, before

    def _put(self, on: Any) -> Any:
        return (on.register_step_pre_hook if self._before else on.register_step_post_hook)(self)

    def __call__(self, *_: Any) -> None:
        """Tell the watch."""
        watch = self._owner()
        if watch is not None:
            (watch._before_step if self._before else watch._after_step)(self._place)


class LossHook(_Hook):
    """A forward hook that keeps the loss where the model's own output holds it."""

    def _put(self, on: torch.nn.Module) -> Any:
        return on.register_forward_hook(self)

    def __call__(self, module: torch.nn.Module, args: Any, output: Any) -> None:
        """Tell the watch of the loss."""
        if torch.compiler.is_compiling() or working() or not torch.is_grad_enabled():
            return
        watch, loss = self._owner(), _loss_in(output)
        if watch is not None and not module.training:
            watch._see_evaluation()
        elif watch is not None:
            watch._see_pass(output, None if loss is None else loss.detach().float())


def _loss_in(output: Any) -> torch.Tensor | None:
    """The scalar that an output is, or that it holds as its `loss`."""
    found = output.get("loss") if isinstance(output, dict) else getattr(output, "loss", output)
    return found if isinstance(found, torch.Tensor) and found.numel() == 1 and found.requires_grad else None


def rate_of(optimizer: Any) -> tuple[float, float]:
    """(the largest rate of the groups now, the largest that they name)."""
    rate = peak = 0.0
    for group in optimizer.param_groups:
        rate = max(rate, float(group.get("lr") or 0.0))  # None: the optimizer finds its own
        peak = max(peak, float(group.get("initial_lr") or 0.0), float(group.get("max_lr") or 0.0))
    return rate, max(rate, peak)


def is_compiled(model: torch.nn.Module) -> bool:
    """Whether torch.compile runs the model: hooks on its layers would break its graphs."""
    return any(wraps(m) == "_orig_mod" or getattr(m, "_compiled_call_impl", None) is not None for m in model.modules())
