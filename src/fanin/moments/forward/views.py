"""Views: the same numbers in another shape. The gradient of a view keeps the same structure."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from fanin.graph.ir import Op, Ref
from fanin.model.operations import BROADCASTS, RESHAPES, TURNS
from fanin.moments.algebra import contraction, summed_up
from fanin.moments.forward.borders import border_width
from fanin.moments.forward.by_place import note_part
from fanin.moments.forward.contractions import SPECS, numbers_of
from fanin.moments.forward.convolution import run_of_channels
from fanin.moments.frame import Frame, NoRuleError
from fanin.moments.kernel import Array
from fanin.moments.moments import JointMoments
from fanin.moments.signal import Signal

__all__ = ["RULES", "dimension_order"]

_MAPS = frozenset({"linear", "addmm"})
_FAR = 0.1  # distance of a run's mean from that of all units, relative to the rms, from which it is unlike
_OTHER = 1.2  # ratio of its weights' mean square to that of all units, from which likewise


def _source(frame: Frame, op: Op) -> JointMoments:
    return frame.moments(op.arg(0, "input"))


def _viewed(frame: Frame, op: Op, m: JointMoments) -> Signal:
    read = frame.signals[op.inputs[0]]
    made = replace(frame.made(op, m, leaf=False), positive=read.positive, law=read.law)
    reduced = read.reduced
    return made if reduced is None or reduced.shape != m.shape else replace(made, atoms=reduced.atoms)


def _reshape(frame: Frame, op: Op) -> Signal:
    return _viewed(frame, op, _source(frame, op).reshaped(frame.graph.value(op.output).shape))


def dimension_order(frame: Frame, op: Op) -> list[int]:
    """Where each dimension of a transposing op's result comes from."""
    rank = len(_source(frame, op).shape)
    order = list(range(rank))
    if op.name == "permute":
        given = op.args[1:] or (op.kwargs["dims"],)
        dims = given[0] if len(given) == 1 and not isinstance(given[0], int) else given
        return [int(d) % rank for d in dims]
    if op.name == "movedim":
        return _moved_order(rank, op.arg(1, "source"), op.arg(2, "destination"))
    if op.name == "T":
        return order[::-1]
    if rank < 2:
        return order
    a, b = (rank - 2, rank - 1) if op.name != "transpose" else (op.arg(1, "dim0") % rank, op.arg(2, "dim1") % rank)
    order[a], order[b] = order[b], order[a]
    return order


def _moved_order(rank: int, source: int | Sequence[int], destination: int | Sequence[int]) -> list[int]:
    src = [source] if isinstance(source, int) else list(source)
    dst = [destination] if isinstance(destination, int) else list(destination)
    order = [d for d in range(rank) if d not in {s % rank for s in src}]
    for d, s in sorted((d % rank, s % rank) for d, s in zip(dst, src, strict=True)):
        order.insert(d, s)
    return order


def _reordered(frame: Frame, op: Op) -> Signal:
    return _viewed(frame, op, _source(frame, op).permuted(dimension_order(frame, op)))


def _expand(frame: Frame, op: Op) -> Signal:
    """Repeated along dimensions: the same terms, which are aligned from the last dimension."""
    made = _viewed(frame, op, _source(frame, op).expanded(frame.graph.value(op.output).shape))
    return replace(made, atoms=frame.signals[op.inputs[0]].atoms)


def _pieces(frame: Frame, op: Op) -> list[Signal]:
    """chunk, split and the like: the same law, fewer entries along one dimension."""
    m = _source(frame, op)
    shapes = [frame.graph.value(v).shape for v in op.outputs]
    if op.name == "unbind":
        dim = int(op.arg(1, "dim", 0)) % len(m.shape)
        ones = [m.part(dim, i, 1).reshaped(s) for i, s in enumerate(shapes)]
        widths = [border_width(frame, op.inputs[0], dim, i) for i in range(len(shapes))]
        own = [_unlike_turn(frame, op.inputs[0], dim, i) for i in range(len(shapes))]
        usual = [_viewed(frame, op, one.widened(w)) for one, w in zip(ones, widths, strict=True)]
        return frame.selection(op, [_own(frame, op, a) or b for a, b in zip(own, usual, strict=True)])
    dim = int(op.arg(2, "dim", 0)) % len(m.shape)
    starts = itertools.accumulate((s[dim] for s in shapes), initial=0)
    parts = zip(starts, shapes, strict=False)
    return frame.selection(op, [_part(frame, op, dim, start, s[dim], n) for n, (start, s) in enumerate(parts)])


