"""``classic``: each map by the activation beside it, as textbooks do.

He for ReLU and similar functions, Glorot for tanh and for maps without an activation, four times Glorot for the
logistic function, LeCun for SELU; biases zero, forget gates one, recurrent maps orthogonal, norms one and zero.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from fanin.graph.analysis.activations import FoundActivation
from fanin.graph.roles.data import ParameterRole
from fanin.initializers import (
    Initializer,
    glorot_logistic,
    glorot_uniform,
    he_normal,
    lecun_normal,
)
from fanin.recipes.engine.activation_facts import is_bounded, is_odd, mirror_slope
from fanin.recipes.engine.draft import Draft
from fanin.recipes.engine.network import Network
from fanin.recipes.engine.table_recipe import NoOptions, law, table_recipe

__all__ = ["CLASSIC"]

_GLOROT = "Glorot and Bengio 2010, eq. 16"
_HE = "He et al. 2015, arXiv 1502.01852, eq. 10"


def weight(network: Network, role: ParameterRole, options: NoOptions) -> Draft:
    """The scheme of the activation that follows the map, or else of the one that feeds it."""
    use = role.use
    beside = (use.activation or use.feed) if use is not None else None
    where = "follows" if use is not None and use.activation is not None else "feeds it"
    for test, make, formula, source in _SCHEMES:
        if beside is not None and test(beside):
            reason = f"{beside.label} {where}: {formula}"
            return law(make(beside), role, rule="classic", formula=formula, source=source, reason=reason)
    reason = "no activation beside it: Glorot's law, a compromise between the signal and the gradient"
    return law(
        glorot_uniform(), role, rule="classic", formula="sqrt(2 / (fan_in + fan_out))", source=_GLOROT, reason=reason
    )


def _he(activation: FoundActivation) -> Initializer:
    slope = mirror_slope(activation)
    if slope is None or slope <= 1.0:
        return he_normal()
    leak = slope - 1.0
    return he_normal(gain=math.sqrt(2.0 / (1.0 + leak * leak)))


def _logistic(activation: FoundActivation) -> bool:
    return is_bounded(activation) and not is_odd(activation)


def _odd(activation: FoundActivation) -> bool:
    return is_odd(activation)


_Scheme = tuple[Callable[[FoundActivation], bool], Callable[[FoundActivation], Initializer], str, str]
_SCHEMES: tuple[_Scheme, ...] = (
    (
        lambda a: a.name == "selu",
        lambda a: lecun_normal(),
        "1 / sqrt(fan_in)",
        "Klambauer et al. 2017, arXiv 1706.02515",
    ),
    (
        _logistic,
        lambda a: glorot_logistic(),
        "4 sqrt(2 / (fan_in + fan_out))",
        "Bengio 2012, arXiv 1206.5533, section 2.3",
    ),
    (_odd, lambda a: glorot_uniform(), "sqrt(2 / (fan_in + fan_out))", _GLOROT),
    (lambda a: True, _he, "sqrt(2 / ((1 + leak²) fan_in))", _HE),
)

CLASSIC = table_recipe(
    "classic", "He, Glorot, LeCun by the activation beside each map", {"weight": weight}, source="see each parameter"
)
