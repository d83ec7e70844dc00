"""He's schemes."""

from __future__ import annotations

import math

from fanin.initializers.catalogue.variance_scaling import Mode, VarianceScaling

__all__ = ["he_normal", "he_uniform"]

_SQRT2 = math.sqrt(2.0)


def he_normal(*, gain: float = _SQRT2, mode: Mode = "fan_in") -> VarianceScaling:
    r"""Normal weights of ``std = sqrt(2 / fan_in)``: ReLU layers keep their second moment.

    Half of a zero-mean symmetric input is cut off by the ReLU, so E relu(z)^2 = Var(z) / 2 and the gain is sqrt(2). For
    leaky ReLU of negative slope a the gain is sqrt(2 / (1 + a^2)).

    Args:
        gain: multiplies the std, >= 0.
        mode: "fan_in" keeps the forward second moment, "fan_out" that of the gradient; either suffices (section 2.2 of
            the paper).

    Peers: torch's kaiming_normal_ is this law (with ``a=0``); Keras, JAX and Flax cut it at two parent standard
    deviations and compensate; Lasagne and MLX have a default gain of 1, which is LeCun's law; MXNet's MSRAPrelu
    averages the fans and assumes a slope of 0.25.

    Source: He, Zhang, Ren, Sun 2015 (arXiv 1502.01852, eq. 10; leaky: eq. 15).

    Example:
        >>> he_normal().std_for((256, 800))
        0.05
    """
    return VarianceScaling(gain=gain, mode=mode, law="normal")


def he_uniform(*, gain: float = _SQRT2, mode: Mode = "fan_in") -> VarianceScaling:
    r"""Uniform weights with ``bound = sqrt(6 / fan_in)``: `he_normal` with a uniform law.

    Args:
        gain: multiplies the bound, >= 0.
        mode: as in `he_normal`.

    Peers: torch's kaiming_uniform_ is this law; its layers call it with ``a=sqrt(5)``, which is `classic_uniform`, not
    this. Lasagne's default gain is 1.

    Source: He, Zhang, Ren, Sun 2015 (arXiv 1502.01852, eq. 10).

    Example:
        >>> round(he_uniform().bound_for((256, 600)), 6)
        0.1
    """
    return VarianceScaling(gain=gain, mode=mode, law="uniform")
