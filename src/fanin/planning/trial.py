"""The trial of a plan: the model as found beside the model as planned, on the same batch, without a trace."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from fanin.model.foreign import as_module, given_or_made_up, loss_of, targets_of
from fanin.model.roles import Seen
from fanin.model.untouched import untouched
from fanin.planning.apply import writes_of
from fanin.planning.missed import missed_predictions
from fanin.planning.names import under_names_of
from fanin.planning.parting import Parting, named_by, parting
from fanin.planning.start import MeasuredStart, measure_start
from fanin.planning.trial_table import LOSS_LIMIT, trial_text
from fanin.rules.finding import SEVERITIES, Finding
from fanin.text.console import prose_width
from fanin.text.html import html_table
from fanin.text.numbers import big

if TYPE_CHECKING:
    import torch

    from fanin.planning.data import PlanData

__all__ = ["Trial", "Worsening", "cannot_try", "trial"]

CHI_LIMIT = 10.0  # a chi above this, and this many times above the found one, is worse
CHI_LOST = 1e-8  # times the found one: less is no calm start any more
CHI_OF_A_CURE = 100.0  # the same, of a plan that cures an error: a dead network is no measure of sensitivity
_NOISE = 0.25  # relative, of a loss that no labels were given for; two draws of one law differ so much
_ERROR = SEVERITIES.index("error")


@dataclass(frozen=True, slots=True, kw_only=True)
class Worsening:
    """One respect in which the planned start is worse than the found one.

    Attributes:
        kind: "non-finite", "raises", "loss", "chi", "finding", or "prediction".
        text: one sentence with the numbers.
        sign: 1 where something is too large, -1 where it is too small, 0 where that is not known.
    """

    kind: Literal["non-finite", "raises", "loss", "chi", "finding", "prediction"]
    text: str
    sign: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """A model as found beside the same model as planned, measured on the same batch.

    Attributes:
        found: what the model measures with the weights it has.
        planned: what it measures with those of the plan; None where its forward or backward raises with them.
        worse: in which respects the planned start is worse; empty where it is not.
        where: where the two part; None where the plan is not worse, or no operation is to blame.
        changed: a sentence for each thing that the forward changes and that could not be put back.

    Example:
        >>> import fanin, torch
        >>> from torch import nn
        >>> _ = torch.manual_seed(0)
        >>> model, x = nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 4)), torch.randn(32, 16)
        >>> fanin.plan(model, x).trial(model, x, targets=torch.randint(0, 4, (32,))).ok
        True
    """

    found: MeasuredStart
    planned: MeasuredStart | None
    worse: tuple[Worsening, ...] = ()
    where: Parting | None = None
    changed: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """The planned start is not worse than the found one."""
        return not self.worse

    @property
    def rises(self) -> bool:
        """The first loss, against the given targets, is more than ln 2 above the found one.

        This is no worse start where the found network is dead: its loss is that of a constant.
        """
        found, planned = self.found, self.planned
        if planned is None or found.loss is None or planned.most_loss is None or planned.loss_from != "targets":
            return False
        return planned.most_loss > found.loss + LOSS_LIMIT

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready: both starts, what is worse, where, and what could not be put back (where there is anything)."""
        return {
            "ran": True,
            "found": self.found.to_dict(),
            "planned": None if self.planned is None else self.planned.to_dict(),
            "worse": [w.text for w in self.worse],
            "where": "" if self.where is None else str(self.where),
            **({"changed": list(self.changed)} if self.changed else {}),
        }

    def __repr__(self) -> str:
        return f"<Trial: the planned start is {'worse' if self.worse else 'not worse'} than the one found>"

    def _repr_html_(self) -> str:
        found = self.found.to_dict()
        planned = {} if self.planned is None else self.planned.to_dict()
        rows = [(name.replace("_", " "), _cell(value), _cell(planned.get(name, ""))) for name, value in found.items()]
        worse = [("worse", "", w.text) for w in self.worse]
        return html_table(repr(self)[1:-1], ("", "found", "planned"), [*rows, *worse])

    def __str__(self) -> str:
        lines = [trial_text(self.to_dict(), prose_width()), *(f"worse: {w.text}" for w in self.worse)]
        return "\n".join([*lines, *([f"where: {self.where}"] if self.where is not None else []), *self.changed])


