"""Whether NaN or infinity reaches anything that counts."""

from __future__ import annotations

import math

from fanin.measure.record import Measurements

__all__ = ["spreads"]


def spreads(measurements: Measurements) -> bool:
    """Whether an output, the loss or a measured operation is not finite; a masked -infinity inside attention is not."""
    value = measurements.loss.value
    lost = measurements.loss.source != "cotangent" and not math.isfinite(value)
    output = measurements.output is not None and measurements.output.any_nonfinite
    return lost or output or any(s.forward.any_nonfinite for s in measurements.sites)
