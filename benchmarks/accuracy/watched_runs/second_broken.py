"""The broken runs of the second held set: written after the first was read, before any of these was watched."""

from __future__ import annotations

import copy

import torch
from torch import nn
from torch.nn import functional
from torch.optim import SGD, Adam, AdamW, NAdam, RAdam, RMSprop
from torch.optim.lr_scheduler import CosineAnnealingLR, MultiStepLR

from benchmarks.accuracy.watched_runs.loop import Batch, Training, characters, plain, rows, vocabulary, warmed
from benchmarks.accuracy.watched_runs.models import ConvNet, Gpt, PatchFormer, Recurrent, Residual, ResidualConv, mlp
from benchmarks.accuracy.watched_runs.second_healthy import both, colours, pictures
from benchmarks.accuracy.watched_runs.second_models import (
    Decoder,
    Highway,
    HourGlass,
    Pooled,
    Squeezed,
    TextConv,
    TwoTasks,
    Waves,
)

__all__ = ["RUNS"]

PICTURES, TOKENS = (1, 8, 8), (8, 8)


def decoder_too_high() -> Training:
    model = Decoder(vocabulary())
    optimizer = AdamW(model.parameters(), 0.3)
    return plain(model, optimizer, characters(), scheduler=warmed(optimizer, 15), warmup=15, clip=1.0)


def highway_too_high() -> Training:
    model = Highway()
    return plain(model, NAdam(model.parameters(), 0.3), rows())


def hour_glass_too_high() -> Training:
    model = HourGlass()
    return plain(model, Adam(model.parameters(), 0.3), pictures, functional.mse_loss)


def squeezed_too_high() -> Training:
    model = Squeezed()
    return plain(model, SGD(model.parameters(), 10.0, momentum=0.9), rows(shape=PICTURES))


def text_conv_too_high() -> Training:
    model = TextConv(vocabulary())
    return plain(model, RAdam(model.parameters(), 1.0), characters())


def waves_too_high() -> Training:
    model = Waves()
    return plain(model, Adam(model.parameters(), 0.1), colours, functional.mse_loss)


def pooled_too_low() -> Training:
    model = Pooled()
    return plain(model, AdamW(model.parameters(), 1e-7), rows())


def recurrent_too_low() -> Training:
    model = Recurrent()
    return plain(model, SGD(model.parameters(), 1e-5), rows(shape=TOKENS))


def two_tasks_other() -> Training:
    """The model was made again after its optimizer."""
    model = TwoTasks()
    optimizer = Adam(model.parameters(), 1e-3)
    return plain(TwoTasks(), optimizer, rows(), both)


def best_loaded_again() -> Training:
    """The best weights so far are loaded after every step, and the first loss is never beaten."""
    model = PatchFormer()
    best = copy.deepcopy(model.state_dict())
    return plain(
        model, AdamW(model.parameters(), 1e-3), rows(shape=TOKENS), after=lambda n: model.load_state_dict(best)
    )


def drawn_at_fifteen() -> Training:
    model = ConvNet()

    def after(n: int) -> None:
        if n == 15:
            for module in model.modules():
                if isinstance(module, nn.Conv2d | nn.Linear):
                    nn.init.normal_(module.weight, std=0.5)

    return plain(model, Adam(model.parameters(), 1e-3), rows(shape=PICTURES), after=after)


def decoder_never_cleared() -> Training:
    model = Decoder(vocabulary())
    return plain(model, Adam(model.parameters(), 1e-3), characters(), clear=False)


def tanh_never_cleared() -> Training:
    model = mlp(3, act=nn.Tanh)
    return plain(model, SGD(model.parameters(), 0.1, momentum=0.5), rows(), clear=False, accumulate=2)


def squeezed_no_step() -> Training:
    model = Squeezed()
    return plain(model, SGD(model.parameters(), 0.05), rows(shape=PICTURES), steps=False)


