"""The passes of a calibration: the one that decides, more where weights are used again, and the one that verifies."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from fanin.calibration.center import Centred
from fanin.calibration.forward import Key, Use
from fanin.calibration.judge import Rules, Status, Verdict, judged
from fanin.calibration.report import Scores
from fanin.calibration.reuse import MOST_FORWARDS, Solving
from fanin.calibration.statistic import Size, rms_of
from fanin.calibration.subject import Subject
from fanin.calibration.target import Target, Targets
from fanin.errors import CalibrationError
from fanin.measure.prediction import failing_assumption
from fanin.measure.quantities.cosine import cosine
from fanin.measure.record import AttentionRecord
from fanin.measure.sampling import as_samples
from fanin.model.operations import RECURRENT

__all__ = ["Decider", "Judgement", "Measurer", "Passed", "solve"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What was decided on one use.

    Attributes:
        use_of: name of the weight.
        key: what has one factor.
        part: name of the part; "" for all of it.
        module: path of the module that runs the operation.
        op: the operation.
        size: what was measured.
        target: what it should be.
        verdict: what becomes of it; its factor is what the output was multiplied by.
    """

    use_of: str
    key: Key
    part: str
    module: str
    op: str
    size: Size
    target: Target
    verdict: Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Passed:
    """A weight whose output could not be judged, and why."""

    name: str
    module: str
    op: str
    status: Status
    reason: str


def _refuse_nonfinite(use: Use) -> None:
    if math.isfinite(use.size.rms):
        return
    where = f" in {use.module}" if use.module else ""
    raise CalibrationError(
        f"the output of {use.op}{where} with {use.subject.name} holds NaN or infinity; nothing was written. Look for "
        "NaN in the inputs and weights (fanin.check names the first operation that makes them), or start from "
        "fanin.init_."
    )


@dataclass(kw_only=True)
class Decider:
    """The judge of a pass that decides.

    Attributes:
        targets: what outputs should measure.
        rules: what is corrected.
        by_auto: says whether a weight holds what an ``auto`` plan draws.
        forced: factors that an earlier pass found for weights that are used again.
        told: called once a use.
        found: what was decided, in the order of the pass.
        passed: weights that could not be judged.
        scores: what attention puts through each softmax.
        biases: those that take the mean of each channel off, by name.
    """

    targets: Targets
    rules: Rules
    by_auto: Callable[[str], bool]
    forced: Mapping[Key, float] = field(default_factory=dict)
    told: Callable[[], None] = lambda: None
    found: list[Judgement] = field(default_factory=list)
    passed: list[Passed] = field(default_factory=list)
    scores: list[Scores] = field(default_factory=list)
    biases: dict[str, Centred] = field(default_factory=dict)
    _factors: dict[Key, float] = field(default_factory=dict)

    def __call__(self, use: Use) -> float:
        """The factor of one use: the weight's own where it was used before."""
        self.told()
        _refuse_nonfinite(use)
        target = self.targets.of(use.subject, use.place, use.part, self._added(use))
        verdict = judged(
            use.size,
            target,
            use.subject.fixed,
            self.rules,
            input_rms=use.input_rms,
            starts_at_zero=use.subject.assignment.std == 0.0,
            by_auto=use.subject.fixed is None and self._is_far(use, target) and self.by_auto(use.subject.name),
        )
        if verdict.status in ("corrected", "clipped") and self.by_auto(use.subject.name):
            verdict = replace(verdict, reason=_because(verdict, use))
        factor = self._factors.setdefault(use.key, self.forced.get(use.key, verdict.factor))
        self.found.append(
            Judgement(
                use_of=use.subject.name,
                key=use.key,
                part=_part_name(use),
                module=use.module,
                op=use.op,
                size=use.size,
                target=target,
                verdict=replace(verdict, factor=factor),
            )
        )
        return factor

    def passed_over(self, name: str, module: str, op: str, why: str) -> None:
        """A weight whose output cannot be judged."""
        status: Status = "recurrent" if op in RECURRENT else "not followed"
        self.passed.append(Passed(name=name, module=module, op=op, status=status, reason=why))

    def attended(self, module: str, scores: AttentionRecord) -> None:
        """Keep what is told of attention scores."""
        spread = math.sqrt(sum(s**2 for s in scores.logit_std) / max(len(scores.logit_std), 1))
        mean = sum(scores.entropy) / max(len(scores.entropy), 1)
        self.scores.append(Scores(module=module, keys=scores.num_keys, spread=spread, entropy=mean))

    def centred(self, found: Centred) -> None:
        """Keep the bias that a pass made."""
        self.biases[found.bias] = found

    def _is_far(self, use: Use, target: Target) -> bool:
        if not target.rms or use.size.value <= 0.0:
            return False
        return abs(math.log(use.size.value / target.rms)) > self.rules.most_z * target.se

    def _added(self, use: Use) -> float:
        """Mean square of what the operation adds, as the plan has it; as measured where the plan draws none."""
        if use.added is None:
            return 0.0
        plan = self.targets.plan
        name = next(iter(use.bias), "") if len(use.bias) == 1 else ""
        a = plan[name] if name in plan else None  # noqa: SIM401 (a plan's error is no KeyError)
        if a is None or a.action != "draw" or a.initializer is None:
            return rms_of(use.added) ** 2
        moments = a.initializer.moments(a.shape, a.layout)
        return (moments.var + moments.mean**2) * a.scale**2


