"""std = gain / sqrt(fan): the family that Glorot's, He's and LeCun's schemes belong to."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from fanin.errors import ShapeError
from fanin.initializers.base import EntryMoments, Initializer, finite, one_of
from fanin.initializers.catalogue.normal import Normal
from fanin.initializers.catalogue.truncated import TruncatedNormal
from fanin.initializers.catalogue.uniform import Uniform
from fanin.layout import Fans, Layout, fans
from fanin.streams.spec import Draw

__all__ = ["MODES", "LawName", "Mode", "VarianceScaling", "law_with_std"]

Mode = Literal["fan_in", "fan_out", "fan_avg", "fan_geo"]
LawName = Literal["normal", "uniform", "truncated_normal"]

MODES: dict[str, Callable[[Fans], float]] = {
    "fan_in": lambda f: f.fan_in,
    "fan_out": lambda f: f.fan_out,
    "fan_avg": lambda f: (f.fan_in + f.fan_out) / 2.0,
    "fan_geo": lambda f: math.sqrt(f.fan_in * f.fan_out),
}
_LAW: dict[str, Callable[[float], Initializer]] = {
    "normal": lambda std: Normal(std=std),
    "uniform": lambda std: Uniform(std=std),
    "truncated_normal": lambda std: TruncatedNormal(std=std),
}


def law_with_std(law: str, std: float) -> Initializer:
    """The zero-mean law of that name with the given realised std; truncation at +-2 parent standard deviations.

    Example:
        >>> str(law_with_std("normal", 0.02))
        'Normal(std=0.02)'
    """
    one_of("law", law, tuple(_LAW))
    return _LAW[law](std) if std > 0.0 else Normal(std=0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class VarianceScaling(Initializer):
    r"""Independent entries of zero mean with ``std = gain / sqrt(fan)``.

    The std is the realised one for each of the three laws: bound sqrt(3) std for the uniform law; the truncated one is
    cut at two parent standard deviations and made wider by 1 / 0.87963 in return.

    Args:
        gain: multiplies the std, >= 0; ``fanin.gain(f)`` for the activation f in front of the map.
        mode: which fan: "fan_in" keeps the forward second moment, "fan_out" that of the gradient, "fan_avg" is Glorot's
            compromise (fan_in + fan_out) / 2, "fan_geo" their geometric mean.
        law: "normal", "uniform" or "truncated_normal".

    Raises:
        ArgumentError: a gain below 0, an unknown mode or law.
        LayoutError: a shape without fans (a bias), or one that the layout does not fit.

    Peers: Keras and TensorFlow write scale = gain^2 and read "normal" as truncated; JAX reads it as untruncated; their
    fans differ from those here for grouped, depthwise, transposed, fused and batched weights (see
    ``docs/initializers.md``).

    Source: He, Zhang, Ren, Sun 2015 (arXiv 1502.01852, eq. 10 and 14); Glorot and Bengio 2010 (AISTATS, eq. 12 and 16).

    Example:
        >>> VarianceScaling(gain=2.0, mode="fan_out", law="uniform").std_for((64, 32, 3, 3))
        0.08333333333333333
    """

    gain: float = 1.0
    mode: Mode = "fan_in"
    law: LawName = "normal"

    def __post_init__(self) -> None:
        finite("gain", self.gain, low=0.0)
        one_of("mode", self.mode, tuple(MODES))
        one_of("law", self.law, tuple(_LAW))

    def fan(self, shape: Sequence[int], layout: Layout | None = None) -> float:
        """The fan that the mode asks for."""
        fan = MODES[self.mode](fans(shape, layout))
        if not fan > 0.0:
            raise ShapeError(
                f"{self} divides by {self.mode}, which is {fan:g} for shape {tuple(shape)}: a weight without inputs or "
                "outputs has no scale. Leave an empty parameter alone, or use a law that needs no fan."
            )
        return fan

    def entry_law(self, shape: Sequence[int], layout: Layout | None = None) -> Initializer:
        """The same law with its numbers put in.

        Example:
            >>> str(VarianceScaling(gain=1.0).entry_law((10, 100)))
            'Normal(std=0.1)'
        """
        return law_with_std(self.law, self.gain / math.sqrt(self.fan(shape, layout)))

    def moments(self, shape: Sequence[int], layout: Layout | None = None) -> EntryMoments:
        """Variance gain^2 / fan."""
        return self.entry_law(shape, layout).moments(shape, layout)

    def draw(self, shape: Sequence[int], layout: Layout | None = None) -> Draw | None:
        """The draw of the law with its numbers put in."""
        return self.entry_law(shape, layout).draw(shape, layout)

    def __str__(self) -> str:
        return f"VarianceScaling(gain={self.gain:.6g}, mode={self.mode!r}, law={self.law!r})"
