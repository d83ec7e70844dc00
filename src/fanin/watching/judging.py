"""What the rules say of a run: the check of its first batch and its first steps, as one result."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from fanin.checking.header import header_of
from fanin.measure.record import LossRecord, Measurements
from fanin.measure.steps import Watched
from fanin.rules.base import Optimizer
from fanin.rules.config import Config
from fanin.rules.engine import judge_all, result_of
from fanin.rules.finding import Finding
from fanin.rules.result import CheckResult
from fanin.rules.table import RULES

if TYPE_CHECKING:
    import torch

__all__ = ["STEP_RULES", "because", "judged", "unchecked"]

STEP_RULES = tuple(rule.code for rule in RULES if rule.code.startswith("W"))


def judged(first: CheckResult, watched: Watched, config: Config, optimizer: Optimizer | None) -> CheckResult:
    """The result of the first batch with the measured steps, judged again by all rules.

    Where the first batch was not checked, the rules on steps alone run.
    """
    measured = replace(first.measurements, watched=watched)
    if not first.checked:
        config = replace(config, select=STEP_RULES)
    result = result_of(first.header, measured, [judge_all(measured, config, optimizer)], config)
    fixes = {f.fingerprint: f for f in (*first.findings, *first.consequences)}
    return replace(
        result,
        findings=tuple(_with_fix(f, fixes.get(f.fingerprint)) for f in result.findings),
        consequences=tuple(_with_fix(f, fixes.get(f.fingerprint)) for f in result.consequences),
        trial=first.trial,
    )


def _with_fix(finding: Finding, known: Finding | None) -> Finding:
    """The finding with the fix that was tried on a copy when the first batch was checked."""
    return finding if known is None else replace(finding, fix=known.fix)


def unchecked(model: torch.nn.Module, config: Config) -> CheckResult:
    """The result of a model whose first batch was not checked."""
    return CheckResult(
        header=header_of(model, _NOTHING, {}, range(0), ""), measurements=_NOTHING, fail_on=config.fail_on
    )


def because(plain: CheckResult, reason: str) -> CheckResult:
    """The same result, with the reason why there was no check."""
    missing = {"check of the first batch": reason}
    return replace(plain, measurements=replace(plain.measurements, missing=missing))


_NOTHING = Measurements(
    sites=(), parameters=(), inputs=(), loss=LossRecord(source="cotangent", value=float("nan")), training=True
)
