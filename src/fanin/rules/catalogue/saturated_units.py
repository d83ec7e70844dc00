"""A302: bounded activations on their flat part."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from fanin.measure.record import SaturationRecord, Site
from fanin.model.operations import LOSSES
from fanin.rules.base import Context, Rule
from fanin.rules.finding import Finding, Fix
from fanin.rules.shared.gains import INIT

__all__ = ["SaturatedUnits"]

_GATING = frozenset(("mul", "addcmul", "lerp"))
_BOTH_ENDS = 0.3  # std in units of the range: a tenth of the values at one end, the rest at the other


def _rated(context: Context) -> list[tuple[Site, SaturationRecord]]:
    """Bounded activations whose output another weight reads, and outputs of the model that lie on both ends: no gates.

    An output on one end only is a prior (a detector's bias for rare objects).
    """
    sites = context.measurements.sites
    read = {i for s in sites if s.kind == "weight" for i in s.inputs}
    return [
        (s, s.saturation)
        for s in sites
        if s.saturation is not None
        and ((s.index in read and s.follower not in _GATING) or _is_two_ended_output(s, s.saturation))
    ]


def _is_two_ended_output(site: Site, flat: SaturationRecord) -> bool:
    ends = site.follower == "" or site.follower in LOSSES
    return ends and site.forward.std > _BOTH_ENDS * (flat.high - flat.low)


class SaturatedUnits(Rule):
    """Bounded activations on their flat part.

    What it does:
        Looks at the outputs of tanh, sigmoid and the like between layers and at the end: which share lies where the
        slope is below 6 % of its largest.

    Why:
        Where a bounded activation is flat, its slope is nearly zero, so almost no gradient reaches the layers before
        it. Gates (outputs that are multiplied into a signal) are meant to switch and are left out, and so are final
        outputs at one end, a prior; a final output at both ends claims certainty that no training has given it.

    What is measured:
        Share of |tanh| > 0.97, of sigmoid outside (0.018, 0.982). Warning above 0.5, note above 0.2. A Gaussian
        pre-activation of std 1 gives 4 % for tanh, 5/3 gives 21 %, 3 gives 49 %, 8 gives 79 %.

    Example:
        >>> import torch, fanin
        >>> from torch import nn
        >>> model = nn.Sequential(nn.Linear(32, 64), nn.Tanh(), nn.Linear(64, 10))
        >>> _ = nn.init.normal_(model[0].weight, std=2.0)
        >>> x, y = torch.randn(64, 32), torch.randint(0, 10, (64,))
        >>> fanin.check(model, x, targets=y).findings[0].name
        'saturated-units'

    Fix:
        Xavier with gain 5/3 for tanh; scale the inputs.

    References:
        Glorot and Bengio 2010, section 3; Rakitianskaia and Engelbrecht 2015.
    """

    code: ClassVar[str] = "A302"
    name: ClassVar[str] = "saturated-units"
    thresholds: ClassVar[dict[str, float]] = {"warning": 0.5, "note": 0.25}
    source: ClassVar[str] = "Glorot and Bengio 2010, section 3"

    def cannot_run(self, context: Context) -> str | None:
        """Needs a bounded activation between layers."""
        return None if _rated(context) else "no bounded activation between layers, and no saturated output"

    def check(self, context: Context) -> Iterator[Finding]:
        """At most one finding."""
        rated = sorted(_rated(context), key=lambda pair: -pair[1].share)
        flat = [(s, r) for s, r in rated if r.share > self.limit(context, "note")]
        if not flat:
            return
        bad = flat[0][1].share > self.limit(context, "warning")
        yield self.finding(
            "warning" if bad else "note",
            dict.fromkeys(s.path or s.module_class for s, _ in flat),
            f"{flat[0][1].share:.0%} of the outputs of {flat[0][0].op} are on its flat part.",
            Fix(
                text="lower the weights' std, and give unit-scale inputs",
                code=INIT,
                recommends_start=True,
                recommends_scale=True,
            ),
            value=flat[0][1].share,
            threshold=self.limit(context, "warning" if bad else "note"),
            unit="share of outputs",
            evidence={"sites": [s.index for s, _ in flat], "values": [r.share for _, r in flat]},
        )
