"""What was measured over the first steps of training, as frozen data: sizes of updates, of weights and of signals."""

from __future__ import annotations

from dataclasses import dataclass

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
        dead: share of the features that a layer reads which are exactly zero for the whole batch; 0 where some of the
            values are negative.
        outside: rms of what changed the weight between the measured step before and this one, other than its optimizer
            / rms of the weight, one a weight. Where steps between them were not measured, four times the largest
            update so far is taken off for each.
        kept: whether gradients of earlier steps were still there in every backward pass of this step.
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
