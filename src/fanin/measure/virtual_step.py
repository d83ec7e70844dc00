"""A step taken on a copy: the gradient of a closed gate is no longer zero after it, that of a dead unit still is.

A zero-initialised gate (the last scale of a residual branch, a LayerScale, the B of LoRA, a zero head) leaves
everything behind it without gradient at step zero; after the first step there is one. Where units are dead, the
gradient stays zero. So: move every parameter by 1 % along its gradient and look again.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping

import torch

from fanin.measure.record import GradientState

__all__ = ["gradient_state", "states_after_steps", "stepped", "swapped"]

STEP = 0.01
MAX_STEPS = 3  # a zero head before zero gates before a zero branch takes three


def gradient_state(parameter: torch.Tensor, gradient: torch.Tensor | None) -> GradientState:
    """What a gradient is, tested on all elements."""
    if not parameter.requires_grad:
        return "frozen"
    if gradient is None:
        return "none"
    if not gradient.numel():
        return "nonzero"  # nothing that could be zero
    norm = torch.linalg.vector_norm(gradient.detach().float() if gradient.dtype.itemsize < 4 else gradient.detach())
    if not bool(torch.isfinite(norm)):
        return "nonzero" if bool(torch.isfinite(gradient).all()) else "nonfinite"
    # The norm is zero also where the squares underflow.
    return "nonzero" if bool(norm > 0) or bool((gradient != 0).any()) else "zero"


def stepped(parameter: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
    """Parameter - 1 % of its rms along the gradient of unit rms.

    A parameter of zeros moves by 1 % of 1 / sqrt(columns).
    """
    with torch.no_grad():
        p, g = parameter.detach(), gradient.detach()
        size = _rms(p) or 1.0 / math.sqrt(max(parameter[0].numel() if parameter.dim() > 1 else 1, 1))
        rms = _rms(g)
        if 1e-15 < rms < math.inf:
            return p - g.to(p.dtype) * (STEP * size / rms)
        # Its squares leave the range, or its numbers are too small to be divided by: through float64, from the largest.
        g = g.double()
        g = g / g.abs().amax().clamp_min(1e-300)
        rms = _rms(g)
        return (p.double() - g * (STEP * size / rms)).to(p.dtype) if rms > 0 else p.clone()


def _rms(x: torch.Tensor) -> float:
    wide = torch.float32 if x.dtype.itemsize < 4 else None
    return float(torch.linalg.vector_norm(x, dtype=wide).item()) / math.sqrt(max(x.numel(), 1))


@contextlib.contextmanager
def swapped(model: torch.nn.Module, values: Mapping[str, torch.Tensor]) -> Iterator[None]:
    """The model computes with other values of some parameters; tied names follow the first."""
    live = dict(model.named_parameters())
    saved = {id(live[name]): (live[name], live[name].data) for name in values}
    try:
        for name, value in values.items():
            live[name].data = value
        yield
    finally:
        for parameter, data in saved.values():
            parameter.data = data


def states_after_steps(
    model: torch.nn.Module,
    gradients: Mapping[str, torch.Tensor | None],
    recompute: Callable[[], Mapping[str, torch.Tensor | None]],
) -> dict[str, GradientState]:
    """State of every gradient that was zero, after up to three virtual steps.

    Args:
        model: left as found.
        gradients: name -> gradient at step zero.
        recompute: gives name -> gradient for the values the model has when called.

    Returns:
        name -> state, for names whose gradient was zero. Steps end when none is zero any more, or when a step changed
        none of them.
    """
    live = dict(model.named_parameters())
    closed = {n for n, g in gradients.items() if gradient_state(live[n], g) == "zero"}
    asked, values, current = set(closed), {n: p.detach() for n, p in live.items()}, gradients
    states: dict[str, GradientState] = {}
    for _ in range(MAX_STEPS):
        if not closed:
            break
        moved = {n: stepped(values[n], g) for n, g in current.items() if g is not None and live[n].requires_grad}
        values = {**values, **moved}
        with swapped(model, {n: values[n] for n in moved}):
            current = recompute()
        states = {n: gradient_state(live[n], current.get(n)) for n in asked}
        left = {n for n in asked if states[n] == "zero"}
        if left == closed and _ > 0:
            break
        closed = left
    return states
