"""One step of a recurrence that is written out: what is carried into it, and the same values one step later."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from fanin.graph.analysis.analysis import Analysis, Sighting
from fanin.graph.analysis.feeding import Family, Feeding
from fanin.graph.ir import Graph, Op

__all__ = ["Step", "step_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """The last full step of a cell.

    Attributes:
        start: index of its first use of a weight of the cell.
        period: operations from a step to the next.
        hidden: the uses of the cell's weights in this step.
        carried: values made in the step before and read in this one -> the same values one step later.
    """

    start: int
    period: int
    hidden: tuple[Sighting, ...]
    carried: Mapping[int, int]

    def holds(self, op: int) -> bool:
        """Whether an operation belongs to this step."""
        return self.start <= op < self.start + self.period


def step_of(analysis: Analysis, found: Feeding, hidden: set[Family], makers: set[Family]) -> Step | None:
    """The last step in which every weight of a cell is used once; None where steps differ from each other.

    Args:
        analysis: the graph.
        found: which use feeds which.
        hidden: the weights that read the state.
        makers: the weights whose results become the state.
    """
    base = min(hidden, key=lambda f: (not found.feeds_itself(f), found.uses[f][0].use.op))
    period = _period(found, makers, base)
    if period is None:
        return None
    uses = [found.uses[f] for f in hidden]
    for first in sorted({s.use.op for seen in uses for s in seen}, reverse=True):
        here = [[s for s in seen if first <= s.use.op < first + period] for seen in uses]
        before = [[s for s in seen if first - period <= s.use.op < first] for seen in uses]
        if all(len(one) == 1 for one in (*here, *before)):
            return _cut(analysis, found, makers, tuple(s for (s,) in here), period)
    return None


def _cut(
    analysis: Analysis, found: Feeding, makers: set[Family], seen: tuple[Sighting, ...], period: int
) -> Step | None:
    """Where one step ends and the next begins: before its first use of a weight, where all that is carried comes again.

    The last step of a loop makes a new state, but not what a following step would first make of it (a joined input, a
    norm of the state), so the cut lies before that.
    """
    first, last = min(s.use.op for s in seen), max(s.use.op for s in seen)
    for start in range(first, max(last - period, 0), -1):
        carried = _carried(analysis, found, makers, start, period)
        if carried:
            return Step(start=start, period=period, hidden=seen, carried=carried)
    return None


def _period(found: Feeding, makers: set[Family], base: Family) -> int | None:
    """Operations between the last use of a weight that reads the state, and the use before."""
    for s in reversed(found.uses[base]):
        places = [o.use.op for o in found.uses[base] if o.use.op < s.use.op]
        if places and not makers.isdisjoint(found.reads[s.use.op]):
            return s.use.op - places[-1]
    return None


def _carried(analysis: Analysis, found: Feeding, makers: set[Family], start: int, period: int) -> dict[int, int]:
    graph = analysis.graph
    carried: dict[int, int] = {}
    for op in graph.ops[max(start - period, 0) : start]:
        for slot, v in enumerate(op.outputs):
            made_by_cell = not makers.isdisjoint(found.values.get(v, {}))
            if made_by_cell and any(start <= c.index < start + period for c in _readers(graph, v)):
                later = _one_step_later(graph, op.index, slot, period)
                if later is None:
                    return {}
                carried[v] = later
    return carried


def _readers(graph: Graph, value: int) -> Iterator[Op]:
    return (c for c in graph.consumers(value) if graph.is_live(c))


def _one_step_later(graph: Graph, index: int, slot: int, period: int) -> int | None:
    """The value that the same operation makes one step later."""
    if index + period >= len(graph.ops):
        return None
    op, later = graph.ops[index], graph.ops[index + period]
    same = op.name == later.name and len(op.outputs) == len(later.outputs)
    if not same or graph.values[op.outputs[slot]].shape != graph.values[later.outputs[slot]].shape:
        return None
    return later.outputs[slot]
