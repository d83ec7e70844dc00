"""The weights' own scale against what their activation needs: the reason behind a drift."""

from __future__ import annotations

import math
from statistics import median

from fanin.measure.record import Measurements, ParameterRecord

__all__ = ["CLOSED_GATE", "GAINS", "INIT", "gain_ratio", "maps", "weight_words"]

# gain = 1 / sqrt(E[phi(z)^2]) for z ~ N(0, 1): 1 for no activation, sqrt(2) for ReLU (He et al. 2015, eq. 10); others
# by quadrature.
GAINS: dict[str, float] = {
    "relu": 1.414214,
    "relu6": 1.414214,
    "leaky_relu": 1.414143,
    "tanh": 1.592537,
    "gelu": 1.533530,
    "silu": 1.676532,
    "mish": 1.486848,
    "elu": 1.245198,
    "selu": 1.0,
    "sigmoid": 1.846229,
    "softplus": 1.041867,
    "softsign": 2.337533,
    "hardtanh": 1.391997,
    "hardswish": 1.736658,
    "sin": 1.520867,
}
# The cure for every start that is drawn wrong, in one line.
INIT = "fanin.init_(model, inputs)  # every layer at the std that its activation needs"
# A multiplicative gate of this rms or less keeps its branch almost shut at first (LayerScale starts at 1e-6 to 0.1).
CLOSED_GATE = 1e-2


def maps(measurements: Measurements) -> list[ParameterRecord]:
    """Weights of linear maps and convolutions whose output meets an activation before any normalisation."""
    return [
        p
        for p in measurements.parameters
        if p.fan_in and p.weight.rms > 0 and p.follower in GAINS and p.role != "recurrent"
    ]


def gain_ratio(parameter: ParameterRecord) -> float:
    """rms(W) sqrt(fan_in) over the gain that keeps the second moment through the activation behind it.

    1 is He's std for ReLU; torch's default nn.Linear is sqrt(1/6) = 0.41.
    """
    return parameter.weight.rms * math.sqrt(parameter.fan_in or 1.0) / GAINS[parameter.follower]


def weight_words(measurements: Measurements) -> str:
    """Half a sentence that names how far the weights are from their gain; "" where they are near it."""
    found = maps(measurements)
    if not found:
        return ""
    ratio = median(gain_ratio(p) for p in found)
    if 0.8 < ratio < 1.25:
        return ""
    followers = [p.follower for p in found]
    name = max(set(followers), key=followers.count)
    return f"weights before {name} have {ratio:.3g} times the std that keeps the signal"
