"""D104: regression targets far from the scale of the predictions."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import ClassVar

from fanin.measure.kinds import RANGES, REGRESSION
from fanin.rules.base import Context, Rule
from fanin.rules.finding import Finding, Fix
from fanin.rules.shared.losses import loss_of

__all__ = ["TargetScale"]

_LARGE = 2.0  # rms of targets beside small predictions; smaller ones are of unit scale


class TargetScale(Rule):
    """Regression targets far from unit scale.

    What it does:
        Looks at the targets that a squared, absolute or Huber loss is called with, and at the predictions beside them.

    Why:
        A network at initialization predicts numbers of order one. Targets a hundred times larger make the first
        gradients show nothing but the offset, and the last layer has to grow by that factor before anything else is
        learned. A target beyond what the last function can give is never reached, and saturates it.

    What is measured:
        rms of the targets outside [0.01, 100], or above 2 and more than 100 times the rms of the predictions (where
        those are not zero). Where the predictions alone are small, what makes them small is the cause. Targets that
        the model itself makes (a codebook, another view) tell nothing of the data. Also more than 5 % of the targets
        outside the range of the function that makes the predictions (tanh, sigmoid, ReLU, softplus).

    Example:
        >>> import torch, fanin
        >>> model = torch.nn.Sequential(torch.nn.Linear(20, 64), torch.nn.ReLU(), torch.nn.Linear(64, 1))
        >>> fanin.check(model, torch.randn(32, 20), targets=1e4 * torch.randn(32, 1)).findings[0].name
        'target-scale'

    Fix:
        Standardise targets and keep mean and std to undo it; or set the last bias to their mean.

    References:
        Bishop 1995, Neural Networks for Pattern Recognition, section 8.2.
    """

    code: ClassVar[str] = "D104"
    name: ClassVar[str] = "target-scale"
    thresholds: ClassVar[dict[str, float]] = {"low": 1e-2, "high": 1e2, "ratio": 1e2, "unreachable": 0.05}
    source: ClassVar[str] = "Bishop 1995, section 8.2"

    def cannot_run(self, context: Context) -> str | None:
        """Needs a regression loss whose targets were seen."""
        loss = loss_of(context)
        seen = loss.op in REGRESSION and loss.targets is not None
        return None if seen else "no regression loss was called"

    def check(self, context: Context) -> Iterator[Finding]:
        """At most one finding about what the predictions can reach, else one about sizes."""
        loss = loss_of(context)
        if loss.unreachable is not None and loss.unreachable > self.limit(context, "unreachable"):
            yield self._out_of_range(context, loss.made_by, loss.unreachable)
            return
        if loss.targets is None or loss.prediction is None or loss.targets.rms == 0 or loss.targets.any_nonfinite:
            return
        rms, low, high = loss.targets.rms, self.limit(context, "low"), self.limit(context, "high")
        ratio = rms / loss.prediction.rms if loss.prediction.rms > 0 else 0.0
        far = ratio > self.limit(context, "ratio") and rms > _LARGE
        if low <= rms <= high and not far:
            return
        yield self.finding(
            "warning",
            ["targets"],
            f"targets have rms {rms:.3g} (mean {loss.targets.mean:.3g}); the model's predictions have "
            f"{loss.prediction.rms:.3g}.",
            Fix(text="standardise the targets and keep mean and std to undo it", code="y = (y - y.mean()) / y.std()"),
            value=rms,
            threshold=high if rms > high or far else low,
            unit="rms",
            evidence={"of_predictions": low <= rms <= high},
        )

    def _out_of_range(self, context: Context, last: str, share: float) -> Finding:
        return self.finding(
            "warning",
            ["targets"],
            f"{share:.0%} of the targets lie outside what the model's last {last} can give ({_reach(*RANGES[last])}).",
            Fix(text=f"bring the targets into that range, or take the {last} off the output"),
            value=share,
            threshold=self.limit(context, "unreachable"),
            unit="share of targets",
            evidence={"of_predictions": False},
        )


def _reach(low: float, high: float) -> str:
    if math.isinf(low):
        return f"at most {high:g}"
    return f"at least {low:g}" if math.isinf(high) else f"{low:g} to {high:g}"
