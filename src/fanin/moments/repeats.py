"""Weights that one way through the network meets more than once: loops over a layer, recurrences, tied layers.

Theory takes a weight as independent of what it multiplies. That no longer holds where the tensor it multiplies was
made with the same weight. Met again in the same orientation (W f(W x)), the expectation stays and the error grows
with each meeting; met transposed (W^T f(W x)), the result holds a multiple of x itself, for which no formula here
stands.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass

from fanin.graph.ir import Graph, Op, Ref
from fanin.model.operations import TURNS

__all__ = ["UNKNOWN", "Reading", "Repeat", "Repeats", "find_repeats"]

Reading = tuple[int, int]
"""Value index of a parameter, and which of its two first dimensions is summed over."""

_Met = Mapping[Reading, tuple[int, bool]]
"""How often a way met a reading, and whether it came here from there without a fresh matrix in between."""

_MATRIX_LEFT = frozenset(["matmul", "mm", "bmm", "addmm", "baddbmm", "addmv", "mv"])
_SUMMED_DIM = {"linear": 1, "embedding": 0, "embedding_bag": 0, "rmatmul": 0, "_grouped_mm": 1, "bilinear": 1}


@dataclass(frozen=True, slots=True)
class Repeat:
    """A weight that an operation meets again.

    Attributes:
        parameter: its name.
        earlier: how often the way met it before.
        transposed: one of these times, or this time, it was read the other way round.
        units: the smaller of its two dimensions.
    """

    parameter: str
    earlier: int
    transposed: bool
    units: int

    @property
    def width_var(self) -> float:
        """What the meeting adds to the variance of the log second moment: that of a power of one random matrix."""
        return UNKNOWN if self.transposed else min(2.0 * self.earlier / self.units, UNKNOWN)

    @property
    def reason(self) -> str:
        """The assumption that fails, in words."""
        way = "transposed" if self.transposed else f"for the {self.earlier + 1}{_ending(self.earlier + 1)} time"
        return f"{self.parameter} is met again on the same way, {way}: it is not independent of what it multiplies"


UNKNOWN = 16.0  # variance of the log second moment from which nothing is claimed: a factor of e^2 in the rms


def _ending(n: int) -> str:
    return "th" if 10 <= n % 100 <= 20 else {1: "st", 2: "nd", 3: "rd"}.get(n % 10, "th")


@dataclass(frozen=True, slots=True)
class Repeats:
    """Repeats by operation index, for signals and for gradients, and what each operation reads.

    Attributes:
        forward: the operation's input was made with a weight that the operation reads.
        backward: the gradient of the operation's output has passed such a weight.
        readings: the shared weights that an operation multiplies by.
    """

    forward: Mapping[int, Repeat]
    backward: Mapping[int, Repeat]
    readings: Mapping[int, Sequence[Reading]]


def find_repeats(graph: Graph, copies: Mapping[str, str] | None = None) -> Repeats:
    """Which operations meet a weight again.

    Args:
        graph: the captured model.
        copies: parameters that equal others, by name: they count as these.

    Example:
        >>> import torch
        >>> from fanin.graph.recording.capture import capture
        >>> layer = torch.nn.Linear(8, 8)
        >>> found = find_repeats(capture(torch.nn.Sequential(layer, torch.nn.ReLU(), layer), torch.zeros(2, 8)))
        >>> [(i, r.parameter, r.earlier) for i, r in found.forward.items()]
        [(2, '0.weight', 1)]
    """
    static = _static_values(graph)
    same = {graph.parameter(a).value: graph.parameter(b).value for a, b in (copies or {}).items() if _both(graph, a, b)}
    every = {
        op.index: tuple((same.get(p, p), dim) for p, dim in _readings(graph, op, static))
        for op in graph.ops
        if op.outputs and op.outputs[0] not in static
    }
    counts = Counter(p for found in every.values() for p, _ in found)
    shared = {i: tuple(r for r in found if counts[r[0]] > 1) for i, found in every.items()}
    readings = {i: found for i, found in shared.items() if found}
    if not readings:
        return Repeats({}, {}, {})
    fresh = {i for i, found in every.items() if found and i not in readings}
    live = [op for op in graph.ops if op.outputs and op.outputs[0] not in static]
    forward = _along(graph, readings, fresh, live, back=False)
    backward = _along(graph, readings, fresh, live[::-1], back=True)
    return Repeats(forward, backward, readings)


def _both(graph: Graph, *names: str) -> bool:
    known = {n for p in graph.parameters.values() for n in (p.name, *p.aliases)}
    return all(n in known for n in names)


def _static_values(graph: Graph) -> set[int]:
    """Values made of parameters and constants alone."""
    static = {v.index for v in graph.values if v.kind in ("parameter", "buffer", "constant")}
    for op in graph.ops:
        if op.inputs and all(v in static for v in op.inputs):
            static.update(op.outputs)
    return static


def _along(
    graph: Graph, readings: Mapping[int, Sequence[Reading]], fresh: Set[int], ops: Iterable[Op], *, back: bool
) -> dict[int, Repeat]:
    """Repeats met in this order of operations, each counted along the way with the most meetings."""
    met: dict[int, _Met] = {}
    found: dict[int, Repeat] = {}
    for op in ops:
        sources, targets = (op.outputs, op.inputs) if back else (op.inputs, op.outputs)
        before = _merged([met[v] for v in sources if v in met])
        own = readings.get(op.index, ())
        repeat = _worst(graph, own, before)
        if repeat is not None:
            found[op.index] = repeat
        after = {r: (count, direct and op.index not in fresh) for r, (count, direct) in before.items()}
        after |= {r: (before.get(r, (0, True))[0] + 1, True) for r in own}
        if after:
            for v in targets:
                met[v] = _merged([met[v], after]) if v in met else after
    return found


def _merged(parts: Sequence[_Met]) -> _Met:
    out: dict[Reading, tuple[int, bool]] = {}
    for part in parts:
        for reading, (count, direct) in part.items():
            old = out.get(reading, (0, False))
            out[reading] = (max(count, old[0]), direct or old[1])
    return out


def _worst(graph: Graph, own: Sequence[Reading], before: _Met) -> Repeat | None:
    """The repeat that leaves least known; a transposed one counts where no fresh matrix lies between."""
    repeats = []
    for parameter, dim in own:
        (same, _), (other, direct) = (
            before.get((parameter, dim), (0, False)),
            before.get((parameter, 1 - dim), (0, False)),
        )
        if same or (other and direct):
            value = graph.value(parameter)
            repeats.append(Repeat(value.name, same + other, other > 0 and direct, max(1, min(value.shape[:2]))))
    return max(repeats, key=lambda r: r.width_var, default=None)


def _readings(graph: Graph, op: Op, static: set[int]) -> Iterable[Reading]:
    """The matrices that an operation multiplies data by, each with the dimension it sums over."""
    if not (op.name in _SUMMED_DIM or op.name in _MATRIX_LEFT or op.name == "einsum" or op.name.startswith("conv")):
        return
    for place, value in enumerate(op.inputs):
        if value in static and len(graph.value(value).shape) > 1:
            dim = _summed(op, place, value)
            for parameter, turned in _origins(graph, value):
                yield parameter, dim ^ turned


def _summed(op: Op, place: int, value: int) -> int:
    if op.name in _MATRIX_LEFT:
        left = op.arg(1 if op.name in ("addmm", "baddbmm", "addmv") else 0)
        return 1 if isinstance(left, Ref) and left.index == value and place == _first(op) else 0
    if op.name == "einsum":
        return _summed_by_einsum(op, value)
    return 0 if "transpose" in op.name else _SUMMED_DIM.get(op.name, 1)


def _first(op: Op) -> int:
    return 1 if op.name in ("addmm", "baddbmm", "addmv") else 0


def _summed_by_einsum(op: Op, value: int) -> int:
    equation = op.arg(0)
    if not isinstance(equation, str):
        return 0
    left, _, right = equation.replace(" ", "").partition("->")
    operands = [t for t in op.args[1:] if isinstance(t, Ref)]
    for term, operand in zip(left.split(","), operands, strict=False):
        if operand.index == value and len(term) > 1:
            return 0 if term[0] not in right else 1
    return 0


def _origins(graph: Graph, value: int, turned: int = 0, depth: int = 0) -> Iterable[Reading]:
    """The matrices that a static value is made of, and whether it is each of them transposed."""
    v = graph.value(value)
    op = graph.producer(value)
    if op is None:
        if v.kind == "parameter" and len(v.shape) > 1:
            yield value, turned
        return
    if depth < _DEEPEST:
        for source in dict.fromkeys(op.inputs):
            yield from _origins(graph, source, turned ^ (op.name in TURNS), depth + 1)


_DEEPEST = 12
