"""Write a plan into a model: all or nothing.

Everything that can be known to fail is checked before the first byte changes. Then each tensor is copied aside,
written, and the copies are thrown away when the last one is done. Whatever interrupts the writing (a bad tensor, no
memory, Ctrl-C) puts every tensor back bit for bit.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fanin.errors import FaninError, FillError, PlanError
from fanin.model.parameters import Slot, slots_of
from fanin.planning.assignment import Assignment
from fanin.streams import key as stream_key
from fanin.tensors.shards import is_sharded, local_box
from fanin.tensors.values import zero_rows_
from fanin.tensors.writable import why_not_writable

if TYPE_CHECKING:
    import torch

    from fanin.model.parametrized import Parametrized
    from fanin.planning.data import PlanData

__all__ = [
    "Write",
    "apply_",
    "assert_fits",
    "drawn",
    "kept_numbers",
    "scale_",
    "wide_like",
    "write_",
    "write_all",
    "writes_of",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Write:
    """One tensor to be written.

    Attributes:
        assignment: what it gets.
        keep: remembers all that the write may change; what it gives puts that back, and may be called again.
        run: does it.
    """

    assignment: Assignment
    keep: Callable[[], Callable[[], None]]
    run: Callable[[], None]


def apply_(plan: PlanData, model: torch.nn.Module, *, progress: bool = False, rollback: bool = True) -> torch.nn.Module:
    """Write the plan into the model; see `Plan.apply_`."""
    write_all(writes_of(plan, model), progress=progress, rollback=rollback)
    return model


def write_all(writes: Sequence[Write], *, progress: bool = False, rollback: bool = True) -> None:
    """Carry out all writes or none.

    Args:
        writes: what to do, in order.
        progress: show a bar on stderr.
        rollback: keep a copy of each tensor until all are written, and put them back after an error or Ctrl-C.

    Raises:
        FillError: a write failed; the message says what was restored.
    """
    import torch

    undo: list[Callable[[], None]] = []
    done: list[str] = []
    with torch.no_grad():
        try:
            for write in _shown(writes, progress):
                if rollback:
                    undo.append(write.keep())
                done.append(write.assignment.name)
                write.run()
        except BaseException as error:
            if rollback:
                put_back(undo)
            if not isinstance(error, Exception):
                raise
            raise FillError(_what_happened(done, error, rollback)) from error


def put_back(undo: Sequence[Callable[[], None]]) -> None:
    """Undo every step, the last one first; what interrupts that (Ctrl-C, no memory) is raised when all is back.

    Raises:
        FillError: a step failed as often as it was tried.
    """
    interrupted: BaseException | None = None
    todo, failures = list(undo), 0
    while todo:
        try:
            while todo:
                todo[-1]()
                todo.pop()
                failures = 0
        except Exception as error:
            failures += 1
            if failures == _TRIES:
                raise FillError(
                    f"the model could not be put back as it was: {type(error).__name__}: {error}. Load it again from "
                    "where you have it."
                ) from error
        except BaseException as error:
            interrupted = error
    if interrupted is not None:
        raise interrupted


_TRIES = 8  # of a step that puts something back, where it fails again and again


def _what_happened(done: list[str], error: Exception, rollback: bool) -> str:
    cause = (
        f"writing {done[-1]!r} failed: {type(error).__name__}: {error}" if done else f"{type(error).__name__}: {error}"
    )
    if rollback:
        return f"{cause}. The model is bit for bit as it was before the first write."
    return (
        f"{cause}. rollback was off, so these {len(done)} tensors hold new values (the last one perhaps in part): "
        f"{', '.join(done)}. Apply the plan again when the cause is gone."
    )


@contextmanager
def _progress_bar(total: int) -> Iterator[Callable[[], None]]:
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("writing weights", total=total)
        yield lambda: bar.advance(task)


def _shown(writes: Sequence[Write], progress: bool) -> Iterator[Write]:
    if not progress:
        yield from writes
        return
    with _progress_bar(len(writes)) as advance:
        for write in writes:
            yield write
            advance()


# ---------------------------------------------------------------------- before the first byte
def writes_of(plan: PlanData, model: torch.nn.Module) -> list[Write]:
    """What has to be written where, with everything checked.

    Raises:
        PlanError: the plan does not fit the model; every misfit is listed.
    """
    slots = slots_of(model)
    problems = list(_misfits(plan, slots))
    writes: list[Write] = []
    for a in plan.assignments.values():
        if a.name not in slots or a.action != "draw":
            continue
        if why := why_not_writable(slots[a.name].tensor):
            problems.append(f"{a.name} {why}")
            continue
        try:
            writes.append(write_(plan, slots[a.name], a))
        except (FaninError, ValueError) as error:
            problems.append(f"{a.name}: {error}")
    problems += _overlaps(slots[w.assignment.name] for w in writes)
    _refuse(plan, problems)
    return writes


def assert_fits(plan: PlanData, slots: dict[str, Slot]) -> None:
    """Check that a plan is of the model with these parameters.

    Raises:
        PlanError: names, shapes or ties differ; every misfit is listed.
    """
    _refuse(plan, list(_misfits(plan, slots)))


def _refuse(plan: PlanData, problems: Sequence[str]) -> None:
    if problems:
        shown = "\n  ".join(problems[:12]) + (f"\n  ... and {len(problems) - 12} more" if len(problems) > 12 else "")
        raise PlanError(f"this plan of {plan.model} does not fit the model; nothing was written:\n  {shown}")


def _misfits(plan: PlanData, slots: dict[str, Slot]) -> Iterator[str]:
    for name, slot in slots.items():
        if name not in plan:
            yield f"{name}: the model has it, the plan does not. Make a new plan of this model."
            continue
        a = plan[name]
        if a.shape != slot.shape:
            hint = (
                " Empty: is it sharded by ZeRO-3? Apply inside its gathering context."
                if slot.tensor.numel() == 0
                else ""
            )
            yield f"{name}: shape {slot.shape} in the model, {a.shape} in the plan.{hint}"
        if set(a.names) != {slot.name, *slot.aliases}:
            yield f"{name}: tied to {slot.aliases or 'nothing'} in the model, to {a.names[1:] or 'nothing'} in the plan"
    for name in plan.assignments:
        if name not in slots and not any(name in s.aliases for s in slots.values()):
            yield f"{name}: the plan has it, the model does not"


def _overlaps(slots: Iterable[Slot]) -> list[str]:
    """Different parameters that share memory: writing one would change the other."""
    spans: dict[int, list[tuple[int, int, str]]] = {}
    for s in slots:
        t: Any = s.tensor
        t = t.to_local() if is_sharded(t) else t
        if t.numel() == 0:
            continue
        reach = sum((int(n) - 1) * abs(int(k)) for n, k in zip(t.shape, t.stride(), strict=True)) + 1
        start = int(t.storage_offset()) * t.element_size()
        spans.setdefault(t.untyped_storage().data_ptr(), []).append((start, start + reach * t.element_size(), s.name))
    found = []
    for group in spans.values():
        group.sort()
        for (_, end, first), (start, _, second) in itertools.pairwise(group):
            if start < end and first != second and len(group) > 1:
                found.append(
                    f"{first} and {second}: different parameters in the same memory; tie them, or give each its own"
                )
    return found


# ---------------------------------------------------------------------- one tensor
def drawn(plan: PlanData, a: Assignment, like: torch.Tensor, shape: tuple[int, ...] | None = None) -> torch.Tensor:
    """A new tensor with the values of an assignment, on the device and in the dtype of another; spread as that is."""
    import torch

    if is_sharded(like):
        made = torch.empty_like(like)
    else:
        made = torch.empty(a.shape if shape is None else shape, dtype=like.dtype, device=like.device)
    _draw_into(made, plan, a)
    return made


def _draw_into(tensor: torch.Tensor, plan: PlanData, a: Assignment) -> None:
    """Write the law; rows that are zero under every law are drawn too, so that the others keep their bits."""
    law: Any = a.initializer
    key = stream_key(plan.seed, a.key)
    if a.is_scaled:
        wide = wide_like(tensor)
        law.fill_(wide, key=key, layout=a.layout)
        scale_(wide, a)
        if wide is not tensor:
            tensor.copy_(wide)
    else:
        law.fill_(tensor, key=key, layout=a.layout)
    zero_rows_(tensor, a.zero_rows)


def wide_like(tensor: torch.Tensor) -> torch.Tensor:
    """Memory in which a factor costs one rounding: the tensor itself, or as many float32 numbers for 16-bit ones."""
    import torch

    return tensor if tensor.dtype.itemsize >= 4 else torch.empty_like(tensor, dtype=torch.float32)


def scale_(tensor: torch.Tensor, a: Assignment) -> None:
    """Multiply a tensor, or the shard of it that is here, by the factors of an assignment, in place."""
    part: Any = tensor
    here = [slice(0, n) for n in tensor.shape]
    if is_sharded(tensor):
        here = list(local_box(tensor))
        part = part.to_local()
    if a.factor != 1.0:
        part.mul_(a.factor)
    for one in a.part_factors:
        inside = [
            slice(max(start - h.start, 0), max(min(stop, h.stop) - h.start, 0))
            for (start, stop), h in zip(one.box, here, strict=True)
        ]
        part[tuple(inside)].mul_(one.factor)


def write_(plan: PlanData, slot: Slot, a: Assignment) -> Write:
    """The write of one drawn tensor.

    Raises:
        FaninError: the law does not fit the tensor, or cannot be written through its parametrization.
    """
    law: Any = a.initializer
    if slot.behind is not None:
        return _through(plan, slot.behind, a)
    law.check(a.shape, a.layout)
    return Write(assignment=a, keep=kept_numbers(slot.tensor), run=lambda: _draw_into(slot.tensor.detach(), plan, a))


def kept_numbers(tensor: torch.Tensor) -> Callable[[], Callable[[], None]]:
    """What copies the numbers of a tensor aside; it gives what puts them back."""

    def keep() -> Callable[[], None]:
        own, copy = tensor.detach(), tensor.detach().clone()

        def restore() -> None:
            own.copy_(copy)

        return restore

    return keep


def _through(plan: PlanData, behind: Parametrized, a: Assignment) -> Write:
    """A write through a parametrization: its parts get what ``right_inverse`` makes of the drawn tensor."""
    effective = behind.value()
    shape = tuple(effective.shape)
    law: Any = a.initializer
    law.check(shape, a.layout)
    behind.check()
    return Write(
        assignment=a,
        keep=lambda: behind.keep().put_back,
        run=lambda: behind.write(drawn(plan, a, effective, shape)),
    )
