"""LeCun's schemes."""

from __future__ import annotations

from fanin.initializers.catalogue.variance_scaling import Mode, VarianceScaling

__all__ = ["lecun_normal", "lecun_uniform"]


def lecun_normal(*, gain: float = 1.0, mode: Mode = "fan_in") -> VarianceScaling:
    r"""Normal weights with ``std = 1 / sqrt(fan_in)``: a linear map keeps the second moment.

    For linear maps, SELU networks, attention projections and output layers; "efficient backprop" pairs it with tanh
    scaled to 1.7159 tanh(2 x / 3).

    Args:
        gain: multiplies the std, >= 0.
        mode: which fan.

    Peers: Keras, JAX and Flax cut it at two parent standard deviations and compensate; Haiku's Linear cuts and does not
    compensate (its real std is 0.88 / sqrt(fan_in)).

    Source: LeCun, Bottou, Orr, Müller 1998, "Efficient BackProp" (eq. 16); Klambauer et al. 2017 (arXiv 1706.02515,
    section 2) for SELU.

    Example:
        >>> lecun_normal().std_for((256, 400))
        0.05
    """
    return VarianceScaling(gain=gain, mode=mode, law="normal")


def lecun_uniform(*, gain: float = 1.0, mode: Mode = "fan_in") -> VarianceScaling:
    r"""Uniform weights with ``bound = sqrt(3 / fan_in)``: `lecun_normal` with a uniform law.

    Args:
        gain: multiplies the bound, >= 0.
        mode: which fan.

    Peers: DL4J's LECUN_UNIFORM has the bound 3 / sqrt(fan_in), three times the variance, and its documentation says 3 /
    fan_in.

    Source: LeCun, Bottou, Orr, Müller 1998, "Efficient BackProp" (eq. 16).

    Example:
        >>> round(lecun_uniform().bound_for((256, 300)), 6)
        0.1
    """
    return VarianceScaling(gain=gain, mode=mode, law="uniform")
