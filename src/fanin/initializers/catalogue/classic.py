"""The classic uniform law, still torch's default."""

from __future__ import annotations

import math

from fanin.errors import ArgumentError
from fanin.initializers.base import finite
from fanin.initializers.catalogue.uniform import Uniform
from fanin.initializers.catalogue.variance_scaling import VarianceScaling

__all__ = ["classic_bias", "classic_uniform"]


def classic_uniform() -> VarianceScaling:
    r"""Uniform weights with ``bound = 1 / sqrt(fan_in)``: the "commonly used heuristic".

    Its variance is 1 / (3 fan_in), a third of what a linear map needs to keep its second moment and a sixth of what a
    ReLU layer needs: ten layers lose a factor of 6^10. Here to reproduce others' defaults, not to start from.

    Peers: the default of torch's Linear and ConvNd (spelt ``kaiming_uniform_(a=sqrt(5))``) and of Equinox; DL4J calls
    it "uniform".

    Source: Glorot and Bengio 2010 (AISTATS 9, eq. 1), who show why it fails; LeCun et al. 1998, "Efficient BackProp".

    Example:
        >>> round(classic_uniform().bound_for((256, 100)), 6)
        0.1
    """
    return VarianceScaling(gain=math.sqrt(1.0 / 3.0), mode="fan_in", law="uniform")


def classic_bias(*, fan_in: float) -> Uniform:
    """The bias that torch pairs with `classic_uniform`: U(-1 / sqrt(fan_in), 1 / sqrt(fan_in)).

    A bias has no fans of its own, so the weight's is passed.

    Args:
        fan_in: of the weight beside it (torch: `hidden_size` for recurrent cells), > 0.

    Raises:
        ArgumentError: fan_in <= 0.

    Source: torch.nn.Linear and its siblings; no paper asks for it.

    Example:
        >>> str(classic_bias(fan_in=100))
        'Uniform(bound=0.1)'
    """
    if not finite("fan_in", fan_in) > 0.0:
        raise ArgumentError(f"fan_in must be > 0; got {fan_in!r}. Take it from fanin.fans(weight_shape).")
    return Uniform(bound=1.0 / math.sqrt(fan_in))
