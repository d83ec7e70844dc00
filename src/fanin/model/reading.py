"""One reading of a model: its parameters with names, ties and parametrizations, who owns them, and what they hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fanin.errors import PlanError
from fanin.model.nested import refuse_nested_parameters
from fanin.model.owners import Owned, owners
from fanin.model.parameters import Slot, slots_of
from fanin.model.standing import lost_buffers, zero_rows
from fanin.model.wrappers import unwrapped

if TYPE_CHECKING:
    import torch

__all__ = ["Reading", "read"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """A model as it was when it was read; what comes after asks this, and not the model again.

    Attributes:
        model: the model itself, for those who write into it.
        class_name: of the model.
        slots: its parameters by first qualified name, each once, in the model's order.
        owners: the module of each, with the role and the layout that it gives.
        tensors: what the forward pass uses, by first qualified name: plain parameters, and of each parametrized tensor
            the whole, under the name of the part that holds its values.
        zero_rows: rows of tables that are zero under every law (padding).
        lost_buffers: buffers that hold no usable numbers -> why.
    """

    model: torch.nn.Module
    class_name: str
    slots: Mapping[str, Slot]
    owners: Mapping[str, Owned]
    tensors: Mapping[str, torch.Tensor]
    zero_rows: Mapping[str, tuple[int, ...]]
    lost_buffers: Mapping[str, str]

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape that fans are counted on: of what the forward pass uses, or of a part beside it."""
        tensor = self.tensors.get(name)
        return self.slots[name].shape if tensor is None else tuple(tensor.shape)


def read(model: torch.nn.Module) -> Reading:
    """Read the parameters of a model; nothing in it changes.

    Raises:
        PlanError: a parameter has no shape yet or is nested, or two have the same name once wrappers are left out.

    Example:
        >>> import torch
        >>> found = read(torch.nn.Linear(2, 3))
        >>> [(name, found.owners[name].role, found.shape(name)) for name in found.slots]
        [('weight', 'weight', (3, 2)), ('bias', 'bias', (3,))]
    """
    slots = slots_of(model)
    _refuse_lazy(slots)
    refuse_nested_parameters({name: slot.tensor for name, slot in slots.items()})
    return Reading(
        model=model,
        slots=slots,
        owners=owners(model, slots),
        tensors={name: slot.effective() for name, slot in slots.items() if slot.holds_values},
        zero_rows=zero_rows(model, slots),
        lost_buffers=lost_buffers(model),
        class_name=type(unwrapped(model)).__name__,
    )


def _refuse_lazy(slots: Mapping[str, Slot]) -> None:
    from torch.nn.parameter import UninitializedParameter

    lazy = next((n for n, s in slots.items() if isinstance(s.tensor, UninitializedParameter)), None)
    if lazy is not None:
        raise PlanError(f"{lazy!r} has no shape yet (a lazy module). Run the model once on an input, then plan it.")
