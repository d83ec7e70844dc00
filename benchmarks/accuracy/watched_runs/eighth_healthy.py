"""The healthy runs of the eighth held set: written when the seventh had been read, before any of these was watched."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torch.optim import SGD, Adam, AdamW, NAdam, RAdam, RMSprop
from torch.optim.lr_scheduler import LambdaLR, OneCycleLR

from benchmarks.accuracy.watched_runs.eighth_models import (
    Bags,
    Codebook,
    Energy,
    Flow,
    HashGrid,
    Iterated,
    LinearAttention,
    Mixture,
    Process,
    Reverser,
    Scaled,
    StateSpace,
    Tagger,
    bags,
    curves,
    kinds,
    likelihood,
    of_curves,
    pendulums,
    quantiles,
    reversals,
    ring,
    tagged,
)
from benchmarks.accuracy.watched_runs.fifth_models import looped
from benchmarks.accuracy.watched_runs.held_models import Mixer, RowConv
from benchmarks.accuracy.watched_runs.loop import (
    Training,
    characters,
    plain,
    pretrained,
    rows,
    vocabulary,
    warmed,
)
from benchmarks.accuracy.watched_runs.models import ConvNet, Gpt, PatchFormer, Recurrent, mlp
from benchmarks.accuracy.watched_runs.third_healthy import PICTURES, TOKENS, of

__all__ = ["RUNS", "Lookahead", "gaussian", "itself"]


class Lookahead(torch.optim.Optimizer):
    """Adam, whose weights go back half the way to slow ones every fifth step."""

    def __init__(self, params: Any, lr: float) -> None:
        params = list(params)
        super().__init__(params, {"lr": lr})
        self.fast, self.slow, self.count = Adam(params, lr), [p.detach().clone() for p in params], 0

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        self.fast.step()
        self.count += 1
        if self.count % 5 == 0:
            for slow, p in zip(self.slow, self.param_groups[0]["params"], strict=True):
                slow.lerp_(p, 0.5)
                p.copy_(slow)


def itself(kind: Callable[..., Any], model: nn.Module, rate: float, batch: Any, **more: Any) -> Training:
    """A model whose output is its loss."""
    return of(model, kind, rate, batch, lambda output, _: output, **more)


def gaussian(output: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """The likelihood of a mean and a spread."""
    return functional.gaussian_nll_loss(output[..., 0], y, 0.01 + functional.softplus(output[..., 1]))


def distilled() -> Training:
    """A trained convolutional network teaches a small plain one: softened outputs, temperature 3."""
    teacher = pretrained(ConvNet(), rows(shape=PICTURES), 120).eval()
    model, batch = mlp(1, 48), rows()

    def losses(n: int) -> torch.Tensor:
        x, _ = batch(n)
        with torch.no_grad():
            soft = (teacher(x.view(-1, 1, 8, 8)) / 3).softmax(1)
        return 9 * functional.kl_div((model(x) / 3).log_softmax(1), soft, reduction="batchmean")

    return looped(model, Adam(model.parameters(), 3e-3), losses)


def private() -> Training:
    """Gradients of single samples are clipped, added up with noise, and written by hand."""
    model, batch = mlp(1, 64), rows(size=64)
    optimizer = SGD(model.parameters(), 0.5)
    values = dict(model.named_parameters())

    def single(weights: dict[str, torch.Tensor], x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return functional.cross_entropy(torch.func.functional_call(model, weights, (x[None],)), y[None])

    def body(n: int) -> torch.Tensor:
        x, y = batch(n)
        value = functional.cross_entropy(model(x), y)
        plain_values = {k: v.detach() for k, v in values.items()}
        each = torch.func.vmap(torch.func.grad(single), (None, 0, 0))(plain_values, x, y)
        norms = torch.stack([g.flatten(1).norm(dim=1) for g in each.values()]).norm(dim=0)
        shares = (1 / norms).clamp(max=1.0)
        for name, g in each.items():
            noise = 0.3 * torch.randn_like(values[name]) / len(x)
            values[name].grad = torch.einsum("b...,b->...", g, shares) / len(x) + noise
        optimizer.step()
        return value.detach()

    return Training(model=model, optimizers=optimizer, body=body)


def evolved() -> Training:
    """No backward pass: gradients are estimated from losses at pairs of moved weights, and written by hand."""
    model, batch = nn.Sequential(nn.Linear(64, 10)), rows(size=256)
    optimizer = Adam(model.parameters(), 0.02)

    def body(n: int) -> torch.Tensor:
        x, y = batch(n)
        weights = list(model.parameters())
        for p in weights:
            p.grad = torch.zeros_like(p)
        with torch.no_grad():
            for _ in range(12):
                moves = [0.02 * torch.randn_like(p) for p in weights]
                sides = []
                for sign in (1, -2):
                    for p, move in zip(weights, moves, strict=True):
                        p.add_(sign * move)
                    sides.append(functional.cross_entropy(model(x), y))
                for p, move in zip(weights, moves, strict=True):
                    p.add_(move)
                    p.grad.add_((sides[0] - sides[1]) / (2 * 12 * 0.02**2) * move)
            value = functional.cross_entropy(model(x), y)
        optimizer.step()
        return value

    return Training(model=model, optimizers=optimizer, body=body)


def layer_rates() -> Training:
    """A trained transformer is tuned: each block at 0.7 of the rate above it, after ten steps of warm-up."""
    model = pretrained(PatchFormer(depth=3), rows(shape=TOKENS, only=lambda y: y < 6), 150)
    model.head = nn.Linear(32, 10)
    parts = [model.head, *reversed(list(model.blocks)), model.entry]
    groups = [{"params": list(part.parameters()), "lr": 2e-3 * 0.7**i} for i, part in enumerate(parts)]
    optimizer = AdamW(groups, 2e-3)
    return plain(model, optimizer, rows(shape=TOKENS), scheduler=warmed(optimizer, 10), warmup=10)


def scales_alone() -> Training:
    """Vectors that scale what frozen layers of a trained GPT give, on the same text shifted by one character code."""
    model = pretrained(Gpt(vocabulary()), characters(), 150, 3e-3).requires_grad_(False)
    for block in model.blocks:
        block.up, block.down = Scaled(block.up, block.up.out_features), Scaled(block.down, block.down.out_features)
    text = characters()
    return of(model, Adam, 0.02, lambda n: ((text(n)[0] + 1) % vocabulary(), (text(n)[1] + 1) % vocabulary()))


def ranked() -> Training:
    """Pairs of patients: whose disease went further (RankNet)."""
    model, batch = mlp(2, 32, inputs=10, outputs=1), rows("diabetes", 64)

    def losses(n: int) -> torch.Tensor:
        x, y = batch(n)
        score, y = model(x)[:, 0], y.float().view(-1)
        first, second = score[:32] - score[32:], torch.sign(y[:32] - y[32:])
        return functional.softplus(-second * first).mean()

    return looped(model, AdamW(model.parameters(), 3e-3), losses)


def survival(output: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Cox' partial likelihood: the risk of who is next, among those that are left."""
    order = y.float().view(-1).argsort(descending=True)
    risk = output[:, 0][order]
    return -(risk - torch.logcumsumexp(risk, 0)).mean()


