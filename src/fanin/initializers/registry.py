"""The table of names: one line for each law and each named scheme."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fanin.errors import UnknownNameError, did_you_mean
from fanin.initializers.base import Initializer
from fanin.initializers.bilinear import Bilinear
from fanin.initializers.centred import Centred
from fanin.initializers.classic import classic_bias, classic_uniform
from fanin.initializers.constant import Constant, Ones, Zeros
from fanin.initializers.conv_orthogonal import ConvOrthogonal
from fanin.initializers.delta_orthogonal import DeltaOrthogonal
from fanin.initializers.from_array import FromArray, from_array
from fanin.initializers.gates import ChronoBias, ForgetBias
from fanin.initializers.glorot import glorot_normal, glorot_uniform
from fanin.initializers.hadamard import Hadamard
from fanin.initializers.he import he_normal, he_uniform
from fanin.initializers.icnr import ICNR
from fanin.initializers.identity import Dirac, Identity
from fanin.initializers.lecun import lecun_normal, lecun_uniform
from fanin.initializers.logistic import glorot_logistic
from fanin.initializers.mirrored import MirroredOrthogonal
from fanin.initializers.normal import Normal
from fanin.initializers.orthogonal import Orthogonal
from fanin.initializers.poison import Poison
from fanin.initializers.rbm import rbm_gaussian
from fanin.initializers.siren import SirenFirst, siren_hidden
from fanin.initializers.sparse import Sparse, sparse_lasagne, sparse_torch
from fanin.initializers.truncated import TruncatedNormal
from fanin.initializers.uniform import Uniform
from fanin.initializers.variance_scaling import VarianceScaling
from fanin.initializers.wrappers import PerPart, Scaled

__all__ = ["ALIASES", "LAWS", "NAMES", "get", "law_class", "names"]

# name -> what makes the law. Laws are classes, schemes are functions that return a law.
NAMES: dict[str, Callable[..., Initializer]] = {
    "constant": Constant,
    "zeros": Zeros,
    "ones": Ones,
    "uniform": Uniform,
    "normal": Normal,
    "truncated_normal": TruncatedNormal,
    "variance_scaling": VarianceScaling,
    "glorot_normal": glorot_normal,
    "glorot_uniform": glorot_uniform,
    "he_normal": he_normal,
    "he_uniform": he_uniform,
    "lecun_normal": lecun_normal,
    "lecun_uniform": lecun_uniform,
    "classic_uniform": classic_uniform,
    "classic_bias": classic_bias,
    "glorot_logistic": glorot_logistic,
    "rbm_gaussian": rbm_gaussian,
    "orthogonal": Orthogonal,
    "delta_orthogonal": DeltaOrthogonal,
    "conv_orthogonal": ConvOrthogonal,
    "mirrored_orthogonal": MirroredOrthogonal,
    "identity": Identity,
    "dirac": Dirac,
    "sparse": Sparse,
    "sparse_torch": sparse_torch,
    "sparse_lasagne": sparse_lasagne,
    "bilinear": Bilinear,
    "icnr": ICNR,
    "hadamard": Hadamard,
    "centred": Centred,
    "scaled": Scaled,
    "per_part": PerPart,
    "siren_first": SirenFirst,
    "siren_hidden": siren_hidden,
    "forget_bias": ForgetBias,
    "chrono_bias": ChronoBias,
    "from_array": from_array,
    "poison": Poison,
}
ALIASES: dict[str, str] = {
    "kaiming_normal": "he_normal",
    "kaiming_uniform": "he_uniform",
    "xavier_normal": "glorot_normal",
    "xavier_uniform": "glorot_uniform",
    "zero": "zeros",
    "one": "ones",
    "eye": "identity",
    "trunc_normal": "truncated_normal",
    "looks_linear": "mirrored_orthogonal",
}
LAWS: dict[str, type[Initializer]] = {c.__name__: c for c in (*NAMES.values(), FromArray) if isinstance(c, type)}


def names() -> tuple[str, ...]:
    """All names that `get` knows, aliases left out.

    Example:
        >>> "he_normal" in names()
        True
    """
    return tuple(NAMES)


def get(name: str, **arguments: Any) -> Initializer:
    """The law of that name.

    Args:
        name: a name of the table, such as "he_normal"; torch's spellings ("kaiming_normal_") are understood.
        arguments: passed on to the law.

    Raises:
        UnknownNameError: no such name.

    Example:
        >>> str(get("he_normal"))
        "VarianceScaling(gain=1.41421, mode='fan_in', law='normal')"
    """
    plain = name.lower().rstrip("_")
    plain = ALIASES.get(plain, plain)
    if plain not in NAMES:
        raise UnknownNameError(f"no initializer is called {name!r}; {did_you_mean(plain, [*NAMES, *ALIASES])}")
    return NAMES[plain](**arguments)


def law_class(name: str) -> type[Initializer]:
    """The class of that name, as written by `Initializer.to_dict`.

    Raises:
        UnknownNameError: no such law.

    Example:
        >>> law_class("Normal")
        <class 'fanin.initializers.normal.Normal'>
    """
    if name not in LAWS:
        raise UnknownNameError(f"no law is called {name!r}; {did_you_mean(name, LAWS)}")
    return LAWS[name]
