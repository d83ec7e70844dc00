"""Run a model as its Python says: nothing compiled, nothing fused, the bodies of torch's composite functions open."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import Any

import torch

from fanin.errors import ArgumentError
from fanin.model.given import assert_module
from fanin.model.sharding import refuse_flat, refuse_spread
from fanin.model.wrappers import unwrapped

__all__ = ["composite_questions", "eager", "eager_module", "open_functions"]

_SPACES = (torch.nn.functional, torch.functional)
_QUESTIONS = ("has_torch_function", "has_torch_function_unary", "has_torch_function_variadic")


def eager_module(model: Any) -> torch.nn.Module:
    """The module to run: itself, or the user's behind `torch.compile` and other wrappers.

    Raises:
        ArgumentError: not a module, or a module that cannot be run (lazy, on the meta device, or spread over
            processes).
    """
    assert_module(model)
    refuse_flat(model)
    refuse_spread(model)
    module: torch.nn.Module = unwrapped(model)
    _refuse_without_values(module)
    return module


def _refuse_without_values(module: torch.nn.Module) -> None:
    if not hasattr(module, "training"):
        raise ArgumentError(
            f"{type(module).__name__} was frozen (torch.jit.freeze): its weights are constants of its code, and none "
            "is left to measure. Check the model before it is frozen."
        )
    tensors = [*module.named_parameters(), *module.named_buffers()]
    lazy = [
        n
        for n, t in tensors
        if isinstance(t, torch.nn.parameter.UninitializedParameter | torch.nn.parameter.UninitializedBuffer)
    ]
    if lazy:
        raise ArgumentError(f"{lazy[0]} is lazy and has no shape yet. Run the model once, then check it.")
    meta = [n for n, t in tensors if t.device.type == "meta"]
    if meta:
        raise ArgumentError(
            f"{meta[0]} is on the meta device and has no values to measure. Give it memory and values first: "
            "plan.materialize(model) does both."
        )


@contextlib.contextmanager
def eager() -> Iterator[None]:
    """Compiled functions and modules run as they were written."""
    if "torch._dynamo" not in sys.modules:
        yield
        return
    with torch.compiler.set_stance("force_eager"):
        yield


def composite_questions(*, gradients: bool) -> list[tuple[Any, str]]:
    """Where torch's composite functions ask whether somebody watches: (namespace, name of the question)."""
    spaces = (*_SPACES, torch.autograd) if gradients else _SPACES
    return [(space, name) for space in spaces for name in _QUESTIONS if hasattr(space, name)]


@contextlib.contextmanager
def open_functions(*, gradients: bool = False) -> Iterator[None]:
    """Let the bodies of composite functions (attention, normalize, ...) run, so that each of their parts is seen.

    Args:
        gradients: open ``torch.autograd.grad`` too; closed, a gradient taken inside a forward is one operation.
    """
    before = [(space, name, getattr(space, name)) for space, name in composite_questions(gradients=gradients)]
    fast = torch.backends.mha.get_fastpath_enabled()
    try:
        for space, name, _ in before:
            setattr(space, name, _no)
        torch.backends.mha.set_fastpath_enabled(False)
        yield
    finally:
        for space, name, function in before:
            setattr(space, name, function)
        torch.backends.mha.set_fastpath_enabled(fast)


def _no(*_: Any) -> bool:
    return False
