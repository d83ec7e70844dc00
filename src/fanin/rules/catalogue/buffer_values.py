"""P509: buffers that hold nothing usable where the signal needs them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import ClassVar

from fanin.measure.record import Measurements, Site
from fanin.rules.base import Context, Rule
from fanin.rules.finding import Finding, Fix
from fanin.rules.shared.statistics import given_over_asked

__all__ = ["BufferValues"]


def _passed_on(site: Site, measurements: Measurements) -> float | None:
    """What a batch norm in eval mode gives over what its gain and shift ask for; None for other operations.

    Up to 1 where the largest running variance fits, so that single channels do not count.
    """
    ratio = given_over_asked(site, measurements)
    variance = next((b for b in measurements.buffers if b.path == f"{site.path}.running_var"), None)
    if ratio is None or variance is None or site.norm is None:
        return None
    return min(ratio, max(math.sqrt(site.norm.input_var / (variance.largest + site.norm.eps)), 1.0))


class BufferValues(Rule):
    """Buffers that hold only zeros where the signal is multiplied by them, angles out of range, or false statistics.

    What it does:
        Looks at the floating buffers whose sine or cosine is taken, at those that multiply the signal, and at the
        running statistics that batch norms divide by in eval mode.

    Why:
        Buffers that a constructor computes (rotary frequencies, fixed filters, normalisation constants) are not in
        every checkpoint. A model that is built on the meta device and allocated later has zeros or old bytes there:
        positions are lost, or the signal is. Running statistics of other data, or of none, make each batch norm in
        eval mode an amplifier.

    What is measured:
        A largest element below 1e-30, of buffers of two or more elements that are used as angles or factors; above
        1e6, of angles. Buffers that are added (running means, masks) may be zero. Of a batch norm in eval mode whose
        input has rms between 0.1 and 10: an output of 10 times the rms that its gain and shift give, where even the
        largest running variance is that far below the batch's, or of a tenth.

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
    thresholds: ClassVar[dict[str, float]] = {"zero": 1e-30, "angle": 1e6, "statistics": 10.0}
    source: ClassVar[str] = "Su et al. 2021, arXiv 2104.09864"

    def cannot_run(self, context: Context) -> str | None:
        """Needs a floating buffer that the signal meets."""
        used = any(b.as_angle or b.as_factor for b in context.measurements.buffers)
        used = used or any(_passed_on(s, context.measurements) is not None for s in context.measurements.sites)
        return None if used else "no floating buffer is used as an angle, a factor or a statistic"

    def check(self, context: Context) -> Iterator[Finding]:
        """One finding about zeros, one about angles out of range, one about statistics of other data."""
        yield from self._statistics(context)
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

    def _statistics(self, context: Context) -> Iterator[Finding]:
        limit = self.limit(context, "statistics")
        ordinary = [s for s in context.measurements.sites if s.norm and limit**-2 <= s.norm.input_var <= limit**2]
        rated = [(s, ratio) for s in ordinary if (ratio := _passed_on(s, context.measurements)) is not None]
        far = [(s, ratio) for s, ratio in rated if not 1 / limit <= ratio <= limit]
        if far:
            site, ratio = far[0]
            variance = 0.0 if site.norm is None else site.norm.input_var
            yield self.finding(
                "warning",
                dict.fromkeys(f"{s.path}.running_var" for s, _ in far),
                f"{site.path} is in eval mode and gives {ratio:.3g} times the rms that its gain and shift ask for: its "
                f"running statistics are not those of this input, whose variance is {variance:.3g}.",
                _ESTIMATE,
                value=ratio,
                threshold=limit if ratio > limit else 1 / limit,
                unit="rms / rms of gain and shift",
            )


_ESTIMATE = Fix(
    text="run the model in train mode over some batches, which estimates them anew, or load those that belong to the "
    "weights",
    code="model.train()",
)
_AGAIN = Fix(
    text="compute the buffer again: build this module on the CPU, or plan.materialize(buffers=...)",
    code="plan.materialize(model, buffers=...)",
)
