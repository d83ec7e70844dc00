"""The backward sweep: moments of the gradient of every tensor, over the same graph in reverse."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from fanin.errors import ShapeError
from fanin.graph.ir import Op, Ref
from fanin.model.operations import SAME_NUMBERS
from fanin.model.trees import tensors_in
from fanin.moments.backward import BACKWARD, attention, contractions, convolution, gathers, maxima, norms, pooling
from fanin.moments.backward.common import added, unbroadcast
from fanin.moments.backward.elementwise import chain_gradients, inner_gradients, local_gradients
from fanin.moments.densities import mixed, of_norm, of_term, through
from fanin.moments.forward.contractions import is_fresh
from fanin.moments.frame import Frame, NoRuleError, mean_of, measured
from fanin.moments.kernel import Array
from fanin.moments.moments import JointMoments
from fanin.moments.signal import Provenance, worst

__all__ = ["Gradient", "sweep_back"]

Gradient = tuple[JointMoments, Provenance]
_DRAWS = 2


@dataclass(frozen=True, slots=True)
class _Share:
    """A contribution to a gradient: `factor` times a tensor. Multiples of one tensor add up before they are squared.

    Two contributions with a root in common are made of one gradient without a fresh weight in between.
    """

    origin: tuple[int, int]
    factor: float
    moments: JointMoments
    roots: frozenset[int] = frozenset()


class _Received:
    """Gradients collected so far, by value; for links of elementwise chains, what enters the chain from outside.

    Args:
        whole: values whose gradient is given in whole: what their readers send them is in it.
    """

    def __init__(self, whole: Mapping[int, JointMoments]) -> None:
        self.parts: dict[int, list[_Share]] = {}
        self.inside: dict[int, list[JointMoments]] = {}
        self.kinds: dict[int, Provenance] = {}
        self.doubtful: set[int] = set()
        self.densities: dict[int, list[tuple[float, Array]]] = {}
        self._sums: dict[int, _Share | None] = {}
        self._serial = 0
        self._whole: frozenset[int] = frozenset()
        for value, g in whole.items():
            self.give(value, g, "theory")
        self._whole = frozenset(whole)

    def give(
        self,
        value: int,
        g: JointMoments,
        kind: Provenance,
        *,
        origin: tuple[int, int] | None = None,
        factor: float = 1.0,
        roots: frozenset[int] = frozenset(),
    ) -> None:
        """Add a contribution of `factor` times a gradient, a new one where no origin is named."""
        if value in self._whole:
            return
        self._serial += 1
        part = _Share((-1, self._serial) if origin is None else origin, factor, g, roots or frozenset({self._serial}))
        self.parts.setdefault(value, []).append(part)
        self._sums.pop(value, None)
        self.kinds[value] = worst(kind, self.kinds.get(value, "theory"))

    def depend(self, value: int, energy: float, density: Array | None) -> None:
        """Note how a contribution of that mean square depends on the entries of the value's source."""
        if density is not None:
            self.densities.setdefault(value, []).append((energy, density))

    def density(self, value: int) -> Array | None:
        """How what entered depends on the entries of the value's source; None: it does not."""
        entered = self.entered(value)
        parts = self.densities.get(value)
        return None if parts is None or entered is None else mixed(parts, entered.second_moment)

    def give_inside(self, value: int, g: JointMoments, kind: Provenance) -> None:
        """Add a contribution from a later link of the same elementwise chain.

        It counts for this value's gradient and is not sent on.
        """
        if value in self._whole:
            return
        self.inside.setdefault(value, []).append(g)
        self.kinds[value] = worst(kind, self.kinds.get(value, "theory"))

    def lose(self, values: Sequence[int]) -> None:
        """Part of what reaches these values is unknown, so all of it is, and all before them."""
        for value in values:
            if value not in self._whole:
                self.kinds[value] = "unknown"

    def entered(self, value: int) -> JointMoments | None:
        """The gradient that reaches a value from outside its chain."""
        part = self.whole(value)
        return None if part is None else part.moments.scaled(part.factor)

    def total(self, value: int) -> JointMoments | None:
        """All that reaches a value."""
        entered, inside = self.entered(value), self.inside.get(value, [])
        return added([*([] if entered is None else [entered]), *inside]) if inside or entered is not None else None

    def roots(self, values: Sequence[int]) -> frozenset[int]:
        """What the gradients of these values are made of."""
        return frozenset().union(*(p.roots for v in values for p in self.parts.get(v, [])))

    def whole(self, value: int) -> _Share | None:
        """What entered as one part: still a multiple of its origin if all of it is."""
        if value not in self._sums:
            self._sums[value] = self._summed(value)
        return self._sums[value]

    def _summed(self, value: int) -> _Share | None:
        by_origin: dict[tuple[int, int], _Share] = {}
        for p in self.parts.get(value, []):
            old = by_origin.get(p.origin)
            by_origin[p.origin] = p if old is None else replace(p, factor=p.factor + old.factor)
        if len(by_origin) <= 1:
            return next(iter(by_origin.values()), None)
        parts = list(by_origin.values())
        width = _in_common(parts)
        if width > _NOTED:
            self.doubtful.add(value)
        total = added(p.moments.scaled(p.factor) for p in parts).widened(width)
        return _Share((value, 0), 1.0, total, self.roots([value]))


