"""``keep``: what the model has now, read off its tensors.

Nothing is drawn, and applying the plan leaves every byte. For each tensor the plan states the law that its numbers
follow, their std, the gain std * sqrt(fan_in), and the scheme that has this std. ``plan.redrawn()`` turns it into a
plan that draws the same laws.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

from fanin.layout import Fans, Layout
from fanin.memory import as_array
from fanin.model.owners import owners
from fanin.model.roles import Seen, fans_or_none
from fanin.recipes.base import Choice, Chosen, Live, Recipe
from fanin.recipes.reading.recognise import Recognised, named_std, recognise
from fanin.recipes.step import Step

__all__ = ["KEEP", "KeepOptions", "kept"]

_LARGEST = 1 << 24  # numbers read; of a larger tensor whole rows, evenly spaced


@dataclass(frozen=True, slots=True, kw_only=True)
class KeepOptions:
    """The recipe ``keep`` has no options."""


def choose(live: Live, options: KeepOptions) -> Chosen:
    """The law of every tensor of the model, as far as it can be read."""
    owned = owners(live.model, list(live.tensors))
    return Chosen(choices={name: kept(tensor, owned[name].seen) for name, tensor in live.tensors.items()})


def kept(tensor: Any, seen: Seen, *, because: str = "") -> Choice:
    """A tensor that stays as it is, with what can be read off it.

    Args:
        tensor: the parameter.
        seen: what it is.
        because: why it is kept; by default because the recipe keeps everything.
    """
    role, layout = seen.role, seen.layout
    if tensor.device.type == "meta":
        words = "on the meta device: there are no numbers to read"
        return Choice(law=None, action="keep", role=role, layout=layout, rule="kept", reason=because or words)
    shape = tuple(tensor.shape)
    got = _with_scheme(recognise(_numbers(tensor), layout), shape, layout)
    reason = f"{because}: {got.words}" if because else got.words
    return Choice(
        law=got.law,
        action="keep",
        role=role,
        layout=layout,
        rule="kept",
        reason=f"{reason}; its std is {got.scheme}" if got.scheme else reason,
        steps=_steps(shape, layout, got),
    )


def _with_scheme(got: Recognised, shape: tuple[int, ...], layout: Layout | None) -> Recognised:
    fans = _fans(got, shape, layout)
    return got if fans is None else replace(got, scheme=named_std(got.std, math.prod(shape), *fans))


def _fans(got: Recognised, shape: tuple[int, ...], layout: Layout | None) -> Fans | None:
    """Fans of a map whose numbers vary; None for everything else."""
    is_table = layout is not None and layout.lookup
    return fans_or_none(shape, layout) if got.std > 0.0 and not is_table else None


def _steps(shape: tuple[int, ...], layout: Layout | None, got: Recognised) -> tuple[Step, ...]:
    if math.isnan(got.std):
        return ()
    measured = (
        Step(quantity="mean", value=got.mean, formula="measured"),
        Step(quantity="std", value=got.std, formula="measured, about the mean"),
    )
    fans = _fans(got, shape, layout)
    if fans is None:
        return measured
    formula = "std * sqrt(fan_in)" + (f"; {got.scheme}" if got.scheme else "")
    gain = Step(quantity="gain", value=got.std * math.sqrt(fans.fan_in), formula=formula)
    return (*measured, Step(quantity="fan_in", value=fans.fan_in, formula="terms summed into one output"), gain)


def _numbers(tensor: Any) -> Any:
    import torch

    t = tensor.detach()
    if t.is_complex():
        t = torch.view_as_real(t)
    if t.numel() > _LARGEST and t.dim() > 1:
        t = t[:: -(-t.numel() // _LARGEST)]
    return as_array(t.to("cpu", torch.float64))


KEEP = Recipe(
    name="keep",
    summary="what the model has now, read off its tensors; nothing is drawn",
    choose=choose,
    options=KeepOptions,
)