def _part(frame: Frame, op: Op, dim: int, start: int, size: int, slot: int = 0) -> Signal:
    """A run of entries along a dimension: of the same law as all, or of one of its own where it is known."""
    own = _own(frame, op, _unlike_run(frame, op.inputs[0], dim, start, size, op.outputs[slot]))
    return own or _viewed(frame, op, _source(frame, op).part(dim, start, size))


def _own(frame: Frame, op: Op, moments: JointMoments | None) -> Signal | None:
    """Of a run with moments of its own."""
    return None if moments is None else replace(_viewed(frame, op, moments), leaf=True, law=None)


def _narrowed(frame: Frame, op: Op) -> Signal:
    m = _source(frame, op)
    shape = frame.graph.value(op.output).shape
    dim = int(op.arg(1, "dim", 0)) % len(m.shape)
    start = op.arg(2, "index" if op.name == "select" else "start", 0)
    start = start % m.shape[dim] if isinstance(start, int) else 0
    if op.name == "select" and (own := _own(frame, op, _unlike_turn(frame, op.inputs[0], dim, start))) is not None:
        return frame.selection(op, [own])[0]
    if op.name == "select":
        one = m.part(dim, start, 1).reshaped(shape).widened(border_width(frame, op.inputs[0], dim, start))
        return frame.selection(op, [_viewed(frame, op, one)])[0]
    return frame.selection(op, [_part(frame, op, dim, start, shape[dim])])[0]


def _getitem(frame: Frame, op: Op) -> Signal:
    """Indexing by numbers, slices, None and dots; by tensors it is a gather."""
    m = _source(frame, op)
    index = op.arg(1)
    index = index if isinstance(index, tuple) else (index,)
    if any(isinstance(i, Ref | list | bool) for i in index):
        return _gathered(frame, op)
    used = sum(i is not None and i is not Ellipsis for i in index)
    if (turn := _one_turn(m, index)) is not None and (own := _own(frame, op, _unlike(frame, op.inputs[0], turn))):
        return frame.selection(op, [own])[0]
    if run := _one_run(m, index):
        return frame.selection(op, [_part(frame, op, *run)])[0]
    dim = 0
    for item in index:
        if item is None:
            continue
        if item is Ellipsis:
            dim += len(m.shape) - used
            continue
        taken = [item % m.shape[dim]] if isinstance(item, int) else range(*_slice(item).indices(m.shape[dim]))
        if len(taken) == 0:
            raise NoRuleError("an empty slice")
        if len(taken) != m.shape[dim]:
            border = border_width(frame, op.inputs[0], dim, taken[0]) if isinstance(item, int) else 0.0
            m = m.part(dim, min(taken), len(taken)).widened(border)
        dim += 1
    made = _viewed(frame, op, m.reshaped(frame.graph.value(op.output).shape))
    if math.prod(m.shape) == math.prod(_source(frame, op).shape):
        return made
    return frame.selection(op, [made])[0]


def _one_run(m: JointMoments, index: tuple[object, ...]) -> tuple[int, int, int] | None:
    """(dimension, first index, number) where one slice in the last dimension is all that cuts; None elsewhere."""
    last = index[-1]
    whole = all(i is Ellipsis or i == slice(None) for i in index[:-1])
    reaches = Ellipsis in index or len(index) == len(m.shape)
    if not whole or not reaches or not isinstance(last, slice):
        return None
    taken = range(*_slice(last).indices(m.shape[-1]))
    if taken.step != 1 or not 0 < len(taken) < m.shape[-1]:
        return None
    return len(m.shape) - 1, taken.start, len(taken)


