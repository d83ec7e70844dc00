"""The healthy runs of the third held set: written after the second was read, before any of these was watched."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torch.optim import SGD, Adagrad, Adam, AdamW, NAdam, RMSprop
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR

from benchmarks.accuracy.watched_runs.held_models import Dense, Experts, Gated, Mixer, RowConv, SeparableConv, Sideways
from benchmarks.accuracy.watched_runs.loop import Batch, Loss, Training, characters, plain, pretrained, rows, vocabulary
from benchmarks.accuracy.watched_runs.models import ConvNet, Gpt, Lora, PatchFormer, Recurrent, Residual, mlp
from benchmarks.accuracy.watched_runs.second_models import Decoder, Highway, HourGlass, Pooled, Squeezed, TextConv

__all__ = ["PICTURES", "RUNS", "TOKENS", "of"]

PICTURES, TOKENS = (1, 8, 8), (8, 8)


def of(
    model: nn.Module,
    kind: Callable[..., Any],
    rate: float,
    batch: Callable[[int], Batch],
    loss: Loss = functional.cross_entropy,
    **more: Any,
) -> Training:
    """The usual loop with an optimizer of this kind and rate over what the model trains."""
    return plain(model, kind([p for p in model.parameters() if p.requires_grad], rate), batch, loss, **more)


def cooled(
    model: nn.Module, kind: Callable[..., Any], rate: float, batch: Callable[[int], Batch], to: float
) -> Training:
    """The same with a rate that falls linearly to a share of it over 100 steps."""
    optimizer = kind(model.parameters(), rate)
    return plain(model, optimizer, batch, scheduler=LinearLR(optimizer, 1.0, to, 100))


def restarted() -> Training:
    model = Mixer(24, 2)
    optimizer = AdamW(model.parameters(), 3e-3)
    return plain(model, optimizer, rows(shape=TOKENS), scheduler=CosineAnnealingLR(optimizer, 60, 3e-4))


def other_half() -> Training:
    """A mixer of even digits tuned for odd ones with a fresh head."""
    model = pretrained(Mixer(), rows(shape=TOKENS, only=lambda y: y % 2 == 0), 150)
    model.head = nn.Linear(32, 10)
    return of(model, AdamW, 5e-4, rows(shape=TOKENS, only=lambda y: y % 2 == 1))


def frozen_below() -> Training:
    model = pretrained(ConvNet(), rows(shape=PICTURES, only=lambda y: y > 3), 120)
    for layer in list(model.body)[:4]:
        layer.requires_grad_(False)
    return of(model, Adam, 1e-3, rows(shape=PICTURES))


def low_rank_text() -> Training:
    """Low-rank pairs in the feed-forward layers of a trained GPT, on the same text."""
    text = characters()
    model = pretrained(Gpt(vocabulary()), text, 150).requires_grad_(False)
    for block in model.blocks:
        block.up, block.down = Lora(block.up), Lora(block.down)
    return of(model, AdamW, 2e-3, characters(8))


def two_rates() -> Training:
    model = Highway(4)
    slow = [{"params": model.entry.parameters(), "lr": 1e-4}, {"params": model.head.parameters()}]
    return plain(model, Adam([*slow, {"params": [*model.maps.parameters(), *model.gates.parameters()]}], 1e-3), rows())


def binary() -> Training:
    """Is the digit below five?"""

    def loss(output: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return functional.binary_cross_entropy_with_logits(output[:, 0], (y < 5).float())

    return of(mlp(3, 48, nn.ELU, outputs=1), NAdam, 1e-3, rows(), loss)


def squared_error() -> Training:
    """Digits as one-hot targets of a squared error."""

    def loss(output: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return (output - functional.one_hot(y, 10)).square().mean()

    return of(mlp(2, 128, nn.Tanh), SGD, 0.5, rows(), loss)


RUNS: dict[str, Callable[[], Training]] = {
    "wide MLP, SGD at 0.3": lambda: of(mlp(2, 256), SGD, 0.3, rows()),
    "narrow MLP of 6 with LayerNorm, RMSprop": lambda: of(mlp(6, 24, nn.GELU, nn.LayerNorm), RMSprop, 1e-3, rows()),
    "MNIST, MLP, Adam": lambda: of(mlp(2, 64, inputs=784), Adam, 1e-3, rows("mnist")),
    "breast cancer, two classes, AdamW": lambda: of(
        mlp(2, 24, inputs=30, outputs=2), AdamW, 3e-3, rows("breast-cancer")
    ),
    "wine, SGD with momentum": lambda: of(
        mlp(1, 32, inputs=13, outputs=3), lambda p, r: SGD(p, r, momentum=0.9), 0.05, rows("wine", 16)
    ),
    "DenseNet, SGD with momentum": lambda: of(
        Dense(), lambda p, r: SGD(p, r, momentum=0.9), 0.05, rows(shape=PICTURES)
    ),
    "separable convolutions, AdamW": lambda: of(SeparableConv(16, 2), AdamW, 3e-3, rows(shape=PICTURES)),
    "squeeze and excitation, Adam": lambda: of(Squeezed(), Adam, 2e-3, rows(shape=PICTURES)),
    "convolutions over rows, Adagrad": lambda: of(RowConv(), Adagrad, 0.02, rows(shape=TOKENS)),
    "transformer with norms behind, no warm-up": lambda: of(PatchFormer(first=False), Adam, 5e-4, rows(shape=TOKENS)),
    "LSTM of two directions, AdamW": lambda: of(Sideways(nn.LSTM), AdamW, 3e-3, rows(shape=TOKENS)),
    "RNN, Adam, clipped": lambda: of(Recurrent(nn.RNN), Adam, 1e-3, rows(shape=TOKENS), clip=1.0),
    "decoder, Adam, small batches": lambda: of(Decoder(vocabulary(), 32, 2), Adam, 2e-3, characters(4)),
    "GPT, tied, AdamW, no warm-up": lambda: of(Gpt(vocabulary()), AdamW, 1e-3, characters()),
    "dilated convolutions over text, AdamW": lambda: of(TextConv(vocabulary()), AdamW, 2e-3, characters()),
    "ReZero, SGD with momentum": lambda: of(Gated(4), lambda p, r: SGD(p, r, momentum=0.9), 0.03, rows()),
    "experts, Adam": lambda: of(Experts(count=4), Adam, 3e-3, rows()),
    "residual, rate that falls to a tenth": lambda: cooled(Residual(4), AdamW, 2e-3, rows(), 0.1),
    "set of pixels, bfloat16 autocast": lambda: of(Pooled(), Adam, 3e-3, rows(), autocast=True),
    "autoencoder of pictures, RMSprop": lambda: of(
        HourGlass(), RMSprop, 1e-3, lambda n: (rows(shape=PICTURES)(n)[0],) * 2, functional.mse_loss
    ),
    "mixer, cosine to a tenth": restarted,
    "mixer tuned for other digits, new head": other_half,
    "CNN, first layers frozen": frozen_below,
    "low-rank pairs in a GPT": low_rank_text,
    "highway network, two rates": two_rates,
    "two classes of digits, NAdam": binary,
    "one-hot targets, squared error, SGD at 0.5": squared_error,
}
