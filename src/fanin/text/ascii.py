"""Plain forms of what not every terminal can write."""

from __future__ import annotations

from types import MappingProxyType

__all__ = ["to_ascii"]

_PLAIN = MappingProxyType(
    {
        "–": "-",
        "—": "-",
        "−": "-",
        "×": "x",
        "·": ".",
        "…": "..",
        "→": "->",
        "↳": "`-",
        "≤": "<=",
        "≥": ">=",
        "≈": "~",
        "±": "+-",
        "√": "sqrt ",
        "∞": "inf",
        "✗": "x",
        "✓": "+",
        "▲": "!",
        "●": "o",
        "χ": "chi",
        "σ": "sigma",
        "ξ": "xi",
        "κ": "kappa",
        "₁": "1",
        "█": "#",
        "∂": "d",
        "²": "^2",
        "⁻": "-",
    }
)
_TABLE = str.maketrans(dict(_PLAIN))


def to_ascii(text: str) -> str:
    r"""The text in ASCII: signs with a plain form take it, everything else is written as an escape.

    Example:
        >>> to_ascii("σ ≥ 3 – ünit"), to_ascii("fc1")
        ('sigma >= 3 - \\xfcnit', 'fc1')
    """
    return text.translate(_TABLE).encode("ascii", "backslashreplace").decode("ascii")
