"""Weights that a model joins into one map (the gates of an LSTM): kept apart, so that each is seen as its own map.

``x @ concatenate([a, b])`` is done as ``x @ a`` and ``x @ b``; they are put together where something needs the whole.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import torch

__all__ = ["Joined", "join", "step", "whole"]

Run = Callable[..., torch.Tensor]


@dataclass(frozen=True, slots=True)
class Joined:
    """Tensors that lie side by side along their last axis."""

    parts: tuple[torch.Tensor, ...]

    @property
    def sizes(self) -> tuple[int, ...]:
        """Of the parts along the last axis."""
        return tuple(p.shape[-1] for p in self.parts)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the whole."""
        return (*self.parts[0].shape[:-1], sum(self.sizes))

    def each(self, run: Callable[[torch.Tensor], torch.Tensor]) -> Joined:
        """The same of other parts."""
        return Joined(tuple(run(p) for p in self.parts))


def whole(value: Any) -> Any:
    """The one tensor that joined ones are; anything else is itself."""
    return torch.cat(value.parts, dim=-1) if isinstance(value, Joined) else value


def join(eqn: Any, given: Sequence[Any], is_weight: Callable[[Any], bool]) -> Joined | None:
    """The weights that an equation joins along the last axis; None where it joins something else."""
    if eqn.primitive.name != "concatenate" or len(given) < 2 or not all(map(is_weight, given)):
        return None
    return Joined(tuple(given)) if eqn.params["dimension"] == given[0].dim() - 1 else None


def step(eqn: Any, given: Sequence[Any], run: Run) -> list[Any] | None:
    """What an equation gives for joined values, part by part; None where it needs the whole.

    Args:
        eqn: the equation.
        given: its inputs.
        run: does a primitive: name, parameters, inputs.
    """
    rule = _RULES.get(eqn.primitive.name)
    return None if rule is None else rule(eqn.primitive.name, eqn.params, given, run)


Rule = Callable[[str, Mapping[str, Any], Sequence[Any], Run], "list[Any] | None"]


def _product(name: str, p: Mapping[str, Any], given: Sequence[Any], run: Run) -> list[Any] | None:
    x, weights = given
    (over_x, over_w), (batch, _) = p["dimension_numbers"]
    plain = isinstance(x, torch.Tensor) and isinstance(weights, Joined) and not batch
    if not plain or len(weights.shape) != 2 or tuple(over_w) != (0,) or tuple(over_x) != (x.dim() - 1,):
        return None
    return [weights.each(lambda w: run(name, p, x, w))]


def _pairwise(name: str, p: Mapping[str, Any], given: Sequence[Any], run: Run) -> list[Any] | None:
    a, b = given
    if not (isinstance(a, Joined) and isinstance(b, Joined) and a.sizes == b.sizes):
        return None
    return [Joined(tuple(run(name, p, one, other) for one, other in zip(a.parts, b.parts, strict=True)))]


def _reshaped(name: str, p: Mapping[str, Any], given: Sequence[Any], run: Run) -> list[Any] | None:
    joined, shape = given[0], tuple(p["new_sizes"])
    if not isinstance(joined, Joined) or not shape or shape[-1] != joined.shape[-1]:
        return None
    return [joined.each(lambda part: run(name, {**p, "new_sizes": (*shape[:-1], part.shape[-1])}, part))]


def _broadcast(name: str, p: Mapping[str, Any], given: Sequence[Any], run: Run) -> list[Any] | None:
    joined, shape, places = given[0], tuple(p["shape"]), tuple(p["broadcast_dimensions"])
    last = isinstance(joined, Joined) and places[-1:] == (len(shape) - 1,) and shape[-1] == joined.shape[-1]
    if not last:
        return None
    return [joined.each(lambda part: run(name, {**p, "shape": (*shape[:-1], part.shape[-1])}, part))]


def _converted(name: str, p: Mapping[str, Any], given: Sequence[Any], run: Run) -> list[Any] | None:
    return [given[0].each(lambda part: run(name, p, part))] if isinstance(given[0], Joined) else None


def _split(name: str, p: Mapping[str, Any], given: Sequence[Any], run: Run) -> list[Any] | None:
    joined = given[0]
    same = isinstance(joined, Joined) and p["axis"] == len(joined.shape) - 1 and tuple(p["sizes"]) == joined.sizes
    return list(joined.parts) if same else None


def _sliced(name: str, p: Mapping[str, Any], given: Sequence[Any], run: Run) -> list[Any] | None:
    joined = given[0]
    if not isinstance(joined, Joined) or any(s != 1 for s in p["strides"] or ()):
        return None
    starts, ends = tuple(p["start_indices"]), tuple(p["limit_indices"])
    cut = any(starts[:-1]) or ends[:-1] != joined.shape[:-1]
    stops = list(accumulate(joined.sizes))
    found = [n for n, stop in enumerate(stops) if (stop - joined.sizes[n], stop) == (starts[-1], ends[-1])]
    return [joined.parts[found[0]]] if found and not cut else None


_RULES: Mapping[str, Rule] = {
    **dict.fromkeys(("add", "sub", "mul"), _pairwise),
    "broadcast_in_dim": _broadcast,
    "convert_element_type": _converted,
    "dot_general": _product,
    "reshape": _reshaped,
    "slice": _sliced,
    "split": _split,
}
