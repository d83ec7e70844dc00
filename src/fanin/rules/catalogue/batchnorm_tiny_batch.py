"""N601: batch normalisation over too few values."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from fanin.rules.base import Context, Rule
from fanin.rules.finding import Finding, Fix

__all__ = ["BatchNormTinyBatch"]


class BatchNormTinyBatch(Rule):
    """Batch normalisation over too few values.

    What it does:
        Counts the values behind each batch statistic of normalisations in training mode.

    Why:
        The statistic is noise: its relative error is sqrt(2 / n). With two values the output is a sign; with one it is
        undefined.

    What is measured:
        Samples times positions per channel: warning below 8, error below 3.

    Example:
        >>> import torch, fanin
        >>> from torch import nn
        >>> model = nn.Sequential(nn.Linear(32, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Linear(64, 10))
        >>> report = fanin.check(model, torch.randn(4, 32), targets=torch.randint(0, 10, (4,)))
        >>> "batchnorm-tiny-batch" in [f.name for f in report.findings]
        True

    Fix:
        A larger batch, GroupNorm, or SyncBatchNorm.

    References:
        Ioffe and Szegedy 2015 (arXiv 1502.03167); Wu and He 2018 (arXiv 1803.08494).
    """

    code: ClassVar[str] = "N601"
    name: ClassVar[str] = "batchnorm-tiny-batch"
    thresholds: ClassVar[dict[str, float]] = {"warning": 8, "error": 3}
    source: ClassVar[str] = "Wu and He 2018, arXiv 1803.08494"

    def cannot_run(self, context: Context) -> str | None:
        """Needs a batch normalisation in training mode."""
        kinds = {s.norm.kind for s in context.measurements.sites if s.norm is not None and s.norm.training}
        return None if "batch_norm" in kinds else "no batch normalisation in training mode"

    def check(self, context: Context) -> Iterator[Finding]:
        """At most one finding."""
        limit = self.limit(context, "warning")
        rated = [
            (s.norm.values_per_statistic, s.path)
            for s in context.measurements.sites
            if s.norm is not None and s.norm.kind == "batch_norm" and s.norm.training
        ]
        small = sorted(r for r in rated if r[0] < limit)
        if small:
            severe = small[0][0] < self.limit(context, "error")
            yield self.finding(
                "error" if severe else "warning",
                [path for _, path in small],
                f"{small[0][0]} values per channel behind a batch statistic: its relative error is "
                f"{(2 / small[0][0]) ** 0.5:.0%}.",
                Fix(text="a larger batch, GroupNorm or SyncBatchNorm", code="torch.nn.GroupNorm(8, channels)"),
                value=float(small[0][0]),
                threshold=self.limit(context, "error") if severe else limit,
                unit="values per statistic",
            )
