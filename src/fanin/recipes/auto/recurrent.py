"""Recurrent cells: Glorot per gate on the inputs, orthogonal per gate on the state, forget-gate bias 1.

A cell that the model writes out step by step gets what `nn.LSTM`, `nn.GRU` and `nn.RNN` get.
"""

from __future__ import annotations

from fanin.graph.roles.data import ParameterRole
from fanin.initializers import ChronoBias, Constant, ForgetBias, Initializer, Ones, Orthogonal, PerPart, Zeros
from fanin.recipes.auto.designed import identity
from fanin.recipes.auto.options import AutoOptions
from fanin.recipes.auto.wording import reason
from fanin.recipes.engine import small
from fanin.recipes.engine.cells import GLOROT, state_law
from fanin.recipes.engine.draft import Draft, fixed
from fanin.recipes.engine.effective import is_shaped
from fanin.recipes.engine.network import Network

__all__ = ["hidden", "input_weight", "norm_shift", "recurrent_bias"]

_LSTM, _GRU = sorted("ifgo"), sorted("rzn")
_KEEPS = {"f": 1.0, "e": -1.0}  # bias of the gates that keep the state; "e" erases it instead
_ADDED = 0.5  # what a model adds to its forget gates itself from which no bias is added to it


def input_weight(network: Network, role: ParameterRole, options: AutoOptions) -> Draft:
    """The map from the input to the gates."""
    return fixed(GLOROT, rule="recurrent input", reason=reason("recurrent input"), evidence="recurrent")


def hidden(network: Network, role: ParameterRole, options: AutoOptions) -> Draft:
    """The map from state to state, which keeps the state's length at every step; an identity is one already."""
    if (kept := identity(network, role, options)) is not None:
        return kept
    apart = role.loop is not None and not role.loop.gates
    state = Orthogonal(scaled=apart)
    law = state_law(role, state)
    joined = ("recurrent joined",) if law != state else ()
    said = reason("recurrent apart" if apart else "recurrent", *joined)
    return fixed(law, rule="recurrent", reason=said, evidence="recurrent")


def recurrent_bias(network: Network, role: ParameterRole, options: AutoOptions) -> Draft:
    """Zero; the gate that keeps the state gets 1, or chrono's times when the memory is known."""
    if is_shaped(role):
        return small.bias(network, role, options)
    order = _order(role)
    if role.loop is not None and not order:
        return fixed(Zeros(), rule="recurrent bias", reason=reason("gates unknown"))
    if not order or network.adds_to_state(role):
        return fixed(Zeros(), rule="recurrent bias", reason=reason("recurrent bias"))
    if options.memory is not None and sorted(order) in (_LSTM, _GRU) and role.parts and len(role.shape) == 1:
        times = ChronoBias(t_max=float(options.memory), order=order)
        return fixed(times, rule="chrono", reason=reason("chrono", memory=options.memory), evidence="chrono")
    if not set(order) & set(_KEEPS):
        return fixed(Zeros(), rule="forget bias", reason=reason("no forget gate"))
    if _is_added(role):
        return fixed(Zeros(), rule="forget bias", reason=reason("forget bias added"))
    law = _forget_law(role, order)
    if law is None:
        return fixed(Zeros(), rule="forget bias", reason=reason("forget gate apart"))
    return fixed(law, rule="forget bias", reason=reason("forget bias"), evidence="forget")


def norm_shift(network: Network, role: ParameterRole, options: AutoOptions) -> Draft | None:
    """The shift of a norm behind which the gates of a cell come: it says where they start."""
    if role.loop is None or not role.loop.sets_gates or not set(_order(role)) & set(_KEEPS):
        return None
    return recurrent_bias(network, role, options)


def _order(role: ParameterRole) -> str:
    gates = role.loop.gates if role.loop is not None else role.parts
    order = "".join(p.tag for p in gates)
    return order if role.loop is not None or sorted(order) in (_LSTM, _GRU) else ""


def _is_added(role: ParameterRole) -> bool:
    added = dict(role.loop.added) if role.loop is not None else {}
    return any(added.get(letter, 0.0) * sign > _ADDED for letter, sign in _KEEPS.items())


def _forget_law(role: ParameterRole, order: str) -> Initializer | None:
    """1 for the gates that keep the state, 0 for the others; None where they lie along several axes."""
    if len(order) == 1:
        return Ones() if _KEEPS[order] == 1.0 else Constant(_KEEPS[order])
    if len(role.shape) != 1:
        return None
    if sorted(order) == _LSTM and len({p.size for p in role.parts}) == 1:
        return ForgetBias(order=order)
    laws = {1.0: Ones(), -1.0: Constant(-1.0)}
    return PerPart(tuple(laws.get(_KEEPS.get(letter, 0.0), Zeros()) for letter in order))
