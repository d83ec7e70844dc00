"""Predictions for a plan that was made without them: by a recipe that follows no signal, or with laws of the user's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from fanin.graph.roles.data import ParameterRole, Roles
from fanin.model.operations import RECURRENT
from fanin.model.parameters import Slot
from fanin.moments.propagate import MomentMap, propagate
from fanin.moments.weights import WeightMoments, measured_weight, planned_moments
from fanin.planning.assignment import Assignment
from fanin.planning.plan import Plan
from fanin.recipes.engine.settle import predicted_sizes

if TYPE_CHECKING:
    from fanin.graph.ir import Graph

__all__ = ["with_predictions"]

_MAPS = ("weight", "embedding", "rnn_ih", "rnn_hh")


def with_predictions(plan: Plan, graph: Graph, found: Roles, slots: Mapping[str, Slot]) -> Plan:
    """The plan, with the size that it predicts for the output of every map; itself where it has all of them.

    Where one is missing all are made anew, because a law of the user's changes what comes after it.

    Args:
        plan: a plan of the model.
        graph: its captured forward pass; the signal begins with the moments of the inputs in it.
        found: the role of every parameter.
        slots: the parameters; what the plan keeps enters with the numbers that it has.
    """
    maps = {n: r for n, r in found.items() if r.role in _MAPS and n in plan and not _is_fused(r)}
    if all(len(plan[n].predicted_rms) == len(r.uses) for n, r in maps.items()):
        return plan
    moments = propagate(graph, {n: _moments(plan, graph.parameters[n].name, slots) for n in graph.parameters})
    made = {n: _predicted(plan[n], r, graph, moments) for n, r in maps.items()}
    return replace(plan, assignments={n: made.get(n, a) for n, a in plan.assignments.items()})


def _is_fused(role: ParameterRole) -> bool:
    """Whether one operation runs all steps, so that no output is the weight's own."""
    return any(use.op_name in RECURRENT for use in role.uses)


def _moments(plan: Plan, name: str, slots: Mapping[str, Slot]) -> WeightMoments:
    a, slot = plan[name], slots[plan[name].name]
    if a.action == "draw" and slot.behind is None:
        return planned_moments(a, a.shape)
    return measured_weight(slot.tensor)


def _predicted(a: Assignment, role: ParameterRole, graph: Graph, moments: MomentMap) -> Assignment:
    copies = 1 if a.initializer is None or a.action != "draw" else a.initializer.copies
    rms, errors = predicted_sizes(graph, role, moments, copies)
    return replace(a, predicted_rms=rms, predicted_se=errors)
