"""What every map of a model gives in one forward pass, by the parameter that it applies."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import torch
from torch.overrides import TorchFunctionMode

from fanin.model.calling import call
from fanin.model.eager import eager, open_functions
from fanin.model.operations import CONTRACTIONS, unordered_name
from fanin.model.parameters import slots_of
from fanin.model.trees import tensors_in

__all__ = ["OUTPUT", "Place", "map_outputs"]

OUTPUT = "output"


class Place(NamedTuple):
    """One use of a map.

    Attributes:
        parameter: the weight that it applies; "output" for what the model returns.
        use: which use of it, from 0.
    """

    parameter: str
    use: int = 0


class _Recorder(TorchFunctionMode):
    """Keeps a copy of the output of every operation that applies a parameter.

    Args:
        names: memory of each parameter -> its name; of what else the model holds and makes weights with -> "".
        data: memory of those of the latter that are a signal to an operation that applies a weight.
    """

    def __init__(self, names: Mapping[int, str], data: frozenset[int]) -> None:
        super().__init__()
        self._names, self._data = dict(names), data
        self._made: list[torch.Tensor] = []  # kept alive, so that no other tensor takes their place in memory
        self._uses: Counter[str] = Counter()
        self.found: dict[Place, torch.Tensor] = {}

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        with torch._C.DisableTorchFunction():
            self._note(func, (args, kwargs or {}), out)
        return out

    def _note(self, func: Any, arguments: Any, out: Any) -> None:
        given = [_memory(t) for t in tensors_in(arguments)]
        made = [t for t in tensors_in(out) if t.is_floating_point()]
        owner = next((name for memory in given if (name := self._names.get(memory))), "")
        if not given or not made:
            return
        reads = any(memory not in self._names or memory in self._data for memory in given)  # rows of a table, too
        if owner and reads and unordered_name(func) in CONTRACTIONS:
            self.found[Place(owner, self._uses[owner])] = made[0].detach().float().clone()
            self._uses[owner] += 1
        elif all(memory in self._names for memory in given):  # made of what the model holds: still the weight
            for tensor in made:
                self._names.setdefault(_memory(tensor), owner)
            self._made += made


def _memory(tensor: torch.Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def map_outputs(model: torch.nn.Module, inputs: Any) -> tuple[dict[Place, torch.Tensor], Any]:
    """The output of every use of every map, in order, and what the model returned.

    Args:
        model: runs as it is, in its own mode.
        inputs: as in `fanin.check`.
    """
    slots = slots_of(model)
    weights = sorted(slots.values(), key=lambda s: s.tensor.dim() < 2)  # a bias that shares memory comes second
    # what a model holds helps to make weights (a mask, the vectors of a spectral norm), or is read (positions)
    held = [b for b in model.buffers() if b.is_floating_point()]
    names = {_memory(b): "" for b in held}
    data = frozenset(_memory(b) for b in held if b.dim() > 1)
    for slot in weights:
        names[_memory(slot.tensor)] = names.get(_memory(slot.tensor)) or slot.name
    recorder = _Recorder({memory: name for memory, name in names.items() if memory}, data)
    with eager(), open_functions(), recorder:
        out = call(model, inputs)
    return dict(_whole(recorder.found, out)), out


def _whole(found: Mapping[Place, torch.Tensor], out: Any) -> Iterator[tuple[Place, torch.Tensor]]:
    yield from found.items()
    from fanin.measure.objective import primary

    last = primary(out)
    if last is not None and last.is_floating_point():
        yield Place(OUTPUT), last.detach().float().clone()
