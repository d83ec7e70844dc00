"""The table of names: one line for each law and each named scheme."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from fanin.errors import ArgumentError, FaninError, UnknownNameError, did_you_mean
from fanin.initializers.base import Initializer
from fanin.initializers.catalogue.bilinear import Bilinear
from fanin.initializers.catalogue.centred import Centred
from fanin.initializers.catalogue.classic import classic_bias, classic_uniform
from fanin.initializers.catalogue.constant import Constant, Ones, Zeros
from fanin.initializers.catalogue.conv_orthogonal import ConvOrthogonal
from fanin.initializers.catalogue.delta_orthogonal import DeltaOrthogonal
from fanin.initializers.catalogue.from_array import FromArray, from_array
from fanin.initializers.catalogue.gates import ChronoBias, ForgetBias
from fanin.initializers.catalogue.glorot import glorot_normal, glorot_uniform
from fanin.initializers.catalogue.hadamard import Hadamard
from fanin.initializers.catalogue.he import he_normal, he_uniform
from fanin.initializers.catalogue.icnr import ICNR
from fanin.initializers.catalogue.identity import Dirac, Identity
from fanin.initializers.catalogue.lecun import lecun_normal, lecun_uniform
from fanin.initializers.catalogue.logistic import glorot_logistic
from fanin.initializers.catalogue.mirrored import MirroredOrthogonal
from fanin.initializers.catalogue.normal import Normal
from fanin.initializers.catalogue.orthogonal import Orthogonal
from fanin.initializers.catalogue.poison import Poison
from fanin.initializers.catalogue.rbm import rbm_gaussian
from fanin.initializers.catalogue.row_sums import RowSums
from fanin.initializers.catalogue.siren import SirenFirst, siren_hidden
from fanin.initializers.catalogue.sparse import Sparse, sparse_lasagne, sparse_torch
from fanin.initializers.catalogue.stft import STFT
from fanin.initializers.catalogue.truncated import TruncatedNormal
from fanin.initializers.catalogue.uniform import Uniform
from fanin.initializers.catalogue.variance_scaling import VarianceScaling
from fanin.initializers.catalogue.wrappers import PerInput, PerPart, Scaled
from fanin.initializers.dialects import ALIASES, common_name, dialect_entry, entries_for, meanings
from fanin.initializers.dialects.differences import Differences, rows_of
from fanin.initializers.dialects.peer_fans import PeerScaling
from fanin.initializers.written import name_and_arguments

__all__ = ["ALIASES", "LAWS", "NAMES", "canonical", "differences", "get", "law_class", "names"]

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
    "stft": STFT,
    "centred": Centred,
    "scaled": Scaled,
    "per_part": PerPart,
    "per_input": PerInput,
    "row_sums": RowSums,
    "siren_first": SirenFirst,
    "siren_hidden": siren_hidden,
    "forget_bias": ForgetBias,
    "chrono_bias": ChronoBias,
    "from_array": from_array,
    "poison": Poison,
    "peer_scaling": PeerScaling,
}
LAWS: dict[str, type[Initializer]] = {c.__name__: c for c in (*NAMES.values(), FromArray) if isinstance(c, type)}


def names() -> tuple[str, ...]:
    """All names that `get` knows, aliases left out.

    Example:
        >>> "he_normal" in names()
        True
    """
    return tuple(NAMES)


def canonical(name: str) -> str:
    """The table's name for a name of any framework, in any case, with or without torch's trailing underscore.

    Raises:
        UnknownNameError: no framework knows the name, or two mean different laws by it.
        ArgumentError: it is no text.

    Example:
        >>> canonical("kaiming_normal_"), canonical("RandomUniform"), canonical("MSRAPrelu")
        ('he_normal', 'uniform', 'he_normal')
    """
    common = common_name(name)
    if common in NAMES:
        return common
    found = meanings(name)
    if len(set(found.values())) > 1:
        each = ", ".join(f"{law} in {framework}" for framework, law in found.items())
        raise UnknownNameError(f"{name!r} is {each}: give like= with the framework, or the name of the law.")
    found = {framework: law for framework, law in found.items() if law in NAMES}
    if not found:
        raise UnknownNameError(f"no initializer is called {name!r}; {did_you_mean(common, [*NAMES, *ALIASES])}")
    return next(iter(found.values()))


def get(name: str, *, like: str | None = None, **arguments: Any) -> Initializer:
    """The law of that name, or what another framework samples under it.

    Args:
        name: a name of the table, such as "he_normal", or as a framework spells it: "kaiming_normal_", "HeNormal",
            "random_uniform", "MSRAPrelu". Arguments may stand behind it: "normal(std=0.02)".
        like: None for fanin's own law; "torch", "keras", "jax", "flax", "lasagne", "mxnet", "paddle" or "dl4j" for what
            that framework samples, with its defaults and its reading of the fans (`differences` prints them). Where its
            sampler is broken (an SVD that is not Haar, wrong bilinear rows) the law is the intended one and the note
            says so.
        arguments: passed on to the law; with `like`, that framework's own argument names (``get("he_uniform",
            like="torch", a=5**0.5)``).

    Raises:
        UnknownNameError: no such name, or no such framework, or the framework has no such initializer.
        ArgumentError: an argument the law does not take, or a value it does not allow.

    Example:
        >>> str(get("he_normal"))
        "VarianceScaling(gain=1.41421, mode='fan_in', law='normal')"
        >>> [round(get("he_normal", like=f).std_for((512, 512)), 4) for f in ("torch", "lasagne", "mxnet")]
        [0.0625, 0.0442, 0.0606]
    """
    name, positional, written = name_and_arguments(name)
    known, make = _made_by(name, like)
    arguments = {**written, **arguments}
    takes = inspect.signature(make)
    there = "" if like is None else f" of {like}"
    wants = f"Its arguments are ({', '.join(takes.parameters)})."
    chosen_later = [_CHOSEN_LATER[a] for a in arguments if a in _CHOSEN_LATER and a not in takes.parameters]
    if chosen_later:
        raise ArgumentError(f"{known}{there}: {chosen_later[0]}")
    try:
        takes.bind(*positional, **arguments)
    except TypeError as error:
        raise ArgumentError(f"{known}{there}: {error}. {wants}") from error
    try:
        return make(*positional, **arguments)
    except (TypeError, ValueError) as error:  # a value of a kind that the law does not compute with
        if isinstance(error, FaninError):
            raise
        raise ArgumentError(f"{known}{there} does not take {_listed(arguments)}: {error}. {wants}") from error


# Arguments of other frameworks that are no property of a law.
_STREAM = "the random stream is chosen where the law is drawn: law.sample(shape, key=fanin.key(seed, name))."
_DTYPE = "the dtype is chosen where the law is drawn: law.sample(shape, key=key, dtype='float32')."
_CHOSEN_LATER = {
    **dict.fromkeys(("seed", "generator", "rng", "key"), _STREAM),
    "dtype": _DTYPE,
    "out_sharding": "a shard is chosen where the law is drawn; every shard gets its part of the same numbers.",
}


def _made_by(name: str, like: str | None) -> tuple[str, Callable[..., Initializer]]:
    """Fanin's name of the law, and what makes it."""
    if like is None:
        known = canonical(name)
        return known, NAMES[known]
    entry = dialect_entry(name, like)
    return entry.name, entry.make


