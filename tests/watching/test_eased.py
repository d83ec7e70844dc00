"""What is said of a start is a note once the first steps have shown that the run learns."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fanin.rules.finding import Finding, Fix
from fanin.rules.result import CheckResult
from fanin.watching.judging import eased
from tests.report.samples import empty
from tests.rules.watched_cases import written


def found(code, severity):
    return Finding(
        code=code,
        name=code,
        severity=severity,
        paths=("w",),
        pattern="w",
        message="Said.",
        fix=Fix(text="x"),
        source="",
    )


def severities(losses, *findings) -> list[str]:
    measured, _ = written(losses=losses, baseline=2.3)
    measured = replace(measured, loss=replace(measured.loss, own_value=losses[0]))
    result: CheckResult = replace(empty(), measurements=measured, findings=findings, consequences=())
    return sorted(f"{f.code} {f.severity}" for f in eased(result).findings)


@pytest.mark.parametrize(
    ("losses", "wanted"),
    [
        ((4.6, 0.5), ["L801 note", "O901 note", "P501 note", "W901 error"]),
        ((4.6, 1.9), ["L801 note", "O901 warning", "P501 error", "W901 error"]),
        ((4.6, 3.0), ["L801 error", "O901 warning", "P501 error", "W901 error"]),
        ((2.4, 2.2), ["L801 error", "O901 warning", "P501 error", "W901 error"]),
    ],
)
def test_a_loss_that_has_fallen_eases_what_is_said_of_the_start(losses, wanted):
    given = [found("L801", "error"), found("O901", "warning"), found("P501", "error"), found("W901", "error")]
    assert severities(losses, *given) == wanted


def test_an_error_on_the_step_stays_one():
    assert severities((4.6, 0.5), found("O901", "error")) == ["O901 error"]
