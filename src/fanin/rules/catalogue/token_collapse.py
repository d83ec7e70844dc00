"""T702: all tokens have the same vector."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from fanin.measure.record import Measurements, Site
from fanin.rules.base import Context, Rule
from fanin.rules.finding import Finding, Fix

__all__ = ["TokenCollapse"]


def _stream(measurements: Measurements) -> list[tuple[Site, float]]:
    """Sites of the last token stream that have a cosine: sums and norms, or weighted outputs where there are none.

    Tokens of another number or width (the image that queries look at) are another stream.
    """
    if not any(s.kind == "attention" for s in measurements.sites):
        return []
    seen = [(s, s.token_cosine) for s in measurements.sites if s.token_cosine is not None and s.forward.rms > 0]
    stream = [(s, c) for s, c in seen if s.kind in ("merge", "norm")]
    stream = stream if len(stream) >= 2 else seen
    tokens = [(s, c) for s, c in stream if s.shape[1:] == stream[-1][0].shape[1:]]
    return tokens if len(tokens) >= 2 else []


class TokenCollapse(Rule):
    """All tokens have the same vector.

    What it does:
        Follows the mean cosine between the tokens of one sample along the residual stream.

    Why:
        Attention averages tokens; without enough skip connection they converge to one vector (rank collapse), and a
        head that reads tokens cannot distinguish them.

    What is measured:
        Token cosine at the last site of the stream above 0.99 and above the first one, in a stack of attention layers:
        warning; above 0.9, or with one layer of attention (a pooling): note. Tokens that are as alike at the start
        (learned queries of a decoder) have not collapsed.

    Example:
        >>> import torch, fanin
        >>> from torch import nn
        >>> class Stack(nn.Module):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.value = nn.ModuleList(nn.Linear(32, 32, bias=False) for _ in range(4))
        ...     def forward(self, x):
        ...         for value in self.value:
        ...             x = torch.softmax(x @ x.transpose(1, 2) / 32, -1) @ value(x)
        ...         return x
        >>> report = fanin.check(Stack(), torch.randn(8, 16, 32))
        >>> "token-collapse" in [f.name for f in report.findings + report.consequences]
        True

    Fix:
        Skip connections around attention, 1 / sqrt(depth) on branches, a positional signal.

    References:
        Dong et al. 2021 (arXiv 2103.03404), Noci et al. 2022 (arXiv 2206.03126).
    """

    code: ClassVar[str] = "T702"
    name: ClassVar[str] = "token-collapse"
    thresholds: ClassVar[dict[str, float]] = {"warning": 0.99, "note": 0.9}
    source: ClassVar[str] = "Dong et al. 2021, arXiv 2103.03404"

    def cannot_run(self, context: Context) -> str | None:
        """Needs attention and a stream of tokens."""
        return None if _stream(context.measurements) else "no attention over a stream of tokens"

    def check(self, context: Context) -> Iterator[Finding]:
        """At most one finding."""
        stream = _stream(context.measurements)
        (_, first), (site, last) = stream[0], stream[-1]
        if last <= self.limit(context, "note") or last < first or first > self.limit(context, "note"):
            return
        layers = sum(s.kind == "attention" for s in context.measurements.sites)
        bad = last > self.limit(context, "warning") and layers > 1
        yield self.finding(
            "warning" if bad else "note",
            [site.path or site.module_class],
            f"tokens of one sample have cosine {last:.4f} at {site.name} ({first:.2f} at the start): they are "
            "nearly the same vector.",
            Fix(
                text="skip connections around attention, 1 / sqrt(depth) on branches, a positional signal",
                code="x = x + attention(norm(x))",
            ),
            value=last,
            threshold=self.limit(context, "warning" if bad else "note"),
            unit="mean cosine of tokens",
            evidence={"sites": [s.index for s, _ in stream], "values": [v for _, v in stream]},
        )
