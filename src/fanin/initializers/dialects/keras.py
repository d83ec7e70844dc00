"""keras.initializers, as of Keras 3.15."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from fanin.initializers.base import Initializer
from fanin.initializers.catalogue.constant import Constant, Ones, Zeros
from fanin.initializers.catalogue.identity import Identity
from fanin.initializers.catalogue.normal import Normal
from fanin.initializers.catalogue.orthogonal import Orthogonal
from fanin.initializers.catalogue.stft import STFT
from fanin.initializers.catalogue.truncated import TruncatedNormal
from fanin.initializers.catalogue.uniform import Uniform
from fanin.initializers.catalogue.variance_scaling import LawName, Mode
from fanin.initializers.dialects.entry import Entry, positive
from fanin.initializers.dialects.peer_fans import PeerScaling, axes_of

__all__ = ["ENTRIES"]

Axes = int | Sequence[int] | None


def _uniform(*, minval: float = -0.05, maxval: float = 0.05) -> Initializer:
    return Uniform(low=minval, high=maxval)


def _normal(*, mean: float = 0.0, stddev: float = 0.05) -> Initializer:
    return Normal(std=stddev, mean=mean)


def _truncated(*, mean: float = 0.0, stddev: float = 0.05) -> Initializer:
    return TruncatedNormal(std=stddev, mean=mean, compensated=False)


def _constant(*, value: float = 0.0) -> Initializer:
    return Constant(value)


def _identity(*, gain: float = 1.0) -> Initializer:
    return Identity(gain=gain)


def _scaling(
    *,
    scale: float = 1.0,
    mode: Mode = "fan_in",
    distribution: str = "truncated_normal",
    input_axes: Axes = None,
    output_axes: Axes = None,
) -> Initializer:
    laws: dict[str, LawName] = {"normal": "truncated_normal", "untruncated_normal": "normal"}
    law: LawName = laws.get(distribution, distribution)  # type: ignore[arg-type]
    inputs, outputs = axes_of("input_axes", input_axes), axes_of("output_axes", output_axes)
    both = inputs is not None and outputs is not None  # Keras ignores one without the other
    return PeerScaling(
        peer="keras",
        gain=math.sqrt(positive("scale", scale)),
        mode=mode,
        law=law,
        in_axes=inputs if both else None,
        out_axes=outputs if both else None,
    )


def _named(scale: float, mode: Mode, distribution: str) -> Callable[..., Initializer]:
    """A scheme with its scale: it takes axes and nothing else."""

    def make(*, input_axes: Axes = None, output_axes: Axes = None) -> Initializer:
        return _scaling(
            scale=scale, mode=mode, distribution=distribution, input_axes=input_axes, output_axes=output_axes
        )

    return make


_CUT = "cut at 2 parent std and compensated (on torch a few values in a million lie beyond)"
_FANS = "depthwise fan_in counts all channels, transposed fans are swapped, gates count as outputs"


def _fan_scaled(name: str, spelling: str, scale: float, mode: Mode, law: str) -> Entry:
    note = f"{_CUT}; {_FANS}" if law == "truncated_normal" else _FANS
    return Entry(name=name, spelling=spelling, make=_named(scale, mode, law), note=note, order="in_out")


ENTRIES: tuple[Entry, ...] = (
    Entry(name="constant", spelling="Constant", make=_constant, order="in_out"),
    Entry(name="zeros", spelling="Zeros", make=Zeros, order="in_out"),
    Entry(name="ones", spelling="Ones", make=Ones, order="in_out"),
    Entry(name="identity", spelling="Identity", make=_identity, order="in_out"),
    Entry(name="uniform", spelling="RandomUniform", make=_uniform, order="in_out"),
    Entry(name="normal", spelling="RandomNormal", make=_normal, order="in_out"),
    Entry(
        name="truncated_normal",
        spelling="TruncatedNormal",
        make=_truncated,
        note="cut at 2 parent std, not compensated: real std 0.88 stddev",
        order="in_out",
    ),
    Entry(
        name="variance_scaling",
        spelling="VarianceScaling",
        make=_scaling,
        note=f"scale is gain^2; 'normal' means truncated; {_FANS}",
        order="in_out",
    ),
    _fan_scaled("glorot_normal", "GlorotNormal", 1.0, "fan_avg", "truncated_normal"),
    _fan_scaled("glorot_uniform", "GlorotUniform", 1.0, "fan_avg", "uniform"),
    _fan_scaled("he_normal", "HeNormal", 2.0, "fan_in", "truncated_normal"),
    _fan_scaled("he_uniform", "HeUniform", 2.0, "fan_in", "uniform"),
    _fan_scaled("lecun_normal", "LecunNormal", 1.0, "fan_in", "truncated_normal"),
    _fan_scaled("lecun_uniform", "LecunUniform", 1.0, "fan_in", "uniform"),
    Entry(name="stft", spelling="STFT", make=STFT, note="fixed numbers; nothing is drawn", order="in_out"),
    Entry(
        name="orthogonal",
        spelling="Orthogonal",
        make=Orthogonal,
        note="four recurrent gates are one map, so no gate is orthogonal (mean square gain 0.25)",
        order="in_out",
    ),
)
