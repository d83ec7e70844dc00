"""Constants: for biases, norm scales and output maps, never for the weights of a hidden layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from fanin.initializers import sampling
from fanin.initializers.base import Array, EntryMoments, Initializer, finite
from fanin.layout import Layout
from fanin.streams.keys import Key

__all__ = ["Constant", "Ones", "Zeros"]


@dataclass(frozen=True, slots=True)
class Constant(Initializer):
    """Every entry equal to `value`.

    All units of a layer start identical (`breaks_symmetry` is False): right for biases, norm scales, layer scales and
    output maps.

    Args:
        value: any finite number.

    Raises:
        ArgumentError: the value is not finite (for NaN see `Poison`).

    Example:
        >>> import fanin
        >>> Constant(0.5).sample((2,), key=fanin.key(0, "b"))
        array([0.5, 0.5], dtype=float32)
    """

    breaks_symmetry: ClassVar[bool] = False
    value: float

    def __post_init__(self) -> None:
        finite("value", self.value)

    @property
    def only_value(self) -> float | None:
        """The value of every entry."""
        return float(self.value)

    def moments(self, shape: Sequence[int], layout: Layout | None = None) -> EntryMoments:
        """Mean `value`, variance 0."""
        return EntryMoments(mean=float(self.value), var=0.0, bound=abs(float(self.value)))

    def values(self, shape: Sequence[int], layout: Layout | None, key: Key, dtype: str) -> Array:
        """The filled array; integer dtypes are allowed where they hold the value exactly."""
        return sampling.full(shape, self.value, dtype)


@dataclass(frozen=True, slots=True)
class Zeros(Initializer):
    """Every entry 0: biases, the last map of a residual branch, an output layer.

    All units of a layer start identical (`breaks_symmetry` is False). Two zero maps in a row never train.

    Example:
        >>> import fanin
        >>> Zeros().sample((2,), key=fanin.key(0, "b"))
        array([0., 0.], dtype=float32)
    """

    breaks_symmetry: ClassVar[bool] = False

    @property
    def only_value(self) -> float | None:
        """The value of every entry."""
        return 0.0

    def moments(self, shape: Sequence[int], layout: Layout | None = None) -> EntryMoments:
        """Mean 0, variance 0."""
        return EntryMoments(var=0.0, bound=0.0)

    def values(self, shape: Sequence[int], layout: Layout | None, key: Key, dtype: str) -> Array:
        """The filled array, in any dtype."""
        return sampling.full(shape, 0.0, dtype)


@dataclass(frozen=True, slots=True)
class Ones(Initializer):
    """Every entry 1: the scale of a norm layer.

    All units of a layer start identical (`breaks_symmetry` is False).

    Example:
        >>> import fanin
        >>> Ones().sample((2,), key=fanin.key(0, "norm.weight"))
        array([1., 1.], dtype=float32)
    """

    breaks_symmetry: ClassVar[bool] = False

    @property
    def only_value(self) -> float | None:
        """The value of every entry."""
        return 1.0

    def moments(self, shape: Sequence[int], layout: Layout | None = None) -> EntryMoments:
        """Mean 1, variance 0."""
        return EntryMoments(mean=1.0, var=0.0, bound=1.0)

    def values(self, shape: Sequence[int], layout: Layout | None, key: Key, dtype: str) -> Array:
        """The filled array, in any dtype."""
        return sampling.full(shape, 1.0, dtype)
