"""Moments through the graph: the size of every signal and gradient, from theory, without data.

`propagate` follows mean, second moments (by which axes two entries share, so the correlation of tokens, positions and
samples is in them) and their gradients through a captured model. How it works, and what it cannot see:
``docs/science/moments.md``.
"""

from __future__ import annotations

from fanin.moments.backward.common import LEAST_SE_BACKWARD
from fanin.moments.moments import JointMoments
from fanin.moments.propagate import MomentMap, TensorMoments, propagate
from fanin.moments.signal import Provenance
from fanin.moments.weights import WeightMoments, WeightRule, read_weights

__all__ = [
    "LEAST_SE_BACKWARD",
    "JointMoments",
    "MomentMap",
    "Provenance",
    "TensorMoments",
    "WeightMoments",
    "WeightRule",
    "propagate",
    "read_weights",
]
