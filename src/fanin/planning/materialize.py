"""Give a model built on the meta device memory, weights and buffers, and report the source of each buffer."""

from __future__ import annotations

import functools
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fanin.errors import ArgumentError, PlanError, did_you_mean
from fanin.model.buffers import known_buffer, plain_tensors
from fanin.model.parameters import Rename, Slot, renamed, slots_in_parts
from fanin.model.sharding import refresh_sharding
from fanin.model.wrappers import join, named_buffers, named_modules, named_parameters, own_module
from fanin.planning.apply import agreement, apply_, put_back
from fanin.text.names import clean, one_line
from fanin.text.numbers import counted
from fanin.text.reading import shown

if TYPE_CHECKING:
    import torch

    from fanin.planning.data import PlanData

__all__ = ["Materialized", "buffer_values", "materialize"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Materialized:
    """What `Plan.materialize` did.

    Attributes:
        parameters: names of the parameters that were given memory.
        buffers: qualified buffer name -> how its value is known.
    """

    parameters: tuple[str, ...]
    buffers: Mapping[str, str]

    def __str__(self) -> str:
        lines = [
            f"{counted(len(self.parameters), 'parameter')} and {counted(len(self.buffers), 'buffer')} materialised"
        ]
        return "\n".join([*lines, *(f"  {clean(name)}: {clean(how)}" for name, how in self.buffers.items())])


def materialize(
    plan: PlanData,
    model: torch.nn.Module,
    *,
    device: str,
    buffers: Mapping[str, torch.Tensor],
    partial: bool = False,
    rename: Rename | None = None,
    agree: bool = False,
) -> Materialized:
    """Allocate what is on meta, fill it by the plan; see `Plan.materialize`."""
    _assert_device(device)
    with agreement(agree):
        _check(plan, renamed(slots_in_parts(model), rename))
        values, how = buffer_values(model, buffers)
    undo: list[tuple[dict[str, Any], str, Any]] = []
    try:
        names = _allocate_parameters(model, device, undo)
        for path, value in values.items():
            owner, _, attribute = path.rpartition(".")
            module = own_module(model, owner)
            table = module._buffers if attribute in module._buffers else vars(module)
            _put(table, attribute, value.to(device), undo)
        refresh_sharding(model)
        fresh = {id(table[attribute]) for table, attribute, _ in undo}
        apply_(plan, model, partial=partial, rename=rename, agree=agree, fresh=fresh)
    except BaseException:
        put_back([functools.partial(table.__setitem__, attribute, old) for table, attribute, old in undo])
        refresh_sharding(model)
        raise
    return Materialized(parameters=tuple(names), buffers=how)


def _assert_device(device: str) -> None:
    import torch

    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, TypeError) as error:  # unknown, or torch was built without it
        raise ArgumentError(
            f"nothing can be allocated on the device {shown(device)}: {one_line(error)[:120]}. Give one that is here, "
            "such as 'cpu'."
        ) from error


def _check(plan: PlanData, slots: Mapping[str, Slot]) -> None:
    """Everything on meta must be drawn, or the result would hold garbage."""
    lost = []
    for name, slot in slots.items():
        if slot.tensor.device.type != "meta":
            continue
        if slot.through:
            lost.append(f"{name}: it is part of a parametrization; materialise the model before parametrizing it")
        elif name not in plan:
            lost.append(f"{name}: not in the plan")
        elif plan[name].action != "draw":
            lost.append(f"{name}: the plan keeps it, but there is nothing to keep; give it a law with an override")
    if lost:
        listed = "\n  ".join(lost[:12])
        count = counted(len(lost), "parameter")
        raise PlanError(f"{count} on the meta device cannot be filled; nothing was changed:\n  {listed}")


def buffer_values(
    model: torch.nn.Module, given: Mapping[str, Any], wanted: Container[str] | None = None
) -> tuple[dict[str, Any], dict[str, str]]:
    """The values of the buffers on meta (and of those given) on the CPU, and how each is known.

    A tensor that a module keeps as a plain attribute is found and known in the same ways. `wanted`: of these alone.
    """
    values: dict[str, Any] = {}
    how: dict[str, str] = {}
    unknown: dict[str, str] = {}
    plain = dict(_plain_tensors(model))
    found = dict(named_buffers(model)) | plain
    for name in given:
        if name not in found:
            raise PlanError(f"{name!r} in buffers names no buffer; {did_you_mean(name, list(found))}")
    for path, meta in found.items():
        if path in given:
            values[path], how[path] = given[path], "given by the caller"
        elif meta.device.type == "meta" and (wanted is None or path in wanted):
            owner, _, attribute = path.rpartition(".")
            value, why = known_buffer(own_module(model, owner), attribute, meta, _config_around(model, owner))
            if value is None:
                unknown[path] = f"a plain attribute, no buffer; {why}" if path in plain else why
            else:
                values[path], how[path] = value, why
    if unknown:
        listed = "\n  ".join(f"{n}: {why}" for n, why in list(unknown.items())[:12])
        raise PlanError(
            f"the values of {len(unknown)} buffers are not known; nothing was changed:\n  {listed}\nPass them with "
            "buffers={name: tensor}, or build those modules on the CPU."
        )
    return values, how


def _config_around(model: torch.nn.Module, path: str) -> Any:
    """The config of the nearest module at or around a path; None where none has one."""
    while True:
        config = getattr(own_module(model, path), "config", None)
        if config is not None or not path:
            return config
        path = path.rpartition(".")[0]


def _plain_tensors(model: torch.nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    for path, module in named_modules(model):
        for attribute, tensor in plain_tensors(module).items():
            yield join(path, attribute), tensor


def _allocate_parameters(model: torch.nn.Module, device: str, undo: list[tuple[dict[str, Any], str, Any]]) -> list[str]:
    """Replace each meta parameter by an empty one, ties kept; returns the first names."""
    import torch

    made: dict[int, Any] = {}
    names: list[str] = []
    for path, old in list(named_parameters(model)):
        if old.device.type != "meta":
            continue
        if id(old) not in made:
            made[id(old)] = torch.nn.Parameter(torch.empty_like(old, device=device), requires_grad=old.requires_grad)
            names.append(path)
        owner, _, attribute = path.rpartition(".")
        _put(own_module(model, owner)._parameters, attribute, made[id(old)], undo)
    return names


def _put(table: dict[str, Any], attribute: str, value: Any, undo: list[tuple[dict[str, Any], str, Any]]) -> None:
    undo.append((table, attribute, table[attribute]))
    table[attribute] = value
