"""A plain stack: one chain of maps with the same activation after each, without norm, skip or attention."""

from __future__ import annotations

from dataclasses import dataclass

from fanin.graph.analysis.activations import FoundActivation
from fanin.graph.roles.data import ParameterRole
from fanin.recipes.auto.inputs import input_moment
from fanin.recipes.engine.network import Network

__all__ = ["Stack", "stack_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stack:
    """A chain of maps with the same activation after each but the last.

    Attributes:
        maps: the weights, in order; the last one is the output layer.
        activation: what follows each hidden map.
        input_moment: E x² of what the first map reads; 1 where it is not known.
    """

    maps: tuple[ParameterRole, ...]
    activation: FoundActivation
    input_moment: float

    @property
    def num_hidden(self) -> int:
        """Number of activations."""
        return len(self.maps) - 1

    @property
    def is_dense(self) -> bool:
        """Whether no map is a convolution."""
        return not any(m.layout.tap_axes for m in self.maps)


def stack_of(network: Network) -> Stack | None:
    """The model as a plain stack with one activation; None for every other model."""
    chain = network.roles.stack
    if len(chain) < 2:
        return None
    activations = [a for _, a in chain[:-1]]
    first = activations[0]
    if first is None or any(a is None or a.is_guess or a.label != first.label for a in activations):
        return None
    maps = tuple(network.roles[name] for name, _ in chain)
    if any(len(m.uses) != 1 or m.layout.lookup or m.layout.view for m in maps):
        return None
    return Stack(maps=maps, activation=first, input_moment=input_moment(network, maps[0]))
