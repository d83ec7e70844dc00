"""The input as the first weights read it: a model may divide it before."""

from __future__ import annotations

from fanin.measure.record import Measurements

__all__ = ["chi_as_read"]


def chi_as_read(measurements: Measurements) -> float | None:
    """The mean squared singular value of the Jacobian by the first floating input, in units of what the weights read.

    An input of 0 to 255 that the model divides by 255 is changed by as much as it spreads, not by 1. None without a
    Jacobian.
    """
    if measurements.jacobian is None:
        return None
    first = next((i for i in measurements.inputs if i.is_data), None)
    if first is None or not (first.stats.std > 0 and first.as_read.std > 0):
        return measurements.jacobian.chi
    return measurements.jacobian.chi * (first.stats.std / first.as_read.std) ** 2
