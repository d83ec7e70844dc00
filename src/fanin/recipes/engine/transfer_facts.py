"""What the graph says about a network that learning rates over widths and depths need, as plain data in the plan."""

from __future__ import annotations

from typing import Any

from fanin.graph.roles.data import ParameterRole, Use
from fanin.recipes.engine.network import Network

__all__ = ["is_applied_both_ways", "transfer_facts"]

_MAPS = ("weight", "rnn_ih", "rnn_hh")


def transfer_facts(network: Network) -> dict[str, Any]:
    """What learning rates that hold over widths and depths need to know of a network.

    Maps that read the inputs, parameters that give the outputs, maps that are applied both ways, the width of a head,
    the ends of the residual branches.
    """
    roles = network.roles.parameters
    facts: dict[str, Any] = {
        "width": network.width,
        "inputs": [n for n, r in roles.items() if r.role in _MAPS and r.reads_inputs],
        "outputs": [n for n, r in roles.items() if "head" in r.tags],
        "both_ways": [n for n, r in roles.items() if r.role in _MAPS and is_applied_both_ways(r)],
    }
    if network.head_dim is not None:
        facts["head_dim"] = int(network.head_dim)
    ends = network.roles.branch_ends
    if ends:
        facts["branches"] = [
            {"stream": e.stream, **({"refused": e.refused} if e.refused else {"ends": list(e.parameters)})}
            for e in ends
        ]
    return facts


def is_applied_both_ways(role: ParameterRole) -> bool:
    """Whether a matrix is also applied as its transpose, as that of an autoencoder with tied weights.

    Told by sizes: where both sides are of one size, or the batch has those sizes too, it is not.
    """
    layout = role.layout
    if layout.view or len(role.shape) != 2 or (len(layout.in_axes), len(layout.out_axes)) != (1, 1):
        return False
    there, back = role.shape[layout.in_axes[0]], role.shape[layout.out_axes[0]]

    def fits(use: Use, reads: int, gives: int) -> bool:
        return reads in use.input_shape and gives in use.output_shape

    return any(fits(u, back, there) and not fits(u, there, back) for u in role.uses)
