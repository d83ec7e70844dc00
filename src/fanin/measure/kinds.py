"""Which kind of site each operation of torch is in a check, and where activations are flat.

Names are those of `fanin.model.operations.unordered_name`, which a function mode sees once torch's Python bodies run.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from fanin.measure.origins import Origin
from fanin.measure.record import SiteKind
from fanin.model.operations import CONTRACTIONS, CONVOLUTIONS, LOSSES, POOLS, STARTS

__all__ = [
    "BOUNDED",
    "CHANNEL_FIRST",
    "CROSS_ENTROPIES",
    "KINDS",
    "RANGES",
    "RECTIFIERS",
    "REGRESSION",
    "SITE_NORMS",
    "kind_of",
]

SITE_NORMS = frozenset(("batch_norm", "layer_norm", "group_norm", "instance_norm", "rms_norm"))
# Their unit axis is axis 1 of the output; of all others it is the last.
CHANNEL_FIRST = CONVOLUTIONS | {"batch_norm", "group_norm", "instance_norm"}
CROSS_ENTROPIES = frozenset(("cross_entropy", "nll_loss"))
REGRESSION = frozenset(("mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss"))

# Exactly zero, with zero slope, on part of the line: a unit can die.
RECTIFIERS = frozenset(("relu", "relu6", "threshold", "hardswish"))
# name -> (low, high): outside is the flat part, slope below 6 % of the largest (tanh: |y| > .97, slope .06; sigmoid:
# |x| > 4).
BOUNDED: dict[str, tuple[float, float]] = {
    "tanh": (-0.97, 0.97),
    "sigmoid": (0.018, 0.982),
    "hardtanh": (-0.999999, 0.999999),
    "hardsigmoid": (1e-6, 0.999999),
    "erf": (-0.97, 0.97),
    "softsign": (-0.8, 0.8),
}

# name -> the least and the largest number that it gives, of functions that end a model and take no bounds.
RANGES: dict[str, tuple[float, float]] = {
    **dict.fromkeys(("tanh", "erf", "softsign", "sin", "cos"), (-1.0, 1.0)),
    **dict.fromkeys(("sigmoid", "hardsigmoid", "softmax"), (0.0, 1.0)),
    **dict.fromkeys(("relu", "softplus", "exp", "square", "abs"), (0.0, math.inf)),
    "relu6": (0.0, 6.0),
    "log_softmax": (-math.inf, 0.0),
    "log_sigmoid": (-math.inf, 0.0),
}

_ACTIVATIONS = (
    "relu relu6 leaky_relu prelu rrelu elu selu celu gelu silu mish softplus tanh sigmoid hardtanh hardswish "
    "hardsigmoid softsign log_sigmoid tanhshrink softshrink hardshrink threshold sin cos erf glu"
)
KINDS: dict[str, SiteKind] = {
    **dict.fromkeys(_ACTIVATIONS.split(), "activation"),
    **dict.fromkeys(SITE_NORMS, "norm"),
    **dict.fromkeys(("scaled_dot_product_attention", "softmax"), "attention"),
    **dict.fromkeys(("add", "cat"), "merge"),
    **dict.fromkeys(POOLS, "pool"),
    **dict.fromkeys(LOSSES, "loss"),
}


def kind_of(name: str, origins: Sequence[Origin], joined: Origin) -> SiteKind:
    """What one call of an operation is: by its name, and by where its operands come from.

    Args:
        name: canonical name of the operation.
        origins: origin of each tensor that it reads.
        joined: all of them together.
    """
    if name in CONTRACTIONS:
        return "weight" if joined.parameters and (joined.data or name in STARTS) else "other"
    kind = KINDS.get(name, "other")
    if kind == "merge":
        return "merge" if len(joined.sites) >= 2 and sum(bool(o.sites) for o in origins) >= 2 else "other"
    if name == "softmax":
        return "attention" if joined.scores else "other"
    return kind
