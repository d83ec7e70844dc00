"""The WeightInit of Deeplearning4j, where the layer passes its fans, so they are right."""

from __future__ import annotations

import functools
import math

from fanin.initializers.catalogue.constant import Ones, Zeros
from fanin.initializers.catalogue.identity import Identity
from fanin.initializers.catalogue.variance_scaling import VarianceScaling
from fanin.initializers.dialects.entry import Entry

__all__ = ["ENTRIES"]

_SQRT3 = math.sqrt(3.0)
_BOUND_3 = (
    "bound 3 / sqrt(fan_in), where sqrt(3 / fan_in) was meant: three times the variance (its text says 3 / fan_in)"
)


def _entry(name: str, spelling: str, note: str = "", **scaling: object) -> Entry:
    make = functools.partial(VarianceScaling, **scaling)  # type: ignore[arg-type]
    return Entry(name=name, spelling=spelling, make=make, note=note, order="in_out")


ENTRIES: tuple[Entry, ...] = (
    Entry(name="zeros", spelling="ZERO", make=Zeros, order="in_out"),
    Entry(name="ones", spelling="ONES", make=Ones, order="in_out"),
    Entry(name="identity", spelling="IDENTITY", make=Identity, note="square only", order="in_out"),
    _entry("uniform", "UNIFORM", "+-1 / sqrt(fan_in): classic_uniform", gain=1.0 / _SQRT3, law="uniform"),
    _entry("classic_uniform", "UNIFORM", gain=1.0 / _SQRT3, law="uniform"),
    _entry("normal", "NORMAL", "std 1 / sqrt(fan_in): lecun_normal"),
    _entry("glorot_normal", "XAVIER", mode="fan_avg"),
    _entry("glorot_uniform", "XAVIER_UNIFORM", mode="fan_avg", law="uniform"),
    _entry("glorot_logistic", "SIGMOID_UNIFORM", gain=4.0, mode="fan_avg", law="uniform"),
    _entry("he_normal", "RELU", gain=math.sqrt(2.0)),
    _entry("he_uniform", "RELU_UNIFORM", gain=math.sqrt(2.0), law="uniform"),
    _entry("lecun_normal", "LECUN_NORMAL"),
    _entry("lecun_uniform", "LECUN_UNIFORM", _BOUND_3, gain=_SQRT3, law="uniform"),
    _entry("variance_scaling", "VAR_SCALING_UNIFORM_FAN_IN", _BOUND_3, gain=_SQRT3, law="uniform"),
)
