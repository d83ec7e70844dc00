"""The healthy runs of the fifth held set: of kinds that no earlier set has, written before any was watched."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torch.optim import SGD, Adafactor, Adagrad, Adam, AdamW, NAdam, RMSprop
from torch.optim.lr_scheduler import OneCycleLR

from benchmarks.accuracy.watched_runs.fifth_models import (
    Averaged,
    Bag,
    Coded,
    Flow,
    GraphNet,
    Lion,
    Reader,
    ScheduleFree,
    Steps,
    WithAverage,
    alike,
    half_labelled,
    looped,
    neighbours,
    of_an_equation,
)
from benchmarks.accuracy.watched_runs.held_models import Dense, Experts, Mixer, RowConv, Sideways
from benchmarks.accuracy.watched_runs.loop import (
    Batch,
    Training,
    characters,
    ngrams,
    plain,
    pretrained,
    rows,
    vocabulary,
    warmed,
)
from benchmarks.accuracy.watched_runs.models import (
    ConvNet,
    Gpt,
    Lora,
    PatchFormer,
    Recurrent,
    Residual,
    ResidualConv,
    TextRecurrent,
    mlp,
)
from benchmarks.accuracy.watched_runs.second_models import Decoder, TextConv
from benchmarks.accuracy.watched_runs.third_healthy import PICTURES, TOKENS, of

__all__ = ["RUNS"]


def frozen_trunk() -> Training:
    """A trained residual network is frozen; two new layers learn mirrored digits, warm-up and cosine."""
    trunk = pretrained(Residual(4), rows(), 200)
    trunk.head = nn.Identity()
    model = nn.Sequential(trunk.requires_grad_(False), nn.Linear(64, 64), nn.GELU(), nn.Linear(64, 10))
    optimizer = AdamW([p for p in model.parameters() if p.requires_grad], 3e-3)
    turned = rows(change=lambda x: x.view(-1, 8, 8).flip(2).reshape(-1, 64))
    return plain(model, optimizer, turned, scheduler=warmed(optimizer, 10, 150), warmup=10)


def low_rank_gpt() -> Training:
    """Low-rank pairs beside attention and maps of a trained GPT, for an alphabet that is shifted by one."""
    model = pretrained(Gpt(vocabulary(), tied=False), characters(), 150, 3e-3).requires_grad_(False)
    for block in model.blocks:
        block.qkv, block.up = Lora(block.qkv, 8), Lora(block.up, 8)
    text, count = characters(), vocabulary()

    def shifted(n: int) -> Batch:
        x, y = text(n)
        return (x + 1) % count, (y + 1) % count

    return of(model, AdamW, 2e-3, shifted)


def clipped_pair() -> Training:
    """A maker and a judge whose weights are clipped after each step, RMSprop."""
    maker, judge = mlp(2, 64, inputs=16, outputs=64), mlp(2, 64, outputs=1)
    first, second = RMSprop(judge.parameters(), 3e-4), RMSprop(maker.parameters(), 3e-4)
    batch = rows()

    def body(n: int) -> torch.Tensor:
        x, _ = batch(n)
        made = maker(torch.randn(len(x), 16))
        loss = judge(made.detach()).mean() - judge(x).mean()
        first.zero_grad()
        loss.backward()
        first.step()
        with torch.no_grad():
            for p in judge.parameters():
                p.clamp_(-0.05, 0.05)
        second.zero_grad()
        (-judge(made).mean()).backward()
        second.step()
        return loss.detach()

    return Training(model=nn.ModuleList([judge, maker]), optimizers=[first, second], body=body)


def lookahead() -> Training:
    model = ConvNet()
    return plain(model, Adam(model.parameters(), 2e-3), rows(shape=PICTURES), after=Averaged(model))


def own_average() -> Training:
    model = WithAverage(ResidualConv())
    optimizer = SGD(model.inner.parameters(), 0.05, momentum=0.9)
    return plain(model, optimizer, rows(shape=PICTURES), after=model.follow)


def graph() -> Training:
    """One graph of 300 digits, of which half have a label, the whole graph in every step."""
    x, y, mean = neighbours()
    y = torch.where(torch.arange(len(y)) % 2 == 0, y, -100)
    model = GraphNet(mean)
    return plain(model, Adam(model.parameters(), 0.01, weight_decay=5e-4), lambda n: (x, y))


def flow() -> Training:
    """The density of thirteen chemical features, exact likelihood."""
    model, batch = Flow(), rows("wine", 64)
    return looped(model, Adam(model.parameters(), 2e-3), lambda n: -model(batch(n)[0]).mean())


def coded() -> Training:
    model, batch = Coded(), rows()

    def losses(n: int) -> torch.Tensor:
        x, _ = batch(n)
        made, apart = model(x)
        return functional.mse_loss(made, x) + apart

    return looped(model, Adam(model.parameters(), 1e-3), losses)


def aligned() -> Training:
    """CTC: one digit somewhere in eight rows."""
    model, batch = Reader(), rows(shape=TOKENS)

    def losses(n: int) -> torch.Tensor:
        x, y = batch(n)
        sizes = torch.full((len(x),), 8), torch.ones(len(x), dtype=torch.long)
        return functional.ctc_loss(model(x).transpose(0, 1), y[:, None] + 1, *sizes)

    return looped(model, Adam(model.parameters(), 2e-3), losses)


def ranked() -> Training:
    """Which of two patients' disease has progressed further: pairs through one network, logistic loss."""

    def loss(output: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        gap, wanted = output - output.T, (y.view(-1, 1) > y.view(1, -1)).float()
        return functional.binary_cross_entropy_with_logits(gap, wanted)

    return of(mlp(2, 32, inputs=10, outputs=1), AdamW, 2e-3, rows("diabetes", 48), loss)


def two_tasks_weighed() -> Training:
    """Digit and number of bright pixels, each loss divided by a variance that is learned."""
    model = nn.ModuleDict({"body": mlp(3, 64, outputs=11), "sizes": nn.ParameterList([torch.zeros(2)])})
    batch = rows()

    def losses(n: int) -> torch.Tensor:
        x, y = batch(n)
        out, sizes = model["body"](x), model["sizes"][0]
        parts = torch.stack(
            [functional.cross_entropy(out[:, :10], y), functional.mse_loss(out[:, 10], (x > 0.5).float().mean(1))]
        )
        return (parts * (-sizes).exp() + sizes).sum()

    return looped(model, Adam(model.parameters(), 2e-3), losses)


def consistent() -> Training:
    """A quarter of the labels, and for the rest the answer that the slow average gives for another noisy view."""
    model, batch = WithAverage(mlp(3, 64)), rows(size=96)

    def losses(n: int) -> torch.Tensor:
        x, y = batch(n)
        one, two = x + 0.1 * torch.randn_like(x), x + 0.1 * torch.randn_like(x)
        own = model(one)
        with torch.no_grad():
            aim = model.average(two).softmax(-1)
        return functional.cross_entropy(own[:24], y[:24]) + (own.softmax(-1) - aim).square().mean()

    return looped(model, Adam(model.inner.parameters(), 2e-3), losses, model.follow)


def bandit() -> Training:
    """Costs of one Gaussian action, without a baseline: noisy, and all rewards below zero."""
    model, batch = mlp(2, 32, nn.Tanh, inputs=10, outputs=1), rows("diabetes", 32)

    def losses(n: int) -> torch.Tensor:
        x, y = batch(n)
        mean = model(x)[:, 0]
        action = (mean + 0.3 * torch.randn_like(mean)).detach()
        reward = -(action - (y.float().view(-1) - 152) / 77).square()
        return (reward * ((action - mean) / 0.3).square() / 2).mean()

    return looped(model, Adam(model.parameters(), 1e-3), losses)


def taught() -> Training:
    """A small network learns the soft answers of a large trained one, temperature 3."""
    teacher, batch = pretrained(mlp(2, 128), rows(), 150), rows()
    model = mlp(1, 24)

    def losses(n: int) -> torch.Tensor:
        x, _ = batch(n)
        with torch.no_grad():
            aim = (teacher(x) / 3).softmax(-1)
        return 9 * functional.kl_div((model(x) / 3).log_softmax(-1), aim, reduction="batchmean")

    return looped(model, Adam(model.parameters(), 3e-3), losses)


def value_clipped() -> Training:
    model = TextRecurrent(vocabulary(), nn.GRU)
    optimizer, batch = SGD(model.parameters(), 1.0), characters()

    def losses(n: int) -> torch.Tensor:
        x, y = batch(n)
        return functional.cross_entropy(model(x), y)

    run = looped(model, optimizer, losses)

    def body(n: int) -> torch.Tensor:
        value = losses(n)
        optimizer.zero_grad()
        value.backward()
        nn.utils.clip_grad_value_(model.parameters(), 0.1)
        optimizer.step()
        return value.detach()

    run.body = body
    return run


def one_cycle_long() -> Training:
    """One cycle over 400 steps, of which the rate rises for 40."""
    model = ResidualConv()
    optimizer = SGD(model.parameters(), 0.01, momentum=0.9, weight_decay=1e-3)
    cycle = OneCycleLR(optimizer, 0.2, total_steps=400, pct_start=0.1)
    return plain(model, optimizer, rows(shape=PICTURES), scheduler=cycle, warmup=25)


def sized_targets() -> Training:
    """Progression of diabetes in tens, squared error."""

    def loss(output: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return (output[:, 0] - y.float().view(-1) / 30).square().mean()

    return of(mlp(2, 64, inputs=10, outputs=1), Adam, 5e-3, rows("diabetes", 32), loss)


def smoothed(output: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return functional.cross_entropy(output, y, label_smoothing=0.1)


def dropping() -> nn.Module:
    """Half of the units and a fifth of the inputs are dropped."""
    layers = [nn.Dropout(0.2), nn.Linear(64, 256), nn.ReLU(), nn.Dropout(0.6), nn.Linear(256, 256), nn.ReLU()]
    return nn.Sequential(*layers, nn.Dropout(0.6), nn.Linear(256, 10))


def balanced(output: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    counts = torch.bincount(y, minlength=10).float().clamp_min(1)
    return functional.cross_entropy(output, y, weight=counts.mean() / counts)


def mostly_background(size: int = 24) -> Callable[[int], Batch]:
    """For each pixel: bright, dark or between; most are dark."""
    batch = rows(size=size, shape=PICTURES)

    def pixels(n: int) -> Batch:
        x, _ = batch(n)
        y = (x[:, 0] > 0.2).long() + (x[:, 0] > 0.8).long()
        return x + 0.3 * torch.randn(x.shape, generator=torch.Generator().manual_seed(n)), y

    return pixels


def painter() -> nn.Module:
    """Three convolutions that keep the size of the picture."""
    layers = [nn.Conv2d(1, 16, 3, padding=1), nn.GroupNorm(4, 16), nn.SiLU(), nn.Conv2d(16, 16, 3, padding=1)]
    return nn.Sequential(*layers, nn.GroupNorm(4, 16), nn.SiLU(), nn.Conv2d(16, 3, 1))


def sharp(p: Any, rate: float) -> Any:
    return SGD(p, rate, momentum=0.99)


RUNS: dict[str, Callable[[], Training]] = {
    "frozen residual trunk, two new layers, warm-up and cosine": frozen_trunk,
    "low-rank pairs of rank 8 in a GPT": low_rank_gpt,
    "maker and clipped judge, RMSprop": clipped_pair,
    "supervised contrast, SGD with momentum": lambda: of(
        mlp(2, 96, norm=nn.BatchNorm1d, outputs=24), lambda p, r: SGD(p, r, momentum=0.9), 0.1, rows(size=128), alike
    ),
    "targets of five, squared error": sized_targets,
    "Lion, transformer": lambda: of(PatchFormer(), lambda p, r: Lion(p, r, weight_decay=0.1), 3e-4, rows(shape=TOKENS)),
    "Adafactor, CNN": lambda: of(ConvNet(), Adafactor, 0.02, rows(shape=PICTURES)),
    "momentum 0.99, ResNet": lambda: of(ResidualConv(), sharp, 3e-3, rows(shape=PICTURES)),
    "LSTM, accumulation of 8": lambda: of(Recurrent(nn.LSTM), Adam, 3e-3, rows(size=8, shape=TOKENS), accumulate=8),
    "dropout of 0.6, NAdam": lambda: of(dropping(), NAdam, 2e-3, rows()),
    "weight decay 0.2 at 5e-3, mixer": lambda: of(
        Mixer(), lambda p, r: AdamW(p, r, weight_decay=0.2), 5e-3, rows(shape=TOKENS)
    ),
    "network that holds its average": own_average,
    "lookahead, CNN": lookahead,
    "batches of 2, Adam": lambda: of(painterly(), Adam, 1e-3, rows(size=2, shape=PICTURES)),
    "bag of hashed pairs, Adagrad": lambda: of(Bag(20_000, vocabulary()), Adagrad, 0.05, ngrams(size=128)),
    "experts, label smoothing, AdamW": lambda: of(Experts(), AdamW, 3e-3, rows(), smoothed),
    "GRU over text, clipped by value, SGD at 1": value_clipped,
    "schedule-free SGD, MLP": lambda: of(mlp(3, 96), ScheduleFree, 0.5, rows()),
    "taught by soft answers": taught,
    "two losses with learned weights": two_tasks_weighed,
    "CTC, GRU": aligned,
    "equation with second derivatives, Adam": lambda: of_an_equation(3e-3, Adam),
    "codes with straight-through gradients": coded,
    "neural ODE of eight steps, RMSprop": lambda: of(Steps(), RMSprop, 1e-3, rows()),
    "graph of 300 digits": graph,
    "flow, exact likelihood": flow,
    "teacher is an average, few labels": consistent,
    "pairwise ranking": ranked,
    "noisy bandit, all rewards below zero": bandit,
    "few labels, others ignored": lambda: of(mlp(3, 64, nn.GELU), AdamW, 2e-3, half_labelled()),
    "pixels of three classes": lambda: of(painter(), AdamW, 3e-3, mostly_background()),
    "weights of classes, DenseNet": lambda: of(Dense(), Adam, 2e-3, rows(shape=PICTURES), balanced),
    "one cycle of 400, ResNet": one_cycle_long,
    "GRU of two directions, Lion": lambda: of(Sideways(), Lion, 5e-4, rows(shape=TOKENS)),
    "decoder, bfloat16 autocast, Lion": lambda: of(Decoder(vocabulary()), Lion, 3e-4, characters(), autocast=True),
    "convolutions over text, decay 0.3": lambda: of(
        TextConv(vocabulary()), lambda p, r: AdamW(p, r, weight_decay=0.3), 2e-3, characters()
    ),
    "convolutions over rows, momentum, smoothing": lambda: of(
        RowConv(), lambda p, r: SGD(p, r, momentum=0.9), 0.03, rows(shape=TOKENS), smoothed
    ),
}


def painterly() -> nn.Module:
    """The same with a head for digits."""
    return nn.Sequential(*list(painter())[:-1], nn.AvgPool2d(2), nn.Flatten(), nn.Linear(16 * 16, 10))
