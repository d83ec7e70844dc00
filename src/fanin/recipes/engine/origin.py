"""Where the second moment that a weight reads comes from: from the last map, norm or sum before it, step by step."""

from __future__ import annotations

import math
from collections.abc import Callable

from fanin.graph.ir import Op
from fanin.moments.propagate import MomentMap
from fanin.recipes.engine.network import Network
from fanin.recipes.step import Step
from fanin.text.numbers import big

__all__ = ["origin", "variance_words"]

_MOST = 12  # operations that are followed back
_SAME = 1e-3  # relative change of a second moment that is not worth a line
_Derive = Callable[[str, float], str]


def origin(network: Network, value: int | None, found: MomentMap, derive: _Derive) -> tuple[Step, ...]:
    """The derivation of E x² of a value, the last line its own; empty for an input, or where nothing is known.

    Args:
        network: the captured model.
        value: what a weight is applied to.
        found: moments of every tensor.
        derive: (name of a map's weight, second moment of its output) -> that number worked out, or "".
    """
    lines: list[Step] = []
    for _ in range(_MOST):
        second = None if value is None else _second(network, found, value)
        if value is None or second is None:
            break
        op = network.graph.producer(value)
        before = None if op is None else _only_signal(network, op)
        if op is None and not lines:
            return ()  # the input itself: what is known of it the rule says
        if op is None or before is None:
            lines.append(_source(network, op, second, found, derive))
            break
        earlier = _second(network, found, before)
        if earlier is None or not math.isclose(second, earlier, rel_tol=_SAME):
            words = f"after {_title(op)}: predicted from the line above"
            lines.append(Step(quantity="E x²", value=second, formula=words))
        value = before
    return tuple(reversed(lines))


def _second(network: Network, found: MomentMap, value: int) -> float | None:
    known = found.tensors.get(value)
    moments = None if known is None else known.moments
    if moments is None or not math.isfinite(moments.second_moment):
        return None
    return float(moments.second_moment)


def _only_signal(network: Network, op: Op) -> int | None:
    """The one signal that an operation without weights changes; None where it has weights, is a norm, or takes two."""
    values = network.graph.values
    floats = [i for i in dict.fromkeys(op.inputs) if values[i].is_float]
    weights = any(i in network.weight_only for i in floats)
    return None if weights or len(floats) != 1 or op.name.endswith("_norm") else floats[0]


def _source(network: Network, op: Op | None, second: float, found: MomentMap, derive: _Derive) -> Step:
    """The line that a derivation begins with."""
    if op is None:
        return Step(quantity="E x²", value=second, formula=_input_words(network))
    name = network.weight_of_op.get(op.index)
    if name is not None:
        return Step(quantity="E z²", value=second, formula=f"output of {name}", worked=derive(name, second))
    signals = [i for i in dict.fromkeys(op.inputs) if i not in network.weight_only]
    read = ", ".join(big(s) for i in signals if (s := _second(network, found, i)) is not None)
    of = f", which reads E x² = {read}" if read else ""
    return Step(quantity="E x²", value=second, formula=f"after {_title(op)}{of}")


def _title(op: Op) -> str:
    words = op.name.replace("_", " ")
    return f"{words} in {op.module}" if op.module else words


def _input_words(network: Network) -> str:
    return "the given input, measured" if network.given else "no inputs were given: normal numbers made in their place"


def variance_words(fan_in: float | None, var: float, second: float, output: float) -> str:
    """fan_in × var × E x² with its numbers, where that is what a map's output has; "" where more enters.

    Example:
        >>> variance_words(128.0, 0.0078125, 0.5, 0.5), variance_words(128.0, 0.0078125, 0.5, 0.7)
        ('128 × 0.0078125 × 0.5', '')
    """
    if fan_in is None or not math.isclose(fan_in * var * second, output, rel_tol=_SAME):
        return ""
    return f"{big(fan_in, 6)} × {big(var, 6)} × {big(second, 6)}"
