"""What one start of a model measures on one batch: first loss, size of the outputs, chi, likeness, findings."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from fanin.measure.record import Measurements, Site
from fanin.planning.trial_table import LOSS_LIMIT
from fanin.rules.config import Config
from fanin.rules.engine import judge_all
from fanin.rules.finding import Finding

if TYPE_CHECKING:
    import torch

    from fanin.measure.task import MeasureTask
    from fanin.model.roles import Seen

__all__ = ["MeasuredStart", "measure_start"]

_T = TypeVar("_T")
LossFrom = Literal["targets", "random labels", "none"]


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredStart:
    """What a model measures with one set of initial weights, on one batch.

    Attributes:
        loss: the first loss; None where there is none.
        loss_from: "targets": the loss that was given, that the model carries, or against the targets. "random labels":
            `expected_loss`, where nothing was given. "none": no loss.
        expected_loss: mean over all labels of the cross-entropy, which labels drawn at random would have; None where
            the outputs are no rows of numbers, or a loss is known. Random weights do not depend on the labels, so what
            the first loss differs from it is chance.
        output_rms: root mean square of the outputs (the logits).
        finite: every number of the forward and backward pass is finite.
        chi: mean squared singular value of the Jacobian from the first float input to the outputs.
        chi_from_batch: a batch norm in training mode takes its statistics from the few samples that chi is measured on,
            so chi says little.
        likeness: mean cosine between the outputs of two samples.
        dead_share: largest share of dead units of a layer.
        growth: rms of the last residual sum over that of the first one; 1 where there are fewer than two.
        findings: what the rules of a check say of it, notes left out.
        sites: what was measured of every operation, in order.
        changed: a sentence for each thing that the forward changes and that could not be put back.
        loss_above: two standard deviations above the mean first loss over several draws of what the forward draws at
            random (dropout), where that was asked for; None where it draws nothing.
    """

    loss: float | None
    loss_from: LossFrom
    expected_loss: float | None
    output_rms: float | None
    finite: bool
    chi: float | None
    chi_from_batch: bool
    likeness: float | None
    dead_share: float
    growth: float
    findings: tuple[Finding, ...] = ()
    sites: tuple[Site, ...] = ()
    changed: tuple[str, ...] = ()
    loss_above: float | None = None

    @property
    def most_loss(self) -> float | None:
        """The first loss that a limit holds for: as far above as draws of dropout put it."""
        return self.loss if self.loss is None or self.loss_above is None else max(self.loss, self.loss_above)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready numbers and the codes of the findings; what is not finite is None."""
        numbers = ("loss", "output_rms", "chi", "likeness", "dead_share", "growth")
        found: dict[str, Any] = {n: _plain(getattr(self, n)) for n in numbers}
        return {
            **found,
            **({} if self.loss_above is None else {"loss_above": _plain(self.loss_above)}),
            "loss_from": self.loss_from,
            "finite": self.finite,
            "findings": sorted({f.code for f in self.findings}),
        }


