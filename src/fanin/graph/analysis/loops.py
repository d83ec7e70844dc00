"""Recurrent cells written out step by step: what is known of each, as data.

The gates have one letter each, read off what a gate does to the carried state: "f" multiplies the old state, "e"
multiplies it by its complement, "z" mixes old and new state (the old one by the gate, the new one by its complement),
"u" likewise with both exchanged, "i" multiplies what is added, "o" multiplies what is read out, "r" multiplies what
the candidate reads. The candidate is "g" beside an "f" or "i", "n" beside a "z" or "u", and "h" where no gate is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

__all__ = ["Cell", "CellBias", "CellMap", "Loops", "Run"]


@dataclass(frozen=True, slots=True)
class Run:
    """Units of one kind: its letter or word, the first one, their number, and their distance (1: neighbours)."""

    tag: str
    start: int
    size: int
    step: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class CellMap:
    """One weight of a cell.

    Attributes:
        leaf: the parameter's leaf.
        reads: "state", or "input" for a map that reads no state.
        gates: the gates along its output units, in order, side by side or in turn (unit by unit); empty where they lie
            in another order.
        columns: along its input units, which are read from the "state" and which from the "input"; empty where all
            are of one kind.
    """

    leaf: int
    reads: Literal["state", "input"]
    gates: tuple[Run, ...] = ()
    columns: tuple[Run, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CellBias:
    """One vector that is added to pre-activations of a cell.

    Attributes:
        leaf: the parameter's leaf.
        gates: the gates along its units.
        sets_gates: whether it is the one that says where the gates start; the other biases of a cell start at zero.
        added: by gate letter, what the model adds to the pre-activation itself (the 1 of ``sigmoid(f + 1)``).
        owner: value of the weight beside it; None where several maps are summed first.
    """

    leaf: int
    gates: tuple[Run, ...] = ()
    sets_gates: bool = False
    added: Mapping[str, float] = field(default_factory=dict)
    owner: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """A recurrent cell: its weights and biases, by leaf, and for how many steps it runs."""

    number: int
    steps: int
    maps: Mapping[int, CellMap]
    biases: Mapping[int, CellBias]


@dataclass(frozen=True)
class Loops:
    """All cells of a graph.

    Attributes:
        cells: in the order of their first operations.
        states: values that a cell makes of its pre-activations, with no other map in between.
        inside: outputs of additions that belong to the step of a cell, so they close no residual branch.
    """

    cells: tuple[Cell, ...] = ()
    states: frozenset[int] = frozenset()
    inside: frozenset[int] = frozenset()

    @cached_property
    def maps(self) -> Mapping[int, tuple[Cell, CellMap]]:
        """Leaf of a weight -> its cell, and what it is there."""
        return {leaf: (cell, m) for cell in self.cells for leaf, m in cell.maps.items()}

    @cached_property
    def biases(self) -> Mapping[int, tuple[Cell, CellBias]]:
        """Leaf of a bias -> its cell, and what it is there."""
        return {leaf: (cell, b) for cell in self.cells for leaf, b in cell.biases.items()}
