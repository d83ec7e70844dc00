"""A start for a parameter that a rule would keep but that holds nothing: shifts at zero and scales at one."""

from __future__ import annotations

import math

from fanin.graph.roles.data import ParameterRole
from fanin.initializers import Initializer, Ones, Zeros
from fanin.recipes.engine.draft import Draft, fixed

__all__ = ["refilled"]

_SHIFTS = frozenset({"shift", "bias", "norm_shift", "attn_bias"})
_SCALES = frozenset({"scale", "norm_scale"})


def refilled(role: ParameterRole, why: str) -> Draft | None:
    """The start that changes nothing of the signal; None where the role does not say which that is.

    A shift that is added as it is starts at zero, a scale of several numbers that multiplies the signal as it is at
    one. A single number, a gate (what goes through a function first) and a layer scale are set by their modules in
    many ways.

    Args:
        role: of the parameter.
        why: why it holds nothing ("holds NaN", "on the meta device").
    """
    direct = bool(role.uses) and not any(use.chain for use in role.uses)
    law: Initializer | None = None
    if role.role in _SHIFTS and direct:
        law = Zeros()
    elif role.role in _SCALES and direct and math.prod(role.shape) > 1:
        law = Ones()
    if law is None:
        return None
    words = "a shift starts at zero" if law == Zeros() else "a scale starts at one"
    return fixed(
        law,
        rule="refilled",
        reason=f"{words}; there is nothing to keep ({why})",
        warnings=(f"there was nothing to keep ({why}), so it starts from {law}; an override gives it another law",),
    )
