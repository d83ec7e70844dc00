"""Where a tensor comes from: the parameters and the recorded sites before it, for every living tensor of a pass."""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    import torch

    from fanin.measure.stats import TensorStats

__all__ = ["Living", "Origin", "Origins", "join"]

_MAX_PARENTS = 8
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where a tensor comes from.

    Attributes:
        parameters: names of parameters that reach it through operations on parameters and constants alone.
        data: it depends on the model's inputs (or is read from a table of embeddings).
        sites: nearest recorded sites before it.
        axis: the axis that counts units, None if unknown.
        scores: a product of data with data since the last site: attention logits in the making.
        op: operation that made it, views aside.
        factor: product of the plain numbers that multiplied it since the last site.
        bent: other operations than products, sums and views lie between the last site and it, so that what multiplies
            it now is no factor of that site's output.
        factors: of what is made of several tensors, the same for the sites of each.
        buffers: names of the buffers that reach it through operations on parameters, buffers and constants alone.
        inputs: names of the model's inputs whose scale reaches it, with no weight between.
        changed: more than views lie between the parameters and it.
        apart: those of them that met other inputs or a parameter, as they were before.
    """

    parameters: frozenset[str] = frozenset()
    buffers: frozenset[str] = frozenset()
    inputs: frozenset[str] = frozenset()
    apart: Mapping[str, TensorStats] = field(default_factory=dict)
    factor: float = 1.0
    factors: Mapping[int, float] = field(default_factory=dict)
    data: bool = False
    sites: tuple[int, ...] = ()
    axis: int | None = None
    scores: bool = False
    op: str = ""
    changed: bool = False
    bent: bool = False


CONSTANT = Origin()


def join(origins: Iterable[Origin]) -> Origin:
    """The origin of something made from all of these."""
    found = list(origins)
    parameters = frozenset[str]().union(*(o.parameters for o in found if not o.data))
    data = [o for o in found if o.data]
    sites = tuple(dict.fromkeys(s for o in data for s in o.sites))[:_MAX_PARENTS]
    axis = next((o.axis for o in data if o.axis is not None), None)
    return Origin(
        parameters=parameters,
        data=bool(data),
        sites=sites,
        axis=axis,
        scores=any(o.scores for o in data),
        op=data[0].op if data else "",
        changed=any(o.changed for o in found if not o.data),
        bent=any(o.bent for o in data),
        factor=data[0].factor if len(data) == 1 else 1.0,
        factors={s: o.factor for o in reversed(data) for s in o.sites} if len(data) > 1 else {},
        buffers=frozenset[str]().union(*(o.buffers for o in found if not o.data)),
        inputs=frozenset[str]().union(*(o.inputs for o in data)),
        apart={name: part for o in data for name, part in o.apart.items()},
    )


class Living(Generic[T]):
    """What is known of every living tensor, by identity. Tensors are held weakly, so measuring keeps none alive.

    Args:
        nothing: what is known of a tensor that was never noted.
    """

    def __init__(self, nothing: T) -> None:
        self._nothing = nothing
        self._known: dict[int, tuple[weakref.ref[torch.Tensor], T]] = {}

    def __getitem__(self, tensor: torch.Tensor | None) -> T:
        entry = self._known.get(id(tensor))
        return entry[1] if entry is not None and entry[0]() is tensor else self._nothing

    def __setitem__(self, tensor: torch.Tensor, known: T) -> None:
        self._known[id(tensor)] = (weakref.ref(tensor), known)

    def of(self, values: Iterable[torch.Tensor]) -> list[T]:
        """What is known of several tensors."""
        return [self[v] for v in values]

    def _knows(self, tensor: torch.Tensor) -> bool:
        entry = self._known.get(id(tensor))
        return entry is not None and entry[0]() is tensor


class Origins(Living[Origin]):
    """Where every living tensor comes from."""

    def __init__(self) -> None:
        super().__init__(CONSTANT)

    def pass_on(self, outputs: Iterable[torch.Tensor], origins: Sequence[Origin]) -> None:
        """Give outputs the origins of the inputs that they are, in their order."""
        for output, origin in zip(outputs, origins, strict=False):
            self[output] = origin

    def older_graph(self, values: Iterable[torch.Tensor]) -> bool:
        """Whether one of these was computed before: it has a graph, which belongs to somebody else."""
        return any(v.grad_fn is not None and not self._knows(v) for v in values)
