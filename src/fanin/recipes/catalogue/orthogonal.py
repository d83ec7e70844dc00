"""``orthogonal``: dynamical isometry, every map orthogonal at the critical gain for the network's depth.

Dense maps are Haar orthogonal, convolutions of stride one delta-orthogonal, others orthogonal over the flattened
kernel. The gain is what makes chi_1 = 1: sqrt(2) for ReLU, 1 / sqrt(E f'^2) at q* = 1 / depth for odd saturating
units in a plain stack, and at q = 1 otherwise.
"""

from __future__ import annotations

import math

from fanin.graph.roles.data import ParameterRole
from fanin.initializers import DeltaOrthogonal, Initializer, Orthogonal
from fanin.recipes.engine.activation_facts import is_bounded, is_odd, moments_of
from fanin.recipes.engine.draft import Draft, fixed
from fanin.recipes.engine.network import Network
from fanin.recipes.engine.table_recipe import NoOptions, is_head, table_recipe
from fanin.recipes.step import Step

__all__ = ["ORTHOGONAL"]

_PENNINGTON = "Pennington et al. 2017, arXiv 1711.04735; Xiao et al. 2018, arXiv 1806.05393"


def weight(network: Network, role: ParameterRole, options: NoOptions) -> Draft:
    """Orthogonal, at the critical gain of the activation that feeds the map."""
    use = role.use
    feed = use.feed if use is not None else None
    depth = max(len(network.roles.stack) - 1, 1)
    q = 1.0
    if feed is not None and network.roles.stack and is_odd(feed) and is_bounded(feed):
        q = 1.0 / depth
    moments = moments_of(feed, q) if feed is not None else None
    gain = (
        1.0 / math.sqrt(moments.dsecond)
        if moments is not None and 0.0 < moments.dsecond < math.inf and not is_head(role)
        else 1.0
    )
    words = (
        f"1 / sqrt(E f'²) of {feed.label} at q = {q:.4g}"
        if feed is not None and gain != 1.0
        else "1: no activation changes the size of its input"
    )
    steps = (Step(quantity="gain", value=gain, formula=words, source=_PENNINGTON),)
    return fixed(_map(role, gain), rule="orthogonal", reason=f"orthogonal, gain {gain:.4g}", steps=steps)


def _map(role: ParameterRole, gain: float) -> Initializer:
    layout = role.layout
    taps = math.prod(layout.viewed(role.shape)[a] for a in layout.tap_axes)
    if taps > 1 and layout.groups == 1 and set(layout.strides()) <= {1} and not layout.transposed:
        return DeltaOrthogonal(gain=gain, scaled=True)
    return Orthogonal(gain=gain, scaled=True)


ORTHOGONAL = table_recipe(
    "orthogonal",
    "every map orthogonal at the critical gain",
    {"weight": weight},
    source="Saxe et al. 2013, arXiv 1312.6120",
)
