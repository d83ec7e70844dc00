"""The broken runs of the held half: written before any of them was watched; they set no threshold."""

from __future__ import annotations

import copy

import torch
from torch import nn
from torch.nn import functional
from torch.optim import SGD, Adagrad, Adam, AdamW, RMSprop
from torch.optim.lr_scheduler import ExponentialLR, LambdaLR

from benchmarks.accuracy.watched_runs.held_models import (
    Mixer,
    PostNorm,
    RowConv,
    SeparableConv,
    Sideways,
    Variational,
    adversarial,
    copies,
    elbo,
)
from benchmarks.accuracy.watched_runs.loop import (
    Batch,
    Training,
    characters,
    plain,
    pretrained,
    rows,
    vocabulary,
    warmed,
)
from benchmarks.accuracy.watched_runs.models import ConvNet, Gpt, Lora, PatchFormer, Residual, TextRecurrent, mlp

__all__ = ["RUNS"]

PICTURES, TOKENS = (1, 8, 8), (8, 8)


def mixer_too_high() -> Training:
    model = Mixer()
    return plain(model, AdamW(model.parameters(), 0.2), rows(shape=TOKENS))


def row_conv_too_high() -> Training:
    model = RowConv()
    return plain(model, RMSprop(model.parameters(), 0.1), rows(shape=TOKENS))


def post_norm_too_high() -> Training:
    model = PostNorm()
    return plain(model, AdamW(model.parameters(), 0.1), rows(shape=TOKENS))


def sideways_too_high() -> Training:
    model = Sideways()
    return plain(model, Adam(model.parameters(), 0.3), rows(shape=TOKENS))


def gpt_warm_up_too_high() -> Training:
    model = Gpt(vocabulary(), width=32, depth=4, tied=False)
    optimizer = AdamW(model.parameters(), 0.1)
    return plain(model, optimizer, characters(), scheduler=warmed(optimizer, 20), warmup=20, clip=1.0)


def variational_too_high() -> Training:
    model = Variational()
    return plain(model, Adam(model.parameters(), 0.3), copies, elbo)


def momentum_too_high() -> Training:
    model = mlp(4, act=nn.SiLU)
    return plain(model, SGD(model.parameters(), 2.0, momentum=0.99), rows())


def adagrad_too_high() -> Training:
    model = mlp(3)
    return plain(model, Adagrad(model.parameters(), 2.0), rows())


def gpt_too_low() -> Training:
    model = Gpt(vocabulary(), width=32)
    return plain(model, AdamW(model.parameters(), 1e-8), characters())


def residual_too_low() -> Training:
    model = Residual()
    return plain(model, SGD(model.parameters(), 1e-7), rows())


def clipped_to_nothing() -> Training:
    model = ConvNet(norm=False)
    return plain(model, SGD(model.parameters(), 0.05), rows(shape=PICTURES), clip=1e-5)


def other_model() -> Training:
    """The optimizer holds a model that was made before."""
    old, model = PatchFormer(), PatchFormer()
    return plain(model, AdamW(old.parameters(), 1e-3), rows(shape=TOKENS))


def started_again() -> Training:
    """Every layer is drawn again after each third step."""
    model = mlp(3, norm=nn.LayerNorm)

    def after(n: int) -> None:
        if n % 3 == 2:
            for module in model:
                if isinstance(module, nn.Linear):
                    module.reset_parameters()

    return plain(model, Adam(model.parameters(), 2e-3), rows(), after=after)


def kept_at_zero() -> Training:
    """A layer in the middle of a network without skips is set to zero after every step."""
    model = mlp(4, act=nn.GELU)

    def after(n: int) -> None:
        with torch.no_grad():
            model[4].weight.zero_()

    return plain(model, AdamW(model.parameters(), 2e-3), rows(), after=after)


def average_written_back() -> Training:
    """The slow average of the weights is written over them after every step."""
    model = mlp(3)
    slow = copy.deepcopy(model)

    def after(n: int) -> None:
        with torch.no_grad():
            for s, p in zip(slow.parameters(), model.parameters(), strict=True):
                s.lerp_(p, 0.001)
                p.copy_(s)

    return plain(model, Adam(model.parameters(), 1e-3), rows(), after=after)


