"""Starts with something too large in them: the output layer drawn smaller, or maps that one rule draws too large.

A plan predicts outputs of rms 1 for a Gaussian signal. Where the signal has long tails (products, powers), where all
samples look alike, or by the chance of one draw, the first loss is higher than predicted. Nothing inside the network is
wrong then, and only the size of the outputs is to be taken back.

Where a product of several functions of one signal has long tails inside every layer, all maps behind it are too large
by a like factor, and each layer enlarges what the one before it did. There the maps are drawn smaller by that factor.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from fanin.initializers import Initializer, RowSums, Scaled
from fanin.planning.missed import missed_predictions
from fanin.planning.parting import deciding

if TYPE_CHECKING:
    from fanin.planning.plan import Plan
    from fanin.planning.trial import Trial

__all__ = ["smaller_alike", "smaller_outputs"]

_LARGEST = 1.5  # predicted rms of the outputs up to which the laws of a plan are not to blame
_GOAL = 0.7 * math.log(2.0)  # rise of the first loss that is aimed at; it goes with the square of the outputs
_MISSED = 2.0  # times the predicted rms, from which several maps of one rule are too large together
_TOO_HIGH = "L801"  # the rule that finds a first loss too high


def smaller_outputs(made: Plan, first: Trial) -> tuple[Mapping[str, Initializer], float]:
    """Laws of the output layer that bring the first loss down, and their factor; ({}, 1) where that is no cure.

    Args:
        made: the plan that was tried.
        first: its trial.
    """
    names = _output_layer(made, first)
    if first.planned is None or not _only_outputs(first, names):
        return {}, 1.0
    if not names or max(made[n].predicted_rms[0] or math.inf for n in names if made[n].predicted_rms) > _LARGEST:
        return {}, 1.0
    factor = _factor(first)
    if factor >= 1.0:
        return {}, 1.0
    # a bias beside the weight takes the same factor: it may hold what the weight needs (`RowSums`)
    pairs = ((n, made[n].initializer) for n in (*names, *_biases(made, names)))
    return {n: Scaled(law, factor=factor) for n, law in pairs if law is not None}, factor


def smaller_alike(made: Plan, first: Trial) -> tuple[Mapping[str, Initializer], float]:
    """Laws of the maps that one rule draws, where several of them give more than predicted; else ({}, 1).

    All of them take the factor by which the first one is too large: behind it the inputs are too large as well.

    Args:
        made: the plan that was tried.
        first: its trial.
    """
    if first.planned is None or not any(w.kind == "prediction" and w.sign > 0 for w in first.worse):
        return {}, 1.0
    missed = [m for m in missed_predictions(made, first.planned.sites, _MISSED) if m.sign > 0]
    rules = [made[m.parting.parameters[0]].rule for m in missed]
    one = next((m for m, rule in zip(missed, rules, strict=True) if rules.count(rule) > 1), None)
    if one is None:
        return {}, 1.0
    rule, factor = made[one.parting.parameters[0]].rule, 1.0 / one.own
    alike = [
        a for a in made.assignments.values() if a.action == "draw" and a.rule == rule and a.initializer is not None
    ]
    owners = {a.name.rpartition(".")[0] for a in alike}
    folded = any(isinstance(a.initializer, RowSums) and a.name.rpartition(".")[0] in owners for a in made.values())
    laws = {a.name: Scaled(a.initializer, factor=factor) for a in alike if a.initializer is not None}
    return ({}, 1.0) if folded else (laws, factor)


def _only_outputs(first: Trial, layer: tuple[str, ...]) -> bool:
    """Whether nothing but the first loss, and what follows from the size of the outputs, is worse.

    That the outputs are larger than predicted is no other fault, where it is the output layer at which they are.
    """
    found, planned = first.found, first.planned
    if planned is None or planned.most_loss is None or found.loss is None or not planned.most_loss > found.loss:
        return False
    new = {f.code for f in planned.findings} - {f.code for f in found.findings}
    at_end = first.where is not None and first.where.predicted and set(first.where.parameters) <= set(layer)
    kinds = {"loss", "chi", "finding"} | ({"prediction"} if at_end else set())
    return all(w.kind in kinds and w.sign >= 0 for w in first.worse) and not (
        any(w.kind == "finding" for w in first.worse) and new - {_TOO_HIGH}
    )


def _output_layer(made: Plan, first: Trial) -> tuple[str, ...]:
    """The drawn weights that decide the size of the last operation's output."""
    sites = () if first.planned is None else first.planned.sites
    last = next((s for s in reversed(sites) if s.kind != "loss"), None)
    if last is None:
        return ()
    drawn = frozenset(a.name for a in made.assignments.values() if a.action == "draw" and a.predicted_rms)
    return deciding({s.index: s for s in sites}, last.index, drawn)


def _biases(made: Plan, names: tuple[str, ...]) -> tuple[str, ...]:
    """Drawn biases of the modules that hold these weights."""
    owners = {n.rpartition(".")[0] for n in names}
    return tuple(
        a.name
        for a in made.assignments.values()
        if a.action == "draw" and a.role == "bias" and a.name.rpartition(".")[0] in owners
    )


def _factor(first: Trial) -> float:
    planned, found = first.planned, first.found
    if planned is None or planned.most_loss is None or found.loss is None:
        return 1.0
    by_loss = math.sqrt(_GOAL / (planned.most_loss - found.loss))
    return min(by_loss, 1.0 / max(planned.output_rms or 1.0, 1.0), 1.0)
