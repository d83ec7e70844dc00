"""The healthy runs of the fourth held set: written after the rules were settled, before any of these was watched."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torch.optim import LBFGS, SGD, Adam, AdamW
from torch.optim.lr_scheduler import CosineAnnealingWarmRestarts, LinearLR, PolynomialLR

from benchmarks.accuracy.watched_runs.fourth_models import (
    Padded,
    actor_critic,
    critic_pair,
    denoised,
    own_targets,
    policy,
    q_learning,
    sharpness_aware,
    with_closure,
)
from benchmarks.accuracy.watched_runs.held_models import Dense, Mixer
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
from benchmarks.accuracy.watched_runs.models import ConvNet, Gpt, Lora, PatchFormer, Recurrent, Residual, mlp
from benchmarks.accuracy.watched_runs.second_models import Decoder
from benchmarks.accuracy.watched_runs.third_healthy import PICTURES, TOKENS, of
from fanin.lab.data import character_corpus

__all__ = ["RUNS", "padded", "pairwise", "second_order", "triplet", "two_views"]


def two_views(size: int = 64) -> Callable[[int], Batch]:
    """Two noisy views of each digit, one behind the other."""
    digits = rows(size=size, shape=PICTURES)

    def batch(n: int) -> Batch:
        x, y = digits(n)
        return torch.cat([x, x]) + 0.2 * torch.randn(2 * size, *PICTURES, generator=torch.Generator().manual_seed(n)), y

    return batch


def pairwise(output: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """NT-Xent: each view finds the other one of its sample among all."""
    z = functional.normalize(output, dim=-1)
    n = len(z) // 2
    alike = (z @ z.T / 0.3).fill_diagonal_(-1e9)
    return functional.cross_entropy(alike, torch.cat([torch.arange(n, 2 * n), torch.arange(n)]))


def triplet(output: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Digits of one kind are nearer to each other than to others, by one."""
    far = torch.cdist(output, output)
    same = y[:, None] == y[None]
    return (1.0 + far.masked_fill(~same, -1e9).amax(1) - far.masked_fill(same, 1e9).amin(1)).relu().mean()


def contrastive() -> Training:
    model = ConvNet()
    model.head = nn.Linear(model.head.in_features, 32)
    optimizer = AdamW(model.parameters(), 3e-3, weight_decay=0.1)
    return plain(model, optimizer, two_views(), pairwise, scheduler=warmed(optimizer, 20, 200), warmup=20)


def padded(size: int = 48) -> Callable[[int], Batch]:
    """Texts of several lengths, filled up with zeros: does the letter e come before the middle?"""
    text, letter = characters(size), character_corpus().characters.index("e")

    def batch(n: int) -> Batch:
        x, _ = text(n)
        x = x + 1
        lengths = torch.randint(8, x.shape[1] + 1, (size,), generator=torch.Generator().manual_seed(n))
        x = x * (torch.arange(x.shape[1]) < lengths[:, None])
        return x, (x[:, :16] == letter + 1).any(1).long()

    return batch


def scaled_half() -> Training:
    """float16 autocast with a loss scale that grows and falls; the first steps may be skipped."""
    model, batch = mlp(3, 96, nn.GELU), rows()
    optimizer, scaler = AdamW(model.parameters(), 2e-3), torch.amp.GradScaler("cpu")

    def body(n: int) -> torch.Tensor:
        x, y = batch(n)
        with torch.autocast("cpu", torch.float16):
            loss = functional.cross_entropy(model(x), y)
        optimizer.zero_grad()
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        return loss.detach()

    return Training(model=model, optimizers=optimizer, body=body)


def lora_warmed() -> Training:
    """Low-rank pairs of rank 2 in all linear layers of a trained network, for digits turned by a quarter."""
    model = pretrained(mlp(3, 96), rows(), 200).requires_grad_(False)
    for i in (0, 2, 4):
        model[i] = Lora(model[i], 2)
    optimizer = AdamW([p for p in model.parameters() if p.requires_grad], 5e-3)
    turned = rows(change=lambda x: x.view(-1, 8, 8).rot90(1, (1, 2)).reshape(-1, 64))
    return plain(model, optimizer, turned, scheduler=warmed(optimizer, 15), warmup=15)


def layerwise_rates() -> Training:
    """A trained transformer, lower rates for lower layers and weight decay, on noisy digits."""
    noisy = rows(shape=TOKENS, change=lambda x: x + 0.3 * torch.randn(x.shape, generator=torch.Generator()))
    model = pretrained(PatchFormer(), rows(shape=TOKENS), 200)
    parts = list(model.parameters())
    third = len(parts) // 3
    groups = [
        {"params": parts[:third], "lr": 5e-5},
        {"params": parts[third : 2 * third], "lr": 1e-4},
        {"params": parts[2 * third :], "lr": 3e-4},
    ]
    return plain(model, AdamW(groups, weight_decay=0.1), noisy)


