"""P505: different parameters that hold the same random values."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import ClassVar

from fanin.measure.record import Measurements, ParameterRecord
from fanin.rules.base import Context, Rule
from fanin.rules.finding import Finding, Fix, Severity
from fanin.rules.shared.gains import INIT

__all__ = ["ClonedWeights"]

_Pair = tuple[ParameterRecord, ParameterRecord]


class ClonedWeights(Rule):
    """Different parameters that hold the same random values.

    What it does:
        Looks for weight matrices of equal shape that are equal element by element and are not tied.

    Why:
        A layer that was built once and deep-copied (torch.nn.TransformerEncoder does so) starts as copies of one draw.
        Training tells stacked copies apart, so they are no fault; parallel copies with equal gradients (experts,
        heads) stay equal. A head that equals the embedding table and is not tied to it was tied once: the two will
        differ after the first step.

    What is measured:
        Weights that equal an earlier one. A note; a warning where their gradients are equal as well, and where one is a
        lookup table and the other a map.

    Example:
        >>> import torch, fanin
        >>> from torch import nn
        >>> import copy
        >>> first = nn.Linear(32, 32)
        >>> model = nn.Sequential(first, nn.Tanh(), copy.deepcopy(first), nn.Tanh(), nn.Linear(32, 10))
        >>> x, y = torch.randn(64, 32), torch.randint(0, 10, (64,))
        >>> [f.name for f in fanin.check(model, x, targets=y).findings]
        ['cloned-weights']

    Fix:
        Initialise the copies again: module.apply(reset), or fanin.init_; tie what is meant to be tied.

    References:
        torch.nn.TransformerEncoder documentation, warning on identical initialization.
    """

    code: ClassVar[str] = "P505"
    name: ClassVar[str] = "cloned-weights"
    thresholds: ClassVar[dict[str, float]] = {}
    source: ClassVar[str] = "torch.nn.TransformerEncoder documentation"

    def check(self, context: Context) -> Iterator[Finding]:
        """At most one finding about lost ties, one about copies that stay equal, one about other copies."""
        by_path = {p.path: p for p in context.measurements.parameters}
        copies = [(p, by_path[p.same_as]) for p in by_path.values() if p.same_as and len(p.shape) >= 2]
        ties = [pair for pair in copies if _is_lost_tie(context.measurements, *pair)]
        equal = [pair for pair in copies if pair not in ties and _stay_equal(*pair)]
        rest = [pair for pair in copies if pair not in ties and pair not in equal]
        if ties:
            yield self._lost(ties)
        if equal:
            yield self._copies("warning", equal, "; their gradients are equal as well, so they stay copies")
        if rest:
            yield self._copies("note", rest, "")

    def _copies(self, severity: Severity, copies: list[_Pair], more: str) -> Finding:
        return self.finding(
            severity,
            [p.path for p, _ in copies],
            f"{len(copies)} weight{'s are copies' if len(copies) > 1 else ' is a copy'} of another, first "
            f"{copies[0][0].path} of {copies[0][1].path}{more}.",
            Fix(text="draw the copies again", code=INIT, recommends_start=True),
            value=float(len(copies)),
            unit="weights",
        )

    def _lost(self, ties: list[_Pair]) -> Finding:
        head, table = ties[0]
        return self.finding(
            "warning",
            [p.path for pair in ties for p in pair],
            f"{head.path} equals {table.path} and is not tied to it: a lost tie? After the first step they differ.",
            Fix(
                text="tie them again, or draw one of them anew",
                code=f"model.{head.path} = model.{table.path}",
                recommends_edit=True,
            ),
            value=float(len(ties)),
            unit="weights",
        )


def _is_lost_tie(measurements: Measurements, one: ParameterRecord, other: ParameterRecord) -> bool:
    """One is read as a lookup table, the other as a map."""
    ops = {s.index: s.op for s in measurements.sites}
    readers = [p.reader for p in (one, other)]
    if any(r is None for r in readers):
        return False
    lookups = [ops[r] in ("embedding", "embedding_bag") for r in readers if r is not None]
    return any(lookups) and not all(lookups)


def _stay_equal(one: ParameterRecord, other: ParameterRecord) -> bool:
    """Both have the same non-zero gradient."""
    a, b = one.gradient, other.gradient
    if a is None or b is None or a.rms == 0 or one.state != "nonzero":
        return False
    return all(math.isclose(x, y, rel_tol=1e-5) for x, y in ((a.rms, b.rms), (a.min, b.min), (a.max, b.max)))
