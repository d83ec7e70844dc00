"""CompleteP's depth factor, folded into the last map of each residual branch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fanin.errors import ArgumentError, PlanError
from fanin.planning.data import PlanData
from fanin.text.names import clean
from fanin.text.paths import indices

__all__ = ["blocks_of", "branch_factors"]

_MOST_NAMED = 8


def branch_factors(plan: PlanData, *, depth_base: int, depth: int | None, power: float) -> dict[str, float]:
    """Name -> the factor (depth / depth_base)^-power, for the parameters that end a residual branch.

    Raises:
        ArgumentError: depths that are no counts, or blocks that cannot be counted.
        PlanError: a branch whose factor cannot be folded; each is named with the reason.
    """
    for name, value in (("depth_base", depth_base), ("depth", depth)):
        if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
            raise ArgumentError(f"{name} is a number of blocks >= 1; got {value!r}")
    if not 0.5 <= power <= 1.0:
        raise ArgumentError(f"depth_power is between 0.5 and 1 (CompleteP); got {power!r}")
    branches = _branches(plan)
    _assert_foldable(plan, branches)
    blocks = blocks_of(branches) if depth is None else depth
    factor = (blocks / depth_base) ** -power
    return dict.fromkeys((name for branch in branches for name in branch["ends"]), factor)


def _branches(plan: PlanData) -> Sequence[Mapping[str, Any]]:
    facts = plan.extras.get("transfer")
    if facts is None:
        raise ArgumentError(
            f"this plan was made by the recipe {plan.recipe!r} without reading the forward pass, so its residual "
            "branches are not known. Plan with a recipe that reads it, such as auto or mup."
        )
    found: Sequence[Mapping[str, Any]] = facts.get("branches", ())
    if not found:
        raise ArgumentError(f"{clean(plan.model)} has no residual branches, so depth_base means nothing for it")
    return found


def _assert_foldable(plan: PlanData, branches: Sequence[Mapping[str, Any]]) -> None:
    refused = [f"branch {i} of stream {b['stream']}: {b['refused']}" for i, b in enumerate(branches) if "refused" in b]
    for name in dict.fromkeys(n for b in branches for n in b.get("ends", ())):
        why = _unscalable(plan, name)
        if why:
            refused.append(f"{name}: {why}")
    if refused:
        more = [f"... and {len(refused) - _MOST_NAMED} more"] if len(refused) > _MOST_NAMED else []
        raise PlanError(
            "the depth factor cannot be folded into the weights of this model:\n  "
            + "\n  ".join(clean(r) for r in [*refused[:_MOST_NAMED], *more])
            + "\nMultiply these branches by depth_base / depth in the forward pass, or leave depth_base out."
        )


def _unscalable(plan: PlanData, name: str) -> str:
    a = plan[name]
    if a.role == "embedding":
        return "it is a table as well"
    if a.through:
        return f"it is a part of the parametrized tensor {a.through}"
    if a.action == "keep" and a.std != 0.0:
        return "the plan keeps its values, and a factor would change them"
    return ""


def blocks_of(branches: Sequence[Mapping[str, Any]]) -> int:
    """Number of blocks: of indices that tell the branches of one residual stream apart in the names of their maps.

    Raises:
        ArgumentError: the names hold no such index, or streams have different numbers of blocks.

    Example:
        >>> names = [f"layers.{i}.{part}.weight" for i in range(3) for part in ("attn.out", "mlp.2")]
        >>> blocks_of([{"stream": 0, "ends": [name]} for name in names])
        3
    """
    streams: dict[int, list[str]] = {}
    for branch in branches:
        streams.setdefault(branch["stream"], []).append(branch["ends"][0])
    counts = {stream: _count(names) for stream, names in streams.items() if len(names) > 1}
    found = set(counts.values())
    if len(found) == 1 and None not in found:
        return int(found.pop() or 1)
    said = ", ".join("not to be told" if c is None else str(c) for c in counts.values()) or "1"
    raise ArgumentError(f"the blocks of this model cannot be counted (by residual stream: {said}); give depth=")


def _count(names: Sequence[str]) -> int | None:
    """How many values the first index takes that differs between the names; None where none differs."""
    seen: dict[str, set[int]] = {}
    for name in names:
        for before, index in indices(name):
            seen.setdefault(before, set()).add(index)
            if len(seen[before]) > 1:
                break
    first: dict[str, set[int]] = {}
    for name in names:
        place = next(((before, i) for before, i in indices(name) if len(seen[before]) > 1), None)
        if place is None:
            return None
        first.setdefault(place[0], set()).add(place[1])
    return sum(len(found) for found in first.values()) or None
