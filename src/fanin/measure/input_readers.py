"""What first reads each of the model's inputs, and what it reads: an input may be divided before a weight meets it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

import torch

from fanin.measure.kinds import BOUNDED, SITE_NORMS
from fanin.measure.origins import Origin
from fanin.measure.quantities.moments import pack, unpack
from fanin.measure.record import TensorStats
from fanin.measure.sampling import is_signal
from fanin.model.operations import COMPARISONS, CONTRACTIONS, LOOKUPS, SOFTMAX

__all__ = ["InputReaders"]

# What they give has a size of its own: an angle, a time step or a noise level may have any size before them. Not
# log_sigmoid, which is x itself far below zero.
_LIMITS = (
    frozenset(("sin", "cos", "polar", "log", "log2", "log10", "log1p", "sign", "sgn", "one_hot"))
    | frozenset(BOUNDED)
    | frozenset(("atan", "atan2", "argmax", "argmin", "argsort", "bucketize", "searchsorted", "embedding_bag"))
    | COMPARISONS
    | LOOKUPS
    | SOFTMAX
)

# What they make of several inputs holds each at its own size.
_BESIDE = frozenset(("add", "sub", "rsub", "cat", "stack", "hstack", "vstack", "column_stack", "where"))


@dataclass(slots=True)
class InputReaders:
    """What reads the inputs of a pass, by the name of the input.

    Attributes:
        readers: sites of weights that read it with its scale; -1 for the end of the pass.
        limited: names of inputs whose sine, logarithm, rows of a table or the like is taken.
        found: what the weights read of each input, and whether that is computed of inputs alone.
    """

    readers: dict[str, set[int]] = field(default_factory=dict)
    limited: set[str] = field(default_factory=set)
    found: dict[str, list[tuple[TensorStats, bool]]] = field(default_factory=dict)

    def passed_on(self, op: str, given: Sequence[torch.Tensor], origins: Sequence[Origin], joined: Origin) -> Origin:
        """The joined origin with the inputs whose scale goes on through this operation.

        In a sum or a concatenation of several inputs each keeps its own size; so does what a parameter multiplies or is
        added to, which is then read. A normalisation gives all one size.
        """
        if op in _LIMITS:
            self.limited |= joined.inputs
            return replace(joined, inputs=frozenset(), apart={})
        if op in SITE_NORMS:
            return replace(joined, apart={})
        parts = [(t, o) for t, o in zip(given, origins, strict=True) if o.inputs]
        beside = op in _BESIDE and len(joined.inputs) > 1 and len(parts) > 1
        if op in CONTRACTIONS or not (beside or joined.parameters):
            return joined
        apart = {name: part for t, o in parts for name, part in _parts(t, o).items()}
        return replace(joined, apart=apart)

    def read(self, given: Iterable[torch.Tensor], origins: Iterable[Origin], site: int) -> None:
        """A weighted operation reads these tensors."""
        for tensor, origin in zip(given, origins, strict=True):
            self.ended(origin.inputs, site)
            for name, part in _parts(tensor, origin).items():
                self.found.setdefault(name, []).append((part, all(s < 0 for s in origin.sites)))

    def ended(self, names: Iterable[str], site: int = -1) -> None:
        """The scale of these inputs ends at a site, or arrives at the end of the pass."""
        for name in names:
            self.readers.setdefault(name, set()).add(site)

    def without_scale(self, name: str) -> bool:
        """Only functions that take no scale from it read this input, before it may scale the outputs."""
        return name in self.limited and self.readers.get(name, set()) <= {-1}

    def as_read(self, name: str, given: TensorStats) -> TensorStats:
        """What the weights read of an input, farthest from unit scale; the input itself where that is not known.

        What other layers had a part in is taken for the input's only as far as the input itself is from unit scale.
        """
        found = [part if alone else min(part, given, key=_distance) for part, alone in self.found.get(name, ())]
        return max(found, key=_distance, default=given)


def _parts(tensor: torch.Tensor, origin: Origin) -> dict[str, TensorStats]:
    """Each input that reaches a tensor, as it is in it."""
    if not origin.inputs or not is_signal(tensor):
        return {}
    whole = None if origin.apart.keys() >= origin.inputs else unpack(pack(tensor))
    parts = {name: origin.apart.get(name, whole) for name in origin.inputs}
    return {name: part for name, part in parts.items() if part is not None}


def _distance(part: TensorStats) -> float:
    return abs(math.log(part.rms)) if part.rms > 0 else 0.0
