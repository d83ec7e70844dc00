"""Write a plan into a model: all or nothing.

Everything that can be known to fail is checked before the first byte changes. Then each tensor is copied aside,
written, and the copies are thrown away when the last one is done. Whatever interrupts the writing (a bad tensor, no
memory, Ctrl-C) puts every tensor back bit for bit.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fanin.errors import FaninError, FillError, PlanError
from fanin.model.parameters import Slot, parametrized_tensors, slots_of
from fanin.planning.assignment import Assignment
from fanin.streams import key as stream_key

if TYPE_CHECKING:
    import torch

    from fanin.planning.data import PlanData

__all__ = ["Write", "apply_", "drawn", "parts_for", "writes_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Write:
    """One tensor to be written.

    Attributes:
        assignment: what it gets.
        touched: every tensor whose bytes the write may change, by qualified name.
        run: does it.
    """

    assignment: Assignment
    touched: dict[str, Any]
    run: Callable[[], None]


def apply_(plan: PlanData, model: torch.nn.Module, *, progress: bool = False, rollback: bool = True) -> torch.nn.Module:
    """Write the plan into the model; see `Plan.apply_`."""
    import torch

    writes = writes_of(plan, model)
    copies: list[tuple[Any, Any]] = []
    done: list[str] = []
    with torch.no_grad():
        try:
            for write in _shown(writes, progress):
                if rollback:
                    copies.extend((t, t.detach().clone()) for t in write.touched.values())
                done.append(write.assignment.name)
                write.run()
        except BaseException as error:
            if rollback:
                _restore(copies)
            if not isinstance(error, Exception):
                raise
            raise FillError(_what_happened(done, error, rollback)) from error
    return model


def _restore(copies: list[tuple[Any, Any]]) -> None:
    """Put every copy back, the oldest last; an interrupt during that is heard when all is back."""
    interrupted: BaseException | None = None
    while copies:
        tensor, copy = copies[-1]
        try:
            tensor.detach().copy_(copy)
            copies.pop()
        except KeyboardInterrupt as again:
            interrupted = again
    if interrupted is not None:
        raise interrupted


def _what_happened(done: list[str], error: Exception, rollback: bool) -> str:
    cause = (
        f"writing {done[-1]!r} failed: {type(error).__name__}: {error}" if done else f"{type(error).__name__}: {error}"
    )
    if rollback:
        return f"{cause}. The model is bit for bit as it was before apply_."
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


def _shown(writes: list[Write], progress: bool) -> Iterator[Write]:
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
    by_through = {s.through: s for s in slots.values() if s.through}
    writes: list[Write] = []
    for a in plan.assignments.values():
        if a.name not in slots or a.action != "draw":
            continue
        try:
            assert_writable(slots[a.name])
            if a.initializer is not None and not a.through:
                a.initializer.check(a.shape, a.layout)
            writes.append(_write(plan, model, slots[a.name], a))
        except (FaninError, ValueError) as error:
            problems.append(f"{a.name}: {error}")
    problems += _overlaps(slots[w.assignment.name] for w in writes)
    problems += [
        f"{t}: it is parametrized, and the plan writes none of its parts"
        for t, s in by_through.items()
        if not any(a.through == t for a in plan.assignments.values())
        and any(n in plan for n in (s.name,))
        and plan[s.name].action == "draw"
    ]
    if problems:
        shown = "\n  ".join(problems[:12]) + (f"\n  ... and {len(problems) - 12} more" if len(problems) > 12 else "")
        raise PlanError(f"this plan of {plan.model} does not fit the model; nothing was written:\n  {shown}")
    return writes


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


def assert_writable(slot: Slot) -> None:
    """Raise `PlanError` where a tensor cannot be written in place.

    Raises:
        PlanError: a meta, integer, inference or self-overlapping tensor, with what to do.
    """
    import torch

    t = slot.tensor
    if t.device.type == "meta":
        raise PlanError("is on the meta device and has no memory; use plan.materialize(model)")
    if not (t.is_floating_point() or t.is_complex()):
        raise PlanError(
            f"has dtype {slot.dtype}; only floating and complex tensors are drawn. Use an override to keep it."
        )
    if t.is_inference() and not torch.is_inference_mode_enabled():
        raise PlanError(
            "was made in inference mode and cannot be written outside it; build the model without inference_mode"
        )
    if torch._debug_has_internal_overlap(t) == 1:
        raise PlanError(
            "is an expanded view: several of its elements share one place in memory. Make it contiguous first."
        )


def _overlaps(slots: Iterable[Slot]) -> list[str]:
    """Different parameters that share memory: writing one would change the other."""
    spans: dict[int, list[tuple[int, int, str]]] = {}
    for s in slots:
        t = s.tensor
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
    """A new tensor with the values of an assignment, on the device and in the dtype of another."""
    import torch

    made = torch.empty(a.shape if shape is None else shape, dtype=like.dtype, device=like.device)
    law: Any = a.initializer
    law.fill_(made, key=stream_key(plan.seed, a.key), layout=a.layout)
    return made


def _write(plan: PlanData, model: torch.nn.Module, slot: Slot, a: Assignment) -> Write:
    if slot.through:
        return _through(plan, model, slot, a)
    law, key = a.initializer, stream_key(plan.seed, a.key)

    def run() -> None:
        law.fill_(slot.tensor.detach(), key=key, layout=a.layout)  # type: ignore[union-attr]

    return Write(assignment=a, touched={a.name: slot.tensor}, run=run)


def _through(plan: PlanData, model: torch.nn.Module, slot: Slot, a: Assignment) -> Write:
    """A write through a parametrization: its parts get what ``right_inverse`` makes of the drawn tensor."""
    path, _, attribute = slot.through.rpartition(".")
    module = model.get_submodule(path)
    effective = getattr(module, attribute)
    a.initializer.check(tuple(effective.shape), a.layout)  # type: ignore[union-attr]
    parts = parametrized_tensors(model)[slot.through]
    lists = getattr(module, "parametrizations", None)
    holder = lists[attribute] if lists is not None and attribute in lists else None
    touched = {p: model.get_parameter(p) for p in parts}
    if holder is not None:
        touched |= {f"{slot.through}.{n}": b for n, b in holder.named_buffers()}
    touched |= {f"{slot.through}_{n}": b for n in "uv" if (b := getattr(module, f"{attribute}_{n}", None)) is not None}

    def run() -> None:
        value = drawn(plan, a, effective, tuple(effective.shape))
        for name, part in parts_for(module, attribute, value).items():
            module.get_parameter(name).detach().copy_(part)
        _refresh(module, attribute)

    return Write(assignment=a, touched=touched, run=run)


def parts_for(module: torch.nn.Module, attribute: str, value: torch.Tensor) -> dict[str, torch.Tensor]:
    """What each part of a parametrized tensor must be for the tensor to be `value`, by name inside the module.

    Raises:
        FillError: a parametrization without ``right_inverse``.
    """
    lists = getattr(module, "parametrizations", None)
    if lists is None or attribute not in lists:
        return _hooked_parts(module, attribute, value)
    made: Any = value
    for parametrization in reversed(list(lists[attribute])):
        if not hasattr(parametrization, "right_inverse"):
            raise FillError(
                f"{type(parametrization).__name__} has no right_inverse, so no value can be written through it; add "
                "one, or keep the parameter with an override"
            )
        made = parametrization.right_inverse(made)
    place = f"parametrizations.{attribute}.original"
    if isinstance(made, (tuple, list)):
        return {f"{place}{i}": part for i, part in enumerate(made)}
    return {place: made}


_POWER_ITERATIONS = 30


def _refresh(module: torch.nn.Module, attribute: str) -> None:
    """Let spectral norm find the largest singular value of the new weight: its vectors still belong to the old one."""
    lists = getattr(module, "parametrizations", None)
    if lists is not None and attribute in lists:
        holder = lists[attribute]
        flags = [m.training for m in holder.modules()]
        if not any("SpectralNorm" in type(p).__name__ for p in holder):
            return
        holder.train()
        for _ in range(_POWER_ITERATIONS):
            holder()
        for m, flag in zip(holder.modules(), flags, strict=True):
            m.training = flag
        return
    for hook in module._forward_pre_hooks.values():
        if getattr(hook, "name", None) == attribute and type(hook).__name__ == "SpectralNorm":
            for _ in range(_POWER_ITERATIONS):
                hook.compute_weight(module, do_power_iteration=True)  # type: ignore[attr-defined]


def _hooked_parts(module: torch.nn.Module, attribute: str, value: torch.Tensor) -> dict[str, torch.Tensor]:
    from torch import norm_except_dim

    for hook in module._forward_pre_hooks.values():
        if getattr(hook, "name", None) == attribute and type(hook).__name__ == "WeightNorm":
            return {f"{attribute}_g": norm_except_dim(value, 2, hook.dim), f"{attribute}_v": value}  # type: ignore[attr-defined]
    return {f"{attribute}_orig": value}
