"""Glorot's schemes."""

from __future__ import annotations

from fanin.initializers.catalogue.variance_scaling import VarianceScaling

__all__ = ["glorot_normal", "glorot_uniform"]


def glorot_normal(*, gain: float = 1.0) -> VarianceScaling:
    r"""Normal weights with ``std = gain sqrt(2 / (fan_in + fan_out))``.

    A compromise between the forward second moment (which wants fan_in) and that of the gradient (fan_out), derived for
    units that are linear around 0. For layers whose fans are equal it keeps both; for tanh add
    ``gain=fanin.gain("tanh")``; for ReLU use `he_normal`.

    Args:
        gain: multiplies the std, >= 0.

    Peers: Keras, JAX, Flax and Haiku cut this law at two parent standard deviations and compensate; torch, Paddle,
    MXNet, DL4J and Lasagne do not cut. MXNet's Xavier has a default magnitude of 3, three times Glorot's variance for
    its Gaussian form.

    Source: Glorot and Bengio 2010 (AISTATS 9, eq. 12).

    Example:
        >>> glorot_normal().std_for((300, 500))
        0.05
    """
    return VarianceScaling(gain=gain, mode="fan_avg", law="normal")


def glorot_uniform(*, gain: float = 1.0) -> VarianceScaling:
    r"""Uniform weights with ``bound = gain sqrt(6 / (fan_in + fan_out))``.

    "Normalized initialization" of the paper; the same second moments as `glorot_normal`.

    Args:
        gain: multiplies the bound, >= 0; 4 for logistic sigmoid units (`glorot_logistic`).

    Peers: the fan_out of torch for a fused (3 E, E) attention matrix is 3 E, so q, k and v there start sqrt(2) too
    small; Keras' bound for LSTM kernels counts the four gates as outputs (0.137 where one gate alone would get 0.217).

    Source: Glorot and Bengio 2010 (AISTATS 9, eq. 16).

    Example:
        >>> round(glorot_uniform().bound_for((300, 300)), 6)
        0.1
    """
    return VarianceScaling(gain=gain, mode="fan_avg", law="uniform")
