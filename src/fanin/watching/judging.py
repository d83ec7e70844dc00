"""What the rules say of a run: the check of its first batch and its first steps, as one result."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from fanin.checking.header import header_of
from fanin.checking.loss_words import loss_words
from fanin.measure.record import LossRecord, Measurements
from fanin.measure.steps import Watched
from fanin.rules.base import Context, Optimizer
from fanin.rules.config import Config
from fanin.rules.engine import judge_all, result_of
from fanin.rules.finding import SEVERITIES, Finding, Severity
from fanin.rules.result import CheckResult
from fanin.rules.shared.steps import constant_share, early, start_loss, trained_before
from fanin.rules.table import RULES

if TYPE_CHECKING:
    import torch

__all__ = ["STEP_RULES", "because", "eased", "judged", "unchecked"]

_OF_STARTS = frozenset(
    ("P502", "P503", "P506", "P508", "A301", "A302", "A303", "N602", "T701", "T702", "L801", "L803", "G404")
)
_OF_STARTS |= frozenset(f"S20{n}" for n in range(1, 7))
_OF_LOSSES = ("D104", "D105", "L801", "L802", "L803", "L804")  # a loop's own loss is read from its gradient
STEP_RULES = tuple(rule.code for rule in RULES if rule.code.startswith("W") or rule.code in _OF_LOSSES)


def judged(first: CheckResult, watched: Watched, config: Config, optimizer: Optimizer | None) -> CheckResult:
    """The result of the first batch with the measured steps, judged again by all rules.

    Where the first batch was not checked, the rules on steps alone run.
    """
    measured, header = replace(first.measurements, watched=watched), first.header
    if watched.loss is not None and not first.measurements.loss.op:
        header = replace(header, loss=loss_words(watched.loss, None))
    if not first.checked:
        config = replace(config, select=STEP_RULES)
    result = result_of(header, measured, [judge_all(measured, config, optimizer)], config)
    fixes = {f.fingerprint: f for f in (*first.findings, *first.consequences)}
    result = replace(
        result,
        findings=tuple(_with_fix(f, fixes.get(f.fingerprint)) for f in result.findings),
        consequences=tuple(_with_fix(f, fixes.get(f.fingerprint)) for f in result.consequences),
        trial=first.trial,
    )
    return eased(result)


def eased(result: CheckResult) -> CheckResult:
    """The result with what is said of a start as notes, where the weights were trained before, or have learned since.

    Trained weights are no start: sharp attention, silent units and a high first loss on new data are what training
    made of them. And where the loss has fallen far within the first steps, the start was no hindrance. What is said of
    values that are not finite, of gradients, data, loss and steps stays as it is.
    """
    why = _trained(result.measurements)
    if why:
        return _with_notes(result, _OF_STARTS, why)
    low, step = _fallen(result.measurements)
    if low < _LEARNED:
        result = _with_notes(result, _OF_STARTS | {"P501"}, f"the loss has fallen to {low:.2g} of its start by {step}")
        return _with_notes(result, frozenset(("O901",)), f"the loss has fallen to {low:.2g} of its start", "warning")
    if low < _UNDONE:
        return _with_notes(result, frozenset(("L801",)), "the loss has fallen below that of a constant prediction")
    return result


_LEARNED = 0.6  # of the first loss and of that of a constant prediction, whichever is smaller
_UNDONE = 0.9


def _fallen(measurements: Measurements) -> tuple[float, str]:
    """(the last loss within the first steps, a mean since the measured step before, over that of the start; words)."""
    watched = measurements.watched
    seen = [] if watched is None or watched.optimizers > 1 else [s for s in early(watched) if s.loss is not None]
    context = Context(measurements=measurements)
    first = None if watched is None else start_loss(watched)
    if watched is None or len(seen) < _SETTLED or first is None or first <= 0:
        return 1.0, ""
    least = first * min(1.0, constant_share(context) or 1.0)
    return (seen[-1].loss or 0.0) / least, f"step {seen[-1].step}"


_SETTLED = 10  # measured steps


def _trained(measurements: Measurements) -> str:
    if measurements.watched is not None and trained_before(Context(measurements=measurements)):
        return "the first loss is that of weights that were trained before"
    sizes = [(math.prod(p.shape), p.requires_grad) for p in measurements.parameters]
    frozen = sum(size for size, trains in sizes if not trains)
    return "most weights are frozen, so they count as trained" if 2 * frozen > sum(size for size, _ in sizes) else ""


def _with_notes(result: CheckResult, codes: frozenset[str], why: str, most: Severity = "error") -> CheckResult:
    """The result with the findings of these codes, up to a severity, as notes."""
    found, others = (_as_notes(part, codes, why, most) for part in (result.findings, result.consequences))
    return replace(result, findings=found, consequences=others)


def _as_notes(findings: tuple[Finding, ...], codes: frozenset[str], why: str, most: Severity) -> tuple[Finding, ...]:
    told = [
        replace(f, severity="note", message=f"{f.message} A note only: {why}.")
        if f.code in codes and SEVERITIES.index(f.severity) <= SEVERITIES.index(most)
        else f
        for f in findings
    ]
    return tuple(sorted(told, key=lambda f: SEVERITIES.index(f.severity), reverse=True))


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
