"""Glorot's law for logistic units."""

from __future__ import annotations

from fanin.initializers.catalogue.variance_scaling import LawName, VarianceScaling

__all__ = ["glorot_logistic"]


def glorot_logistic(*, law: LawName = "uniform") -> VarianceScaling:
    r"""Glorot's law times 4, for sigmoid units: bound ``4 sqrt(6 / (fan_in + fan_out))``.

    The logistic function has slope 1/4 at 0, where tanh has slope 1. For logistic layers of any depth `Centred` with
    gain 4.8 = 1 / std of the sigmoid does better: it also removes the mean of 1/2.

    Args:
        law: "uniform" (the deep-learning tutorials), "normal" or "truncated_normal".

    Peers: DL4J's SIGMOID_UNIFORM; torch's calculate_gain("sigmoid") is 1.

    Source: Glorot and Bengio 2010 (AISTATS 9, eq. 16) with the factor of Bengio and Glorot's deep learning tutorials
    (Theano, 2010, multilayer perceptron).

    Example:
        >>> round(glorot_logistic().bound_for((300, 300)), 6)
        0.4
    """
    return VarianceScaling(gain=4.0, mode="fan_avg", law=law)