def overlap(output: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Binary loss and one minus the overlap (Dice)."""
    p = output.sigmoid()
    shared = 2 * (p * y).sum() + 1
    return functional.binary_cross_entropy_with_logits(output, y) + 1 - shared / (p.sum() + y.sum() + 1)


def edges(n: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Noisy digits, and which pixels are bright."""
    x, _ = rows(shape=PICTURES)(n)
    bright = (x > x.mean()).float()
    return x + 0.3 * torch.randn(x.shape, generator=torch.Generator().manual_seed(n)), bright


def pixels() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.GroupNorm(4, 16),
        nn.SiLU(),
        nn.Conv2d(16, 16, 3, padding=1),
        nn.GroupNorm(4, 16),
        nn.SiLU(),
        nn.Conv2d(16, 1, 1),
    )


def nesterov() -> Training:
    """Four parts of a batch each step, group norm, warm-up of 15 steps, Nesterov."""
    model = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.GroupNorm(4, 16),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(256, 10),
    )
    optimizer = SGD(model.parameters(), 0.05, momentum=0.9, nesterov=True)
    return plain(
        model, optimizer, rows(size=32, shape=PICTURES), scheduler=warmed(optimizer, 15), warmup=15, accumulate=4
    )


def smoothed() -> Training:
    """Smoothed labels and one cycle of the rate."""
    model = RowConv()
    optimizer = AdamW(model.parameters(), 4e-3)
    schedule = OneCycleLR(optimizer, 4e-3, total_steps=121, pct_start=0.2)
    loss = nn.CrossEntropyLoss(label_smoothing=0.1)
    return plain(model, optimizer, rows(shape=TOKENS), loss, scheduler=schedule, warmup=24)


