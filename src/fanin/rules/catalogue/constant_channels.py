"""A303: channels that hold one number."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from fanin.model.operations import LOOKUPS
from fanin.rules.base import Context, Rule
from fanin.rules.finding import Finding, Fix

__all__ = ["ConstantChannels"]


class ConstantChannels(Rule):
    """Channels that hold one number.

    What it does:
        Counts output channels of weighted operations whose value is the same at every sample and position.

    Why:
        A channel that never changes gives no information; it is a masked weight, a zero row, or a unit fed by dead
        units.

    What is measured:
        Share of channels with zero standard deviation over the batch: warning above 0.1. Outputs of which every channel
            is constant (their input is: a class token, a closed gate, dead units upstream) and tables of embeddings are
            left out.

    Example:
        >>> import torch, fanin
        >>> from torch import nn
        >>> model = nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 10))
        >>> with torch.no_grad():
        ...     _ = model[0].weight[:32].zero_()
        >>> x, y = torch.randn(64, 32), torch.randint(0, 10, (64,))
        >>> report = fanin.check(model, x, targets=y)
        >>> "constant-channels" in [f.name for f in report.findings + report.consequences]
        True

    Fix:
        Look at the rows of the weight: zero or masked rows need their random init back.

    References:
        Braiek and Khomh 2023 (arXiv 2204.00694).
    """

    code: ClassVar[str] = "A303"
    name: ClassVar[str] = "constant-channels"
    thresholds: ClassVar[dict[str, float]] = {"share": 0.1}
    source: ClassVar[str] = "Braiek and Khomh 2023, arXiv 2204.00694"

    needs_samples: ClassVar[int] = 2

    def cannot_run(self, context: Context) -> str | None:
        """Needs to know what a sample is."""
        return None if context.measurements.batch_size is not None else "the inputs have no axis of samples"

    def check(self, context: Context) -> Iterator[Finding]:
        """At most one finding."""
        limit = self.limit(context, "share")
        rated = [
            (s.constant_channel_share or 0.0, s)
            for s in context.measurements.weight_sites()
            if s.forward.rms > 0 and s.op not in LOOKUPS
        ]
        flat = sorted((r for r in rated if limit < r[0] < 1), key=lambda r: -r[0])
        if flat:
            yield self.finding(
                "warning",
                dict.fromkeys(s.path or s.module_class for _, s in flat),
                f"{flat[0][0]:.0%} of the channels of {flat[0][1].name} are constant over the batch.",
                Fix(
                    text="give zero or masked rows of the weight their random init back",
                    code="layer.reset_parameters()",
                ),
                value=flat[0][0],
                threshold=limit,
                unit="share of channels",
                evidence={"sites": [s.index for _, s in flat], "values": [v for v, _ in flat]},
            )
