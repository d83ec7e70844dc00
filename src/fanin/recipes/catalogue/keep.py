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
from fanin.model.roles import Seen, fans_or_none
from fanin.recipes.base import Choice, Chosen, Live, Recipe
from fanin.recipes.reading.numbers import exact_numbers
from fanin.recipes.reading.recognise import Recognised, named_std, recognise
from fanin.recipes.step import Step
from fanin.tensors.shards import whole_here
from fanin.tensors.values import readable

__all__ = ["KEEP", "KeepOptions", "kept", "rows_of_zeros"]


@dataclass(frozen=True, slots=True, kw_only=True)
class KeepOptions:
    """The recipe ``keep`` has no options."""


def choose(live: Live, options: KeepOptions) -> Chosen:
    """The law of every tensor of the model, as far as it can be read."""
    owned = live.reading.owners
    rows = live.zero_rows
    return Chosen(
        choices={n: kept(tensor, owned[n].seen, zero_rows=rows.get(n, ())) for n, tensor in live.tensors.items()}
    )


def kept(tensor: Any, seen: Seen, *, because: str = "", zero_rows: tuple[int, ...] = ()) -> Choice:
    """A tensor that stays as it is, with what can be read off it.

    Args:
        tensor: the parameter.
        seen: what it is.
        because: why it is kept; by default because the recipe keeps everything.
        zero_rows: rows that are padding; where they are zero, the law is that of the others.
    """
    role, layout = seen.role, seen.layout
    if tensor.device.type == "meta":
        words = "on the meta device: there are no numbers to read"
        return Choice(law=None, action="keep", role=role, layout=layout, rule="kept", reason=because or words)
    shape = tuple(tensor.shape)
    got = _with_scheme(_recognised(tensor, layout, rows_of_zeros(tensor, zero_rows)), shape, layout)
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


def _recognised(tensor: Any, layout: Layout | None, zero_rows: tuple[int, ...]) -> Recognised:
    if type(tensor).__name__ == "FakeTensor":
        return Recognised(law=None, mean=math.nan, std=math.nan, words="a fake tensor: there are no numbers to read")
    if not readable(tensor):
        words = f"numbers that cannot be read ({type(tensor).__name__}, {tensor.layout})"
        return Recognised(law=None, mean=math.nan, std=math.nan, words=words)
    whole = whole_here(tensor)
    if whole is None:
        words = "numbers that are spread over processes: no law is read from a part of them"
        return Recognised(law=None, mean=math.nan, std=math.nan, words=words)
    values = exact_numbers(whole)
    return recognise(values, layout, dtype=str(tensor.dtype).removeprefix("torch."), zero_rows=zero_rows)


def rows_of_zeros(tensor: Any, rows: tuple[int, ...]) -> tuple[int, ...]:
    """Those of the rows that are zero now."""
    if tensor.device.type == "meta" or type(tensor).__name__ == "FakeTensor":
        return ()
    tensor = whole_here(tensor)
    return () if tensor is None else tuple(row for row in rows if not bool(tensor.detach()[row].any()))


KEEP = Recipe(
    name="keep",
    summary="what the model has now, read off its tensors; nothing is drawn",
    choose=choose,
    options=KeepOptions,
    draws=False,
)
