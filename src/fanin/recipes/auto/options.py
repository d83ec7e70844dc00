"""The options of ``auto``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from fanin.errors import ArgumentError

__all__ = ["AutoOptions"]

_ALLOWED = {
    "head": ("unit", "calm", "zero"),
    "balance": ("forward", "backward", "both"),
    "last_map": ("scaled", "zero"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class AutoOptions:
    """What a user may choose.

    Attributes:
        head: "unit": logits of rms 1 (the initial loss is about ln C + 0.5). "calm": logits of rms 0.1 or less, an
            initial loss of ln C; it trains classifiers more slowly and an autoencoder faster (see the evidence).
            "zero": a zero map.
        balance: whether unequal widths keep the signal ("forward"), the gradient ("backward"), or the mean of both
            ("both").
        last_map: the last map of a residual branch "scaled" by depth, or "zero".
        memory: longest dependency of a recurrent network's task, in steps, > 2; None where it is not known.
        mirrored: False leaves plain stacks unmirrored.
    """

    head: Literal["unit", "calm", "zero"] = "unit"
    balance: Literal["forward", "backward", "both"] = "forward"
    last_map: Literal["scaled", "zero"] = "scaled"
    memory: float | None = None
    mirrored: bool = True

    def __post_init__(self) -> None:
        for name, allowed in _ALLOWED.items():
            if getattr(self, name) not in allowed:
                raise ArgumentError(
                    f"{name} must be one of {', '.join(map(repr, allowed))}; got {getattr(self, name)!r}"
                )
        if self.memory is not None and not float(self.memory) > 2.0:
            raise ArgumentError(f"memory is a number of steps > 2; got {self.memory!r}")
