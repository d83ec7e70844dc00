"""One call of a torch operation, as the quantities in `quantities/` read it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from fanin.measure.record import SiteKind
from fanin.measure.sampling import as_samples

__all__ = ["Call"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call of an operation.

    Attributes:
        op: name of the operation, without in-place marks ("relu", "layer_norm").
        kind: what the operation is for a check.
        args: positional arguments.
        kwargs: keyword arguments.
        batch: number of samples in the batch, None if unknown.
        unit_axis: axis of the input that counts units, None if unknown.
        made_by: the operation that made the first argument, views aside.
        sites: indices of the sites nearest before its arguments; empty before it has run.
        of_model: weights of the model made its second tensor; False before it has run.
        output: what the operation gave; None before it has run.
        before: what quantities read of the arguments before the operation ran, by the name of the quantity.
    """

    op: str
    kind: SiteKind
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    batch: int | None = None
    unit_axis: int | None = None
    made_by: str = ""
    sites: tuple[int, ...] = ()
    of_model: bool = False
    output: torch.Tensor | None = None
    before: Mapping[str, Any] = field(default_factory=dict)

    @property
    def input(self) -> torch.Tensor:
        """The first argument."""
        first: torch.Tensor = self.args[0]
        return first

    @property
    def result(self) -> torch.Tensor:
        """The output, once the operation has run."""
        assert self.output is not None, "the operation has not run"  # noqa: S101 our own bug
        return self.output

    def argument(self, position: int, name: str, default: Any = None) -> Any:
        """An argument of the call, by its position or its name.

        Example:
            >>> call = Call(op="softmax", kind="attention", args=(1,), kwargs={"dim": 2})
            >>> call.argument(1, "dim", -1), call.argument(2, "dtype")
            (2, None)
        """
        return self.args[position] if len(self.args) > position else self.kwargs.get(name, default)

    def samples(self, x: torch.Tensor) -> torch.Tensor | None:
        """A tensor of this call with the samples of the batch on axis 0, None where that is unknown."""
        return as_samples(x, self.batch)
