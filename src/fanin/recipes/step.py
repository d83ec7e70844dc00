"""One line of a derivation: a number, the formula that gave it, and its source."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from fanin.text.reading import read_fields

__all__ = ["EVIDENCE", "Step"]

EVIDENCE = "evidence"  # the quantity of a step that is a measurement behind the choice, and no part of the derivation


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One line of the derivation of a law.

    Attributes:
        quantity: what the number is, in the field's name ("fan_in", "E x^2", "std").
        value: the number (or a word, where the step is a choice).
        formula: how it follows from the lines above it, or where it was read ("axis 1 of the weight").
        source: paper or measurement behind the formula; empty where it is arithmetic.
        worked: the formula with its numbers, "1 / (128 × 0.5)"; empty where there is nothing to compute.
    """

    quantity: str
    value: float | int | str
    formula: str = ""
    source: str = ""
    worked: str = ""

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form without empty fields.

        Example:
            >>> Step(quantity="fan_in", value=784, formula="axis 1").to_dict()
            {'quantity': 'fan_in', 'value': 784, 'formula': 'axis 1'}
        """
        full = {f.name: getattr(self, f.name) for f in fields(self)}
        return {k: v for k, v in full.items() if v != ""}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Step:
        """Inverse of `to_dict`.

        Raises:
            ArgumentError: the data describes no step.
        """
        return cls(**read_fields(cls, data))

    def __str__(self) -> str:
        value = f"{self.value:.6g}" if isinstance(self.value, float) else str(self.value)
        formula = f"   {self.formula}" if self.formula else ""
        worked = f" = {self.worked}" if self.worked else ""
        return f"{self.quantity} = {value}{worked}{formula}" + (f"   [{self.source}]" if self.source else "")
