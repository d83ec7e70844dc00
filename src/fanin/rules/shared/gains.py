"""The weights' own scale against what their activation needs: the reason behind a drift."""

from __future__ import annotations

import functools
import math
from statistics import median

from fanin.measure.record import Measurements, ParameterRecord
from fanin.model.operations import RECURRENT
from fanin.rules.shared.upstream import behind_norms

__all__ = ["CALIBRATE", "CLOSED_GATE", "INIT", "RATED", "gain_of", "gain_ratio", "maps", "weight_words"]

# Activations that a weight is drawn for: no gates (hardsigmoid), no shrinking, no probabilities (log_sigmoid).
RATED = frozenset([
    "relu", "relu6", "leaky_relu", "prelu", "rrelu", "elu", "selu", "celu", "gelu", "silu", "mish", "softplus",
    "tanh", "hardtanh", "sigmoid", "hardswish", "softsign", "sin", "erf",
])  # fmt: skip
_BOUNDED = frozenset(("sigmoid", "tanh", "hardtanh", "softplus"))
# The cure for every start that is drawn wrong, in one line; and the one that keeps the weights and scales them.
INIT = "fanin.init_(model, inputs)  # draws all weights anew"
CALIBRATE = "fanin.calibrate(model, inputs)  # keeps the weights and scales them"
# A multiplicative gate of this rms or less keeps its branch almost shut at first (LayerScale starts at 1e-6 to 0.1).
CLOSED_GATE = 1e-2


@functools.cache
def gain_of(activation: str) -> float:
    """1 / sqrt(E[phi(z)^2]) for z ~ N(0, 1): sqrt(2) for ReLU (He et al. 2015, arXiv 1502.01852, eq. 10)."""
    from fanin.theory import gain  # loads SciPy: imported here, so that its memory is not taken while the model runs

    return gain(activation)


def maps(measurements: Measurements) -> list[ParameterRecord]:
    """Weights of linear maps and convolutions whose output meets an activation before any normalisation.

    Not those before a sigmoid or tanh at the end of the model: it shapes the output and feeds no layer.
    """
    read = {i for s in measurements.sites if s.kind not in ("loss", "merge") for i in s.inputs}
    ends = {i for s in measurements.sites if s.op in _BOUNDED and s.index not in read for i in s.inputs}
    return [
        p
        for p in measurements.parameters
        if p.is_map and p.weight.rms > 0 and p.follower in RATED and p.op not in RECURRENT and p.reader not in ends
    ]


def gain_ratio(parameter: ParameterRecord) -> float:
    """rms(W) sqrt(fan_in) over the gain that keeps the second moment through the activation behind it.

    W is what the operation read: the parameter, or what the model makes of it.

    1 is He's std for ReLU; torch's default nn.Linear is sqrt(1/6) = 0.41.
    """
    return parameter.rms_read * math.sqrt(parameter.fan_in or 1.0) / gain_of(parameter.follower)


def weight_words(measurements: Measurements, *, growing: bool | None = None) -> str:
    """Half a sentence that names how far the weights are from their gain.

    "" where they are near it, where weights off to that side do not make a signal grow (or fall) as it does, and where
    a normalisation before most of them makes up for it.
    """
    found, normed = maps(measurements), behind_norms(measurements)
    if not found or sum(p.path in normed for p in found) > len(found) / 2:
        return ""
    factors = {s.index: abs(s.follower_factor) for s in measurements.sites}
    ratio = median(gain_ratio(p) * factors.get(-1 if p.reader is None else p.reader, 1.0) for p in found)
    if 0.8 < ratio < 1.25 or growing is (ratio < 1):
        return ""
    followers = [p.follower for p in found]
    name = max(set(followers), key=followers.count)
    return f"weights before {name} have {ratio:.3g} times the std that keeps the signal"
