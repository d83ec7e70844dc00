"""P503: biases that decide their units alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from fanin.rules.base import Context, Rule
from fanin.rules.finding import Finding, Fix
from fanin.rules.shared.biases import biased_maps, overwhelmed_maps
from fanin.rules.shared.gains import INIT

__all__ = ["LargeBias"]


class LargeBias(Rule):
    """Biases that decide their units alone.

    What it does:
        Compares biases before an activation with the spread that the weights give.

    Why:
        A unit whose bias is several standard deviations from zero is always on or always off whatever the input. Off,
        it is dead.

    What is measured:
        |b| above three times the std of W x, for more than a quarter of the units, where the bias is also above three
        times rms(W) sqrt(fan_in) (so that a signal that has vanished upstream is not taken for a fault of the biases).
        Of smooth activations only biases beyond their curved part count (2 for tanh, GELU and SiLU); of activations
        that are straight above zero (ReLU, GELU) only negative ones, since a unit that is always on passes its input
        on. Gates and outputs are left out, so are biases before a softplus whose output multiplies a signal or is
        exponentiated (the time steps of a state-space model start at softplus^-1 of 0.001 to 0.1), and biases of
        ordinary size beside weights that are far too small (see P502). Of any map between two others, biases whose
        rms is above 10 and above ten times what the weights give. Error where all units are concerned.

    Example:
        >>> import torch, fanin
        >>> from torch import nn
        >>> model = nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 10))
        >>> _ = nn.init.constant_(model[0].bias, -6.0)
        >>> x, y = torch.randn(64, 32), torch.randint(0, 10, (64,))
        >>> fanin.check(model, x, targets=y).findings[0].name
        'large-bias'

    Fix:
        Zero biases, except of gates and of the last layer.

    References:
        Glorot and Bengio 2010, section 4; Lu et al. 2019 (arXiv 1903.06733); Gu and Dao 2023 (arXiv 2312.00752, section
        3.6) for time steps.
    """

    code: ClassVar[str] = "P503"
    name: ClassVar[str] = "large-bias"
    thresholds: ClassVar[dict[str, float]] = {"stds": 3.0, "share": 0.25, "all": 0.99}
    source: ClassVar[str] = "Lu et al. 2019, arXiv 1903.06733"

    def cannot_run(self, context: Context) -> str | None:
        """Needs a biased map before an activation."""
        found = biased_maps(context.measurements) or overwhelmed_maps(context.measurements)
        return None if found else "no biased map meets a known activation directly"

    def check(self, context: Context) -> Iterator[Finding]:
        """At most one finding."""
        stds = self.limit(context, "stds")
        maps = [m for m in biased_maps(context.measurements) if not m.has_small_weights]
        rated = [(m.share_beyond(stds), m.bias) for m in maps]
        rated += [(m.share_outweighing(stds), m.bias) for m in overwhelmed_maps(context.measurements)]
        large = sorted((r for r in rated if r[0] > self.limit(context, "share")), key=lambda r: -r[0])
        if not large:
            return
        share, worst = large[0]
        severe = share > self.limit(context, "all")
        yield self.finding(
            "error" if severe else "warning",
            dict.fromkeys(bias.path for _, bias in large),
            f"{share * worst.weight.numel:.0f} of the {worst.weight.numel} biases in {worst.path} are beyond {stds:g} "
            "standard deviations of what the weights give.",
            Fix(text="start biases at zero", code=INIT, recommends_start=True),
            value=share,
            threshold=self.limit(context, "all" if severe else "share"),
            unit="share of units",
        )
