"""Try the recommended start on a copy of the model, and say which findings it cures."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import TYPE_CHECKING

from fanin.errors import FaninError
from fanin.rules.base import Optimizer
from fanin.rules.config import Config
from fanin.rules.engine import judge_all, result_of
from fanin.rules.finding import Finding
from fanin.rules.result import CheckResult, TriedStart

if TYPE_CHECKING:
    from fanin.measure.task import MeasureTask

__all__ = ["with_trial"]


def with_trial(
    result: CheckResult, task: MeasureTask, *, config: Config, optimizer: Optimizer | None, wanted: bool = True
) -> CheckResult:
    """The result with what `fanin.init_` would change, where a finding that fails recommends another start.

    A copy of the model is initialised with the recipe "auto" and checked by the same rules; the model itself is not
    touched. Every fix that recommends values says whether its finding was gone, or that it was not tried.
    """
    found = (*result.findings, *result.consequences)
    advised = any(f.fix.recommends_start and f.severity != "note" for f in found)
    trial, told = _tried(result, task, config, optimizer) if wanted and advised and not result.ok else (None, "")
    findings = tuple(_with_proof(f, trial) for f in result.findings)
    consequences = tuple(_with_proof(f, trial) for f in result.consequences)
    measurements = result.measurements
    if told and not measurements.missing.get("untouched"):
        measurements = replace(measurements, missing={**measurements.missing, "untouched": told})
    return replace(result, trial=trial, findings=findings, consequences=consequences, measurements=measurements)


def _tried(
    result: CheckResult, task: MeasureTask, config: Config, optimizer: Optimizer | None
) -> tuple[TriedStart, str]:
    """The start of the copy, and what its forward changed for good, in words."""
    from fanin.measure.run import measure
    from fanin.measure.seen import seen_before
    from fanin.model.eager import eager_module
    from fanin.planning.initialise import init_

    try:
        twin = copy.deepcopy(eager_module(task.model))
        init_(twin, task.inputs, seed=task.seed, trial=False)
        seen = seen_before(result.measurements.parameters)
        measured, _ = measure(replace(task, model=twin, predict=False, seen=seen))
    except FaninError as error:
        return TriedStart(reason=_first_line(error)), ""
    except Exception as error:  # a model that cannot be copied, or that raises with other weights
        return TriedStart(reason=f"{type(error).__name__}: {_first_line(error)}"), ""
    after = result_of(result.header, measured, [judge_all(measured, config, optimizer)], config)
    there = (*after.findings, *after.consequences)
    before = {f.code for f in (*result.findings, *result.consequences)}
    start = TriedStart(
        verdict=after.verdict,
        loss_before=result.measurements.loss.value,
        loss_after=measured.loss.value,
        gone=tuple(sorted(before - {f.code for f in there})),
        found=tuple(sorted({f.code for f in there if f.severity != "note"})),
    )
    return start, measured.missing.get("untouched", "")


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def _with_proof(finding: Finding, trial: TriedStart | None) -> Finding:
    if finding.fix.recommends_edit:
        proof = "unproven: not tried"
    elif finding.fix.recommends_start:
        proof = _proof(finding, trial)
    else:
        return finding
    return replace(finding, fix=replace(finding.fix, text=f"{finding.fix.text} ({proof})"))


def _proof(finding: Finding, trial: TriedStart | None) -> str:
    if trial is None:
        return "not tried"
    if trial.reason:
        return f"unproven: the trial on a copy ended with: {trial.reason}"
    if finding.code in trial.gone:
        return "fanin.init_ was tried on a copy: this finding is gone"
    return "unproven: after fanin.init_ on a copy this finding is still there"
