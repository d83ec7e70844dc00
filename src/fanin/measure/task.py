"""What a check runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import torch

from fanin.model.roles import Seen

__all__ = ["FirstStep", "MeasureTask"]

FirstStep: TypeAlias = "Callable[[torch.Tensor, torch.Tensor], tuple[torch.Tensor, float] | None]"


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasureTask:
    """What is run: the model on inputs, against targets or a loss, from a seed.

    Attributes:
        model: the module.
        inputs: as `fanin.check` takes them.
        targets: what the outputs are compared with, if no loss or together with one.
        loss: a callable that takes the output (and the targets) and returns a scalar tensor.
        seed: of torch's generator before each pass.
        virtual_step: whether gradients of zero are looked at again after a step on a copy.
        training: the mode to measure in; None leaves the model's own.
        predict: whether the forward is captured and theory asked; None: unless it makes more than 2,000 operations.
        first_step: of a parameter and its gradient: what the first step of the optimizer that will train the model
            changes at the largest rate that its group names, and the rate of that step over the largest; None where
            that is not known.
        optimized: ids of the tensors that the given optimizer holds.
        between_classes: where the loss is a cross-entropy, chi is that of differences between the outputs of a sample;
            what all of them share changes no probability.
        seen: what an earlier check of the same model knew of its parameters, for where nothing is captured.
    """

    model: torch.nn.Module
    inputs: Any
    targets: Any = None
    loss: Callable[..., Any] | None = None
    seed: int = 0
    virtual_step: bool = True
    training: bool | None = None
    predict: bool | None = None
    first_step: FirstStep | None = None
    optimized: frozenset[int] = frozenset()
    between_classes: bool = False
    seen: Mapping[str, Seen] = field(default_factory=dict)
