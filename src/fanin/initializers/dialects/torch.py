"""torch.nn.init, as of torch 2.13."""

from __future__ import annotations

import math
from collections.abc import Callable

from fanin.errors import ArgumentError
from fanin.initializers.base import Initializer, finite
from fanin.initializers.catalogue.constant import Constant, Ones, Zeros
from fanin.initializers.catalogue.identity import Dirac, Identity
from fanin.initializers.catalogue.normal import Normal
from fanin.initializers.catalogue.orthogonal import Orthogonal
from fanin.initializers.catalogue.sparse import sparse_torch
from fanin.initializers.catalogue.truncated import TruncatedNormal
from fanin.initializers.catalogue.uniform import Uniform
from fanin.initializers.catalogue.variance_scaling import LawName, Mode
from fanin.initializers.dialects.entry import Entry
from fanin.initializers.dialects.peer_fans import PeerScaling

__all__ = ["ENTRIES", "calculate_gain", "dirac", "trunc_normal"]


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """Torch's table of gains, with the values it has.

    Peers: 3/4 for selu was found by trial, where self-normalising networks need 1; 5/3 for tanh is 4 % above what keeps
    the second moment of a unit Gaussian (1.5925); 1 for sigmoid keeps nothing. ``fanin.gain`` computes them.

    Args:
        nonlinearity: one of torch's names.
        param: negative slope of "leaky_relu" (default 0.01).

    Raises:
        ArgumentError: a name that torch has no gain for (gelu, silu, elu, ...).

    Source: torch.nn.init.calculate_gain, torch 2.13.

    Example:
        >>> calculate_gain("tanh"), calculate_gain("selu")
        (1.6666666666666667, 0.75)
    """
    table = {"tanh": 5.0 / 3.0, "relu": math.sqrt(2.0), "selu": 0.75}
    if nonlinearity == "leaky_relu":
        slope = 0.01 if param is None else param
        return math.sqrt(2.0 / (1.0 + slope**2))
    linear = ("linear", "sigmoid", *(f"conv{t}{d}d" for t in ("", "_transpose") for d in (1, 2, 3)))
    if nonlinearity not in table and nonlinearity not in linear:
        raise ArgumentError(
            f"torch has no gain for {nonlinearity!r}; it knows {', '.join((*table, 'leaky_relu', *linear))}. "
            "fanin.gain computes the gain of any activation."
        )
    return table.get(nonlinearity, 1.0)


def _kaiming(law: LawName, slope: float = 0.0) -> Callable[..., Initializer]:
    def make(*, a: float = slope, mode: Mode = "fan_in", nonlinearity: str = "leaky_relu") -> Initializer:
        gain = calculate_gain(nonlinearity, finite("a", a))
        return PeerScaling(peer="torch", gain=gain, mode=mode, law=law)

    return make


def _xavier(law: LawName) -> Callable[..., Initializer]:
    def make(*, gain: float = 1.0) -> Initializer:
        return PeerScaling(peer="torch", gain=gain, mode="fan_avg", law=law)

    return make


def dirac(*, groups: int = 1) -> Initializer:
    """The centre tap is k // 2. Groups are a matter of the layout here.

    Raises:
        ArgumentError: groups were given.

    Example:
        >>> str(dirac())
        "Dirac(centre='half')"
    """
    if groups != 1:
        raise ArgumentError(
            f"groups={groups!r} is told to fanin by the layout: sample(shape, key=key, "
            "layout=Layout.conv(2, groups=...))."
        )
    return Dirac(centre="half")


def _uniform(*, a: float = 0.0, b: float = 1.0) -> Initializer:
    return Uniform(low=a, high=b)


def trunc_normal(*, mean: float = 0.0, std: float = 1.0, a: float = -2.0, b: float = 2.0) -> Initializer:
    """The std is that of the law before it is cut, and the bounds are absolute.

    Example:
        >>> trunc_normal(std=0.02).bound_for((8, 8))
        2.0
    """
    return TruncatedNormal(std=std, mean=mean, lower=a, upper=b, bounds="absolute", compensated=False)


def _normal(*, mean: float = 0.0, std: float = 1.0) -> Initializer:
    return Normal(std=std, mean=mean)


def _constant(*, val: float) -> Initializer:
    return Constant(val)


_SHAPE_FANS = "fans from the bare shape: fan_out too large for grouped and fused weights, the two swapped if transposed"

ENTRIES: tuple[Entry, ...] = (
    Entry(name="constant", spelling="constant_", make=_constant, example={"val": 0.5}),
    Entry(name="zeros", spelling="zeros_", make=Zeros),
    Entry(name="ones", spelling="ones_", make=Ones),
    Entry(name="identity", spelling="eye_", make=Identity, note="has no gain"),
    Entry(
        name="dirac",
        spelling="dirac_",
        make=dirac,
        note="centre tap k // 2: with padding='same' an even kernel shifts by one",
    ),
    Entry(name="uniform", spelling="uniform_", make=_uniform, note="U(0, 1) by default: its mean is not 0"),
    Entry(name="normal", spelling="normal_", make=_normal),
    Entry(
        name="truncated_normal",
        spelling="trunc_normal_",
        make=trunc_normal,
        note="bounds are absolute, so std=0.02 with the default +-2 cuts nothing; std is the parent's",
    ),
    Entry(
        name="glorot_normal",
        spelling="xavier_normal_",
        make=_xavier("normal"),
        note=_SHAPE_FANS,
    ),
    Entry(
        name="glorot_uniform",
        spelling="xavier_uniform_",
        make=_xavier("uniform"),
        note=f"{_SHAPE_FANS}; twice the variance in complex dtypes",
    ),
    Entry(
        name="he_normal",
        spelling="kaiming_normal_",
        make=_kaiming("normal"),
        note=_SHAPE_FANS,
    ),
    Entry(
        name="he_uniform",
        spelling="kaiming_uniform_",
        make=_kaiming("uniform"),
        note=f"{_SHAPE_FANS}; layers call it with a=sqrt(5), which is classic_uniform",
    ),
    Entry(
        name="classic_uniform",
        spelling="nn.Linear, nn.ConvNd (default)",
        make=_kaiming("uniform", math.sqrt(5.0)),
        note="a third of the variance a linear map needs",
    ),
    Entry(
        name="orthogonal",
        spelling="orthogonal_",
        make=Orthogonal,
        note="q, k, v or four gates are one map; no half precision, no complex, no channels_last",
    ),
    Entry(
        name="sparse",
        spelling="sparse_",
        make=sparse_torch,
        example={"sparsity": 0.9},
        note="sparsity is the fraction of zeros, counted per input; its mask ignores generator=",
    ),
)