def _one_turn(m: JointMoments, index: tuple[object, ...]) -> slice | None:
    """The units a step apart that one slice in the last dimension takes, where nothing else cuts; None elsewhere."""
    last = index[-1]
    whole = all(i is Ellipsis or i == slice(None) for i in index[:-1])
    if not whole or not (Ellipsis in index or len(index) == len(m.shape)) or not isinstance(last, slice):
        return None
    taken = range(*_slice(last).indices(m.shape[-1]))
    return slice(taken.start, taken.stop, taken.step) if taken.step > 1 and len(taken) > 0 else None


def _slice(item: object) -> slice:
    if not isinstance(item, slice) or any(isinstance(b, Ref) for b in (item.start, item.stop, item.step)):
        raise NoRuleError(f"indexing by {item!r}")
    return item


def _gathered(frame: Frame, op: Op) -> Signal:
    from fanin.moments.forward.gathers import gathered

    return gathered(frame, op)


def _shuffled(frame: Frame, op: Op) -> Signal:
    """Entries in another order along dimensions: the same moments."""
    m = _source(frame, op)
    if math.prod(m.shape) != frame.graph.value(op.output).numel:
        raise NoRuleError(op.name)
    return _viewed(frame, op, m)


# ---------------------------------------------------------------------- runs of units that are unlike the others
def _unlike_run(frame: Frame, value: int, dim: int, start: int, size: int, after: int) -> JointMoments | None:
    """Moments of a run of units of a map, or of a sum of maps, that are unlike its others; None where they are not.

    The gates of a cell, the factors of a product: maps side by side in one weight have one kernel for all their units.
    Where numbers are known and a run has a bias or weights of another size, the run has moments of its own.

    Args:
        frame: the sweep.
        value: the map's output.
        dim: the dimension that is cut.
        start: its first index that belongs to the run.
        size: how many.
        after: the value of the run.
    """
    whole, run = frame.moments_at(value), slice(start, start + size, 1)
    if size == whole.shape[dim]:
        return None
    last = dim == len(whole.shape) - 1
    return _unlike(frame, value, run) if last else _unlike_channels(frame, value, dim, run, after)


def _unlike_channels(frame: Frame, value: int, dim: int, run: slice, after: int) -> JointMoments | None:
    """The same of a run of a convolution's channels; noted is how it is divided over places."""
    op, whole = frame.graph.producer(value), frame.moments_at(value)
    if op is None or not op.name.startswith("conv") or dim != len(whole.shape) - int(op.name[-2]) - 1:
        return None
    weight, bias = (None if t is None else numbers_of(frame, t) for t in (op.arg(1, "weight"), op.arg(2, "bias")))
    rows = None if weight is None else weight.reshape(weight.shape[0], -1)
    found = run_of_channels(frame, op, run) if _is_unlike(rows, bias, run, whole.rms) else None
    if found is None:
        return None
    alone, part = found
    if bias is not None:
        owns = (1.0 - float(np.square(bias).mean()) / whole.second_moment, alone.second_moment / part.second_moment)
        note_part(frame, after, value, (owns[0], min(owns[1], 1.0)))
    part = part.reshaped((*whole.shape[:dim], run.stop - run.start, *whole.shape[dim + 1 :]))
    return replace(part, width_var=whole.width_var, overlap=whole.overlap)


def _unlike(frame: Frame, value: int, run: slice) -> JointMoments | None:
    """The same of any run of units along the last dimension, of neighbours or of units a step apart."""
    whole, found = frame.moments_at(value), _run(frame, value, run)
    return None if found is None else replace(found, width_var=whole.width_var, overlap=whole.overlap)


