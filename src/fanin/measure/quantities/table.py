"""Which quantities are measured of which kind of operation. A new quantity is one file and one line here.

A quantity is a function from a `Call` to a record, or to None where it is not defined. What a site holds is named
after its field of `record.Site`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from fanin.measure.calls import Call
from fanin.measure.quantities.activity import activity_of, input_cosine
from fanin.measure.quantities.attention import attention_of
from fanin.measure.quantities.constancy import constant_channel_share
from fanin.measure.quantities.cosine import sample_cosine, token_cosine_of
from fanin.measure.quantities.loss import loss_call, with_value
from fanin.measure.quantities.norm import norm_before, norm_of, norm_of_module
from fanin.measure.quantities.saturation import saturation_of
from fanin.measure.record import SiteKind
from fanin.measure.sampling import is_signal

__all__ = ["QUANTITIES", "Quantity", "of_module", "of_pass", "of_site", "read_before"]


@dataclass(frozen=True, slots=True)
class Quantity:
    """One quantity.

    Attributes:
        name: the field of `Site` that holds it; for a quantity of the pass, its name in `PassRecorder.found`.
        measure: gives it, once the operation has run.
        before: reads of the arguments what an operation in place would overwrite; `measure` finds it in `Call.before`
            under this quantity's name.
        of_pass: it belongs to the whole pass, whether or not the output becomes a site.
        of_module: gives it, from module and input, where the module writes the operation out in elementary ones.
    """

    name: str
    measure: Callable[[Call], Any]
    before: Callable[[Call], Any] | None = None
    of_pass: bool = False
    of_module: Callable[[torch.nn.Module, torch.Tensor], Any] | None = None


_COSINES = (Quantity("sample_cosine", sample_cosine), Quantity("token_cosine", token_cosine_of))

QUANTITIES: Mapping[SiteKind, tuple[Quantity, ...]] = {
    "weight": (*_COSINES, Quantity("constant_channel_share", constant_channel_share)),
    "merge": _COSINES,
    "norm": (*_COSINES, Quantity("norm", norm_of, before=norm_before, of_module=norm_of_module)),
    "activation": (Quantity("activity", activity_of, before=input_cosine), Quantity("saturation", saturation_of)),
    "attention": (Quantity("attention", attention_of),),
    "loss": (Quantity("loss", with_value, before=loss_call, of_pass=True),),
}


def read_before(call: Call) -> dict[str, Any]:
    """What the quantities of a call read of its arguments before the operation runs, by quantity."""
    readers = [(q.name, q.before) for q in QUANTITIES.get(call.kind, ()) if q.before is not None]
    if not readers or not is_signal(call.input):
        return {}
    return {name: read(call) for name, read in readers}


def of_site(call: Call) -> dict[str, Any]:
    """The quantities of a call that its site holds, by field of `Site`."""
    return {q.name: q.measure(call) for q in QUANTITIES.get(call.kind, ()) if not q.of_pass}


def of_pass(call: Call) -> Iterator[tuple[str, Any]]:
    """The quantities of a call that belong to the pass, where they are defined."""
    for quantity in QUANTITIES.get(call.kind, ()):
        if quantity.of_pass and (value := quantity.measure(call)) is not None:
            yield quantity.name, value


def of_module(kind: SiteKind, module: torch.nn.Module, source: torch.Tensor) -> dict[str, Any]:
    """The quantities of an operation that a module writes out in elementary ones, by field of `Site`."""
    return {q.name: q.of_module(module, source) for q in QUANTITIES.get(kind, ()) if q.of_module is not None}
