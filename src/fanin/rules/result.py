"""What a check gives: the data that every report draws from."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fanin.measure.record import Measurements
from fanin.rules.finding import SEVERITIES, Finding, NotRun, Severity
from fanin.text.jsonable import jsonable

__all__ = ["SCHEMA_VERSION", "CheckResult", "Header", "TriedStart"]

SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """What was checked, with what.

    `source_lines` maps a module path to (file, line) of the class that the module is an instance of, only where
    inspection gives it and the class is the user's (not torch's); the command line adds under "" the line that builds a
    model of a library's class. `seconds` holds "forward", "backward" and "total".
    `loss` and `optimizer` say which ones were used, and where the loss comes from; "" where there was none to name.
    `batch_hash` names the batch that training started with (`fanin.watching.first_batch.batch_hash`); "" elsewhere.
    """

    model_class: str
    num_parameters: int
    num_trainable: int
    num_modules: int
    batch: str
    dtype: str
    device: str
    training: bool
    seeds: tuple[int, ...]
    seconds: Mapping[str, float] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    source_lines: Mapping[str, tuple[str, int]] = field(default_factory=dict)
    target: str = ""
    batch_hash: str = ""
    loss: str = ""
    optimizer: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TriedStart:
    """What `fanin.init_` would change, tried on a copy of the model.

    Attributes:
        verdict: of the same rules after it, "" where it could not be tried.
        loss_before: the first loss of the model as it is.
        loss_after: that of the copy.
        gone: codes that the model has and the copy does not have.
        scaled: codes that another copy does not have, whose own weights were scaled by `fanin.calibrate`.
        found: codes of everything found on the copy, notes and consequences among it.
        reason: why it could not be tried, "" where it was.
    """

    verdict: str = ""
    loss_before: float = math.nan
    loss_after: float = math.nan
    gone: tuple[str, ...] = ()
    scaled: tuple[str, ...] = ()
    found: tuple[str, ...] = ()
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckResult:
    """Findings with everything they rest on.

    Attributes:
        findings: root causes, worst first (then in causal order).
        consequences: findings that follow from one of those (`because_of` says which).
        ignored: findings that select / ignore / per-module-ignores or a baseline left out.
        unused_ignores: ignore entries that matched nothing.
        not_run: rules that could not run, with the reason.
        checked: codes of the rules that ran.
        fail_on: the lowest severity that makes `ok` False.
        trial: what `fanin.init_` would change; None where nothing recommends it or it was not asked for.
    """

    header: Header
    measurements: Measurements
    findings: tuple[Finding, ...] = ()
    consequences: tuple[Finding, ...] = ()
    ignored: tuple[Finding, ...] = ()
    unused_ignores: tuple[str, ...] = ()
    not_run: tuple[NotRun, ...] = ()
    checked: tuple[str, ...] = ()
    fail_on: Severity = "warning"
    trial: TriedStart | None = None
    schema_version: int = SCHEMA_VERSION

    @property
    def failing(self) -> tuple[Finding, ...]:
        """Root causes at or above `fail_on`."""
        return tuple(f for f in self.findings if self._fails(f))

    @property
    def failing_consequences(self) -> tuple[Finding, ...]:
        """Findings that a root cause explains and that are at or above `fail_on`."""
        return tuple(f for f in self.consequences if self._fails(f))

    @property
    def ok(self) -> bool:
        """A rule ran, and neither a finding nor a consequence is at or above `fail_on`."""
        return bool(self.checked) and not self.failing and not self.failing_consequences

    def _fails(self, finding: Finding) -> bool:
        return SEVERITIES.index(finding.severity) >= SEVERITIES.index(self.fail_on)

    @property
    def verdict(self) -> str:
        """One sentence: healthy with what was checked, or how many findings of which severity.

        Where no rule ran there is nothing to be healthy about: the sentence says why.
        """
        if not self.checked:
            return f"nothing was checked: {self.not_run[0].reason if self.not_run else 'no rule is selected'}"
        ran = f"{len(self.checked)} check{'s' * (len(self.checked) != 1)}"
        ran += f", {len(self.not_run)} not run" if self.not_run else ""
        counts = [f"{n} {s}{'s' if n > 1 else ''}" for s in reversed(SEVERITIES) if (n := self._count(s))]
        if self.ok:
            return f"healthy: {ran}" + (f"; {', '.join(counts)}" if counts else "")
        return f"{', '.join(counts)} ({ran})"

    def _count(self, severity: Severity) -> int:
        return sum(f.severity == severity for f in self.findings)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values, with `ok` and `verdict`."""
        return {**jsonable(self), "ok": self.ok, "verdict": self.verdict}
