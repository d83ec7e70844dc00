"""Which gate is which: one step of a cell is run with each gate open and shut, and what the state does is watched.

Nothing is read off names or off the order of the gates. With all pre-activations given at random, a gate is set far
to one side and then to the other. How much of the old state the new one keeps, and how much of the candidates it
takes, tells the gate: a forget gate changes the first alone, an input gate the second alone, an update gate both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fanin.graph.analysis.activations import FoundActivation
from fanin.graph.analysis.analysis import Analysis
from fanin.graph.analysis.preactivations import Root
from fanin.graph.analysis.step import Step
from fanin.graph.ir import Op
from fanin.graph.recording.replay import run
from fanin.model.operations import DROPOUT

__all__ = ["KEEPING", "Group", "gates_of", "is_gate", "keeps_all"]

KEEPING = frozenset("fezu")  # letters of the gates that say how much of the old state is kept
_FAR = 30.0  # where every gate is open or shut
_SMALL = 1e-4
_CLEAR = 0.5  # relative change by which a gate acts on something
_NOTHING = 1e-7
_EXACT = 1e-6
_MOST = 4_000_000  # elements of a pre-activation that is probed


@dataclass(frozen=True, slots=True)
class Group:
    """Units of one pre-activation that are one gate: its letter, and their places along the unit axis."""

    letter: str
    places: tuple[int, ...]
    added: float = 0.0


def gates_of(
    analysis: Analysis, step: Step, roots: Sequence[Root], axis: int
) -> Mapping[int, tuple[Group, ...]] | None:
    """The gates inside each pre-activation; None where the step cannot be run again.

    Args:
        analysis: the graph.
        step: one step of the cell.
        roots: its pre-activations.
        axis: of the units, from the left or the right.
    """
    if any(analysis.graph.values[r.value].numel > _MOST for r in roots):
        return None
    probe = _Probe(analysis, step, roots, axis)
    try:
        letters = {
            root.value: tuple((places, probe.letter(root, places)) for places in probe.groups(root)) for root in roots
        }
    except Exception:  # whatever a step of a user's model may raise on random numbers: its gates stay unknown
        return None
    return _named(roots, letters)


def keeps_all(analysis: Analysis, step: Step, roots: Sequence[Root], axis: int) -> bool:
    """Whether some carried value comes back with what is new added to it, every unit of it kept in full."""
    probe = _Probe(analysis, step, roots, axis)
    try:
        base = probe.new({})
        for n, old in enumerate(step.carried):
            kept = (probe.new({old: probe.random(old) + _SMALL})[n] - base[n]) / _SMALL
            if float((kept - 1.0).abs().max()) < _EXACT:
                return True
    except Exception:  # as in `gates_of`
        return False
    return False


def is_gate(root: Root) -> bool:
    """Whether a pre-activation goes through a function from 0 to 1."""
    return any(_ends_at(f, 0.0, 1.0) or _ends_at(f, 1.0, 0.0) for f in root.functions)


def _ends_at(function: FoundActivation, low: float, high: float) -> bool:
    with np.errstate(all="ignore"):
        ends = np.asarray(function.fn(np.array([-_FAR, _FAR])), dtype=np.float64)
    return bool(np.allclose(ends, [low, high], atol=1e-3))


def _named(
    roots: Sequence[Root], found: Mapping[int, tuple[tuple[tuple[int, ...], str], ...]]
) -> dict[int, tuple[Group, ...]]:
    """The groups with the letter of the candidate, which depends on the gates beside it."""
    letters = {letter for groups in found.values() for _, letter in groups}
    candidate = "g" if letters & set("fei") else "n" if letters & set("zu") else "h"
    added = {root.value: _added(root) for root in roots}
    return {
        value: tuple(Group(letter or candidate, places, added[value] if letter else 0.0) for places, letter in groups)
        for value, groups in found.items()
    }


def _added(root: Root) -> float:
    """What the model adds to the argument of a logistic gate: the 1 of sigmoid(f + 1)."""
    for f in root.functions:
        if _ends_at(f, 0.0, 1.0):
            at_zero = float(np.asarray(f.fn(np.zeros(1)))[0])
            return float(np.log(at_zero / (1.0 - at_zero))) if 0.0 < at_zero < 1.0 else 0.0
    return 0.0


@dataclass(slots=True)
class _Probe:
    """One step of a cell, run again on random numbers."""

    analysis: Analysis
    step: Step
    roots: Sequence[Root]
    axis: int

    # ------------------------------------------------------------------ which units are one gate
    def groups(self, root: Root) -> list[tuple[int, ...]]:
        """Places along the unit axis: all of them, or equal stretches as long as the state where several fit."""
        shape = self.analysis.graph.values[root.value].shape
        width, state = shape[self.axis], self._state_width(len(shape))
        if not state or width == state or width % state:
            return [tuple(range(width))]
        count = width // state
        beside = [tuple(range(n * state, (n + 1) * state)) for n in range(count)]
        between = [tuple(range(n, width, count)) for n in range(count)]
        return beside if all(self._reaches_all(root, places) for places in beside) else between

    def _state_width(self, rank: int) -> int:
        graph = self.analysis.graph
        made = {new for new in self.step.carried.values() if graph.values[new].op not in self.analysis.contractions}
        shapes = [graph.values[new].shape for new in made]
        return min((shape[self.axis] for shape in shapes if len(shape) == rank), default=0)

    def _reaches_all(self, root: Root, places: tuple[int, ...]) -> bool:
        """Whether these units act on every unit of the state, or on none."""
        up, down = self.new(self._set(root, places, 1.0)), self.new(self._set(root, places, -1.0))
        for one, other in zip(up, down, strict=True):
            changed = ((one - other).abs() > _NOTHING).movedim(self.axis, 0).flatten(1).any(1).double().mean().item()
            if 0.02 < changed < 0.98:
                return False
        return True

    # ------------------------------------------------------------------ what a gate does
    def letter(self, root: Root, places: tuple[int, ...]) -> str:
        """The letter of a gate; "" for a candidate."""
        if not is_gate(root) or (all(is_gate(r) for r in self.roots) and not self._keeps_anything()):
            return ""
        up, down = self._set(root, places, _FAR), self._set(root, places, -_FAR)
        keeps, takes = _change(self._kept(up), self._kept(down)), _change(self._taken(up), self._taken(down))
        if keeps:
            return ("z" if keeps > 0 else "u") if takes == -keeps else "f" if keeps > 0 else "e"
        if takes:
            return "i"
        moved = zip(self.new(up), self.new(down), strict=True)
        return "o" if any(float((a - b).abs().max()) > _NOTHING for a, b in moved) else "r"

    def _keeps_anything(self) -> bool:
        return max(self._kept({})) > _NOTHING

    def _kept(self, given: Mapping[int, Any]) -> list[float]:
        """For each carried value, the mean size of its derivative by the same value one step before."""
        base = self.new(given)
        moved = [self.new({**given, old: self.random(old) + _SMALL})[n] for n, old in enumerate(self.step.carried)]
        return [float((one - other).abs().mean()) / _SMALL for one, other in zip(moved, base, strict=True)]

    def _taken(self, given: Mapping[int, Any]) -> list[float]:
        """Mean size of the derivative of each kept value by the candidates."""
        free = [r.value for r in self.roots if not is_gate(r)]
        base = self.new(given)
        moved = self.new({**given, **{v: self.random(v) + _SMALL for v in free}})
        kept = self._kept({})
        return [
            float((moved[n] - base[n]).abs().mean()) / _SMALL
            for n, size in enumerate(kept)
            if size > _NOTHING and size >= 0.5 * max(kept)
        ]

    def _set(self, root: Root, places: tuple[int, ...], number: float) -> dict[int, Any]:
        given = self.random(root.value).clone()
        given.movedim(self.axis, 0)[list(places)] = number
        return {root.value: given}

    # ------------------------------------------------------------------ running the step
    def new(self, given: Mapping[int, Any]) -> list[Any]:
        """The carried values one step later, with these values in place of random ones."""
        import torch

        env: dict[int, Any] = {v: self.random(v) for v in (*self.step.carried, *(r.value for r in self.roots))}
        env.update(given)
        with torch.no_grad():
            for op in self._needed():
                if op.name in DROPOUT:
                    env[op.output] = self._value(op.inputs[0], env)
                elif op.output not in env:
                    env.update(zip(op.outputs, run(op, lambda v: self._value(v, env)), strict=False))
        return [self._value(v, env) for v in self.step.carried.values()]

    def _needed(self) -> list[Op]:
        """The operations of the step between the pre-activations and the new state, in order."""
        graph, fixed = self.analysis.graph, {*self.step.carried, *(r.value for r in self.roots)}
        todo, found = list(self.step.carried.values()), set[int]()
        while todo:
            value = todo.pop()
            op = graph.producer(value)
            inside = op is not None and self.step.start <= op.index and value not in fixed
            if op is not None and inside and op.index not in found and op.index not in self.analysis.contractions:
                found.add(op.index)
                todo += op.inputs
        return [graph.ops[i] for i in sorted(found)]

    def _value(self, value: int, env: Mapping[int, Any]) -> Any:
        return env[value] if value in env else self.random(value)

    def random(self, value: int) -> Any:
        """The same numbers at every call.

        Known ones; small positive ones for a parameter; from 0.7 to 1 for what is no part of the cell, such as a mask;
        normal ones for states and pre-activations.
        """
        import torch

        v, known = self.analysis.graph.values[value], self.analysis.graph.data.get(value)
        if known is not None and not known.is_meta:
            return known.double() if known.is_floating_point() else known
        if not v.is_float:
            return torch.ones(v.shape, dtype=getattr(torch, v.dtype))
        maker = torch.Generator().manual_seed(value)
        if self.analysis.dependence.is_weight(value):
            return 0.05 + 0.1 * torch.rand(v.shape, generator=maker, dtype=torch.float64)
        if value in self.step.carried or any(value == r.value for r in self.roots):
            return torch.randn(v.shape, generator=maker, dtype=torch.float64)
        return 0.7 + 0.3 * torch.rand(v.shape, generator=maker, dtype=torch.float64)


def _change(up: Sequence[float], down: Sequence[float]) -> int:
    """1 where opening a gate lets clearly more through, -1 where it lets less, 0 where it changes nothing."""
    shares = [(a - b) / (a + b) for a, b in zip(up, down, strict=True) if a + b > _NOTHING]
    share = max(shares, key=abs, default=0.0)
    return 0 if abs(share) < _CLEAR else 1 if share > 0 else -1
