"""The network's own inputs: their second moments, what the first layer divides by, and warnings about their scale."""

from __future__ import annotations

import math
from typing import Any

from fanin.graph.recording.replay import run
from fanin.graph.roles.data import ParameterRole
from fanin.model.operations import VIEWS
from fanin.recipes.auto.evidence import INPUT_RANGE, LARGE_INPUT
from fanin.recipes.engine.network import Network

__all__ = ["input_moment", "input_scale", "input_warnings", "second_moment", "size_spread"]


def input_scale(moment: float) -> float:
    """What a network's input divides the first layer's variance by: E x² where it is large, 1 otherwise.

    Example:
        >>> input_scale(1.03), input_scale(0.1), input_scale(16000.0)
        (1.0, 1.0, 16000.0)
    """
    return moment if moment > LARGE_INPUT else 1.0


def input_moment(network: Network, first: ParameterRole) -> float:
    """E x² of the input that a map reads; 1 where it is not known, not finite or zero."""
    operand = network.data_operand(network.graph.ops[first.uses[0].op])
    return 1.0 if operand is None else second_moment(network, operand)


def second_moment(network: Network, value: int) -> float:
    """E x² of a value that is an input, or a view of one; 1 where it is not known, not finite or zero."""
    known = network.graph.data.get(value)
    if known is None or not known.is_floating_point() or not _is_dense(known):
        return 1.0
    moment = _second_moment(known)
    return moment if math.isfinite(moment) and moment > 0.0 else 1.0


def size_spread(network: Network, first: ParameterRole) -> float:
    """sqrt(E q²) / E q over the places of the input that a map reads, q = mean square over its channels; else 1.

    1 where q is the same for every sample and place, 3 for pixels of one channel that are mostly background.
    """
    operand = network.data_operand(network.graph.ops[first.uses[0].op])
    known = None if operand is None else _given(network, operand)
    if known is None or not known.is_floating_point() or not _is_dense(known):
        return 1.0
    channels = -1 - len(first.layout.tap_axes)
    q = known.detach().double().square().mean(dim=channels)
    spread = float(q.square().mean().sqrt() / q.mean())
    return spread if math.isfinite(spread) else 1.0


def _given(network: Network, value: int) -> Any | None:
    """The numbers of a value that is an input, or a view of one; None for any other."""
    known, producer = network.graph.data.get(value), network.graph.producer(value)
    if known is not None or producer is None or producer.name not in VIEWS or len(producer.inputs) != 1:
        return known
    before = _given(network, producer.inputs[0])
    return None if before is None else run(producer, lambda index: before)[producer.outputs.index(value)]


def input_warnings(network: Network) -> tuple[str, ...]:
    """Float inputs whose second moment is far from 1."""
    said = []
    for value in network.graph.leaves("input"):
        tensor = network.graph.data.get(value.index)
        if tensor is None or not value.is_float or not _is_dense(tensor):
            continue
        moment = _second_moment(tensor)
        if not INPUT_RANGE[0] <= moment <= INPUT_RANGE[1]:
            said.append(
                f"the input {value.name!r} has second moment {moment:.3g}; networks train best on inputs of about 1: "
                "standardise it (subtract the mean, divide by the standard deviation of the training data)"
            )
    return tuple(said)


def _is_dense(tensor: Any) -> bool:
    """Whether a tensor has entries, and holds all of them."""
    import torch

    return bool(tensor.numel()) and tensor.layout == torch.strided


def _second_moment(tensor: Any) -> float:
    return float(tensor.detach().double().square().mean())
