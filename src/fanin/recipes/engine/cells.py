"""Laws for recurrent maps: one for what is read from the state, another where the same weight reads the input too."""

from __future__ import annotations

from fanin.graph.roles.data import ParameterRole
from fanin.initializers import Initializer, PerInput, VarianceScaling

__all__ = ["GLOROT", "state_law"]

GLOROT = VarianceScaling(gain=1.0, mode="fan_avg", law="normal")


def state_law(role: ParameterRole, state: Initializer, given: Initializer = GLOROT) -> Initializer:
    """The law of a weight that reads a recurrent state.

    Args:
        role: of the weight.
        state: law of the columns that read the state.
        given: law of the columns that read the input, where the weight has both.
    """
    columns = role.loop.columns if role.loop is not None else ()
    if not columns:
        return state
    laws = tuple(state if column.tag == "state" else given for column in columns)
    return PerInput(laws, tuple(column.size for column in columns))