def conv_never_cleared() -> Training:
    model = ConvNet()
    return plain(model, SGD(model.parameters(), 0.05, momentum=0.9), rows(shape=PICTURES), clear=False)


def lstm_never_cleared() -> Training:
    model = TextRecurrent(vocabulary())
    return plain(model, Adam(model.parameters(), 3e-3), characters(), clear=False)


def residual_no_step() -> Training:
    model = Residual()
    return plain(model, AdamW(model.parameters(), 1e-3), rows(), steps=False)


def no_backward() -> Training:
    model, batch = mlp(3), rows()
    optimizer = Adam(model.parameters(), 1e-3)

    def body(n: int) -> torch.Tensor:
        x, y = batch(n)
        optimizer.zero_grad()
        loss = functional.cross_entropy(model(x), y)
        optimizer.step()
        return loss

    return Training(model=model, optimizers=optimizer, body=body)


def root_of_zero() -> Training:
    """The length of a difference that is zero has no gradient."""
    model = mlp(3)

    def loss(output: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return functional.cross_entropy(output, y) + (output - output.detach()).square().sum(-1).sqrt().mean()

    return plain(model, Adam(model.parameters(), 1e-3), rows(), loss)


def zero_over_zero() -> Training:
    """A mean over the samples of one class, which the eighth batch has none of."""
    model, digits = mlp(3), rows()

    def batch(n: int) -> Batch:
        x, y = digits(n)
        return x, torch.where(y == 3, 4, y) if n == 7 else y

    def loss(output: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        each = functional.cross_entropy(output, y, reduction="none")
        return each.mean() + each[y == 3].sum() / (y == 3).sum()

    return plain(model, Adam(model.parameters(), 1e-3), batch, loss)


class Half(nn.Module):
    """Squares features in float16, which ends at 65,504."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(64, 64), nn.Linear(64, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.two((1000 * self.one(x)).half().square().float() / 1e6)


def overflow() -> Training:
    model = Half()
    return plain(model, Adam(model.parameters(), 1e-3), rows())


def loss_times_a_millionth() -> Training:
    model = Residual()
    return plain(model, SGD(model.parameters(), 0.1), rows(), times=1e-6)


def wrong_sign() -> Training:
    model = mlp(3, norm=nn.LayerNorm)
    return plain(model, Adam(model.parameters(), 1e-2), rows(), times=-1.0)


def rate_stays_zero() -> Training:
    """A warm-up by whole numbers: step // 1000."""
    model = PatchFormer()
    optimizer = AdamW(model.parameters(), 1e-3)
    return plain(model, optimizer, rows(shape=TOKENS), scheduler=LambdaLR(optimizer, lambda n: min(1, n // 1000)))


def decay_times_rate() -> Training:
    model = mlp(3, norm=nn.LayerNorm)
    return plain(model, AdamW(model.parameters(), 0.01, weight_decay=60.0), rows())


def sigmoid_first() -> Training:
    model = mlp(3).append(nn.Sigmoid())
    return plain(model, SGD(model.parameters(), 0.05), rows())


def raw_pixels() -> Training:
    model = mlp(4)
    return plain(model, SGD(model.parameters(), 0.1), rows(change=lambda x: 100 * (x + 1)))


def all_zero() -> Training:
    model = mlp(3)
    for p in model.parameters():
        nn.init.zeros_(p)
    return plain(model, Adam(model.parameters(), 1e-3), rows())


def saturated() -> Training:
    model = mlp(6, act=nn.Tanh)
    for p in model.parameters():
        nn.init.normal_(p, std=1.0)
    return plain(model, Adam(model.parameters(), 1e-3), rows())


def recurrent_times_six() -> Training:
    model = Sideways(nn.RNN)
    with torch.no_grad():
        for name, p in model.cell.named_parameters():
            p.mul_(6.0 if "weight_hh" in name else 1.0)
    return plain(model, SGD(model.parameters(), 0.1), rows(shape=TOKENS))


def large_head() -> Training:
    model = SeparableConv()
    with torch.no_grad():
        model.head.weight.mul_(100.0)
    return plain(model, Adam(model.parameters(), 1e-3), rows(shape=PICTURES))


def growing_stream() -> Training:
    """Forty residual blocks without norm at He's scale."""
    model = Residual(depth=40, norm=False)
    for layer in (*model.first, *model.second):
        nn.init.kaiming_normal_(layer.weight)
    return plain(model, SGD(model.parameters(), 0.05), rows())


def fresh_labels() -> Training:
    model, digits = ConvNet(), rows(shape=PICTURES)

    def batch(n: int) -> Batch:
        x, y = digits(n)
        return x, torch.randint(0, 10, y.shape, generator=torch.Generator().manual_seed(n))

    return plain(model, SGD(model.parameters(), 0.02, momentum=0.9), batch)


def judge_too_fast() -> Training:
    return adversarial(mlp(2, inputs=16, outputs=64), mlp(2, act=nn.LeakyReLU, outputs=1), 1e-4, 0.3)


def doubling_rate() -> Training:
    model = RowConv()
    optimizer = SGD(model.parameters(), 0.01, momentum=0.9)
    return plain(model, optimizer, rows(shape=TOKENS), scheduler=ExponentialLR(optimizer, 2.0))


def lora_of_zeros() -> Training:
    """Both maps of each low-rank pair start at zero."""
    model = pretrained(mlp(3), rows(only=lambda y: y < 5)).requires_grad_(False)
    for i in (0, 2, 4, 6):
        model[i] = Lora(model[i])
        nn.init.zeros_(model[i].a.weight)
    return plain(model, AdamW([p for p in model.parameters() if p.requires_grad], 2e-3), rows())


RUNS = {
    "mixer, AdamW at 0.2": mixer_too_high,
    "convolutions over rows, RMSprop at 0.1": row_conv_too_high,
    "transformer with norms behind, AdamW at 0.1": post_norm_too_high,
    "GRU of two directions, Adam at 0.3": sideways_too_high,
    "GPT of 4 layers, warm-up to 0.1": gpt_warm_up_too_high,
    "variational autoencoder, Adam at 0.3": variational_too_high,
    "SiLU MLP, momentum 0.99 at 2": momentum_too_high,
    "MLP, Adagrad at 2": adagrad_too_high,
    "GPT, AdamW at 1e-8": gpt_too_low,
    "residual, SGD at 1e-7": residual_too_low,
    "gradient clipped to 1e-5, SGD": clipped_to_nothing,
    "optimizer over another model": other_model,
    "layers drawn again every third step": started_again,
    "a layer kept at zero": kept_at_zero,
    "average written back every step": average_written_back,
    "gradients never cleared, CNN, momentum": conv_never_cleared,
    "gradients never cleared, LSTM, Adam": lstm_never_cleared,
    "optimizer.step() missing, residual": residual_no_step,
    "backward() missing": no_backward,
    "root of zero in the loss": root_of_zero,
    "zero over zero at step 8": zero_over_zero,
    "overflow of float16": overflow,
    "loss times 1e-6, SGD": loss_times_a_millionth,
    "wrong sign of the loss": wrong_sign,
    "rate that stays zero": rate_stays_zero,
    "weight decay 60, AdamW at 0.01": decay_times_rate,
    "sigmoid before cross entropy": sigmoid_first,
    "raw inputs times 100, SGD": raw_pixels,
    "all weights zero": all_zero,
    "tanh MLP of std 1": saturated,
    "recurrent weights times 6": recurrent_times_six,
    "head times 100": large_head,
    "forty residual blocks at He's scale": growing_stream,
    "labels drawn anew for every batch": fresh_labels,
    "GAN, judge at 0.3": judge_too_fast,
    "rate doubled every step": doubling_rate,
    "LoRA with both maps zero": lora_of_zeros,
}
