"""What becomes of one use of a weight: its status, its factor, and the reason."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

from fanin.calibration.statistic import Size
from fanin.calibration.subject import Fixed
from fanin.calibration.target import Target
from fanin.text.numbers import big, share

__all__ = ["Rules", "Status", "Verdict", "judged", "rounded"]

Status = Literal[
    "corrected",
    "centred",
    "in tolerance",
    "clipped",
    "constant",
    "zero by plan",
    "norm behind",
    "no target",
    "not asked",
    "frozen",
    "kept",
    "tied table",
    "parametrized",
    "recurrent",
    "not followed",
    "never used",
]

_BITS = 8  # significant bits of a factor: no thread count, device or order of the batch changes it
_FINE_BITS = 16  # where the caller asks for the target itself
_NORMAL, _FAR = NormalDist(), 8.0  # beyond so many standard errors chances cannot be told from 0
_NOTHING = 1e-12  # of the input's size, below which an output counts as zero


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What is corrected, and by how much.

    Attributes:
        tolerance: standard errors within which the weight of a model of one map stays as it is; 0 corrects
            everything to the target.
        uses: how many outputs are compared with a target.
        limit: largest factor, and one over the smallest, of a weight that was drawn by an ``auto`` plan.
        wide_limit: likewise of all others.
    """

    tolerance: float = 3.0
    uses: int = 1
    limit: float = 4.0
    wide_limit: float = 100.0

    @property
    def most_z(self) -> float:
        """Standard errors within which a weight stays, so that chance alone touches a model as rarely as one map.

        With the p that one normal number has of being beyond the tolerance, each of n uses gets 1 - (1 - p)^(1 / n)
        (Sidak 1967, doi 10.1080/01621459.1967.10482935).

        Example:
            >>> [round(Rules(tolerance=3.0, uses=n).most_z, 2) for n in (1, 12, 100)]
            [3.0, 3.69, 4.2]
        """
        return _most_z(self.tolerance, self.uses)

    @property
    def bits(self) -> int:
        """Significant bits of a factor."""
        return _BITS if self.tolerance > 0.0 else _FINE_BITS


@functools.lru_cache(maxsize=8)
def _most_z(tolerance: float, uses: int) -> float:
    if not 0.0 < tolerance < _FAR or uses < 2:
        return tolerance
    chance = 2.0 * _NORMAL.cdf(-tolerance)
    return -_NORMAL.inv_cdf(-math.expm1(math.log1p(-chance) / uses) / 2.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What becomes of one use.

    Attributes:
        status: in one word or two.
        factor: what the weight is multiplied by.
        z: standard errors by which the output is larger than its target; None where there is none.
        reason: one sentence; empty where there is nothing to say.
        warning: whether the reader should know the reason.
    """

    status: Status
    factor: float = 1.0
    z: float | None = None
    reason: str = ""
    warning: bool = False


def rounded(factor: float, bits: int) -> float:
    """The nearest number of so many significant bits.

    Example:
        >>> rounded(0.8459, 8), rounded(3.0, 8)
        (0.84765625, 3.0)
    """
    mantissa, exponent = math.frexp(factor)
    return math.ldexp(round(math.ldexp(mantissa, bits)), exponent - bits)


def judged(
    size: Size,
    target: Target,
    fixed: Fixed | None,
    rules: Rules,
    *,
    input_rms: float,
    by_auto: bool,
    starts_at_zero: bool,
) -> Verdict:
    """The verdict on one use of a weight.

    Args:
        size: what its output measures without the bias.
        target: what it should measure.
        fixed: why the weight stays as it is; None where it may change.
        rules: what is corrected.
        input_rms: size of what the operation reads.
        by_auto: the weight holds what an ``auto`` plan draws.
        starts_at_zero: the plan starts the weight itself at zero.
    """
    if size.value <= _NOTHING * input_rms:
        return _zero(size, target, fixed, starts_at_zero)
    if target.rms is None:
        return Verdict(status=fixed.status if fixed else "no target", reason=fixed.reason if fixed else target.why)
    if target.rms == 0.0:
        return Verdict(status="zero by plan", reason="the plan starts this output at zero; the weight keeps its values")
    z = math.log(size.value / target.rms) / target.se
    if fixed is not None:
        return Verdict(status=fixed.status, z=z, reason=fixed.reason)
    if target.normed:
        why = "a norm reads its output, so its size is lost; a factor would change the effective step alone"
        return Verdict(status="norm behind", z=z, reason=why)
    if abs(z) <= rules.most_z:
        return Verdict(status="in tolerance", z=z, reason=_remark(size))
    limit = rules.limit if by_auto else rules.wide_limit
    wanted = target.rms / size.value
    factor = rounded(min(max(wanted, 1.0 / limit), limit), rules.bits)
    if not 1.0 / limit <= wanted <= limit:
        why = f"a factor of {big(wanted)} is needed, beyond {big(limit)}"
        return Verdict(status="clipped", factor=factor, z=z, reason=why, warning=True)
    return Verdict(status="corrected", factor=factor, z=z, reason=_remark(size), warning=size.dead_share >= 0.5)


def _zero(size: Size, target: Target, fixed: Fixed | None, starts_at_zero: bool) -> Verdict:
    if target.rms == 0.0 or starts_at_zero:
        return Verdict(status="zero by plan", reason="its output is zero, as the plan has it")
    small = f"its output is {big(size.value)}, below 1e-12 of what it reads"
    said = small if size.value > 0.0 else "its output is zero"
    if fixed is not None and fixed.status != "not asked":
        return Verdict(status=fixed.status, reason=f"{fixed.reason}; {said}")
    why = "no factor changes that" if size.value == 0.0 else "that small it is not measured"
    return Verdict(status="constant", reason=f"{said}, and {why}", warning=True)


def _remark(size: Size) -> str:
    said = []
    if size.dead_share >= 0.5:
        said.append(f"{share(size.dead_share)} of its channels are zero; measured on the others")
    if size.heavy_tailed:
        said.append(f"heavy-tailed here: the rms is {big(size.rms)}, and {big(size.value)} without wild samples")
    return "; ".join(said)
