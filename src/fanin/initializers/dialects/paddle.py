"""paddle.nn.initializer."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from fanin.errors import ArgumentError
from fanin.initializers.base import Initializer, finite
from fanin.initializers.catalogue.bilinear import Bilinear
from fanin.initializers.catalogue.constant import Constant
from fanin.initializers.catalogue.from_array import from_array
from fanin.initializers.catalogue.normal import Normal
from fanin.initializers.catalogue.orthogonal import Orthogonal
from fanin.initializers.catalogue.uniform import Uniform
from fanin.initializers.catalogue.variance_scaling import LawName, law_with_std
from fanin.initializers.dialects.entry import Entry, positive
from fanin.initializers.dialects.peer_fans import PeerScaling
from fanin.initializers.dialects.torch import calculate_gain, dirac, trunc_normal

__all__ = ["ENTRIES"]


def _constant(*, value: float = 0.0) -> Initializer:
    return Constant(value)


def _assign(*, value: Any) -> Initializer:
    return from_array(value)


def _uniform(*, low: float = -1.0, high: float = 1.0) -> Initializer:
    return Uniform(low=low, high=high)


def _normal(*, mean: float = 0.0, std: float = 1.0) -> Initializer:
    return Normal(std=std, mean=mean)


def _xavier(law: LawName) -> Callable[..., Initializer]:
    def make(*, fan_in: float | None = None, fan_out: float | None = None, gain: float = 1.0) -> Initializer:
        if fan_in is None and fan_out is None:
            return PeerScaling(peer="paddle", gain=gain, mode="fan_avg", law=law)
        if fan_in is None or fan_out is None:
            raise ArgumentError(f"give fan_in and fan_out, or neither; got {fan_in!r} and {fan_out!r}")
        mean = (positive("fan_in", fan_in) + positive("fan_out", fan_out)) / 2.0
        return law_with_std(law, finite("gain", gain, low=0.0) / math.sqrt(mean))

    return make


def _kaiming(law: LawName) -> Callable[..., Initializer]:
    def make(*, fan_in: float | None = None, negative_slope: float = 0.0, nonlinearity: str = "relu") -> Initializer:
        slope = finite("negative_slope", negative_slope)
        gain = math.sqrt(2.0) if nonlinearity == "relu" else calculate_gain(nonlinearity, slope)
        if fan_in is not None:
            return law_with_std(law, gain / math.sqrt(positive("fan_in", fan_in)))
        return PeerScaling(peer="paddle", gain=gain, mode="fan_in", law=law)

    return make


_FANS = "fans from the local shape, also of a shard; fan_in only for Kaiming"

ENTRIES: tuple[Entry, ...] = (
    Entry(name="constant", spelling="Constant", make=_constant, order="in_out"),
    Entry(name="uniform", spelling="Uniform", make=_uniform, order="in_out"),
    Entry(name="normal", spelling="Normal", make=_normal, order="in_out"),
    Entry(
        name="truncated_normal",
        spelling="TruncatedNormal",
        make=trunc_normal,
        note="bounds are absolute; older versions counted std",
        order="in_out",
    ),
    Entry(
        name="glorot_normal",
        spelling="XavierNormal",
        make=_xavier("normal"),
        note=_FANS,
        order="in_out",
    ),
    Entry(
        name="glorot_uniform",
        spelling="XavierUniform",
        make=_xavier("uniform"),
        note=_FANS,
        order="in_out",
    ),
    Entry(
        name="he_normal",
        spelling="KaimingNormal",
        make=_kaiming("normal"),
        note=_FANS,
        order="in_out",
    ),
    Entry(
        name="he_uniform",
        spelling="KaimingUniform",
        make=_kaiming("uniform"),
        note=_FANS,
        order="in_out",
    ),
    Entry(name="orthogonal", spelling="Orthogonal", make=Orthogonal, order="in_out"),
    Entry(
        name="dirac",
        spelling="Dirac",
        make=dirac,
        note="centre tap k // 2, as torch",
        order="in_out",
    ),
    Entry(
        name="from_array",
        spelling="Assign",
        make=_assign,
        order="in_out",
        example={"value": [1.0]},
    ),
    Entry(
        name="bilinear",
        spelling="Bilinear",
        make=Bilinear,
        note="wrong rows since Python 3, and all pairs of channels filled; the law here is right",
        order="in_out",
    ),
)
