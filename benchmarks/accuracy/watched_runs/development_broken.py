"""The broken runs of the development half: they set the thresholds of the rules on steps."""

from __future__ import annotations

import copy
import math

import torch
from torch import nn
from torch.nn import functional
from torch.optim import SGD, Adam, AdamW
from torch.optim.lr_scheduler import ExponentialLR, LambdaLR, StepLR

from benchmarks.accuracy.watched_runs.loop import (
    Training,
    characters,
    plain,
    rows,
    vocabulary,
    warmed,
)
from benchmarks.accuracy.watched_runs.models import (
    ConvNet,
    Gpt,
    PatchFormer,
    Residual,
    TextRecurrent,
    mlp,
)

__all__ = ["RUNS"]

PICTURES, TOKENS = (1, 8, 8), (8, 8)


def adam_far_too_high() -> Training:
    model = mlp()
    return plain(model, Adam(model.parameters(), 0.1), rows())


def sgd_far_too_high() -> Training:
    model = mlp(4)
    return plain(model, SGD(model.parameters(), 20.0), rows())


def conv_too_high() -> Training:
    model = ConvNet(norm=False)
    return plain(model, SGD(model.parameters(), 2.0, momentum=0.9), rows(shape=PICTURES))


def warm_up_too_high() -> Training:
    model = PatchFormer()
    optimizer = AdamW(model.parameters(), 0.1)
    return plain(model, optimizer, rows(shape=TOKENS), scheduler=warmed(optimizer, 20), warmup=20)


def gpt_too_high() -> Training:
    model = Gpt(vocabulary(), tied=False)
    return plain(model, AdamW(model.parameters(), 0.05), characters())


def lstm_too_high() -> Training:
    model = TextRecurrent(vocabulary())
    return plain(model, Adam(model.parameters(), 0.3), characters())


def adam_too_low() -> Training:
    model = mlp()
    return plain(model, Adam(model.parameters(), 1e-7), rows())


def sgd_too_low() -> Training:
    model = ConvNet()
    return plain(model, SGD(model.parameters(), 1e-6, momentum=0.9), rows(shape=PICTURES))


def other_parameters() -> Training:
    """The optimizer was made before the model was copied."""
    model = mlp()
    optimizer = Adam(model.parameters(), 1e-3)
    return plain(copy.deepcopy(model), optimizer, rows())


def set_to_zero() -> Training:
    model = mlp(4)

    def after(n: int) -> None:
        if n == 5:
            with torch.no_grad():
                model[2].weight.zero_()

    return plain(model, Adam(model.parameters(), 1e-3), rows(), after=after)


def drawn_again() -> Training:
    model = mlp()
    return plain(model, Adam(model.parameters(), 1e-3), rows(), after=lambda n: model[-1].reset_parameters())


def loaded_again() -> Training:
    model = mlp()
    start = copy.deepcopy(model.state_dict())
    return plain(model, Adam(model.parameters(), 1e-3), rows(), after=lambda n: model.load_state_dict(start))


def never_cleared() -> Training:
    model = mlp(4)
    return plain(model, SGD(model.parameters(), 0.1), rows(), clear=False)


def never_cleared_adam() -> Training:
    model = Gpt(vocabulary())
    return plain(model, AdamW(model.parameters(), 2e-3), characters(), clear=False)


def no_step() -> Training:
    model = mlp()
    return plain(model, Adam(model.parameters(), 1e-3), rows(), steps=False)


def random_labels() -> Training:
    model = mlp()
    return plain(model, Adam(model.parameters(), 1e-3), rows(shuffled=True))


