"""Write a plan into a model: all or nothing.

Everything that can be known to fail is checked before the first byte changes. Then each tensor is copied aside,
written, and the copies are thrown away when the last one is done. Whatever interrupts the writing (a bad tensor, no
memory, Ctrl-C) puts every tensor back bit for bit.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fanin.errors import FaninError, FaninWarning, FillError, PlanError
from fanin.memory import free_bytes, processes_here, ran_out
from fanin.model.foreign import as_module, give_back
from fanin.model.parameters import Rename, Slot, renamed, slots_in_parts
from fanin.model.sharding import refuse_gathered
from fanin.planning.assignment import Assignment
from fanin.planning.names import under_names_of
from fanin.streams import key as stream_key
from fanin.tensors.fill import fill_
from fanin.tensors.holdings import Part, holdings
from fanin.tensors.shards import is_sharded, local_part
from fanin.tensors.values import readable, zero_rows_
from fanin.tensors.writable import why_not_writable
from fanin.text.numbers import counted

if TYPE_CHECKING:
    import torch

    from fanin.layout import Layout
    from fanin.model.parametrized import Parametrized
    from fanin.planning.data import PlanData
    from fanin.streams import Key

__all__ = [
    "Write",
    "apply_",
    "assert_fits",
    "bytes_here",
    "draw_into",
    "drawn",
    "kept_numbers",
    "overlapping",
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
        target: id of the parameter that is written; 0 for what is written through a parametrization.
        num_bytes: that `keep` copies in this machine's memory.
        pack: gives, when it is done, what takes less memory in place of what `keep` gave; None where nothing does.
    """

    assignment: Assignment
    keep: Callable[[], Callable[[], None]]
    run: Callable[[], None]
    target: int = 0
    num_bytes: int = 0
    pack: Callable[[Any], Callable[[], None]] | None = None


def apply_(
    plan: PlanData,
    model: torch.nn.Module,
    *,
    progress: bool = False,
    rollback: bool = True,
    partial: bool = False,
    rename: Rename | None = None,
    agree: bool = False,
    fresh: Collection[int] = (),
) -> torch.nn.Module:
    """Write the plan into the model; see `Plan.apply_`. No copy is kept of the tensors with these ids: `fresh`."""
    module = as_module(model).module
    plan = under_names_of(plan, module)
    with agreement(agree):
        writes = writes_of(plan, module, partial=partial, rename=rename)
    write_all(writes, progress=progress, rollback=rollback, fresh=fresh)
    give_back(module)
    return model


def write_all(
    writes: Sequence[Write], *, progress: bool = False, rollback: bool = True, fresh: Collection[int] = ()
) -> None:
    """Carry out all writes or none.

    Args:
        writes: what to do, in order.
        progress: show a bar on stderr.
        rollback: keep a copy of each tensor until all are written, and put them back after an error or Ctrl-C. Where
            the copies would take more memory than is free, a warning says before the first byte that none are kept.
        fresh: ids of tensors that hold nothing yet: no copy of them is kept.

    Raises:
        FillError: a write failed; the message says what was restored.
    """
    import torch

    undo: list[Callable[[], None]] = []
    done: list[str] = []
    rollback = rollback and _copies_fit(w for w in writes if w.target not in fresh)
    with torch.no_grad():
        try:
            for write in _shown(writes, progress):
                if rollback and write.target not in fresh:
                    undo.append(write.keep())
                done.append(write.assignment.name)
                write.run()
                if write.pack is not None and undo:
                    undo[-1] = write.pack(undo[-1])
        except BaseException as error:
            if rollback:
                put_back(undo)
            if not isinstance(error, Exception):
                raise
            raise FillError(_what_happened(done, error, rollback)) from error


