"""Coordinate networks of sines."""

from __future__ import annotations

import math

from fanin.graph.analysis.activations import FoundActivation
from fanin.graph.roles.data import ParameterRole
from fanin.initializers import SirenFirst, Uniform
from fanin.recipes.auto.evidence import SIREN_OMEGA
from fanin.recipes.auto.options import AutoOptions
from fanin.recipes.auto.wording import Number, draft
from fanin.recipes.engine.draft import Draft, Read
from fanin.recipes.engine.network import Network

__all__ = ["is_siren", "siren"]

_MEAN_SQUARE = 0.5  # of a sine over whole periods


def is_siren(activation: FoundActivation | None) -> bool:
    """Whether an activation is the sine or cosine of omega x with an omega that makes a coordinate network.

    Example:
        >>> is_siren(FoundActivation("sin", inner=30.0)), is_siren(FoundActivation("sin"))
        (True, False)
    """
    return activation is not None and activation.name in ("sin", "cos") and abs(activation.inner) >= SIREN_OMEGA


def siren(network: Network, role: ParameterRole, options: AutoOptions) -> Draft | None:
    """The first, hidden and last maps of a network of sin(omega x); None for any other map."""
    use = role.use
    if use is None:
        return None
    ahead, behind = _omega(use.activation), _omega(use.feed)
    if ahead is not None and behind is None and "input" in use.feeds:
        return _first(ahead)
    if behind is None:
        return None
    return _hidden(role, ahead if ahead is not None else behind, last=ahead is None)


def _omega(activation: FoundActivation | None) -> float | None:
    return abs(activation.inner) if activation is not None and is_siren(activation) else None


def _first(omega: float) -> Draft:
    return draft(
        "siren first",
        lambda read: (Number("bound", "1 / fan_in"),),
        lambda values: SirenFirst(),
        evidence="siren",
        omega=omega,
    )


def _hidden(role: ParameterRole, omega: float, *, last: bool) -> Draft:
    fan_in = float(role.fan_in or 1.0)

    def numbers(read: Read) -> tuple[Number, ...]:
        second = read.second_moment if read.known else _MEAN_SQUARE
        std = 1.0 / (omega * math.sqrt(fan_in * second))
        return Number("second", read.second_moment), Number("omega", omega), Number("std", std, "siren")

    return draft(
        "siren last" if last else "siren",
        numbers,
        lambda values: Uniform(bound=math.sqrt(3.0) * values["std"]),
        evidence="siren",
    )
