"""What multiplies what: plain numbers, other tensors, buffers as factors and as angles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from fanin.measure.calls import Call
from fanin.measure.origins import Origin
from fanin.model.operations import CONTRACTIONS

__all__ = ["Products"]

_ANGLES = frozenset(("sin", "cos", "polar"))
_ADDED_FIRST = frozenset(("addmm", "baddbmm", "addbmm", "addmv", "addcmul"))
_PRODUCTS = frozenset(("mul", "div", "addcmul", "lerp", "exp", "pow"))


@dataclass(slots=True)
class Products:
    """The products of a pass.

    Attributes:
        angles: buffers of which a sine or cosine is taken.
        factors: buffers that the signal is multiplied by, or contracted with.
        multiplied: sites whose output multiplies another tensor, or goes through exp.
    """

    angles: set[str] = field(default_factory=set)
    factors: set[str] = field(default_factory=set)
    multiplied: set[int] = field(default_factory=set)

    def note(self, call: Call, origins: Sequence[Origin], joined: Origin) -> Origin:
        """The joined origin, with the plain number that an operation multiplies it by."""
        if call.op in _ANGLES:
            self.angles |= joined.buffers
        if call.op not in _PRODUCTS and call.op not in CONTRACTIONS:
            return joined
        if joined.data:
            self.factors.update(*(o.buffers for o in _operands(call.op, origins) if not o.parameters))
        if call.op == "exp" or (call.op in _PRODUCTS and len(origins) > 1):
            self.multiplied.update(s for o in origins for s in o.sites if s >= 0)
        number = _plain_number(call) if len(origins) == 1 and len(joined.sites) <= 1 else None
        return replace(joined, factor=joined.factor * number) if number is not None else joined


def _operands(op: str, origins: Sequence[Origin]) -> Sequence[Origin]:
    """The two tensors that are multiplied: not what is added to their product (a bias, the first of addmm)."""
    return origins[1:3] if op in _ADDED_FIRST else origins[:2]


def _plain_number(call: Call) -> float | None:
    """The number that a product or quotient multiplies its one tensor by, None where there is none."""
    numbers = [float(a) for a in call.args[:2] if isinstance(a, int | float) and not isinstance(a, bool)]
    if call.op not in ("mul", "div") or not numbers or not numbers[0]:
        return None
    return numbers[0] if call.op == "mul" else 1.0 / numbers[0]
