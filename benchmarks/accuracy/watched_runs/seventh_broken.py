"""The broken runs of the seventh held set: written when the sixth had been read, before any of these was watched."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional
from torch.optim import SGD, Adagrad, Adam, AdamW, NAdam
from torch.optim.lr_scheduler import CosineAnnealingLR, PolynomialLR

from benchmarks.accuracy.watched_runs.fifth_models import looped
from benchmarks.accuracy.watched_runs.held_models import Dense, Mixer, RowConv
from benchmarks.accuracy.watched_runs.loop import Batch, Training, characters, plain, pretrained, rows, vocabulary
from benchmarks.accuracy.watched_runs.models import ConvNet, Gpt, PatchFormer, Recurrent, Residual, ResidualConv, mlp
from benchmarks.accuracy.watched_runs.second_models import Decoder, Highway, Squeezed, TextConv
from benchmarks.accuracy.watched_runs.seventh_healthy import (
    Bumps,
    Choices,
    Deep,
    Windows,
    filled,
    preferred,
    upper_half,
)
from benchmarks.accuracy.watched_runs.third_broken import changed
from benchmarks.accuracy.watched_runs.third_healthy import PICTURES, TOKENS, of

__all__ = ["RUNS"]


def features_of_others(batch: Callable[[int], Batch]) -> Callable[[int], Batch]:
    """The inputs are turned round in the batch, the targets are not."""
    return lambda n: (batch(n)[0].flip(0), batch(n)[1])


def copied_after() -> Training:
    """The model is copied to another place after the optimizer was made, and the copy is trained."""
    model = Windows()
    optimizer = Adam(model.parameters(), 2e-3)
    return plain(copy.deepcopy(model), optimizer, rows(shape=TOKENS))


def norms_alone() -> Training:
    """Only norms and biases were given to the optimizer of a network that was just drawn."""
    model = Deep()
    small = [p for p in model.parameters() if p.dim() < 2]
    return plain(model, AdamW(small, 1e-3), rows(shape=TOKENS))


def without_graph() -> Training:
    """The whole forward pass runs under no_grad, and a penalty of the weights gives the gradients."""
    model, batch = Highway(), rows()

    def losses(n: int) -> torch.Tensor:
        x, y = batch(n)
        with torch.no_grad():
            value = functional.cross_entropy(model(x), y)
        return value + 1e-4 * sum(p.square().sum() for p in model.parameters())

    return looped(model, Adam(model.parameters(), 1e-4), losses)


def cleared_once() -> Training:
    """zero_grad is called before the loop and not in it."""
    model = Windows()
    optimizer = SGD(model.parameters(), 0.05)
    optimizer.zero_grad()
    return plain(model, optimizer, rows(shape=TOKENS), clear=False)


def minus_filled(output: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return -filled(output, y)


def twice_softmax() -> nn.Module:
    return nn.Sequential(mlp(2, 96, nn.GELU), nn.Softmax(dim=1))


def axis_zero() -> nn.Module:
    return nn.Sequential(mlp(2, 96), nn.LogSoftmax(dim=0))


def logs_of(output: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return functional.nll_loss(output, y)


def half_frozen() -> Training:
    """The middle blocks are frozen in a network that was just drawn."""
    model = Residual(4)
    for i in (1, 2):
        model.first[i].requires_grad_(False)
        model.second[i].requires_grad_(False)
    return of(model, AdamW, 1e-3, rows())


def only_zeros(model: nn.Module) -> None:
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            layer.weight.zero_()
            layer.bias.zero_()


def divided(output: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """The loss is divided by a mean that may be zero."""
    return functional.cross_entropy(output, y) / (y == 77).float().mean()


def ends_at_once() -> Training:
    model = Squeezed()
    optimizer = AdamW(model.parameters(), 2e-3)
    return plain(model, optimizer, rows(shape=PICTURES), scheduler=PolynomialLR(optimizer, 4))


def ends_in_six() -> Training:
    model = Deep()
    optimizer = AdamW(model.parameters(), 2e-3)
    return plain(model, optimizer, rows(shape=TOKENS), scheduler=CosineAnnealingLR(optimizer, 6, 0))


def averaged_back() -> Training:
    """An average of weights over all steps, the start included, is written over the weights after every step."""
    model = Recurrent(nn.GRU)
    mean = [p.detach().clone() for p in model.parameters()]

    def after(n: int) -> None:
        with torch.no_grad():
            for slow, p in zip(mean, model.parameters(), strict=True):
                slow.lerp_(p, 1e-3)
                p.copy_(slow)

    return of(model, Adam, 3e-3, rows(shape=TOKENS), after=after)


def in_pairs(output: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Outputs (n, 1) and targets (n,), torch's own squared error."""
    return (output - (y.float().view(-1) - 152) / 77).pow(2).mean()


