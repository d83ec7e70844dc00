"""What follows from finished runs: every init at its best learning rate, tested against the first one."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from statistics import fmean, stdev
from typing import Any

from fanin.errors import UnknownNameError, did_you_mean
from fanin.lab.runs import RunResult, RunSpec

__all__ = ["ComparisonData", "Verdict"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """One init at its best learning rate.

    Attributes:
        task: which task.
        init: which init.
        lr: learning rate with the smallest mean final loss.
        final_loss: mean over seeds of the final loss (last 20 steps); inf where a seed diverged at every rate.
        final_loss_std: its standard deviation over seeds; nan for one seed.
        score: mean held-out score; None where there is none.
        initial_loss: mean loss of the first batch.
        steps_to_target: median steps to the target loss; None if no target was given, inf if half of the seeds never
            got there.
        seconds_to_target: likewise in seconds.
        diverged: runs that diverged, over all learning rates and seeds.
        num_runs: runs of this init.
        difference: mean paired difference of final losses to the first init at its own best rate; negative is better.
        p_value: of a paired t-test of that difference; None with fewer than two pairs or a diverged run.
    """

    task: str
    init: str
    lr: float
    final_loss: float
    final_loss_std: float
    score: float | None
    initial_loss: float
    steps_to_target: float | None
    seconds_to_target: float | None
    diverged: int
    num_runs: int
    difference: float
    p_value: float | None


def _mean(values: list[float]) -> float:
    return fmean(values) if all(map(math.isfinite, values)) else math.inf


def _median_reached(values: list[float | None]) -> float:
    ordered = sorted(math.inf if v is None else v for v in values)
    return ordered[len(ordered) // 2]


def _paired(ours: list[float], theirs: list[float]) -> tuple[float, float | None]:
    from scipy.stats import ttest_rel

    differences = [a - b for a, b in zip(ours, theirs, strict=True)]
    if not all(map(math.isfinite, differences)):
        return (math.nan if any(map(math.isnan, differences)) else _mean(differences)), None
    mean = fmean(differences)
    if len(differences) < 2 or all(d == differences[0] for d in differences):
        return mean, None
    return mean, float(ttest_rel(ours, theirs).pvalue)


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparisonData:
    """Finished runs, and what follows from them.

    Attributes:
        runs: every run.
        inits: names in the order given; the first is the one that others are tested against.
        tasks: names in the order given.
        target: the loss that `steps_to_target` counts to.
    """

    runs: Mapping[RunSpec, RunResult]
    inits: tuple[str, ...]
    tasks: tuple[str, ...]
    target: float | None = None

    def seeds_at(self, init: str, lr: float, task: str) -> dict[int, RunResult]:
        """The runs of one init at one learning rate, by seed."""
        return {s.seed: r for s, r in self.runs.items() if (s.init, s.lr, s.task) == (init, lr, task)}

    def best_lr(self, init: str, task: str | None = None) -> float:
        """The learning rate with the smallest mean final loss over the seeds."""
        task = self.tasks[0] if task is None else task
        rates = sorted({s.lr for s in self.runs if s.init == init and s.task == task})
        if not rates:
            raise UnknownNameError(f"there is no init {init!r} here; {did_you_mean(init, self.inits)}")
        return min(rates, key=lambda lr: _mean([r.final_loss() for r in self.seeds_at(init, lr, task).values()]))

    def best(self, init: str, task: str | None = None) -> Verdict:
        """One init at its best learning rate, tested against the first init at its own."""
        task = self.tasks[0] if task is None else task
        lr = self.best_lr(init, task)
        mine = self.seeds_at(init, lr, task)
        first = self.seeds_at(self.inits[0], self.best_lr(self.inits[0], task), task)
        losses = [r.final_loss() for r in mine.values()]
        difference, p_value = _paired(losses, [first[seed].final_loss() for seed in mine])
        scores = [r.score for r in mine.values() if r.score is not None]
        every = [r for s, r in self.runs.items() if (s.init, s.task) == (init, task)]
        reach = self.target
        return Verdict(
            task=task,
            init=init,
            lr=lr,
            final_loss=_mean(losses),
            final_loss_std=stdev(losses) if len(losses) > 1 and all(map(math.isfinite, losses)) else math.nan,
            score=fmean(scores) if scores else None,
            initial_loss=_mean([r.initial_loss for r in mine.values()]),
            steps_to_target=None if reach is None else _median_reached([r.steps_to(reach) for r in mine.values()]),
            seconds_to_target=None if reach is None else _median_reached([r.seconds_to(reach) for r in mine.values()]),
            diverged=sum(r.diverged for r in every),
            num_runs=len(every),
            difference=difference,
            p_value=p_value,
        )

    @property
    def verdicts(self) -> tuple[Verdict, ...]:
        """Every init of every task at its best learning rate, best first within a task."""
        return tuple(
            v for t in self.tasks for v in sorted((self.best(i, t) for i in self.inits), key=lambda v: v.final_loss)
        )

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready: the verdicts and every run's final loss and score; numbers that are not finite are None."""
        return {
            "schema": 1,
            "inits": list(self.inits),
            "tasks": list(self.tasks),
            "target": self.target,
            "verdicts": [{k: _finite(v) for k, v in asdict(v).items()} for v in self.verdicts],
            "runs": [
                {**asdict(s), "final_loss": _finite(r.final_loss()), "score": r.score, "diverged": r.diverged}
                for s, r in sorted(self.runs.items())
            ],
        }


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
