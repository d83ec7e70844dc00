"""The parameters of a torch model: names, ties, and the parametrizations in front of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fanin.model.given import assert_module
from fanin.model.parametrized import Parametrized, parametrized_tensors
from fanin.model.sharding import refuse_flat
from fanin.model.wrappers import named_parameters

if TYPE_CHECKING:
    import torch

__all__ = ["Slot", "slots_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """One parameter of a live model.

    Attributes:
        name: its first qualified name, without what wrappers add.
        aliases: the other names of the same tensor.
        tensor: the parameter itself.
        behind: the parametrized tensor that it is a part of; None for a plain parameter.
        holder: name of the part that holds the values of that tensor; its own name for a plain parameter.
    """

    name: str
    aliases: tuple[str, ...]
    tensor: torch.Tensor
    behind: Parametrized | None = None
    holder: str

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
        """Its shape."""
        return tuple(self.tensor.shape)

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
    names: dict[int, list[str]] = {}
    tensors: dict[int, torch.Tensor] = {}
    for name, tensor in named_parameters(model):
        names.setdefault(id(tensor), []).append(name)
        tensors[id(tensor)] = tensor
    behind = {part: p for p in parametrized_tensors(model).values() for part in p.parts}
    holders = {p.name: _holder(p, names) for p in behind.values()}
    return {
        own[0]: Slot(
            name=own[0],
            aliases=tuple(own[1:]),
            tensor=tensors[key],
            behind=behind.get(own[0]),
            holder=holders[behind[own[0]].name] if own[0] in behind else own[0],
        )
        for key, own in names.items()
    }


def _holder(tensor: Parametrized, names: dict[int, list[str]]) -> str:
    """The part that holds the values, under the first name of that parameter."""
    first = {n: own[0] for own in names.values() for n in own}
    return next((first[p] for p in tensor.parts if p in first), "")