def _listed(arguments: dict[str, Any]) -> str:
    return ", ".join(f"{key}={value!r}" for key, value in arguments.items())


def differences(name: str) -> Differences:
    """What each framework samples under a name: a table when printed, rows of numbers underneath.

    Args:
        name: as in `get`.

    Raises:
        UnknownNameError: no such name.

    Example:
        >>> {row.framework: round(row.std_ratio, 3) for row in differences("glorot_normal")}
        {'fanin': 1.0, 'torch': 1.0, 'keras': 1.0, 'jax': 1.0, 'flax': 1.0, 'lasagne': 1.0, 'mxnet': 1.732, 'paddle':
         1.0, 'dl4j': 1.0}
    """
    plain = canonical(name)
    return Differences(plain, rows_of(_without_arguments(plain), entries_for(plain), plain))


def _without_arguments(name: str) -> Initializer | None:
    """Fanin's own law where it needs no argument."""
    try:
        return NAMES[name]()
    except (TypeError, ArgumentError):
        return None


def law_class(name: str) -> type[Initializer]:
    """The class of that name, as written by `Initializer.to_dict`.

    Raises:
        UnknownNameError: no such law.

    Example:
        >>> law_class("Normal")
        <class 'fanin.initializers.catalogue.normal.Normal'>
    """
    if name not in LAWS:
        raise UnknownNameError(f"no law is called {name!r}; {did_you_mean(name, LAWS)}")
    return LAWS[name]