def tuned_average() -> Training:
    """A trained recurrent network goes on; an average of its weights is kept beside it and used for nothing else."""
    model = pretrained(Recurrent(nn.GRU), rows(shape=TOKENS), 100)
    mean = copy.deepcopy(model).requires_grad_(False)

    def after(n: int) -> None:
        for slow, p in zip(mean.parameters(), model.parameters(), strict=True):
            slow.lerp_(p.detach(), 0.1)

    return plain(model, RMSprop(model.parameters(), 3e-4), rows(shape=TOKENS), after=after)


def root_schedule() -> Training:
    """A rate that rises for 20 steps and then falls with the root of the step."""
    model = LinearAttention()
    optimizer = AdamW(model.parameters(), 5e-3)
    schedule = LambdaLR(optimizer, lambda n: min((n + 1) / 20, (20 / (n + 1)) ** 0.5))
    return plain(model, optimizer, rows(shape=TOKENS), scheduler=schedule, warmup=20)


RUNS: dict[str, Callable[[], Training]] = {
    "tagger of characters, padded, Adam": lambda: of(Tagger(vocabulary()), Adam, 5e-3, kinds(), tagged),
    "rows written backwards, AdamW": lambda: of(Reverser(), AdamW, 3e-3, reversals(), tagged),
    "nearest of 32 codes, Adam": lambda: itself(Adam, Codebook(), 2e-3, rows()),
    "mixture of five Gaussians, Adam": lambda: of(Mixture(), Adam, 5e-3, curves(), likelihood),
    "energy of pendulums, Adam": lambda: of(Energy(), Adam, 3e-3, pendulums(), functional.mse_loss),
    "one map eight times, SGD with momentum": lambda: of(
        Iterated(), lambda p, r: SGD(p, r, momentum=0.9), 0.03, rows()
    ),
    "hashed grid, Adam at 0.01": lambda: of(HashGrid(), Adam, 0.01, ring(), functional.mse_loss),
    "flow from noise to digits, AdamW": lambda: itself(AdamW, Flow(), 2e-3, rows(size=128)),
    "curves from ten points, Adam": lambda: of(Process(), Adam, 2e-3, of_curves(), gaussian),
    "states with rates of their own, NAdam": lambda: of(StateSpace(), NAdam, 3e-3, rows(shape=TOKENS)),
    "linear attention, warm-up 20, root": root_schedule,
    "bags with a seven, RAdam": lambda: of(Bags(), RAdam, 3e-3, bags(), functional.binary_cross_entropy_with_logits),
    "three quantiles, AdamW": lambda: of(
        mlp(2, 32, inputs=10, outputs=3), AdamW, 3e-3, rows("diabetes", 64), quantiles
    ),
    "taught by a larger network": distilled,
    "clipped one by one, with noise": private,
    "gradients from losses alone": evolved,
    "tuned, a rate for each block": layer_rates,
    "scales of a frozen GPT": scales_alone,
    "pairs of patients": ranked,
    "who is next, Adam": lambda: of(mlp(1, 24, nn.SELU, inputs=10, outputs=1), Adam, 3e-3, rows("diabetes"), survival),
    "bright pixels, overlap": lambda: of(pixels(), Adam, 3e-3, edges, overlap),
    "accumulated, Nesterov, warm-up 15": nesterov,
    "smoothed labels, one cycle": smoothed,
    "lookahead, mixer": lambda: of(Mixer(), Lookahead, 3e-3, rows(shape=TOKENS)),
    "trained GRU goes on, RMSprop": tuned_average,
    "float64, wine, SGD at 0.1": lambda: of(
        mlp(1, 16, nn.Tanh, inputs=13, outputs=3).double(),
        SGD,
        0.1,
        lambda n: (rows("wine", 64)(n)[0].double(), rows("wine", 64)(n)[1]),
    ),
}
