"""The forward sweep: every op in order, by rule where there is one, by sampling where there is none."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from fanin.errors import ShapeError
from fanin.graph.ir import Op
from fanin.graph.recording.replay import run
from fanin.memory import as_array
from fanin.moments.forward import FORWARD
from fanin.moments.forward.elementwise import elementwise, is_elementwise
from fanin.moments.frame import SAMPLE_CAP, Frame, NoRuleError, mean_of, measured
from fanin.moments.masks import as_function
from fanin.moments.moments import JointMoments
from fanin.moments.places import Places, made
from fanin.moments.signal import Signal, worst

__all__ = ["sweep"]

_DRAWS = 4  # of an op that is sampled; fewer where its tensors are large
_DRAW_BUDGET = 1 << 18
_RANDOM = frozenset(("bernoulli", "exponential", "normal", "rand", "rand_like", "randn", "randn_like", "uniform"))


def sweep(frame: Frame) -> None:
    """Fill ``frame.signals`` for every value of the graph."""
    read_last = {v: op.index for op in frame.graph.ops for v in (*op.outputs, *op.inputs)}
    for op in frame.graph.ops:
        if _waits(frame, op):
            continue
        settle_weights(frame, op)
        for value, signal in zip(op.outputs, forward(frame, op), strict=False):
            frame.signals[value] = _repeated(frame, op, value, signal)
        frame.forget(read_last, op.index)


def _repeated(frame: Frame, op: Op, value: int, signal: Signal) -> Signal:
    """The signal with a wider error where the op reads a weight that its input was made with."""
    repeat = frame.repeats.forward.get(op.index)
    if repeat is None or signal.moments is None:
        return signal
    frame.doubt("forward", value, repeat.reason)
    return replace(signal, moments=signal.moments.widened(repeat.width_var))


def _waits(frame: Frame, op: Op) -> bool:
    """Whether an op works on parameters alone: it is done when something that carries a signal reads its result."""
    values = [frame.graph.value(v) for v in op.inputs]
    return (
        bool(values)
        and any(_pending(frame, v.index) for v in values)
        and all(_pending(frame, v.index) or _is_static(frame, v.index) for v in values)
    )


def _pending(frame: Frame, value: int) -> bool:
    return value not in frame.signals


def _is_static(frame: Frame, value: int) -> bool:
    s = frame.signals[value]
    return s.weight_only or not s.from_data


def settle_weights(frame: Frame, reader: Op) -> None:
    """Decide every parameter (and what is made of parameters alone) that an op reads and that is still open."""
    data = [v for v in reader.inputs if not _pending(frame, v) and not frame.signals[v].weight_only]
    reads = frame.signals[data[0]].moments if data else None
    for value in dict.fromkeys(reader.inputs):
        _settle(frame, value, reader, reads)


def _settle(frame: Frame, value: int, reader: Op, reads: JointMoments | None) -> None:
    if not _pending(frame, value):
        return
    leaf = frame.graph.value(value)
    op = frame.graph.producer(value)
    if op is None:
        frame.signals[value] = _weight_signal(frame, value, reader, reads)
        return
    for v in dict.fromkeys(op.inputs):
        _settle(frame, v, reader, reads)
    for v, signal in zip(op.outputs, forward(frame, op), strict=False):
        frame.signals.setdefault(v, signal)
    frame.signals.setdefault(leaf.index, Signal(moments=None, provenance="unknown", weight_only=True, from_data=False))


def _weight_signal(frame: Frame, value: int, reader: Op, reads: JointMoments | None) -> Signal:
    import torch

    leaf = frame.graph.value(value)
    law = frame.resolve(leaf, reader, reads)
    numbers = None if law.values is None else torch.as_tensor(law.values, device="cpu")
    return Signal(
        moments=law.to_moments(leaf.shape),
        numbers=numbers,
        weight_only=True,
        from_data=False,
        isometric=law.isometric,
    )


# ---------------------------------------------------------------------- one op
def forward(frame: Frame, op: Op) -> Sequence[Signal]:
    """Signals of an op's outputs."""
    if all(frame.graph.value(v).numel == 0 for v in op.outputs):
        return [Signal(moments=None) for _ in op.outputs]  # nothing has no moments, and hides nothing
    known = _from_numbers(frame, op)
    if known is not None:
        return known
    found = _by_rule(frame, op)
    masked = any(frame.signals[v].is_masked for v in op.inputs)
    if found is None or (masked and any(s.is_lost for s in found)):
        return as_function(
            frame, op, sampled(frame, op)
        )  # infinities have no moments, but a maximum or an exponential of them has
    return found


def _by_rule(frame: Frame, op: Op) -> Sequence[Signal] | None:
    """Signals by the op's rule; None where it has none, or where the rule does not cover this call.

    A rule does not cover a form of call that it was not written for, a second moment beyond float64 (of an exponential,
    say) and an operation that refuses float64. These are sampled.
    """
    try:
        rule = FORWARD.get(op.name)
        if rule is not None:
            result = rule(frame, op)
            return [result] if isinstance(result, Signal) else result
        if is_elementwise(frame, op):
            return [elementwise(frame, op)]
    except (NoRuleError, ShapeError, OverflowError, RuntimeError):
        pass
    except Exception as error:  # a fault of the rule: the report names it, and the op is sampled
        frame.failed(op, "forward", error)
    return None


