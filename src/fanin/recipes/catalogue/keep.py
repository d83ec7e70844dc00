"""``keep``: what the model has now, read off its tensors.

Nothing is drawn: applying the plan leaves every byte. It tells a user what is there, and holds it against theory:
the law, the realised
std, the gain std * sqrt(fan_in), the scheme whose number this is. ``plan.redrawn()`` turns it into a plan that draws
the same laws.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from fanin.layout import Layout
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
    got = recognise(_numbers(tensor), layout)
    reason = f"{because}: {got.words}" if because else got.words
    steps = _steps(tuple(tensor.shape), layout, got)
    name = steps[-1].formula if steps and steps[-1].quantity == "gain" else ""
    known = name.partition("; ")[2]
    return Choice(
        law=got.law,
        action="keep",
        role=role,
        layout=layout,
        rule="kept",
        reason=f"{reason}; its std is {known}" if known else reason,
        steps=steps,
    )


def _steps(shape: tuple[int, ...], layout: Layout | None, got: Recognised) -> tuple[Step, ...]:
    steps = [
        Step(quantity="mean", value=got.mean, formula="measured"),
        Step(quantity="std", value=got.std, formula="measured, about the mean"),
    ]
    if math.isnan(got.std):
        return ()
    fans = fans_or_none(shape, layout)
    if fans is not None and got.std > 0 and not (layout and layout.lookup):
        steps.append(Step(quantity="fan_in", value=fans.fan_in, formula="terms summed into one output"))
        called = named_std(got.std, math.prod(shape), *fans)
        formula = "std * sqrt(fan_in)" + (f"; {called}" if called else "")
        steps.append(Step(quantity="gain", value=got.std * math.sqrt(fans.fan_in), formula=formula))
    return tuple(steps)


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
