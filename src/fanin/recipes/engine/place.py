"""From a table of rules to a recipe's answer: a draft for every parameter, settled in one sweep over the graph."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from fanin.graph.analysis.padding import padding_rows
from fanin.graph.roles.data import ParameterRole
from fanin.recipes.base import Choice, Chosen, Live
from fanin.recipes.engine.draft import Draft, Made, Read
from fanin.recipes.engine.network import Network
from fanin.recipes.engine.refill import refilled
from fanin.recipes.engine.remarks import remarks, stream_sizes
from fanin.recipes.engine.settle import settle
from fanin.recipes.engine.transfer_facts import transfer_facts
from fanin.recipes.step import EVIDENCE, Step

__all__ = ["place"]

_FAINT = 0.01  # of the size that keeps a signal; no usual law is so small
_FEWEST = 8  # numbers by which that can be told


def place(
    live: Live,
    network: Network,
    draft_of: Callable[[ParameterRole], Draft | None],
    *,
    evidence: Mapping[str, str] | None = None,
    notes: tuple[str, ...] = (),
    extras: Mapping[str, Any] | None = None,
) -> Chosen:
    """A recipe's answer for a network.

    Args:
        live: the model.
        network: what was captured of it.
        draft_of: the rules as one function of a role; None for a parameter that they cannot place.
        evidence: code of a draft -> the measurements behind it, in words.
        notes: warnings of the recipe about the whole network.
        extras: JSON-ready facts beside the laws.
    """
    drafts: dict[str, Draft] = {}
    unknown: dict[str, str] = {}
    for name, role in network.roles.parameters.items():
        if not live.reading.slots[name].holds_values:
            drafts[name] = _stays("a part of what computes another tensor")
            continue
        draft = _stays(live.kept[name]) if name in live.kept else draft_of(role)
        if draft is None:
            unknown[name] = role.reason or f"no rule for the role {role.role!r}"
        elif draft.action == "keep" and name in live.empty:
            wanted, draft = draft, refilled(role, live.empty[name])
            if draft is None:
                unknown[name] = f"{wanted.reason}; but there is nothing to keep ({live.empty[name]})"
        drafts[name] = draft or _untouched()
    drafts.update(_derived(network, live, drafts))
    settled = settle(network, drafts)
    placed = [n for n in live.tensors if n in drafts and n not in unknown]
    return Chosen(
        choices={n: _departing(network, n, _evident(settled.choices[n], drafts[n], evidence or {})) for n in placed},
        unknown=unknown,
        seen={name: role.seen for name, role in network.roles.parameters.items()},
        zero_rows=padding_rows(network.graph),
        warnings=(*notes, *remarks(network, settled, predicted=not live.lost_buffers)),
        extras={**stream_sizes(network, settled), "transfer": transfer_facts(network), **(extras or {})},
    )


def _stays(why: str) -> Draft:
    return Draft(rule="kept", reason=why, make=lambda read: Made(law=None), action="keep")


def _untouched() -> Draft:
    return Draft(rule="unknown", reason="not understood", make=lambda read: Made(law=None), action="keep")


def _derived(network: Network, live: Live, drafts: Mapping[str, Draft]) -> dict[str, Draft]:
    """Drafts for the magnitudes of weight norm: the length of a row of the direction under its own law."""
    found = {}
    for name, slot in live.reading.slots.items():
        holder = slot.holder
        if slot.holds_values or not slot.is_set_with_holder or name not in network.roles.parameters:
            continue
        role = network.roles.parameters[holder]
        length = math.sqrt(max(math.prod(role.shape) / max(math.prod(network.roles.parameters[name].shape), 1), 1.0))

        def make(read: Read, draft: Draft = drafts[holder], role: ParameterRole = role, length: float = length) -> Made:
            law = draft.make(read).law
            std = 1.0 if law is None else law.std_for(role.shape, role.layout)
            return Made(law=None, var=0.0, mean=std * length)

        found[name] = Draft(rule="derived", reason="", make=make, action="keep")
    return found


def _evident(choice: Choice, draft: Draft, evidence: Mapping[str, str]) -> Choice:
    """The choice with the measurement behind its rule as the last line of its derivation."""
    if not draft.evidence or draft.evidence not in evidence:
        return choice
    line = Step(quantity=EVIDENCE, value=draft.evidence, formula=evidence[draft.evidence], source="docs/recipes.md")
    return replace(choice, steps=(*choice.steps, line))


def _departing(network: Network, name: str, choice: Choice) -> Choice:
    """The choice with a warning, where a map is drawn that its module starts nearly at zero, as a design has it."""
    size = _faint(network, name) if choice.role == "weight" and choice.action == "draw" else None
    if size is None:
        return choice
    said = (
        f"as found it starts at {size:.2g} times the usual size, which looks designed (a gate of ones); "
        f"here it is drawn, and overrides={{{name!r}: None}} keeps what was found"
    )
    return replace(choice, warnings=(*choice.warnings, said))


def _faint(network: Network, name: str) -> float | None:
    """The rms times sqrt(fan_in) of a map as found, where no usual law gives so little; None elsewhere.

    At the end of a residual branch a recipe has a factor of its own.
    """
    role, live = network.roles.parameters[name], network.live(name)
    if live is None or live.size < _FEWEST or not live.any() or not role.fan_in:
        return None
    if any(u.branch is not None and u.branch.writes for u in role.uses):
        return None
    size = float(np.sqrt(np.square(live, dtype=np.float64).mean())) * math.sqrt(role.fan_in)
    return size if size <= _FAINT else None
