"""Modulated signals, scale * h + shift (FiLM, AdaLN, conditional norms): the scale starts at 1, the shift at 0."""

from __future__ import annotations

from typing import Any

from fanin.graph.roles.data import ParameterRole
from fanin.initializers import Constant, Initializer, Ones, PerPart, Zeros
from fanin.recipes.auto.options import AutoOptions
from fanin.recipes.auto.wording import reason
from fanin.recipes.engine.draft import Draft, fixed
from fanin.recipes.engine.modulation import Modulator, Stretch
from fanin.recipes.engine.network import Network

__all__ = ["modulating", "modulating_bias"]

_DESIGNED = 0.1  # distance of a table's scales from 1 and of its shifts from 0 up to which they are its author's


def modulating(network: Network, role: ParameterRole, options: AutoOptions) -> Draft | None:
    """A map or table that makes scales and shifts: zero where its bias, or the model, gives the 1; None for others.

    Source: Perez et al. 2017 (FiLM), arXiv 1709.07871, section 3.1; Peebles and Xie 2022, arXiv 2212.09748,
    section 3.2.
    """
    found = network.modulators.get(role.name)
    if found is None:
        return None
    live = network.live(role.name)
    if role.layout.lookup:
        return _table(network, role, found, live)
    if live is not None and not live.any():
        return fixed(None, rule="modulation", reason=reason("designed modulation"), action="keep")
    if not role.bias and any(s.kind == "scale" and not s.offset for s in found.stretches):
        return None  # nothing could give the scale its 1
    return fixed(Zeros(), rule="modulation", reason=reason("modulation"))


def modulating_bias(network: Network, role: ParameterRole, options: AutoOptions) -> Draft | None:
    """The bias of such a map: 1 for scales (less what the model adds), 0 for shifts; None for others."""
    found = network.modulators.get(role.owner)
    if found is None:
        return None
    live = network.live(role.owner)
    if live is not None and not live.any():
        return fixed(None, rule="modulation", reason=reason("designed modulation"), action="keep")
    return fixed(_start(found), rule="modulation", reason=reason("modulation bias"))


def _table(network: Network, role: ParameterRole, found: Modulator, live: Any) -> Draft | None:
    if len(found.stretches) > 1 and role.layout.parts == 1:
        return None
    if live is not None and _is_designed(live, found):
        return fixed(None, rule="modulation", reason=reason("designed table"), action="keep")
    return fixed(_start(found), rule="modulation", reason=reason("modulating table"))


def _is_designed(live: Any, found: Modulator) -> bool:
    """Whether a table's scales are near 1 and its shifts near 0, as its module set them."""
    start = 0
    for s in found.stretches:
        rows = live[:, start : start + s.size]
        start += s.size
        if abs(float(rows.mean()) - _number(s)) > _DESIGNED or float(rows.std()) > _DESIGNED:
            return False
    return True


def _start(found: Modulator) -> Initializer:
    laws = tuple(_law(_number(s)) for s in found.stretches)
    return laws[0] if len(set(laws)) == 1 else PerPart(laws)


def _number(s: Stretch) -> float:
    return 1.0 - s.offset if s.kind == "scale" else 0.0


def _law(number: float) -> Initializer:
    return Zeros() if number == 0.0 else Ones() if number == 1.0 else Constant(number)
