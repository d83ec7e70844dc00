"""Variance over one layer and what each classic law makes of it.

Var(h') = fan_in Var(w) E[x^2] forward, Var(dL/dx) = fan_out Var(w) Var(dL/dh') backward (Glorot & Bengio 2010; He et
al. 2015, arXiv 1502.01852, eqs. 7 and 14).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from fanin.errors import TheoryError, UnknownNameError, did_you_mean

__all__ = ["CLASSIC_LAWS", "ClassicLaw", "backward_var", "classic_law", "compromise_var", "forward_var"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassicLaw:
    """Variances that a named law gives a layer.

    Attributes:
        name: the law.
        weight_var: (fan_in, fan_out) -> variance of a weight.
        bias_var: (fan_in, fan_out) -> variance of a bias.
        orthogonal: weights have orthonormal rows or columns, so nothing but the activation spreads norms.
        source: where it comes from.
    """

    name: str
    weight_var: Callable[[int, int], float]
    bias_var: Callable[[int, int], float]
    orthogonal: bool = False
    source: str

    def sigma_w2(self, fan_in: int, fan_out: int) -> float:
        """fan_in Var(w): what q is multiplied by, before the activation."""
        return fan_in * self.weight_var(fan_in, fan_out)


def _zero(fan_in: int, fan_out: int) -> float:
    return 0.0


CLASSIC_LAWS: Final[Mapping[str, ClassicLaw]] = MappingProxyType(
    {
        law.name: law
        for law in (
            ClassicLaw(
                name="lecun",
                weight_var=lambda fan_in, fan_out: 1.0 / fan_in,
                bias_var=_zero,
                source="LeCun et al. 1998, Efficient BackProp, eq. 16",
            ),
            ClassicLaw(
                name="he",
                weight_var=lambda fan_in, fan_out: 2.0 / fan_in,
                bias_var=_zero,
                source="He et al. 2015, arXiv 1502.01852, eq. 10",
            ),
            ClassicLaw(
                name="glorot",
                weight_var=lambda fan_in, fan_out: 2.0 / (fan_in + fan_out),
                bias_var=_zero,
                source="Glorot & Bengio 2010, eq. 12",
            ),
            ClassicLaw(
                name="classic_uniform",
                weight_var=lambda fan_in, fan_out: 1.0 / (3.0 * fan_in),
                bias_var=_zero,
                source="Glorot & Bengio 2010, eq. 1: U(-1/sqrt(fan_in), 1/sqrt(fan_in)), variance 1/(3 fan_in)",
            ),
            ClassicLaw(
                name="torch_linear",
                weight_var=lambda fan_in, fan_out: 1.0 / (3.0 * fan_in),
                bias_var=lambda fan_in, fan_out: 1.0 / (3.0 * fan_in),
                source="torch.nn.Linear: the classic uniform law for the weight and for the bias",
            ),
            ClassicLaw(
                name="orthogonal",
                weight_var=lambda fan_in, fan_out: 1.0 / max(fan_in, fan_out),
                bias_var=_zero,
                orthogonal=True,
                source="Saxe et al. 2014, arXiv 1312.6120",
            ),
        )
    }
)


def classic_law(name: str) -> ClassicLaw:
    """A classic law by name.

    Raises:
        UnknownNameError: no such law.

    Example:
        >>> classic_law("classic_uniform").sigma_w2(256, 256)
        0.3333333333333333
    """
    if name not in CLASSIC_LAWS:
        raise UnknownNameError(f"no classic law is called {name!r}; {did_you_mean(name, CLASSIC_LAWS)}")
    return CLASSIC_LAWS[name]


def forward_var(*, fan_in: int, weight_var: float, second: float, bias_var: float = 0.0) -> float:
    """Var(h') = fan_in Var(w) E[x^2] + Var(b), for centred weights and any input.

    Args:
        fan_in: inputs summed into a unit.
        weight_var: variance of a weight.
        second: E[x^2] of the inputs (a second moment: their mean counts).
        bias_var: variance of the bias.

    Example:
        >>> forward_var(fan_in=100, weight_var=0.02, second=0.5)
        1.0
    """
    _check_fan("fan_in", fan_in)
    return fan_in * weight_var * second + bias_var


def backward_var(*, fan_out: int, weight_var: float, gradient_var: float, dsecond: float = 1.0) -> float:
    """Var(dL/dh) = fan_out Var(w) E[phi'(h)^2] Var(dL/dh').

    Example:
        >>> backward_var(fan_out=100, weight_var=0.02, gradient_var=1.0, dsecond=0.5)
        1.0
    """
    _check_fan("fan_out", fan_out)
    return fan_out * weight_var * dsecond * gradient_var


def compromise_var(*, fan_in: int, fan_out: int, gain: float = 1.0) -> float:
    """gain^2 2 / (fan_in + fan_out): the harmonic mean of what the forward and the backward pass ask for.

    The forward pass then changes by 2 fan_in / (fan_in + fan_out) a layer, the backward one by 2 fan_out / (fan_in +
    fan_out); over a chain of layers the two products stay within the ratio of the first and last widths.

    Source:
        Glorot & Bengio 2010, eq. 12.

    Example:
        >>> compromise_var(fan_in=100, fan_out=300)
        0.005
    """
    _check_fan("fan_in", fan_in)
    _check_fan("fan_out", fan_out)
    return gain * gain * 2.0 / (fan_in + fan_out)


def _check_fan(name: str, fan: int) -> None:
    if not (fan >= 1 and math.isfinite(fan)):
        raise TheoryError(f"{name} counts units and must be >= 1, got {fan!r}")