_NOTED = 0.25  # variance of the log second moment from which a gradient made of parts that share a root is doubtful


def _in_common(parts: Sequence[_Share]) -> float:
    """Variance of the log second moment of a sum whose parts may cancel or add up, being made of one gradient."""
    sizes = [abs(p.factor) * p.moments.rms for p in parts]
    total = sum(s * s for s in sizes)
    shared = sum(
        2.0 * sizes[i] * sizes[j]
        for i, p in enumerate(parts)
        for j in range(i)
        if not p.roots.isdisjoint(parts[j].roots)
    )
    return math.log(max(1.0 - shared / total, math.exp(-4.0))) ** 2 if total > 0.0 and math.isfinite(total) else 0.0


_SUMMING = (contractions.RULES, convolution.RULES, attention.RULES, pooling.RULES, maxima.RULES)
_MIXING = frozenset((*(name for family in _SUMMING for name in family), *gathers.ENLARGEMENTS))
_NORMS = frozenset(norms.RULES)


def sweep_back(frame: Frame, cotangents: Mapping[int, JointMoments]) -> dict[int, Gradient]:
    """Gradient moments by value index.

    Args:
        frame: after the forward sweep.
        cotangents: all that reaches the outputs: from the loss, and from what else reads them.
    """
    tape = _Received(cotangents)
    for op in reversed(frame.graph.ops):
        if not op.inputs or _is_weights_only(frame, op):
            continue  # nothing to hand a gradient to: a tensor made from nothing, or parameters alone
        if any(v in tape.parts or v in tape.inside for v in op.outputs):
            _step(frame, op, tape)
        if any(tape.kinds.get(v) == "unknown" for v in op.outputs):
            tape.lose(op.inputs)
    values = {*tape.parts, *tape.inside}
    totals = {v: tape.total(v) for v in values}
    for v in tape.doubtful:
        frame.doubt("backward", v, "its gradient arrives along several ways that share what they are made of")
    return {v: (g, tape.kinds[v]) for v, g in totals.items() if g is not None}


def _is_weights_only(frame: Frame, op: Op) -> bool:
    if any(v not in frame.signals for v in op.inputs):
        return True  # parameters that nothing with a signal reads, such as a penalty on weights
    read = [frame.signals[v] for v in op.inputs]
    return bool(read) and not any(s.from_data for s in read) and not any(s.weight_only for s in read)


def _step(frame: Frame, op: Op, tape: _Received) -> None:
    kind = worst(*(tape.kinds[v] for v in op.outputs if v in tape.kinds))
    for step in (_linear_step, _largest_step, _elementwise_step):
        try:
            if step(frame, op, tape, kind):
                return
        except (NoRuleError, ShapeError, OverflowError, RuntimeError):
            pass  # a form of call that the rule was not written for, or numbers beyond float64
        except Exception as error:  # a fault of the rule: the report names it, and the op is sampled
            frame.failed(op, "backward", error)
    _opaque_step(frame, op, tape, kind)


def _elementwise_step(frame: Frame, op: Op, tape: _Received, kind: Provenance) -> bool:
    """Send a gradient through a link of an elementwise chain; False for any other operation."""
    signal = frame.signals[op.output] if len(op.outputs) == 1 else None
    if signal is None or not signal.region or signal.weight_only:
        return False
    _chain_step(frame, op, tape, kind)
    return True


def _largest_step(frame: Frame, op: Op, tape: _Received, kind: Provenance) -> bool:
    """Send a gradient through a maximum over windows of an elementwise chain; False for any other operation."""
    g = tape.total(op.output)
    found = None if g is None else maxima.largest_gradients(frame, op, g)
    if g is None or found is None:
        return False
    for value, part in found[0].items():
        tape.give(value, part, kind)
    for value, part in found[1].items():
        tape.give_inside(value, part, kind)
    return True


_LINEAR = SAME_NUMBERS | {"add", "sub", "rsub", "neg", "mul", "div"}


