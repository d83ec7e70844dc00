"""What is written down while a graph is labelled: who uses which weight where, and what happens after each value."""

from __future__ import annotations

from dataclasses import dataclass, field

from fanin.graph.analysis.analysis import Analysis, analyse
from fanin.graph.analysis.axes import Link
from fanin.graph.analysis.contraction import Contraction
from fanin.graph.analysis.recurrent import RecurrentPlace, places_of
from fanin.graph.analysis.residual import Residual
from fanin.graph.analysis.walks import Event, downstream
from fanin.graph.ir import Graph
from fanin.model.operations import RECURRENT

__all__ = ["Book", "Sighting", "open_book", "stream_start"]


@dataclass(frozen=True, slots=True)
class Sighting:
    """One contraction that a parameter takes part in."""

    use: Contraction
    link: Link


@dataclass(slots=True)
class Book:
    """What is being written down while a graph is labelled."""

    analysis: Analysis
    sightings: dict[int, list[Sighting]] = field(default_factory=dict)
    recurrent: dict[int, list[tuple[int, RecurrentPlace]]] = field(default_factory=dict)
    branch_of: dict[int, Residual] = field(default_factory=dict)
    lengths: dict[int, int] = field(default_factory=dict)
    events: dict[int, tuple[Event, ...]] = field(default_factory=dict)

    @property
    def graph(self) -> Graph:
        """The graph itself."""
        return self.analysis.graph

    def events_after(self, value: int) -> tuple[Event, ...]:
        """What happens to a value next, found once."""
        if value not in self.events:
            self.events[value] = downstream(self.analysis.flow, value)
        return self.events[value]


def open_book(graph: Graph) -> Book:
    """Analyse a graph and note every use of every weight."""
    book = Book(analyse(graph))
    flow = book.analysis.flow
    for found in flow.around.contractions.values():
        for use in found:
            for link in book.analysis.links[use.op, use.weight]:
                book.sightings.setdefault(link.value, []).append(Sighting(use, link))
    for op in graph.live_ops():
        if op.name in RECURRENT:
            for place in places_of(graph, op):
                book.recurrent.setdefault(place.value, []).append((op.index, place))
    for residual in sorted(flow.residuals.values(), key=lambda r: -len(r.maps)):
        book.lengths[residual.stream] = book.lengths.get(residual.stream, 0) + 1
        book.branch_of.update(dict.fromkeys(residual.maps, residual))
    return book


def stream_start(book: Book, stream: int) -> int:
    """The value that a residual stream starts with."""
    return next(r.start for r in book.analysis.flow.residuals.values() if r.stream == stream)
