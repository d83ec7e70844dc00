"""What was measured over the first steps of training, as frozen data: sizes of updates, of weights and of signals."""

from __future__ import annotations

from dataclasses import dataclass

from fanin.measure.loss import LossRecord

__all__ = ["StepRecord", "Watched"]

_Values = tuple[float | None, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class StepRecord:
    """One step of the optimizer that was measured.

    Attributes:
        step: its number; the first step is 1.
        effective: steps done at the peak learning rate: the sum of rate / peak over all steps up to this one. Under a
            warm-up it is smaller than `step`.
        rate: the learning rate of this step, the largest of all groups.
        loss: mean of the losses since the last measured step; None where none is known.
        updates: rms of the change in this step / rms of the weight before it, one a weight.
        distances: rms of the change since the start / rms of the weight at the start, one a weight. A start below a
            quarter of 1 / sqrt(fan_in) counts as this quarter; one at zero as 1 / sqrt(fan_in).
        activations: rms of what a layer reads, one a layer; None where it was not measured.
        dead: share of the features that a layer reads which are zero (below 4e-23) for the whole batch; 0 where some of
            the values are negative.
        outside: rms of what changed the weight between the measured step before and this one, other than its optimizer
            / rms of the weight, one a weight. Where steps between them were not measured, four times the largest
            update so far is taken off for each.
        kept: whether gradients of earlier steps were still there in every backward pass of this step.
        agreement: mean cosine of the gradient and those of the measured steps before, from the third on, the median
            over the weights; None where there is none.
        restored: whether something put all weights back to where they started before this step.
        repeated: whether all gradients are exactly those of the step before although the weights have moved.
        decay: what weight decay changes over what the loss changes in this step, the median over the weights; None
            where there is no decay.
        nonfinite: "loss", or the name of the first weight or gradient with NaN or infinity; "" where all are finite.
    """

    step: int
    effective: float
    rate: float
    loss: float | None = None
    updates: _Values = ()
    distances: _Values = ()
    activations: _Values = ()
    dead: _Values = ()
    outside: _Values = ()
    kept: bool = False
    agreement: float | None = None
    repeated: bool = False
    restored: bool = False
    decay: float | None = None
    nonfinite: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """The first steps of a training run.

    Attributes:
        optimizer: its class.
        peak: the largest learning rate that the optimizer's groups name, that of a schedule included.
        weights: names of the weights that are followed.
        layers: names of the layers whose inputs are followed.
        steps: the steps that were measured, in order.
        optimizers: how many optimizers are watched.
        foreign: whether no optimizer holds a parameter of the model that is trained.
        passes: how often the model ran in training mode before the optimizer's first step: more than once where
            gradients are accumulated.
        unstepped: how many losses were told before the optimizer made its first step.
        loss: the loss function, read from the gradient that the first backward pass sent into the outputs; None where
            that gradient has no known form.
        left_out: trainable parameters of the model that the first backward pass gave a gradient and no watched
            optimizer holds.
        dropout: names of the dropout layers.
        dropped: the share that each of them puts to zero.
        inert: names of the dropout and batch norm layers of a model that ran in eval mode alone while it was trained.
    """

    optimizer: str
    peak: float
    weights: tuple[str, ...] = ()
    layers: tuple[str, ...] = ()
    steps: tuple[StepRecord, ...] = ()
    optimizers: int = 1
    foreign: bool = False
    passes: int = 1
    unstepped: int = 0
    loss: LossRecord | None = None
    left_out: tuple[str, ...] = ()
    dropout: tuple[str, ...] = ()
    dropped: tuple[float, ...] = ()
    inert: tuple[str, ...] = ()
