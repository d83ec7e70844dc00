"""P510: weights that will not train."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from fanin.measure.record import Measurements, ParameterRecord, Site
from fanin.rules.base import Context, Rule
from fanin.rules.finding import Finding, Fix
from fanin.rules.shared.drawn import look_drawn
from fanin.rules.shared.upstream import ancestors, maps_with_sites
from fanin.text.numbers import counted

__all__ = ["FrozenWeights"]


class FrozenWeights(Rule):
    """Weights that will not train although others around them do.

    What it does:
        Lists frozen maps (requires_grad False): those between trained maps, and those before all of them.

    Why:
        A hidden layer that stays as it was drawn is a random projection in the middle of a network that learns around
        it; usually a call of requires_grad_(False) reached too far. A network that is frozen up to its head can learn
        no feature: meant for a trained backbone, and not for one that was just drawn.

    What is measured:
        A warning for frozen maps with trained maps before and behind them, where fewer than half of the maps are
        frozen; and in a watched run, where training has begun, if the signal passes frozen maps before a trained one
        and all that is frozen looks as it was just drawn (its matrices or vectors are uniform or constant). A note for
        other frozen maps, also where only biases, norms or tables train. Silent where frozen maps have trained adapters
        beside them (LoRA: a trained pair that reads the same signal and is added to the output) or behind them. A
        note where nothing is trained at all.

    Example:
        >>> import torch, fanin
        >>> from torch import nn
        >>> model = nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
        >>> _ = model[2].requires_grad_(False)
        >>> x, y = torch.randn(64, 32), torch.randint(0, 10, (64,))
        >>> [(f.name, f.severity, f.paths) for f in fanin.check(model, x, targets=y).findings]
        [('frozen-weights', 'warning', ('2.weight',))]

    Fix:
        layer.requires_grad_(True), or load trained weights into what stays frozen.

    References:
        Hu et al. 2021 (arXiv 2106.09685) for adapters beside frozen weights.
    """

    code: ClassVar[str] = "P510"
    name: ClassVar[str] = "frozen-weights"
    thresholds: ClassVar[dict[str, float]] = {"share": 0.5}
    source: ClassVar[str] = "Hu et al. 2021, arXiv 2106.09685"

    def cannot_run(self, context: Context) -> str | None:
        """Needs a map."""
        return None if maps_with_sites(context.measurements) else "no linear map or convolution ran"

    def check(self, context: Context) -> Iterator[Finding]:
        """At most one finding."""
        if not any(p.requires_grad for p in context.measurements.parameters):
            yield self._nothing_trains(context)
            return
        maps = maps_with_sites(context.measurements)
        frozen = [(p, s) for p, s in maps if not p.requires_grad]
        trained = [(p, s) for p, s in maps if p.requires_grad]
        if not frozen or _has_adapters(context.measurements, frozen, trained):
            return
        between = _between(context.measurements, frozen, trained)
        inside = bool(between) and len(frozen) <= self.limit(context, "share") * len(maps)
        fixed = [p for p in context.measurements.parameters if p.is_map or len(p.shape) < 2 if not p.requires_grad]
        begun = context.measurements.watched is not None and _any_before(context.measurements, frozen, trained)
        bad = inside or (begun and look_drawn(fixed))
        shown = between if inside else [p for p, _ in frozen]
        words = (
            f"{shown[0].path} is frozen while weights before and behind it train: it stays as it was drawn"
            if inside
            else f"{len(frozen)} of {len(maps)} maps are frozen, first {shown[0].path}; trained: "
            f"{_trained(context.measurements, trained)}"
            + ("; what is frozen looks as it was just drawn" if bad else "")
        )
        yield self.finding(
            "warning" if bad else "note",
            [p.path for p in shown],
            f"{words}.",
            Fix(
                text="let it train, or load trained weights into what stays frozen",
                code="layer.requires_grad_(True)",
            ),
            value=len(frozen) / len(maps),
            threshold=self.limit(context, "share"),
            unit="share of maps",
            confidence="medium",
        )

    def _nothing_trains(self, context: Context) -> Finding:
        names = [p.path for p in context.measurements.parameters]
        return self.finding(
            "note",
            names,
            f"nothing is trained: {counted(len(names), 'parameter is frozen', 'parameters are all frozen')}.",
            Fix(text="let those that should learn train", code="model.requires_grad_(True)"),
            value=1.0,
            threshold=self.limit(context, "share"),
            unit="share of maps",
        )


def _trained(measurements: Measurements, maps: list[tuple[ParameterRecord, Site]]) -> str:
    """Names of the maps that train, or of whatever else does where no map does."""
    names = [p.path for p, _ in maps] or [p.path for p in measurements.parameters if p.requires_grad]
    return ", ".join(names[:2]) + (f" and {len(names) - 2} more" if len(names) > 2 else "")


def _any_before(
    measurements: Measurements, frozen: list[tuple[ParameterRecord, Site]], trained: list[tuple[ParameterRecord, Site]]
) -> bool:
    """Whether the signal passes a frozen map before a trained one; that of a teacher's copy does not."""
    before = set[int]()
    for _, site in trained:
        before |= ancestors(site.inputs, measurements)
    return any(s.index in before for _, s in frozen)


def _between(
    measurements: Measurements, frozen: list[tuple[ParameterRecord, Site]], trained: list[tuple[ParameterRecord, Site]]
) -> list[ParameterRecord]:
    """Frozen maps with a trained map before and one behind them on the path of the signal."""
    learned = {s.index for _, s in trained}
    behind = set[int]()
    for _, site in trained:
        behind |= ancestors(site.inputs, measurements)
    return [p for p, s in frozen if s.index in behind and learned & ancestors(s.inputs, measurements)]


def _has_adapters(
    measurements: Measurements, frozen: list[tuple[ParameterRecord, Site]], trained: list[tuple[ParameterRecord, Site]]
) -> bool:
    """Whether the output of a trained pair is added to a frozen map's output, and the pair reads this map or its input.

    The first is LoRA, beside the map; the second an adapter behind it, with an activation in the middle.
    """
    by_index = {s.index: s for s in measurements.sites}
    fixed, learned = {s.index for _, s in frozen}, {s.index for _, s in trained}
    for merge in (s for s in measurements.sites if s.kind == "merge"):
        bases = [by_index[i] for i in merge.inputs if i in fixed]
        pairs = [by_index[i] for i in merge.inputs if i in learned]
        for base in bases:
            read = {base.index, *base.inputs}
            for last in pairs:
                pair = [by_index[i] for i in ancestors([last.index], measurements) & learned]
                if any(read & set(s.inputs) for s in pair):
                    return True
    return False
