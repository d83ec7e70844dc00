"""Numbers as a reader wants them: three figures, aligned, never a bare NaN without a word for it."""

from __future__ import annotations

import math
from collections.abc import Sequence

__all__ = [
    "MISSING",
    "big",
    "count",
    "counted",
    "figures",
    "fixed",
    "power_of_ten",
    "seconds",
    "share",
    "sizes",
    "standard_errors",
    "to_figures",
]

MISSING = "–"
_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def figures(value: float | None, digits: int = 3) -> str:
    """The value to `digits` significant figures: plain from 0.001 to 100 000, else with an exponent.

    With more than five digits plain numbers go on to as many digits.

    Example:
        >>> [figures(v) for v in (0.98765, 12.0, 3.2e-7, 0.0, None, float("nan"), float("-inf"))]
        ['0.988', '12.0', '3.20e-7', '0', '–', 'NaN', '-∞']
        >>> figures(589824.0, 6)
        '589824'
    """
    if value is None:
        return MISSING
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
    if value == 0:
        return "0"
    mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
    power = int(exponent)
    if -3 <= power < max(digits, 5):
        return f"{float(f'{mantissa}e{exponent}'):.{max(digits - 1 - power, 0)}f}"
    return f"{mantissa}e{power}"


def big(value: float | None, digits: int = 3) -> str:
    """A number in a sentence: figures without trailing zeros.

    Example:
        >>> [big(v) for v in (12.0, 0.5, 1e-4, 1e6)]
        ['12', '0.5', '1e-4', '1e6']
        >>> big(0.0370370, 6)
        '0.037037'
    """
    text = figures(value, digits)
    mantissa, e, power = text.partition("e")
    if "." in mantissa:
        mantissa = mantissa.rstrip("0").rstrip(".")
    return mantissa + e + power


def fixed(value: float | None, decimals: int = 6) -> str:
    """The value with a fixed number of decimals, for columns of numbers of like size; figures for all others.

    Example:
        >>> [fixed(v) for v in (1.4142135, 0.0, 3.2e-7, None)]
        ['1.414214', '0.000000', '3.200e-7', '–']
    """
    if value is not None and (value == 0 or 1e-4 <= abs(value) < 1e5):
        return f"{value:.{decimals}f}"
    return figures(value, 4)


def count(value: int) -> str:
    """A count in thousands, millions or billions.

    Example:
        >>> [count(v) for v in (7, 1_234, 5_717_416, 7_000_000_000)]
        ['7', '1,234', '5.72 M', '7.00 B']
    """
    for limit, unit in ((1e12, "T"), (1e9, "B"), (1e6, "M")):
        if value >= limit:
            return f"{value / limit:.2f} {unit}"
    return f"{value:,}"


def counted(number: int, one: str, many: str = "") -> str:
    """A number before its noun (and verb), which agree with it.

    Args:
        number: how many.
        one: the words after 1.
        many: the words after any other number; `one` with an s where that is all.

    Example:
        >>> counted(1, "parameter"), counted(2_000, "parameter"), counted(1, "tensor holds", "tensors hold")
        ('1 parameter', '2,000 parameters', '1 tensor holds')
    """
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def sizes(shape: Sequence[int]) -> str:
    """The shape of a tensor.

    Example:
        >>> sizes((64, 3, 7, 7)), sizes(())
        ('64×3×7×7', 'scalar')
    """
    return "×".join(map(str, shape)) or "scalar"


def share(value: float | None) -> str:
    """A share as a percentage; small ones keep a figure, so that 0 % means none.

    Example:
        >>> [share(v) for v in (0.5, 0.0, 0.0004, 1.0, 0.9996, None)]
        ['50 %', '0 %', '0.04 %', '100 %', '99.96 %', '–']
    """
    if value is None:
        return MISSING
    if not math.isfinite(value):
        return figures(value)
    distance = min(abs(value), abs(1 - value))
    digits = 0 if distance == 0 or distance >= 0.01 else min(1 - math.ceil(math.log10(distance * 100)), 6)
    return f"{value * 100:.{digits}f} %"


def seconds(value: float | None) -> str:
    """A duration.

    Example:
        >>> [seconds(v) for v in (0.0123, 2.5, 190.0)]
        ['12 ms', '2.5 s', '3 min 10 s']
    """
    if value is None:
        return MISSING
    if value < 1:
        return f"{value * 1000:.0f} ms" if value >= 0.001 else "< 1 ms"
    if value < 60:
        return f"{value:.1f} s"
    return f"{int(value // 60)} min {int(value % 60)} s"


def standard_errors(value: float | None) -> str:
    """A distance in standard errors, with its sign.

    Example:
        >>> [standard_errors(v) for v in (1.24, -0.02, 310.4, None)]
        ['+1.2', '-0.0', '+310', '–']
    """
    if value is None:
        return MISSING
    return f"{value:+.1f}" if abs(value) < 100 else f"{value:+.0f}"


def power_of_ten(exponent: int) -> str:
    """Label of a decade.

    Example:
        >>> [power_of_ten(e) for e in (-12, 0, 1, 3)]
        ['10⁻¹²', '1', '10', '10³']
    """
    if exponent in (0, 1):
        return "10" if exponent else "1"
    return "10" + str(exponent).translate(_SUPERSCRIPTS)


def to_figures(value: float, figures: int) -> float:
    """A number rounded to so many significant figures; itself where the rounded one would be beyond the largest float.

    Example:
        >>> to_figures(1 / 3, 5), to_figures(1.79765e308, 5)
        (0.33333, 1.79765e+308)
    """
    rounded = float(f"{value:.{figures}g}")
    return value if math.isinf(rounded) else rounded
