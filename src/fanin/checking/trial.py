"""Try the recommended start on a copy of the model, and say which findings it cures."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from fanin.errors import FaninError
from fanin.planning.rows import law_words
from fanin.rules.base import Optimizer
from fanin.rules.config import Config
from fanin.rules.engine import judge_all, result_of
from fanin.rules.finding import Finding, PlannedStart
from fanin.rules.result import CheckResult, TriedStart
from fanin.rules.shared.gains import CALIBRATE, INIT
from fanin.text.names import clean
from fanin.text.paths import group_paths

if TYPE_CHECKING:
    from fanin.measure.task import MeasureTask
    from fanin.planning.assignment import Assignment
    from fanin.planning.data import PlanData
    from fanin.planning.plan import Plan

__all__ = ["planned_starts", "with_trial"]

_SHOWN = 3  # rows in the sentence; `Fix.starts` has all
_BIASES = frozenset({"bias", "rnn_bias", "norm_shift"})


def with_trial(
    result: CheckResult, task: MeasureTask, *, config: Config, optimizer: Optimizer | None, wanted: bool = True
) -> CheckResult:
    """The result with what `fanin.init_` would change, where a finding that fails recommends another start.

    A copy of the model is initialised with the recipe "auto" and checked by the same rules; the model itself is not
    touched. Every fix that recommends values says whether its finding was gone, or that it was not tried. Where the
    fault is the size of weights, another copy keeps its weights and has them scaled by `fanin.calibrate`, which a fix
    names only where its finding was gone then.
    """
    found = (*result.findings, *result.consequences)
    advised = any(f.fix.recommends_start and f.severity != "note" for f in found)
    tried = _tried(result, task, config, optimizer) if wanted and advised and not result.ok else _Tried(None)
    trial, told = tried.start, tried.told
    findings = tuple(_with_proof(f, trial, tried.plan) for f in result.findings)
    consequences = tuple(_with_proof(f, trial, tried.plan) for f in result.consequences)
    measurements = result.measurements
    if told and not measurements.missing.get("untouched"):
        measurements = replace(measurements, missing={**measurements.missing, "untouched": told})
    return replace(result, trial=trial, findings=findings, consequences=consequences, measurements=measurements)


@dataclass(frozen=True, slots=True)
class _Tried:
    """A trial: the start of the copy, the plan that it has, and what its forward changed for good, in words."""

    start: TriedStart | None
    plan: PlanData | None = None
    told: str = ""


def _tried(result: CheckResult, task: MeasureTask, config: Config, optimizer: Optimizer | None) -> _Tried:
    """The recommended start, measured on a copy."""
    from fanin.measure.run import measure
    from fanin.measure.seen import seen_before
    from fanin.model.eager import eager_module
    from fanin.planning.initialise import init_

    plan = None
    try:
        twin = copy.deepcopy(eager_module(task.model))
        plan = init_(twin, task.inputs, seed=task.seed)  # with its own trial, as the advice is followed
        seen = seen_before(result.measurements.parameters)
        measured, _ = measure(replace(task, model=twin, predict=False, seen=seen))
        del twin  # before another copy is made
    except FaninError as error:
        return _Tried(TriedStart(reason=_first_line(error)), plan)
    except Exception as error:  # a model that cannot be copied, or that raises with other weights
        return _Tried(TriedStart(reason=f"{type(error).__name__}: {_first_line(error)}"), plan)
    after = result_of(result.header, measured, [judge_all(measured, config, optimizer)], config)
    there = (*after.findings, *after.consequences)
    before = {f.code for f in (*result.findings, *result.consequences)}
    start = TriedStart(
        verdict=after.verdict,
        loss_before=result.measurements.loss.value,
        loss_after=measured.loss.value,
        gone=tuple(sorted(before - {f.code for f in there})),
        scaled=_gone_by_scaling(result, task, plan, config, optimizer),
        found=tuple(sorted({f.code for f in there})),
    )
    return _Tried(start, plan, measured.missing.get("untouched", ""))


def _gone_by_scaling(
    result: CheckResult, task: MeasureTask, plan: Plan, config: Config, optimizer: Optimizer | None
) -> tuple[str, ...]:
    """Codes of findings on the size of weights that are gone once a copy's own weights are scaled as the plan predicts.

    None where the copy has an error that the model has not, or where it cannot be tried.
    """
    from fanin.calibration.calibrate import calibrate
    from fanin.measure.run import measure
    from fanin.model.eager import eager_module

    before = (*result.findings, *result.consequences)
    sized = {f.code for f in before if f.fix.recommends_scale and f.severity != "note"}
    if not sized:
        return ()
    try:
        twin = copy.deepcopy(eager_module(task.model))
        calibrate(twin, task.inputs, plan, verify=False)
        measured, _ = measure(replace(task, model=twin, predict=False))
        after = judge_all(measured, config, optimizer).findings
    except Exception:  # nothing is said of what could not be tried
        return ()
    if {f.code for f in after if f.severity == "error"} - {f.code for f in before}:
        return ()
    return tuple(sorted(sized - {f.code for f in after}))


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def _with_proof(finding: Finding, trial: TriedStart | None, plan: PlanData | None) -> Finding:
    if finding.fix.recommends_edit:
        proof = "unproven: not tried"
    elif finding.fix.recommends_start:
        proof = _proof(finding, trial)
    else:
        return finding
    code = _code(finding, trial)
    starts = planned_starts(plan, finding.paths) if plan is not None and code == INIT else ()
    text = _advice(finding.fix.text, starts, proof)
    return replace(finding, fix=replace(finding.fix, text=text, code=code, starts=starts))


def _code(finding: Finding, trial: TriedStart | None) -> str:
    """The code of a fix; of `fanin.init_` only where it was not tried in vain."""
    in_vain = trial is not None and not trial.reason and finding.code not in trial.gone
    if finding.fix.code != INIT or trial is None or not in_vain:
        return finding.fix.code
    return CALIBRATE if finding.code in trial.scaled else ""


def _advice(text: str, starts: Sequence[PlannedStart], proof: str) -> str:
    """The sentence of a fix with the numbers of the plan that `fanin.init_` writes, and whether it helps."""
    by_name = {s.name: s for s in starts}
    groups = group_paths(by_name, key=lambda name: by_name[name].words)
    shown = "; ".join(f"{clean(g.pattern)}: {by_name[g.members[0]].words}" for g in groups[:_SHOWN])
    more = f" and {len(groups) - _SHOWN} more" if len(groups) > _SHOWN else ""
    return f"{text}. fanin.init_: {shown}{more} ({proof})" if starts else f"{text} ({proof})"


def planned_starts(plan: PlanData, paths: Sequence[str]) -> tuple[PlannedStart, ...]:
    """How a plan starts the parameters that paths name, or the weights of the modules that they name.

    Example:
        >>> import fanin, torch
        >>> plan = fanin.plan(torch.nn.Sequential(torch.nn.Linear(64, 4)), recipe="torch")
        >>> [(s.name, s.words) for s in planned_starts(plan, ["0", "0.bias"])]
        [('0.weight', 'Uniform, std 0.0722'), ('0.bias', 'Uniform, std 0.0722')]
    """
    found = {a.name: a for path in paths for a in _named(plan, path)}
    return tuple(PlannedStart(name=a.name, law=law_words(a), std=a.std) for a in found.values() if a.action == "draw")


def _named(plan: PlanData, path: str) -> list[Assignment]:
    """The parameter of this name, or what is no bias of the module of this name."""
    if path in plan:
        return [plan[path]]
    return [a for a in plan.assignments.values() if a.name.rpartition(".")[0] == path and a.role not in _BIASES]


def _proof(finding: Finding, trial: TriedStart | None) -> str:
    if trial is None:
        return "not tried"
    if trial.reason:
        return f"unproven: the trial on a copy ended with: {trial.reason}"
    kept = "fanin.calibrate was tried on a copy, which keeps its weights and scales them"
    if finding.code in trial.gone:
        also = f"; {kept}: gone too" if finding.code in trial.scaled else ""
        return f"fanin.init_ was tried on a copy: this finding is gone{also}"
    if finding.code in trial.scaled:
        return f"{kept}: this finding is gone; after fanin.init_ it is still there"
    return "unproven: after fanin.init_ on a copy this finding is still there"
