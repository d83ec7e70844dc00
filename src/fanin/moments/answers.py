"""Biases that answer the weights beside them: one that takes off what a map makes of the mean of its input.

Sums take their terms as uncorrelated. W x + b has the covariance E x (row sums of W) b as well, which is large where x
has a mean and b was made from W, and known where both are numbers.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from fanin.moments.kernel import Array
from fanin.moments.moments import JointMoments, aligned

__all__ = ["answered"]


def answered(out: JointMoments, sums: Array, bias: Array, mean: float, dim: int) -> JointMoments:
    """The sum W x + b of moments `out`, which took the two as uncorrelated, with their covariance.

    Args:
        out: moments of the sum.
        sums: sum of the incoming weights of each unit, (units,).
        bias: of each unit, (units,).
        mean: E x.
        dim: dimension of `out` that counts units, from its end (-1 the last).

    Example:
        >>> r = np.array([1.0, -1.0, 2.0])
        >>> whole = answered(JointMoments.iid((4, 3), var=2.0), r, -r, 0.5, -1)
        >>> round(whole.second_moment, 6), round(float(np.mean(r * r)), 6)  # 2 + 2 E x cov(r, b)
        (0.444444, 2.0)
    """
    n = sums.size
    apart = float(sums.mean() * bias.mean())
    agree = float((sums * bias).mean())
    differ = (n * n * apart - n * agree) / (n * (n - 1.0)) if n > 1 else agree
    cross = 2.0 * mean * (np.array([differ, agree]) - apart)
    shape = (n, *(1,) * (-1 - dim))
    sizes, kernel = ((n,), cross) if n > 1 else ((), cross[1])
    one, other = aligned([out, JointMoments(shape=shape, sizes=sizes, mean=0.0, kernel=np.asarray(kernel))], out.shape)
    return replace(one, kernel=one.kernel + other.kernel)