def few_samples() -> Training:
    """Thirty digits, always all of them, strong weight decay."""
    x, y = rows(size=30)(0)
    model = mlp(2, 32)
    return plain(model, AdamW(model.parameters(), 3e-3, weight_decay=0.5), lambda n: (x, y))


def mixed_up() -> Training:
    """Mixup: sums of two digits and of their targets."""
    digits = rows()

    def batch(n: int) -> Batch:
        (x, y), (v, w) = digits(n), digits(500 + n)
        share = torch.rand(len(x), 1, generator=torch.Generator().manual_seed(n))
        one = functional.one_hot
        return torch.lerp(v, x, share), torch.lerp(one(w, 10).float(), one(y, 10).float(), share)

    model = Residual()
    return plain(model, AdamW(model.parameters(), 1e-3), batch)


def focal() -> Training:
    """One class in ten, focal loss."""

    def loss(output: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        aim = (y == 3).float()
        plain_loss = functional.binary_cross_entropy_with_logits(output[:, 0], aim, reduction="none")
        return ((1 - (-plain_loss).exp()).square() * plain_loss).mean()

    return of(mlp(3, 64, outputs=1), Adam, 2e-3, rows(), loss)


def quantiles() -> Training:
    """Three quantiles of diabetes progression."""
    levels = torch.tensor([0.1, 0.5, 0.9])

    def loss(output: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        left = y.float().view(-1, 1) - output
        return torch.maximum(levels * left, (levels - 1) * left).mean()

    return of(mlp(2, 32, inputs=10, outputs=3), Adam, 3e-3, rows("diabetes", 32), loss)


def gaussian() -> Training:
    """Means and variances of pixels in the lower half from the upper one; the loss falls below zero."""

    def batch(n: int) -> Batch:
        x, _ = rows()(n)
        return x[:, :32], x[:, 32:]

    def loss(output: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        mean, log_var = output.chunk(2, -1)
        return functional.gaussian_nll_loss(mean, y, log_var.exp(), eps=1e-3)

    return of(mlp(2, 96, nn.GELU, inputs=32, outputs=64), Adam, 1e-3, batch, loss)


def counts() -> Training:
    """Number of bright pixels, Poisson."""

    def batch(n: int) -> Batch:
        x, _ = rows()(n)
        return x, (x > 0.5).sum(1).float()

    def loss(output: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return functional.poisson_nll_loss(output[:, 0], y)

    return of(mlp(2, 64, outputs=1), Adam, 2e-3, batch, loss)


def orthogonalised() -> Training:
    """Muon for the matrices inside, AdamW for the others."""
    model = Residual(4)
    inside = [p for name, p in model.named_parameters() if p.dim() == 2 and ("first" in name or "second" in name)]
    known = {id(p) for p in inside}
    first, second = torch.optim.Muon(inside, lr=0.02), AdamW([p for p in model.parameters() if id(p) not in known])
    batch = rows()

    def body(n: int) -> torch.Tensor:
        x, y = batch(n)
        loss = functional.cross_entropy(model(x), y)
        for optimizer in (first, second):
            optimizer.zero_grad()
        loss.backward()
        for optimizer in (first, second):
            optimizer.step()
        return loss.detach()

    return Training(model=model, optimizers=[first, second], body=body)


def easy_first() -> Training:
    """Three kinds of digits for 25 steps, then all ten."""
    easy, every = rows(only=lambda y: y < 3), rows()
    return of(mlp(3), AdamW, 2e-3, lambda n: easy(n) if n < 25 else every(n))


def scheduled(model: nn.Module, optimizer: Any, batch: Any, scheduler: Any, **more: Any) -> Training:
    return plain(model, optimizer, batch, scheduler=scheduler, **more)


def warm_restarts() -> Training:
    model = ConvNet()
    optimizer = SGD(model.parameters(), 0.1, momentum=0.9, nesterov=True, weight_decay=5e-4)
    return scheduled(model, optimizer, rows(shape=PICTURES), CosineAnnealingWarmRestarts(optimizer, 30, 2))


def long_warm_up() -> Training:
    """Sixty steps of warm-up, then a polynomial; clipped."""
    model = Decoder(vocabulary())
    optimizer = AdamW(model.parameters(), 3e-3, betas=(0.9, 0.95), weight_decay=0.1)
    first, then = LinearLR(optimizer, 1 / 60, total_iters=60), PolynomialLR(optimizer, 200)
    both = torch.optim.lr_scheduler.SequentialLR(optimizer, [first, then], [60])
    return scheduled(model, optimizer, characters(), both, warmup=60, clip=1.0)


def pure_bfloat16() -> Training:
    """Weights, moments and inputs in bfloat16."""
    model = mlp(3, 64, nn.GELU, nn.LayerNorm).bfloat16()
    return of(model, AdamW, 1e-3, rows(change=lambda x: x.bfloat16()))


def kept_zeros() -> Training:
    """Gradients are set to zero and not taken away; four batches a step."""
    model = Dense()
    optimizer, batch = AdamW(model.parameters(), 2e-3), rows(shape=PICTURES, size=16)

    def body(n: int) -> torch.Tensor:
        optimizer.zero_grad(set_to_none=False)
        total = torch.zeros(())
        for part in range(4):
            x, y = batch(4 * n + part)
            loss = functional.cross_entropy(model(x), y) / 4
            loss.backward()
            total = total + loss.detach()
        optimizer.step()
        return total

    return Training(model=model, optimizers=optimizer, body=body)


def siamese() -> Training:
    """One network for both digits of a pair: are they the same?"""
    model = mlp(2, 64, outputs=24)
    optimizer, batch = Adam(model.parameters(), 1e-3), rows(size=96)

    def body(n: int) -> torch.Tensor:
        (x, y), (v, w) = batch(n), batch(700 + n)
        score = (model(x) * model(v)).mean(-1)
        loss = functional.binary_cross_entropy_with_logits(score, (y == w).float(), pos_weight=torch.tensor(9.0))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.detach()

    return Training(model=model, optimizers=optimizer, body=body)


def careful() -> Training:
    model = mlp(3)
    return sharpness_aware(model, SGD(model.parameters(), 0.1), rows())


def second_order(rate: float) -> Training:
    """L-BFGS on the same 120 samples, four evaluations a step."""
    model = mlp(1, 16, nn.Tanh, inputs=13, outputs=3)
    return with_closure(model, LBFGS(model.parameters(), rate, max_iter=4), rows("wine", 120))


RUNS: dict[str, Callable[[], Training]] = {
    "REINFORCE, Adam": lambda: policy(Adam, 3e-3, clipped=False),
    "PPO, Adam": lambda: policy(Adam, 1e-3, clipped=True),
    "actor and critic, RMSprop": lambda: actor_critic(torch.optim.RMSprop, 1e-3),
    "Q-learning with a target network, Adam": lambda: q_learning(Adam, 1e-3),
    "NT-Xent, AdamW, warm-up 20 and cosine": contrastive,
    "triplets, Adam": lambda: of(mlp(2, 64, outputs=16), Adam, 1e-3, rows(), triplet),
    "teacher is a slow average, Adam": lambda: own_targets(1e-3),
    "Wasserstein pair with gradient penalty": lambda: critic_pair(5e-4, 5e-4),
    "denoiser, AdamW": lambda: denoised(AdamW, 2e-3),
    "sharpness-aware, SGD": careful,
    "L-BFGS, wine": lambda: second_order(0.5),
    "padded text, AdamW": lambda: of(Padded(vocabulary()), AdamW, 2e-3, padded()),
    "float16 autocast, scaled loss": scaled_half,
    "pure bfloat16, AdamW": pure_bfloat16,
    "low-rank pairs of rank 2, warm-up 15": lora_warmed,
    "tuned transformer, a rate a layer, decay 0.1": layerwise_rates,
    "thirty samples, decay 0.5": few_samples,
    "mixup": mixed_up,
    "focal loss, one class in ten": focal,
    "quantiles of diabetes": quantiles,
    "Gaussian likelihood, loss below zero": gaussian,
    "Poisson counts": counts,
    "Muon and AdamW": orthogonalised,
    "three kinds first, then all": easy_first,
    "CNN, Nesterov, warm restarts": warm_restarts,
    "decoder, warm-up 60 and polynomial": long_warm_up,
    "DenseNet, zeros kept, accumulation of 4": kept_zeros,
    "pairs through one network": siamese,
    "mixer, decay 1, AdamW": lambda: of(Mixer(), lambda p, r: AdamW(p, r, weight_decay=1.0), 2e-3, rows(shape=TOKENS)),
    "GPT, tied, Adafactor": lambda: of(Gpt(vocabulary()), torch.optim.Adafactor, 1e-2, characters()),
    "RNN, SGD, clipped at 0.1": lambda: of(Recurrent(nn.RNN), SGD, 0.5, rows(shape=TOKENS), clip=0.1),
}