def _copies_fit(writes: Iterable[Write]) -> bool:
    """Whether the copies that a rollback needs fit into this process's share of memory; a warning says where not."""
    needed, free = sum(w.num_bytes for w in writes), free_bytes() / processes_here()
    if needed <= free:
        return True
    warnings.warn(
        f"the copies that could put the model back after an error would take {needed / 2**30:.1f} GiB, and "
        f"{free / 2**30:.1f} GiB are free: none are kept. After an error apply the plan again.",
        FaninWarning,
        stacklevel=4,
    )
    return False


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
    less = " rollback=False keeps no copies, which takes less memory." if ran_out(error) else ""
    if rollback:
        return f"{cause}. The model is bit for bit as it was before the first write.{less}"
    held = counted(len(done), "tensor holds", "tensors hold")
    return (
        f"{cause}. rollback was off, so {held} new values (the last one perhaps in part): "
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
def writes_of(
    plan: PlanData, model: torch.nn.Module, *, partial: bool = False, rename: Rename | None = None
) -> list[Write]:
    """What has to be written where, with everything checked.

    Raises:
        PlanError: the plan does not fit the model; every misfit is listed.
    """
    slots = renamed(slots_in_parts(model), rename)
    refuse_gathered(model)
    problems = list(_misfits(plan, slots, partial))
    writes: list[Write] = []
    for slot in _in_order(plan, slots):
        a = plan[slot.name]
        if a.action != "draw" or (a.shape != slot.shape and slot.behind is None):
            continue
        if why := why_not_writable(slot.tensor):
            problems.append(f"{slot.name} {why}")
            continue
        try:
            writes.append(write_(plan, slot, a))
        except (FaninError, ValueError) as error:
            problems.append(f"{slot.name}: {error}")
    problems += _overlaps(slot for slot in slots.values() if slot.name in plan and plan[slot.name].action == "draw")
    _refuse(plan, problems)
    return writes


def _in_order(plan: PlanData, slots: dict[str, Slot]) -> list[Slot]:
    """The parameters that the plan has, in its order."""
    place = {name: index for index, a in enumerate(plan.assignments.values()) for name in a.names}
    return sorted((s for s in slots.values() if s.name in place), key=lambda slot: place[slot.name])


@contextmanager
def agreement(wanted: bool) -> Iterator[None]:
    """All processes go on after the block, or none does: an error in one of them is raised in all.

    Raises:
        PlanError: another process could not go on.
    """
    try:
        yield
    except Exception:
        if wanted:
            _all_well(False)
        raise
    if wanted and not _all_well(True):
        raise PlanError("another process cannot write its part of the plan (it says why); nothing was written here")


def _all_well(here: bool) -> bool:
    """Whether all processes of the default group say so; one number is exchanged."""
    import torch
    import torch.distributed as dist

    if not dist.is_available() or not dist.is_initialized():
        return here
    device = "cuda" if dist.get_backend() == "nccl" else "cpu"
    flag = torch.tensor([int(here)], device=device)
    dist.all_reduce(flag, op=dist.ReduceOp.MIN)
    return bool(flag.item())


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


def _misfits(plan: PlanData, slots: dict[str, Slot], partial: bool = False) -> Iterator[str]:
    for name, slot in slots.items():
        if name not in plan:
            how = "Give rename=, from names here to names in the plan" if partial else "Make a new plan of this model"
            yield f"{name}: the model has it, the plan does not. {how}."
            continue
        a = plan[name]
        if a.shape != slot.shape:
            hint = " Empty: has ZeRO-3 or FSDP freed its memory?" if slot.tensor.numel() == 0 else ""
            yield f"{name}: shape {slot.shape} in the model, {a.shape} in the plan.{hint}"
        ours, planned = set(slot.names), set(a.names)
        if ours != planned and not (partial and ours < planned):
            yield f"{name}: tied to {slot.aliases or 'nothing'} in the model, to {a.names[1:] or 'nothing'} in the plan"
    present = {n for s in slots.values() for n in s.names}
    for name in () if partial else plan.assignments:
        if name not in present:
            yield f"{name}: the plan has it, the model does not"


def _overlaps(slots: Iterable[Slot]) -> list[str]:
    return [
        f"{first} and {second}: different parameters in the same memory; tie them, or give each its own"
        for first, second in overlapping(slots)
    ]


def overlapping(slots: Iterable[Slot]) -> Iterator[tuple[str, str]]:
    """Names of different parameters that share memory: writing one would change the other."""
    by_storage: dict[int, list[tuple[int, str, Any]]] = {}
    for s in slots:
        t: Any = local_part(s.tensor) if readable(s.tensor) else None
        if t is not None and t.numel() and (place := t.untyped_storage().data_ptr()):
            by_storage.setdefault(place, []).append((_first_byte(t), s.name, t))
    for group in by_storage.values():
        group.sort(key=lambda one: one[0])
        for at, (_, name, t) in enumerate(group):
            for start, other, u in itertools.islice(group, at + 1, None):
                if start >= _end_byte(t):
                    break
                if name != other and _meet(t, u):
                    yield name, other


def _first_byte(t: Any) -> int:
    return int(t.storage_offset()) * int(t.element_size())


def _end_byte(t: Any) -> int:
    reach = sum((int(n) - 1) * abs(int(k)) for n, k in zip(t.shape, t.stride(), strict=True)) + 1
    return _first_byte(t) + reach * int(t.element_size())


def _meet(t: Any, u: Any) -> bool:
    """Whether two tensors of one storage have an element in common; two halves of a matrix's columns have none."""
    import torch

    length = max(_end_byte(t), _end_byte(u)) // int(t.element_size())
    if t.element_size() != u.element_size() or length > _MOST_MARKS:
        return True  # not looked at closely
    marks = torch.zeros(length, dtype=torch.bool)
    marks.as_strided(t.shape, t.stride(), t.storage_offset()).fill_(True)
    return bool(marks.as_strided(u.shape, u.stride(), u.storage_offset()).any())


_MOST_MARKS = 1 << 28  # elements of a storage that are marked one by one


# ---------------------------------------------------------------------- one tensor
def drawn(
    plan: PlanData,
    a: Assignment,
    like: torch.Tensor,
    shape: tuple[int, ...] | None = None,
    part: Part | None = None,
) -> torch.Tensor:
    """A new tensor with the values of an assignment, on the device and in the dtype of another; spread as that is."""
    import torch

    if is_sharded(like) or part is not None:
        made = torch.empty_like(like)
    else:
        made = torch.empty(a.shape if shape is None else shape, dtype=like.dtype, device=like.device)
    draw_into(made, plan, a, part)
    return made


def draw_into(
    tensor: torch.Tensor, plan: PlanData, a: Assignment, part: Part | None = None, *, threads: int | None = None
) -> None:
    """Write the law; rows that are zero under every law are drawn too, so that the others keep their bits."""
    law: Any = a.initializer
    key = stream_key(plan.seed, a.key)
    if a.is_scaled:
        wide = wide_like(tensor)
        _fill(wide, law, key, a.layout, part, threads)
        scale_(wide, a, part)
        if wide is not tensor:
            local_part(tensor).copy_(local_part(wide))
    else:
        _fill(tensor, law, key, a.layout, part, threads)
    zero_rows_(tensor, a.zero_rows, part)


def _fill(
    tensor: torch.Tensor, law: Any, key: Key, layout: Layout | None, part: Part | None, threads: int | None
) -> None:
    if part is None:
        law.fill_(tensor, key=key, layout=layout)
    else:
        fill_(tensor, law, key=key, layout=layout, part=part, threads=threads)


def wide_like(tensor: torch.Tensor) -> torch.Tensor:
    """Memory in which a factor costs one rounding: the tensor itself, or as many float32 numbers for 16-bit ones."""
    import torch

    return tensor if tensor.dtype.itemsize >= 4 else torch.empty_like(tensor, dtype=torch.float32)


def scale_(tensor: torch.Tensor, a: Assignment, part: Part | None = None) -> None:
    """Multiply a tensor, or the part of it that is here, by the factors of an assignment, in place."""
    memory: Any = local_part(tensor)
    if a.factor != 1.0:
        memory.mul_(a.factor)
    if not a.part_factors:
        return
    where = part or holdings(tensor)
    for one in a.part_factors:
        for here in where.inside(one.box):
            memory[here].mul_(one.factor)


def write_(plan: PlanData, slot: Slot, a: Assignment) -> Write:
    """The write of one drawn tensor.

    Raises:
        FaninError: the law does not fit the tensor, or cannot be written through its parametrization.
    """
    law: Any = a.initializer
    if slot.behind is not None:
        return _through(plan, slot.behind, a)
    law.check(a.shape, a.layout)
    if slot.part is None:
        holdings(slot.tensor)  # raises where it is not known which elements these are
    return Write(
        assignment=a,
        keep=kept_numbers(slot.tensor),
        run=lambda: draw_into(slot.tensor.detach(), plan, a, slot.part),
        target=id(slot.tensor),
        num_bytes=bytes_here(slot.tensor),
    )


def bytes_here(*tensors: torch.Tensor) -> int:
    """Bytes of this machine's memory that copies take; those of tensors on other devices take none.

    Example:
        >>> import torch
        >>> bytes_here(torch.zeros(3), torch.zeros(2)), bytes_here(torch.zeros(3, device="meta"))
        (20, 0)
    """
    here = (t for t in map(local_part, tensors) if t.device.type == "cpu")
    return sum(int(t.numel() * t.element_size()) for t in here)


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
        num_bytes=bytes_here(*behind.tensors()),
    )
