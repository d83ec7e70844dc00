"""What was measured of a loss, as frozen data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from fanin.measure.stats import TensorStats

__all__ = ["LossRecord"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LossRecord:
    """The loss and the outputs it was computed from.

    Attributes:
        source: "given", "model" (the output carries a loss), "cross_entropy", "mse" (from targets), "cotangent" (a
            unit random cotangent on the outputs, no loss) or "gradient" (read from the gradient that a training loop
            sends into the outputs).
        value: the loss; NaN for "cotangent".
        op: the loss function that was called ("cross_entropy", "mse_loss", ...), "" if none was seen.
        own_value: what that call alone gave (the loss may add several).
        reduction: its reduction.
        num_classes: size of the class axis.
        baseline: loss of a constant prediction: ln K for K classes, ln 2 per label, or the variance of the targets.
        prior: loss of the best constant prediction for the label frequencies of the batch, which is their entropy;
            None where the targets are no labels.
        num_terms: labels that the loss averages over.
        positive_share: share of positive labels of a binary loss.
        prediction: statistics of the loss function's input (logits or predictions).
        targets: statistics of the targets.
        logit_std: root mean variance of one sample's logits over classes.
        margin: by how much the logit at the label is below that of the same class in samples of other labels, where
            that is beyond chance: a margin that the objective takes off (ArcFace, CosFace); None elsewhere.
        already: what was applied though the loss applies it again ("softmax", "log_softmax", "sigmoid"), "" if nothing.
        lacks: what the loss expects and was not applied ("log_softmax"), "" if nothing.
        made_by: the operation that made the predictions, views aside; "" if that is not known.
        unreachable: share of the targets of a regression that lie outside what that operation can give; None where it
            can give any number.
        turned: whether training makes the loss function's value larger.
        paired: whether predictions of shape (n, 1) are compared with targets of shape (n,), each with all of them.
        sites: indices of the sites nearest before the predictions.
    """

    source: Literal["given", "model", "cross_entropy", "mse", "cotangent", "gradient"]
    value: float
    op: str = ""
    own_value: float | None = None
    reduction: str = ""
    num_classes: int | None = None
    baseline: float | None = None
    prior: float | None = None
    num_terms: int | None = None
    positive_share: float | None = None
    prediction: TensorStats | None = None
    targets: TensorStats | None = None
    logit_std: float | None = None
    margin: float | None = None
    already: str = ""
    lacks: str = ""
    made_by: str = ""
    unreachable: float | None = None
    turned: bool = False
    paired: bool = False
    sites: tuple[int, ...] = ()