def _cell(value: Any) -> str:
    """A value as a notebook shows it: three figures of a number, codes side by side."""
    if isinstance(value, float):
        return big(value)
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


# ---------------------------------------------------------------------- the verb
def trial(
    plan: PlanData,
    model: torch.nn.Module,
    inputs: Any,
    targets: Any = None,
    loss: Callable[..., Any] | None = None,
    found: MeasuredStart | None = None,
) -> Trial:
    """Measure the model as found and as planned; see `Plan.trial`.

    Args:
        plan: as there.
        model: as there.
        inputs: as there.
        targets: as there.
        loss: as there.
        found: what an earlier trial on the same inputs measured of the model as found, which then is not done again.
    """
    inputs = given_or_made_up(model, inputs)
    loss, targets = loss_of(model, loss, targets), targets_of(model, targets)
    model, inputs = as_module(model, inputs)
    plan = under_names_of(plan, model)
    writes_of(plan, model)  # says what does not fit before anything runs
    seen = {
        a.name: Seen(role=a.role, layout=a.layout, source=a.role_from)
        for a in plan.assignments.values()
        if a.role_from == "graph"
    }
    with _versions(model):
        found = found or measure_start(model, inputs, targets, loss, seen=seen)
        others, limit = (inputs, targets, loss), None if found.loss is None else found.loss + LOSS_LIMIT
        planned, left = untouched(
            model,
            lambda: _planned_start(plan, model, lambda: measure_start(model, *others, seen=seen, limit=limit)),
            values=True,
            others=others,
        )
    if isinstance(planned, str):
        text = f"with the planned weights the model raises {planned}"
        done = Trial(found=found, planned=None, worse=(Worsening(kind="raises", text=text),))
    else:
        done = _compared(plan, found, planned)
        left = (*planned.changed, *left)
    return replace(done, changed=tuple(dict.fromkeys((*found.changed, *left))))


def _planned_start(plan: PlanData, model: torch.nn.Module, measure: Callable[[], MeasuredStart]) -> MeasuredStart | str:
    """What the model measures with the plan written into it; or what it raised, in words."""
    import torch

    with torch.no_grad():
        for write in writes_of(plan, model):
            write.run()
    try:
        return measure()
    except Exception as error:  # whatever a forward or backward raises with other weights
        return f"{type(error).__name__}: {error}"


def _compared(plan: PlanData, found: MeasuredStart, planned: MeasuredStart) -> Trial:
    worse = tuple(_worsenings(found, planned))
    missed = missed_predictions(plan, planned.sites) if found.finite and planned.finite else ()
    worse += tuple(Worsening(kind="prediction", text=m.text, sign=m.sign) for m in missed[:1])
    if not worse:
        return Trial(found=found, planned=planned)
    if missed:
        return Trial(found=found, planned=planned, worse=worse, where=missed[0].parting)
    drawn = frozenset(n for a in plan.assignments.values() if a.action == "draw" for n in (*a.names, a.through) if n)
    if {w.kind for w in worse} in ({"finding"}, {"finding", "loss"}):  # a loss has a cure of its own: smaller outputs
        told = named_by(_new(found.findings, planned.findings), found.sites, planned.sites, drawn)
        if told is not None:
            return Trial(found=found, planned=planned, worse=worse, where=told)
    sign = next((w.sign for w in worse if w.sign), 0)
    where = parting(found.sites, planned.sites, drawn, sign=sign)
    return Trial(found=found, planned=planned, worse=worse, where=where)


def cannot_try(model: torch.nn.Module, inputs: Any) -> str:
    """Why a plan cannot be tried on this model and these inputs; "" where it can."""
    from torch._subclasses.fake_tensor import FakeTensor

    from fanin.model.trees import tensors_in

    given = list(tensors_in(inputs))
    if not given:
        return "no inputs were given"
    held = [*model.parameters(), *model.buffers()]
    if any(t.device.type == "meta" or isinstance(t, FakeTensor) for t in held):
        return "the model has tensors without numbers (on the meta device, or fake)"
    if any(t.device.type == "meta" or isinstance(t, FakeTensor) for t in given):
        return "the inputs have no numbers (on the meta device, or fake)"
    return ""


