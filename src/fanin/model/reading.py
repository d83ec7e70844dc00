"""One reading of a model: its parameters with names, ties and parametrizations, who owns them, and what they hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fanin.model.owners import Owned, owners
from fanin.model.parameters import Slot, slots_of

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
    """

    model: torch.nn.Module
    class_name: str
    slots: Mapping[str, Slot]
    owners: Mapping[str, Owned]
    tensors: Mapping[str, torch.Tensor]

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape that fans are counted on: of what the forward pass uses, or of a part beside it."""
        tensor = self.tensors.get(name)
        return self.slots[name].shape if tensor is None else tuple(tensor.shape)


def read(model: torch.nn.Module) -> Reading:
    """Read the parameters of a model; nothing in it changes.

    Example:
        >>> import torch
        >>> found = read(torch.nn.Linear(2, 3))
        >>> [(name, found.owners[name].role, found.shape(name)) for name in found.slots]
        [('weight', 'weight', (3, 2)), ('bias', 'bias', (3,))]
    """
    slots = slots_of(model)
    return Reading(
        model=model,
        class_name=type(model).__name__,
        slots=slots,
        owners=owners(model, list(slots)),
        tensors={name: slot.effective() for name, slot in slots.items() if slot.holds_values},
    )