def _from_numbers(frame: Frame, op: Op) -> list[Signal] | None:
    """The op's results as numbers, if all that it reads is known, small, and not weights that a rule can follow."""
    read = [frame.signals[v] for v in dict.fromkeys(op.inputs)]
    if any(s.numbers is None or s.region for s in read) or any(s.weight_only and s.from_data for s in read):
        return None
    if any(s.weight_only for s in read) and any(not s.weight_only and s.from_data for s in read):
        return None
    if sum(frame.graph.value(v).numel for v in (*op.outputs, *op.inputs)) > 4 * SAMPLE_CAP:
        return None
    return _replayed_numbers(frame, op, read)


def _replayed_numbers(frame: Frame, op: Op, read: Sequence[Signal]) -> list[Signal] | None:
    import torch

    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            outputs = _as_captured(frame, op, run(op, lambda v: frame.signals[v].numbers))
    except Exception:  # an op that cannot be run again outside its model
        return None
    if any(t.is_meta for t in outputs):  # made without numbers at the capture, say by way of NumPy
        return None
    template = Signal(
        moments=None,
        provenance=worst(*(s.provenance for s in read)),
        weight_only=any(s.weight_only for s in read),
        from_data=any(s.from_data for s in read),
        drawn=op.name in _RANDOM or any(s.drawn for s in read),
    )
    made = [replace(template, numbers=t, moments=_moments_of(t)) for t in outputs]
    return [_as_one_draw(s) for s in made] if template.drawn else made


def _as_one_draw(signal: Signal) -> Signal:
    """Random numbers of the capture: those of the pass are others, and so is their mean square."""
    if signal.moments is None:
        return signal
    squares = signal.numbers.double().square()
    mean = float(squares.mean())
    luck = float(squares.var(unbiased=False)) / (mean * mean * squares.numel()) if mean > 0.0 else 0.0
    return replace(signal, moments=replace(signal.moments, width_var=luck, spread=0.0))


def _as_captured(frame: Frame, op: Op, outputs: tuple[Any, ...]) -> tuple[Any, ...]:
    """The outputs, or those for an all-true operand where their shapes depend on numbers: so the capture assumed."""
    import torch

    if all(tuple(t.shape) == frame.graph.value(v).shape for v, t in zip(op.outputs, outputs, strict=False)):
        return outputs
    outputs = run(op, lambda v: torch.ones(frame.graph.value(v).shape, dtype=torch.bool))
    if any(tuple(t.shape) != frame.graph.value(v).shape for v, t in zip(op.outputs, outputs, strict=False)):
        raise NoRuleError(f"the shapes that {op.name} gives depend on numbers")
    return outputs


def _moments_of(tensor: Any) -> JointMoments | None:
    return measured(tensor) if tensor.is_floating_point() and tensor.numel() else None


def sampled(frame: Frame, op: Op) -> list[Signal]:
    """Signals of an op without a rule: run on drawn operands, marked empirical; unknown where that fails."""
    import torch

    draws = max(1, min(_DRAWS, _DRAW_BUDGET // max(1, sum(frame.graph.value(v).numel for v in op.inputs))))
    runs: list[tuple[Any, ...]] = []
    try:
        for env in frame.drawn(draws):
            for v in dict.fromkeys(op.inputs):
                frame.draw(v, env)
            with torch.no_grad(), torch.random.fork_rng(devices=[]):
                runs.append(_as_captured(frame, op, run(op, _from(frame, env))))
        return [_sampled_signal(frame, op, [r[i] for r in runs]) for i in range(len(op.outputs))]
    except Exception as error:  # whatever a third-party op raises: it is named, and what follows is unknown
        frame.notes.append(
            f"{op.module or 'the model'}: {op.name} could not be sampled ({type(error).__name__}: {error})"
        )
        unknown = Signal(moments=None, provenance="unknown", from_data=True)
        for v in op.outputs:
            frame.doubt("forward", v, f"there is no formula for {op.name}, and it could not be sampled")
        return [unknown for _ in op.outputs]


def _from(frame: Frame, env: Mapping[int, Any]) -> Callable[[int], Any]:
    return lambda v: env[frame.first(v)]


def _sampled_signal(frame: Frame, op: Op, tensors: Sequence[Any]) -> Signal:
    first = tensors[0]
    if not first.is_floating_point() or not first.numel():
        base = frame.made(op, JointMoments.constant((), 0.0), kind="empirical")
        return replace(base, moments=None, numbers=first)
    draws = [measured(t) for t in tensors]
    known = [s.moments.width_var for v in op.inputs if (s := frame.signals[v]).moments is not None]
    moments = mean_of(draws).widened(max(known, default=0.0) + _scatter(draws) + frame.in_common.get(op.index, 0.0))
    positive = all(bool((t >= 0).all()) for t in tensors)
    moments = replace(moments, places=_places(frame, op, tensors))
    return replace(frame.made(op, moments, leaf=False, kind="empirical"), positive=positive)


def _places(frame: Frame, op: Op, tensors: Sequence[Any]) -> Places | None:
    """How the drawn results are divided over the dimension along which an operand of their shape is."""
    shape = tuple(tensors[0].shape)
    known = [frame.signals[v].moments for v in op.inputs]
    dims = {m.places.dim for m in known if m is not None and m.shape == shape and m.places is not None}
    if len(dims) != 1:
        return None
    (dim,) = dims
    rest = [d for d in range(len(shape)) if d != dim]
    energies = sum(t.double().square().mean(dim=rest) if rest else t.double().square() for t in tensors)
    return made(dim, as_array(energies))


def _scatter(draws: Sequence[JointMoments]) -> float:
    """Variance of the log mean square from one draw to the next: what one network differs by from their mean."""
    sizes = [m.second_moment for m in draws if m.second_moment > 0.0 and math.isfinite(m.second_moment)]
    return float(np.var(np.log(sizes), ddof=1)) * (1.0 + 1.0 / len(sizes)) if len(sizes) > 1 else 0.0