def _versions(model: torch.nn.Module) -> AbstractContextManager[None]:
    """Puts the version counters of the tensors back, so that a graph recorded before can still be differentiated."""
    from fanin.model.versions import kept_versions

    return kept_versions(t for t in (*model.parameters(), *model.buffers()) if not t.is_inference())


# ---------------------------------------------------------------------- what is worse
def _worsenings(found: MeasuredStart, planned: MeasuredStart) -> Iterator[Worsening]:
    if not found.finite:
        return
    if not planned.finite:
        yield Worsening(
            kind="non-finite", text="the planned start gives NaN or infinity, the found one does not", sign=1
        )
        return
    if _is_worse_loss(found, planned):
        of = "" if found.loss_from == "targets" else " (labels drawn at random)"
        by_chance = "" if planned.most_loss == planned.loss else f", {big(planned.most_loss)} by chance of dropout"
        text = f"the first loss{of} is {big(planned.loss)}{by_chance}, and was {big(found.loss)} as found"
        text += " (limit: + ln 2)"
        yield Worsening(kind="loss", text=text, sign=1)
    if _is_worse_chi(found, planned):
        text = (
            f"a small change of the input changes the outputs {big(math.sqrt(planned.chi or 0.0))} times (chi = "
            f"{big(planned.chi)}), and did {big(math.sqrt(found.chi or 0.0))} times as found (chi = {big(found.chi)})"
        )
        yield Worsening(kind="chi", text=text, sign=1)
    if _is_lost(found, planned):
        text = (
            f"the outputs hardly follow the input (chi = {big(planned.chi)}; as found {big(found.chi)}): weights far "
            "too small make up for others far too large, and one step of an optimizer ends that"
        )
        yield Worsening(kind="chi", text=text, sign=-1)
    for finding in _new(found.findings, planned.findings):
        text = f"a new {finding.severity}, {finding.code} ({finding.name}): {finding.message}"
        yield Worsening(kind="finding", text=text)


def _is_worse_chi(found: MeasuredStart, planned: MeasuredStart) -> bool:
    if found.chi is None or planned.chi is None or planned.chi_from_batch:
        return False
    limit = CHI_OF_A_CURE if _cures(found.findings, planned.findings) == _ERROR else CHI_LIMIT
    return planned.chi > limit * max(1.0, found.chi)


def _is_lost(found: MeasuredStart, planned: MeasuredStart) -> bool:
    """Whether the outputs follow the input by next to nothing; not where they do not at all, as behind zeros."""
    if found.chi is None or planned.chi is None or planned.chi_from_batch:
        return False
    return 0.0 < planned.chi < CHI_LOST * min(1.0, found.chi)


def _cures(found: tuple[Finding, ...], planned: tuple[Finding, ...]) -> int:
    """Rank of the worst finding that the plan cures; 0 where it cures none."""
    had, has = _worst(found), _worst(planned)
    return max((rank for code, rank in had.items() if has.get(code, 0) < rank), default=0)


def _is_worse_loss(found: MeasuredStart, planned: MeasuredStart) -> bool:
    if found.loss is None or planned.most_loss is None or planned.most_loss <= found.loss + LOSS_LIMIT:
        return False
    if _cures(found.findings, planned.findings) == _ERROR:
        return False  # a dead network's loss is that of a constant: no measure; L801 judges the planned one by itself
    if found.loss_from == "targets" or found.expected_loss is None or planned.expected_loss is None:
        return True
    return planned.expected_loss > found.expected_loss + max(2.0 * LOSS_LIMIT, _NOISE * found.expected_loss)


def _new(found: tuple[Finding, ...], planned: tuple[Finding, ...]) -> Iterator[Finding]:
    """Findings of rules that found nothing as bad before.

    A warning is no loss where the plan cures an error.
    """
    had, cured = _worst(found), _cures(found, planned)
    told: set[str] = set()
    for finding in planned:
        rank = SEVERITIES.index(finding.severity)
        if rank > had.get(finding.code, 0) and rank >= cured and finding.code not in told:
            told.add(finding.code)
            yield finding


def _worst(findings: tuple[Finding, ...]) -> dict[str, int]:
    worst: dict[str, int] = {}
    for f in findings:
        worst[f.code] = max(worst.get(f.code, 0), SEVERITIES.index(f.severity))
    return worst
