"""Training runs for the rules on the first steps: real ones, and steps written down."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

import fanin
from fanin.measure.record import LossRecord, Measurements
from fanin.measure.steps import StepRecord, Watched
from fanin.rules.config import load_config


def small_net():
    return nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 10))


@dataclass
class Trained:
    """A run of 25 steps that is watched; `optimizer` makes its optimizer from the model."""

    optimizer: Any
    falls: float = 0.0  # outputs are driven towards minus this, from a hidden layer that feeds them positively

    def report(self, select):
        x, y = torch.randn(64, 32), torch.randint(0, 10, (64,))
        model = small_net()
        if self.falls:
            x = 0.1 * x
            nn.init.uniform_(model[2].weight, 0.1, 0.2)
        optimizer = self.optimizer(model)
        with fanin.watch(model, optimizer, config=load_config(select=select)) as watched:
            for _ in range(25):
                out = model(x)
                loss = (out + self.falls).square().mean() if self.falls else nn.functional.cross_entropy(out, y)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                watched.step(loss=loss)
        return watched.report


def sgd(lr, **more):
    return Trained(lambda model: torch.optim.SGD(model.parameters(), lr=lr), **more)


def adam(lr, **more):
    return Trained(lambda model: torch.optim.Adam(model.parameters(), lr=lr), **more)


def written(
    update=1e-3, distance=0.1, losses=(2.3, 1.0), dead=(0.0, 0.0), noise=0.0, rate=0.1, peak=0.1, baseline=None
):
    """Measurements of 20 steps that go straight from the first of two values to the second."""
    last = 20

    def at(pair, n):
        return pair[0] + (pair[1] - pair[0]) * (n - 1) / (last - 1)

    steps = [
        StepRecord(
            step=n,
            effective=n * rate / peak,
            rate=rate,
            loss=at(losses, n) + (n % 2 == 0) * noise * losses[0],
            updates=(update,),
            distances=(distance * n / last,),
            activations=(1.0,),
            dead=(dead[0] if n == 1 else dead[1],),
        )
        for n in range(1, last + 1)
    ]
    run = Watched(optimizer="SGD", peak=peak, weights=("w",), layers=("layer",), steps=tuple(steps))
    loss = LossRecord(source="given", value=losses[0], baseline=baseline)
    return Measurements(sites=(), parameters=(), inputs=(), loss=loss, watched=run), None
