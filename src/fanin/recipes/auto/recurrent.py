"""Recurrent cells: Glorot per gate on the inputs, orthogonal per gate on the state, a forget bias that remembers."""

from __future__ import annotations

from fanin.graph.roles.data import ParameterRole
from fanin.initializers import ChronoBias, ForgetBias, Initializer, Orthogonal, VarianceScaling, Zeros
from fanin.recipes.auto.options import AutoOptions
from fanin.recipes.engine.draft import Draft, fixed
from fanin.recipes.engine.network import Network

__all__ = ["hidden", "input_weight", "recurrent_bias"]


def input_weight(network: Network, role: ParameterRole, options: AutoOptions) -> Draft:
    """Input to the gates."""
    law = VarianceScaling(gain=1.0, mode="fan_avg", law="normal")
    reason = "input map of a recurrent cell: Glorot's law for each gate by itself"
    return fixed(law, rule="recurrent input", reason=reason, evidence="recurrent")


def hidden(network: Network, role: ParameterRole, options: AutoOptions) -> Draft:
    """State to state: length-preserving at every step."""
    reason = "map from state to state: orthogonal for each gate, so no direction grows or fades by the step"
    return fixed(Orthogonal(), rule="recurrent", reason=reason, evidence="recurrent")


def recurrent_bias(network: Network, role: ParameterRole, options: AutoOptions) -> Draft:
    """Zero; the gate that keeps the state gets 1, or chrono's times when the memory is known."""
    order = "".join(p.tag for p in role.parts)
    if order not in ("ifgo", "rzn") or "hh" in role.name.rpartition(".")[2]:
        return fixed(Zeros(), rule="recurrent bias", reason="zero: the other bias of the cell holds the gates' start")
    if options.memory is not None:
        reason = f"chrono: units that remember for up to {options.memory:g} steps"
        return fixed(
            ChronoBias(t_max=float(options.memory), order=order), rule="chrono", reason=reason, evidence="chrono"
        )
    law: Initializer = ForgetBias(order=order) if "f" in order else Zeros()
    reason = "forget bias 1: the cell keeps what it has until it learns to forget" if "f" in order else "zero"
    return fixed(law, rule="forget bias", reason=reason, evidence="forget" if "f" in order else "")
