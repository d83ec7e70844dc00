"""What first reads each of the model's inputs: weights and norms, or functions that take no scale from it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from fanin.measure.kinds import BOUNDED
from fanin.model.operations import COMPARISONS, LOOKUPS, SOFTMAX

__all__ = ["Entries"]

# What they give has a size of its own: an angle, a time step or a noise level may have any size before them.
_LIMITS = (
    frozenset(("sin", "cos", "polar", "log", "log2", "log10", "log1p", "logsigmoid", "sign", "sgn", "one_hot"))
    | frozenset(BOUNDED)
    | frozenset(("atan", "atan2", "argmax", "argmin", "argsort", "bucketize", "searchsorted", "embedding_bag"))
    | COMPARISONS
    | LOOKUPS
    | SOFTMAX
)


@dataclass(slots=True)
class Entries:
    """What reads the inputs of a pass, by the name of the input.

    Attributes:
        readers: sites (weights and norms) that read it with its scale; -1 for the end of the pass.
        limited: names of inputs whose sine, logarithm, rows of a table or the like is taken.
    """

    readers: dict[str, set[int]] = field(default_factory=dict)
    limited: set[str] = field(default_factory=set)

    def passed_on(self, op: str, names: frozenset[str]) -> frozenset[str]:
        """The inputs whose scale goes on through this operation."""
        if op not in _LIMITS:
            return names
        self.limited |= names
        return frozenset()

    def read(self, names: Iterable[str], site: int) -> None:
        """A site reads these inputs."""
        for name in names:
            self.readers.setdefault(name, set()).add(site)

    def without_scale(self, name: str) -> bool:
        """Only functions that take no scale from it read this input."""
        return name in self.limited and name not in self.readers
