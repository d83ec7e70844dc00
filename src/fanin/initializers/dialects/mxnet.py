"""mxnet.initializer."""

from __future__ import annotations

import math

from fanin.initializers.base import Initializer, finite, one_of
from fanin.initializers.catalogue.bilinear import Bilinear
from fanin.initializers.catalogue.constant import Constant, Ones, Zeros
from fanin.initializers.catalogue.gates import ForgetBias
from fanin.initializers.catalogue.normal import Normal
from fanin.initializers.catalogue.orthogonal import Orthogonal
from fanin.initializers.catalogue.uniform import Uniform
from fanin.initializers.catalogue.variance_scaling import Mode
from fanin.initializers.dialects.entry import Entry
from fanin.initializers.dialects.peer_fans import PeerScaling

__all__ = ["ENTRIES"]

_FACTORS: dict[str, Mode] = {"avg": "fan_avg", "in": "fan_in", "out": "fan_out"}


def _xavier(*, rnd_type: str, factor_type: str = "avg", magnitude: float = 3.0) -> Initializer:
    """U(+-sqrt(magnitude / fan)), or N(0, magnitude / fan), which has three times its variance."""
    gain = math.sqrt(finite("magnitude", magnitude, low=0.0))
    mode: Mode = _FACTORS.get(factor_type, factor_type)  # type: ignore[arg-type]
    one_of("rnd_type", rnd_type, ("uniform", "gaussian"))
    if rnd_type == "uniform":
        return PeerScaling(peer="mxnet", gain=gain / math.sqrt(3.0), mode=mode, law="uniform")
    return PeerScaling(peer="mxnet", gain=gain, mode=mode, law="normal")


def _xavier_uniform(*, rnd_type: str = "uniform", factor_type: str = "avg", magnitude: float = 3.0) -> Initializer:
    return _xavier(rnd_type=rnd_type, factor_type=factor_type, magnitude=magnitude)


def _xavier_normal(*, factor_type: str = "avg", magnitude: float = 3.0) -> Initializer:
    return _xavier(rnd_type="gaussian", factor_type=factor_type, magnitude=magnitude)


def _prelu(*, factor_type: str = "avg", slope: float = 0.25) -> Initializer:
    finite("slope", slope)
    return _xavier(rnd_type="gaussian", factor_type=factor_type, magnitude=2.0 / (1.0 + slope**2))


def _uniform(*, scale: float = 0.07) -> Initializer:
    return Uniform(bound=scale)


def _normal(*, sigma: float = 0.01) -> Initializer:
    return Normal(std=sigma)


def _constant(*, value: float) -> Initializer:
    return Constant(value)


def _orthogonal(*, scale: float = 1.414) -> Initializer:
    return Orthogonal(gain=scale)


def _lstm_bias(*, forget_bias: float = 1.0) -> Initializer:
    return ForgetBias(value=forget_bias, order="ifgo")


ENTRIES: tuple[Entry, ...] = (
    Entry(name="constant", spelling="Constant", make=_constant, example={"value": 0.5}),
    Entry(name="zeros", spelling="Zero", make=Zeros),
    Entry(name="ones", spelling="One", make=Ones),
    Entry(name="uniform", spelling="Uniform", make=_uniform),
    Entry(name="normal", spelling="Normal", make=_normal),
    Entry(
        name="glorot_uniform",
        spelling="Xavier()",
        make=_xavier_uniform,
        also=("xavier",),
        note="magnitude=3 gives Glorot's variance for this form only; transposed fans are swapped",
    ),
    Entry(
        name="glorot_normal",
        spelling='Xavier(rnd_type="gaussian")',
        make=_xavier_normal,
        note="magnitude stays 3: three times Glorot's variance",
    ),
    Entry(
        name="he_normal",
        spelling="MSRAPrelu",
        also=("msraprelu",),
        make=_prelu,
        note="mean of the fans, and a slope of 0.25: not fan_in, not ReLU",
    ),
    Entry(
        name="orthogonal",
        spelling="Orthogonal",
        make=_orthogonal,
        note="scale 1.414 by default; U or V of an SVD of uniform noise, not Haar; the law here is Haar",
    ),
    Entry(
        name="bilinear",
        spelling="Bilinear",
        make=Bilinear,
        note="wrong rows since Python 3, and all pairs of channels filled; the law here is right",
    ),
    Entry(name="forget_bias", spelling="LSTMBias", make=_lstm_bias, also=("lstmbias",)),
)
