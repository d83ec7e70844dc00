"""Containers without elements and attributes, all of them put back by one function.

Each module has about fifteen of them, most for hooks: kept one by one they would take longer than all else.
"""

from __future__ import annotations

import gc
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

from fanin.model.kept_objects import PutBack
from fanin.model.reachable import Reachable, own_attributes

__all__ = ["BARE", "keep_bare"]

BARE = frozenset({dict, OrderedDict, set, list})  # nothing that such an object refers to escapes `gc.get_referents`


def keep_bare(things: Sequence[Any], reachable: Reachable) -> PutBack:
    """What empties these containers again, and takes attributes off that code of the model has set on them."""

    def put_back() -> bool:
        if gc.get_referents(*things):
            for thing in things:
                if gc.get_referents(thing):
                    _strip(thing, reachable)
        return True

    return put_back


def _strip(thing: Any, reachable: Reachable) -> None:
    type(thing).clear(thing)
    if type(thing) is OrderedDict:
        space = own_attributes(thing) or {}
        for name in [n for n in space if reachable.stores_any_name or n in reachable.stored]:
            del space[name]