def _plain(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(value)


def measure_start(
    model: torch.nn.Module,
    inputs: Any,
    targets: Any = None,
    loss: Callable[..., Any] | None = None,
    *,
    seen: Mapping[str, Seen] | None = None,
    seed: int = 0,
    limit: float | None = None,
) -> MeasuredStart:
    """Measure a model as it is now; it is left bit for bit as found, or `MeasuredStart.changed` names what is not.

    Args:
        model: the model, with real tensors.
        inputs: as in `fanin.check`.
        targets: as in `fanin.check`.
        loss: as in `fanin.check`.
        seen: what is known of its parameters.
        seed: of random operations such as dropout.
        limit: where the first loss is below it and less than ln 2 away, other draws of such operations are measured
            too, forward only.

    Raises:
        CaptureError: the model or the loss raised.
    """
    from fanin.measure.run import measure_with_traces
    from fanin.measure.task import MeasureTask

    task = MeasureTask(
        model=model,
        inputs=inputs,
        targets=targets,
        loss=loss,
        seed=seed,
        predict=False,
        between_classes=True,
        seen=dict(seen or {}),
    )
    found, _, traces = measure_with_traces(task)
    expected, above = None, None
    changed: tuple[str, ...] = ()
    if found.loss.source == "cotangent":
        expected, changed = _loss_of_random_labels(task) if found.loss.op in _LABELS else (None, ())
    elif limit is not None and 0.0 <= limit - found.loss.value < LOSS_LIMIT:
        above, changed = _loss_above(task, found.loss.value)
    value, source = (found.loss.value, "targets") if found.loss.source != "cotangent" else _without_labels(expected)
    judged = judge_all(found, Config()).findings
    return MeasuredStart(
        loss=value,
        loss_from=source,
        expected_loss=expected,
        output_rms=None if found.output is None else found.output.rms,
        finite=_is_finite(found, value),
        chi=None if found.jacobian is None else found.jacobian.chi,
        chi_from_batch=any(s.norm is not None and s.norm.training and s.norm.kind == "batch_norm" for s in found.sites),
        likeness=None if found.output_cosine is None else found.output_cosine.mean,
        dead_share=max((s.activity.dead_share for s in found.sites if s.activity is not None), default=0.0),
        growth=_growth(found.sites),
        findings=tuple(f for f in judged if f.severity != "note"),
        sites=found.sites,
        changed=tuple(dict.fromkeys((*traces, *changed))),
        loss_above=above,
    )


_LABELS = ("", "cross_entropy", "nll_loss")  # losses (none: nothing was given) that the outputs could be logits of


def _without_labels(expected: float | None) -> tuple[float | None, LossFrom]:
    return expected, "none" if expected is None else "random labels"


def _loss_of_random_labels(task: MeasureTask) -> tuple[float | None, tuple[str, ...]]:
    """E over labels of the cross-entropy, log sum exp z - mean z; None where the outputs are no rows of numbers.

    And what this forward pass changed for good, in words.
    """
    from fanin.measure.objective import primary

    z, changed = _forward(task, task.seed, primary)
    if z is None or not z.is_floating_point() or z.dim() not in (2, 3) or z.shape[-1] < 2 or not z.numel():
        return None, changed
    z = z.double()
    return float((z.logsumexp(-1) - z.mean(-1)).mean()), changed


def _loss_above(task: MeasureTask, first: float) -> tuple[float | None, tuple[str, ...]]:
    """Two standard deviations above the mean loss of several draws; None where a second draw is as the first."""
    from fanin.measure.objective import objective

    losses, left = [first], dict[str, None]()
    for seed in range(task.seed + 1, task.seed + _DRAWS):
        made, changed = _forward(task, seed, lambda out: objective(out, targets=task.targets, loss=task.loss))
        losses.append(float(made.value))
        left |= dict.fromkeys(changed)
        if math.isclose(losses[1], first, rel_tol=_ROUNDING):
            return None, tuple(left)
    return statistics.fmean(losses) + 2.0 * statistics.stdev(losses), tuple(left)


_DRAWS = 8  # of dropout
_ROUNDING = 1e-5  # relative, of a loss that nothing random was drawn for


def _forward(task: MeasureTask, seed: int, of: Callable[[Any], _T]) -> tuple[_T, tuple[str, ...]]:
    """What is made of the outputs of one plain forward pass, and what it changed for good, in words."""
    import torch

    from fanin.model.calling import call
    from fanin.model.eager import eager, eager_module
    from fanin.model.settings import seed_generators
    from fanin.model.untouched import untouched

    model = eager_module(task.model)

    def outputs() -> _T:
        seed_generators(seed)
        with eager(), torch.no_grad():
            return of(call(model, task.inputs))

    return untouched(model, outputs, values=True, others=(task.inputs, task.targets, task.loss))


def _is_finite(found: Measurements, loss: float | None) -> bool:
    if loss is not None and not math.isfinite(loss):
        return False
    stats = [s for s in (found.output, *(p.gradient for p in found.parameters)) if s is not None]
    return not any(s.any_nonfinite for s in stats)


def _growth(sites: Iterable[Site]) -> float:
    """Largest growth over the residual sums of one shape, from the first to the last."""
    sums: dict[tuple[int, ...], list[float]] = {}
    for site in sites:
        if site.kind == "merge" and site.op.startswith("add"):
            sums.setdefault(site.shape, []).append(site.forward.rms)
    return max((rms[-1] / rms[0] for rms in sums.values() if len(rms) > 1 and rms[0] > 0.0), default=1.0)
