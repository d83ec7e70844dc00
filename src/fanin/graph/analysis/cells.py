"""Recurrent cells that a model writes out step by step, found in the unrolled graph.

A cell is a weight that reads, at every step, what it made at the step before, with no other map in between, and that
either meets something new at each step or acts through gates. One step of it is looked at: the values carried into
it, the pre-activations, and the same values one step later. `gates` then tells the gates apart.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from fanin.graph.analysis.analysis import Analysis, Sighting
from fanin.graph.analysis.feeding import Family, Feeding, circles, feeding
from fanin.graph.analysis.gates import KEEPING, Group, gates_of, is_gate, keeps_all
from fanin.graph.analysis.loops import Cell, CellBias, CellMap, Loops
from fanin.graph.analysis.preactivations import Root, Term, roots_of
from fanin.graph.analysis.step import Step, step_of
from fanin.graph.analysis.units import axis_at, bias_gates, columns_of, map_gates
from fanin.model.operations import DROPOUT, VIEWS

__all__ = ["loops"]

_LONGEST_PLAIN = 200  # values on a path on which a state is only added to


def loops(analysis: Analysis) -> Loops:
    """All recurrent cells that are written out in a graph."""
    found = feeding(analysis)
    if found is None:
        return Loops()
    cells: list[Cell] = []
    inside, states = set[int](), set[int]()
    for circle in circles(found):
        cell = _Finder(analysis, found, circle).cell(len(cells))
        if cell is None:
            continue
        cells.append(cell)
        hidden = {f for f in circle if f[0] in cell.maps and cell.maps[f[0]].reads == "state"}
        states.update(v for v, fed in found.values.items() if not hidden.isdisjoint(fed))
        inside |= _inside(analysis, found, hidden)
    return Loops(tuple(cells), frozenset(states), frozenset(inside))


def _inside(analysis: Analysis, found: Feeding, hidden: set[Family]) -> set[int]:
    """Values that a cell makes and reads again, at this step or the next, with no other map in between."""
    reads = {d for f in hidden for s in found.uses[f] for d in s.use.data}
    inside = set[int]()
    for op in reversed(analysis.graph.ops):
        if op.index in analysis.contractions:
            continue
        if any(out in reads or out in inside for out in op.outputs):
            inside.update(i for i in (*op.inputs, *op.outputs))
    last = {v for v in inside if not hidden.isdisjoint(found.values.get(v, {}))}
    return last | _last_step(analysis, last, hidden, found)


def _last_step(analysis: Analysis, inside: set[int], hidden: set[Family], found: Feeding) -> set[int]:
    """The same values of the last step, which no later step reads."""
    steps = sorted({s.use.op for f in hidden for s in found.uses[f]})
    first = {f: [s.use.op for s in found.uses[f]] for f in hidden}
    period = max((places[-1] - places[-2] for places in first.values()), default=0)
    graph = analysis.graph
    again = set[int]()
    for v in inside:
        made = graph.values[v].op
        if made is None or made + period >= len(graph.ops) or made + period < steps[-1]:
            continue
        later = graph.ops[made + period]
        if later.name == graph.ops[made].name and graph.values[v].slot < len(later.outputs):
            again.add(later.outputs[graph.values[v].slot])
    return again


class _Finder:
    """Looks for one cell among the weights of one circle."""

    def __init__(self, analysis: Analysis, found: Feeding, circle: set[Family]) -> None:
        self.analysis, self.found, self.circle = analysis, found, circle

    def cell(self, number: int) -> Cell | None:
        """The cell; None where the circle is something else: shared layers, a stream that is only added to."""
        hidden = self._hidden()
        makers = hidden if any(self.found.feeds_itself(f) for f in hidden) else self.circle
        step = step_of(self.analysis, self.found, hidden, makers) if hidden else None
        if step is None:
            return None
        roots = roots_of(self.analysis, step)
        more = self._resetters(hidden, step, roots)
        if more:
            hidden = hidden | more
            step = step_of(self.analysis, self.found, hidden, makers | more)
            roots = () if step is None else roots_of(self.analysis, step)
        if step is None or not roots or not self._is_recurrence(hidden, step, roots):
            return None
        axis = axis_at(self.analysis, step.hidden[0].use, roots)
        gates = gates_of(self.analysis, step, roots, axis) or {}
        if self._only_adds(step, roots, gates, axis):
            return None
        maps = self._maps(hidden, step, roots, gates, axis)
        biases = self._biases(roots, gates, axis, set(maps))
        steps = max(len({s.use.op for s in self.found.uses[f]}) for f in hidden)
        return Cell(number=number, steps=steps, maps=maps, biases=biases)

    # ------------------------------------------------------------------ which weights
    def _hidden(self) -> set[Family]:
        """Weights that read their own last result; in a circle of several maps, those with gates."""
        own = {f for f in self.circle if self.found.feeds_itself(f) and self._is_alone(f)}
        return own or {f for f in self.circle if self._is_alone(f) and self._is_gated(f)}

    def _is_alone(self, family: Family) -> bool:
        """Whether the weight of each use is made of this parameter alone."""
        links = self.analysis.links
        return all(
            sum(link.whole for link in links[s.use.op, s.use.weight]) == 1 and len(s.use.data) == 1
            for s in self.found.uses[family]
        )

    def _is_gated(self, family: Family) -> bool:
        from fanin.graph.analysis.walks import downstream

        out = self.analysis.graph.ops[self.found.uses[family][-1].use.op].output
        return any(e.kind == "act" and e.gated for e in downstream(self.analysis, out))

    def _resetters(self, hidden: set[Family], step: Step, roots: Sequence[Root]) -> set[Family]:
        """Gates that act only on what the candidate reads: maps of the circle with pre-activations of their own."""
        met = {t.op for r in roots for t in r.terms if t.kind == "map"}
        others = {f for f in self.circle - hidden if self._is_alone(f) and self._is_gated(f)}
        return {f for f in others if not any(s.use.op in met for s in self.found.uses[f])}

    # ------------------------------------------------------------------ what it is
    def _only_adds(self, step: Step, roots: Sequence[Root], gates: Mapping[int, tuple[Group, ...]], axis: int) -> bool:
        """Whether the old state reaches the new one as it is: a residual stream, not a cell that overwrites."""
        letters = {g.letter for groups in gates.values() for g in groups}
        read = {d for s in step.hidden for d in s.use.data}
        plain = [self._added_path(step, old, new) for old, new in step.carried.items() if old in read]
        if letters & KEEPING or not any(plain):
            return False
        return "norm" in plain or keeps_all(self.analysis, step, roots, axis)

    def _added_path(self, step: Step, old: int, new: int) -> str:
        """How an old value reaches the new one by additions: "plain", past a "norm", or not at all ("")."""
        todo, seen = [(new, "plain")], set[int]()
        while todo and len(seen) < _LONGEST_PLAIN:
            v, how = todo.pop()
            if v == old:
                return how
            op = self.analysis.graph.producer(v)
            if v in seen or op is None or op.index < step.start - step.period:
                continue
            seen.add(v)
            normed = op.index in self.analysis.inside_norm
            if op.name in ("add", "sub") or op.name in VIEWS | DROPOUT or normed:
                todo += [(i, "norm" if normed else how) for i in self.analysis.signals(op)]
        return ""

    def _is_recurrence(self, hidden: set[Family], step: Step, roots: Sequence[Root]) -> bool:
        if any(is_gate(r) for r in roots) and len(roots) > 1:
            return True
        if any(columns_of(self.analysis, self.found, hidden, s) for s in step.hidden):
            return True
        own = {s.use.op for s in step.hidden}
        return any(t.kind == "signal" or (t.kind == "map" and t.op not in own) for r in roots for t in r.terms)

    # ------------------------------------------------------------------ its description
    def _maps(
        self,
        hidden: set[Family],
        step: Step,
        roots: Sequence[Root],
        gates: Mapping[int, tuple[Group, ...]],
        axis: int,
    ) -> dict[int, CellMap]:
        own = _by_leaf(step.hidden)
        maps = {
            leaf: CellMap(
                leaf=leaf,
                reads="state",
                gates=map_gates(self.analysis, seen, roots, gates, axis),
                columns=columns_of(self.analysis, self.found, hidden, seen[0]),
            )
            for leaf, seen in own.items()
        }
        for leaf, seen in _by_leaf(self._inputs(step, roots)).items():
            if leaf not in maps:
                found = map_gates(self.analysis, seen, roots, gates, axis)
                maps[leaf] = CellMap(leaf=leaf, reads="input", gates=found)
        return maps

    def _inputs(self, step: Step, roots: Sequence[Root]) -> Iterator[Sighting]:
        """Maps that are summed into the pre-activations and are none of the cell's own, each of one parameter."""
        own = {s.use.op for s in step.hidden}
        ops = dict.fromkeys(t.op for r in roots for t in r.terms if t.kind == "map" and t.op not in own)
        for op in ops:
            for use in self.analysis.contractions[op]:
                whole = [link for link in self.analysis.links[op, use.weight] if link.whole]
                if len(whole) == 1 and not use.lookup:
                    yield Sighting(use, whole[0])

    def _biases(
        self, roots: Sequence[Root], gates: Mapping[int, tuple[Group, ...]], axis: int, maps: set[int]
    ) -> dict[int, CellBias]:
        vectors = {t.value: t for r in roots for t in r.terms if t.kind == "vector"}
        order = sorted(vectors.values(), key=lambda t: (t.normed, self._reads_state(t), t.beside >= 0))
        by_leaf: dict[int, list[Term]] = {}
        for term in order:
            leaf = self._leaf(term.value)
            if leaf is not None and leaf not in maps:
                by_leaf.setdefault(leaf, []).append(term)
        found: dict[int, CellBias] = {}
        taken = set[tuple[int, str, int, int]]()
        for leaf, terms in by_leaf.items():
            term = terms[0]
            runs = bias_gates(self.analysis, terms, leaf, roots, gates, axis)
            reached = {r.value for one in terms for r in self._reached(one, roots)}
            places = {(v, run.tag, run.size, i) for v in reached for i, run in enumerate(runs)}
            sets = bool(runs) and not term.normed and not places & taken
            taken |= places if sets else set()
            found[leaf] = CellBias(leaf=leaf, gates=runs, sets_gates=sets, added=_added(gates), owner=self._owner(term))
        return found

    def _reads_state(self, term: Term) -> bool:
        """Whether a bias belongs to a map that reads the state; biases beside the input come first."""
        return any(s.use.op == term.beside for f in self.circle for s in self.found.uses[f])

    def _reached(self, term: Term, roots: Sequence[Root]) -> list[Root]:
        return [r for r in roots if any(t.value == term.value for t in r.terms)]

    def _leaf(self, value: int) -> int | None:
        """The one parameter that a value is made of."""
        todo, found, seen = [value], set[int](), set[int]()
        while todo:
            v = todo.pop()
            if v in seen:
                continue
            seen.add(v)
            op = self.analysis.graph.producer(v)
            if op is None:
                found.update({v} if self.analysis.graph.values[v].kind == "parameter" else ())
            else:
                todo += op.inputs
        return next(iter(found)) if len(found) == 1 else None

    def _owner(self, term: Term) -> int | None:
        uses = self.analysis.contractions.get(term.beside, ())
        return uses[0].weight if uses else None


def _by_leaf(seen: Iterable[Sighting]) -> dict[int, list[Sighting]]:
    found: dict[int, list[Sighting]] = {}
    for s in seen:
        found.setdefault(s.link.value, []).append(s)
    return found


def _added(gates: Mapping[int, tuple[Group, ...]]) -> dict[str, float]:
    return {g.letter: g.added for groups in gates.values() for g in groups if g.added}
