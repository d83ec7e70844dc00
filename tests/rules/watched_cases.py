"""Training runs for the rules on the first steps: real ones, and steps written down."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

import fanin
from fanin.measure.record import LossRecord, Measurements, ParameterRecord, TensorStats
from fanin.measure.steps import StepRecord, Watched
from fanin.rules.config import load_config


def small_net():
    return nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 10))


@dataclass
class Trained:
    """A run of 25 steps that is watched; `optimizer` makes its optimizer from the model."""

    optimizer: Any
    falls: float = 0.0  # outputs are driven towards minus this, from a hidden layer that feeds them positively
    noise: bool = False  # every batch has new targets, which nothing can learn
    clears: bool = True
    schedule: Any = None  # makes a scheduler from the optimizer
    after: Any = None  # called with the model after every step
    model: Any = small_net  # makes the model
    doubled: bool = False  # two steps a batch

    def report(self, select):
        x, y = torch.randn(64, 32), torch.randint(0, 10, (64,))
        model = self.model()
        if self.falls:
            x = 0.1 * x
            nn.init.uniform_(model[2].weight, 0.1, 0.2)
        optimizer = self.optimizer(model)
        schedule = self.schedule(optimizer) if self.schedule else None
        with fanin.watch(model, optimizer, config=load_config(select=select)) as watched:
            for _ in range(25):
                if self.noise:
                    x, y = torch.randn(512, 32), torch.randint(0, 10, (512,))
                out = model(x)
                loss = (out + self.falls).square().mean() if self.falls else nn.functional.cross_entropy(out, y)
                if self.clears:
                    optimizer.zero_grad()
                loss.backward()
                for _ in range(1 + self.doubled):
                    optimizer.step()
                if schedule:
                    schedule.step()
                watched.step(loss=loss)
                if self.after:
                    self.after(model)
        return watched.report


def sgd(lr, **more):
    return Trained(lambda model: torch.optim.SGD(model.parameters(), lr=lr), **more)


def adam(lr, **more):
    return Trained(lambda model: torch.optim.Adam(model.parameters(), lr=lr), **more)


def written(
    update=1e-3,
    distance=0.1,
    losses=(2.3, 1.0),
    dead=(0.0, 0.0),
    noise=0.0,
    rate=0.1,
    peak=0.1,
    baseline=None,
    outside=(0.0, 0),  # change from outside over the weight, and in how many steps
    kept=0,  # how many steps there are, all of them with the gradients of earlier ones
    fall=1.0,  # last rate over the first
    unstepped=0,
    last=20,
    decay=None,
    repeated=0,  # how many steps follow the gradients of the one before
    agreement=None,
    dropped=(),
    inert=(),
    vector=None,  # (rms, largest entry) of a parameter that is a vector
    bend=1.0,  # a power of the time from the first loss to the second
):
    """Measurements of steps that go straight from the first of two values to the second, but for a bent loss."""
    last = kept + 1 if kept else last
    rates = [rate if n < last else rate * fall for n in range(1, last + 1)]

    def at(pair, n):
        return pair[0] + (pair[1] - pair[0]) * (n - 1) / (last - 1)

    steps = [
        StepRecord(
            step=n,
            effective=sum(rates[:n]) / peak,
            rate=rates[n - 1],
            loss=losses[0]
            + (losses[1] - losses[0]) * ((n - 1) / (last - 1)) ** bend
            + (n % 2 == 0) * noise * losses[0],
            updates=(update,),
            distances=(distance * n / last,),
            activations=(1.0,),
            dead=(dead[0] if n == 1 else dead[1],),
            outside=(outside[0] if 1 < n <= 1 + outside[1] else 0.0,),
            kept=bool(kept) and n > 1,
            decay=decay,
            repeated=1 < n <= 1 + repeated,
            agreement=agreement,
        )
        for n in range(1, last + 1)
        if not unstepped
    ]
    run = Watched(
        optimizer="SGD",
        peak=peak,
        weights=("w",),
        layers=("layer",),
        steps=tuple(steps),
        unstepped=unstepped,
        dropout=("dropout",) * len(dropped),
        dropped=dropped,
        inert=inert,
    )
    loss = LossRecord(source="given", value=losses[0], op="cross_entropy" if baseline else "", baseline=baseline)
    parameters = () if vector is None else (parameter(*vector),)
    return Measurements(sites=(), parameters=parameters, inputs=(), loss=loss, watched=run), None


def parameter(rms, largest, shape=(64,), trained=True):
    """A parameter with this rms and this largest entry; constant where they are the same."""
    stats = TensorStats(
        numel=64,
        sampled=64,
        rms=rms,
        mean=0.0,
        std=0.0 if rms == largest else rms,
        min=-largest,
        max=largest,
        zero_share=0.0,
    )
    return ParameterRecord(
        path="b",
        owner_class="Linear",
        shape=shape,
        dtype="float32",
        weight=stats,
        requires_grad=trained,
        used=True,
        gradient=None,
        state="nonzero",
    )
