"""What roles of parameters are called in sentences and tables."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["ROLE_WORDS", "role_words"]

ROLE_WORDS: Mapping[str, str] = {
    "weight": "weight",
    "bias": "bias",
    "norm_scale": "norm scale",
    "norm_shift": "norm shift",
    "embedding": "embedding",
    "position": "position",
    "rnn_ih": "recurrent input",
    "rnn_hh": "recurrent weight",
    "rnn_bias": "recurrent bias",
    "attn_bias": "attention bias",
    "layer_scale": "layer scale",
    "gain": "gain",
    "token": "learned token",
    "act_param": "activation number",
    "scale": "scale",
    "shift": "shift",
    "unused": "unused",
    "unknown": "unknown",
}


def role_words(role: str) -> str:
    """A role as a reader sees it.

    Example:
        >>> role_words("rnn_hh"), role_words("norm_scale")
        ('recurrent weight', 'norm scale')
    """
    return ROLE_WORDS[role]