def shared_step() -> Training:
    """A second optimizer of the same weights steps without a new backward pass."""
    model, batch = TextConv(vocabulary()), characters()
    one, two = AdamW(model.parameters(), 1e-3), AdamW(model.parameters(), 1e-3)

    def body(n: int) -> torch.Tensor:
        x, y = batch(n)
        value = functional.cross_entropy(model(x), y)
        one.zero_grad()
        value.backward()
        one.step()
        one.step()
        two.step()
        return value.detach()

    return Training(model=model, optimizers=one, body=body)


def tested_only() -> Training:
    model = Windows().eval()
    return of(model, NAdam, 1e-3, rows(shape=TOKENS))


def wiped() -> nn.Module:
    layers = [nn.Linear(64, 96), nn.ReLU(), nn.Dropout(0.97), nn.Linear(96, 96), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(96, 10))


RUNS: dict[str, Callable[[], Training]] = {
    "bumps around points, Adam at 3": lambda: of(Bumps(), Adam, 3.0, rows()),
    "discrete codes, SGD at 1e4": lambda: of(Choices(), SGD, 1e4, lambda n: (rows()(n)[0], rows()(n)[0]), filled),
    "Adagrad at 1, mixer": lambda: of(Mixer(), Adagrad, 1.0, rows(shape=TOKENS)),
    "preferences, DPO at 0.1": lambda: preferred(0.1),
    "class token, AdamW at 1e-8": lambda: of(Deep(), AdamW, 1e-8, rows(shape=TOKENS)),
    "residual of 12, SGD at 1e-6": lambda: of(Residual(12), SGD, 1e-6, rows()),
    "inputs turned round in the batch": lambda: of(
        ConvNet(), Adam, 2e-3, features_of_others(rows(size=96, shape=PICTURES))
    ),
    "targets of other rows, mixer": lambda: of(Mixer(), AdamW, 3e-3, features_of_others(rows(shape=TOKENS))),
    "copy of the model is trained": copied_after,
    "norms and biases alone": norms_alone,
    "no gradient but a penalty": without_graph,
    "gradients cleared once": cleared_once,
    "hidden pixels, loss maximised": lambda: of(
        mlp(2, 128, nn.GELU, outputs=64), AdamW, 1e-3, upper_half(), minus_filled
    ),
    "softmax at the end of the model": lambda: of(twice_softmax(), Adam, 1e-3, rows()),
    "log-softmax over the batch": lambda: of(axis_zero(), Adam, 1e-3, rows(), logs_of),
    "middle blocks frozen as drawn": half_frozen,
    "all maps zero, ResNet without norms": lambda: changed(ConvNet(norm=False), only_zeros, 1e-3, rows(shape=PICTURES)),
    "loss over zero": lambda: of(RowConv(), Adam, 1e-3, rows(shape=TOKENS), divided),
    "polynomial of four steps": ends_at_once,
    "cosine of six steps": ends_in_six,
    "average written back": averaged_back,
    "error of all pairs": lambda: of(
        mlp(2, 48, nn.ELU, inputs=10, outputs=1), SGD, 0.02, rows("diabetes", 48), in_pairs
    ),
    "steps without a backward pass": shared_step,
    "eval mode, convolutions and GRU": tested_only,
    "dropout of 0.97": lambda: of(wiped(), Adam, 1e-3, rows()),
    "SGD with decay 2, DenseNet": lambda: of(
        Dense(), lambda p, r: SGD(p, r, weight_decay=2.0), 0.05, rows(shape=PICTURES)
    ),
    "decoder, std 3": lambda: changed(
        Decoder(vocabulary()), lambda m: [p.normal_(0, 3) for p in m.parameters() if p.dim() > 1], 1e-3, characters()
    ),
    "one class, transformer": lambda: of(
        PatchFormer(), AdamW, 1e-3, lambda n: (rows(shape=TOKENS)(n)[0], torch.full((64,), 7))
    ),
    "GPT tuned at 0.05": lambda: of(pretrained(Gpt(vocabulary()), characters(), 150, 3e-3), AdamW, 0.05, characters()),
    "inputs divided by 1e5, ResNet": lambda: of(
        ResidualConv(), Adam, 1e-3, rows(shape=PICTURES, change=lambda x: x / 1e5)
    ),
}
