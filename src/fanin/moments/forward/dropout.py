"""Dropout: entries or whole channels set to zero, or to the value that SELU saturates at."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from fanin.graph.ir import Op
from fanin.moments.frame import Frame
from fanin.moments.kernel import Array
from fanin.moments.moments import JointMoments
from fanin.moments.signal import Signal

__all__ = ["RULES", "Mask", "mask_of"]

SATURATED = -1.7580993408473766  # what SELU tends to below zero, -scale alpha


@dataclass(frozen=True, slots=True)
class Mask:
    """y = scale (m x + (1 - m) low) + shift, with m = 1 at a chance of `kept` and 0 otherwise.

    Attributes:
        kept: chance that an entry is kept.
        low: what a dropped entry is set to.
        scale: factor of the result.
        shift: what is added.
        channels: one choice for all places of a channel of a sample.
    """

    kept: float
    low: float
    scale: float
    shift: float
    channels: bool

    def _agreeing(self, m: JointMoments) -> Array:
        """Whether a kind of pair shares one choice, by the kernel's axes."""
        same = np.zeros(m.kernel.shape, dtype=bool)
        axes = m.axes_of(range(2)) if self.channels and len(m.shape) > 1 else tuple(range(m.kernel.ndim))
        same[tuple(1 if a in axes else slice(None) for a in range(m.kernel.ndim))] = True
        return same

    def applied(self, m: JointMoments) -> JointMoments:
        """Moments of the result.

        Example:
            >>> m = Mask(kept=0.5, low=0.0, scale=2.0, shift=0.0, channels=False).applied(JointMoments.iid((8, 8)))
            >>> m.second_moment
            2.0
        """
        p, low = self.kept, self.low
        apart = p * p * m.kernel + 2.0 * p * (1.0 - p) * low * m.mean + ((1.0 - p) * low) ** 2
        kernel = np.where(self._agreeing(m), p * m.kernel + (1.0 - p) * low * low, apart)
        mean = p * m.mean + (1.0 - p) * low
        kernel = self.scale**2 * kernel + 2.0 * self.scale * self.shift * mean + self.shift**2
        return m.changed(kernel=kernel, mean=self.scale * mean + self.shift, spread=None)

    def passed_back(self, g: JointMoments) -> JointMoments:
        """Moments of the gradient before it: kept entries times `scale`."""
        kernel = np.where(self._agreeing(g), self.kept, self.kept**2) * g.kernel * self.scale**2
        return g.changed(kernel=kernel, mean=g.mean * self.kept * self.scale, spread=None)


def mask_of(frame: Frame, op: Op) -> Mask | None:
    """The mask that a dropout draws; None where it hands its input on.

    Source:
        Klambauer et al. 2017, arXiv 1706.02515, section "New dropout technique", for the alpha forms.
    """
    p, training = float(op.arg(1, "p", 0.5)), bool(op.arg(2, "training", op.arg(2, "train", True)))
    if not (training and frame.training) or p == 0.0:
        return None
    channels = op.name.startswith("feature")
    if "alpha" not in op.name:
        return Mask(1.0 - p, 0.0, 0.0 if p == 1.0 else 1.0 / (1.0 - p), 0.0, channels)
    if p == 1.0:
        return Mask(0.0, 0.0, 0.0, 0.0, channels)
    scale = ((1.0 - p) * (1.0 + p * SATURATED**2)) ** -0.5
    return Mask(1.0 - p, SATURATED, scale, -scale * p * SATURATED, channels)


def _dropout(frame: Frame, op: Op) -> Signal:
    m, mask, read = frame.moments(op.arg(0, "input")), mask_of(frame, op), frame.signals[op.inputs[0]]
    if mask is None:
        handed_on = frame.made(op, m, leaf=False)
        return replace(handed_on, positive=read.positive, atoms=dict(read.atoms))
    return frame.made(op, mask.applied(m))


RULES: Mapping[str, Callable[[Frame, Op], Signal]] = dict.fromkeys(
    ["dropout", "alpha_dropout", "feature_dropout", "feature_alpha_dropout"], _dropout
)
