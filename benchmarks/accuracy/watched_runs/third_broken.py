"""The broken runs of the third held set: written after the second was read, before any of these was watched."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torch.optim import SGD, Adagrad, Adam, AdamW, NAdam, RMSprop
from torch.optim.lr_scheduler import ExponentialLR, LambdaLR

from benchmarks.accuracy.watched_runs.held_models import Dense, Experts, Gated, Mixer, RowConv, SeparableConv, Sideways
from benchmarks.accuracy.watched_runs.loop import Training, characters, plain, rows, vocabulary, warmed
from benchmarks.accuracy.watched_runs.models import ConvNet, Gpt, PatchFormer, Recurrent, Residual, mlp
from benchmarks.accuracy.watched_runs.second_models import Decoder, Highway, Pooled, Squeezed, TextConv
from benchmarks.accuracy.watched_runs.third_healthy import PICTURES, TOKENS, of

__all__ = ["RUNS"]


def scheduled(
    model: nn.Module, kind: Callable[..., Any], rate: float, batch: Any, schedule: Callable[[Any], Any], warmup: int = 0
) -> Training:
    """The usual loop with a scheduler."""
    optimizer = kind(model.parameters(), rate)
    return plain(model, optimizer, batch, scheduler=schedule(optimizer), warmup=warmup)


def changed(model: nn.Module, change: Callable[[nn.Module], Any], rate: float, batch: Any) -> Training:
    """Adam on a model whose start was spoiled."""
    with torch.no_grad():
        change(model)
    return of(model, Adam, rate, batch)


def times(factor: float, *layers: nn.Module) -> None:
    for layer in layers:
        layer.weight.mul_(factor)


def every_step(model: nn.Module, write: Callable[[nn.Module], Any], batch: Any) -> Training:
    """Adam, and something that writes into the weights after every step."""

    def after(n: int) -> None:
        with torch.no_grad():
            write(model)

    return of(model, Adam, 1e-3, batch, after=after)


def deep_copy_trained() -> Training:
    model = Squeezed()
    optimizer = AdamW(copy.deepcopy(model).parameters(), 1e-3)
    return plain(model, optimizer, rows(shape=PICTURES))


def log_of_relu(output: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return -output.relu().gather(1, y[:, None]).log().mean()


def zeroed_at_three() -> Training:
    model = Highway()

    def after(n: int) -> None:
        if n == 3:
            with torch.no_grad():
                model.entry.weight.zero_()

    return of(model, Adam, 1e-3, rows(), after=after)


RUNS: dict[str, Callable[[], Training]] = {
    "wide MLP, SGD at 30": lambda: of(mlp(2, 256), SGD, 30.0, rows()),
    "MNIST, MLP, Adam at 0.1": lambda: of(mlp(2, 64, inputs=784), Adam, 0.1, rows("mnist")),
    "DenseNet, Adam at 1": lambda: of(Dense(), Adam, 1.0, rows(shape=PICTURES)),
    "mixer, NAdam at 0.1": lambda: of(Mixer(), NAdam, 0.1, rows(shape=TOKENS)),
    "LSTM of two directions, RMSprop at 0.3": lambda: of(Sideways(nn.LSTM), RMSprop, 0.3, rows(shape=TOKENS)),
    "GPT, tied, AdamW at 0.1": lambda: of(Gpt(vocabulary()), AdamW, 0.1, characters()),
    "convolutions over text, SGD at 100": lambda: of(TextConv(vocabulary()), SGD, 100.0, characters()),
    "residual, Adagrad at 3": lambda: of(Residual(), Adagrad, 3.0, rows()),
    "decoder, warm-up 10 to 0.1": lambda: scheduled(
        Decoder(vocabulary()), AdamW, 0.1, characters(), lambda o: warmed(o, 10), 10
    ),
    "separable convolutions, AdamW at 1e-7": lambda: of(SeparableConv(), AdamW, 1e-7, rows(shape=PICTURES)),
    "transformer, SGD at 1e-6": lambda: of(PatchFormer(), SGD, 1e-6, rows(shape=TOKENS)),
    "decoder, Adam at 1e-8": lambda: of(Decoder(vocabulary()), Adam, 1e-8, characters()),
    "CNN, loss times 1e5, SGD": lambda: of(ConvNet(), SGD, 0.05, rows(shape=PICTURES), times=1e5),
    "optimizer of a copy, CNN": deep_copy_trained,
    "gradients never cleared, experts": lambda: of(Experts(), Adam, 3e-3, rows(), clear=False),
    "gradients never cleared, transformer, SGD": lambda: of(PatchFormer(), SGD, 0.1, rows(shape=TOKENS), clear=False),
    "optimizer.step() missing, decoder": lambda: of(Decoder(vocabulary()), Adam, 1e-3, characters(), steps=False),
    "head drawn again every step, RNN": lambda: every_step(
        Recurrent(nn.RNN), lambda m: m.head.reset_parameters(), rows(shape=TOKENS)
    ),
    "weights times 0.5 after every step": lambda: every_step(
        mlp(3), lambda m: times(0.5, m[0], m[2], m[4], m[6]), rows()
    ),
    "a weight set to zero after step 4": zeroed_at_three,
    "rate divided by 10 every step": lambda: scheduled(
        RowConv(), Adam, 2e-3, rows(shape=TOKENS), lambda o: ExponentialLR(o, 0.1)
    ),
    "rate that ends after 4 steps": lambda: scheduled(
        Pooled(), AdamW, 3e-3, rows(), lambda o: LambdaLR(o, lambda n: float(n < 4))
    ),
    "rate times 3 every step": lambda: scheduled(
        Residual(), SGD, 1e-3, rows(), lambda o: LambdaLR(o, lambda n: 3.0 ** min(n, 60))
    ),
    "log of a rectified output": lambda: of(mlp(3), Adam, 1e-3, rows(), log_of_relu),
    "loss maximised, transformer": lambda: of(
        PatchFormer(), lambda p, r: AdamW(p, r, maximize=True), 1e-2, rows(shape=TOKENS)
    ),
    "weight decay 20, SGD at 0.05": lambda: of(Gated(), lambda p, r: SGD(p, r, weight_decay=20.0), 0.05, rows()),
    "biases of -30 in the first layer": lambda: changed(mlp(4), lambda m: m[0].bias.fill_(-30.0), 1e-3, rows()),
    "all weights zero, CNN": lambda: changed(
        ConvNet(norm=False), lambda m: [p.zero_() for p in m.parameters()], 1e-3, rows(shape=PICTURES)
    ),
    "std 0.005 in eight layers": lambda: changed(
        mlp(8), lambda m: [p.normal_(0, 0.005) for p in m.parameters()], 1e-3, rows()
    ),
    "weights times 10, residual": lambda: changed(
        Residual(norm=False), lambda m: times(10.0, *m.first, *m.second), 1e-3, rows()
    ),
    "head times 200, GPT": lambda: changed(
        Gpt(vocabulary(), tied=False), lambda m: times(200.0, m.head), 1e-3, characters()
    ),
    "inputs of NaN": lambda: of(mlp(2), Adam, 1e-3, rows(change=lambda x: x.sqrt())),
    "inputs times 1e4, CNN": lambda: of(ConvNet(norm=False), SGD, 0.01, rows(shape=PICTURES, change=lambda x: 1e4 * x)),
    "outputs detached, penalty of zero": lambda: of(
        Residual(), Adam, 1e-3, rows(), lambda o, y: functional.cross_entropy(o.detach(), y) + 0 * o.sum()
    ),
}
