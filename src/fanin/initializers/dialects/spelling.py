"""How frameworks spell the same name: HeNormal, he_normal, kaiming_normal_, MSRAPrelu, VAR_SCALING_NORMAL_FAN_IN."""

from __future__ import annotations

import re

from fanin.errors import ArgumentError

__all__ = ["plain"]

_WORDS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_ENDINGS = ("_initializer", "_init")


def plain(name: str) -> str:
    """A name in lower case with underscores, without torch's trailing one and without "Initializer" or "_init".

    Raises:
        ArgumentError: it is no text, or empty.

    Example:
        >>> [plain(n) for n in ("HeNormal", "kaiming_normal_", "OrthogonalInitializer", "zeros_init", "MSRAPrelu")]
        ['he_normal', 'kaiming_normal', 'orthogonal', 'zeros', 'msra_prelu']
        >>> plain("VAR_SCALING_NORMAL_FAN_IN")
        'var_scaling_normal_fan_in'
    """
    if not isinstance(name, str) or not name.strip():
        raise ArgumentError(
            f"the name of an initializer is text, such as 'he_normal'; got {name!r}. fanin.initializers.names() lists "
            "all."
        )
    words = name.strip().rstrip("_")
    lower = words.lower() if words.isupper() else _WORDS.sub("_", words).lower()
    for ending in _ENDINGS:
        lower = lower.removesuffix(ending)
    return lower
