"""What a recipe is: a function of the captured network that chooses a law for every parameter and says why."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from fanin.initializers import Initializer
from fanin.layout import Layout
from fanin.model.reading import Reading
from fanin.model.roles import Role, Seen
from fanin.recipes.step import Step

if TYPE_CHECKING:
    import torch

    from fanin.graph.ir import Graph

__all__ = ["Choice", "Chosen", "Live", "Recipe"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What a recipe chose for one parameter.

    Attributes:
        law: the initializer; None to keep the tensor as it is.
        action: "draw" the law, or "keep" the tensor (`law` is then what was read off it, or None).
        role: what the parameter does.
        layout: what its axes mean.
        rule: short name of the rule that decided.
        reason: one sentence for a reader.
        steps: the derivation.
        warnings: what the reader should know.
        predicted_rms: predicted root mean square of the map's output, one number per use.
        predicted_se: standard error of the natural logarithm of each of these numbers.
        understood: False for a tensor that is kept because no rule could place it.
    """

    law: Initializer | None
    action: Literal["draw", "keep"] = "draw"
    role: Role = "unknown"
    layout: Layout | None = None
    rule: str = ""
    reason: str = ""
    steps: tuple[Step, ...] = ()
    warnings: tuple[str, ...] = ()
    predicted_rms: tuple[float | None, ...] = ()
    predicted_se: tuple[float | None, ...] = ()
    understood: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """A recipe's answer for a whole network.

    Attributes:
        choices: by first qualified name. A parameter that is missing here is one that the recipe cannot place.
        unknown: parameters it cannot place -> why.
        seen: what each parameter is, where the recipe read the forward pass; by first qualified name.
        zero_rows: rows of tables that the forward pass reads as padding, by first qualified name.
        warnings: what concerns the whole network.
        extras: JSON-ready facts beside the laws (learning-rate groups, the predicted stream).
    """

    choices: Mapping[str, Choice]
    unknown: Mapping[str, str] = field(default_factory=dict)
    seen: Mapping[str, Seen] = field(default_factory=dict)
    zero_rows: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    extras: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Live:
    """The model that a recipe chooses for; a recipe never asks the model itself.

    Attributes:
        reading: the model as it was read.
        inputs: what its forward pass is called with.
        kept: parameters that stay as they are whatever a recipe says -> why.
        empty: parameters that hold nothing which could be kept -> why ("holds NaN").
    """

    reading: Reading
    inputs: Any = None
    kept: Mapping[str, str] = field(default_factory=dict)
    empty: Mapping[str, str] = field(default_factory=dict)

    @property
    def tensors(self) -> Mapping[str, torch.Tensor]:
        """Its parameters by first qualified name, each once.

        Of a parametrized tensor only the parameter that holds its values is here, with the effective tensor.
        """
        return self.reading.tensors

    @property
    def lost_buffers(self) -> Mapping[str, str]:
        """Buffers that hold no usable numbers -> why; what is predicted behind them means nothing."""
        return self.reading.lost_buffers

    @property
    def zero_rows(self) -> Mapping[str, tuple[int, ...]]:
        """Rows of tables that are zero under every law (padding)."""
        return self.reading.zero_rows

    @cached_property
    def graph(self) -> Graph:
        """The captured forward pass; a recipe that needs none never pays for one."""
        from fanin.graph.recording.capture import capture

        return capture(self.reading.model, self.inputs)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """One way to start a network.

    Attributes:
        name: as given to ``fanin.plan(recipe=...)``.
        summary: one line.
        choose: (live model, options) -> choices.
        options: a frozen dataclass whose fields are the recipe's options, with defaults.
        source: where it is from.
        draws: False for a recipe that only reads what is there.
    """

    name: str
    summary: str
    choose: Callable[[Live, Any], Chosen]
    options: type[Any]
    source: str = ""
    draws: bool = True
