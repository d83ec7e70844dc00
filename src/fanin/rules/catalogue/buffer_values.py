"""P509: buffers that hold nothing usable where the signal needs them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from fanin.rules.base import Context, Rule
from fanin.rules.finding import Finding, Fix

__all__ = ["BufferValues"]


class BufferValues(Rule):
    """Buffers that hold only zeros where the signal is multiplied by them, or angles out of range.

    What it does:
        Looks at the floating buffers whose sine or cosine is taken, and at those that multiply the signal.

    Why:
        Buffers that a constructor computes (rotary frequencies, fixed filters, normalisation constants) are not in
        every checkpoint. A model that is built on the meta device and allocated later has zeros or old bytes there:
        positions are lost, or the signal is.

    What is measured:
        A largest element below 1e-30, of buffers of two or more elements that are used as angles or factors; above
        1e6, of angles. Buffers that are added (running means, masks) may be zero.

    Example:
        >>> import torch, fanin
        >>> from torch import nn
        >>> class Net(nn.Module):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.register_buffer("frequencies", torch.zeros(16))
        ...         self.head = nn.Linear(32, 10)
        ...     def forward(self, t):
        ...         angles = t[:, None] * self.frequencies
        ...         return self.head(torch.cat([angles.sin(), angles.cos()], -1))
        >>> report = fanin.check(Net(), torch.rand(32), targets=torch.randint(0, 10, (32,)))
        >>> report.findings[0].name, report.findings[0].paths
        ('buffer-values', ('frequencies',))

    Fix:
        Compute the buffer again: build the module on the CPU, or plan.materialize(buffers=...).

    References:
        Su et al. 2021 (arXiv 2104.09864, section 3.3) for the frequencies of rotary embeddings.
    """

    code: ClassVar[str] = "P509"
    name: ClassVar[str] = "buffer-values"
    thresholds: ClassVar[dict[str, float]] = {"zero": 1e-30, "angle": 1e6}
    source: ClassVar[str] = "Su et al. 2021, arXiv 2104.09864"

    def cannot_run(self, context: Context) -> str | None:
        """Needs a floating buffer that the signal meets."""
        used = any(b.as_angle or b.as_factor for b in context.measurements.buffers)
        return None if used else "no floating buffer is used as an angle or a factor"

    def check(self, context: Context) -> Iterator[Finding]:
        """One finding about zeros, one about angles out of range."""
        finite = [
            b
            for b in context.measurements.buffers
            if (b.as_angle or b.as_factor) and not (b.num_nan or b.num_positive_inf or b.num_negative_inf)
        ]
        zero = [b for b in finite if b.largest < self.limit(context, "zero") and max(b.shape, default=1) > 1]
        if zero:
            use = "sine and cosine of it are constants" if zero[0].as_angle else "the signal is multiplied by it"
            yield self.finding(
                "warning",
                [b.path for b in zero],
                f"the buffer {zero[0].path} holds only zeros, and {use}.",
                _AGAIN,
                value=zero[0].largest,
                threshold=self.limit(context, "zero"),
                unit="largest element",
            )
        far = [b for b in finite if b.as_angle and b.largest > self.limit(context, "angle")]
        if far:
            yield self.finding(
                "error",
                [b.path for b in far],
                f"the buffer {far[0].path} holds {far[0].largest:.3g}, and sine or cosine of it are taken: its angles "
                "are arbitrary.",
                _AGAIN,
                value=far[0].largest,
                threshold=self.limit(context, "angle"),
                unit="largest element",
            )


_AGAIN = Fix(
    text="compute the buffer again: build this module on the CPU, or plan.materialize(buffers=...)",
    code="plan.materialize(model, buffers=...)",
)
