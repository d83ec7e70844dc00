"""D102: inputs with a common offset."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from fanin.measure.record import InputRecord
from fanin.model.operations import LOOKUPS
from fanin.rules.base import Context, Rule
from fanin.rules.finding import Finding, Fix
from fanin.rules.shared.statistics import cancels_scale

__all__ = ["InputOffset"]


def _each_feature_is_normalised(context: Context) -> bool:
    """Whether a batch norm reads the inputs before any weight does, and so gives each feature the same spread."""
    first = [s for s in context.measurements.sites if -1 in s.inputs and s.op not in LOOKUPS]
    return bool(first) and all(s.norm is not None and s.norm.kind == "batch_norm" for s in first)


class InputOffset(Rule):
    """Inputs with a common offset, features of very different spread, or features that never change.

    What it does:
        Compares the mean of every floating input with its standard deviation, the spreads of its features with one
        another, and counts features that are constant over the batch.

    Why:
        A common offset makes all samples point the same way: their cosine starts near one, the gradients of a unit's
        weights have one sign, and whole units die together. Features a thousand times wider than others decide alone
        what the first layer sees.

    What is measured:
        |mean| / std > 3; largest over smallest feature std > 1000; share of constant features > 0.5; all samples the
        same in every input, ids too. A normalisation behind the first layer removes an offset, so it is then a note;
        what the model takes off before its first weights does not count.

    Example:
        >>> import torch, fanin
        >>> model = torch.nn.Sequential(torch.nn.Linear(20, 64), torch.nn.ReLU(), torch.nn.Linear(64, 3))
        >>> x = 5 + 0.1 * torch.randn(32, 20)
        >>> fanin.check(model, x, targets=torch.randint(0, 3, (32,))).findings[0].name
        'input-offset'

    Fix:
        Centre features: ``x = (x - x.mean(0)) / x.std(0)``; drop features that never change.

    References:
        LeCun, Bottou, Orr and Mueller 1998, Efficient BackProp, section 4.3.
    """

    code: ClassVar[str] = "D102"
    name: ClassVar[str] = "input-offset"
    thresholds: ClassVar[dict[str, float]] = {"offset": 3.0, "ratio": 1e3, "constant": 0.5}
    source: ClassVar[str] = "LeCun et al. 1998, Efficient BackProp, section 4.3"

    def cannot_run(self, context: Context) -> str | None:
        """Needs a floating input."""
        known = any(i.is_data or i.same_samples for i in context.measurements.inputs)
        return None if known else "no floating input"

    def check(self, context: Context) -> Iterator[Finding]:
        """At most one finding an input, the clearest sign first."""
        batched = [r for r in context.measurements.inputs if r.shape and r.shape[0] > 1]
        if batched and all(r.same_samples for r in batched):
            yield self._repeated(batched)
            return
        for record in context.measurements.inputs:
            varies = record.stats.std > 0 and record.as_read.std > 0 and not record.stats.any_nonfinite
            if record.has_scale and varies and record.stats.numel > 16:
                yield from self._one(context, record)

    def _repeated(self, batched: list[InputRecord]) -> Finding:
        return self.finding(
            "warning",
            [r.name for r in batched],
            f"all {batched[0].shape[0]} samples of the batch are the same one: nothing tells them apart.",
            Fix(text="check how the batch is put together (an expanded sample, one index for all)"),
            value=1.0,
            threshold=self.thresholds["constant"],
            unit="share of features",
        )

    def _one(self, context: Context, record: InputRecord) -> Iterator[Finding]:
        for name, value, unit, words in (
            (
                "offset",
                min(abs(s.mean) / s.std for s in (record.stats, record.as_read)),
                "|mean| / std",
                "a common offset of {:.3g} standard deviations",
            ),
            (
                "constant",
                record.constant_feature_share or 0.0,
                "share of features",
                "a share of {:.2g} of its features constant",
            ),
            (
                "ratio",
                0.0 if _each_feature_is_normalised(context) else record.feature_std_ratio or 0.0,
                "largest / smallest std",
                "features whose spreads differ by a factor of {:.3g}",
            ),
        ):
            if value > self.limit(context, name):
                yield self.finding(
                    "note" if name == "offset" and cancels_scale(record, context.measurements) else "warning",
                    [record.name],
                    f"{record.name} has {words.format(value)}: samples start out alike.",
                    Fix(text="centre and scale each feature", code="x = (x - x.mean(0)) / x.std(0).clamp_min(1e-6)"),
                    value=value,
                    threshold=self.limit(context, name),
                    unit=unit,
                )
                return
