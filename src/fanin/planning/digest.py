"""A short text that two plans share exactly where they draw the same numbers."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fanin.planning.data import PlanData

__all__ = ["digest"]

_DRAWN = (
    *("name", "aliases", "shape", "dtype", "action", "initializer", "layout", "key", "through", "zero_rows"),
    *("factor", "part_factors"),
)


def digest(plan: PlanData) -> str:
    """Hash of the seed and of all that decides a number; see `Plan.digest`."""
    laws = [{name: v for name, v in a.to_dict().items() if name in _DRAWN} for a in plan.assignments.values()]
    text = json.dumps([plan.seed, laws], sort_keys=True, ensure_ascii=True, allow_nan=False)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
