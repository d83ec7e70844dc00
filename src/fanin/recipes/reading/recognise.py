"""Find the law that the numbers of a tensor follow.

Known: constant, uniform, normal, truncated normal, orthogonal, identity. Used by the recipe ``keep``. A law is named
only where the numbers support it; otherwise the answer is None, with the reason.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from fanin.errors import ArgumentError
from fanin.initializers import Constant, Initializer, Normal, Ones, TruncatedNormal, Uniform, Zeros
from fanin.layout import Layout

__all__ = ["Recognised", "named_std", "recognise"]

Array = npt.NDArray[np.float64]
_FEWEST = 24  # with fewer numbers one law cannot be distinguished from another
_ALPHA = 1e-4  # a law is dropped where the Kolmogorov-Smirnov test gives less
_SAMPLE = 1 << 18  # numbers that are examined; of a larger tensor, evenly spaced ones


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


def recognise(values: Array, layout: Layout | None = None) -> Recognised:
    """The law that the numbers of a tensor follow.

    Args:
        values: the whole tensor, float64.
        layout: what its axes mean; needed to find orthogonal maps.

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
    if values.size == 0:
        return Recognised(law=None, mean=0.0, std=0.0, words="an empty tensor")
    if not np.isfinite(values).all():
        return Recognised(law=None, mean=math.nan, std=math.nan, words="contains NaN or infinite numbers")
    mean, std = float(values.mean()), float(values.std())
    for look in (_constant, _structured, _zero_rows, _random):
        found = look(values, layout)
        if found is not None:
            law, words = found
            return Recognised(law=law, mean=mean, std=std, words=words)
    raise AssertionError("_random always answers")


def _constant(values: Array, layout: Layout | None) -> tuple[Initializer | None, str] | None:
    first = float(values.flat[0])
    if not (values == first).all():
        return None
    law = {0.0: Zeros(), 1.0: Ones()}.get(first, Constant(first))
    return law, f"every entry is {first:g}"


def _structured(values: Array, layout: Layout | None) -> tuple[Initializer | None, str] | None:
    if values.ndim < 2:
        steps = np.diff(values.ravel()) if values.size > 2 else np.array([])
        if steps.size and np.ptp(steps) <= 1e-6 * np.abs(steps).max():
            return None, "evenly spaced numbers, computed by the module"
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


def _zero_rows(values: Array, layout: Layout | None) -> tuple[Initializer | None, str] | None:
    """An embedding with a padding row: the law of the other rows."""
    if values.ndim != 2 or len(values) < 3:
        return None
    zero = ~values.any(axis=1)
    if not 0 < zero.sum() <= 2:
        return None
    found = _random(values[~zero], layout)
    if found[0] is None:
        return None
    return None, f"{found[1]}; row {', '.join(map(str, np.flatnonzero(zero)))} is zero (padding)"


def _random(values: Array, layout: Layout | None) -> tuple[Initializer | None, str]:
    flat = np.sort(values.ravel()[:: max(1, values.size // _SAMPLE)])
    n = flat.size
    mean, std = float(flat.mean()), float(flat.std())
    if n < _FEWEST:
        return None, f"{n} numbers, mean {mean:.4g}, std {std:.4g}: too few to recognise a law"
    if len(np.unique(flat)) < min(n, 64) // 2:
        return None, f"few distinct numbers, mean {mean:.4g}, std {std:.4g}"
    centre = 0.0 if abs(mean) < 5 * std / math.sqrt(n) else mean
    fits = [fit for make in (_uniform, _truncated, _normal) if (fit := make(flat, centre, std)) is not None]
    if not fits:
        return None, f"no law recognised: mean {mean:.4g}, std {std:.4g}, kurtosis {_kurtosis(flat):.3g}"
    _, law, words = max(fits, key=lambda f: f[0])
    return law, words


_Fit = tuple[float, Initializer, str]


def _uniform(x: Array, centre: float, std: float) -> _Fit | None:
    bound = float(np.abs(x - centre).max()) * (1 + 1 / x.size)
    p = _ks(x, lambda t: np.clip((t - centre + bound) / (2 * bound), 0, 1))
    if p < _ALPHA:
        return None
    law = Uniform(bound=bound) if centre == 0 else Uniform(low=centre - bound, high=centre + bound)
    return -x.size * math.log(2 * bound), law, f"uniform within {centre:.4g} ± {bound:.4g} (std {std:.4g})"


def _normal(x: Array, centre: float, std: float) -> _Fit | None:
    from scipy.special import ndtr

    spread = float(np.sqrt(((x - centre) ** 2).mean()))
    if _ks(x, lambda t: ndtr((t - centre) / spread)) < _ALPHA:
        return None
    likelihood = -x.size * (math.log(spread * math.sqrt(2 * math.pi)) + 0.5)
    return likelihood, Normal(std=spread, mean=centre), f"normal with mean {centre:.4g}, std {spread:.4g}"


def _truncated(x: Array, centre: float, std: float) -> _Fit | None:
    from scipy.special import ndtr

    bound = float(np.abs(x - centre).max()) * (1 + 1 / x.size)
    spread = float(np.sqrt(((x - centre) ** 2).mean()))
    try:
        law = TruncatedNormal(std=spread, mean=centre, lower=centre - bound, upper=centre + bound, bounds="absolute")
        parent, (low, high) = law.parent_std(), law.window()
    except ArgumentError:  # flatter than any truncated normal: uniform
        return None
    if high > 3.3 or high < 0.7:  # too wide to be seen in the numbers, or so narrow that they look uniform
        return None
    mass = float(ndtr(high) - ndtr(low))
    if _ks(x, lambda t: (ndtr((t - centre) / parent) - ndtr(low)) / mass) < _ALPHA:
        return None
    squares = float(((x - centre) ** 2).sum()) / (2 * parent**2)
    likelihood = -x.size * math.log(parent * math.sqrt(2 * math.pi) * mass) - squares - 2 * math.log(x.size)
    return likelihood, law, f"normal truncated at ± {high:.3g} parent stds ({bound:.4g}), std {spread:.4g}"


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
