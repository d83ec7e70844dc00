"""jax.nn.initializers (JAX 0.10) and flax's (0.12), which re-exports them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from fanin.errors import ArgumentError
from fanin.initializers.base import Initializer
from fanin.initializers.catalogue.constant import Constant, Ones, Zeros
from fanin.initializers.catalogue.delta_orthogonal import DeltaOrthogonal
from fanin.initializers.catalogue.normal import Normal
from fanin.initializers.catalogue.orthogonal import Orthogonal
from fanin.initializers.catalogue.truncated import TruncatedNormal
from fanin.initializers.catalogue.uniform import Uniform
from fanin.initializers.catalogue.variance_scaling import LawName, Mode
from fanin.initializers.dialects.entry import Entry, positive
from fanin.initializers.dialects.peer_fans import PeerScaling, axes_of

__all__ = ["ENTRIES", "FLAX_ENTRIES"]

Axes = int | Sequence[int] | None


def _uniform(*, scale: float = 0.01) -> Initializer:
    return Uniform(low=0.0, high=scale)


def _normal(*, stddev: float = 0.01) -> Initializer:
    return Normal(std=stddev)


def _truncated(*, stddev: float = 0.01, lower: float = -2.0, upper: float = 2.0) -> Initializer:
    return TruncatedNormal(std=stddev, lower=lower, upper=upper, compensated=False)


def _constant(*, value: float) -> Initializer:
    return Constant(value)


_MODES: dict[str, Mode] = {"fan_geo_avg": "fan_geo"}


def _scaling(
    *,
    scale: float,
    mode: str,
    distribution: LawName,
    in_axis: Axes = -2,
    out_axis: Axes = -1,
    batch_axis: Axes = (),
) -> Initializer:
    fan: Mode = _MODES.get(mode, mode)  # type: ignore[arg-type]
    inputs, outputs, batch = (
        axes_of("in_axis", in_axis),
        axes_of("out_axis", out_axis),
        axes_of("batch_axis", batch_axis),
    )
    usual = (inputs, outputs, batch) == ((-2,), (-1,), ())
    return PeerScaling(
        peer="jax",
        gain=math.sqrt(positive("scale", scale)),
        mode=fan,
        law=distribution,
        in_axes=None if usual else inputs,
        out_axes=None if usual else outputs,
        batch_axes=batch or (),
    )


def _named(scale: float, mode: str, law: LawName) -> Callable[..., Initializer]:
    """A scheme with its scale: it takes axes and nothing else."""

    def make(*, in_axis: Axes = -2, out_axis: Axes = -1, batch_axis: Axes = ()) -> Initializer:
        return _scaling(
            scale=scale, mode=mode, distribution=law, in_axis=in_axis, out_axis=out_axis, batch_axis=batch_axis
        )

    return make


def _last_column(column_axis: int) -> None:
    if column_axis != -1:
        raise ArgumentError(
            f"column_axis={column_axis!r} is told to fanin by the layout: sample(shape, key=key, layout=...) says "
            "which axis counts outputs."
        )


def _orthogonal(*, scale: float = 1.0, column_axis: int = -1) -> Initializer:
    _last_column(column_axis)
    return Orthogonal(gain=scale)


def _delta_orthogonal(*, scale: float = 1.0, column_axis: int = -1) -> Initializer:
    _last_column(column_axis)
    return DeltaOrthogonal(gain=scale, centre="same")


_LOW = "bfloat16 is drawn with 7 bits: 128 distinct values of mean -0.01 to -0.02 std"
_CUT = f"cut at 2 parent std and compensated; {_LOW}"


def _fan_scaled(name: str, scale: float, mode: str, law: LawName) -> Entry:
    make = _named(scale, mode, law)
    return Entry(name=name, spelling=name, make=make, note=_CUT if law == "truncated_normal" else _LOW, order="in_out")


ENTRIES: tuple[Entry, ...] = (
    Entry(name="constant", spelling="constant", make=_constant, order="in_out", example={"value": 0.5}),
    Entry(name="zeros", spelling="zeros", make=Zeros, order="in_out"),
    Entry(name="ones", spelling="ones", make=Ones, order="in_out"),
    Entry(name="uniform", spelling="uniform", make=_uniform, note="U(0, scale): its mean is not 0", order="in_out"),
    Entry(name="normal", spelling="normal", make=_normal, note=_LOW, order="in_out"),
    Entry(
        name="truncated_normal",
        spelling="truncated_normal",
        make=_truncated,
        note="bounds in parent std, not compensated: real std 0.88 stddev",
        order="in_out",
    ),
    Entry(
        name="variance_scaling",
        spelling="variance_scaling",
        make=_scaling,
        note="scale is gain^2; 'normal' means untruncated; a batch axis must be named",
        order="in_out",
        example={"scale": 1.0, "mode": "fan_in", "distribution": "normal"},
    ),
    _fan_scaled("glorot_normal", 1.0, "fan_avg", "truncated_normal"),
    _fan_scaled("glorot_uniform", 1.0, "fan_avg", "uniform"),
    _fan_scaled("he_normal", 2.0, "fan_in", "truncated_normal"),
    _fan_scaled("he_uniform", 2.0, "fan_in", "uniform"),
    _fan_scaled("lecun_normal", 1.0, "fan_in", "truncated_normal"),
    _fan_scaled("lecun_uniform", 1.0, "fan_in", "uniform"),
    Entry(name="orthogonal", spelling="orthogonal", make=_orthogonal, note="no half precision", order="in_out"),
    Entry(
        name="delta_orthogonal",
        spelling="delta_orthogonal",
        make=_delta_orthogonal,
        note="refuses in > out",
        order="in_out",
    ),
)
# Flax re-exports all of these; its own additions are factories of the constants.
FLAX_ENTRIES: tuple[Entry, ...] = ENTRIES
