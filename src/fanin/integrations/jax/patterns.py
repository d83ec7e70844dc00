"""Steps that JAX writes out and torch has by one name: softmax, mean, a norm's scale applied to its factor first."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

__all__ = ["Pattern", "needed", "patterns"]


@dataclass(frozen=True, slots=True)
class Pattern:
    """A value that is computed another way.

    Attributes:
        inputs: variables of the program that it is computed from.
        run: gives the value from theirs.
    """

    inputs: tuple[Any, ...]
    run: Callable[..., torch.Tensor]


def needed(jaxpr: Any, found: Mapping[Any, Pattern]) -> list[Any]:
    """The equations of a program that its outputs need, where each pattern is computed from its own inputs."""
    wanted = {v for v in jaxpr.outvars if not hasattr(v, "val")}
    kept = []
    for eqn in reversed(jaxpr.eqns):
        if wanted.isdisjoint(eqn.outvars):
            continue
        kept.append(eqn)
        pattern = found.get(eqn.outvars[0])
        read = eqn.invars if pattern is None else pattern.inputs
        wanted.update(v for v in read if not hasattr(v, "val"))
    return kept[::-1]


def patterns(jaxpr: Any, fixed: AbstractSet[Any]) -> dict[Any, Pattern]:
    """The patterns of a program by the variable that each gives; what follows from `fixed` variables has none."""
    made = {out: eqn for eqn in jaxpr.eqns for out in eqn.outvars}
    constant = set(fixed)
    found: dict[Any, Pattern] = {}
    for eqn in jaxpr.eqns:
        if all(hasattr(v, "val") or v in constant for v in eqn.invars):
            constant.update(eqn.outvars)
            continue
        for find in (_softmax, _mean, _moved_norm, _scaled_factor):
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


def _moved_norm(eqn: Any, made: dict[Any, Any]) -> Pattern | None:
    """X * a + (offset - mean * a) with a = scale / sqrt(.): the norm first, then its scale and its shift."""
    if eqn.primitive.name != "add":
        return None
    for product, rest in (eqn.invars, eqn.invars[::-1]):
        times = _made_by(product, made, "mul")
        for moved, offsets in _less_offsets(rest, made) if times is not None else ():
            centre = _centre(moved, times, made)
            factors = () if centre is None else _root_first(centre[1], made)
            if centre is not None and factors:
                return Pattern((centre[0], centre[2], *factors, *offsets), _Moved(len(offsets)))
    return None


def _less_offsets(atom: Any, made: dict[Any, Any]) -> list[tuple[Any, tuple[Any, ...]]]:
    """The products that a value is, or is but for an offset that is added."""
    product, total = _made_by(atom, made, "mul"), _made_by(atom, made, "add")
    if product is not None:
        return [(product, ())]
    pairs = () if total is None else (total.invars, total.invars[::-1])
    return [(found, (offset,)) for term, offset in pairs if (found := _made_by(term, made, "mul")) is not None]


def _root_first(factor: Any, made: dict[Any, Any]) -> tuple[Any, ...]:
    """The factors of a factor, 1 / sqrt(.) first; () where it has no such root."""
    if _is_root(factor, made):
        return (factor,)
    product = _made_by(factor, made, "mul")
    pairs = () if product is None else (product.invars, product.invars[::-1])
    return next(((root, scale) for root, scale in pairs if _is_root(root, made)), ())


@dataclass(frozen=True, slots=True)
class _Moved:
    """(x - mean) times its factors, plus its offsets."""

    offsets: int

    def __call__(self, x: torch.Tensor, mean: torch.Tensor, *rest: torch.Tensor) -> torch.Tensor:
        factors, offsets = rest[: len(rest) - self.offsets], rest[len(rest) - self.offsets :]
        y = x - mean
        for factor in factors:
            y = y * factor
        for offset in offsets:
            y = y + offset
        return y


def _centre(moved: Any, times: Any, made: dict[Any, Any]) -> tuple[Any, Any, Any] | None:
    """What x, its factor and the mean are, where one product is x * a and the other -mean * a."""
    for x, a in (times.invars, times.invars[::-1]):
        for minus, same in (moved.invars, moved.invars[::-1]):
            mean = _made_by(minus, made, "neg")
            if mean is not None and not hasattr(a, "val") and _narrow(same, made) is _narrow(a, made):
                return x, _narrow(a, made), mean.invars[0]
    return None


def _narrow(atom: Any, made: dict[Any, Any]) -> Any:
    """A value before it was broadcast along axes that it has."""
    while not hasattr(atom, "val") and (eqn := made.get(atom)) is not None:
        rank = len(eqn.outvars[0].aval.shape)
        if eqn.primitive.name != "broadcast_in_dim" or tuple(eqn.params["broadcast_dimensions"]) != tuple(range(rank)):
            break
        atom = eqn.invars[0]
    return atom


def _made_by(atom: Any, made: dict[Any, Any], *names: str) -> Any:
    """The equation that makes a value before it was broadcast, if it is one of these."""
    narrow = _narrow(atom, made)
    eqn = None if hasattr(narrow, "val") else made.get(narrow)
    return eqn if eqn is not None and eqn.primitive.name in names else None


def _is_root(atom: Any, made: dict[Any, Any]) -> bool:
    return _maker(atom, made, "rsqrt") is not None