def _linear_step(frame: Frame, op: Op, tape: _Received, kind: Provenance) -> bool:
    """Send a gradient through a sum or a known multiple; False for any other operation.

    Operands of the full shape receive multiples of the same tensor.
    """
    if op.name not in _LINEAR:
        return False
    whole = tape.whole(op.output)
    factors = _linear_factors(frame, op)
    if whole is None or factors is None or op.output in tape.inside:
        return False
    shape = frame.graph.value(op.output).shape
    density = tape.density(op.output)
    for value, factor in factors:
        if density is not None and frame.graph.value(value).shape == shape:
            energy = (whole.factor * factor) ** 2 * whole.moments.second_moment
            tape.depend(value, energy, of_term(frame, op.output, value, density) if len(factors) > 1 else density)
        if frame.graph.value(value).shape == shape:
            tape.give(value, whole.moments, kind, origin=whole.origin, factor=whole.factor * factor, roots=whole.roots)
        else:
            g = unbroadcast(whole.moments.scaled(whole.factor * factor), frame.graph.value(value).shape)
            tape.give(value, g, kind, roots=whole.roots)
    return True


def _linear_factors(frame: Frame, op: Op) -> list[tuple[int, float]] | None:
    """Operands of an op that is linear in them, each with its factor; None where it is not."""
    left, right = op.arg(0), op.arg(1, "other")
    if op.name in ("add", "sub", "rsub"):
        if frame.signals[op.output].region and not frame.signals[op.output].atoms:
            return None
        alpha = float(op.kwargs.get("alpha", 1.0))
        weights = {"add": (1.0, alpha), "sub": (1.0, -alpha), "rsub": (-alpha, 1.0)}[op.name]
        return [(t.index, w) for t, w in zip((left, right), weights, strict=True) if isinstance(t, Ref)]
    if op.name in ("mul", "div"):
        if isinstance(left, Ref) and not isinstance(right, Ref) and right is not None:
            if op.name == "div" and not float(right):
                return None  # torch divides by zero as well, and gives infinities
            return [(left.index, float(right) if op.name == "mul" else 1.0 / float(right))]
        return (
            [(right.index, float(left))]
            if isinstance(right, Ref) and op.name == "mul" and not isinstance(left, Ref)
            else None
        )
    return [(op.inputs[0], -1.0 if op.name == "neg" else 1.0)] if op.name != "detach" else []


def _chain_step(frame: Frame, op: Op, tape: _Received, kind: Provenance) -> None:
    """An elementwise link: what entered from outside goes straight to the chain's sources, the rest link by link."""
    region = frame.signals[op.output].region
    entered, total = tape.entered(op.output), tape.total(op.output)
    sources = chain_gradients(frame, op, entered) if entered is not None else {}
    links = _links(frame, op, total, alone=len(region) == 1)
    if entered is not None and len(region) == 1:
        links.update(inner_gradients(frame, op, entered))
    for value, g in links.items():
        if frame.signals[value].weight_only:
            tape.give(value, g, kind)
        elif value not in region:
            tape.give_inside(value, g, kind)
    for value, g in sources.items():
        tape.give(value, _weighed(frame, op, tape, value, g), kind, roots=tape.roots(op.outputs))


def _weighed(frame: Frame, op: Op, tape: _Received, source: int, g: JointMoments) -> JointMoments:
    """The gradient of a chain's one source, with what depends on the entries already before the chain."""
    if len(frame.signals[op.output].region) > 1 or g.shape != frame.graph.value(op.output).shape:
        return g
    gain, density = through(frame, op, source, tape.density(op.output))
    tape.depend(source, gain * g.second_moment, density)
    return g.scaled(math.sqrt(gain))


def _links(frame: Frame, op: Op, total: JointMoments | None, *, alone: bool) -> dict[int, JointMoments]:
    """What the operands of one link receive by its own slope: of a chain of one source, only its parameters."""
    if total is None or (alone and not any(frame.signals[v].weight_only for v in op.inputs)):
        return {}
    try:
        links = local_gradients(frame, op, total)
    except NoRuleError:
        if alone:
            return {}
        raise
    return {v: g for v, g in links.items() if not alone or frame.signals[v].weight_only}


def _opaque_step(frame: Frame, op: Op, tape: _Received, kind: Provenance) -> None:
    grads = [tape.entered(v) for v in op.outputs]
    if all(g is None for g in grads):
        return  # all of it comes from later links, which have sent it on
    rule = BACKWARD.get(op.name)
    if rule is not None and all(frame.signals[v].provenance != "unknown" for v in op.inputs):
        try:
            width, repeat = _width_of(frame, op, grads), frame.repeats.backward.get(op.index)
            for value, g in rule(frame, op, grads if width is None else _bare(grads)).items():
                part = g if width is None else g.widened(width)
                if repeat is not None and not frame.signals[value].weight_only:
                    frame.doubt("backward", value, repeat.reason)
                    part = part.widened(repeat.width_var)
                if value == op.inputs[0] and op.name in _NORMS:
                    for of, energy, density in of_norm(frame, op, tape.density(op.output), part):
                        tape.depend(of, energy, density)
                tape.give(value, part, kind, roots=_roots(frame, op, tape))
            return
        except (NoRuleError, ShapeError, OverflowError):
            pass
        except Exception as error:  # a fault of the rule: the report names it, and the op is sampled
            frame.failed(op, "backward", error)
    found = _sampled(frame, op, grads)
    if not found:
        tape.lose(op.inputs)
        for v in op.inputs:
            frame.doubt(
                "backward", v, f"there is no formula for the gradient of {op.name}, and it could not be sampled"
            )
    for value, g in found.items():
        tape.give(value, g, worst(kind, "empirical"))


