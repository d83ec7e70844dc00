"""Rules that every recipe uses for what is no map: biases, shifts, norm scales, module constants, unused parameters."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from fanin.graph.roles.data import ParameterRole
from fanin.initializers import Constant, Initializer, Normal, Ones, Zeros
from fanin.recipes.engine.draft import Draft, fixed
from fanin.recipes.engine.effective import functions, is_shaped
from fanin.recipes.engine.network import Network
from fanin.recipes.step import Step
from fanin.text.roles import role_words

__all__ = ["SMALL", "is_chosen", "kept_draft", "norm_scale"]

_Rule = Callable[[Network, ParameterRole, Any], Draft]
_BY_LENGTH = frozenset({"rms_norm", "statistic"})  # norms that may divide by a length, not by a std
_DIFFER = 1.0  # std over mean, from which numbers are no scale around one
_TIME_STEPS = -1.0  # mean of a bias before a softplus below which it holds spaced time steps (softplus(-1) = 0.31)


def kept_draft(why: str, *, rule: str = "constructor") -> Draft:
    """A draft that keeps the tensor as its module made it."""
    return fixed(None, rule=rule, reason=why, action="keep")


def norm_scale(network: Network, role: ParameterRole, options: Any, *, evidence: str = "") -> Draft:
    """Scale of a norm: one, less the constant that the model adds to it (1 in Gemma's ``x * (1 + w)``).

    A scale that the module chose (see `is_chosen`) keeps its value.
    """
    if is_chosen(network, role):
        how = f"made by {functions(role)} of it" if is_shaped(role) else f"of the output of {role.norm}"
        return kept_draft(f"scale {how}: keeps the value that its module chose")
    offset = network.starts_from(role)
    law: Initializer = Ones() if offset == 0.0 else Zeros() if offset == 1.0 else Constant(1.0 - offset)
    plus = f" (the model adds {offset:g} to this parameter, so it starts at {1.0 - offset:g})" if offset else ""
    reason = f"norm scale of 1: the output of the norm starts as the normalized values{plus}"
    return fixed(law, rule="norm scale", reason=reason, evidence=evidence)


def is_chosen(network: Network, role: ParameterRole) -> bool:
    """Whether the value of a norm's scale is its module's choice.

    So is one that a function makes the scale of (exp, softplus), numbers that differ by more than half of their
    mean (the coefficients of a polynomial behind a norm), one number for all units other than one (a temperature),
    and one number other than zero and one in every unit behind a division by a root of squares: where that makes
    rows of length 1, they have no natural size (Nguyen and Salazar 2019, arXiv 1910.05895, section 2.2, start at
    sqrt(d)).
    """
    if is_shaped(role):
        return True
    live = network.live(role.name)
    if live is None:
        return False
    if live.size > 1 and float(live.std()) > _DIFFER * abs(float(live.mean())) > 0.0:
        return True
    if not (live.size == 1 or network.is_one_number(role.name)):
        return False
    usual = math.isclose(float(live.flat[0]), 1.0, rel_tol=1e-6) or (live.size > 1 and not live.any())
    return not usual and (live.size == 1 or role.norm in _BY_LENGTH)


def zero(network: Network, role: ParameterRole, options: Any) -> Draft:
    """Zero, for a norm's shift and for what is added to attention scores."""
    return fixed(Zeros(), rule=role_words(role.role), reason="zero: at step 0 it adds nothing")


def bias(network: Network, role: ParameterRole, options: Any) -> Draft:
    """Zero; time steps of a state-space layer, and what a function makes the bias of, stay as the module has them."""
    owner = network.roles.parameters.get(role.owner)
    activation = owner.activation if owner is not None else None
    live = network.live(role.name)
    if activation is not None and activation.name == "softplus" and live is not None and live.mean() < _TIME_STEPS:
        return kept_draft("bias before a softplus that computes time steps: kept as its module spaced them")
    if is_shaped(role):
        return kept_draft(f"bias made by {functions(role)} of it: keeps the value that its module chose")
    return fixed(Zeros(), rule="bias", reason="biases start at zero; random weights already make units differ")


def keep(network: Network, role: ParameterRole, options: Any) -> Draft:
    """Scales, slopes and decay rates keep the value that their module gave them."""
    found = role.reason or "elementwise"
    return kept_draft(f"{role_words(role.role)}: keeps the value that its module chose ({found})")


def unused(network: Network, role: ParameterRole, options: Any) -> Draft:
    """A parameter that these inputs never reach: 1 / sqrt(fan_in) for the shape of a map, else zero or kept.

    One number everywhere (the size of a noise that is added in training alone) is no draw of a law, so it stays.
    """
    why = "the forward pass never uses it on these inputs"
    if len(role.shape) > 1 and network.is_one_number(role.name) and not network.is_zero(role.name):
        return kept_draft(f"{why}; kept at the one number that its module set")
    if len(role.shape) < 2:
        live = network.live(role.name)
        constant = live is None or bool((live == live.flat[0]).all())
        one_value = constant and live is not None and float(live.flat[0]) != 0.0
        if one_value or not (constant or role.name.endswith("bias")):
            return kept_draft(f"{why}; kept as its module set it")
        return fixed(Zeros(), rule="unused", reason=f"{why}; zero")
    fan_in = role.fan_in or math.prod(role.shape[1:])
    std = 1.0 / math.sqrt(max(fan_in, 1.0))
    steps = (Step(quantity="std", value=std, formula="1 / sqrt(fan_in)"),)
    reason = f"{why}; std 1 / sqrt(fan_in), a safe start if other inputs use it"
    return fixed(Normal(std=std), rule="unused", reason=reason, steps=steps)


SMALL: Mapping[str, _Rule] = {
    "bias": bias,
    "norm_scale": norm_scale,
    "norm_shift": zero,
    "attn_bias": zero,
    "layer_scale": keep,
    "gain": keep,
    "act_param": keep,
    "scale": keep,
    "shift": keep,
    "unused": unused,
}
