"""L801: the first loss is far above that of a constant prediction."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, ClassVar

from fanin.measure.kinds import REGRESSION
from fanin.measure.loss import LossRecord
from fanin.measure.record import ParameterRecord, Site
from fanin.rules.base import Context, Rule
from fanin.rules.finding import Finding, Fix, Severity
from fanin.rules.shared.gains import INIT
from fanin.rules.shared.losses import loss_of
from fanin.rules.shared.places import place, places
from fanin.rules.shared.upstream import steepest

__all__ = ["InitialLoss"]

_CLASSIFICATION = frozenset(("cross_entropy", "nll_loss", "binary_cross_entropy", "binary_cross_entropy_with_logits"))

_LEVELS: tuple[Severity, ...] = ("error", "warning", "note")

_SMALLER = Fix(text="draw the last layer smaller", code=INIT, recommends_start=True, recommends_scale=True)
_STREAM = Fix(
    text="the signal that reaches the last layer is too large: lower the weights before it, or normalise it",
    code=INIT,
    recommends_start=True,
    recommends_scale=True,
)
_MANY = 64  # labels, from which on the mean is taken as it is
_FEW = 3.0  # standard errors of a mean over few labels
_CLEARLY = 3.5  # times the baseline, from which on the spread of the logits tells by itself
_RARE = 0.1  # share of positive labels
_LARGE_SCALE = 30.0  # of cosines: twice what CLIP starts with (1 / 0.07, Radford et al. 2021, section 2.5)
_MOST_MARGIN = 64.0  # the largest scale of cosines that is in use (ArcFace, Deng et al. 2019, section 3.1)
_NEARLY_ALL = 0.8  # of the spread of the logits
_LARGE_SIGNAL = 3.0  # rms at the input of the last layer


def _last_sites(context: Context) -> tuple[Site, ...]:
    """The last operations with weights before the predictions that the loss was called with."""
    return tuple(s for s in _behind_maps(context) if s.kind == "weight") or context.measurements.weight_sites()[-1:]


def _behind_maps(context: Context) -> tuple[Site, ...]:
    """These operations, and those between them and the predictions."""
    measured = context.measurements
    by_index = {s.index: s for s in measured.sites}
    todo, found, seen = list(measured.loss.sites), dict[int, Site](), set[int]()
    while todo:
        site = by_index.get(todo.pop())
        if site is None or site.index in seen:
            continue
        seen.add(site.index)
        found[site.index] = site
        if site.kind != "weight":
            todo += site.inputs
    return tuple(found[i] for i in sorted(found))


def _last_paths(context: Context) -> list[str]:
    return places(_last_sites(context), context.measurements)


def _with_margin(loss: LossRecord) -> float | None:
    """Loss of a constant prediction; with a margin m that is taken off the logit at the label, ln(1 + (K - 1) e^m)."""
    if loss.baseline is None or loss.margin is None or not loss.num_classes:
        return loss.baseline
    with_margin = math.log(loss.num_classes - 1) + min(loss.margin, _MOST_MARGIN)
    return loss.baseline * math.log1p(math.exp(with_margin)) / math.log(loss.num_classes)


def _scale_at_fault(context: Context, spread: float | None) -> tuple[str, float] | None:
    """The single number (a temperature) that makes up at least half of the excess of the logits, and its size."""
    numbers = [(p.scale, p.path) for p in context.measurements.parameters if p.scale and p.scale > _LARGE_SCALE]
    if not numbers or spread is None or spread <= 1.0:
        return None
    scale, path = max(numbers)
    return (path, scale) if math.log(scale) >= 0.5 * math.log(spread) else None


def _blamed(context: Context, spread: float | None) -> tuple[list[str], str, Fix]:
    """Places, a sentence about them and the cure: a temperature, a bias, the last layer or what it reads."""
    if scale := _scale_at_fault(context, spread):
        path, size = scale
        cure = Fix(text=f"start {path} smaller", recommends_scale=True)
        return [path, *_last_paths(context)], f" {path} multiplies them by {size:.3g}.", cure
    if found := _bias_at_fault(context, spread):
        path, said = found
        return [path], said, _informed_or_zero(path)
    named, cure = _layer_blamed(context)
    return named, "", cure


def _layer_blamed(context: Context) -> tuple[list[str], Fix]:
    """The last layer, unless what it reads is too large already; then the one operation that makes it so, if any."""
    by_index = {s.index: s for s in context.measurements.sites}
    read = [i for s in _last_sites(context) for i in s.inputs if i in by_index]
    own = _last_paths(context)
    if max((by_index[i].forward.rms for i in read), default=0.0) <= _LARGE_SIGNAL:
        return own, _SMALLER
    found = steepest(read, context.measurements)
    if found is None:
        return own, _STREAM
    site, factor = found
    where = place(site, context.measurements)
    return [where, *own], replace(
        _STREAM, text=f"{where} makes the signal {factor:.3g} times as large: lower its weights"
    )


def _informed_or_zero(path: str) -> Fix:
    return Fix(
        text=f"start {path} at zero, or at the logarithm of the share of each class",
        code=f"torch.nn.init.zeros_(model.get_parameter({path!r}))",
        recommends_edit=True,
    )


def _bias_at_fault(context: Context, spread: float | None) -> tuple[str, str] | None:
    """The bias of the last layer whose numbers alone make up nearly all of the logits' spread over classes.

    Of outputs without classes, nearly all of their size. With a sentence about it.
    """
    prediction, of_outputs, name = loss_of(context).prediction, spread, "std"
    if of_outputs is None:
        of_outputs, name = prediction.rms if prediction is not None else 0.0, "rms"
    sizes = {p.path: float(getattr(p.weight, name)) for p in _last_biases(context)}
    worst = max(sizes, key=sizes.__getitem__, default="")
    if not worst or of_outputs <= 1.0 or sizes[worst] < _NEARLY_ALL * of_outputs:
        return None
    return worst, f" The numbers in {worst} alone have {name} {sizes[worst]:.3g}."


def _of_spread(loss: LossRecord) -> float:
    """The loss that random labels would have at this spread of the logits over classes, whichever labels were drawn.

    ln K + s^2 / 2 of Gaussian logits up to s^2 = 2 ln K, and s sqrt(2 ln K) beyond (random energy model).
    """
    spread, classes = loss.logit_std, loss.num_classes
    if spread is None or not classes or classes < 2:
        return 0.0
    entropy = math.log(classes)
    return entropy + spread**2 / 2 if spread**2 <= 2 * entropy else spread * math.sqrt(2 * entropy)


def _last_biases(context: Context) -> list[ParameterRecord]:
    """The biases of the last operations with weights, and those that are added to what these give."""
    sites = _behind_maps(context)
    names, indices = {n for s in sites for n in s.parameters}, {s.index for s in sites}
    biases = [p for p in context.measurements.parameters if p.role in ("bias", "shift")]
    return [p for p in biases if p.path in names or indices.intersection(p.added_to)]


def _informed(name: str, bias: float) -> Fix:
    """A bias that knows the frequencies of the labels, which a plan does not."""
    if not name:
        return Fix(text=f"where the batch is typical, give the last layer a bias of ln(p / (1 - p)) = {bias:.3g}")
    law = f"constant(value={bias:.3g})"
    return Fix(
        text=f"where the batch is typical, start {name} at ln(p / (1 - p)) = {bias:.3g}. fanin.plan starts it at 0, "
        f"since it reads no labels, and takes overrides={{{name!r}: {law!r}}}",
        code=f"torch.nn.init.constant_(model.get_parameter({name!r}), {bias:.3g})",
        recommends_edit=True,
    )


def _scale(num_classes: int | None) -> float:
    """Baseline of one term in nats, so that the slack of 0.5 nat fits a summed loss too."""
    return math.log(num_classes) if num_classes and num_classes > 1 else math.log(2.0)


class InitialLoss(Rule):
    """The first loss is far above that of a constant prediction.

    What it does:
        Compares the loss at step zero with the loss of the best constant answer; of a regression, the predictions with
        the targets.

    Why:
        A network that has seen no label should be as unsure as a guess: ln K for K classes. A loss far above means
        logits that are large for no reason; the first steps are spent undoing them. A loss far below means that the
        answer leaks into the input. Where one label in a hundred is positive, a bias of zero starts far above the loss
        of an answer that knows the frequencies.

    What is measured:
        L0 against H0 (ln K, ln 2 per label; ln(1 + (K - 1) e^m) where the objective takes a margin m of up to 64 off
        the logit at the label). A softmax over Gaussian logits of std s has L0 = ln K + s^2 / 2 and puts
        nearly all its weight on one class at s^2 = 2 ln K, where L0 = 2 H0. Warning above 2.5 H0 (past that point in
        every draw), error above 4 H0, note above 1.5 H0 + 0.5; of the loss of few labels, what is left after three
        standard errors counts, or what the spread of the logits gives whichever labels were drawn. A note below
        half of the entropy of the label frequencies of the batch, which a constant prediction can reach, and
        for binary labels of which at most a tenth are positive where the loss is 2.5 times that entropy.
        Squared, absolute and Huber losses: warning where the rms of the predictions is above 10 and above 10
        times that of the targets.

    Example:
        >>> import torch, fanin
        >>> from torch import nn
        >>> model = nn.Sequential(nn.Linear(32, 64), nn.LayerNorm(64), nn.Linear(64, 10))
        >>> _ = nn.init.normal_(model[2].weight, std=0.5)
        >>> x, y = torch.randn(64, 32), torch.randint(0, 10, (64,))
        >>> fanin.check(model, x, targets=y).findings[0].name
        'initial-loss-too-high'

    Fix:
        Initialise the last layer smaller; set its bias to the log prior of the classes; look for a missing
        normalisation before it.

    References:
        Karpathy 2019, A recipe for training neural networks (verify loss at init); Lin et al. 2017 (arXiv 1708.02002,
        section 4.1) for the bias of rare labels.
    """

    code: ClassVar[str] = "L801"
    name: ClassVar[str] = "initial-loss-too-high"
    thresholds: ClassVar[dict[str, float]] = {
        "note": 1.5,
        "warning": 2.5,
        "error": 4.0,
        "leak": 0.5,
        "predictions": 10.0,
    }
    source: ClassVar[str] = "Karpathy 2019, A recipe for training neural networks"

    def cannot_run(self, context: Context) -> str | None:
        """Needs a loss whose kind is known."""
        loss = loss_of(context)
        if loss.op in REGRESSION and loss.targets is not None and loss.prediction is not None:
            return None
        return (
            None if loss.op in _CLASSIFICATION and loss.baseline else "no classification or regression loss was called"
        )

    def check(self, context: Context) -> Iterator[Finding]:
        """At most one finding."""
        yield from (self._predictions if loss_of(context).op in REGRESSION else self._loss)(context)

    def _predictions(self, context: Context) -> Iterator[Finding]:
        loss, limit = loss_of(context), self.limit(context, "predictions")
        if loss.prediction is None or loss.targets is None or loss.prediction.any_nonfinite:
            return
        own, wanted = loss.prediction.rms, loss.targets.rms
        if own <= limit * max(wanted, 1.0):
            return
        yield self.finding(
            "warning",
            _last_paths(context),
            f"the first predictions have rms {own:.3g}, the targets {wanted:.3g}: the first steps are spent on undoing "
            "them.",
            _SMALLER,
            value=own / max(wanted, 1.0),
            threshold=limit,
            unit="rms of predictions / rms of targets",
        )

    def _loss(self, context: Context) -> Iterator[Finding]:
        loss = loss_of(context)
        own, baseline = loss.own_value, _with_margin(loss)
        if own is None or not baseline or not math.isfinite(own):
            return
        ratio = own / baseline
        unit: dict[str, Any] = {"value": ratio, "unit": "loss / loss of a constant prediction"}
        slack = 0.5 * baseline / _scale(loss.num_classes)
        doubt = self._doubt(context, own)
        by_spread = _of_spread(loss) if doubt and own > self.limit(context, "note") * baseline + slack else 0.0
        sure = own - doubt
        level = next(
            (name for name in _LEVELS if sure > self.limit(context, name) * baseline + slack * (name == "note")), None
        )
        if level in (None, "note") and by_spread > _CLEARLY * baseline:
            level = "warning"
        if level is not None:
            spread = f"; logits have std {loss.logit_std:.2g} over classes" if loss.logit_std is not None else ""
            if own <= self.limit(context, level) * baseline:  # few labels, by chance the right ones
                spread += f", which makes {by_spread:.3g} of labels that are not known"
                unit["value"] = by_spread / baseline
            named, why, cure = _blamed(context, loss.logit_std)
            yield self.finding(
                level,
                named,
                f"the first loss is {own:.3g}, {ratio:.2g} times that of a constant prediction ({baseline:.3g})"
                f"{spread}.{why}",
                cure,
                threshold=self.limit(context, level),
                **unit,
            )
        elif own < self.limit(context, "leak") * (baseline if loss.prior is None else loss.prior):
            yield self.finding(
                "note",
                ["loss"],
                f"the first loss is {own:.3g}, {ratio:.2g} times that of a constant prediction: the targets may be "
                "part of the input.",
                Fix(text="look whether targets reach the input (shift of labels, tied embeddings that copy)"),
                threshold=self.limit(context, "leak"),
                confidence="low",
                **unit,
            )
        else:
            yield from self._rare(context, own)

    def _doubt(self, context: Context, own: float) -> float:
        """Three standard errors of the mean over few labels, with the spread of the logits as that of one loss."""
        loss = loss_of(context)
        if loss.reduction == "sum" or not loss.num_terms or loss.num_terms >= _MANY or loss.logit_std is None:
            return 0.0
        return min(_FEW * loss.logit_std / math.sqrt(loss.num_terms), own)

    def _rare(self, context: Context, own: float) -> Iterator[Finding]:
        """A note where binary labels are rarely positive and the first predictions do not know it."""
        loss, share = loss_of(context), loss_of(context).positive_share
        if (
            share is None
            or not 0 < share <= _RARE
            or not loss.prior
            or own < self.limit(context, "warning") * loss.prior
        ):
            return
        bias = math.log(share / (1 - share))
        yield self.finding(
            "note",
            _last_paths(context),
            f"the first loss is {own:.3g}; {share:.2g} of the labels are positive, and a constant prediction "
            f"that knows it has {loss.prior:.3g}.",
            _informed(next((p.path for p in _last_biases(context)), ""), bias),
            value=own / loss.prior,
            threshold=self.limit(context, "warning"),
            unit="loss / entropy of the label frequencies",
            confidence="medium",
        )
