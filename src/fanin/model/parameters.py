"""The parameters of a torch model: names, ties, and the parametrizations in front of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from fanin.errors import ArgumentError, PlanError
from fanin.model.given import assert_module
from fanin.model.parametrized import Parametrized, parametrized_tensors
from fanin.model.parts import InPart, named_parts
from fanin.model.sharding import refuse_flat
from fanin.model.wrappers import named_parameters
from fanin.tensors.holdings import Part
from fanin.text.reading import shown

if TYPE_CHECKING:
    import torch

__all__ = ["Rename", "Slot", "renamed", "slots_in_parts", "slots_of"]

Rename = Mapping[str, str] | Callable[[str], str]
"""Names in a part of a model -> names in the whole one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """One parameter of a live model.

    Attributes:
        name: its first qualified name, without what wrappers add.
        aliases: the other names of the same tensor.
        tensor: the parameter itself, or the flat part of it that is in this process.
        part: which elements of the parameter the tensor is, where it is a flat part; None elsewhere.
        behind: the parametrized tensor that it is a part of; None for a plain parameter.
        holder: name of the part that holds the values of that tensor; its own name for a plain parameter.
    """

    name: str
    aliases: tuple[str, ...]
    tensor: torch.Tensor
    behind: Parametrized | None = None
    holder: str
    part: Part | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """All names, the first one first."""
        return (self.name, *self.aliases)

    @property
    def through(self) -> str:
        """Qualified name of the parametrized tensor that it is a part of; empty for a plain parameter."""
        return "" if self.behind is None else self.behind.name

    @property
    def holds_values(self) -> bool:
        """Whether a law is drawn for it: it is a plain parameter, or the part that holds the values."""
        return self.holder == self.name

    @property
    def is_set_with_holder(self) -> bool:
        """Whether it changes when the parametrized tensor that it is a part of is written."""
        return self.behind is not None and self.name in self.behind.written

    @property
    def dtype(self) -> str:
        """Its dtype without the ``torch.`` prefix."""
        return str(self.tensor.dtype).removeprefix("torch.")

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape, also where a part of it is elsewhere."""
        return tuple(self.tensor.shape) if self.part is None else self.part.whole

    def effective(self) -> torch.Tensor:
        """What the forward pass uses: the parameter, or the tensor that is computed from it (nothing moves)."""
        return self.tensor if self.behind is None else self.behind.value()


def slots_of(model: torch.nn.Module) -> dict[str, Slot]:
    """All parameters of a model by first qualified name, each once, in the order of the model.

    Raises:
        ArgumentError: it is no module.
        PlanError: two parameters have the same name once the prefixes of wrappers are left out, or FSDP keeps them as
            pieces of one flat tensor.

    Example:
        >>> import torch
        >>> list(slots_of(torch.nn.DataParallel(torch.nn.Linear(2, 3))))
        ['weight', 'bias']
    """
    assert_module(model)
    refuse_flat(model)
    found = {name: (id(tensor), InPart(tensor)) for name, tensor in named_parameters(model)}
    return _slots(found, parametrized_tensors(model).values())


def slots_in_parts(model: torch.nn.Module) -> dict[str, Slot]:
    """Likewise, for those who write or compare the part of each parameter that is in this process.

    Raises:
        PlanError: as in `slots_of`, but flat parts of FSDP and ZeRO-3 are given where it is known what they are.
    """
    assert_module(model)
    found = {name: (number, one) for name, number, one in named_parts(model)}
    return _slots(found, parametrized_tensors(model).values())


def _slots(found: Mapping[str, tuple[int, InPart]], parametrized: Iterable[Parametrized]) -> dict[str, Slot]:
    names: dict[int, list[str]] = {}
    tensors: dict[int, InPart] = {}
    for name, (number, one) in found.items():
        names.setdefault(number, []).append(name)
        tensors[number] = one
    behind = {part: p for p in parametrized for part in p.parts}
    _refuse_flat_parametrized({n: one for n, (_, one) in found.items() if n in behind})
    holders = {p.name: _holder(p, names) for p in behind.values()}
    return {
        own[0]: Slot(
            name=own[0],
            aliases=tuple(own[1:]),
            tensor=tensors[key].tensor,
            behind=behind.get(own[0]),
            holder=holders[behind[own[0]].name] if own[0] in behind else own[0],
            part=tensors[key].part,
        )
        for key, own in names.items()
    }


def _refuse_flat_parametrized(parts: Mapping[str, InPart]) -> None:
    lost = next((name for name, one in parts.items() if one.part is not None), None)
    if lost is not None:
        raise PlanError(
            f"{lost!r} is part of a parametrization and only a piece of it is in this process. Apply the plan before "
            "the model is wrapped or partitioned."
        )


def renamed(slots: Mapping[str, Slot], rename: Rename | None) -> dict[str, Slot]:
    """The same parameters under the names of the whole model.

    Args:
        slots: by their names in the part.
        rename: a mapping (other names stay), or a function of a name.

    Raises:
        PlanError: two parameters would have one name, or a new name is no text.

    Example:
        >>> import torch
        >>> list(renamed(slots_of(torch.nn.Linear(2, 3)), lambda name: f"layers.7.{name}"))
        ['layers.7.weight', 'layers.7.bias']
    """
    if rename is None:
        return dict(slots)
    if not isinstance(rename, Mapping) and not callable(rename):
        raise ArgumentError(f"rename is a mapping of names, or a function of a name; got {shown(rename)}")
    new = (lambda name: rename.get(name, name)) if isinstance(rename, Mapping) else rename
    made: dict[str, Slot] = {}
    for slot in slots.values():
        names = [new(name) for name in slot.names]
        if wrong := next((n for n in names if not isinstance(n, str) or not n), None):
            raise PlanError(f"rename gives {wrong!r} for one of {slot.names}; it must give a name")
        holder = new(slot.holder) if slot.holder else ""
        one = replace(slot, name=names[0], aliases=tuple(names[1:]), holder=holder)
        if taken := {n for s in made.values() for n in s.names} & set(names):
            raise PlanError(f"rename gives the name {min(taken)!r} to two parameters; each needs a name of its own")
        made[one.name] = one
    return made


def _holder(tensor: Parametrized, names: dict[int, list[str]]) -> str:
    """The part that holds the values, under the first name of that parameter."""
    first = {n: own[0] for own in names.values() for n in own}
    return next((first[p] for p in tensor.parts if p in first), "")
