"""What the graph says about a network that learning rates over widths and depths need, as plain data in the plan."""

from __future__ import annotations

from typing import Any

from fanin.recipes.engine.network import Network

__all__ = ["reads_input", "transfer_facts"]

_MAPS = ("weight", "rnn_ih", "rnn_hh")


def transfer_facts(network: Network) -> dict[str, Any]:
    """Maps that read the inputs, parameters that give the outputs, width of a head, ends of the residual branches."""
    roles = network.roles.parameters
    facts: dict[str, Any] = {
        "width": network.width,
        "inputs": [n for n, r in roles.items() if r.role in _MAPS and reads_input(r.feeds)],
        "outputs": [n for n, r in roles.items() if "head" in r.tags],
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


def reads_input(feeds: tuple[str, ...]) -> bool:
    """Whether a map reads nothing but the inputs of the model.

    Example:
        >>> reads_input(("input",)), reads_input(("input", "lin")), reads_input(())
        (True, False, False)
    """
    return bool(feeds) and set(feeds) <= {"input", "const"} and "input" in feeds
