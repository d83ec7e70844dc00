"""paddle.nn.initializer."""

from __future__ import annotations

import functools
import math

from fanin.initializers.base import Initializer
from fanin.initializers.catalogue.bilinear import Bilinear
from fanin.initializers.catalogue.constant import Constant
from fanin.initializers.catalogue.identity import Dirac
from fanin.initializers.catalogue.normal import Normal
from fanin.initializers.catalogue.orthogonal import Orthogonal
from fanin.initializers.catalogue.truncated import TruncatedNormal
from fanin.initializers.catalogue.uniform import Uniform
from fanin.initializers.catalogue.variance_scaling import LawName
from fanin.initializers.dialects.entry import Entry
from fanin.initializers.dialects.peer_fans import PeerScaling
from fanin.initializers.dialects.torch import calculate_gain

__all__ = ["ENTRIES"]


def _constant(*, value: float = 0.0) -> Initializer:
    return Constant(value)


def _uniform(*, low: float = -1.0, high: float = 1.0) -> Initializer:
    return Uniform(low=low, high=high)


def _normal(*, mean: float = 0.0, std: float = 1.0) -> Initializer:
    return Normal(std=std, mean=mean)


def _truncated(*, mean: float = 0.0, std: float = 1.0, a: float = -2.0, b: float = 2.0) -> Initializer:
    return TruncatedNormal(std=std, mean=mean, lower=a, upper=b, bounds="absolute", compensated=False)


def _xavier(*, gain: float = 1.0, law: LawName) -> Initializer:
    return PeerScaling(peer="paddle", gain=gain, mode="fan_avg", law=law)


def _kaiming(*, negative_slope: float = 0.0, nonlinearity: str = "relu", law: LawName) -> Initializer:
    gain = math.sqrt(2.0) if nonlinearity == "relu" else calculate_gain(nonlinearity, negative_slope)
    return PeerScaling(peer="paddle", gain=gain, mode="fan_in", law=law)


_FANS = "fans from the local shape, also of a shard; fan_in only for Kaiming"

ENTRIES: tuple[Entry, ...] = (
    Entry(name="constant", spelling="Constant", make=_constant, order="in_out"),
    Entry(name="uniform", spelling="Uniform", make=_uniform, order="in_out"),
    Entry(name="normal", spelling="Normal", make=_normal, order="in_out"),
    Entry(
        name="truncated_normal",
        spelling="TruncatedNormal",
        make=_truncated,
        note="bounds are absolute; older versions counted std",
        order="in_out",
    ),
    Entry(
        name="glorot_normal",
        spelling="XavierNormal",
        make=functools.partial(_xavier, law="normal"),
        note=_FANS,
        order="in_out",
    ),
    Entry(
        name="glorot_uniform",
        spelling="XavierUniform",
        make=functools.partial(_xavier, law="uniform"),
        note=_FANS,
        order="in_out",
    ),
    Entry(
        name="he_normal",
        spelling="KaimingNormal",
        make=functools.partial(_kaiming, law="normal"),
        note=_FANS,
        order="in_out",
    ),
    Entry(
        name="he_uniform",
        spelling="KaimingUniform",
        make=functools.partial(_kaiming, law="uniform"),
        note=_FANS,
        order="in_out",
    ),
    Entry(name="orthogonal", spelling="Orthogonal", make=Orthogonal, order="in_out"),
    Entry(
        name="dirac",
        spelling="Dirac",
        make=functools.partial(Dirac, centre="half"),
        note="centre tap k // 2, as torch",
        order="in_out",
    ),
    Entry(
        name="bilinear",
        spelling="Bilinear",
        make=Bilinear,
        note="wrong rows since Python 3, and all pairs of channels filled; the law here is right",
        order="in_out",
    ),
)
