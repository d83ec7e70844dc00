"""The WeightInit of Deeplearning4j, where the layer passes its fans, so they are right."""

from __future__ import annotations

import math

from fanin.initializers.base import Initializer
from fanin.initializers.catalogue.constant import Ones, Zeros
from fanin.initializers.catalogue.identity import Identity
from fanin.initializers.catalogue.variance_scaling import LawName, Mode, VarianceScaling
from fanin.initializers.dialects.entry import Entry

__all__ = ["ENTRIES"]

_SQRT3, _SQRT_HALF = math.sqrt(3.0), math.sqrt(0.5)
_BOUND_3 = (
    "bound 3 / sqrt(fan_in), where sqrt(3 / fan_in) was meant: three times the variance (its text says 3 / fan_in)"
)


def _entry(
    name: str,
    spelling: str,
    note: str = "",
    *,
    also: tuple[str, ...] = (),
    gain: float = 1.0,
    mode: Mode = "fan_in",
    law: LawName = "normal",
) -> Entry:
    def make() -> Initializer:
        return VarianceScaling(gain=gain, mode=mode, law=law)

    return Entry(name=name, spelling=spelling, make=make, note=note, order="in_out", also=also)


def _var_scaling(law: LawName, spelt: str, gain: float, note: str = "") -> tuple[Entry, ...]:
    """The forms by fan_out and by the mean fan; that by fan_in is LeCun's law."""
    modes: tuple[tuple[str, Mode], ...] = (("FAN_OUT", "fan_out"), ("FAN_AVG", "fan_avg"))
    names = {s: f"VAR_SCALING_{spelt}_{s}" for s, _ in modes}
    return tuple(_entry(names[s].lower(), names[s], note, gain=gain, mode=mode, law=law) for s, mode in modes)


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
    _entry("lecun_normal", "LECUN_NORMAL", also=("xavier_fan_in", "var_scaling_normal_fan_in")),
    _entry("lecun_uniform", "LECUN_UNIFORM", _BOUND_3, gain=_SQRT3, law="uniform"),
    _entry("variance_scaling", "VAR_SCALING_UNIFORM_FAN_IN", _BOUND_3, gain=_SQRT3, law="uniform"),
    _entry("xavier_legacy", "XAVIER_LEGACY", "variance 1 / (fan_in + fan_out)", gain=_SQRT_HALF, mode="fan_avg"),
    *_var_scaling("normal", "NORMAL", 1.0),
    *_var_scaling("uniform", "UNIFORM", _SQRT3, _BOUND_3),
)