def _because(verdict: Verdict, use: Use) -> str:
    """The reason, with the assumption of the plan that fails here."""
    samples = as_samples(use.output, use.batch)
    why = failing_assumption(None if samples is None else cosine(samples))
    return "; ".join(filter(None, (verdict.reason, f"an assumption of the plan fails here: {why}")))


def _part_name(use: Use) -> str:
    if use.part is not None:
        return use.part.tag
    if not use.box:
        return ""
    shape = use.subject.slot.shape
    cut = (f"{a}:{b}" if b - a > 1 else f"{a}" for (a, b), n in zip(use.box, shape, strict=True) if (a, b) != (0, n))
    return f"[{', '.join(cut)}]"


@dataclass(kw_only=True)
class Measurer:
    """The judge of a pass that only measures.

    Attributes:
        told: called once a use.
        sizes: what each use measures, in the order of the pass.
    """

    told: Callable[[], None] = lambda: None
    sizes: list[tuple[Key, Size]] = field(default_factory=list)

    def __call__(self, use: Use) -> float:
        """1: nothing is multiplied."""
        self.told()
        self.sizes.append((use.key, use.size))
        return 1.0

    def passed_over(self, name: str, module: str, op: str, why: str) -> None:
        """Nothing: the pass that decided has named it."""

    def attended(self, module: str, scores: AttentionRecord) -> None:
        """Nothing: the pass that decided has measured them under the same factors."""

    def centred(self, found: Centred) -> None:
        """Nothing: a pass that measures moves no bias."""


def solve(
    decide: Callable[[Mapping[Key, float]], Decider], subjects: Mapping[str, Subject], rules: Rules
) -> tuple[Decider, int]:
    """Passes until the factors of weights that are used again stay; one where there are none.

    Args:
        decide: runs a pass with factors that are given, and gives its judge.
        subjects: the weights.
        rules: what is corrected.

    Returns:
        The judge of the last pass, whose factors are right together, and how many passes were run.
    """
    done = decide({})
    searches = _searches(done, subjects)
    passes = 1
    while passes < MOST_FORWARDS:
        forced = {key: s.factor for key, s in searches.items()}
        moved = False
        for key, search in searches.items():
            before = search.factor
            miss = _miss(done, key)
            if miss is None or (before == 1.0 and not search.tried and abs(miss) <= _dead_zone(done, key, rules)):
                continue
            forced[key] = search.next_factor(miss, bits=rules.bits, limit=rules.wide_limit)
            moved |= forced[key] != before
        if not moved:
            break
        done = decide(forced)
        passes += 1
    done.found = [_of_all_uses(j, done, rules) if j.key in searches else j for j in done.found]
    return done, passes


def _of_all_uses(one: Judgement, done: Decider, rules: Rules) -> Judgement:
    """The judgement on a use of a weight whose factor all uses decide together."""
    factor, miss = one.verdict.factor, _miss(done, one.key)
    if miss is None:
        return one
    count = sum(j.key == one.key for j in done.found)
    reason = f"one factor for {count} uses: the geometric mean of their sizes meets that of their targets"
    if factor in (rules.wide_limit, 1.0 / rules.wide_limit):
        return replace(one, verdict=replace(one.verdict, status="clipped", reason=reason, warning=True))
    status: Status = "corrected" if factor != 1.0 else "in tolerance"
    return replace(one, verdict=replace(one.verdict, status=status, reason=reason, warning=False))


def _searches(done: Decider, subjects: Mapping[str, Subject]) -> dict[Key, Solving]:
    """One search for each weight that several uses with a target share, and that may change."""
    uses: dict[Key, list[Judgement]] = {}
    for one in done.found:
        uses.setdefault(one.key, []).append(one)
    return {
        key: Solving(slope=subjects[key[0]].mean_depth, factor=found[0].verdict.factor)
        for key, found in uses.items()
        if len(found) > 1 and subjects[key[0]].fixed is None and not any(f.target.normed for f in found)
    }


def _miss(done: Decider, key: Key) -> float | None:
    """Mean over the uses of ln(rms / target) with the factor in place; None where no use has both."""
    found = [j for j in done.found if j.key == key and j.target.rms and j.size.value > 0.0]
    logs = [math.log(j.size.value * j.verdict.factor / j.target.rms) for j in found if j.target.rms]
    return sum(logs) / len(logs) if logs else None


def _dead_zone(done: Decider, key: Key, rules: Rules) -> float:
    return rules.most_z * max(j.target.se for j in done.found if j.key == key)
