"""lasagne.init: every name of the list, with its c01b option."""

from __future__ import annotations

from collections.abc import Callable

from fanin.errors import ArgumentError
from fanin.initializers.base import Initializer
from fanin.initializers.catalogue.constant import Constant
from fanin.initializers.catalogue.normal import Normal
from fanin.initializers.catalogue.orthogonal import Orthogonal
from fanin.initializers.catalogue.sparse import sparse_lasagne
from fanin.initializers.catalogue.uniform import Uniform
from fanin.initializers.catalogue.variance_scaling import LawName, Mode
from fanin.initializers.dialects.entry import Entry, finite_gain
from fanin.initializers.dialects.peer_fans import PeerScaling
from fanin.initializers.dialects.spelling import plain

__all__ = ["ENTRIES"]


def _constant(*, val: float = 0.0) -> Initializer:
    return Constant(val)


def _normal(*, std: float = 0.01, mean: float = 0.0) -> Initializer:
    return Normal(std=std, mean=mean)


def _uniform(*, range: float | tuple[float, float] = 0.01, std: float | None = None, mean: float = 0.0) -> Initializer:
    if std is not None:
        half = 3.0**0.5 * std
        return Uniform(low=mean - half, high=mean + half)
    if isinstance(range, tuple):
        return Uniform(low=range[0], high=range[1])
    return Uniform(bound=range)


def _scaled(mode: Mode, law: LawName) -> Callable[..., Initializer]:
    def make(*, gain: float | str = 1.0, c01b: bool = False) -> Initializer:
        return PeerScaling(peer="lasagne_c01b" if c01b else "lasagne", gain=finite_gain(gain), mode=mode, law=law)

    return make


def _with_sampler(mode: Mode) -> Callable[..., Initializer]:
    """Glorot and He, which take the class of the law that they scale."""

    def make(*, initializer: str, gain: float | str = 1.0, c01b: bool = False) -> Initializer:
        law = plain(initializer)
        if law not in ("normal", "uniform"):
            raise ArgumentError(f"initializer must be 'Normal' or 'Uniform'; got {initializer!r}")
        return _scaled(mode, "normal" if law == "normal" else "uniform")(gain=gain, c01b=c01b)

    return make


def _orthogonal(*, gain: float | str = 1.0) -> Initializer:
    return Orthogonal(gain=finite_gain(gain))


_GAIN = "default gain 1 (gain='relu' gives sqrt(2)), so this is LeCun's law"

ENTRIES: tuple[Entry, ...] = (
    Entry(name="constant", spelling="Constant", make=_constant, order="in_out"),
    Entry(name="normal", spelling="Normal", make=_normal, order="in_out"),
    Entry(name="uniform", spelling="Uniform", make=_uniform, order="in_out"),
    Entry(
        name="glorot_normal",
        spelling="GlorotNormal",
        make=_scaled("fan_avg", "normal"),
        order="in_out",
    ),
    Entry(
        name="glorot_uniform",
        spelling="GlorotUniform",
        make=_scaled("fan_avg", "uniform"),
        order="in_out",
    ),
    Entry(
        name="he_normal",
        spelling="HeNormal",
        make=_scaled("fan_in", "normal"),
        note=_GAIN,
        order="in_out",
    ),
    Entry(
        name="he_uniform",
        spelling="HeUniform",
        make=_scaled("fan_in", "uniform"),
        note=_GAIN,
        order="in_out",
    ),
    Entry(
        name="glorot",
        spelling="Glorot",
        make=_with_sampler("fan_avg"),
        order="in_out",
        example={"initializer": "Normal"},
    ),
    Entry(
        name="he",
        spelling="He",
        make=_with_sampler("fan_in"),
        note=_GAIN,
        order="in_out",
        example={"initializer": "Normal"},
    ),
    Entry(
        name="orthogonal",
        spelling="Orthogonal",
        make=_orthogonal,
        note="U of an SVD without a sign fix: not Haar (mean entries up to 0.44 at n = 2); the law here is Haar",
        order="in_out",
    ),
    Entry(
        name="sparse",
        spelling="Sparse",
        make=sparse_lasagne,
        note="sparsity is the fraction of non-zeros, counted per unit",
        order="in_out",
    ),
)
