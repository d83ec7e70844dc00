"""Recurrent cells: Glorot per gate on the inputs, orthogonal per gate on the state, forget-gate bias 1."""

from __future__ import annotations

from fanin.graph.roles.data import ParameterRole
from fanin.initializers import ChronoBias, ForgetBias, Initializer, Orthogonal, VarianceScaling, Zeros
from fanin.recipes.auto.options import AutoOptions
from fanin.recipes.auto.wording import reason
from fanin.recipes.engine.draft import Draft, fixed
from fanin.recipes.engine.network import Network

__all__ = ["hidden", "input_weight", "recurrent_bias"]

_GATED = ("ifgo", "rzn")  # gates of an LSTM and of a GRU, in the order of their rows


def input_weight(network: Network, role: ParameterRole, options: AutoOptions) -> Draft:
    """The map from the input to the gates."""
    law = VarianceScaling(gain=1.0, mode="fan_avg", law="normal")
    return fixed(law, rule="recurrent input", reason=reason("recurrent input"), evidence="recurrent")


def hidden(network: Network, role: ParameterRole, options: AutoOptions) -> Draft:
    """The map from state to state, which keeps the state's length at every step."""
    return fixed(Orthogonal(), rule="recurrent", reason=reason("recurrent"), evidence="recurrent")


def recurrent_bias(network: Network, role: ParameterRole, options: AutoOptions) -> Draft:
    """Zero; the gate that keeps the state gets 1, or chrono's times when the memory is known."""
    order = "".join(p.tag for p in role.parts)
    if order not in _GATED or network.adds_to_state(role):
        return fixed(Zeros(), rule="recurrent bias", reason=reason("recurrent bias"))
    if options.memory is not None:
        law: Initializer = ChronoBias(t_max=float(options.memory), order=order)
        return fixed(law, rule="chrono", reason=reason("chrono", memory=options.memory), evidence="chrono")
    if "f" not in order:
        return fixed(Zeros(), rule="forget bias", reason=reason("no forget gate"))
    return fixed(ForgetBias(order=order), rule="forget bias", reason=reason("forget bias"), evidence="forget")
