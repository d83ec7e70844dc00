"""How far two tensors that the same weights made vary together: steps of a loop, branches of a shared layer.

The sweep takes the terms of a sum as uncorrelated unless they hold one tensor. Steps of a loop read alike inputs with
one weight, so their outputs point the same way. Their covariance follows from what both are made of, operation by
operation.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from fanin.graph.ir import Op, Ref
from fanin.model.operations import MATRIX_PRODUCTS, RESHAPES, SAME_NUMBERS, TURNS
from fanin.moments.frame import Frame
from fanin.moments.moments import JointMoments

__all__ = ["Together", "in_common"]

_DEEPEST = 160  # operations that are followed back
_MOST_PAIRS = 20_000
_ALONG = RESHAPES | SAME_NUMBERS | TURNS | {"layer_norm", "rms_norm", "chunk", "split", "split_with_sizes", "dropout"}
_SCALES = frozenset({"mul", "div", "neg", "rsub", "add", "sub"})
_PICKS = frozenset({"unbind", "select", "getitem"})

Image = Callable[[int, float], float]
"""Covariance of two entries that the function behind a value makes of Gaussian entries of this correlation."""


@dataclass(kw_only=True)
class Together:
    """Covariances of entries at the same place of two tensors of one shape, as far as they were asked for.

    Attributes:
        frame: the sweep.
        image: see `Image`.
        known: covariances by pair of values.
    """

    frame: Frame
    image: Image
    known: dict[tuple[int, int], float] = field(default_factory=dict)

    def covariance(self, one: int, other: int, left: int = _DEEPEST) -> float:
        """E[x y] - E[x] E[y]; 0 where nothing is known to make the two alike."""
        a, b = sorted((self.frame.first(one), self.frame.first(other)))
        if (a, b) in self.known:
            return self.known[a, b]
        if left == 0 or len(self.known) > _MOST_PAIRS or not self._comparable(a, b):
            return 0.0
        found = self._moments(a).entry_var if a == b else self._of_different(b, a, left - 1)
        most = math.sqrt(self._moments(a).entry_var * self._moments(b).entry_var)
        self.known[a, b] = min(max(found, -most), most) if math.isfinite(found) else 0.0
        return self.known[a, b]

    def _comparable(self, a: int, b: int) -> bool:
        graph, signals = self.frame.graph, self.frame.signals
        data = all(signals[v].from_data and signals[v].moments is not None for v in (a, b))
        return data and graph.value(a).shape == graph.value(b).shape

    def _moments(self, value: int) -> JointMoments:
        return self.frame.signals[value].known

    def _of_different(self, late: int, early: int, left: int) -> float:
        """Of two values, the later one first: sums and multiples are taken apart, then like is compared with like."""
        for one, other in ((late, early), (early, late)):
            terms = self._terms(one)
            if terms is not None:
                return sum(w * self.covariance(v, other, left) for v, w in terms if w)
        ops = [self.frame.graph.producer(v) for v in (late, early)]
        if ops[0] is None or ops[1] is None:
            return 0.0
        factors = [self._factors(op) for op in ops if op is not None]
        if factors[0] or factors[1]:
            return self._of_products(late, early, factors, left)
        return self._of_likes(late, early, ops[0], ops[1], left)

    # ------------------------------------------------------------------ sums and products
    def _terms(self, value: int) -> list[tuple[int, float]] | None:
        """The tensors that a value is a weighted sum of, numbers left out; None where it is none."""
        op = self.frame.graph.producer(value)
        if op is None or op.name not in _SCALES or op.kwargs.keys() - {"alpha", "other", "input"}:
            return None
        weights = {"add": (1.0, 1.0), "sub": (1.0, -1.0), "rsub": (-1.0, 1.0), "neg": (-1.0,)}.get(op.name)
        parts = (op.arg(0), op.arg(1, "other"))[: 1 if op.name == "neg" else 2]
        if weights is not None:
            return [(p.index, w) for p, w in zip(parts, weights, strict=True) if self._varies(p)]
        return self._multiple(op.name, *parts)

    def _multiple(self, name: str, left: object, right: object) -> list[tuple[int, float]] | None:
        number = self._number(right)
        if isinstance(left, Ref) and number is not None:
            return [(left.index, number if name == "mul" else 1.0 / number)] if number else []
        number = self._number(left)
        if name == "mul" and isinstance(right, Ref) and number is not None:
            return [(right.index, number)]
        return None

    def _varies(self, template: object) -> bool:
        return isinstance(template, Ref) and self.frame.signals[template.index].constant is None

    def _number(self, template: object) -> float | None:
        if isinstance(template, bool | int | float):
            return float(template)
        return self.frame.signals[template.index].constant if isinstance(template, Ref) else None

    def _factors(self, op: Op) -> tuple[int, ...]:
        """The two tensors that an operation multiplies entry by entry."""
        parts = (op.arg(0), op.arg(1, "other")) if op.name == "mul" else ()
        values = tuple(p.index for p in parts if isinstance(p, Ref))
        return values if len(values) == 2 and all(self.frame.signals[v].moments is not None for v in values) else ()

    def _of_products(self, late: int, early: int, factors: Sequence[tuple[int, ...]], left: int) -> float:
        """Factors of one product are taken as independent of each other."""
        (one, other), value = (factors[0] or factors[1]), (early if factors[0] else late)
        if not (factors[0] and factors[1]):
            of_one, of_other = self.covariance(one, value, left), self.covariance(other, value, left)
            return self._moments(other).mean * of_one + self._moments(one).mean * of_other
        (a, b), (c, d) = factors
        straight = self._second(a, c, left) * self._second(b, d, left)
        crossed = self._second(a, d, left) * self._second(b, c, left)
        means = math.prod(self._moments(v).mean for v in (a, b, c, d))
        return straight + crossed - 2.0 * means

    def _second(self, a: int, b: int, left: int) -> float:
        return self.covariance(a, b, left) + self._moments(a).mean * self._moments(b).mean

    # ------------------------------------------------------------------ like with like
    def _of_likes(self, late: int, early: int, one: Op, other: Op, left: int) -> float:
        if one.name != other.name:
            return 0.0
        if one.name in MATRIX_PRODUCTS or one.name.startswith("conv"):
            return self._of_maps(late, early, one, other, left)
        if one.name in _PICKS and one.inputs[:1] == other.inputs[:1]:
            return self._of_picks(one, other)
        if one.name in _ALONG or one.name in _PICKS:
            slots = one.outputs.index(late) == other.outputs.index(early)
            return self._passed_on(late, early, one.inputs[0], other.inputs[0], left) if slots else 0.0
        sources = [self.frame.signals[v].region for v in (late, early)]
        if any(len(region) != 1 for region in sources):
            return 0.0
        (x,), (y,) = sources
        between = self._correlation(x, y, left)
        return 0.5 * (self.image(late, between) + self.image(early, between)) if between else 0.0

    def _correlation(self, x: int, y: int, left: int) -> float:
        most = math.sqrt(self._moments(x).entry_var * self._moments(y).entry_var)
        return self.covariance(x, y, left) / most if most > 0.0 else 0.0

    def _passed_on(self, late: int, early: int, x: int, y: int, left: int) -> float:
        """A view or a norm keeps the correlation."""
        size = math.sqrt(self._moments(late).entry_var * self._moments(early).entry_var)
        return size * self._correlation(x, y, left) if self._comparable(*sorted((x, y))) else 0.0

    def _of_maps(self, late: int, early: int, one: Op, other: Op, left: int) -> float:
        """One weight on two tensors: their cosine, times the size of what it makes of each; a shared bias is added."""
        data = [[v for v in op.inputs if self.frame.signals[v].from_data] for op in (one, other)]
        rest = [[v for v in op.inputs if not self.frame.signals[v].from_data] for op in (one, other)]
        if len(data[0]) != 1 or len(data[1]) != 1 or rest[0] != rest[1] or not rest[0]:
            return 0.0
        (x,), (y,) = data
        if not self._comparable(*sorted((x, y))):
            return 0.0
        sizes = [self._moments(v).second_moment for v in (x, y)]
        cosine = self._second(x, y, left) / math.sqrt(sizes[0] * sizes[1]) if min(sizes) > 0.0 else 0.0
        bias = sum(self.frame.moments_at(v).entry_var for v in rest[0] if len(self.frame.graph.value(v).shape) == 1)
        own = [max(self._moments(v).entry_var - bias, 0.0) for v in (late, early)]
        return cosine * math.sqrt(own[0] * own[1]) + bias

    def _of_picks(self, one: Op, other: Op) -> float:
        """Two places of one tensor along the dimension that they were picked from."""
        whole, shape = self._moments(one.inputs[0]), self.frame.graph.value(one.inputs[0]).shape
        dim = one.arg(1, "dim", 0) if one.name != "getitem" else 0
        picked = isinstance(dim, int) and len(self.frame.graph.value(one.outputs[0]).shape) == len(shape) - 1
        return whole.pair(int(dim)) - whole.mean**2 if picked and one.name != "getitem" else 0.0


def in_common(together: Together, weights: Mapping[int, float]) -> float:
    """Twice the covariances of the terms of a weighted sum."""
    values = list(weights)
    pairs = ((a, b) for i, a in enumerate(values) for b in values[:i])
    return 2.0 * sum(weights[a] * weights[b] * together.covariance(a, b) for a, b in pairs)
