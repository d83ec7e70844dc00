"""Coordinate networks of sines."""

from __future__ import annotations

import math

from fanin.graph.analysis.activations import Activation
from fanin.graph.roles.data import ParameterRole
from fanin.initializers import SirenFirst, Uniform
from fanin.recipes.auto.evidence import SIREN_OMEGA
from fanin.recipes.auto.options import AutoOptions
from fanin.recipes.engine.draft import Draft, Made, Read
from fanin.recipes.engine.network import Network
from fanin.recipes.step import Step

__all__ = ["siren"]

_SOURCE = "Sitzmann et al. 2020, arXiv 2006.09661, section 3.2"


def siren(network: Network, role: ParameterRole, options: AutoOptions) -> Draft | None:
    """The first, hidden and last maps of a network of sin(omega x); None for any other map."""
    use = role.use
    if use is None:
        return None
    ahead = _omega(use.activation)
    behind = _omega(use.feed)
    if ahead is not None and behind is None and "input" in use.feeds:
        return _first(ahead)
    if behind is None:
        return None
    return _hidden(role, ahead if ahead is not None else behind, last=ahead is None)


def _omega(activation: Activation | None) -> float | None:
    if activation is None or activation.name not in ("sin", "cos") or abs(activation.inner) < SIREN_OMEGA:
        return None
    return abs(activation.inner)


def _first(omega: float) -> Draft:
    def make(read: Read) -> Made:
        step = Step(
            quantity="bound", value="1 / fan_in", formula=f"sin({omega:g} x) sets the frequencies", source=_SOURCE
        )
        return Made(law=SirenFirst(), steps=(step,))

    reason = "first layer on coordinates: U(±1 / fan_in), so that omega alone sets the frequencies"
    return Draft(rule="siren first", reason=reason, make=make, evidence="siren")


def _hidden(role: ParameterRole, omega: float, *, last: bool) -> Draft:
    fan_in = float(role.fan_in or 1.0)

    def make(read: Read) -> Made:
        second = read.second_moment if read.known else 0.5
        std = 1.0 / (omega * math.sqrt(fan_in * second))
        steps = (
            read.step(),
            Step(quantity="omega", value=omega, formula="the factor inside the sine"),
            Step(
                quantity="std",
                value=std,
                formula="1 / (omega sqrt(fan_in E x²)): omega times the sum has std 1",
                source=_SOURCE,
            ),
        )
        return Made(law=Uniform(bound=math.sqrt(3.0) * std), steps=steps)

    reason = (
        "the last layer of a network of sines stays small"
        if last
        else "a hidden layer of sines: omega times its sum has std 1"
    )
    return Draft(rule="siren last" if last else "siren", reason=reason, make=make, evidence="siren")
