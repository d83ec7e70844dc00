"""The same name, different meaning: what each framework samples under it."""

from __future__ import annotations

from typing import Any

from fanin.errors import UnknownNameError, did_you_mean
from fanin.initializers.base import Initializer
from fanin.initializers.dialects import dl4j, jax, keras, lasagne, mxnet, paddle, torch
from fanin.initializers.dialects.entry import Entry
from fanin.initializers.dialects.spelling import plain

__all__ = ["ALIASES", "FRAMEWORKS", "common_name", "dialect_entry", "entries_for", "in_dialect", "meanings"]

# Names that are spelt differently and mean the same everywhere.
ALIASES: dict[str, str] = {
    "kaiming_normal": "he_normal",
    "kaiming_uniform": "he_uniform",
    "xavier_normal": "glorot_normal",
    "xavier_uniform": "glorot_uniform",
    "random_normal": "normal",
    "random_uniform": "uniform",
    "zero": "zeros",
    "one": "ones",
    "eye": "identity",
    "trunc_normal": "truncated_normal",
    "looks_linear": "mirrored_orthogonal",
}


def common_name(name: str) -> str:
    """The name that a spelling of any framework stands for, where all frameworks mean the same by it.

    Example:
        >>> common_name("RandomUniform"), common_name("xavier_normal_")
        ('uniform', 'glorot_normal')
    """
    return ALIASES.get(plain(name), plain(name))


def _plain_spelling(entry: Entry) -> str:
    return plain(entry.spelling) if entry.spelling.isidentifier() else entry.name


FRAMEWORKS: dict[str, dict[str, Entry]] = {
    framework: {e.name: e for e in entries}
    for framework, entries in (
        ("torch", torch.ENTRIES),
        ("keras", keras.ENTRIES),
        ("jax", jax.ENTRIES),
        ("flax", jax.FLAX_ENTRIES),
        ("lasagne", lasagne.ENTRIES),
        ("mxnet", mxnet.ENTRIES),
        ("paddle", paddle.ENTRIES),
        ("dl4j", dl4j.ENTRIES),
    )
}

# framework -> its own spelling, as `plain` gives it -> entry
_SPELLINGS: dict[str, dict[str, Entry]] = {
    framework: {spelling: e for e in table.values() for spelling in (*e.also, _plain_spelling(e), e.name)}
    for framework, table in FRAMEWORKS.items()
}


def dialect_entry(name: str, framework: str) -> Entry:
    """The entry of a name in a framework.

    Raises:
        UnknownNameError: no such framework, or it has no such initializer.

    Example:
        >>> dialect_entry("he_normal", "mxnet").spelling
        'MSRAPrelu'
    """
    if framework not in FRAMEWORKS:
        raise UnknownNameError(f"no dialect is called {framework!r}; {did_you_mean(framework, FRAMEWORKS)}")
    found = _SPELLINGS[framework].get(plain(name)) or FRAMEWORKS[framework].get(common_name(name))
    if found is None:
        raise UnknownNameError(
            f"{framework} has no {name!r}; {did_you_mean(plain(name), _SPELLINGS[framework])} "
            "Leave out like= for fanin's own law."
        )
    return found


def entries_for(name: str) -> list[tuple[str, Entry]]:
    """(framework, entry) of every framework that has the name."""
    return [(framework, table[name]) for framework, table in FRAMEWORKS.items() if name in table]


def meanings(name: str) -> dict[str, str]:
    """Framework -> fanin's name of the law, of every framework that has this spelling of its own.

    Example:
        >>> meanings("MSRAPrelu"), meanings("xavier")
        ({'mxnet': 'he_normal'}, {'mxnet': 'glorot_uniform', 'dl4j': 'glorot_normal'})
    """
    spelt = plain(name)
    return {framework: table[spelt].name for framework, table in _SPELLINGS.items() if spelt in table}


def in_dialect(name: str, framework: str, **arguments: Any) -> Initializer:
    """The law that the framework really samples under a name.

    Example:
        >>> str(in_dialect("he_normal", "lasagne"))
        "PeerScaling('lasagne', gain=1, mode='fan_in', law='normal')"
    """
    return dialect_entry(name, framework).make(**arguments)
