"""The same name, different meaning: what each framework samples under it."""

from __future__ import annotations

from typing import Any

from fanin.errors import UnknownNameError, did_you_mean
from fanin.initializers.base import Initializer
from fanin.initializers.dialects import dl4j, jax, keras, lasagne, mxnet, paddle, torch
from fanin.initializers.dialects.entry import Entry

__all__ = ["FRAMEWORKS", "dialect_entry", "entries_for", "in_dialect"]

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
    if name not in FRAMEWORKS[framework]:
        raise UnknownNameError(
            f"{framework} has no {name!r}; {did_you_mean(name, FRAMEWORKS[framework])} "
            "Leave out like= for fanin's own law."
        )
    return FRAMEWORKS[framework][name]


def entries_for(name: str) -> list[tuple[str, Entry]]:
    """(framework, entry) of every framework that has the name."""
    return [(framework, table[name]) for framework, table in FRAMEWORKS.items() if name in table]


def in_dialect(name: str, framework: str, **arguments: Any) -> Initializer:
    """The law that the framework really samples under a name.

    Example:
        >>> str(in_dialect("he_normal", "lasagne"))
        "PeerScaling('lasagne', gain=1, mode='fan_in', law='normal')"
    """
    return dialect_entry(name, framework).make(**arguments)