def log_of_zero() -> Training:
    model = mlp()

    def loss(output: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        p = (100 * output).softmax(-1)  # below 1e-45 in float32 as soon as two outputs differ by more than 1
        return -(p.log() * functional.one_hot(y, 10)).sum(-1).mean()

    return plain(model, Adam(model.parameters(), 0.03), rows(), loss)


def scaled_loss() -> Training:
    model = mlp()
    return plain(model, SGD(model.parameters(), 0.1, momentum=0.9), rows(), times=1e4)


def scheduler_to_zero() -> Training:
    model = mlp()
    optimizer = Adam(model.parameters(), 1e-3)
    return plain(model, optimizer, rows(), scheduler=LambdaLR(optimizer, lambda n: max(0.0, 1 - n / 3)))


def scheduler_per_batch() -> Training:
    """A schedule that was meant for epochs."""
    model = ConvNet()
    optimizer = SGD(model.parameters(), 0.05, momentum=0.9)
    return plain(model, optimizer, rows(shape=PICTURES), scheduler=StepLR(optimizer, 2, 0.1))


class Detached(nn.Module):
    """The head reads a trunk that is cut off."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk, self.head = mlp(3, outputs=64), nn.Linear(64, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.trunk(x).detach())


def detached() -> Training:
    model = Detached()
    return plain(model, Adam(model.parameters(), 1e-3), rows())


def decay() -> Training:
    model = mlp()
    return plain(model, SGD(model.parameters(), 0.1, weight_decay=10.0), rows())


def double_softmax() -> Training:
    model = mlp(4).append(nn.Softmax(-1))
    return plain(model, SGD(model.parameters(), 0.1), rows())


def negative_bias() -> Training:
    model = mlp()
    nn.init.constant_(model[2].bias, -10.0)
    return plain(model, Adam(model.parameters(), 1e-3), rows())


def too_small() -> Training:
    model = mlp(6)
    for p in model.parameters():
        nn.init.normal_(p, std=0.01)
    return plain(model, SGD(model.parameters(), 0.05), rows())


def too_large() -> Training:
    model = mlp(4)
    with torch.no_grad():
        for p in model.parameters():
            p.mul_(8.0)
    return plain(model, Adam(model.parameters(), 1e-3), rows())


def growing_rate() -> Training:
    model = mlp(4)
    optimizer = Adam(model.parameters(), 1e-3)
    return plain(model, optimizer, rows(), scheduler=ExponentialLR(optimizer, 1.5))


def upward() -> Training:
    model = Residual()
    return plain(model, SGD(model.parameters(), 0.1, maximize=True), rows())


def same_start() -> Training:
    model = mlp()
    for p in model.parameters():
        nn.init.constant_(p, 1 / math.sqrt(64))
    return plain(model, Adam(model.parameters(), 1e-3), rows())


RUNS = {
    "MLP, Adam at 0.1": adam_far_too_high,
    "MLP, SGD at 20": sgd_far_too_high,
    "CNN without norm, momentum at 2": conv_too_high,
    "vision transformer, warm-up to 0.1": warm_up_too_high,
    "GPT, AdamW at 0.05": gpt_too_high,
    "character LSTM, Adam at 0.3": lstm_too_high,
    "MLP, Adam at 1e-7": adam_too_low,
    "CNN, momentum at 1e-6": sgd_too_low,
    "optimizer over the parameters of a copy": other_parameters,
    "a weight set to zero after step 6": set_to_zero,
    "head drawn again after every step": drawn_again,
    "weights loaded again after every step": loaded_again,
    "gradients never cleared, SGD": never_cleared,
    "gradients never cleared, GPT, AdamW": never_cleared_adam,
    "optimizer.step() missing": no_step,
    "labels given to other samples": random_labels,
    "log of a softmax that is zero": log_of_zero,
    "loss times 1e4, SGD": scaled_loss,
    "schedule that ends at zero after 3 steps": scheduler_to_zero,
    "schedule of epochs called every batch": scheduler_per_batch,
    "trunk detached from the head": detached,
    "weight decay 10, SGD": decay,
    "softmax before cross entropy": double_softmax,
    "biases of -10": negative_bias,
    "std 0.01 in six layers": too_small,
    "weights times 8": too_large,
    "rate times 1.5 every step": growing_rate,
    "the loss is maximised": upward,
    "all weights equal": same_start,
}
