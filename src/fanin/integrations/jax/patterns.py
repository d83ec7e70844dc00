"""Steps that JAX writes out and torch has by one name: softmax, mean, a norm's scale applied to its factor first."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

__all__ = ["Pattern", "patterns"]


@dataclass(frozen=True, slots=True)
class Pattern:
    """A value that is computed another way.

    Attributes:
        inputs: variables of the program that it is computed from.
        run: gives the value from theirs.
    """

    inputs: tuple[Any, ...]
    run: Callable[..., torch.Tensor]


def patterns(jaxpr: Any) -> dict[Any, Pattern]:
    """The patterns of a program by the variable that each gives."""
    made = {out: eqn for eqn in jaxpr.eqns for out in eqn.outvars}
    found: dict[Any, Pattern] = {}
    for eqn in jaxpr.eqns:
        for find in (_softmax, _mean, _scaled_factor):
            pattern = find(eqn, made)
            if pattern is not None:
                found[eqn.outvars[0]] = pattern
                break
    return found


def _maker(atom: Any, made: dict[Any, Any], *names: str) -> Any:
    """The equation that makes a value, if it is one of these; views and converted copies are looked through."""
    while not hasattr(atom, "val") and (eqn := made.get(atom)) is not None:
        if eqn.primitive.name in names:
            return eqn
        if eqn.primitive.name not in _VIEWS:
            return None
        atom = eqn.invars[0]
    return None


_VIEWS = frozenset({"broadcast_in_dim", "reshape", "stop_gradient", "expand_dims", "squeeze"})


def _softmax(eqn: Any, made: dict[Any, Any]) -> Pattern | None:
    """exp(x - max x) / sum of it."""
    if eqn.primitive.name != "div":
        return None
    top, below = eqn.invars
    power = _maker(top, made, "exp")
    total = _maker(below, made, "reduce_sum")
    if power is None or total is None or total.invars[0] is not power.outvars[0]:
        return None
    shifted = _maker(power.invars[0], made, "sub")
    axes = tuple(total.params["axes"])
    if shifted is None or len(axes) != 1:
        return None
    x = shifted.invars[0]
    limit = _maker(shifted.invars[1], made, "reduce_max", "max")
    while limit is not None and limit.primitive.name == "max":
        limit = next((m for v in limit.invars if (m := _maker(v, made, "reduce_max")) is not None), None)
    if limit is None or limit.invars[0] is not x or tuple(limit.params["axes"]) != axes:
        return None
    return Pattern((x,), lambda t, axis=axes[0]: torch.softmax(t, dim=axis))


def _mean(eqn: Any, made: dict[Any, Any]) -> Pattern | None:
    """A sum divided by how many it sums, where the sum itself is divided."""
    if eqn.primitive.name != "div" or not hasattr(eqn.invars[1], "val") or np.ndim(eqn.invars[1].val):
        return None
    total = None if hasattr(eqn.invars[0], "val") else made.get(eqn.invars[0])
    while total is not None and total.primitive.name in ("reshape", "broadcast_in_dim"):
        total = made.get(total.invars[0]) if not hasattr(total.invars[0], "val") else None
    if total is None or total.primitive.name != "reduce_sum":
        return None
    axes, shape = tuple(total.params["axes"]), total.invars[0].aval.shape
    if not axes or float(eqn.invars[1].val) != float(np.prod([shape[a] for a in axes])):
        return None
    out = tuple(eqn.outvars[0].aval.shape)
    kept = tuple(1 if a in axes else n for a, n in enumerate(shape))
    if out == kept:
        return Pattern((total.invars[0],), lambda t: t.mean(dim=axes, keepdim=True))
    if out == tuple(total.outvars[0].aval.shape):
        return Pattern((total.invars[0],), lambda t: t.mean(dim=axes))
    return None


def _scaled_factor(eqn: Any, made: dict[Any, Any]) -> Pattern | None:
    """X * (factor * scale) with the factor 1 / sqrt(.): the norm first, then its scale."""
    if eqn.primitive.name != "mul" or any(hasattr(v, "val") for v in eqn.invars):
        return None
    for x, product in (eqn.invars, eqn.invars[::-1]):
        both = made.get(product)
        while both is not None and both.primitive.name in ("broadcast_in_dim", "reshape"):
            both = made.get(both.invars[0]) if not hasattr(both.invars[0], "val") else None
        if both is None or both.primitive.name != "mul" or both.outvars[0] is not product:
            continue
        if any(hasattr(v, "val") for v in both.invars):
            continue
        for factor, scale in (both.invars, both.invars[::-1]):
            if _is_root(factor, made) and not _is_root(scale, made) and factor is not scale:
                return Pattern((x, factor, scale), lambda t, f, s: t * f * s)
    return None


def _is_root(atom: Any, made: dict[Any, Any]) -> bool:
    return _maker(atom, made, "rsqrt") is not None
