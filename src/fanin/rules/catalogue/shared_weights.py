"""P511: one weight in several hidden layers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from fanin.measure.record import Measurements, ParameterRecord
from fanin.rules.base import Context, Rule
from fanin.rules.finding import Finding, Fix

__all__ = ["SharedWeights"]

_LOOKUPS = ("embedding", "embedding_bag")


class SharedWeights(Rule):
    """One weight in several hidden layers.

    What it does:
        Lists weights that hidden layers of different names share.

    Why:
        Tying an embedding to the head, or calling one block many times (deep equilibrium, ALBERT), is a design. One
        module written several times into a list ([layer] * 3), or a weight assigned to a second layer, usually is a
        slip: both layers get the sum of their gradients and stay equal.

    What is measured:
        A map that several names hold and that is applied more than once in one forward, the same way round, none of
        them a lookup table. A warning where the layers that share a weight have biases of their own; a note where one
        whole module has several names.

    Example:
        >>> import torch, fanin
        >>> from torch import nn
        >>> a, b, c = nn.Linear(32, 32), nn.Linear(32, 32), nn.Linear(32, 32)
        >>> c.weight = b.weight
        >>> model = nn.Sequential(a, nn.Tanh(), b, nn.Tanh(), c, nn.Tanh(), nn.Linear(32, 10))
        >>> report = fanin.check(model, torch.randn(64, 32), targets=torch.randint(0, 10, (64,)))
        >>> [(f.name, f.severity, f.paths) for f in report.findings]
        [('shared-weights', 'warning', ('2.weight', '4.weight'))]

    Fix:
        Build each layer anew: nn.Sequential(*(make() for _ in range(3))) instead of [layer] * 3.

    References:
        Press and Wolf 2017 (arXiv 1608.05859) for ties that are meant; Lan et al. 2020 (arXiv 1909.11942).
    """

    code: ClassVar[str] = "P511"
    name: ClassVar[str] = "shared-weights"
    thresholds: ClassVar[dict[str, float]] = {}
    source: ClassVar[str] = "Press and Wolf 2017, arXiv 1608.05859"

    def cannot_run(self, context: Context) -> str | None:
        """Needs a weight with several names."""
        return None if any(p.tied for p in context.measurements.parameters) else "no parameter has two names"

    def check(self, context: Context) -> Iterator[Finding]:
        """At most one finding."""
        shared = [
            p for p in context.measurements.parameters if p.tied and p.is_map and _is_hidden(context.measurements, p)
        ]
        if not shared:
            return
        slip = [p for p in shared if _has_own_parameters(context.measurements, p)]
        shown = slip or shared
        yield self.finding(
            "warning" if slip else "note",
            [name for p in shown for name in (p.path, *p.tied)],
            f"{shown[0].path} is also {', '.join(shown[0].tied[:3])}: these layers share one weight and stay equal.",
            Fix(
                text="build each layer anew where they are meant to differ",
                code="nn.Sequential(*(make() for _ in range(3)))  # not [layer] * 3",
            ),
            value=float(len(shown)),
            unit="weights",
            confidence="medium",
        )


def _is_hidden(measurements: Measurements, parameter: ParameterRecord) -> bool:
    """Applied several times in one forward, never as a table, every time to the same widths, and never at the end."""
    sites = [s for s in measurements.weight_sites() if parameter.path in s.parameters]
    if len(sites) < 2 or any(s.op in _LOOKUPS or not s.follower for s in sites):
        return False
    return len({s.shape[-1] if s.op == "linear" else s.op for s in sites}) == 1


def _has_own_parameters(measurements: Measurements, parameter: ParameterRecord) -> bool:
    """One of the layers that share the weight has a parameter (a bias) that the others do not have."""
    records = {name: p.path for p in measurements.parameters for name in (p.path, *p.tied)}
    owners = [name.rpartition(".")[0] for name in (parameter.path, *parameter.tied)]
    held = [{path for name, path in records.items() if name.rpartition(".")[0] == owner} for owner in owners]
    return any(one != held[0] for one in held)