def _roots(frame: Frame, op: Op, tape: _Received) -> frozenset[int]:
    """What the gradient of an op's operand is made of: nothing before it behind a fresh weight, or where it is a part.

    Parts of a tensor do not overlap, so that they add up in their squares, unless they come back to the whole of it.
    """
    fresh = (op.name in _PARTS and frame.rejoined.isdisjoint(op.inputs)) or (
        op.name in _WEIGHTED and is_fresh(frame, op)
    )
    return frozenset() if fresh else tape.roots(op.outputs)


_PARTS = frozenset(
    ["getitem", "narrow", "select", "chunk", "split", "unbind", "index_select", "gather", "cat", "stack"]
)
_WEIGHTED = frozenset((*contractions.RULES, *convolution.RULES))


def _bare(grads: Sequence[JointMoments | None]) -> list[JointMoments | None]:
    """The gradients without what finite width has done so far: what a rule gives back then is its own share of it."""
    return [None if g is None else g.changed(width_var=0.0) for g in grads]


def _width_of(frame: Frame, op: Op, grads: Sequence[JointMoments | None]) -> float | None:
    """What finite width has added to the log second moment of a gradient once an op has summed it over.

    As in the forward sweep: what it had, and the scatter of the one tensor that was summed. A norm divides by what
    finite width made of the signal. None: the op mixes nothing.
    """
    received = [g for g in grads if g is not None]
    if not received:
        return None
    if op.name in _NORMS:
        m = frame.signals[op.inputs[0]].moments
        return max(g.width_var for g in received) + (0.0 if m is None else m.width_var)
    return max(g.width_var + g.own_var for g in received) if op.name in _MIXING else None


def _sampled(frame: Frame, op: Op, grads: Sequence[JointMoments | None]) -> dict[int, JointMoments]:
    """Gradients of an op without a rule: its own autograd on drawn operands and drawn gradients."""
    import torch

    runs: dict[int, list[JointMoments]] = {}
    try:
        for env in frame.drawn(_DRAWS):
            leaves = {v: _differentiable(frame.draw(v, env)) for v in dict.fromkeys(op.inputs)}
            with torch.enable_grad():
                outputs = _outputs(frame, op, leaves)
            for v, g in _autograd(frame, op, leaves, outputs, grads).items():
                runs.setdefault(v, []).append(measured(g))
    except Exception as error:  # whatever a third-party op raises: it is named, and nothing is passed on
        frame.notes.append(f"{op.module or 'the model'}: no gradient of {op.name} ({type(error).__name__}: {error})")
        return {}
    width = max((g.width_var for g in grads if g is not None), default=0.0)
    return {v: mean_of(ms).widened(width) for v, ms in runs.items()}


def _differentiable(tensor: Any) -> Any:
    return tensor.detach().clone().requires_grad_() if tensor.is_floating_point() else tensor


def _outputs(frame: Frame, op: Op, leaves: Mapping[int, Any]) -> list[Any]:
    from fanin.graph.ir import map_template

    copies = {v: t.clone() if op.inplace and v == op.inputs[0] else t for v, t in leaves.items()}
    args = map_template(op.args, lambda r: copies[r.index])
    result = op.func(*args, **map_template(dict(op.kwargs), lambda r: copies[r.index]))
    return [args[0]] if op.inplace else list(tensors_in(result))


def _autograd(
    frame: Frame, op: Op, leaves: Mapping[int, Any], outputs: Sequence[Any], grads: Sequence[JointMoments | None]
) -> dict[int, Any]:
    import torch

    pairs = []
    for t, g in zip(outputs, grads, strict=False):
        if g is not None and t.requires_grad:
            pairs.append((t, torch.from_numpy(g.drawn(frame.rng)).to(t.dtype)))
    wanted = [v for v, t in leaves.items() if t.requires_grad]
    if not pairs or not wanted:
        return {}
    got = torch.autograd.grad(
        [t for t, _ in pairs], [leaves[v] for v in wanted], [d for _, d in pairs], allow_unused=True
    )
    return {v: g for v, g in zip(wanted, got, strict=True) if g is not None}
