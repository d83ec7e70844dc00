"""Find the law that the numbers of a tensor follow.

Known: constant, uniform, normal, truncated normal, orthogonal, identity. Used by the recipe ``keep``. A law is named
only where the numbers support it; otherwise the answer is None, with the reason.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from fanin.errors import ArgumentError
from fanin.initializers import Constant, Initializer, Normal, Ones, TruncatedNormal, Uniform, Zeros
from fanin.layout import Layout
from fanin.recipes.reading.departures import departures
from fanin.recipes.reading.statistics import Summary, spread_sample, summary

__all__ = ["Recognised", "named_std", "recognise"]

Array = npt.NDArray[np.float64]
_FEWEST = 24  # with fewer numbers one law cannot be distinguished from another
_ALPHA = 1e-4  # a law is dropped where the Kolmogorov-Smirnov test gives less
_SAMPLE = 1 << 18  # numbers whose distribution is looked at; mean, std and bound are of all
_SURE = 4.5  # standard errors of a law's mean and variance that are allowed; a plan is verified at 5
_LONG = 8  # numbers in a row whose order says something: random ones are in order 2 in 8! times


@dataclass(frozen=True, slots=True, kw_only=True)
class Recognised:
    """The law and the statistics of one tensor.

    Attributes:
        law: the law, None where none was recognised.
        mean: of the numbers.
        std: of the numbers, about their mean.
        words: what was seen, for a reader.
        scheme: the initialization scheme whose std this is, by the fans; "" where no scheme has it.
    """

    law: Initializer | None
    mean: float
    std: float
    words: str
    scheme: str = ""


def recognise(
    values: Array, layout: Layout | None = None, *, dtype: str = "float32", zero_rows: Sequence[int] = ()
) -> Recognised:
    """The law that the numbers of a tensor follow.

    Every number counts: a law is named only where `departures` finds none from it, so that a tensor that nobody
    touched is always found to be as it was read.

    Args:
        values: the whole tensor, floating or complex.
        layout: what its axes mean; needed to find orthogonal maps.
        dtype: of the tensor that the numbers are from; it sets the rounding that is allowed.
        zero_rows: rows of the first axis that are zero (padding); the law is that of the others.

    Returns:
        The law with the parameters that were measured, or None and what was seen instead.

    Example:
        >>> recognise(np.zeros((3, 3))).law
        Zeros()
        >>> import fanin
        >>> from fanin.initializers import Uniform
        >>> type(recognise(Uniform(bound=0.1).sample((99, 99), key=fanin.key(0, "w"), dtype="float64")).law).__name__
        'Uniform'
    """
    rest = np.delete(values, list(zero_rows), axis=0) if zero_rows else values
    if rest.size == 0:
        return Recognised(law=None, mean=0.0, std=0.0, words="an empty tensor")
    whole = summary(rest)
    if not whole.finite:
        return Recognised(law=None, mean=math.nan, std=math.nan, words="contains NaN or infinite numbers")
    law, words = _looked_at(rest, layout, whole)
    if law is not None and (wrong := list(departures("", rest, law, layout, dtype, _SURE))):
        law, words = None, f"{words}, but {wrong[0].quantity} {_shown(wrong[0].measured)} does not fit it"
    if zero_rows:
        words += f"; row {', '.join(map(str, zero_rows))} is zero (padding)"
    return Recognised(law=law, mean=whole.mean, std=whole.std, words=words)


def _shown(value: float | str) -> str:
    return f"{value:.4g}" if isinstance(value, float) else value


def _looked_at(values: Array, layout: Layout | None, whole: Summary) -> tuple[Initializer | None, str]:
    if np.iscomplexobj(values):
        return None, f"complex numbers, mean {whole.mean:.4g}, std {whole.std:.4g}"
    for look in (_constant, _in_order, _structured, _with_zero_rows):
        found = look(values, layout)
        if found is not None:
            return found
    return _random(values, whole)


def _constant(values: Array, layout: Layout | None) -> tuple[Initializer | None, str] | None:
    first = float(values.flat[0])
    if not (values == values.flat[0]).all():
        return None
    law = {0.0: Zeros(), 1.0: Ones()}.get(first, Constant(first))
    return law, f"every entry is {first:g}"


def _in_order(values: Array, layout: Layout | None) -> tuple[Initializer | None, str] | None:
    """Numbers that rise or fall all along one axis: a design (decay rates, time steps, frequencies), never a draw."""
    for axis, size in enumerate(values.shape):
        line = np.diff(values[tuple(slice(None) if a == axis else 0 for a in range(values.ndim))])
        if size < _LONG or not ((line >= 0).all() or (line <= 0).all()):
            continue
        steps = np.diff(values.astype(np.float64), axis=axis)
        if not ((steps >= 0).all() or (steps <= 0).all()):
            continue
        if values.ndim == 1 and np.ptp(steps) <= 1e-6 * np.abs(steps).max():
            return None, "evenly spaced numbers, set by the module itself"
        if steps.any():
            return None, "numbers in order, set by the module itself"
    return None


def _structured(values: Array, layout: Layout | None) -> tuple[Initializer | None, str] | None:
    if values.ndim < 2:
        return None
    for test in _structure_tests():
        if (found := test(values, layout or Layout.default(values.ndim))) is not None:
            return found
    if values.shape[0] > 1 and (values == values[:1]).all():
        return None, "every row is the same, as its module set it"
    return None


def _structure_tests() -> Iterator[Callable[[Array, Layout], tuple[Initializer | None, str] | None]]:
    from fanin.recipes.reading import structures

    yield from structures.TESTS


def _with_zero_rows(values: Array, layout: Layout | None) -> tuple[Initializer | None, str] | None:
    """A table with a row or two of zeros that nobody calls padding: what the other rows are."""
    if values.ndim != 2 or len(values) < 3:
        return None
    zero = ~values.any(axis=1)
    if not 0 < zero.sum() <= 2:
        return None
    rest = values[~zero]
    law, words = _random(rest, summary(rest))
    return None if law is None else (None, f"{words}; row {', '.join(map(str, np.flatnonzero(zero)))} is zero")


def _random(values: Array, whole: Summary) -> tuple[Initializer | None, str]:
    n, mean, std = whole.count, whole.mean, whole.std
    if n < _FEWEST:
        return None, f"{n} numbers, mean {mean:.4g}, std {std:.4g}: too few to recognise a law"
    sample = np.sort(spread_sample(values, _SAMPLE))
    if len(np.unique(sample)) < min(sample.size, 64) // 2:
        return None, f"few distinct numbers, mean {mean:.4g}, std {std:.4g}"
    centre = 0.0 if abs(mean) < _SURE * std / math.sqrt(n) else mean
    read = _Read(
        sample,
        n,
        centre,
        math.sqrt(whole.var_about(centre)),
        max(whole.high - centre, centre - whole.low) * (1 + 1 / n),
    )
    fits = [fit for make in (_uniform, _truncated, _normal) if (fit := make(read)) is not None]
    if not fits:
        return None, f"no law recognised: mean {mean:.4g}, std {std:.4g}, kurtosis {_kurtosis(sample):.3g}"
    _, law, words = max(fits, key=lambda f: f[0])
    return law, words


@dataclass(frozen=True, slots=True)
class _Read:
    """What random numbers look like: a sorted sample, and of all of them the count, centre, spread and reach."""

    sample: Array
    count: int
    centre: float
    spread: float
    bound: float


_Fit = tuple[float, Initializer, str]


def _uniform(x: _Read) -> _Fit | None:
    centre, bound = x.centre, x.bound
    p = _ks(x.sample, lambda t: np.clip((t - centre + bound) / (2 * bound), 0, 1))
    if p < _ALPHA:
        return None
    law = Uniform(bound=bound) if centre == 0 else Uniform(low=centre - bound, high=centre + bound)
    words = f"uniform within {centre:.4g} ± {bound:.4g} (std {x.spread:.4g})"
    return -x.sample.size * math.log(2 * bound), law, words


def _normal(x: _Read) -> _Fit | None:
    from scipy.special import ndtr

    if _ks(x.sample, lambda t: ndtr((t - x.centre) / x.spread)) < _ALPHA:
        return None
    likelihood = -x.sample.size * (math.log(x.spread * math.sqrt(2 * math.pi)) + 0.5)
    return likelihood, Normal(std=x.spread, mean=x.centre), f"normal with mean {x.centre:.4g}, std {x.spread:.4g}"


def _truncated(x: _Read) -> _Fit | None:
    from scipy.special import ndtr

    centre, bound, size = x.centre, x.bound, x.sample.size
    try:
        law = TruncatedNormal(std=x.spread, mean=centre, lower=centre - bound, upper=centre + bound, bounds="absolute")
        parent, (low, high) = law.parent_std(), law.window()
    except ArgumentError:  # flatter than any truncated normal: uniform
        return None
    if high > 3.3 or high < 0.7:  # too wide to be seen in the numbers, or so narrow that they look uniform
        return None
    mass = float(ndtr(high) - ndtr(low))
    if _ks(x.sample, lambda t: (ndtr((t - centre) / parent) - ndtr(low)) / mass) < _ALPHA:
        return None
    squares = float(((x.sample - centre) ** 2).sum()) / (2 * parent**2)
    likelihood = -size * math.log(parent * math.sqrt(2 * math.pi) * mass) - squares - 2 * math.log(size)
    return likelihood, law, f"normal truncated at ± {high:.3g} parent stds ({bound:.4g}), std {x.spread:.4g}"


def _ks(x: Array, cdf: Callable[[Array], Any]) -> float:
    """p-value of the two-sided Kolmogorov-Smirnov test on sorted numbers (asymptotic)."""
    from scipy.special import kolmogorov

    n = x.size
    f = cdf(x)
    grid = np.arange(n)
    distance = float(max((f - grid / n).max(), ((grid + 1) / n - f).max()))
    return float(kolmogorov(distance * math.sqrt(n)))


def _kurtosis(x: Array) -> float:
    c = x - x.mean()
    return float((c**4).mean() / max(float((c**2).mean()) ** 2, 1e-300))


# ---------------------------------------------------------------------- what the std is called
def named_std(std: float, count: int, fan_in: float | None, fan_out: float | None, kurtosis: float = 3.0) -> str:
    """The scheme that has this std, within 5 standard errors; "" where no scheme has it.

    Args:
        std: measured.
        count: numbers it was measured on.
        fan_in: of the map, None where it has none.
        fan_out: likewise.
        kurtosis: of the law, for the standard error.

    Example:
        >>> named_std(0.0625 * 2**0.5, 65536, 256, 256)
        "He's sqrt(2 / fan_in)"
    """
    error = 5 * std * math.sqrt(max(kurtosis - 1, 0.1) / (4 * count)) + 1e-3 * std
    candidates: list[tuple[float, str]] = [(0.02, "the absolute 0.02"), (1.0, "1"), (0.01, "the absolute 0.01")]
    if fan_in and fan_out:
        candidates = [
            (math.sqrt(2 / fan_in), "He's sqrt(2 / fan_in)"),
            (math.sqrt(1 / fan_in), "LeCun's 1 / sqrt(fan_in)"),
            (math.sqrt(1 / (3 * fan_in)), "torch's default, U(±1 / sqrt(fan_in)): 1 / sqrt(3 fan_in)"),
            (math.sqrt(2 / (fan_in + fan_out)), "Glorot's sqrt(2 / (fan_in + fan_out))"),
            (math.sqrt(2 / fan_out), "He's sqrt(2 / fan_out)"),
            *candidates,
        ]
    near = [(abs(std - value), name) for value, name in candidates if abs(std - value) < error]
    return min(near)[1] if near else ""
