"""From a table of rules to a recipe's answer: a draft for every parameter, settled in one sweep over the graph."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from fanin.graph.roles.data import ParameterRole
from fanin.graph.roles.label import roles
from fanin.recipes.base import Choice, Chosen, Live
from fanin.recipes.engine.draft import Draft, Made, Read
from fanin.recipes.engine.network import Network
from fanin.recipes.engine.refill import refilled
from fanin.recipes.engine.settle import Settled, settle
from fanin.recipes.step import Step

__all__ = ["network_of", "place"]

_EXPLODES = 10.0  # times its start: a stream of 100 unit branches on a unit start


def network_of(live: Live) -> Network:
    """The captured model with the role of every parameter."""
    graph = live.graph()
    return Network(graph=graph, roles=roles(graph), tensors=live.tensors, kept=frozenset(live.kept))


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
        choices={n: _evident(settled.choices[n], drafts[n], evidence or {}) for n in placed},
        unknown=unknown,
        seen={name: role.seen for name, role in network.roles.parameters.items()},
        warnings=(*notes, *_clones(network), *(() if live.lost_buffers else _explosions(network, settled))),
        extras={**_extras(network, settled), **(extras or {})},
    )


def _stays(why: str) -> Draft:
    return Draft(rule="kept", reason=why, make=lambda read: Made(law=None), action="keep")


def _untouched() -> Draft:
    return Draft(rule="unknown", reason="not understood", make=lambda read: Made(law=None), action="keep")


def _derived(network: Network, live: Live, drafts: Mapping[str, Draft]) -> dict[str, Draft]:
    """Drafts for the magnitudes of weight norm: the length of a row of the direction under its own law."""
    found = {}
    for name in network.roles.parameters:
        place = name.rpartition(".original")[0]
        holder = next((n for n in live.tensors if place and n.startswith(f"{place}.original")), None)
        if name in live.tensors or holder is None:
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
    line = Step(quantity="evidence", value=draft.evidence, formula=evidence[draft.evidence], source="docs/recipes.md")
    return replace(choice, steps=(*choice.steps, line))


# ---------------------------------------------------------------------- for the whole network


def _clones(network: Network) -> tuple[str, ...]:
    """A warning that names weights which are equal now, as nn.TransformerEncoder makes them."""
    seen: dict[tuple[Any, ...], list[str]] = {}
    for name, tensor in network.tensors.items():
        role = network.roles.parameters.get(name)
        if role is None or role.role != "weight" or tensor.device.type == "meta" or tensor.numel() < 16:
            continue
        if name in network.kept:
            continue
        head = tensor.detach().reshape(-1)[:16]
        head = (head.real if head.is_complex() else head).float().cpu()
        if float(head.std()) > 0.0:
            seen.setdefault((*tensor.shape, *head.tolist()), []).append(name)
    groups = [names for names in seen.values() if len(names) > 1]
    if not groups:
        return ()
    return (
        f"{sum(map(len, groups))} weights are copies of each other now (e.g. {groups[0][0]} and {groups[0][1]}); "
        "they are drawn independently, because equal layers train worse (docs/recipes.md, clones)",
    )


def _explosions(network: Network, settled: Settled) -> tuple[str, ...]:
    """Warnings about residual streams that end far larger than they start."""
    said = []
    for stream in network.roles.streams:
        known = [settled.moments.tensors.get(v) for v in (stream.start, *stream.sums)]
        sizes = [t.moments.rms for t in known if t is not None and t.moments is not None]
        if len(sizes) < 2 or not 0.0 < sizes[0] < math.inf:
            continue
        finite = [s for s in sizes if math.isfinite(s)]
        growth = math.inf if len(finite) < len(sizes) else max(sizes) / sizes[0]
        if growth > _EXPLODES:
            size = "without bound" if math.isinf(growth) else f"{growth:.2g}-fold"
            said.append(
                f"the residual stream grows {size} over its {stream.num_branches} branches (from rms {sizes[0]:.2g}), "
                "and training will hardly begin. Divide what the branches add by the depth, as the recipe auto does, "
                "or normalize inside the branches"
            )
    return tuple(said)


def _extras(network: Network, settled: Settled) -> dict[str, Any]:
    """The predicted size of every residual stream, from its start to its last sum."""
    streams = []
    for stream in network.roles.streams:
        last = [
            r.uses
            for r in network.roles.parameters.values()
            if r.branch is not None and r.branch.stream == stream.number
        ]
        known = settled.moments.tensors.get(stream.start)
        if known is None or known.moments is None or not last or not math.isfinite(known.moments.rms):
            continue
        streams.append({"branches": stream.num_branches, "start_rms": round(known.moments.rms, 6)})
    return {"streams": streams} if streams else {}
