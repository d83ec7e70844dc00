"""Functions that end a model and belong to its loss: the measured gradient is taken back to what they read.

A cross entropy on probabilities p sends back -1 / p at the true class. That is no gradient that is independent of p, as
theory assumes, and a softmax before it makes p - 1 of it. Both are known in full from p and the gradient that was
measured, so that theory starts at the logits, as it does where the loss takes them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import torch

from fanin.graph.ir import Graph, Op
from fanin.model.operations import RESHAPES, SAME_NUMBERS

__all__ = ["End", "ends_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """Where the gradient of an output is followed from.

    Attributes:
        value: index of the tensor in the graph.
        gradient: the loss' gradient there.
        passed: the values behind it up to the output, through which the gradient was taken back.
    """

    value: int
    gradient: torch.Tensor
    passed: frozenset[int] = frozenset()


def ends_of(graph: Graph, gradients: Mapping[str, torch.Tensor], outputs: Mapping[str, torch.Tensor]) -> list[End]:
    """Where the gradient of each output is followed from: the output, or what the functions at the model's end read.

    Args:
        graph: the captured forward pass.
        gradients: measured at the outputs, by path.
        outputs: the numbers there, by path; without them a gradient stays at its output.
    """
    return [_end(graph, o.value, gradients[o.path], outputs.get(o.path)) for o in graph.outputs if o.path in gradients]


def _end(graph: Graph, output: int, gradient: torch.Tensor, numbers: torch.Tensor | None) -> End:
    last = end = End(value=output, gradient=gradient)
    y = numbers
    while y is not None and y.is_floating_point() and not y.is_sparse and y.shape == end.gradient.shape:
        op = graph.producer(end.value)
        step = None if op is None else _step(graph, op, end, y)
        if step is None:
            break
        end, y, bends = step
        last = end if bends else last
    return last if bool(torch.isfinite(last.gradient).all()) else End(value=output, gradient=gradient)


def _step(graph: Graph, op: Op, end: End, y: torch.Tensor) -> tuple[End, torch.Tensor | None, bool] | None:
    """Back over one operation: the new end, the numbers there where they are known, and whether the function bends."""
    value = op.ref(0)
    if value is None or len(op.inputs) != 1 or len(op.outputs) != 1:
        return None
    g = end.gradient
    passed = end.passed | {end.value}
    if op.name in _SAME_SIZES:
        shape = graph.value(value).shape
        return End(value=value, gradient=g.reshape(shape), passed=passed), y.reshape(shape), False
    back = _BENDS.get(op.name)
    found = None if back is None else back(op, g, y)
    return None if found is None else (End(value=value, gradient=found[0], passed=passed), found[1], True)


_Found: TypeAlias = "tuple[torch.Tensor, torch.Tensor | None] | None"


def _softmax(op: Op, g: torch.Tensor, y: torch.Tensor) -> _Found:
    dim = op.arg(1, "dim", -1)
    return (y * (g - (g * y).sum(dim, keepdim=True)), None) if isinstance(dim, int) else None


def _log_softmax(op: Op, g: torch.Tensor, y: torch.Tensor) -> _Found:
    dim = op.arg(1, "dim", -1)
    return (g - y.exp() * g.sum(dim, keepdim=True), None) if isinstance(dim, int) else None


# operation -> its gradient from that behind it and from its own numbers, and the numbers that it read, where known
_BENDS: Mapping[str, Callable[[Op, torch.Tensor, torch.Tensor], _Found]] = {
    "softmax": _softmax,
    "log_softmax": _log_softmax,
    "sigmoid": lambda op, g, y: (g * y * (1 - y), None),
    "log": lambda op, g, y: (g * (-y).exp(), y.exp()),
}
_SAME_SIZES = (RESHAPES | SAME_NUMBERS) - {"detach", "data"}
