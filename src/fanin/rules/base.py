"""What a rule is."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from fanin.measure.record import Measurements
from fanin.rules.finding import Finding, Fix, NotRun, Severity
from fanin.rules.patterns import pattern_of

__all__ = ["Context", "Optimizer", "Rule"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Optimizer:
    """What rules need to know of the optimizer that will train the model.

    Attributes:
        name: its class.
        lr: the largest learning rate of its groups.
        peak: the largest rate that a schedule leads to (`initial_lr` or `max_lr` of a group); None where none is named.
        eps: what it adds to the root of the second moment; None where it has none.
        adaptive: whether it divides a gradient by its own size (Adam and its like).
        decay: the largest rate of a group times its weight decay: the share of a weight that a step takes away, where
            the decay is no part of a gradient that is divided by its size.
    """

    name: str
    lr: float
    peak: float | None = None
    eps: float | None = None
    adaptive: bool = False
    decay: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What a rule may look at.

    Attributes:
        measurements: everything that was measured.
        thresholds: code -> name -> value, for those that a user changed.
        optimizer: what will train the model; None where the caller did not say.
    """

    measurements: Measurements
    thresholds: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    optimizer: Optimizer | None = None


class Rule(ABC):
    """One fault: what is measured, where the limit lies and why, what to do.

    The docstring is the rule's page, with the headings "What it does", "Why", "What is measured", "Example", "Fix",
    "References".

    `needs_samples` is the smallest batch that it can judge.
    """

    code: ClassVar[str]
    name: ClassVar[str]
    thresholds: ClassVar[Mapping[str, float]] = {}
    source: ClassVar[str] = ""
    needs_samples: ClassVar[int] = 1

    def not_run(self, context: Context) -> NotRun | None:
        """Why the rule does not run here; None where it does. A batch that is too small comes before other reasons."""
        size = context.measurements.batch_size
        if size is not None and size < self.needs_samples:
            words = f"a batch of {size} is too small: it compares samples, so give {self.needs_samples} or more"
            return NotRun(code=self.code, name=self.name, reason=words, needs_samples=self.needs_samples)
        reason = self.cannot_run(context)
        return None if reason is None else NotRun(code=self.code, name=self.name, reason=reason)

    def cannot_run(self, context: Context) -> str | None:
        """Why the rule has nothing to go by here; None where it can run."""
        return None

    @abstractmethod
    def check(self, context: Context) -> Iterable[Finding]:
        """What the rule has to say."""

    def beside(self, finding: Finding, others: Mapping[str, Severity]) -> Finding | None:
        """A finding of this rule as it is reported, given all that was found; None where it is left out.

        Args:
            finding: one of this rule.
            others: code -> its worst severity, of everything found.
        """
        return finding

    def limit(self, context: Context, name: str) -> float:
        """A threshold: the user's, or the rule's own."""
        return float(context.thresholds.get(self.code, {}).get(name, self.thresholds[name]))

    def finding(self, severity: Severity, paths: Iterable[str], message: str, fix: Fix, **details: Any) -> Finding:
        """A finding of this rule."""
        named = tuple(paths)
        return Finding(
            code=self.code,
            name=self.name,
            severity=severity,
            paths=named,
            pattern=pattern_of(named),
            message=message,
            fix=fix,
            source=self.source,
            **details,
        )

    @classmethod
    def page(cls) -> str:
        """The docstring, dedented."""
        return inspect.cleandoc(cls.__doc__ or "")
