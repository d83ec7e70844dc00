"""The order of work: passes with virtual factors, the plan with the factors, the writes, the pass that verifies."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TypeVar

from fanin.calibration.center import Centred
from fanin.calibration.forward import CalibratingPass, Judge, Key, run_forward
from fanin.calibration.held import Held
from fanin.calibration.report import Calibration, Row, is_reached
from fanin.calibration.rounds import Decider, Judgement, Measurer, Passed, solve
from fanin.calibration.statistic import Size
from fanin.calibration.subject import MAPS
from fanin.calibration.task import Task
from fanin.calibration.write import calibrated_plan, plan_with_biases, writes_of_biases, writes_of_factors
from fanin.errors import CalibrationError, CaptureError
from fanin.measure.passes import batch_size
from fanin.model.eager import eager
from fanin.model.first_step import MORE_VALUES, set_first_step
from fanin.model.foreign import give_back
from fanin.model.settings import seed_generators
from fanin.model.untouched import renew_kept, untouched
from fanin.model.wrappers import unwrap_children
from fanin.planning.apply import write_all
from fanin.text.numbers import big, counted

__all__ = ["run"]

T = TypeVar("T")
J = TypeVar("J", bound=Judge)
_OFF = 0.02  # ln(after / expected) from which the second pass disagrees with the first


def run(task: Task, *, verify: bool, dry_run: bool, strict: bool, progress: bool) -> Calibration:
    """Calibrate; see `fanin.calibrate`."""
    held = Held(task.plan, task.slots)
    with _bar(task, progress) as told:
        (done, forwards), left = _on_the_model(task, lambda: _decided(task, held, told))
        _refuse_unreached(task, done, strict)
        factors = {j.key: j.verdict.factor for j in done.found}
        names = {name for (name, _), factor in factors.items() if factor != 1.0}
        plan = plan_with_biases(calibrated_plan(held.plan_of(names), done.found), done.biases)
        if not dry_run:
            if not task.are_plain(names | done.biases.keys()):
                task.kept.close()
            biases = writes_of_biases(plan, task.subjects, done.biases)
            write_all([*writes_of_factors(plan, task.subjects, factors), *biases])
            give_back(task.module)
            renew_kept()
        names |= set(done.biases)
        after: Sequence[tuple[Key, Size]] = ()
        if verify and names:
            after, more = _on_the_model(task, lambda: _measured(task, told))
            forwards, left = forwards + 1, (*left, *more)
    rows = (*_rows(done.found, after), *map(_centred_row, done.biases.values()), *_named_rows(task, done))
    return Calibration(
        model=task.plan.model,
        rows=rows,
        make_plan=held.reader(plan, names, written=not dry_run),
        forwards=forwards,
        tolerance=task.rules.tolerance,
        most_z=task.rules.most_z,
        written=not dry_run and bool(names),
        scores=tuple(done.scores),
        warnings=tuple(dict.fromkeys((*_warnings(done.found, rows), *task.traces, *left))),
    )


# ---------------------------------------------------------------------- passes
def _on_the_model(task: Task, work: Callable[[], T]) -> tuple[T, tuple[str, ...]]:
    """What work on the model gives, and what it changed for good, in words."""
    return untouched(task.module, work, values=True, others=(task.inputs,), spare=task.spare)


def _judged_by(task: Task, judge: J, norms_train: bool, *, center: bool = False) -> J:
    """The judge of one forward pass."""
    seed_generators(task.seed)
    with eager():
        unwrap_children(task.module)
        set_first_step(task.module, norms_train=norms_train)
        running = CalibratingPass(
            task.module,
            task.subjects,
            judge,
            batch=batch_size(task.inputs),
            statistic=task.statistic,
            center=center,
            group=task.group,
        )
        run_forward(running, task.module, task.inputs)
    return judge


def _norms_as_they_can(work: Callable[[bool], T]) -> T:
    """With batch norms on the batch; where that has one value a channel, on their running statistics."""
    try:
        return work(True)
    except CaptureError as error:
        if MORE_VALUES not in str(error.__cause__):
            raise
    return work(False)


def _decided(task: Task, held: Held, told: Callable[[], None]) -> tuple[Decider, int]:
    def by_auto(name: str) -> bool:
        return task.plan.recipe == "auto" and held(name)

    def decided(norms_train: bool) -> tuple[Decider, int]:
        def decide(forced: Mapping[Key, float]) -> Decider:
            judge = Decider(targets=task.targets, rules=task.rules, by_auto=by_auto, forced=forced, told=told)
            return _judged_by(task, judge, norms_train, center=task.center)

        return solve(decide, task.subjects, task.rules)

    return _norms_as_they_can(decided)


def _measured(task: Task, told: Callable[[], None]) -> Sequence[tuple[Key, Size]]:
    return _norms_as_they_can(lambda norms_train: _judged_by(task, Measurer(told=told), norms_train)).sizes


# ---------------------------------------------------------------------- rows
def _refuse_unreached(task: Task, done: Decider, strict: bool) -> None:
    """Raise, where it is asked for, if a weight cannot be brought to a target."""
    if not strict:
        return
    rows = (*_rows(done.found, ()), *_named_rows(task, done))
    lost = [f"{r.name} in {r.use or 'the model'}: {r.status}; {r.reason}" for r in rows if not is_reached(r.status)]
    if lost:
        more = f"\n  ... and {len(lost) - 12} more" if len(lost) > 12 else ""
        raise CalibrationError(
            f"{counted(len(lost), 'use')} of weights cannot be calibrated; nothing was written:\n  "
            + "\n  ".join(lost[:12])
            + f"{more}\nGive only= the weights that can, or strict=False."
        )


def _rows(found: Sequence[Judgement], after: Sequence[tuple[Key, Size]]) -> tuple[Row, ...]:
    same = [j.key for j in found] == [key for key, _ in after]
    sizes = [size.value for _, size in after] if same else [None] * len(found)
    return tuple(
        Row(
            parameter=j.use_of,
            part=j.part,
            use=f"{j.module}: {j.op}" if j.module else j.op,
            op=j.op,
            before=j.size.value,
            target=j.target.rms,
            factor=j.verdict.factor,
            after=size,
            z=j.verdict.z,
            samples=j.size.samples,
            status=j.verdict.status,
            reason=j.verdict.reason,
        )
        for j, size in zip(found, sizes, strict=True)
    )


def _centred_row(found: Centred) -> Row:
    use = f"{found.module}: {found.op}" if found.module else found.op
    reason = "it takes the mean of each channel off; before: rms of these means"
    return Row(
        parameter=found.bias, use=use, op=found.op, before=found.before, target=0.0, status="centred", reason=reason
    )


def _named_rows(task: Task, done: Decider) -> tuple[Row, ...]:
    """The weights that have no row of their own yet: those that could not be judged, and those that nobody read."""
    judged = {j.use_of for j in done.found}
    passed = {(p.name, p.module, p.op): p for p in done.passed if _is_weight(task, p.name)}
    named = judged | {p.name for p in passed.values()}
    unseen = [n for n in task.subjects if n not in named and _is_weight(task, n)]
    return (*(_passed_row(p) for p in passed.values()), *(_unseen_row(task, n) for n in unseen))


def _is_weight(task: Task, name: str) -> bool:
    subject = task.subjects.get(name)
    if subject is None:
        return False
    role = subject.assignment.role
    return role in MAPS or (role in ("unused", "unknown") and len(subject.slot.shape) > 1)


def _passed_row(passed: Passed) -> Row:
    use = f"{passed.module}: {passed.op}" if passed.module else passed.op
    return Row(parameter=passed.name, use=use, op=passed.op, status=passed.status, reason=passed.reason)


def _unseen_row(task: Task, name: str) -> Row:
    if not task.subjects[name].places:
        return Row(parameter=name, status="never used", reason="no operation that leads to an output applies it")
    why = (
        "no operation that fanin knows was seen to apply it: it is summed by hand, or runs in TorchScript or torch.func"
    )
    return Row(parameter=name, status="not followed", reason=why)


def _warnings(found: Sequence[Judgement], rows: Sequence[Row]) -> Iterator[str]:
    for one in found:
        if one.verdict.warning:
            yield f"{one.use_of}{' ' + one.part if one.part else ''}: {one.verdict.reason}"
    for row in rows:
        if row.after is None or not row.before or not row.after or row.factor == 1.0:
            continue
        if abs(math.log(row.after / (row.before * row.factor))) > _OFF:
            yield (
                f"{row.name}: a second pass measures {big(row.after)} where {big(row.before * row.factor)} was "
                "expected; the model does not run the same way twice, or its dtype rounds so much"
            )


@contextmanager
def _bar(task: Task, shown: bool) -> Iterator[Callable[[], None]]:
    """What is called once for each measured output; with a bar on stderr where it is asked for."""
    if not shown:
        yield lambda: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        row = bar.add_task("measuring outputs", total=2 * sum(len(s.places) for s in task.subjects.values()))
        yield lambda: bar.advance(row)
