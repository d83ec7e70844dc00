"""Tags of a use: what the output of a weight does next, in one word each."""

from __future__ import annotations

from collections.abc import Iterable

from fanin.graph.analysis.analysis import Analysis
from fanin.graph.analysis.bounded import reach
from fanin.graph.analysis.events import Event
from fanin.graph.analysis.walks import downstream

__all__ = ["tag", "tags"]

_TO_RANKING = 30  # values between what a map gives and the ranking that makes it a router


def tags(analysis: Analysis, events: Iterable[Event]) -> tuple[str, ...]:
    """The tags of several events, each once, in the order met."""
    return tuple(dict.fromkeys(tag(analysis, e) for e in events))


def tag(analysis: Analysis, event: Event) -> str:
    """The tag of one event, as in `fanin.graph.roles.data.Use.tags`."""
    if event.kind == "act":
        return _activation_tag(analysis, event)
    if event.kind == "softmax":
        return _softmax_tag(analysis, event)
    return "op:" + event.name if event.kind == "op" else event.kind


def _activation_tag(analysis: Analysis, event: Event) -> str:
    if event.result is not None and not event.gated and _only_output(analysis, event.result):
        return "head"
    if event.result is not None and _is_ranked(analysis, event.result):
        return "router"
    return "act+gate" if event.gated else "act"


def _softmax_tag(analysis: Analysis, event: Event) -> str:
    """A softmax whose result chooses among experts makes its weight a router; one that leaves the model a head."""
    out = analysis.graph.ops[event.op].output
    if _only_output(analysis, out):
        return "head"
    return "router" if _is_ranked(analysis, out) else "softmax"


def _only_output(analysis: Analysis, value: int) -> bool:
    after = downstream(analysis, value)
    return bool(after) and all(e.kind in ("head", "loss") for e in after)


def _is_ranked(analysis: Analysis, value: int) -> bool:
    """Whether a value is ranked (topk, argmax) before it is combined with another signal."""

    def passed_on(v: int) -> list[int]:
        readers = analysis.graph.consumers(v)
        alone = (op for op in readers if len(analysis.signals(op)) == 1 and op.index not in analysis.contractions)
        return [out for op in alone for out in op.outputs]

    reached = reach(value, passed_on, limit=_TO_RANKING)
    return any(
        op.name in ("topk", "argmax", "sort") or (op.name == "max" and len(op.outputs) == 2)
        for v in reached
        for op in analysis.graph.consumers(v)
    )
