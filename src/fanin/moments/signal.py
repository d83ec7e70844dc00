"""One tensor on its way through the graph: its moments, where they come from, and what it shares with other tensors."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, TypeAlias

from fanin.moments.laws import Law
from fanin.moments.members import Members, members
from fanin.moments.moments import JointMoments

__all__ = ["Atom", "AtomKey", "Provenance", "Reduced", "Signal", "worst"]

Provenance: TypeAlias = Literal["theory", "empirical", "unknown"]
_RANK: Mapping[Provenance, int] = {"theory": 0, "empirical": 1, "unknown": 2}

AtomKey: TypeAlias = "tuple[int, frozenset[int]]"
"""Value index of a tensor, and the dimensions (counted from the end) over which its mean is meant.

None: the tensor itself.
"""


@dataclass(frozen=True, slots=True)
class Atom:
    """One term of a sum: a tensor, and the number it is multiplied by."""

    factor: float
    moments: JointMoments


@dataclass(frozen=True, slots=True)
class Reduced:
    """What a reduction without its dimensions becomes again when a view puts them back.

    Attributes:
        shape: with the reduced dimensions, of size 1.
        atoms: its terms in that shape.
    """

    shape: tuple[int, ...]
    atoms: Mapping[AtomKey, Atom]


@dataclass(frozen=True, kw_only=True)
class Signal:
    """A tensor of the sweep.

    Attributes:
        moments: None where nothing is known.
        provenance: "theory" (rules only), "empirical" (something before it was sampled) or "unknown".
        numbers: the tensor itself, where it is known (constants, integer inputs, live parameters and what follows
            from them alone).
        leaf: it is taken as a Gaussian field when what follows it is sampled; otherwise the op that made it is run
            again.
        region: the values it is an elementwise function of; empty: it is a source of its own.
        deep: the same with sums (of few terms) taken apart; empty: it is a source of its own.
        law: of an entry, where it is known not to be Gaussian.
        positive: no entry is below zero; taken as log-normal where it enters a function together with its mean.
        depth: elementwise ops between it and those values.
        atoms: the tensor as a sum of others that are uncorrelated with each other; empty: it is a source of its own.
        reduced: of a mean or sum whose dimensions were dropped.
        shared: the values whose fluctuations it inherits without a fresh weight in between (through a mean, a norm,
            a function).
        weight_only: it depends on parameters alone.
        from_data: it depends on the model's inputs.
        isometric: a weight that stretches all vectors alike (an orthogonal matrix).
        drawn: it is made of random numbers, of which the numbers here are one draw.
    """

    moments: JointMoments | None
    provenance: Provenance = "theory"
    numbers: Any = None
    leaf: bool = True
    region: tuple[int, ...] = ()
    deep: tuple[int, ...] = ()
    law: Law | None = None
    positive: bool = False
    depth: int = 0
    atoms: Mapping[AtomKey, Atom] = field(default_factory=dict)
    reduced: Reduced | None = None
    shared: Members = 0
    weight_only: bool = False
    from_data: bool = True
    isometric: bool = False
    drawn: bool = False

    @cached_property
    def constant(self) -> float | None:
        """The number that all entries are, if they are one known number."""
        m = self.moments
        if m is None or not m.kernel.size:
            return None
        spread = float(abs(m.kernel - m.mean * m.mean).max())
        return m.mean if spread <= 1e-12 * m.mean * m.mean else None

    @cached_property
    def terms(self) -> Members:
        """The tensors that it is a sum of; empty: it is a source of its own."""
        return members(value for value, _ in self.atoms)

    @property
    def is_masked(self) -> bool:
        """Whether some entries are infinite, as scores behind a mask are."""
        return self.moments is not None and math.isinf(self.moments.mean)

    @property
    def is_lost(self) -> bool:
        """Whether its mean is no number."""
        return self.moments is not None and math.isnan(self.moments.mean)

    @property
    def known(self) -> JointMoments:
        """The moments, of a signal whose moments are known."""
        if self.moments is None:
            raise LookupError("the moments of this signal are unknown")
        return self.moments


def worst(*kinds: Provenance) -> Provenance:
    """The least certain of several provenances.

    Example:
        >>> worst("theory", "unknown", "empirical")
        'unknown'
    """
    return max(kinds, key=_RANK.__getitem__, default="theory")
