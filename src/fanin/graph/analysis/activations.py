"""Activations, found by what they compute and not by what they are called.

A region of elementwise operations on one tensor is replayed on a grid and known by value: ``x * sigmoid(1.702 x)``,
the eight operations of a tanh-GELU, ``relu(x) ** 2``, a soft cap or a custom autograd function are all
recognised. An affine region is transparent; an unknown one keeps its exact callable, so theory can integrate it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from scipy import special

__all__ = ["LIBRARY", "Array", "FoundActivation", "identify"]

Array = npt.NDArray[np.float64]

_GRID: Array = np.concatenate([np.linspace(-8.0, 8.0, 321), [-0.013, 0.007, 0.011]])
_TOLERANCE = 2e-5  # relative to the largest value on the grid; models compute in float32 constants


@dataclass(frozen=True, slots=True)
class FoundActivation:
    """A univariate function found in a graph.

    Attributes:
        name: name of the function, "custom(op,op,...)" where unknown, "affine" for a x + b.
        gain: factor on the named function's value (0.9806 for 0.9806 silu).
        inner: factor on its argument (30 for sin(30 x)).
        fn: the exact function on float64 arrays, gain and inner included.
        is_guess: whether it holds numbers that the graph does not know (the learned coefficients of a polynomial), so
            that `fn` has others in their place.
    """

    name: str
    gain: float = 1.0
    inner: float = 1.0
    fn: Callable[[Array], Array] = field(default=lambda x: x, repr=False, compare=False)
    is_guess: bool = False

    @property
    def is_affine(self) -> bool:
        """Whether it only scales and shifts."""
        return self.name == "affine"

    @property
    def label(self) -> str:
        """Name with its factors, as reports show it."""
        inner = "" if math.isclose(self.inner, 1.0) else f"({self.inner:.4g}x)"
        outer = "" if math.isclose(self.gain, 1.0, rel_tol=1e-4) else f"{self.gain:.4g}*"
        return f"{outer}{self.name}{inner}"


def _sigmoid(x: Array) -> Array:
    return np.asarray(special.expit(x))


def _gelu(x: Array) -> Array:
    return np.asarray(0.5 * x * special.erfc(-x / math.sqrt(2.0)))


def _gelu_tanh(x: Array) -> Array:
    return 0.5 * x * (1.0 + np.tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * x**3)))


def _softplus(x: Array) -> Array:
    return np.logaddexp(0.0, x)


_SELU_SCALE, _SELU_ALPHA = 1.0507009873554804934193349852946, 1.6732632423543772848170429916717

# name -> the function; matched up to a factor, with these names for their values
LIBRARY: Mapping[str, Callable[[Array], Array]] = {
    "relu": lambda x: np.maximum(x, 0.0),
    "silu": lambda x: x * _sigmoid(x),
    "gelu": _gelu,
    "gelu_tanh": _gelu_tanh,
    "quick_gelu": lambda x: x * _sigmoid(1.702 * x),
    "tanh": np.tanh,
    "sigmoid": _sigmoid,
    "relu2": lambda x: np.maximum(x, 0.0) ** 2,
    "relu6": lambda x: np.clip(x, 0.0, 6.0),
    "elu": lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0.0))),
    "selu": lambda x: _SELU_SCALE * np.where(x > 0, x, _SELU_ALPHA * np.expm1(np.minimum(x, 0.0))),
    "mish": lambda x: x * np.tanh(_softplus(x)),
    "softplus": _softplus,
    "logsigmoid": lambda x: -_softplus(-x),
    "hardswish": lambda x: x * np.clip(x + 3.0, 0.0, 6.0) / 6.0,
    "hardsigmoid": lambda x: np.clip(x + 3.0, 0.0, 6.0) / 6.0,
    "hardtanh": lambda x: np.clip(x, -1.0, 1.0),
    "softsign": lambda x: x / (1.0 + np.abs(x)),
    "tanhshrink": lambda x: x - np.tanh(x),
    "softshrink": lambda x: np.sign(x) * np.maximum(np.abs(x) - 0.5, 0.0),
    "abs": np.abs,
    "square": np.square,
    "cube": lambda x: x**3,
    "exp": np.exp,
    "sin": np.sin,
    "cos": np.cos,
    "erf": lambda x: np.asarray(special.erf(x)),
    "gaussian": lambda x: np.exp(-(x**2)),
    "sin2": lambda x: np.sin(x) ** 2,
    "snake": lambda x: x + np.sin(x) ** 2,
    "atan": np.arctan,
    "asinh": np.arcsinh,
    "one_minus_sigmoid": lambda x: _sigmoid(-x),
    "exp_minus_exp": lambda x: np.exp(-np.exp(np.minimum(x, 20.0))),
    "sign": np.sign,
    "step": lambda x: (x > 0).astype(np.float64),
}


def identify(
    fn: Callable[[Array], Array], ops: tuple[str, ...] = (), constants: tuple[float, ...] = ()
) -> FoundActivation:
    """The named function that `fn` is, up to factors on its value and argument.

    Args:
        fn: function on float64 arrays.
        ops: names of the operations that make it up, used where it is unknown.
        constants: numbers that occur in it, tried as factors on the argument.

    Example:
        >>> identify(lambda x: 0.5 * np.maximum(x, 0)).label
        '0.5*relu'
        >>> identify(lambda x: np.sin(30.0 * x), constants=(30.0,)).label
        'sin(30x)'
    """
    unknown = FoundActivation(f"custom({','.join(dict.fromkeys(ops))})", fn=fn)
    with np.errstate(all="ignore"):
        try:
            values = np.asarray(fn(_GRID), dtype=np.float64)
        except Exception:
            return unknown
        if values.shape != _GRID.shape:
            return unknown
        finite = np.isfinite(values)
        if finite.sum() < 0.4 * _GRID.size:
            return unknown
        x, y = _GRID[finite], values[finite]
        two_sided = bool((x > 1.0).any() and (x < -1.0).any())  # sqrt(1 - x^2) ends before
        in_pieces = (_leaky(x, y, fn) or _elu(x, y, fn)) if two_sided else None
        return _affine(x, y, fn) or in_pieces or _from_library(x, y, fn, constants) or unknown


def _close(a: Array, b: Array) -> bool:
    return bool(np.max(np.abs(a - b)) <= _TOLERANCE * max(float(np.max(np.abs(a))), 1e-12))


def _affine(x: Array, y: Array, fn: Callable[[Array], Array]) -> FoundActivation | None:
    slope = (y[-4] - y[0]) / (x[-4] - x[0])
    return FoundActivation("affine", gain=float(slope), fn=fn) if _close(y, y[0] + slope * (x - x[0])) else None


def _leaky(x: Array, y: Array, fn: Callable[[Array], Array]) -> FoundActivation | None:
    """Two half lines through zero: relu, leaky relu, abs."""
    up, down = y[x > 1.0][0] / x[x > 1.0][0], y[x < -1.0][0] / x[x < -1.0][0]
    if not _close(y, np.where(x > 0, up * x, down * x)):
        return None
    if up == 0.0:
        return FoundActivation("relu", gain=-float(down), inner=-1.0, fn=fn)
    ratio = float(down / up)
    if abs(ratio) < 1e-7:
        return FoundActivation("relu", gain=float(up), fn=fn)
    if math.isclose(ratio, -1.0, rel_tol=1e-6):
        return FoundActivation("abs", gain=float(up), fn=fn)
    return FoundActivation(f"leaky_relu({ratio:.4g})", gain=float(up), fn=fn)


def _elu(x: Array, y: Array, fn: Callable[[Array], Array]) -> FoundActivation | None:
    """Alpha (exp(x / a) - 1) below zero for any alpha: elu and celu; selu is left to the library."""
    up = y[x > 1.0][0] / x[x > 1.0][0]
    low = float(y[0])
    if up <= 0 or low >= 0 or not _close(y[x > 0], up * x[x > 0]):
        return None
    alpha = -low / up / -math.expm1(float(x[0]))
    if math.isclose(alpha, 1.0, rel_tol=1e-5) or math.isclose(alpha, _SELU_ALPHA, rel_tol=1e-5):
        return None
    if _close(y, up * np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0.0)))):
        return FoundActivation(f"elu({alpha:.4g})", gain=float(up), fn=fn)
    return None


def _from_library(
    x: Array, y: Array, fn: Callable[[Array], Array], constants: tuple[float, ...]
) -> FoundActivation | None:
    for inner in _inner_factors(constants):
        for name, known in LIBRARY.items():
            z = known(inner * x)
            use = np.isfinite(z) & (np.abs(z) < 1e30)
            norm = float(z[use] @ z[use])
            if norm == 0.0 or not math.isfinite(norm):
                continue
            gain = float(z[use] @ y[use]) / norm
            if gain != 0.0 and _close(y[use], gain * z[use]):
                gain = round(gain, 6) if math.isclose(gain, round(gain, 6), rel_tol=1e-6) else gain
                return _named(name, gain, inner, fn)
    return None


def _named(name: str, gain: float, inner: float, fn: Callable[[Array], Array]) -> FoundActivation:
    if name == "tanh" and inner != 1.0 and math.isclose(gain * inner, 1.0, rel_tol=1e-4):
        return FoundActivation("softcap", gain=gain, inner=inner, fn=fn)
    return FoundActivation(name, gain=gain, inner=inner, fn=fn)


def _inner_factors(constants: tuple[float, ...]) -> list[float]:
    """1, then the region's constants, their inverses, and products of neighbours."""
    usable = [c for c in constants if math.isfinite(c) and c != 0.0 and abs(c) != 1.0][:6]
    products = [a * b for a, b in pairwise(usable)]
    return list(dict.fromkeys([1.0, -1.0, *usable, *(1.0 / c for c in usable), *products]))