def mostly_detached() -> Training:
    """The loss is computed from numbers that were cut off; a small penalty keeps it differentiable."""
    model = mlp(3)

    def loss(output: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return functional.cross_entropy(output.detach(), y) + 0 * output.sum()

    return plain(model, Adam(model.parameters(), 1e-3), rows(), loss)


def one_over_zero() -> Training:
    """Features over their spread over the batch, which is zero for some pixels."""
    model = mlp(3)
    return plain(model, Adam(model.parameters(), 1e-3), rows(change=lambda x: x / (x.std(0) * (x.std(0) > 0.5))))


def exploding_loss() -> Training:
    """exp of raw outputs."""
    model = mlp(2, 256)

    def loss(output: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return (1000 * output).exp().sum(-1).log().mean() - (1000 * output).gather(1, y[:, None]).mean()

    return plain(model, Adam(model.parameters(), 1e-3), rows(), loss)


def summed_loss() -> Training:
    """A sum over samples and pixels at the rate of a mean."""
    model = HourGlass()
    return plain(model, SGD(model.parameters(), 0.1, momentum=0.9), pictures, lambda o, y: (o - y).square().sum())


def short_cosine() -> Training:
    """The length of the schedule is told in epochs, and stays at its end."""
    model = ResidualConv()
    optimizer = SGD(model.parameters(), 0.05, momentum=0.9)
    cosine = CosineAnnealingLR(optimizer, T_max=3)

    class Once:
        def step(self) -> None:
            if cosine.last_epoch < 3:
                cosine.step()

    return plain(model, optimizer, rows(shape=PICTURES), scheduler=Once())


def milestones_in_epochs() -> Training:
    model = Residual()
    optimizer = AdamW(model.parameters(), 1e-3)
    return plain(model, optimizer, rows(), scheduler=MultiStepLR(optimizer, [2, 4, 6], gamma=0.05))


def rate_zero() -> Training:
    model = mlp(3)
    return plain(model, SGD(model.parameters(), 0.0, momentum=0.9), rows())


def decay_too_strong() -> Training:
    model = Residual()
    return plain(model, AdamW(model.parameters(), 1e-2, weight_decay=99.0), rows())


def sign_of_gradient() -> Training:
    """The gradient's sign is turned before every step."""
    model = ResidualConv()
    for p in model.parameters():
        p.register_hook(lambda g: -g)
    return plain(model, SGD(model.parameters(), 0.1, momentum=0.9), rows(shape=PICTURES))


def dead_by_bias() -> Training:
    model = ConvNet(norm=False)
    nn.init.constant_(model.body[2].bias, -20.0)
    return plain(model, RMSprop(model.parameters(), 1e-3), rows(shape=PICTURES))


def gates_shut() -> Training:
    model = Highway(depth=20)
    with torch.no_grad():
        for layer in model.maps:
            layer.weight.mul_(30.0)
    return plain(model, Adam(model.parameters(), 1e-3), rows())


def tiny_std() -> Training:
    model = mlp(5, act=nn.Tanh)
    for p in model.parameters():
        nn.init.normal_(p, std=1e-3)
    return plain(model, SGD(model.parameters(), 0.1), rows())


def equal_units() -> Training:
    model = ConvNet(norm=False)
    for p in model.parameters():
        nn.init.constant_(p, 0.01)
    return plain(model, Adam(model.parameters(), 1e-3), rows(shape=PICTURES))


def gpt_large_std() -> Training:
    model = Gpt(vocabulary(), std=2.0)
    return plain(model, AdamW(model.parameters(), 1e-3), characters())


def log_softmax_twice() -> Training:
    model = mlp(3).append(nn.Softmax(-1))
    return plain(model, Adam(model.parameters(), 1e-5), rows())


def pixels_as_they_are() -> Training:
    model = Recurrent()

    def batch(n: int) -> Batch:
        x, y = rows(shape=TOKENS)(n)
        return 1000 * (x + 2), y

    return plain(model, SGD(model.parameters(), 0.1), batch)


RUNS = {
    "decoder, warm-up to 0.3": decoder_too_high,
    "highway network, NAdam at 0.3": highway_too_high,
    "convolutional autoencoder, Adam at 0.3": hour_glass_too_high,
    "squeeze and excitation, momentum at 10": squeezed_too_high,
    "dilated convolutions over text, RAdam at 1": text_conv_too_high,
    "sines, Adam at 0.1": waves_too_high,
    "set of pixels, AdamW at 1e-7": pooled_too_low,
    "LSTM, SGD at 1e-5": recurrent_too_low,
    "model made again after its optimizer": two_tasks_other,
    "best weights loaded after every step": best_loaded_again,
    "weights drawn again after step 16": drawn_at_fifteen,
    "gradients never cleared, decoder": decoder_never_cleared,
    "gradients never cleared, accumulation of 2": tanh_never_cleared,
    "optimizer.step() missing, CNN": squeezed_no_step,
    "loss of detached outputs": mostly_detached,
    "inputs over zero": one_over_zero,
    "exp of large outputs": exploding_loss,
    "sum in place of a mean": summed_loss,
    "cosine of three steps": short_cosine,
    "milestones of epochs called every batch": milestones_in_epochs,
    "rate zero": rate_zero,
    "weight decay 99, AdamW at 0.01": decay_too_strong,
    "gradient turned round": sign_of_gradient,
    "biases of -20, CNN": dead_by_bias,
    "highway of 20, weights times 30": gates_shut,
    "tanh MLP of std 0.001": tiny_std,
    "CNN of equal weights": equal_units,
    "GPT of std 2": gpt_large_std,
    "softmax before cross entropy, Adam at 1e-5": log_softmax_twice,
    "inputs times 1000": pixels_as_they_are,
}
