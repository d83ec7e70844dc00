"""The uniform law."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from fanin.errors import ArgumentError
from fanin.initializers.base import EntryMoments, Initializer, finite
from fanin.layout import Layout
from fanin.streams.spec import Draw

__all__ = ["UNIFORM_KURTOSIS", "Uniform"]

UNIFORM_KURTOSIS = 9.0 / 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Uniform(Initializer):
    """Uniform numbers in an open interval: U(-bound, bound), U(low, high), or zero mean with a given std.

    std = (high - low) / sqrt(12), so bound = sqrt(3) std for the symmetric law.

    Args:
        bound: half length of the symmetric interval, >= 0.
        low: lower end; needs `high`.
        high: upper end, >= low.
        std: standard deviation of the symmetric law, >= 0.

    Raises:
        ArgumentError: not exactly one of bound, (low, high), std; or numbers outside their range.

    What others call "uniform" without arguments: torch U(0, 1), Keras U(-0.05, 0.05), JAX U(0, 0.01), Lasagne U(-0.01,
    0.01), MXNet U(-0.07, 0.07), DL4J U(-1/sqrt(fan_in), 1/sqrt(fan_in)). So there is no default here.

    Example:
        >>> import fanin
        >>> law = Uniform(std=1.0)
        >>> round(law.bound_for((4, 4)), 6)
        1.732051
        >>> bool(abs(law.sample((4, 4), key=fanin.key(0, "w"))).max() < 1.732051)
        True
    """

    bound: float | None = None
    low: float | None = None
    high: float | None = None
    std: float | None = None

    def __post_init__(self) -> None:
        given = [self.bound is not None, self.low is not None or self.high is not None, self.std is not None]
        if sum(given) != 1 or (self.low is None) != (self.high is None):
            raise ArgumentError(
                f"Uniform takes exactly one of bound=, (low=, high=) or std=; got bound={self.bound}, low={self.low}, "
                f"high={self.high}, std={self.std}. Uniform(bound=0.1) is U(-0.1, 0.1)."
            )
        low, high = self.interval
        if finite("low", low) > finite("high", high):
            raise ArgumentError(
                f"the interval of Uniform must not be reversed; got [{low!r}, {high!r}]. "
                "bound and std are >= 0, low <= high."
            )

    @property
    def interval(self) -> tuple[float, float]:
        """The two ends."""
        if self.low is not None and self.high is not None:
            return self.low, self.high
        half = self.bound if self.bound is not None else math.sqrt(3.0) * (self.std or 0.0)
        return -half, half

    def moments(self, shape: Sequence[int], layout: Layout | None = None) -> EntryMoments:
        """Mean (low + high) / 2, variance (high - low)^2 / 12, kurtosis 9/5."""
        low, high = self.interval
        return EntryMoments(
            mean=(low + high) / 2.0,
            var=(high - low) ** 2 / 12.0,
            kurtosis=UNIFORM_KURTOSIS,
            bound=max(abs(low), abs(high)),
        )

    def draw(self, shape: Sequence[int], layout: Layout | None = None) -> Draw:
        """Half the length times U(-1, 1), shifted to the middle."""
        low, high = self.interval
        return Draw(kind="uniform", width=(high - low) / 2.0, shift=(low + high) / 2.0)