def _unlike_turn(frame: Frame, value: int, dim: int, index: int) -> JointMoments | None:
    """Moments of one place of a dimension that a view split off the units: gates that take turns, or lie in blocks."""
    op, shape = frame.graph.producer(value), frame.graph.value(value).shape
    if op is None or op.name not in RESHAPES or dim < len(shape) - 2 or len(shape) < 3:
        return None
    units, turns = shape[-2:]
    if frame.graph.value(op.inputs[0]).shape != (*shape[:-2], units * turns):
        return None
    run = slice(index, units * turns, turns) if dim == len(shape) - 1 else slice(index * turns, (index + 1) * turns, 1)
    return _unlike(frame, op.inputs[0], run)


def _run(frame: Frame, value: int, run: slice) -> JointMoments | None:
    op = frame.graph.producer(value)
    if op is None:
        return None
    if op.name == "add" and len(set(op.inputs)) == 2 and not op.kwargs:
        return _run_of_sum(frame, op, run)
    return _run_of_map(frame, op, run) if op.name in _MAPS else None


def _run_of_sum(frame: Frame, op: Op, run: slice) -> JointMoments | None:
    shape = frame.graph.value(op.output).shape
    if any(frame.graph.value(v).shape[-1:] != shape[-1:] for v in op.inputs):
        return None
    found = [_run(frame, v, run) for v in op.inputs]
    if all(one is None for one in found):
        return None
    plain = [frame.moments_at(v).part(len(frame.graph.value(v).shape) - 1, run.start, _count(run)) for v in op.inputs]
    terms = [b if a is None else a for a, b in zip(found, plain, strict=True)]
    return summed_up(*terms).expanded((*shape[:-1], _count(run)))


def _run_of_map(frame: Frame, op: Op, run: slice) -> JointMoments | None:
    spec = SPECS[op.name](frame, op)
    weight = _units_first(frame, op, spec.operands[1])
    bias = None if spec.bias is None else numbers_of(frame, spec.bias)
    rms = frame.moments_at(op.output).rms
    if not _is_unlike(weight, bias, run, rms):
        return None
    shape = (*frame.graph.value(op.output).shape[:-1], _count(run))
    axis = 0 if op.name == "linear" else 1
    own = frame.moments(spec.operands[1])
    part = own.resized(axis, _count(run))
    if weight is not None:
        part = part.scaled(_rms(weight[run]) / max(_rms(weight), 1e-300))
    made = contraction(spec.equation, [frame.moments(spec.operands[0]), part], shape).scaled(spec.alpha)
    if spec.bias is None:
        return made
    added = frame.moments(spec.bias) if bias is None else JointMoments.measured(np.asarray(bias[run]))
    return summed_up(made, added.scaled(spec.beta) if bias is not None else added.part(-1, run.start, _count(run)))


def _units_first(frame: Frame, op: Op, template: Any) -> Array | None:
    numbers = numbers_of(frame, template) if isinstance(template, Ref) else None
    if numbers is None or numbers.ndim != 2:
        return None
    return numbers if op.name == "linear" else numbers.T


def _is_unlike(weight: Array | None, bias: Array | None, run: slice, rms: float) -> bool:
    if bias is not None and bias.ndim == 1 and abs(float(bias[run].mean() - bias.mean())) > _FAR * rms:
        return True
    ratio = 1.0 if weight is None else _rms(weight[run]) / max(_rms(weight), 1e-300)
    return not 1.0 / _OTHER < ratio < _OTHER


def _rms(numbers: Array) -> float:
    return float(np.sqrt(np.mean(np.square(numbers))))


def _count(run: slice) -> int:
    return len(range(run.start, run.stop, run.step))


RULES: Mapping[str, Callable[[Frame, Op], Signal | Sequence[Signal]]] = {
    **dict.fromkeys(sorted(RESHAPES), _reshape),
    **dict.fromkeys(sorted(TURNS), _reordered),
    **dict.fromkeys(sorted(BROADCASTS), _expand),
    **dict.fromkeys(["chunk", "split", "split_with_sizes", "tensor_split", "unbind"], _pieces),
    **dict.fromkeys(["narrow", "select"], _narrowed),
    "getitem": _getitem,
    **dict.fromkeys(["roll", "flip"], _shuffled),
}
