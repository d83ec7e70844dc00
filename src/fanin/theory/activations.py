"""Scalar activations by name: the function, its derivative, where it is not smooth, and what others call it.

A row of the table is a *family*: a builder over its parameters. ``activation("leaky_relu", negative_slope=0.2)`` gives
one member, an `Activation`, which is frozen, compares by name and parameters, and is what caches are keyed by.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from types import MappingProxyType

import numpy as np
from scipy import special

from fanin.errors import ArgumentError, UnknownNameError, did_you_mean, sentence
from fanin.theory._types import Array, ScalarFunction

__all__ = ["FAMILIES", "Activation", "Family", "activation", "activation_names"]

_SQRT2 = float(np.sqrt(2.0))
_SQRT_2_OVER_PI = float(np.sqrt(2.0 / np.pi))
# Klambauer et al. 2017, arXiv 1706.02515, eq. 14: the fixed point (0, 1) fixes both.
SELU_ALPHA = 1.6732632423543772848
SELU_SCALE = 1.0507009873554804934


@dataclass(frozen=True, slots=True, kw_only=True)
class Activation:
    """One scalar activation.

    Attributes:
        name: the table's name, or the callable's own.
        fn: elementwise function over float64 arrays.
        derivative: its derivative where it exists (as backpropagation uses it), or None where unknown.
        kinks: points where the function or one of its derivatives jumps; None if they have to be found.
        params: the family's parameters, sorted by name.
        identity: tells user callables apart; None for members of the table.

    Example:
        >>> relu = activation("relu")
        >>> relu.name, relu.kinks, float(relu.fn(np.array(-2.0)))
        ('relu', (0.0,), 0.0)
    """

    name: str
    fn: ScalarFunction = field(compare=False, repr=False)
    derivative: ScalarFunction | None = field(default=None, compare=False, repr=False)
    kinks: tuple[float, ...] | None = field(default=None, compare=False)
    params: tuple[tuple[str, float], ...] = ()
    identity: Hashable = None

    def __str__(self) -> str:
        inside = ", ".join(f"{k}={v:g}" for k, v in self.params)
        return f"{self.name}({inside})" if inside else self.name


Parts = tuple[Callable[[Array], Array], Callable[[Array], Array], tuple[float, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """A row of the table: how to build a member, and the names it goes by.

    Attributes:
        build: parameters -> (function, derivative, kinks); its keyword defaults are the family's defaults.
        aliases: other spellings accepted by `activation`.
        torch: names of the class in ``torch.nn`` or of the function in ``torch`` / ``torch.nn.functional``.
        torch_params: parameter -> attribute of the ``torch.nn`` class that carries it.
    """

    build: Callable[..., Parts]
    aliases: tuple[str, ...] = ()
    torch: tuple[str, ...] = ()
    torch_params: Mapping[str, str] = field(default_factory=dict)

    def defaults(self) -> dict[str, float]:
        """The parameters and their default values."""
        return {p.name: float(p.default) for p in inspect.signature(self.build).parameters.values()}


def _identity() -> Parts:
    return lambda x: 1.0 * x, np.ones_like, ()


def _leaky(slope: float) -> Parts:
    return lambda x: np.where(x > 0, x, slope * x), lambda x: np.where(x > 0, 1.0, slope), (0.0,)


def _relu() -> Parts:
    return lambda x: np.maximum(x, 0.0), lambda x: np.where(x > 0, 1.0, 0.0), (0.0,)


def _leaky_relu(*, negative_slope: float = 0.01) -> Parts:
    return _leaky(negative_slope)


def _prelu(*, weight: float = 0.25) -> Parts:
    return _leaky(weight)


def _rrelu(*, lower: float = 1.0 / 8.0, upper: float = 1.0 / 3.0) -> Parts:
    return _leaky(0.5 * (lower + upper))  # the evaluation form: the mean slope


def _clip(lower: float, upper: float) -> Parts:
    return (
        lambda x: np.clip(x, lower, upper),
        lambda x: np.where((x > lower) & (x < upper), 1.0, 0.0),
        (lower, upper),
    )


def _relu6() -> Parts:
    return _clip(0.0, 6.0)


def _hardtanh(*, min_val: float = -1.0, max_val: float = 1.0) -> Parts:
    return _clip(min_val, max_val)


def _hardsigmoid() -> Parts:
    return (
        lambda x: np.clip(x / 6.0 + 0.5, 0.0, 1.0),
        lambda x: np.where(np.abs(x) < 3.0, 1.0 / 6.0, 0.0),
        (-3.0, 3.0),
    )


def _hardswish() -> Parts:
    def derivative(x: Array) -> Array:
        return np.where(x <= -3.0, 0.0, np.where(x >= 3.0, 1.0, x / 3.0 + 0.5))

    return lambda x: x * np.clip(x / 6.0 + 0.5, 0.0, 1.0), derivative, (-3.0, 3.0)


def _relu2() -> Parts:
    return lambda x: np.square(np.maximum(x, 0.0)), lambda x: 2.0 * np.maximum(x, 0.0), (0.0,)


def _star_relu(*, s: float = 0.8944, b: float = -0.4472) -> Parts:
    return lambda x: s * np.square(np.maximum(x, 0.0)) + b, lambda x: 2.0 * s * np.maximum(x, 0.0), (0.0,)


def _exponential_linear(alpha: float, rate: float, outer: float) -> Parts:
    def fn(x: Array) -> Array:
        return outer * np.where(x > 0, x, alpha * np.expm1(rate * np.minimum(x, 0.0)))

    def derivative(x: Array) -> Array:
        return outer * np.where(x > 0, 1.0, alpha * rate * np.exp(rate * np.minimum(x, 0.0)))

    return fn, derivative, (0.0,)


def _elu(*, alpha: float = 1.0) -> Parts:
    return _exponential_linear(alpha, 1.0, 1.0)


def _celu(*, alpha: float = 1.0) -> Parts:
    return _exponential_linear(alpha, 1.0 / alpha, 1.0)


def _selu() -> Parts:
    return _exponential_linear(SELU_ALPHA, 1.0, SELU_SCALE)


def _normal_pdf(x: Array) -> Array:
    return np.asarray(np.exp(-0.5 * x * x) / np.sqrt(2.0 * np.pi))


def _gelu() -> Parts:
    return lambda x: x * special.ndtr(x), lambda x: special.ndtr(x) + x * _normal_pdf(x), ()


def _gelu_tanh() -> Parts:
    def fn(x: Array) -> Array:
        return np.asarray(x * special.expit(2.0 * _SQRT_2_OVER_PI * (x + 0.044715 * x**3)))

    def derivative(x: Array) -> Array:
        gate = special.expit(2.0 * _SQRT_2_OVER_PI * (x + 0.044715 * x**3))
        slope = 2.0 * _SQRT_2_OVER_PI * (1.0 + 3.0 * 0.044715 * x**2)
        return np.asarray(gate + x * gate * (1.0 - gate) * slope)

    return fn, derivative, ()


def _self_gated(beta: float) -> Parts:
    def derivative(x: Array) -> Array:
        gate = special.expit(beta * x)
        return np.asarray(gate + beta * x * gate * special.expit(-beta * x))

    return lambda x: x * special.expit(beta * x), derivative, ()


def _silu() -> Parts:
    return _self_gated(1.0)


def _swish(*, beta: float = 1.0) -> Parts:
    return _self_gated(beta)


def _quick_gelu() -> Parts:
    return _self_gated(1.702)


def _mish() -> Parts:
    def derivative(x: Array) -> Array:
        t = np.tanh(np.logaddexp(0.0, x))
        return np.asarray(t + x * (1.0 - t * t) * special.expit(x))

    return lambda x: x * np.tanh(np.logaddexp(0.0, x)), derivative, ()


def _sigmoid() -> Parts:
    return special.expit, lambda x: special.expit(x) * special.expit(-x), ()


def _tanh() -> Parts:
    return np.tanh, lambda x: _sech_squared(x), ()


def _sech_squared(x: Array) -> Array:
    # 4 sigmoid(2x) sigmoid(-2x): no cancellation in the tails, where 1 - tanh^2 has lost every digit
    return np.asarray(4.0 * special.expit(2.0 * x) * special.expit(-2.0 * x))


def _lecun_tanh() -> Parts:
    a, b = 1.7159, 2.0 / 3.0
    return lambda x: a * np.tanh(b * x), lambda x: a * b * _sech_squared(b * x), ()


def _softplus(*, beta: float = 1.0) -> Parts:
    return lambda x: np.logaddexp(0.0, beta * x) / beta, lambda x: special.expit(beta * x), ()


def _squareplus(*, b: float = 4.0) -> Parts:
    return lambda x: 0.5 * (x + np.sqrt(x * x + b)), lambda x: 0.5 * (1.0 + x / np.sqrt(x * x + b)), ()


def _softsign() -> Parts:
    return lambda x: x / (1.0 + np.abs(x)), lambda x: 1.0 / np.square(1.0 + np.abs(x)), (0.0,)


def _tanhshrink() -> Parts:
    return _less_tanh, lambda x: np.square(np.tanh(x)), ()


def _less_tanh(x: Array) -> Array:
    """Give x - tanh x, near zero by its series: there the difference of nearly equal numbers is noise."""
    y = np.square(x)
    series = x * y / 3.0 * (1.0 + y * (-2.0 / 5.0 + y * (17.0 / 105.0 + y * (-62.0 / 945.0 + y * 1382.0 / 51975.0))))
    return np.where(np.abs(x) < 0.05, series, x - np.tanh(x))


def _softshrink(*, lambd: float = 0.5) -> Parts:
    return (
        lambda x: np.sign(x) * np.maximum(np.abs(x) - lambd, 0.0),
        lambda x: np.where(np.abs(x) > lambd, 1.0, 0.0),
        (-lambd, lambd),
    )


def _hardshrink(*, lambd: float = 0.5) -> Parts:
    return (
        lambda x: np.where(np.abs(x) > lambd, x, 0.0),
        lambda x: np.where(np.abs(x) > lambd, 1.0, 0.0),
        (-lambd, lambd),
    )


def _threshold(*, threshold: float = 0.0, value: float = 0.0) -> Parts:
    return (
        lambda x: np.where(x > threshold, x, value),
        lambda x: np.where(x > threshold, 1.0, 0.0),
        (threshold,),
    )


def _logsigmoid() -> Parts:
    return lambda x: -np.logaddexp(0.0, -x), lambda x: special.expit(-x), ()


def _sin(*, omega: float = 1.0) -> Parts:
    return lambda x: np.sin(omega * x), lambda x: omega * np.cos(omega * x), ()


def _cos(*, omega: float = 1.0) -> Parts:
    return lambda x: np.cos(omega * x), lambda x: -omega * np.sin(omega * x), ()


def _erf() -> Parts:
    return special.erf, lambda x: 2.0 * _SQRT2 * _normal_pdf(_SQRT2 * x), ()


def _exp() -> Parts:
    return np.exp, np.exp, ()


def _abs() -> Parts:
    return np.abs, np.sign, (0.0,)


def _square() -> Parts:
    return np.square, lambda x: 2.0 * x, ()


def _gaussian() -> Parts:
    return lambda x: np.exp(-x * x), lambda x: -2.0 * x * np.exp(-x * x), ()


def _arctan() -> Parts:
    return np.arctan, lambda x: 1.0 / (1.0 + x * x), ()


# name -> family. One line adds an activation; the contract tests run over every row.
FAMILIES: Mapping[str, Family] = MappingProxyType(
    {
        "linear": Family(build=_identity, aliases=("identity", "none"), torch=("Identity",)),
        "relu": Family(build=_relu, torch=("ReLU", "relu", "relu_")),
        "leaky_relu": Family(
            build=_leaky_relu,
            aliases=("lrelu", "leakyrelu"),
            torch=("LeakyReLU", "leaky_relu", "leaky_relu_"),
            torch_params={"negative_slope": "negative_slope"},
        ),
        "prelu": Family(build=_prelu),
        "rrelu": Family(
            build=_rrelu, torch=("RReLU", "rrelu", "rrelu_"), torch_params={"lower": "lower", "upper": "upper"}
        ),
        "relu6": Family(build=_relu6, torch=("ReLU6", "relu6")),
        "relu2": Family(build=_relu2, aliases=("relu^2", "relu_squared", "squared_relu")),
        "star_relu": Family(build=_star_relu, aliases=("starrelu",)),
        "elu": Family(build=_elu, torch=("ELU", "elu", "elu_"), torch_params={"alpha": "alpha"}),
        "selu": Family(build=_selu, torch=("SELU", "selu", "selu_")),
        "celu": Family(build=_celu, torch=("CELU", "celu", "celu_"), torch_params={"alpha": "alpha"}),
        "gelu": Family(build=_gelu, torch=("gelu",)),
        "gelu_tanh": Family(
            build=_gelu_tanh,
            aliases=("gelu_new", "gelu_pytorch_tanh", "gelu_fast", "gelu_accurate", "approximate_gelu"),
        ),
        "quick_gelu": Family(build=_quick_gelu, aliases=("quickgelu",)),
        "silu": Family(build=_silu, aliases=("swish1",), torch=("SiLU", "silu")),
        "swish": Family(build=_swish),
        "mish": Family(build=_mish, torch=("Mish", "mish")),
        "sigmoid": Family(build=_sigmoid, aliases=("logistic", "expit"), torch=("Sigmoid", "sigmoid", "sigmoid_")),
        "tanh": Family(build=_tanh, torch=("Tanh", "tanh", "tanh_")),
        "lecun_tanh": Family(build=_lecun_tanh),
        "hardtanh": Family(
            build=_hardtanh,
            aliases=("hard_tanh", "htanh"),
            torch=("Hardtanh", "hardtanh", "hardtanh_"),
            torch_params={"min_val": "min_val", "max_val": "max_val"},
        ),
        "hardsigmoid": Family(build=_hardsigmoid, aliases=("hard_sigmoid",), torch=("Hardsigmoid", "hardsigmoid")),
        "hardswish": Family(
            build=_hardswish, aliases=("hard_swish", "hard_silu", "hardsilu"), torch=("Hardswish", "hardswish")
        ),
        "softplus": Family(build=_softplus, torch=("Softplus", "softplus"), torch_params={"beta": "beta"}),
        "squareplus": Family(build=_squareplus),
        "softsign": Family(build=_softsign, torch=("Softsign", "softsign")),
        "tanhshrink": Family(build=_tanhshrink, torch=("Tanhshrink", "tanhshrink")),
        "softshrink": Family(build=_softshrink, torch=("Softshrink", "softshrink"), torch_params={"lambd": "lambd"}),
        "hardshrink": Family(build=_hardshrink, torch=("Hardshrink", "hardshrink"), torch_params={"lambd": "lambd"}),
        "threshold": Family(
            build=_threshold, torch=("Threshold",), torch_params={"threshold": "threshold", "value": "value"}
        ),
        "logsigmoid": Family(build=_logsigmoid, aliases=("log_sigmoid",), torch=("LogSigmoid", "logsigmoid")),
        "sin": Family(build=_sin, aliases=("sine",), torch=("sin", "sin_")),
        "cos": Family(build=_cos, torch=("cos", "cos_")),
        "erf": Family(build=_erf, torch=("erf", "erf_")),
        "exp": Family(build=_exp, torch=("exp", "exp_")),
        "abs": Family(build=_abs, torch=("abs", "abs_")),
        "square": Family(build=_square, torch=("square", "square_")),
        "gaussian": Family(build=_gaussian),
        "arctan": Family(build=_arctan, aliases=("atan",), torch=("atan", "arctan")),
    }
)


def _spellings() -> dict[str, str]:
    spellings = {name: name for name in FAMILIES}
    for name, family in FAMILIES.items():
        for alias in family.aliases:
            if alias in spellings:
                raise ValueError(f"two activations are called {alias!r}")
            spellings[alias] = name
    return spellings


_SPELLINGS = _spellings()
_WITH_PARAMS = re.compile(r"^(?P<name>[\w^]+)\((?P<params>.*)\)$")


def activation_names() -> tuple[str, ...]:
    """The table's names, sorted, aliases left out.

    Example:
        >>> "gelu" in activation_names()
        True
    """
    return tuple(sorted(FAMILIES))


def activation(name: str, **params: float) -> Activation:
    """The activation of a given name, case and hyphens aside, with its family's parameters.

    Args:
        name: a name or alias of the table; parameters may be written into it: ``"leaky_relu(0.2)"``,
            ``"elu(alpha=0.5)"``.
        **params: the family's parameters; what is not given has the default of the framework layer.

    Raises:
        UnknownNameError: no such name; the message has the nearest ones.
        ArgumentError: no such parameter, or it is not a finite number.

    Example:
        >>> str(activation("leaky_relu", negative_slope=0.2))
        'leaky_relu(negative_slope=0.2)'
        >>> activation("leaky_relu(0.2)") == activation("LReLU", negative_slope=0.2)
        True
    """
    name, inline = _split_params(name.strip().lower().replace("-", "_"))
    if name not in _SPELLINGS:
        raise UnknownNameError(
            f"no activation is called {name!r}; {sentence(did_you_mean(name, _SPELLINGS))} "
            "A function of your own goes in as a callable instead of a name."
        )
    canonical = _SPELLINGS[name]
    defaults = FAMILIES[canonical].defaults()
    merged = defaults | _named(canonical, inline, tuple(defaults)) | params
    _check_params(canonical, merged, defaults)
    return _member(canonical, tuple(sorted((k, float(v)) for k, v in merged.items())))


@lru_cache(maxsize=1024)
def _member(name: str, params: tuple[tuple[str, float], ...]) -> Activation:
    fn, derivative, kinks = FAMILIES[name].build(**dict(params))
    return Activation(name=name, fn=fn, derivative=derivative, kinks=tuple(sorted(set(kinks))), params=params)


def _split_params(name: str) -> tuple[str, tuple[str, ...]]:
    match = _WITH_PARAMS.match(name)
    if match is None:
        return name, ()
    return match["name"], tuple(p.strip() for p in match["params"].split(",") if p.strip())


def _named(name: str, inline: tuple[str, ...], order: tuple[str, ...]) -> dict[str, float]:
    if len(inline) > len(order):
        raise ArgumentError(
            f"{name} was given {len(inline)} parameters, it has {len(order)}: {', '.join(order) or 'none'}"
        )
    given = {}
    for position, text in enumerate(inline):
        key, _, value = text.rpartition("=")
        try:
            given[key.strip() or order[position]] = float(value)
        except ValueError:
            raise ArgumentError(
                f"{name}: parameter {text!r} is not a number; write for example {name}({order[position]}=0.2)"
            ) from None
    return given


def _check_params(name: str, params: Mapping[str, float], known: Mapping[str, float]) -> None:
    for key, value in params.items():
        if key not in known:
            raise ArgumentError(f"{name} has no parameter {key!r}; it has: {', '.join(known) or 'none'}")
        if not np.isfinite(value):
            raise ArgumentError(f"{name}: {key} must be a finite number, got {value!r}")
