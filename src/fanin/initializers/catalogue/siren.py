"""SIREN: networks of sines."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from fanin.errors import ArgumentError
from fanin.initializers.base import EntryMoments, Initializer, finite
from fanin.initializers.catalogue.uniform import Uniform
from fanin.initializers.catalogue.variance_scaling import VarianceScaling
from fanin.layout import Layout, fans
from fanin.streams.spec import Draw

__all__ = ["SirenFirst", "siren_hidden"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SirenFirst(Initializer):
    """The first layer of a SIREN, sin(omega (W x + b)) with coordinates x in [-1, 1]: W ~ U(-1 / fan_in, 1 / fan_in).

    omega then sets the highest frequency the first layer sees, whatever the number of coordinates.

    Args:
        numerator: the 1 in 1 / fan_in.

    Raises:
        ArgumentError: numerator < 0.

    Source: Sitzmann, Martel, Bergman, Lindell, Wetzstein 2020 (arXiv 2006.09661, section 3.2 and its published code).

    Example:
        >>> SirenFirst().bound_for((256, 2))
        0.5
    """

    numerator: float = 1.0

    def __post_init__(self) -> None:
        finite("numerator", self.numerator, low=0.0)

    def _law(self, shape: Sequence[int], layout: Layout | None) -> Uniform:
        return Uniform(bound=self.numerator / fans(shape, layout).fan_in)

    def moments(self, shape: Sequence[int], layout: Layout | None = None) -> EntryMoments:
        """Those of the uniform law."""
        return self._law(shape, layout).moments(shape, layout)

    def draw(self, shape: Sequence[int], layout: Layout | None = None) -> Draw:
        """That of the uniform law."""
        return self._law(shape, layout).draw(shape, layout)


def siren_hidden(*, omega: float = 30.0) -> VarianceScaling:
    r"""A hidden or last layer of a SIREN: ``W ~ U(±sqrt(6 / fan_in) / omega)``.

    Pre-activations omega W x are close to normal with variance 2 q, where q is the second moment of the input, so every
    layer sees about the same: q goes to (1 - exp(-4 q)) / 2, which is 0.398. (The paper takes the arcsine law's 1/2.)

    Args:
        omega: the factor inside the sine, > 0.

    Raises:
        ArgumentError: omega <= 0.

    Source: Sitzmann et al. 2020 (arXiv 2006.09661, section 3.2, theorem 1.8 of the supplement).

    Example:
        >>> round(siren_hidden().bound_for((256, 600)), 6)
        0.003333
    """
    if not finite("omega", omega) > 0.0:
        raise ArgumentError(f"omega must be > 0; got {omega!r}. The paper takes 30.")
    return VarianceScaling(gain=math.sqrt(2.0) / omega, mode="fan_in", law="uniform")
