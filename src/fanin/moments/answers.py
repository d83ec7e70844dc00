"""What a map of known weights makes of the mean of its input: it is no draw, and a bias may take it off again.

Sums take their terms as uncorrelated. W x + b has the covariance E x (row sums of W) b as well, which is large where x
has a mean and b was made from W, and known where both are numbers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fanin.moments.kernel import Array
from fanin.moments.moments import JointMoments, aligned

__all__ = ["MeanMapped"]


@dataclass(frozen=True, slots=True, kw_only=True)
class MeanMapped:
    """W (E x) + b of a map whose numbers are known: one number a unit.

    Attributes:
        sums: sum of the incoming weights of each unit, (units,).
        mean: E x.
        dim: dimension of the output that counts units, from its end (-1 the last).
        bias: of each unit, (units,), or one number.
    """

    sums: Array
    mean: float
    dim: int
    bias: Array | float = 0.0

    def answered(self, out: JointMoments) -> JointMoments:
        """The sum W x + b of moments `out`, which took the two as uncorrelated, with their covariance.

        Example:
            >>> r = np.array([1.0, -1.0, 2.0])
            >>> whole = MeanMapped(sums=r, mean=0.5, dim=-1, bias=-r).answered(JointMoments.iid((4, 3), var=2.0))
            >>> round(whole.second_moment, 6), round(float(np.mean(r * r)), 6)  # 2 + 2 E x cov(r, b)
            (0.444444, 2.0)
        """
        bias = np.broadcast_to(self.bias, self.sums.shape)
        cross = 2.0 * self.mean * (_between(self.sums, bias) - self.sums.mean() * bias.mean())
        one, other = aligned([out, self._of_units(cross, 0.0)], out.shape)
        return one.changed(kernel=one.kernel + other.kernel)

    def own_var(self, out: JointMoments) -> float:
        """Variance of the log mean square of the output, given these numbers: what is drawn is the rest alone.

        Example:
            >>> x = JointMoments.measured(np.array([[1.0, -1.0, 2.0]])).expanded((4, 3))
            >>> MeanMapped(sums=np.array([1.0, -1.0, 2.0]), mean=1.0, dim=-1).own_var(x)
            0.0
        """
        numbers = self.mean * self.sums + self.bias
        return out.own_var_beside(self._of_units(_between(numbers, numbers), float(numbers.mean())))

    def _of_units(self, kernel: Array, mean: float) -> JointMoments:
        n = self.sums.size
        sizes, own = ((n,), kernel) if n > 1 else ((), np.asarray(kernel[1]))
        return JointMoments(shape=(n, *(1,) * (-1 - self.dim)), sizes=sizes, mean=mean, kernel=own)


def _between(one: Array, other: Array) -> Array:
    """Mean of products of the numbers of two different units, and of the same unit."""
    n, apart, agree = one.size, float(one.mean() * other.mean()), float((one * other).mean())
    return np.array([(n * apart - agree) / (n - 1.0) if n > 1 else agree, agree])
