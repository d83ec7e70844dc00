"""Embedding tables: of unit size, or shared with the output layer."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fanin.graph.roles.data import ParameterRole
from fanin.recipes.auto.evidence import CALM_RMS, TIED_SHARE
from fanin.recipes.auto.found import found_size
from fanin.recipes.auto.options import AutoOptions
from fanin.recipes.auto.wording import Number, draft, reason
from fanin.recipes.engine.draft import Draft, Read, fixed
from fanin.recipes.engine.network import Network

__all__ = ["embedding", "is_tied", "table_numbers", "table_words"]


_USUAL = 0.9  # of a table of std 1, and less than chance gives one
_BY_CHANCE = 5.0  # standard errors of a std
_SMALLEST = 0.01  # std of a table that its module drew small, and not as good as zero


def _found_std(network: Network, role: ParameterRole) -> float | None:
    """The std of a table below 1 that its module chose, where no tokens meet each other; None elsewhere.

    The maps behind it take its size back at the start; what it changes is how far a step moves the rows. It is known
    to the nearest of four sizes an octave, and rows of zeros (padding) do not count.
    """
    live = None if _bag(role) > 1 or network.has_tokens else network.live(role.name)
    rows = None if live is None else live[live.any(axis=tuple(range(1, live.ndim)))]  # padding has no size
    if rows is None or not rows.size or not np.isfinite(rows).all():
        return None
    std = float(np.sqrt(np.square(rows, dtype=np.float64).mean()))
    if not _SMALLEST <= std < min(_USUAL, 1.0 - _BY_CHANCE / math.sqrt(2.0 * rows.size)):
        return None
    return found_size(rows)


def is_tied(role: ParameterRole) -> bool:
    """Whether a table is also the map to the logits."""
    return "head" in role.tags


def embedding(network: Network, role: ParameterRole, options: AutoOptions) -> Draft:
    """Std 1 with an output layer of its own; where the table is the output layer, what keeps the logits small."""
    tied = is_tied(role)
    if tied and len(role.uses) == 1 and network.is_zero(role.name):
        return fixed(None, rule="designed", reason=reason("zero table"), action="keep")
    if not tied and (found := _found_std(network, role)) is not None:
        return draft("embedding", lambda read: (Number("std", found, "rows found"),), reasons=("found table",))
    return draft(
        "tied embedding" if tied else "embedding",
        lambda read: table_numbers(role, options, read),
        reasons=("tied embedding",) if tied else ("bag",) if _bag(role) > 1 else ("embedding",),
        evidence="embedding-tied" if tied else "embedding-untied",
        **table_words(role, options),
    )


def table_numbers(role: ParameterRole, options: AutoOptions, read: Read) -> tuple[Number, ...]:
    """The numbers of a table, the last one its std."""
    if is_tied(role):
        return _tied_numbers(role, options, read)
    bag = _bag(role)
    return (Number("std", 1.0 / math.sqrt(bag), "rows" if bag == 1 else "bag"),)


def table_words(role: ParameterRole, options: AutoOptions) -> dict[str, Any]:
    """What the lines of those numbers name."""
    return {"bag": _bag(role), "part": _part(options)}


def _bag(role: ParameterRole) -> int:
    return role.layout.bag if role.layout.lookup else 1


def _part(options: AutoOptions) -> float:
    """Rms of the logits of a table that is also the output layer."""
    return CALM_RMS if options.head != "unit" else TIED_SHARE


def _tied_numbers(role: ParameterRole, options: AutoOptions, read: Read) -> tuple[Number, ...]:
    rows, width = role.shape[0], role.shape[1]
    least = 1.0 if any("rnn" in u.feeds for u in role.uses) else 0.0  # a recurrent state is small by nature
    size = math.sqrt(max(least, read.second_moment))
    unit = 1.0 / (math.sqrt(width) * size)
    own = math.sqrt(2.0) * math.log(max(rows, 2)) / (width * size)
    return (
        Number("second", read.second_moment),
        Number("unit", unit),
        Number("own", own),
        Number("std", min(_part(options) * unit, own), "tied"),
    )
