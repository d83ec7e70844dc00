"""What is multiplied by what and added to what: plain numbers, other tensors, buffers, parameters."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch

from fanin.measure.calls import Call
from fanin.measure.origins import Origin
from fanin.model.operations import CONTRACTIONS

__all__ = ["Products"]

_ANGLES = frozenset(("sin", "cos", "polar"))
_ADDED_FIRST = frozenset(("addmm", "baddbmm", "addbmm", "addmv", "addcmul"))
_PRODUCTS = frozenset(("mul", "div", "addcmul", "lerp", "exp", "pow"))


@dataclass(slots=True)
class Products:
    """The products of a pass, and the parameters that are added to a signal.

    Attributes:
        angles: buffers of which a sine or cosine is taken.
        factors: buffers that the signal is multiplied by, or contracted with.
        multiplied: sites whose output multiplies another tensor, or goes through exp.
        added_to: for each parameter or buffer that is added, or set beside, as it is, the sites whose outputs it joins.
        scales: for each parameter of one number (a temperature) the number that the signal is multiplied by.
    """

    angles: set[str] = field(default_factory=set)
    factors: set[str] = field(default_factory=set)
    multiplied: set[int] = field(default_factory=set)
    added_to: dict[str, set[int]] = field(default_factory=dict)
    scales: dict[str, float] = field(default_factory=dict)

    def note(self, call: Call, origins: Sequence[Origin], joined: Origin) -> Origin:
        """The joined origin, with the plain number that an operation multiplies it by."""
        if call.op in _ANGLES:
            self.angles |= joined.buffers
        if call.op in ("add", "cat"):
            self._note_sum(origins)
        if call.op not in _PRODUCTS and call.op not in CONTRACTIONS:
            return joined
        if call.op in ("mul", "div") and joined.parameters and joined.data:
            self._note_scale(call, origins)
        if joined.data:
            self.factors.update(*(o.buffers for o in _operands(call.op, origins) if not o.parameters))
        if call.op == "exp" or (call.op in _PRODUCTS and len(origins) > 1):
            self.multiplied.update(s for o in origins for s in o.sites if s >= 0)
        number = _plain_number(call) if len(origins) == 1 and len(joined.sites) <= 1 and not joined.bent else None
        return replace(joined, factor=joined.factor * number) if number is not None else joined

    def _note_scale(self, call: Call, origins: Sequence[Origin]) -> None:
        """A product of the signal with a single number that is made of one parameter."""
        tensors = [a for a in call.args[:2] if isinstance(a, torch.Tensor)]
        for tensor, origin in zip(tensors, origins, strict=False):
            if not origin.data and len(origin.parameters) == 1 and tensor.numel() == 1:
                number = float(tensor.detach().abs())  # of a complex one its modulus
                self.scales[next(iter(origin.parameters))] = number if call.op == "mul" else 1.0 / (number or math.inf)

    def _note_sum(self, origins: Sequence[Origin]) -> None:
        """A sum (or a concatenation) of a parameter or a buffer, alone or through views, with the outputs of sites."""
        masks = any(o.scores for o in origins)  # a buffer that is added to attention logits hides places
        fixed = [o.parameters if masks else o.parameters | o.buffers for o in origins if not o.data]
        names = [name for known in fixed if len(known) == 1 for name in known]
        sites = {s for o in origins if o.data for s in o.sites if s >= 0}
        if len(names) == 1 and sites:
            self.added_to.setdefault(names[0], set()).update(sites)


def _operands(op: str, origins: Sequence[Origin]) -> Sequence[Origin]:
    """The two tensors that are multiplied: not what is added to their product (a bias, the first of addmm)."""
    return origins[1:3] if op in _ADDED_FIRST else origins[:2]


def _plain_number(call: Call) -> float | None:
    """The number that a product or quotient multiplies its one tensor by, None where there is none."""
    numbers = [float(a) for a in call.args[:2] if isinstance(a, int | float) and not isinstance(a, bool)]
    if call.op not in ("mul", "div") or not numbers or not numbers[0]:
        return None
    return numbers[0] if call.op == "mul" else 1.0 / numbers[0]
