"""A start with parameter groups: a recipe's laws at any width, trained at rates that were tuned at the base width."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import nn

from fanin.scaling.groups import param_groups
from fanin.scaling.param_groups import ParamGroups

__all__ = ["Transfer"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer:
    """An init of `fanin.compare` that brings parameter groups: `fanin.param_groups` with a plan of this recipe.

    Attributes:
        recipe: name of the recipe.
        base: builds the model at the base width.
        optimizer: that the groups are for; the comparison must train with it.
        options: the recipe's options.
        settings: further arguments of `fanin.param_groups`.
    """

    recipe: str = "auto"
    base: Callable[[], nn.Module]
    optimizer: str = "adam"
    options: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    _plans: dict[Any, Any] = field(default_factory=dict, repr=False, compare=False)

    def grouped(self, model: nn.Module, *, seed: int, inputs: Any, lr: float) -> ParamGroups:
        """Write the start into the model, and give the groups for one learning rate.

        Args:
            model: changed in place.
            seed: of the streams.
            inputs: an example batch.
            lr: at the base width.
        """
        plan, base = self._planned(model, inputs)
        groups = param_groups(
            model, replace(plan, seed=seed), lr, optimizer=self.optimizer, base=base, **dict(self.settings)
        )
        groups.plan.apply_(model)
        return groups

    def _planned(self, model: nn.Module, inputs: Any) -> tuple[Any, Any]:
        """The plans of the model and of the base, made once for each set of shapes: a seed changes no law."""
        import fanin

        shapes = tuple((n, tuple(p.shape)) for n, p in model.named_parameters())
        if shapes not in self._plans:
            with torch.random.fork_rng(devices=[]):
                base = self.base()
            plans = [fanin.plan(m, inputs, recipe=self.recipe, **dict(self.options)) for m in (model, base)]
            self._plans[shapes] = tuple(plans)
        plan, of_base = self._plans[shapes]
        return plan, of_base

    def to_dict(self) -> dict[str, Any]:
        """What tells this start from another one, JSON-ready; the base by its shapes."""
        with torch.random.fork_rng(devices=[]):
            shapes = {n: list(p.shape) for n, p in self.base().named_parameters()}
        return {
            "recipe": self.recipe,
            "optimizer": self.optimizer,
            "base": shapes,
            "options": dict(self.options),
            "settings": {k: v for k, v in self.settings.items() if isinstance(v, (int, float, str, bool))},
        }

    def __getstate__(self) -> tuple[Any, ...]:
        return (self.recipe, self.base, self.optimizer, dict(self.options), dict(self.settings))

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        for name, value in zip(("recipe", "base", "optimizer", "options", "settings"), state, strict=True):
            object.__setattr__(self, name, value)
        object.__setattr__(self, "_plans", {})
