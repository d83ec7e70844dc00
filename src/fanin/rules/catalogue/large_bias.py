"""P503: biases that decide their units alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar

from fanin.measure.record import ParameterRecord
from fanin.rules.base import Context, Rule
from fanin.rules.finding import Finding, Fix, Severity
from fanin.rules.shared.biases import biased_units, outweighed_maps, overwhelmed_maps, pushed_outputs
from fanin.rules.shared.gains import INIT

__all__ = ["LargeBias"]

_SYMPTOMS = frozenset(("S205", "L801"))


class LargeBias(Rule):
    """Biases that decide their units alone.

    What it does:
        Compares biases before an activation with the spread that the weights, or the scale of a norm, give. Biases of
        layers, of norms, and those that a forward adds to a map itself.

    Why:
        A unit whose bias is several standard deviations from zero is always on or always off whatever the input. Off,
        it is dead.

    What is measured:
        |b| above three times the std of W x (of a norm: its scale), for more than a quarter of the units, where the
        bias is also above three times rms(W) sqrt(fan_in) (so that a signal that has vanished upstream is not taken for
        a fault of the biases). Of smooth activations only biases beyond their curved part count (2 for tanh, GELU and
        SiLU); of activations that are straight above zero (ReLU, GELU) only negative ones, since a unit that is
        always on passes its input on. Gates and outputs are left out, so are biases before a softplus whose
        output multiplies a signal or is exponentiated (the time steps of a state-space model start at
        softplus^-1 of 0.001 to 0.1), and biases of ordinary size beside weights that are far too small (see
        P502). Of any map between two others, biases whose rms is above 10 and above ten times what the weights
        give; of an output layer too, where the gradients of nearly all samples point one way (a bias that holds
        the mean of the targets is left out by that). Beside alike samples (S205) and a first loss that is too
        high (L801), biases of either sign and of rms above 2 before any activation. Error where all units are
        concerned.

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
        seen = context.measurements
        known = (biased_units, overwhelmed_maps, outweighed_maps, pushed_outputs)
        return None if any(maps(seen) for maps in known) else "no biased map meets a known activation directly"

    def check(self, context: Context) -> Iterator[Finding]:
        """One finding about biases that decide their units, one about those that may outweigh the signal."""
        stds = self.limit(context, "stds")
        rated = [(m.share_beyond(stds), m.bias) for m in biased_units(context.measurements)]
        outright = overwhelmed_maps(context.measurements) + pushed_outputs(context.measurements)
        rated += [(m.share_outweighing(stds), m.bias) for m in outright]
        large = self._large(context, rated)
        if large:
            yield self._finding(context, large, harmful=True)
            return
        outweighed = self._large(
            context, [(m.share_outweighing(stds), m.bias) for m in outweighed_maps(context.measurements)]
        )
        if outweighed:
            yield self._finding(context, outweighed, harmful=False)

    def beside(self, finding: Finding, others: Mapping[str, Severity]) -> Finding | None:
        """Biases that keep units on are a fault only where samples are alike or the first loss is too high."""
        return finding if finding.evidence["harmful"] or others.keys() & _SYMPTOMS else None

    def _large(
        self, context: Context, rated: Sequence[tuple[float, ParameterRecord]]
    ) -> list[tuple[float, ParameterRecord]]:
        return sorted((r for r in rated if r[0] > self.limit(context, "share")), key=lambda r: -r[0])

    def _finding(self, context: Context, large: list[tuple[float, ParameterRecord]], *, harmful: bool) -> Finding:
        share, worst = large[0]
        severe = harmful and share > self.limit(context, "all")
        return self.finding(
            "error" if severe else "warning",
            dict.fromkeys(bias.path for _, bias in large),
            f"{share * worst.weight.numel:.0f} of the {worst.weight.numel} biases in {worst.path} are beyond "
            f"{self.limit(context, 'stds'):g} standard deviations of what the weights give.",
            Fix(text="start biases at zero", code=INIT, recommends_start=True),
            value=share,
            threshold=self.limit(context, "all" if severe else "share"),
            unit="share of units",
            evidence={"harmful": harmful},
        )
