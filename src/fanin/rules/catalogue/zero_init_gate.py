"""G403: branches that are closed at step zero by design."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from fanin.rules.base import Context, Rule
from fanin.rules.finding import Finding, Fix
from fanin.rules.shared.locked import locked_maps, shut_maps
from fanin.text.numbers import counted

__all__ = ["ZeroInitGate"]


class ZeroInitGate(Rule):
    """Branches that are closed at step zero by design.

    What it does:
        Lists parameters whose gradient is zero at step zero and non-zero after a virtual step.

    Why:
        Zero last scales of residual branches, LayerScale, the B of LoRA, zero heads: the branch behind opens after the
        first step. This is a choice, not a fault; it is listed so that the zero gradients are explained.

    What is measured:
        Gradient exactly zero on all elements at step zero, not after up to three virtual steps of 1 % taken on a copy.
        Without those that an all-zero map before others, or two in a row, hold back, which G402 names.

    Example:
        >>> import torch, fanin
        >>> from torch import nn
        >>> model = nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 10))
        >>> _ = nn.init.zeros_(model[2].weight)
        >>> x, y = torch.randn(64, 32), torch.randint(0, 10, (64,))
        >>> report = fanin.check(model, x, targets=y)
        >>> report.ok, report.findings[0].name
        (True, 'zero-init-gate')

    Fix:
        None needed.

    References:
        Goyal et al. 2017 (arXiv 1706.02677), Bachlechner et al. 2020 (arXiv 2003.04887), Hu et al. 2021 (arXiv
        2106.09685).
    """

    code: ClassVar[str] = "G403"
    name: ClassVar[str] = "zero-init-gate"
    thresholds: ClassVar[dict[str, float]] = {}
    source: ClassVar[str] = "Bachlechner et al. 2020, arXiv 2003.04887"

    def cannot_run(self, context: Context) -> str | None:
        """Needs a backward."""
        return context.measurements.missing.get("gradients")

    def check(self, context: Context) -> Iterator[Finding]:
        """At most one finding."""
        held = {name for pair in locked_maps(context.measurements) for name in pair.held}  # G402 names what holds them
        held |= {name for shut in shut_maps(context.measurements) for name in shut.held}
        gated = [
            p
            for p in context.measurements.parameters
            if p.state == "zero" and p.state_after_step == "nonzero" and p.path not in held
        ]
        if gated:
            yield self.finding(
                "note",
                [p.path for p in gated],
                counted(
                    len(gated),
                    "parameter has zero gradient now and opens",
                    "parameters have zero gradient now and open",
                )
                + " after the first step.",
                Fix(text="none needed: a zero-initialised gate or head"),
                value=float(len(gated)),
                unit="parameters",
            )
