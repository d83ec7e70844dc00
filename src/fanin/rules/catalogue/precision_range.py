"""O902: values at the edge of what the dtype can hold."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from fanin.measure.record import TensorStats
from fanin.rules.base import Context, Rule
from fanin.rules.finding import Finding, Fix

__all__ = ["PrecisionRange"]


def share_from(stats: TensorStats, exponent: float) -> float:
    """Share of the non-zero elements with |x| >= 2^exponent, from the exponent histogram."""
    h = stats.exponents
    total = 0 if h is None else sum(h.counts)
    if h is None or not total:
        return 1.0
    return sum(n for i, n in enumerate(h.counts) if h.low + i >= exponent) / total


class PrecisionRange(Rule):
    """Values at the edge of what the dtype can hold.

    What it does:
        Looks at the exponents of activations and gradients in half precision, and of gradients against the optimizer's
        eps.

    Why:
        float16 overflows at 65504 and loses gradients below 6e-8; bfloat16 keeps the range of float32. Adam divides by
        sqrt(v) + eps, so gradients below eps get no normalised step.

    What is measured:
        float16: share of activations above 8192 over 1e-3, share of gradients below 6e-5 (subnormal) over one half:
        warning. With Adam given: share of weights' gradients whose rms is below eps over one half: warning.

    Example:
        >>> import torch, fanin
        >>> from torch import nn
        >>> model = nn.Linear(32, 64)
        >>> _ = nn.init.normal_(model.weight, std=1e4)
        >>> report = fanin.check(model.half(), torch.randn(16, 32).half(), select=["O902"])
        >>> report.findings[0].name
        'precision-range'

    Fix:
        bfloat16, loss scaling, or a smaller eps.

    References:
        Micikevicius et al. 2018 (arXiv 1710.03740).
    """

    code: ClassVar[str] = "O902"
    name: ClassVar[str] = "precision-range"
    thresholds: ClassVar[dict[str, float]] = {"large": 0.001, "tiny": 0.5, "eps": 0.5}
    source: ClassVar[str] = "Micikevicius et al. 2018, arXiv 1710.03740"

    def cannot_run(self, context: Context) -> str | None:
        """Needs half precision or an optimizer with an eps."""
        half = any(s.dtype == "float16" for s in context.measurements.sites)
        return None if half or _eps(context) else "no float16, and no optimizer with an eps was given"

    def check(self, context: Context) -> Iterator[Finding]:
        """At most one finding a kind."""
        half = [s for s in context.measurements.sites if s.dtype == "float16"]
        high = [(share_from(s.forward, 13.0), s.path or s.module_class) for s in half]
        low = [
            (1 - share_from(s.backward, -14.0), s.path or s.module_class)
            for s in half
            if s.backward is not None and s.backward.rms > 0
        ]
        yield from self._judge(context, "large", high, "activations are within a factor 8 of the largest float16")
        yield from self._judge(context, "tiny", low, "gradients are below the normal range of float16")
        eps = _eps(context)
        grads = [
            (float(p.gradient.rms < eps), p.path)
            for p in context.measurements.parameters
            if p.gradient is not None and p.is_map and p.gradient.rms > 0
        ]
        if eps and grads and sum(v for v, _ in grads) / len(grads) > self.limit(context, "eps"):
            yield from self._judge(context, "eps", grads, f"gradients have an rms below the optimizer's eps ({eps:g})")

    def _judge(self, context: Context, limit: str, rated: list[tuple[float, str]], words: str) -> Iterator[Finding]:
        over = sorted((r for r in rated if r[0] > self.limit(context, limit)), key=lambda r: -r[0])
        if over:
            yield self.finding(
                "warning",
                dict.fromkeys(path for _, path in over),
                f"at {over[0][1]} {over[0][0]:.0%} of the {words}.",
                Fix(
                    text="bfloat16, loss scaling, or a smaller eps", code="torch.autocast('cuda', dtype=torch.bfloat16)"
                ),
                value=over[0][0],
                threshold=self.limit(context, limit),
                unit="share",
            )


def _eps(context: Context) -> float:
    """The optimizer's eps; 0 where there is none."""
    return context.optimizer.eps or 0.0 if context.optimizer else 0.0
