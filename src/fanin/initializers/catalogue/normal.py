"""The normal law."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fanin.initializers.base import EntryMoments, Initializer, finite
from fanin.layout import Layout
from fanin.streams.spec import Draw

__all__ = ["NORMAL_KURTOSIS", "Normal"]

NORMAL_KURTOSIS = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Normal(Initializer):
    """Normal numbers N(mean, std^2).

    Args:
        std: standard deviation, >= 0.
        mean: mean.

    Raises:
        ArgumentError: std is negative, or a number is not finite.

    Accuracy: float32 streams reach abs(w - mean) <= 6.338 std; what lies beyond has probability 2.3e-10.

    What others call "normal" without arguments: torch std 1, Keras 0.05, JAX, Lasagne and MXNet 0.01, DL4J
    1/sqrt(fan_in).

    Example:
        >>> import fanin
        >>> Normal(std=0.02).sample((2, 3), key=fanin.key(0, "wte.weight")).shape
        (2, 3)
    """

    std: float = 1.0
    mean: float = 0.0

    def __post_init__(self) -> None:
        finite("std", self.std, low=0.0)
        finite("mean", self.mean)

    def moments(self, shape: Sequence[int], layout: Layout | None = None) -> EntryMoments:
        """Mean and std as given, kurtosis 3, no bound."""
        return EntryMoments(mean=self.mean, var=self.std**2, kurtosis=NORMAL_KURTOSIS)

    def draw(self, shape: Sequence[int], layout: Layout | None = None) -> Draw:
        """Std times N(0, 1), shifted by the mean."""
        return Draw(kind="normal", width=self.std, shift=self.mean)

    def __str__(self) -> str:
        return f"Normal(std={self.std:.6g}" + (f", mean={self.mean:.6g})" if self.mean else ")")
