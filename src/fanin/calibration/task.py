"""What is to be calibrated: the model read once, the plan, and what every weight is in it."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from fanin.calibration.agreed import group_of, plan_of_first
from fanin.calibration.judge import Rules
from fanin.calibration.statistic import Statistic
from fanin.calibration.subject import MAPS, Subject, asked_names, subjects
from fanin.calibration.target import TargetOption, Targets
from fanin.errors import ArgumentError
from fanin.graph.recording.capture import capture
from fanin.graph.roles.label import roles
from fanin.model.calling import binds
from fanin.model.eager import eager_module
from fanin.model.foreign import as_module, is_foreign, is_view
from fanin.model.given import assert_numbers
from fanin.model.nested import refuse_nested
from fanin.model.parameters import Slot, slots_of
from fanin.model.standing import what_stays
from fanin.model.trees import map_tensors, named_tensors, tensors_in
from fanin.model.untouched import kept_once
from fanin.planning.apply import assert_fits
from fanin.planning.build import plan_and_live
from fanin.planning.data import assert_plan
from fanin.planning.names import under_names_of
from fanin.planning.plan import Plan
from fanin.planning.predicted import with_predictions
from fanin.tensors.writable import is_plain
from fanin.text.reading import shown

__all__ = ["Task", "one_batch", "task_of"]


@dataclass(frozen=True, kw_only=True)
class Task:
    """One calibration.

    Attributes:
        module: the model behind its wrappers.
        inputs: one batch.
        plan: where targets come from.
        slots: the parameters.
        subjects: those that are weights or may be, by first qualified name.
        targets: what outputs should measure.
        rules: what is corrected.
        statistic: how outputs are measured.
        seed: of random operations.
        center: put minus the mean of each channel into biases.
        traces: what reading the model changed for good, in words.
        group: the processes that must get the same factors; None for one process.
        spare: tensors of which a pass keeps no copy: it multiplies outputs, and looks after weights that are written.
        kept: closed before a write that runs code of the model: until then it is as it was when it was read.
    """

    module: torch.nn.Module
    inputs: Any
    plan: Plan
    slots: Mapping[str, Slot]
    subjects: Mapping[str, Subject]
    targets: Targets
    rules: Rules
    statistic: Statistic
    seed: int
    center: bool = False
    traces: tuple[str, ...] = ()
    group: Any = None
    spare: tuple[torch.Tensor, ...] = ()
    kept: ExitStack = field(default_factory=ExitStack)

    def are_plain(self, names: Iterable[str]) -> bool:
        """Whether writing these parameters runs no code of the model and changes numbers alone."""
        slots = [self.slots[name] for name in names]
        plain = all(s.behind is None and is_plain(s.tensor) for s in slots)
        return plain and bool(self.spare) and not is_view(self.module)


def _spare_of(module: torch.nn.Module) -> tuple[torch.Tensor, ...]:
    """The parameters, but those of a module whose code is not Python."""
    scripted = any(isinstance(m, torch.jit.ScriptModule) for m in module.modules())
    return () if scripted else tuple(module.parameters())


def task_of(
    model: Any,
    inputs: Any,
    plan: Plan | None,
    *,
    target: TargetOption,
    only: Iterable[str] | None,
    statistic: Statistic,
    rules: Rules,
    batches: int,
    seed: int,
    center: bool,
    kept: ExitStack | None = None,
) -> Task:
    """Read a model for calibration; nothing in it changes.

    Where `kept` is given, what the passes put back is kept once for all of them, until it is closed.

    Raises:
        FaninError: as `fanin.calibrate` says.
    """
    if plan is not None:
        assert_plan(plan)
    if is_foreign(model):
        model, inputs = as_module(model, _refuse_loader(inputs))
    module = eager_module(model)
    batch = one_batch(inputs, batches, module)
    assert_numbers(batch, "inputs")
    refuse_nested(tensors_in(batch), "an input")
    _refuse_zeros(batch)
    spare = _spare_of(module)
    if kept is not None:
        kept.enter_context(kept_once(module, values=True, others=(batch,), spare=spare))
    slots = slots_of(model)
    if not (only is None or isinstance(only, str | Iterable)):
        raise ArgumentError(f"only is a pattern on names, or several of them; got {shown(only)}")
    patterns = [] if only is None else [only] if isinstance(only, str) else list(only)
    named = None if only is None else asked_names(slots, patterns)
    by_target = asked_names(slots, target) if isinstance(target, Mapping) else None
    own_plan = plan is None
    if plan is None:
        plan, live = plan_and_live(model, batch, recipe="auto", seed=seed, on_unknown="keep")
        graph = live.graph
    else:
        plan = under_names_of(plan, model)
        assert_fits(plan, slots)
        graph = capture(model, batch)
    found = roles(graph)
    group = group_of(model)
    plan = plan_of_first(with_predictions(plan, graph, found, slots), group)
    asked = named if by_target is None else by_target if named is None else named & by_target
    standing = {**(_kept_by(plan) if own_plan else {}), **what_stays(model, slots)}
    protected = {
        n: why for n, why in standing.items() if named is None or n not in named or not slots[n].tensor.requires_grad
    }
    weights = subjects(slots, plan, found, asked=asked, protected=protected)
    return Task(
        module=module,
        inputs=batch,
        plan=plan,
        slots=slots,
        subjects=weights,
        targets=Targets(plan=plan, wanted=target),
        rules=replace(rules, uses=sum(_compared(s) for s in weights.values())),
        statistic=statistic,
        seed=seed,
        center=center,
        traces=graph.traces,
        group=group,
        spare=spare,
        kept=kept or ExitStack(),
    )


def _kept_by(plan: Plan) -> dict[str, str]:
    """Parameters that the plan leaves as their module chose them -> why: a factor would undo that choice."""
    return {a.name: a.reason for a in plan.values() if a.action == "keep" and a.rule == "designed"}


def _compared(subject: Subject) -> int:
    """How many outputs of a weight are compared with a target that a factor could bring them to."""
    if subject.role is None or subject.role.role not in MAPS or subject.fixed is not None:
        return 0
    uses = sum(not u.normed for u in subject.role.uses)
    return uses * max(len(subject.parts), 1)


def _refuse_zeros(batch: Any) -> None:
    """Raise where the model would read zeros alone: then no output says anything of a weight."""
    tensors = list(tensors_in(batch))
    readable = all(t.is_floating_point() and t.layout is torch.strided and not t.is_meta for t in tensors)
    if readable and any(t.numel() for t in tensors) and not any(bool(t.detach().count_nonzero()) for t in tensors):
        raise ArgumentError(
            "all inputs are zero, so that outputs show biases alone; give a batch of real data, or random numbers of "
            "its size: torch.randn_like(inputs)"
        )


def one_batch(inputs: Any, most: int, model: torch.nn.Module) -> Any:
    """The inputs as one batch: of an iterator or a data loader, its first batches joined along their first axis.

    Args:
        inputs: what the caller gave.
        most: how many batches are joined.
        model: says how much of a list that a loader gives is input; targets come after it.

    Raises:
        ArgumentError: there are no inputs, or the batches do not fit together.

    Example:
        >>> pairs = [[torch.zeros(2, 3), torch.zeros(2)], [torch.zeros(4, 3), torch.zeros(4)]]
        >>> tuple(one_batch(iter(pairs), 4, torch.nn.Linear(3, 1))[0].shape)
        (6, 3)
    """
    if inputs is None:
        raise ArgumentError(
            "inputs is missing: give a tensor, a tuple of positional arguments or a dict of keyword arguments"
        )
    if isinstance(inputs, torch.Tensor | tuple | list | Mapping) or not _is_loader(inputs):
        return inputs
    found = [_without_targets(batch, model) for batch in itertools.islice(iter(inputs), most)]
    if not found:
        raise ArgumentError("inputs gave no batch; give an iterator or a data loader that holds at least one")
    tables = [dict(named_tensors(batch)) for batch in found]
    if len({tuple(t) for t in tables}) > 1:
        raise ArgumentError("the batches of inputs do not have the same tensors; give one batch, or passes=1")
    return map_tensors(found[0], lambda tensor, path: _joined(tensor, path, tables))


def _without_targets(batch: Any, model: torch.nn.Module) -> Any:
    """What forward takes of a batch of a loader; torch collates inputs and targets to one list."""
    if type(batch) not in (list, tuple):
        return batch
    fits = [n for n in range(1, len(batch) + 1) if binds(model, n)]
    if len(fits) > 1 and type(batch) is list:
        raise ArgumentError(
            f"the batches of inputs are lists of {len(batch)}, and forward takes {fits[0]} to {fits[-1]} of them; say "
            f"which are inputs: give an iterator such as (tuple(batch[:{fits[0]}]) for batch in loader)"
        )
    return tuple(batch[: fits[-1]]) if fits else batch


def _refuse_loader(inputs: Any) -> Any:
    """The inputs of a model of another library.

    Raises:
        ArgumentError: there are none, or they are batches that come one by one.
    """
    if inputs is None or _is_loader(inputs):
        raise ArgumentError(
            "inputs must be one batch of arrays for a model of another library than torch; join batches with "
            "numpy.concatenate"
        )
    return inputs


def _is_loader(inputs: Any) -> bool:
    return isinstance(inputs, Iterator | torch.utils.data.DataLoader)


def _joined(tensor: torch.Tensor, path: str, tables: list[dict[str, torch.Tensor]]) -> torch.Tensor:
    if len(tables) == 1 or not tensor.dim():
        return tensor
    try:
        return torch.cat([t[path] for t in tables])
    except RuntimeError as error:
        raise ArgumentError(
            f"the batches of inputs cannot be joined at {path or 'the input'}: {error}. Give one batch, or passes=1"
        ) from error
