"""lasagne.init: every name of the list, with its c01b option."""

from __future__ import annotations

import functools

from fanin.initializers.base import Initializer
from fanin.initializers.catalogue.constant import Constant
from fanin.initializers.catalogue.normal import Normal
from fanin.initializers.catalogue.orthogonal import Orthogonal
from fanin.initializers.catalogue.sparse import sparse_lasagne
from fanin.initializers.catalogue.uniform import Uniform
from fanin.initializers.catalogue.variance_scaling import LawName, Mode
from fanin.initializers.dialects.entry import Entry, finite_gain
from fanin.initializers.dialects.peer_fans import PeerScaling

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


def _scaled(*, mode: Mode, law: LawName, gain: float | str = 1.0, c01b: bool = False) -> Initializer:
    return PeerScaling(peer="lasagne_c01b" if c01b else "lasagne", gain=finite_gain(gain), mode=mode, law=law)


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
        make=functools.partial(_scaled, mode="fan_avg", law="normal"),
        order="in_out",
    ),
    Entry(
        name="glorot_uniform",
        spelling="GlorotUniform",
        make=functools.partial(_scaled, mode="fan_avg", law="uniform"),
        order="in_out",
    ),
    Entry(
        name="he_normal",
        spelling="HeNormal",
        make=functools.partial(_scaled, mode="fan_in", law="normal"),
        note=_GAIN,
        order="in_out",
    ),
    Entry(
        name="he_uniform",
        spelling="HeUniform",
        make=functools.partial(_scaled, mode="fan_in", law="uniform"),
        note=_GAIN,
        order="in_out",
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
