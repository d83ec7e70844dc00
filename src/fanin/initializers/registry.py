"""The table of names: one line for each law and each named scheme."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fanin.errors import UnknownNameError, did_you_mean
from fanin.initializers.base import Initializer
from fanin.initializers.constant import Constant, Ones, Zeros
from fanin.initializers.glorot import glorot_normal, glorot_uniform
from fanin.initializers.he import he_normal, he_uniform
from fanin.initializers.lecun import lecun_normal, lecun_uniform
from fanin.initializers.normal import Normal
from fanin.initializers.truncated import TruncatedNormal
from fanin.initializers.uniform import Uniform
from fanin.initializers.variance_scaling import VarianceScaling

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
}
ALIASES: dict[str, str] = {
    "kaiming_normal": "he_normal",
    "kaiming_uniform": "he_uniform",
    "xavier_normal": "glorot_normal",
    "xavier_uniform": "glorot_uniform",
}
LAWS: dict[str, type[Initializer]] = {c.__name__: c for c in NAMES.values() if isinstance(c, type)}


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
