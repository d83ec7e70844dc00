"""A signal as the terms that it is a sum of, and what stays of them behind a known factor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from fanin.graph.ir import Op, Ref
from fanin.moments.forward.elementwise import region_of
from fanin.moments.frame import Frame
from fanin.moments.signal import Atom, AtomKey, Reduced, Signal

__all__ = ["as_atoms", "passed_on"]


def as_atoms(frame: Frame, template: Any) -> Mapping[AtomKey, Atom]:
    """A summand as terms."""
    signal = frame.signal(template)
    if signal.atoms:
        return signal.atoms
    moments = frame.moments(template)
    key = template.index if isinstance(template, Ref) else -1
    return {(key, frozenset()): Atom(1.0, moments)}


def passed_on(frame: Frame, op: Op, value: int, factor: float = 1.0) -> Signal:
    """Signal of a tensor that is handed on, or multiplied by a known number: still the same terms."""
    s = frame.signals[value]
    atoms = _scaled(as_atoms(frame, Ref(value)), factor)
    made = frame.made(op, frame.moments(Ref(value)).scaled(factor), leaf=False)
    shape = frame.graph.value(op.output).shape
    return replace(
        made,
        moments=made.known.expanded(shape),
        atoms=atoms,
        reduced=s.reduced and Reduced(s.reduced.shape, _scaled(s.reduced.atoms, factor)),
        region=region_of(frame, value),
        depth=s.depth + 1,
        positive=s.positive and factor > 0.0,
    )


def _scaled(atoms: Mapping[AtomKey, Atom], factor: float) -> dict[AtomKey, Atom]:
    return {k: Atom(a.factor * factor, a.moments) for k, a in atoms.items()}
