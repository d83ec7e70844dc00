"""D101: inputs far from unit scale."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import ClassVar

from fanin.measure.record import InputRecord
from fanin.rules.base import Context, Rule
from fanin.rules.finding import Finding, Fix, Severity
from fanin.rules.shared.statistics import cancels_scale

__all__ = ["InputScale"]


def _severity(*, raw: bool, normalised: bool, side_input: bool) -> Severity:
    if raw:
        return "warning" if normalised else "error"
    return "note" if normalised or side_input else "warning"


def _multiplied(record: InputRecord, records: Sequence[InputRecord]) -> list[InputRecord]:
    """The inputs whose product with this one the first weights read, itself included: all are read at one scale."""
    same = [r for r in records if math.isclose(r.as_read.rms, record.as_read.rms, rel_tol=1e-3)]
    scaled = [r for r in same if not math.isclose(r.stats.rms, r.as_read.rms, rel_tol=0.01)]
    return scaled if record in scaled else [record]


class InputScale(Rule):
    """Inputs far from unit scale.

    What it does:
        Looks at the root mean square of every floating input, and for values that look like raw bytes (whole numbers or
        a range inside 0 to 255, some above 50, none negative).

    Why:
        Every initialization assumes inputs of second moment about one. A factor in the input is a factor in the first
        pre-activations, in every gradient of the first layer, and without normalisation in the logits and the loss.

    What is measured:
        rms of the input as the first weights read it, so after a division in the model (by 255, by its own norm or std,
        by a noise level) or a normalisation; warning outside [0.05, 5], error for raw bytes. Where the first weighted
        operation is followed by a normalisation (in eval mode: by statistics that fit) the scale cancels: raw bytes
        become a warning (they also have an offset), other scales a note. Sparse inputs are judged by their non-zero
        values; small side inputs (an adjacency matrix) are a note. An input that only sin, cos, log, a comparison or a
        lookup reads (time steps, noise levels) has no scale here.

    Example:
        >>> import torch, fanin
        >>> model = torch.nn.Sequential(torch.nn.Linear(20, 64), torch.nn.ReLU(), torch.nn.Linear(64, 3))
        >>> pixels = torch.randint(0, 256, (32, 20)).float()
        >>> fanin.check(model, pixels, targets=torch.randint(0, 3, (32,))).findings[0].name
        'input-scale'

    Fix:
        Standardise per feature: ``x = (x - mean) / std``, or ``x / 255`` first for images.

    References:
        LeCun, Bottou, Orr and Mueller 1998, Efficient BackProp, section 4.3.
    """

    code: ClassVar[str] = "D101"
    name: ClassVar[str] = "input-scale"
    thresholds: ClassVar[dict[str, float]] = {"low": 0.05, "high": 5.0, "bytes": 50.0}
    source: ClassVar[str] = "LeCun et al. 1998, Efficient BackProp, section 4.3"

    def cannot_run(self, context: Context) -> str | None:
        """Needs a floating input."""
        return None if any(i.is_data for i in context.measurements.inputs) else "no floating input"

    def check(self, context: Context) -> Iterator[Finding]:
        """One finding an input."""
        records = [
            r for r in context.measurements.inputs if r.has_scale and r.as_read.rms > 0 and not r.stats.any_nonfinite
        ]
        for record in records:
            factors = _multiplied(record, records)
            sign = 1.0 if record.as_read.rms > self.limit(context, "high") else -1.0
            if record is max(factors, key=lambda r: sign * math.log(r.stats.rms)):  # the one that makes it so
                yield from self._one(context, record, [r.name for r in factors if r is not record])

    def _one(self, context: Context, record: InputRecord, beside: Sequence[str]) -> Iterator[Finding]:
        s = record.as_read
        raw = s.min >= 0 and self.limit(context, "bytes") < s.max <= 255 and s.rms > self.limit(context, "high")
        low, high = self.limit(context, "low"), self.limit(context, "high")
        # Most of a one-hot or a bag of words is zero: what is not has the scale that counts.
        dense = s.rms / max(1.0 - s.zero_share, 1e-9) ** 0.5
        if not raw and (low <= s.rms <= high or (s.zero_share > 0.5 and low <= dense <= high)):
            return
        if not raw and abs(s.mean) > 3.0 * s.std > 0:
            return  # an offset, which has its own rule
        first = next(i for i in context.measurements.inputs if i.is_data)
        code = f"{record.name} = {record.name} / 255" if raw else f"x = (x - x.mean()) / x.std()  # x: {record.name}"
        text = "divide by 255 and standardise per channel" if raw else "standardise the input per feature"
        divided = not math.isclose(s.rms, record.stats.rms, rel_tol=0.01)
        product = f"multiplied with {', '.join(beside)}, the first layer reads {s.rms:.3g}"
        left = f"; {product}" if beside else f", of which the first layer reads {s.rms:.3g}" if divided else ""
        normalised = cancels_scale(record, context.measurements)
        tail = "; a normalisation behind the first layer cancels the scale" if normalised else ""
        yield self.finding(
            _severity(raw=raw, normalised=normalised, side_input=record is not first and s.rms < low),
            [record.name],
            f"{record.name} has rms {record.stats.rms:.3g}{left}"
            + (f" and looks like raw bytes (0..{s.max:.0f})" if raw else "")
            + tail
            + ".",
            Fix(text=text, code=code),
            value=s.rms,
            threshold=high if s.rms > high else low,
            unit="rms",
        )
