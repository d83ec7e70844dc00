"""A finding: one thing a rule has to say, with the number it rests on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from fanin.text.html import html_table
from fanin.text.jsonable import jsonable
from fanin.text.names import clean
from fanin.text.numbers import big
from fanin.text.paths import group_paths

__all__ = ["SEVERITIES", "Confidence", "Finding", "Fix", "NotRun", "PlannedStart", "Severity", "fingerprint"]

Severity = Literal["error", "warning", "note"]
Confidence = Literal["high", "medium", "low"]
SEVERITIES: tuple[Severity, ...] = ("note", "warning", "error")


def fingerprint(code: str, pattern: str, paths: Sequence[str]) -> str:
    """What a baseline remembers of a finding: code and place, which stay the same while numbers change.

    Example:
        >>> fingerprint("S201", "layers.*.fc1", ["layers.0.fc1"]), fingerprint("S201", "", ["fc1"])
        ('S201:layers.*.fc1', 'S201:fc1')
    """
    return f"{code}:{pattern or (paths[0] if paths else '')}"


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedStart:
    """How `fanin.plan` starts a parameter that a finding is about.

    Attributes:
        name: qualified name of the parameter.
        law: the initializer in words ("Normal").
        std: standard deviation of the law; None where it is not known.
    """

    name: str
    law: str
    std: float | None = None

    @property
    def words(self) -> str:
        """The law with its std, for a sentence."""
        return self.law + (f", std {big(self.std)}" if self.std else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fix:
    """What to do, in words and as one line (or a few) of code.

    Attributes:
        text: one sentence.
        code: the same as code, "" where there is none.
        recommends_start: it recommends other initial values (a scale, a law, `fanin.init_`), which can be tried.
        recommends_scale: the fault is how large weights are, which `fanin.calibrate` changes without a new draw; tried
            too.
        recommends_edit: it recommends values for single rows or biases that `fanin.init_` does not set: not tried.
        starts: how `fanin.plan` starts the parameters that the finding names; the only numbers that a recommended start
            has, so the two cannot differ. Empty where no plan was made.
    """

    text: str
    code: str = ""
    recommends_start: bool = False
    recommends_scale: bool = False
    recommends_edit: bool = False
    starts: tuple[PlannedStart, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What is wrong, where, how much, and why.

    Attributes:
        code: "S201".
        name: "forward-vanishing"; accepted wherever the code is.
        severity: "error" (training will fail or is wrong), "warning" (likely trouble), "note" (context).
        paths: qualified names of the modules or parameters, worst first.
        pattern: the paths as one glob where they share one ("layers.*.fc1"), else the first path.
        value: the measured number; None where the fault is a fact, not a number.
        threshold: the limit it crossed.
        unit: of value and threshold ("x per 20 layers", "share of units", ...).
        message: one or two sentences.
        because_of: codes of the findings that cause this one; such a finding is a consequence and is listed apart.
        seeds: (j, k): it was found in j of k seeds.
        confidence: how sure the rule is that this is a fault rather than a choice.
        evidence: numbers to draw: e.g. {"sites": [3, 5, 8], "values": [...], "expected": [...]}; JSON values only.
        source: author, year and arXiv id the rule rests on.
    """

    code: str
    name: str
    severity: Severity
    paths: tuple[str, ...]
    message: str
    fix: Fix
    value: float | None = None
    threshold: float | None = None
    unit: str = ""
    pattern: str = ""
    because_of: tuple[str, ...] = ()
    seeds: tuple[int, int] = (1, 1)
    confidence: Confidence = "high"
    evidence: Mapping[str, Any] = field(default_factory=dict)
    source: str = ""

    def __repr__(self) -> str:
        where = ", ".join(clean(group.pattern) or "the model" for group in group_paths(self.paths[:1000]))
        return f"<Finding {self.code} {self.name} ({self.severity}) at {where or 'the model'}>"

    def _repr_html_(self) -> str:
        rows = [("found", self.message), ("fix", self.fix.text), ("code", self.fix.code), ("source", self.source)]
        return html_table(repr(self)[1:-1], ("", ""), [row for row in rows if row[1]])

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return dict(jsonable(self))

    @property
    def fingerprint(self) -> str:
        """What a baseline remembers; see `fingerprint`."""
        return fingerprint(self.code, self.pattern, self.paths)


@dataclass(frozen=True, slots=True, kw_only=True)
class NotRun:
    """A rule that could not run, and why.

    Attributes:
        code: of the rule.
        name: of the rule.
        reason: one sentence.
        needs_samples: the batch that it needs, where the batch was too small; 0 otherwise.
    """

    code: str
    name: str
    reason: str
    needs_samples: int = 0
