"""The state of one forward sweep: what is known of each tensor so far, and how to sample a region again."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Mapping, MutableMapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeAlias

import numpy as np

from fanin.graph.ir import Graph, Op, Ref, Value
from fanin.graph.recording.replay import run
from fanin.memory import as_array
from fanin.moments import kernel as kn
from fanin.moments.kernel import Array
from fanin.moments.members import Members, is_member
from fanin.moments.moments import JointMoments
from fanin.moments.places import made
from fanin.moments.repeats import Repeats
from fanin.moments.signal import Provenance, Signal, worst
from fanin.moments.weights import WeightMoments

__all__ = ["SAMPLE_CAP", "Defect", "Direction", "DrawnTensors", "Frame", "NoRuleError"]

Direction: TypeAlias = Literal["forward", "backward"]

_LARGE = 1 << 15  # elements of a drawn tensor that is not kept for longer than it is read
SAMPLE_CAP = 1 << 22  # elements of one tensor that may be drawn
_MEASURE_CAP = 1 << 20
_MAX_REPLAY_DEPTH = 60


class NoRuleError(Exception):
    """A rule does not cover this call; it is sampled instead."""


@dataclass(frozen=True, slots=True)
class Defect:
    """An error of fanin's own in the formula of one operation.

    Attributes:
        op: name of the operation.
        module: qualified name of the module that calls it; "" for the model itself.
        direction: whether the signal or the gradient was being computed.
        error: type and message of the exception.
    """

    op: str
    module: str
    direction: Direction
    error: str


class DrawnTensors(dict[int, Any]):
    """Tensors that were drawn together, by value index; `large` are those not worth keeping for long."""

    def __init__(self, number: int = 0) -> None:
        super().__init__()
        self.number = number
        self.large: set[int] = set()

    def __setitem__(self, value: int, tensor: Any) -> None:
        super().__setitem__(value, tensor)
        if tensor.numel() >= _LARGE:
            self.large.add(value)


@dataclass(kw_only=True)
class Frame:
    """What a rule may ask and use.

    Attributes:
        graph: the captured model.
        resolve: gives a parameter's moments when the sweep first needs them.
        signals: what is known, by value index.
        rng: source of the draws that sampled ops need.
        seed: of the tensors that are drawn for values, each from a generator of its own.
        training: whether dropout is on.
        notes: what could not be followed, in words.
        defects: rules that raised an error nobody foresaw; those ops were sampled instead.
        names: the first value that was made by a given selection of entries of a given value.
        same: that value, for every later one that selects the same entries.
        ensembles: tensors drawn so far, one dictionary a draw, so that what is drawn together stays together.
        repeats: the operations that meet a weight again.
        along: E (g . y)^2 / E |g|^2 less E y^2 of an output y and the gradient g that it receives, by value.
        radial: share of a gradient's energy along the tensor that receives it, by value, where it is known.
        favours: of a product whose largest entries are picked, by value: the mean square of the gradient that picks
            them, and the mean square of each factor there over its mean square everywhere.
        unlike: how the gradient that a norm sends on depends on the entries of its input's source, by operation; see
            `fanin.moments.densities`.
        attention: weights of a fused attention, before any is dropped, by operation.
        windows: windows drawn for a maximum, by the value that is pooled, their sizes and what two of them share.
        rejoined: values on the way from a tensor to a sum in which parts of it are added to itself.
        in_common: what sampling a sum leaves unknown, as a variance of its log second moment, by operation.
        doubts: why a formula does not hold, by direction and value, at the values where that begins.
        by_place: mean square at each place over that of all places, by value, as far as it was asked for; None: nothing
            is followed by place.
        varies_together: covariances of tensors that the same weights made, by pair of values, as far as asked for.
    """

    graph: Graph
    resolve: Callable[[Value, Op, JointMoments | None], WeightMoments]
    signals: MutableMapping[int, Signal] = field(default_factory=dict)
    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))
    seed: int = 0
    training: bool = False
    notes: list[str] = field(default_factory=list)
    defects: list[Defect] = field(default_factory=list)
    names: dict[Any, int] = field(default_factory=dict)
    same: dict[int, int] = field(default_factory=dict)
    ensembles: list[DrawnTensors] = field(default_factory=list)
    repeats: Repeats = field(default_factory=lambda: Repeats({}, {}, {}))
    along: Mapping[int, float] = field(default_factory=dict)
    radial: dict[int, float] = field(default_factory=dict)
    favours: dict[int, dict[int, tuple[float, float]]] = field(default_factory=dict)
    unlike: dict[int, Array] = field(default_factory=dict)
    attention: dict[int, JointMoments] = field(default_factory=dict)
    windows: dict[Any, Any] = field(default_factory=dict)
    rejoined: set[int] = field(default_factory=set)
    in_common: dict[int, float] = field(default_factory=dict)
    doubts: dict[tuple[Direction, int], str] = field(default_factory=dict)
    by_place: dict[int, Array] | None = None
    varies_together: dict[tuple[int, int], float] = field(default_factory=dict)

    # ------------------------------------------------------------------ asking
    def signal(self, template: Any) -> Signal:
        """Signal of a tensor argument, or of a number."""
        if isinstance(template, Ref):
            return self.signals[template.index]
        if isinstance(template, bool | int | float):
            return Signal(
                moments=JointMoments.constant((), float(template)), leaf=False, weight_only=False, from_data=False
            )
        raise NoRuleError(f"{template!r} is neither a tensor nor a number")

    def moments(self, template: Any) -> JointMoments:
        """Moments of a tensor argument or number; those of known numbers are measured when first asked for."""
        signal = self.signal(template)
        if signal.moments is None and signal.numbers is not None and isinstance(template, Ref):
            signal = replace(signal, moments=measured(signal.numbers))
            self.signals[template.index] = signal
        if signal.moments is None:
            raise NoRuleError("the moments of an operand are unknown")
        return signal.moments

    def moments_at(self, value: int) -> JointMoments:
        """Moments of a value."""
        return self.moments(Ref(value))

    def numbers(self, template: Any) -> Any:
        """The numbers of an argument, where they are known."""
        if not isinstance(template, Ref):
            return template
        return self.signals[template.index].numbers

    def bases(self, value: int) -> Members:
        """The values whose fluctuations a value carries."""
        s = self.signals[value]
        return s.shared | s.terms | 1 << self.first(value)

    def first(self, value: int) -> int:
        """The value itself, or the first one that selected the same entries."""
        return self.same.get(value, value)

    def entangled(self, one: int, other: int) -> bool:
        """Whether two different tensors share fluctuations that their terms do not show."""
        terms, others = self.terms(one), self.terms(other)
        inherited, inherited_other = self._inherited(one), self._inherited(other)
        if not (inherited & (others | inherited_other) or inherited_other & terms):
            return False
        pairs = itertools.product(self._term_values(one), self._term_values(other))
        return not terms & others or any(self._inherit(a, b) for a, b in pairs if a != b)

    def _inherit(self, one: int, other: int) -> bool:
        """Whether two tensors share fluctuations of a third, or one has those of the other."""
        own, others = self.signals[one].shared, self.signals[other].shared
        return is_member(other, own) or is_member(one, others) or bool(own & others)

    def _inherited(self, value: int) -> Members:
        """The values whose fluctuations the terms of a value inherit."""
        found = 0
        for term in self._term_values(value):
            found |= self.signals[term].shared
        return found

    def terms(self, value: int) -> Members:
        """The random tensors that a value is a sum of; none for what carries no data."""
        s = self.signals[value]
        if s.weight_only or not s.from_data:
            return 0
        return s.terms or 1 << self.first(value)

    def _term_values(self, value: int) -> list[int]:
        """The members of `terms`."""
        s = self.signals[value]
        if s.weight_only or not s.from_data:
            return []
        return list(dict.fromkeys(k for k, _ in s.atoms if k >= 0)) or [self.first(value)]

    # ------------------------------------------------------------------ answering
    def made(
        self, op: Op, moments: JointMoments, *, fresh: bool = False, leaf: bool = True, kind: Provenance = "theory"
    ) -> Signal:
        """Signal of an op's result: provenance and dependence are inherited from what it read.

        Args:
            op: the op.
            moments: of its result.
            fresh: the result is multiplied by a weight of mean zero.
            leaf: see `Signal.leaf`.
            kind: provenance of the step itself.
        """
        read = [self.signals[v] for v in dict.fromkeys(op.inputs)]
        data = [v for v in op.inputs if self.signals[v].from_data and not self.signals[v].weight_only]
        shared = 0
        for v in data if not fresh else ():
            shared |= self.bases(v)
        return Signal(
            moments=moments,
            provenance=worst(kind, *(s.provenance for s in read if s.moments is not None or s.numbers is None)),
            leaf=leaf,
            shared=shared,
            weight_only=bool(read) and all(s.weight_only for s in read),
            from_data=any(s.from_data for s in read),
        )

    def selection(self, op: Op, signals: list[Signal]) -> list[Signal]:
        """Signals of an op that picks entries: fresh tensors, but the same ones where the same pick was made before."""
        source = self.first(op.inputs[0])
        for slot, value in enumerate(op.outputs):
            token = (source, op.name, repr(op.args[1:]), repr(op.kwargs), slot)
            first = self.names.setdefault(token, value)
            if first != value:
                self.same[value] = first
        return [replace(s, shared=0) for s in signals]

    def failed(self, op: Op, direction: Direction, error: Exception) -> None:
        """Record that the rule of an op raised an error that no rule should raise."""
        self.defects.append(Defect(op.name, op.module, direction, f"{type(error).__name__}: {error}"))

    def doubt(self, direction: Direction, value: int, why: str) -> None:
        """Say why no formula holds for a value; the first reason stays."""
        self.doubts.setdefault((direction, value), why)

    # ------------------------------------------------------------------ sampling
    def drawn(self, count: int) -> list[DrawnTensors]:
        """The first `count` draws, made as far as asked for until now."""
        while len(self.ensembles) < count:
            self.ensembles.append(DrawnTensors(number=len(self.ensembles) + 1))
        return self.ensembles[:count]

    def forget(self, read_last: Mapping[int, int], now: int) -> None:
        """Drop large drawn tensors of values that nothing reads after operation `now`.

        Each is drawn from a seed of its own, so one that is needed again is drawn again with the same numbers.
        """
        for env in self.ensembles:
            for value in [v for v in env.large if read_last.get(v, -1) <= now]:
                env.pop(value, None)
                env.large.discard(value)

    def draw(self, value: int, env: DrawnTensors, depth: int = 0) -> Any:
        """A tensor for a value: its numbers, a Gaussian field of its kernel, or what its op makes of drawn operands."""
        import torch

        value = self.first(value)
        if value in env:
            return env[value]
        s = self.signals[value]
        op = self.graph.producer(value)
        if s.numbers is not None:
            env[value] = s.numbers
        elif (s.leaf and not s.is_masked) or op is None or depth > _MAX_REPLAY_DEPTH or not _has_moments(self, op):
            env[value] = torch.from_numpy(self._field(value, env)).to(_dtype(self.graph.value(value)))
        else:
            for v in dict.fromkeys(op.inputs):
                self.draw(v, env, depth + 1)
            with torch.no_grad():
                outputs = run(op, lambda v: env[self.first(v)])
            for v, tensor in zip(op.outputs, outputs, strict=False):
                env[v] = tensor
        return env[value]

    def _field(self, value: int, env: DrawnTensors) -> kn.Array:
        m = self.signals[value].moments
        if m is None:
            raise NoRuleError("an operand of unknown moments cannot be drawn")
        if math.prod(m.shape) > SAMPLE_CAP:
            raise NoRuleError(f"a tensor of shape {m.shape} is too large to draw")
        rng = np.random.default_rng((self.seed, value, env.number))
        return np.asarray(m.mean + m.drawn(rng))


def _has_moments(frame: Frame, op: Op) -> bool:
    """Whether the op can be run again on drawn operands."""
    return all(frame.signals[v].moments is not None or frame.signals[v].numbers is not None for v in op.inputs)


def _dtype(value: Value) -> Any:
    import torch

    return getattr(torch, value.dtype)


def measured(tensor: Any) -> JointMoments:
    """Moments of a torch tensor, on part of its first dimension where it is very large."""
    array = tensor.detach().cpu().to_dense()  # sparse tensors as the numbers they stand for
    if array.is_complex():
        raise NoRuleError("complex numbers have no moments here")
    rows = array.shape[0] if array.ndim else 1
    if array.numel() > _MEASURE_CAP and rows > 1:
        step = min(rows - 1, math.ceil(array.numel() / _MEASURE_CAP))
        return JointMoments.measured(_wide(array[::step])).resized(0, rows)
    return JointMoments.measured(_wide(array))


def measured_by_place(tensor: Any) -> JointMoments:
    """The same with the mean square of each place along the middle dimension whose places differ most, beyond chance.

    The gradient of a class token that is read twice, or of tokens whose labels do not count, is not that of the others.
    """
    moments = measured(tensor)
    squares = tensor.detach().cpu().to_dense().double().square()
    mean, found = float(squares.mean()) if squares.numel() else 0.0, []
    for dim in range(1, squares.dim() - 1):
        energies = squares.mean([d for d in range(squares.dim()) if d != dim])
        chance = _SURE * float(squares.std()) / math.sqrt(squares.numel() / len(energies))
        found.append((float((energies - mean).abs().max()) - chance, dim, energies))
    excess, dim, energies = max(found, default=(0.0, 0, None), key=lambda f: f[0])
    return moments if energies is None or excess <= 0.0 else moments.changed(places=made(dim, as_array(energies)))


_SURE = 3.0  # standard errors; places that differ by chance alone do no harm


def _wide(tensor: Any) -> Array:
    """Its numbers in float32 or float64."""
    return as_array(tensor if str(tensor.dtype) in ("torch.float32", "torch.float64") else tensor.double())


def mean_of(draws: Iterable[JointMoments]) -> JointMoments:
    """Average of the moments of several draws of one tensor."""
    all_of = list(draws)
    first = all_of[0]
    kernel = np.mean([m.kernel for m in all_of], axis=0)
    return first.with_kernel(np.asarray(kernel), float(np.mean([m.mean for m in all_of])))
